"""A request to stop reaches the processes that train, also those that were just starting."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

PARENT = """
import multiprocessing, os, signal, sys, time
from memobert_plugin.core.signals import listen, passed_on_to_children, received_signals, stop_requested

def child():
    time.sleep(0.3)  # starting up: the first signal comes too early
    listen(signal.SIGUSR2)
    before = len(received_signals())
    while len(received_signals()) == before:
        time.sleep(0.05)
    print("child asked to stop", flush=True)

with passed_on_to_children(signal.SIGUSR2, signal.SIGTERM):
    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    print("ready", flush=True)
    process.join()
print("parent", stop_requested(), received_signals() == (int(sys.argv[1]),), process.exitcode)
"""


def stopped_by(number: signal.Signals) -> list[str]:
    command = [sys.executable, "-c", PARENT, str(int(number))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(number)
    output, _ = process.communicate(timeout=30)
    return output.splitlines()


def test_the_clusters_warning_is_passed_on_until_it_is_heard() -> None:
    assert stopped_by(signal.SIGUSR2) == ["child asked to stop", "parent True True 0"]


def test_sigterm_stops_like_ctrl_c() -> None:
    assert stopped_by(signal.SIGTERM) == ["child asked to stop", "parent True True 0"]
