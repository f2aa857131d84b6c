"""What a forked command sees, what comes back from it, and what happens to it when the runner is stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from memobert_plugin.core.errors import UserError
from memobert_plugin.sweep.forked_commands import ForkedCommands

REPOSITORY = Path(__file__).resolve().parents[2]


def write_script(folder: Path, name: str, code: str) -> list[str]:
    path = folder / name
    path.write_text(code, encoding="utf-8")
    return ["python", str(path)]


def run_code(tmp_path: Path, code: str, *arguments: str) -> tuple[int, str]:
    command = [*write_script(tmp_path, "script.py", code), *arguments]
    status = ForkedCommands(modules=()).run(command, tmp_path / "logs" / "script.log")
    return status, (tmp_path / "logs" / "script.log").read_text(encoding="utf-8")


def test_output_of_all_levels_goes_to_the_log_in_order(tmp_path: Path) -> None:
    status, log = run_code(
        tmp_path, "import os, sys\nprint('first')\nprint('second', file=sys.stderr)\nos.write(1, b'third\\n')"
    )
    assert (status, log) == (0, "first\nsecond\nthird\n")


def test_a_script_sees_its_own_arguments_folder_and_name(tmp_path: Path) -> None:
    (tmp_path / "neighbour_module.py").write_text("WORD = 'here'", encoding="utf-8")
    status, log = run_code(
        tmp_path, "import sys, neighbour_module\nprint(__name__, sys.argv, neighbour_module.WORD)", "--a", "b c"
    )
    assert status == 0
    assert log == f"__main__ {[str(tmp_path / 'script.py'), '--a', 'b c']} here\n"


@pytest.mark.parametrize(
    ("code", "status", "text"),
    [
        ("raise SystemExit", 0, ""),
        ("raise SystemExit(7)", 7, ""),
        ("raise SystemExit('no such file')", 1, "no such file\n"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", -9, ""),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGTERM)", -15, ""),
    ],
)
def test_exit_status_is_the_commands_own(tmp_path: Path, code: str, status: int, text: str) -> None:
    assert run_code(tmp_path, code) == (status, text)


def test_an_exception_leaves_its_traceback_and_status_1(tmp_path: Path) -> None:
    status, log = run_code(tmp_path, "def broken():\n    raise RuntimeError('what happened')\nbroken()")
    assert status == 1
    assert "in broken" in log and log.rstrip().endswith("RuntimeError: what happened")


def test_commands_do_not_share_function_attributes_or_loggers(tmp_path: Path) -> None:
    code = (
        "import json, logging\n"
        "print(getattr(json.dumps, 'best', None), logging.root.handlers)\n"
        "json.dumps.best = 1\nlogging.basicConfig()"
    )
    runs = [(write_script(tmp_path, "script.py", code), tmp_path / f"{number}.log") for number in range(2)]
    finished = list(ForkedCommands(modules=("json",)).run_all(runs))
    assert [run.status for run in finished] == [0, 0]
    assert [run.log.read_text() for run in finished] == ["None []\n"] * 2


def test_an_installed_command_runs_by_its_name(tmp_path: Path) -> None:
    assert ForkedCommands(modules=()).run(["pytest", "--version"], tmp_path / "log") == 0
    assert "pytest" in (tmp_path / "log").read_text()


def test_a_module_runs_as_the_main_program(tmp_path: Path) -> None:
    assert ForkedCommands(modules=()).run(["python", "-m", "json.tool", "--help"], tmp_path / "log") == 0
    assert "json.tool" in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["memobert-no-such-command"], "memobert-no-such-command: not a command of this environment"),
        (["python", "no_such_file.py"], "python no_such_file.py: no such file"),
        (["python", "-m", "no_such.module"], r"python -m no_such\.module: no such module"),
        ([], "an empty command"),
    ],
)
def test_an_unknown_command_is_refused_before_anything_starts(tmp_path: Path, command: list[str], message: str) -> None:
    good = write_script(tmp_path, "good.py", "print('started')")
    with pytest.raises(UserError, match=message):
        list(ForkedCommands(modules=()).run_all([(good, tmp_path / "good.log"), (command, tmp_path / "bad.log")]))
    assert not (tmp_path / "good.log").exists()


def test_jobs_run_side_by_side(tmp_path: Path) -> None:
    """Each of the two opens one end of a pipe, which returns only when the other is there."""
    os.mkfifo(tmp_path / "pipe")
    reader = write_script(tmp_path, "reader.py", f"print(open({str(tmp_path / 'pipe')!r}).read())")
    writer = write_script(tmp_path, "writer.py", f"open({str(tmp_path / 'pipe')!r}, 'w').write('met')")
    runs = [(reader, tmp_path / "reader.log"), (writer, tmp_path / "writer.log")]
    assert {run.status for run in ForkedCommands(jobs=2, modules=()).run_all(runs)} == {0}
    assert (tmp_path / "reader.log").read_text() == "met\n"


def test_one_job_runs_one_after_the_other(tmp_path: Path) -> None:
    code = f"import os\npath = {str(tmp_path / 'only_one')!r}\nos.mkdir(path)\nos.rmdir(path)"
    runs = [(write_script(tmp_path, "script.py", code), tmp_path / f"{number}.log") for number in range(4)]
    finished = list(ForkedCommands(jobs=1, modules=()).run_all(runs))
    assert [run.log.name for run in finished] == ["0.log", "1.log", "2.log", "3.log"]
    assert {run.status for run in finished} == {0}


def blocked_script(folder: Path) -> list[str]:
    """It and its child hold the pipe ``alive`` open and wait for good; the pipe ends when both are gone."""
    os.mkfifo(folder / "alive")
    os.mkfifo(folder / "ready")
    code = (
        "import os, signal\n"
        f"alive = open({str(folder / 'alive')!r}, 'w')\n"
        "if os.fork():\n"
        "    print('alive', file=alive, flush=True)\n"
        f"    open({str(folder / 'ready')!r}, 'w').close()\n"
        "signal.pause()"
    )
    return write_script(folder, "blocked.py", code)


def test_leaving_the_iteration_ends_the_other_children_and_theirs(tmp_path: Path) -> None:
    blocked = blocked_script(tmp_path)
    ready = write_script(tmp_path, "ready.py", f"open({str(tmp_path / 'ready')!r}).read()")
    with open(os.open(tmp_path / "alive", os.O_RDONLY | os.O_NONBLOCK)) as alive:
        finished = ForkedCommands(jobs=2, modules=()).run_all([(blocked, tmp_path / "b"), (ready, tmp_path / "r")])
        assert next(finished).log == tmp_path / "r"
        finished.close()
        os.set_blocking(alive.fileno(), True)
        assert alive.read() == "alive\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_runner_ends_the_children(tmp_path: Path, number: signal.Signals) -> None:
    blocked = blocked_script(tmp_path)
    code = (
        # As in a terminal: a test run in the background of a script begins with SIGINT ignored.
        "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from pathlib import Path\n"
        "from memobert_plugin.sweep.forked_commands import ForkedCommands\n"
        f"ForkedCommands(modules=()).run({blocked!r}, Path({str(tmp_path / 'blocked.log')!r}))"
    )
    runner = subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)
    with open(tmp_path / "alive") as alive:
        assert (tmp_path / "ready").read_text() == ""
        runner.send_signal(number)
        _, errors = runner.communicate(timeout=60)
        assert alive.read() == "alive\n"
    if number == signal.SIGINT:
        assert runner.returncode == -signal.SIGINT and "KeyboardInterrupt" in errors
    else:
        assert runner.returncode == 128 + number and not errors


def test_fairseq_is_imported_once_and_its_commands_run_in_children(tmp_path: Path) -> None:
    """In an interpreter of its own, which nothing has computed in before."""
    pytest.importorskip("fairseq")
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from memobert_plugin.sweep.forked_commands import ForkedCommands\n"
        "runner = ForkedCommands(jobs=2)\n"
        "names = ('fairseq-train', 'fairseq-validate')\n"
        f"runs = [([name, '--help'], Path({str(tmp_path)!r}) / name) for name in names]\n"
        "print(sorted(run.status for run in runner.run_all(runs)), 'fairseq_cli.train' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert (result.stdout, result.stderr) == ("[0, 0] False\n", "")
    assert (tmp_path / "fairseq-train").read_text().startswith("usage: fairseq-train ")
    assert (tmp_path / "fairseq-validate").read_text().startswith("usage: fairseq-validate ")


def test_threads_of_a_child_are_limited(tmp_path: Path) -> None:
    code = "import os, torch\nprint(torch.get_num_threads(), os.environ['OMP_NUM_THREADS'])"
    command = write_script(tmp_path, "script.py", code)
    ForkedCommands(threads=1, modules=("torch",)).run(command, tmp_path / "log")
    assert (tmp_path / "log").read_text() == "1 1\n"


@pytest.mark.parametrize(("jobs", "threads"), [(0, 1), (1, 0)])
def test_no_jobs_and_no_threads_are_refused(jobs: int, threads: int) -> None:
    with pytest.raises(UserError, match="at least 1"):
        ForkedCommands(jobs, threads)
