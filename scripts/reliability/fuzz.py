"""Feeds readers of outside files with damaged input; whatever they raise beside their declared error is a finding.

    python scripts/reliability/fuzz.py manifest --inputs 100000
    python scripts/reliability/fuzz.py all
    python scripts/reliability/fuzz.py all --engine atheris      # guided by coverage: pip install -e '.[fuzz]'

Every reader has a process of its own whose memory is limited, so that an input that asks for gigabytes is found too. A
finding is kept under --findings and printed with its traceback; the exit status is then 1.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import multiprocessing
import os
import random
import resource
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

if TYPE_CHECKING:
    from tests.fuzzing.targets import Target

MEMORY = 3 << 30
IN_MEMORY = Path("/dev/shm")
"""Files on a disk take ten times as long."""
GUIDED = ("memobert_plugin", "pysubs2", "csv", "json", "yaml")
"""Packages whose branches atheris looks at."""


class Findings:
    """Inputs that raised something undeclared, one per place in the code."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._places: set[str] = set()

    def __len__(self) -> int:
        return len(self._places)

    def add(self, name: str, content: bytes, error: BaseException) -> None:
        """Keep the first input of every place."""
        place = "".join(traceback.format_tb(error.__traceback__)[-1:]) + type(error).__name__
        if place in self._places:
            return
        self._places.add(place)
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{name}-{hashlib.sha256(content).hexdigest()[:12]}"
        path.write_bytes(content)
        tqdm.write(
            f"{name}: {type(error).__name__}: {error}\n{''.join(traceback.format_tb(error.__traceback__)[-3:])}{path}"
        )


def by_edits(name: str, target: Target, options: argparse.Namespace, scratch: Path) -> int:
    """Edit the good inputs at random, and what the reader took as well. Returns the number of findings."""
    from tests.fuzzing.edits import edited

    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    chance, findings = random.Random(f"{name} {options.seed}"), Findings(options.findings)
    taken, started, survivors = 0, time.monotonic(), list(target.seeds)
    for _ in tqdm(range(options.inputs), desc=name, mininterval=2, disable=None):
        content = edited(chance.choice(survivors), target.pieces, chance.randrange)
        try:
            if target.survives(content):
                taken += 1
                if len(survivors) < 200:
                    survivors.append(content)
        except Exception as error:
            findings.add(name, content, error)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    seconds = time.monotonic() - started
    print(
        f"{name}: {options.inputs} inputs in {seconds:.0f} s, {taken} taken, {len(findings)} findings, "
        f"the rest refused as declared; peak {peak} MiB",
        flush=True,
    )
    return len(findings)


def by_coverage(name: str, target: Target, options: argparse.Namespace, scratch: Path) -> int:
    """Let atheris look for inputs that reach new code; it ends the process by itself."""
    import atheris

    corpus, dictionary, findings = scratch / "seeds", scratch / "pieces", Findings(options.findings)
    corpus.mkdir()
    for number, content in enumerate(target.seeds):
        (corpus / str(number)).write_bytes(content)
    quoted = ('"' + "".join(f"\\x{byte:02x}" for byte in piece) + '"\n' for piece in target.pieces)
    dictionary.write_text("".join(quoted), encoding="ascii")

    def one_input(content: bytes) -> None:
        try:
            target.survives(content)
        except Exception as error:
            findings.add(name, content, error)

    flags = {
        "runs": options.inputs, "seed": options.seed, "rss_limit_mb": MEMORY >> 20, "max_len": 1 << 16,
        "timeout": 60, "dict": dictionary, "artifact_prefix": scratch / "died-", "verbosity": 0, "print_final_stats": 1,
    }  # fmt: skip
    print(f"{name}: {options.inputs} inputs by coverage", flush=True)
    atheris.Setup([sys.argv[0], *(f"-{flag}={value}" for flag, value in flags.items()), str(corpus)], one_input)
    atheris.Fuzz()
    return 0


Engine = Callable[[str, "Target", argparse.Namespace, Path], int]
ENGINES: dict[str, Engine] = {"edits": by_edits, "atheris": by_coverage}


def make_targets(engine: str, folder: Path) -> dict[str, Target]:
    """The readers, instrumented where the engine looks at what is executed."""
    guided = nullcontext()
    if engine == "atheris":
        import atheris

        guided = atheris.instrument_imports(include=list(GUIDED))
    with guided:
        from tests.fuzzing import targets
    return dict(targets.make_targets(folder))


def failed(names: Sequence[str], options: argparse.Namespace) -> list[str]:
    """Fuzz readers one after the other; names of those with findings, or whose process died."""
    context, engine, unwell = multiprocessing.get_context("fork"), ENGINES[options.engine], []

    def run(name: str, scratch: Path) -> None:
        sys.exit(int(engine(name, targets[name], options, scratch) > 0))

    with tempfile.TemporaryDirectory(dir=IN_MEMORY if IN_MEMORY.is_dir() else None) as folder:
        targets = make_targets(options.engine, Path(folder))
        if unknown := set(names) - {*targets, "all"}:
            raise SystemExit(f"no reader {', '.join(unknown)}; there are {', '.join(targets)} and all")
        for name in targets if "all" in names else names:
            scratch = Path(folder, f"scratch-{name}")
            scratch.mkdir()
            before = set(options.findings.glob(f"{name}-*"))
            process = context.Process(target=run, args=(name, scratch))
            process.start()
            process.join()
            if process.exitcode or set(options.findings.glob(f"{name}-*")) - before:
                unwell.append(name)
    return unwell


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="+", metavar="READER", help="a reader's name, or all")
    parser.add_argument("--inputs", type=int, default=100_000, help="of each reader (default 100000)")
    parser.add_argument("--seed", type=int, default=1, help="other seeds give other inputs (default 1)")
    parser.add_argument("--engine", choices=tuple(ENGINES), default="edits", help="default: edits")
    parser.add_argument("--findings", type=Path, default=Path("findings"), help="folder for inputs (default findings)")
    options = parser.parse_args()
    logging.disable()
    unwell = failed(options.targets, options)
    print(f"findings in {', '.join(unwell)}: see {options.findings}" if unwell else "no findings")
    return int(bool(unwell))


if __name__ == "__main__":
    sys.exit(main())
