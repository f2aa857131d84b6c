"""Run what once came out wrong as a user would, and print for each case whether it is right now.

    python scripts/reliability/wrong_answers.py                  # all cases, a few minutes
    python scripts/reliability/wrong_answers.py S1 G3            # some
    python scripts/reliability/wrong_answers.py --files FOLDER   # with input files of the same names from there

The inputs are made in a temporary folder (wrong_answers_inputs.py). A case is a function in wrong_answers_cases.py that
works in a folder of its own (wrong_answers_workshop.py). Installed commands run by their entry points, in processes
forked from one start-up. The exit status is 1 if any case is wrong.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

from wrong_answers_workshop import Workshop, Wrong, forked


def _load_once() -> None:
    """Import what the commands import, so that each command starts from here within a moment."""
    os.environ["LOGLEVEL"] = "WARNING"  # fairseq's, on standard output, where the table stands
    import fairseq_cli.train  # noqa: F401

    import memobert_plugin
    import memobert_plugin.features.denseface.encoder
    import memobert_plugin.features.extraction.clip

    memobert_plugin.register()
    os.environ.update({"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"})


def run_cases(names: Sequence[str], files: Path | None = None) -> dict[str, tuple[str, str, str]]:
    """Run cases; return for each its title, ``right`` or ``wrong`` or ``error``, and what came out."""
    from wrong_answers_cases import CASES
    from wrong_answers_inputs import make_inputs

    unknown = [name for name in names if name not in CASES]
    if unknown:
        raise SystemExit(f"no case {unknown[0]}; there are {', '.join(CASES)}")
    results = {}
    _load_once()
    with tempfile.TemporaryDirectory() as temporary:
        inputs = Path(temporary, "inputs")
        if files is not None:
            shutil.copytree(files, inputs, copy_function=shutil.copyfile)
        else:
            made = forked(lambda: make_inputs(inputs), Path(temporary, "log"))
            if made.status:
                raise SystemExit(f"the inputs cannot be made: {made.output}")
        for name in names or CASES:
            title, case = CASES[name]
            folder = Path(temporary, name)
            folder.mkdir()
            try:
                verdict, came_out = "right", case(Workshop(inputs, folder))
            except Wrong as wrong:
                verdict, came_out = "wrong", str(wrong)
            except Exception as error:
                traceback.print_exc()
                verdict, came_out = "error", repr(error)
            results[name] = (title, verdict, " ".join(came_out.split())[:160].replace("|", "/"))
            print(f"| {name} | {title} | {verdict} | {results[name][2]} |", flush=True)
            shutil.rmtree(folder, ignore_errors=True)
    return results


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", nargs="*", help="such as S1 (default: all)")
    parser.add_argument("--files", type=Path, metavar="FOLDER", help="input files of the same names")
    args = parser.parse_args()
    print("| case | tried | verdict | came out |\n|---|---|---|---|")
    results = run_cases(args.case, args.files)
    wrong = sum(verdict != "right" for _, verdict, _ in results.values())
    print(f"\n{len(results) - wrong} of {len(results)} cases are right")
    return int(wrong > 0)


if __name__ == "__main__":
    raise SystemExit(main())
