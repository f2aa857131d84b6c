"""Write docs/flags.md: every flag of every task, criterion, architecture and optimiser, from the code.

python scripts/list_flags.py            # writes it
python scripts/list_flags.py --check    # exits with 1 where it is out of date
"""

from __future__ import annotations

import sys
from pathlib import Path

import memobert_plugin

memobert_plugin.register()

from memobert_plugin.registration import Flag, flags_by_owner  # noqa: E402

PAGE = Path(__file__).resolve().parents[1] / "docs" / "flags.md"
HEAD = """# Flags

Made by `python scripts/list_flags.py`; do not edit. These are the flags that this package adds to `fairseq-train` and
`fairseq-validate`; fairseq's own are in `fairseq-train --help`. A flag without value is off unless it is given.
`memobert-train` and plans set some of them ([training.md](training.md)).
"""
TITLES = {"task": "Tasks", "criterion": "Criterions", "arch": "Architectures", "optimizer": "Optimiser"}


def page() -> str:
    """Return the page; flags that all tasks (or all architectures) have alike come once."""
    owners = flags_by_owner()
    lines = [HEAD]
    for kind, title in TITLES.items():
        lines += [f"## {title}", ""]
        mine = {name: flags for (of, name), flags in owners.items() if of == kind}
        written: dict[tuple[Flag, ...], str] = {}
        for name, flags in mine.items():
            lines += [f"### `--{kind} {name}`", ""]
            if not flags:
                lines += ["No flags.", ""]
            elif (same := written.get(tuple(flags))) is not None:
                lines += [f"As `{same}`.", ""]
            else:
                written[tuple(flags)] = name
                lines += ["| flag | default | meaning |", "|---|---|---|", *map(row, flags), ""]
    return "\n".join(lines).rstrip() + "\n"


def row(flag: Flag) -> str:
    """Return a flag's row of a table."""
    value = f" {flag.value}" if flag.value else ""
    default = "off" if not flag.value else f"`{flag.default}`" if flag.default not in ("", "None") else ""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in (f"`{flag.name}{value}`", default, flag.help)) + " |"


def main() -> int:
    """Write the page, or compare it."""
    if "--check" in sys.argv[1:]:
        current = PAGE.is_file() and PAGE.read_text(encoding="utf-8") == page()
        print("current" if current else f"{PAGE}: out of date; run python scripts/list_flags.py")
        return 0 if current else 1
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
