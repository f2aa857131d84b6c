"""Print which containers and codecs show numbered pictures at their times, as the table in docs/film.md.

    python scripts/reliability/film_times.py [--pictures 200] [--seeks 100]

Each film's pictures differ and say their number. It is read once forwards and then in stretches of six pictures in
random order from one open film; a picture that is missing or another one than that of its time is an error. Kinds for
which this FFmpeg has no encoder are left out.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import av

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.numbered_films import KINDS, write_numbered_film, wrong_pictures  # noqa: E402


def main() -> int:
    """Print the table; return 1 if there are errors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--seeks", type=int, default=100)
    args = parser.parse_args()
    print("| container | pictures | sound | errors forwards | errors after seeks |\n|---|---|---|---|---|")
    errors = 0
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            try:
                film = write_numbered_film(Path(folder, f"film{kind.suffix}"), kind, args.pictures)
            except av.codec.codec.UnknownCodecError:
                continue
            wrong, shown, sought_wrong, sought = wrong_pictures(film, range(args.pictures), args.pictures, args.seeks)
        errors += wrong + sought_wrong
        cells = (
            f"`{kind.suffix}`",
            f"{kind.codec}{f', {kind.remark}' if kind.remark else ''}",
            kind.sound or "none",
            f"{wrong} of {shown}",
            f"{sought_wrong} of {sought}",
        )
        print(f"| {' | '.join(cells)} |", flush=True)
    return int(errors > 0)


if __name__ == "__main__":
    raise SystemExit(main())
