"""Feeds readers of outside files with damaged input; whatever they raise beside their declared error is a finding.

    python scripts/reliability/fuzz.py manifest --inputs 100000
    python scripts/reliability/fuzz.py all
    python scripts/reliability/fuzz.py plan --engine atheris      # coverage-guided: pip install atheris

Memory is limited, so that an input that asks for gigabytes is found too. A finding is written to --findings and printed
with its traceback; the exit status is then 1.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import resource
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.fuzzing.edits import edited
from tests.fuzzing.targets import Target, make_targets

MEMORY = 3 << 30


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


def by_edits(name: str, target: Target, inputs: int, seed: int, findings: Findings) -> None:
    """Edit the good inputs at random, and what the reader took as well."""
    chance = random.Random(f"{name} {seed}")
    taken, started, survivors = 0, time.monotonic(), list(target.seeds)
    for _ in tqdm(range(inputs), desc=name, mininterval=2):
        content = edited(chance.choice(survivors), target.pieces, chance.randrange)
        try:
            if target.survives(content):
                taken += 1
                if len(survivors) < 200:
                    survivors.append(content)
        except Exception as error:
            findings.add(name, content, error)
    print(f"{name}: {inputs} inputs in {time.monotonic() - started:.0f} s, {taken} taken, the rest refused as declared")


def by_coverage(name: str, target: Target, inputs: int, seed: int, folder: Path) -> None:
    """Let atheris find inputs that reach new code; it ends the process at the first finding."""
    import atheris

    corpus = folder / "seeds"
    corpus.mkdir()
    for number, content in enumerate(target.seeds):
        (corpus / str(number)).write_bytes(content)
    atheris.instrument_all()
    arguments = [sys.argv[0], f"-runs={inputs}", f"-seed={seed}", "-rss_limit_mb=3072", "-max_len=65536", str(corpus)]
    atheris.Setup(arguments, target.survives)
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", help="a reader's name, or all")
    parser.add_argument("--inputs", type=int, default=100_000, help="of each reader (default 100000)")
    parser.add_argument("--seed", type=int, default=1, help="other seeds give other inputs (default 1)")
    parser.add_argument("--engine", choices=("edits", "atheris"), default="edits", help="default: edits")
    parser.add_argument("--findings", type=Path, default=Path("findings"), help="folder for inputs (default findings)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        targets = make_targets(Path(scratch))
        names = list(targets) if arguments.target == "all" else [arguments.target]
        if unknown := set(names) - set(targets):
            parser.error(f"no reader {', '.join(unknown)}; there are {', '.join(targets)} and all")
        if arguments.engine == "atheris":
            if len(names) > 1:
                parser.error("atheris takes one reader at a time")
            by_coverage(names[0], targets[names[0]], arguments.inputs, arguments.seed, Path(scratch))
            return 0
        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
        findings = Findings(arguments.findings)
        for name in names:
            by_edits(name, targets[name], arguments.inputs, arguments.seed, findings)
    print(f"{len(findings)} findings{f' in {arguments.findings}' if len(findings) else ''}")
    return int(bool(findings))


if __name__ == "__main__":
    sys.exit(main())
