"""Write a table in three forms: Markdown and LaTeX for reading, CSV with every number in full for computing."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

UNDEFINED = "–"

_MARKDOWN = str.maketrans({**{mark: f"\\{mark}" for mark in "\\`*_[]|~$"}, "<": "&lt;", ">": "&gt;", "&": "&amp;"})
_LATEX = str.maketrans(
    {
        **{mark: f"\\{mark}" for mark in "&%$#_{}"},
        "^": r"\textasciicircum{}",
        "~": r"\textasciitilde{}",
        "\\": r"\textbackslash{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
    }
)


@dataclass(frozen=True)
class Table:
    """A table ready to be written.

    Attributes:
        stem: file name without its ending.
        title: one line, with the marks that belong to every number in it.
        header: column names; the first column is text, the others are numbers.
        rows: cells as shown.
        notes: sentences below the table.
        records: rows of the CSV file, by column; all have the same columns.
    """

    stem: str
    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]
    records: tuple[Mapping[str, object], ...]


def percent(share: float, digits: int = 2) -> str:
    """Format a share as per cent, nan as a dash."""
    return UNDEFINED if math.isnan(share) else f"{100 * share:.{digits}f}"


def interval(low: float, high: float, *, signed: bool = False) -> str:
    """Format both ends of an interval of shares, in per cent."""
    if math.isnan(low) or math.isnan(high):
        return UNDEFINED
    return f"{100 * low:+.1f} to {100 * high:+.1f}" if signed else f"{100 * low:.1f} to {100 * high:.1f}"


def one_line(text: str) -> str:
    """Return text without line breaks and control characters, for places that hold one line."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", text)


def as_markdown(table: Table) -> str:
    """Return title, pipe table and notes."""
    from tabulate import tabulate

    def escape(text: str) -> str:
        return one_line(text).translate(_MARKDOWN)

    body = tabulate(
        [[escape(cell) for cell in row] for row in table.rows],
        [escape(cell) for cell in table.header],
        tablefmt="pipe",
        disable_numparse=True,
        colalign=_alignment(table.header),
    )
    return "\n\n".join([f"**{escape(table.title)}**", body, *map(escape, table.notes)]) + "\n"


def as_latex(table: Table) -> str:
    """Return a ``table`` with caption and label; it needs the package booktabs."""

    def escape(text: str) -> str:
        return one_line(text).translate(_LATEX)

    lines = [
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{escape(' '.join([table.title + '.', *table.notes]))}}}",
        rf"  \label{{tab:{table.stem.replace('_', '-')}}}",
        rf"  \begin{{tabular}}{{l{'r' * (len(table.header) - 1)}}}",
        r"    \toprule",
        f"    {' & '.join(map(escape, table.header))} \\\\",
        r"    \midrule",
        *(f"    {' & '.join(map(escape, row))} \\\\" for row in table.rows),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def as_csv(table: Table) -> str:
    """Return the records as CSV: numbers in full, empty where undefined, truth values as ``yes`` and ``no``."""
    return records_as_csv(table.records)


def records_as_csv(records: Sequence[Mapping[str, object]]) -> str:
    """Return records of the same columns as CSV with a header."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _plain(value) for key, value in record.items()} for record in records)
    return stream.getvalue()


def _plain(value: object) -> object:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return "" if math.isnan(value) else repr(round(value, 10))
    return "" if value is None else value


def _alignment(header: Sequence[str]) -> list[str]:
    return ["left", *["right"] * (len(header) - 1)]
