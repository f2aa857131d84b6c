"""Sends memobert serve many clips at once, good ones and bad ones, and compares its answers with memobert-predict's.

    python scripts/reliability/serve_load.py                  # 64 clients, 500 clips, all made by the script
    python scripts/reliability/serve_load.py --clips FOLDER   # and the small films of a folder

It starts a server on a free port of 127.0.0.1 and stops by itself. Checked are: every clip is answered, or refused with
the status that belongs to its defect; answers equal those of memobert-predict; the memory of the server and of its
worker does not grow; nothing stays in the private folder. Exit status: 1 if anything differs. Linux only.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from scipy.stats import theilslopes
from tabulate import tabulate

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.films import tone, write_film, write_sound

ROOT = Path(__file__).resolve().parents[2]
MIB = 1 << 20
MOST_BYTES, MOST_SECONDS = 4 * MIB, 30
TRIES = 3000
START = "from memobert_plugin.cli.serve import cli_main\nif __name__ == '__main__':\n    cli_main()\n"


@dataclass(frozen=True)
class Clip:
    """One kind of input: a file, the statuses that may answer it, and memobert-predict's answer if it has one."""

    path: Path
    statuses: tuple[int, ...]
    expected: list[dict[str, Any]] | None = None


@dataclass
class Seen:
    """The outcomes of all requests."""

    statuses: Counter[int] = field(default_factory=Counter)
    turned_away: int = 0
    cut: int = 0
    faults: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def make_inputs(folder: Path, films: Path | None) -> tuple[list[Path], dict[Path, tuple[int, ...]]]:
    """Write good clips, and defective ones with the statuses that may answer them."""
    noise = np.random.default_rng(1)
    good = [write_film(folder / f"film{n}.mp4", seconds=1.0 + n / 2, samples=tone(1.0 + n / 2)) for n in range(3)]
    good.append(write_film(folder / "voiceless.mkv", seconds=1.0, samples=None))
    for number, rate in enumerate((8_000, 16_000, 44_100)):
        samples = 0.3 * noise.standard_normal(2 * rate).astype(np.float32)
        good.append(write_sound(folder / f"noise{number}.wav", samples, rate, "pcm_s16le"))
    good.append(write_sound(folder / "tone.flac", tone(1.5), 16_000, "flac"))
    if films is not None:
        good += [path for path in sorted(films.iterdir()) if path.is_file() and path.stat().st_size < MOST_BYTES]
    whole = good[0].read_bytes()
    bad = {
        "empty.mp4": (b"", (422,)),
        "garbage.mp4": (noise.bytes(50_000), (422,)),
        "cut.mp4": (whole[: len(whole) // 2], (422,)),
        "text.wav": (b"no sound at all" * 40, (422,)),
        "page.html": (b"<script>alert(1)</script>", (415,)),
        "..%2f..%2fetc%2fpasswd": (b"root", (415,)),
        "large.wav": (bytes(MOST_BYTES + 1), (413,)),
    }
    defective = {}
    for name, (content, statuses) in bad.items():
        (folder / name).write_bytes(content)
        defective[folder / name] = statuses
    long = write_sound(folder / "long.wav", tone(MOST_SECONDS + 2.0, rate=8_000), 8_000, "pcm_s16le")
    defective[long] = (422,)
    return good, defective


def expected_answers(clips: list[Path], folder: Path) -> dict[Path, list[dict[str, Any]]]:
    """Return what memobert-predict writes for each clip, named as the server names it; clips without answer are left
    out.
    """
    output = folder / "expected.jsonl"
    command = [sys.executable, "-m", "memobert_plugin", "predict", *map(str, clips), "--output", str(output)]
    subprocess.run([*command, "--batch-size", "1"], cwd=ROOT, stdout=subprocess.DEVNULL, check=False)
    lines = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    for clip, line in zip(clips, lines, strict=True):
        line["file"] = clip.name
        line.pop("model", None)
    return {clip: [line] for clip, line in zip(clips, lines, strict=True) if "error" not in line}


def same(found: Any, expected: Any) -> bool:
    """Compare answers: numbers within 1e-6, the rest exactly."""
    if isinstance(expected, float) and isinstance(found, float):
        return abs(found - expected) < 1e-6
    if isinstance(expected, dict) and isinstance(found, dict):
        return found.keys() == expected.keys() and all(same(found[name], expected[name]) for name in expected)
    if isinstance(expected, list) and isinstance(found, list):
        return len(found) == len(expected) and all(map(same, found, expected))
    return bool(found == expected)


async def send(client: httpx.AsyncClient, clip: Clip, seen: Seen) -> None:
    """Send one clip until it is answered or refused for good."""
    began = time.monotonic()
    content = clip.path.read_bytes()
    for _ in range(TRIES):
        try:
            response = await client.post("/predict", files={"clip": (clip.path.name, content)})
        except httpx.TransportError:  # such as a kept connection that the server was just ending
            seen.cut += 1
            continue
        if response.status_code != 503:
            break
        seen.turned_away += 1
        await asyncio.sleep(float(response.headers["retry-after"]) * random.uniform(0.3, 1.0))
    else:
        seen.faults.append(f"{clip.path.name}: not answered in {TRIES} tries")
        return
    seen.statuses[response.status_code] += 1
    seen.seconds.append(time.monotonic() - began)
    if response.status_code not in clip.statuses:
        seen.faults.append(f"{clip.path.name}: {response.status_code} {response.text[:200]}")
    elif clip.expected is not None and not same(response.json()["answers"], clip.expected):
        seen.faults.append(f"{clip.path.name}: another answer than memobert-predict's")
    if "Traceback" in response.text or tempfile.gettempdir() in response.text:
        seen.faults.append(f"{clip.path.name}: shows {response.text[:200]}")


def resident(process: int) -> float:
    """Return MiB in RAM of a process and its children."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="ascii").split()
    own = int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return own / MIB + sum(resident(int(child)) for child in children)


async def load(address: str, process: int, clips: list[Clip], clients: int) -> tuple[Seen, list[tuple[int, float]]]:
    """Send the clips with so many clients at once; return what came of them, and memory by the number answered."""
    seen, memory = Seen(), []
    waiting = iter(clips)
    limits = httpx.Limits(max_connections=clients)

    async def work(client: httpx.AsyncClient) -> None:
        for clip in waiting:
            await send(client, clip, seen)
            memory.append((seen.statuses.total(), resident(process)))

    async with httpx.AsyncClient(base_url=address, timeout=600, limits=limits) as client:
        await asyncio.gather(*(work(client) for _ in range(clients)))
    return seen, memory


def report(seen: Seen, memory: list[tuple[int, float]], seconds: float, clients: int) -> None:
    """Print the figures."""
    later = memory[len(memory) // 2 :]
    slope, _, low, high = theilslopes([mib for _, mib in later], [count for count, _ in later])
    waits = sorted(seen.seconds)
    first, last, highest = memory[0][1], memory[-1][1], max(mib for _, mib in memory)
    statuses = ", ".join(f"{status}: {count}" for status, count in sorted(seen.statuses.items()))
    rows = [
        ("clients, clips", f"{clients}, {seen.statuses.total()}"),
        ("time", f"{seconds:.0f} s"),
        ("answered (200) and refused", statuses),
        ("turned away for a full queue, tried again", str(seen.turned_away)),
        ("connections that ended without an answer, tried again", str(seen.cut)),
        ("wait, median and longest", f"{waits[len(waits) // 2]:.1f} s, {waits[-1]:.1f} s"),
        ("memory of server and worker: first, last, highest", f"{first:.0f}, {last:.0f}, {highest:.0f} MiB"),
        (
            "growth by 100 clips, in the second half",
            f"{100 * slope:+.2f} MiB (95 %: {100 * low:+.2f} to {100 * high:+.2f})",
        ),
        ("faults", str(len(seen.faults))),
    ]
    print(tabulate(rows, tablefmt="github", headers=("what", "seen")))
    for fault in seen.faults[:20]:
        print(f"fault: {fault}")


def main() -> int:
    """Run the load and return 1 if anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, metavar="FOLDER", help="further good clips")
    parser.add_argument("--clients", type=int, default=64, metavar="N", help="at once (default: %(default)s)")
    parser.add_argument("--count", type=int, default=500, metavar="N", help="clips in all (default: %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "private").mkdir()
        (folder / "inputs").mkdir()
        good, defective = make_inputs(folder / "inputs", options.clips)
        expected = expected_answers(good, folder)
        kinds = [Clip(path, (200,), expected[path]) if path in expected else Clip(path, (422,)) for path in good]
        kinds += [Clip(path, statuses) for path, statuses in defective.items()]
        clips = [kinds[index % len(kinds)] for index in range(options.count)]
        random.Random(1).shuffle(clips)
        (folder / "serve.py").write_text(START, encoding="utf-8")
        limits = ["--max-megabytes", str(MOST_BYTES / MIB), "--max-seconds", str(MOST_SECONDS)]
        environment = {**os.environ, "TMPDIR": str(folder / "private"), "PYTHONPATH": str(ROOT)}
        command = [sys.executable, str(folder / "serve.py"), "--port", "0", *limits]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
            try:
                assert server.stdout is not None
                address = server.stdout.readline().split()[1]
                began = time.monotonic()
                seen, memory = asyncio.run(load(address, server.pid, clips, options.clients))
                seconds = time.monotonic() - began
                left = [path.name for path in (folder / "private").glob("memobert-serve-*/*")]
                seen.faults += [f"left in the private folder: {path}" for path in left]
            finally:
                server.send_signal(signal.SIGINT)
                status = server.wait(60)
        if status not in (0, 130) or list((folder / "private").glob("memobert-serve-*")):
            seen.faults.append(f"the server ended with {status}, or left its private folder")
        report(seen, memory, seconds, options.clients)
    return int(bool(seen.faults) or seen.statuses.total() != options.count)


if __name__ == "__main__":
    sys.exit(main())
