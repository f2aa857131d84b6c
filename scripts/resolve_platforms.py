"""Resolve the requirements for every platform and Python with wheels only; print the table of docs/install.md.

    pip install uv
    python scripts/resolve_platforms.py                 # with constraints.txt
    python scripts/resolve_platforms.py --newest        # without it: the newest versions that the requirements allow

uv evaluates the requirements' markers for another platform, which `pip install --platform` does not. It reads metadata
and downloads no wheel. Exit status: 1 if the core does not resolve somewhere.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLATFORMS = {
    "Linux x86-64": "x86_64-manylinux_2_28",
    "Linux aarch64": "aarch64-manylinux_2_28",
    "macOS arm64": "aarch64-apple-darwin",
    "Windows x86-64": "x86_64-pc-windows-msvc",
}
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
OLDEST_MACOS = "14.0"
"""Of the wheels of torch."""
FROM_SOURCE = ("antlr4-python3-runtime",)
"""A need of omegaconf, and so of fairseq: pure Python that is published as source only."""
CORE = "(core)"
EXTRAS = (
    "plot",
    "video",
    "faces",
    "transcribe",
    "words",
    "hydra",
    "search",
    "serve",
    "docs",
    "notebook",
    "onnx",
    "test",
)


def build_wheel(folder: Path) -> Path:
    """Build the project's wheel, whose metadata has the requirements as an installation sees them."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, stdout=sys.stderr)
    (wheel,) = folder.glob("*.whl")
    return wheel


def resolve(wheel: Path, extra: str, platform: str, python: str, constraints: bool) -> tuple[dict[str, str], str]:
    """Return the versions of all packages, or none and the reason."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--no-progress"]
    command += ["--python-version", python, "--python-platform", platform, "--only-binary", ":all:"]
    for name in FROM_SOURCE:
        command += ["--no-binary", name]
    if constraints:
        command += ["--constraint", str(ROOT / "constraints.txt")]
    asked = f"memobert-plugin{'' if extra == CORE else f'[{extra}]'} @ {wheel.as_uri()}"
    environment = {**os.environ, "MACOSX_DEPLOYMENT_TARGET": OLDEST_MACOS, "NO_COLOR": "1"}
    finished = subprocess.run(
        [*command, "-"], input=asked, cwd=wheel.parent, env=environment, capture_output=True, text=True, check=False
    )
    if finished.returncode:
        return {}, re.sub(r"[\s│╰─▶×]+", " ", finished.stderr).strip()
    return dict(line.split("==") for line in finished.stdout.split() if "==" in line), ""


def cell(extra: str, answers: dict[str, tuple[dict[str, str], str]]) -> str:
    """Return a cell of the table: the Pythons that resolve, and those of them that have fairseq."""
    resolved = [python for python, (_, reason) in answers.items() if not reason]
    training = [python for python, (versions, _) in answers.items() if "ve-fairseq" in versions]
    text = ", ".join(resolved) or "none"
    return f"{text}; training: {', '.join(training)}" if extra == CORE and training else text


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table, then the reasons for what it lacks."""
    parser = argparse.ArgumentParser(description="Resolve the requirements for every platform and Python.")
    parser.add_argument("--newest", action="store_true", help="without constraints.txt")
    parser.add_argument("--extras", nargs="*", default=EXTRAS, metavar="NAME", help="default: %(default)s")
    options = parser.parse_args(argv)
    reasons = {}
    print(f"| | {' | '.join(PLATFORMS)} |\n|---|{'---|' * len(PLATFORMS)}")
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(4) as pool:
        wheel = build_wheel(Path(folder))
        for extra in (CORE, *options.extras):
            cells = []
            for name, platform in PLATFORMS.items():
                asked = [(wheel, extra, platform, python, not options.newest) for python in PYTHONS]
                answers = dict(zip(PYTHONS, pool.map(lambda of_one: resolve(*of_one), asked), strict=True))
                cells.append(cell(extra, answers))
                for python, (versions, reason) in answers.items():
                    found = reason or f"torch {versions['torch']}, numpy {versions['numpy']}"
                    print(f"{extra}, {name}, Python {python}: {found}", file=sys.stderr, flush=True)
                    if reason:
                        reasons[extra, name, python] = reason
            print(f"| {extra if extra == CORE else f'`[{extra}]`'} | {' | '.join(cells)} |", flush=True)
    print()
    for (extra, name, python), reason in reasons.items():
        print(f"{extra}, {name}, Python {python}: {reason}")
    return int(any(extra == CORE for extra, _, _ in reasons))


if __name__ == "__main__":
    sys.exit(main())
