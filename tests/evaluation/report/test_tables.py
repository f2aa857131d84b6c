"""Forms of a table: what comes from a file is escaped, and equal runs give equal bytes."""

from __future__ import annotations

import csv
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from memobert_plugin.evaluation.report.formats import Table, as_csv, as_latex, as_markdown, interval, percent
from memobert_plugin.evaluation.report.report import Choices, build_report
from memobert_plugin.evaluation.report.runs import find_runs
from tests.evaluation.sweeps import emotion_log, write_grid, write_pretraining

IEMOCAP: dict[str, Any] = {"corpus": {"path": "bin", "name": "IEMOCAP", "sha256": "cd" * 32}}
NASTY = '<script>alert("1")</script> a|b & $x_1$ 50% #{}~^\\ [l](http://x) `c` *d*\nnext'


def table(name: str) -> Table:
    return Table("stem", name, ("", "UAR"), ((name, "50.0"),), (name,), ({"name": name, "uar": 50.0},))


def test_markdown_keeps_its_columns_and_holds_no_markup_of_a_name() -> None:
    text = as_markdown(table(NASTY))
    (row,) = [line for line in text.splitlines() if line.startswith("| ") and "50.0" in line]
    assert len(re.findall(r"(?<!\\)\|", row)) == 3
    assert "<script" not in text and "\\[l\\](http" in text and "\\`c\\`" in text


def test_latex_holds_no_command_of_a_name() -> None:
    text = as_latex(table(NASTY))
    (row,) = [line for line in text.splitlines() if line.endswith("50.0 \\\\")]
    assert r"a\textbar{}b \& \$x\_1\$ 50\% \#\{\}\textasciitilde{}\textasciicircum{}\textbackslash{}" in row
    assert len(re.findall(r"(?<!\\)&", row)) == 1
    assert text.count(r"\begin{") == text.count(r"\end{") == 2


def test_csv_gives_names_back_as_they_were() -> None:
    assert next(csv.DictReader(io.StringIO(as_csv(table(NASTY))))) == {"name": NASTY, "uar": "50.0"}


def test_undefined_numbers_are_a_dash() -> None:
    assert (percent(float("nan")), interval(float("nan"), 1.0)) == ("–", "–")
    assert (percent(0.12345), interval(-0.01, 0.125, signed=True)) == ("12.35", "-1.0 to +12.5")


class Tags(HTMLParser):
    """Collects tags and the addresses they ask for."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]


@pytest.fixture
def nasty_sweep(tmp_path: Path) -> Path:
    corpus = {"path": "x", "name": NASTY, "sha256": "<b>"}
    log = emotion_log(2)
    write_grid(tmp_path, ("direct",), corpus=corpus, log=log, cases=("lva", "v"))
    write_grid(tmp_path, ("direct",), corpus=corpus, ablation="<i>no face</i> $a", cases=("lva", "v"))
    write_pretraining(tmp_path)
    return tmp_path


def test_the_page_is_self_contained_and_runs_no_name(nasty_sweep: Path) -> None:
    pytest.importorskip("matplotlib")
    page = build_report(*find_runs([nasty_sweep]), Choices()).files()["index.html"].decode()
    tags = Tags()
    tags.feed(page)
    assert not {"script", "link", "iframe", "i", "b"} & tags.names
    assert "img" in tags.names
    beside = {address for address in tags.addresses if not address.startswith(("data:image/svg+xml;base64,", "#"))}
    assert beside and all(re.fullmatch(r"\w+\.csv", address) for address in beside)
    assert "&lt;script&gt;" in page
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page


def test_equal_runs_give_equal_bytes(nasty_sweep: Path) -> None:
    pytest.importorskip("matplotlib")
    first, second = (build_report(*find_runs([nasty_sweep]), Choices()).files() for _ in range(2))
    assert first == second
    assert any(name.endswith(".svg") for name in first)
    assert all(b"<dc:date>" not in content for name, content in first.items() if name.endswith(".svg"))


def test_a_comparator_has_its_published_numbers_and_its_note_and_the_others_stay(tmp_path: Path) -> None:
    write_grid(tmp_path, settings=["mmin"], setting_title="MMIN", setting_note="MMIN reads these inputs.", **IEMOCAP)
    write_grid(tmp_path, settings=["direct"], **IEMOCAP)
    files = build_report(*find_runs([tmp_path]), Choices(pictures=False)).files()
    lines = files["table2_settings.md"].decode().splitlines()
    [mmin] = [line for line in lines if line.startswith("| MMIN ")]
    assert "78.12" in mmin and sum("|" in line and "78.12" in line for line in lines) == 1
    assert len([line for line in lines if line.startswith(("| cLSTM-MMA", "| SSMM"))]) == 2
    assert sum("MMIN reads these inputs." in line for line in lines) == 1
