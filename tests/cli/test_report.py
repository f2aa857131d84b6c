"""The command writes a report, removes what an earlier one left, and refuses in one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import memobert_plugin
from memobert_plugin.cli.report import main
from memobert_plugin.core.errors import UserError
from tests.evaluation.sweeps import write_grid


def test_it_writes_tables_pictures_and_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    runs, out = write_grid(tmp_path / "runs"), tmp_path / "deep" / "report"
    assert main([str(runs), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "Settings, toy, protocol strict" in printed
    assert printed.rstrip().endswith(str(out / "index.html"))
    assert (out / "confusion.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "confusion.svg").read_text(encoding="utf-8").startswith("<?xml")
    assert {path.suffix for path in out.iterdir()} == {".md", ".csv", ".tex", ".png", ".svg", ".html"}


def test_tables_alone_need_no_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.style", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    runs, out = write_grid(tmp_path / "runs"), tmp_path / "report"
    with pytest.raises(UserError, match=r'pip install "\.\[plot\]" .*, or give --no-pictures'):
        main([str(runs), "--out", str(out)])
    assert not out.exists()
    assert main([str(runs), "--out", str(out), "--no-pictures"]) == 0
    assert not list(out.glob("*.png"))


def test_files_of_an_earlier_report_do_not_stay_beside_a_new_one(tmp_path: Path) -> None:
    runs, out = write_grid(tmp_path / "runs"), tmp_path / "report"
    out.mkdir()
    for name in ("table3_ablations.csv", "confusion.png", "notes.txt"):
        (out / name).write_text("old")
    main([str(runs), "--out", str(out), "--no-pictures"])
    assert not (out / "table3_ablations.csv").exists()
    assert not (out / "confusion.png").exists()
    assert (out / "notes.txt").read_text() == "old"


def test_several_folders_make_one_report(tmp_path: Path) -> None:
    folders = [str(write_grid(tmp_path / name, (name,))) for name in ("direct", "pretrain_prompt")]
    assert (
        main([*folders, "--out", str(tmp_path / "report"), "--no-pictures", "--settings", "pretrain_prompt, direct"])
        == 0
    )
    table = (tmp_path / "report" / "table2_settings.md").read_text()
    assert table.index("Pretrain+Prompt") < table.index("Direct")


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"--out .*file: cannot be written"):
        main([str(write_grid(tmp_path / "runs")), "--out", str(tmp_path / "file"), "--no-pictures"])


def test_a_mixture_leaves_no_report(tmp_path: Path) -> None:
    write_grid(tmp_path / "runs", ("direct",))
    write_grid(tmp_path / "runs", ("pretrain_prompt",), protocol="all_but_one")
    with pytest.raises(UserError, match="protocol differs"):
        main([str(tmp_path / "runs"), "--out", str(tmp_path / "report")])
    assert not (tmp_path / "report").exists()


def test_help_pulls_in_no_heavy_package() -> None:
    code = (
        "import sys; from memobert_plugin.cli.report import build_parser; build_parser().format_help(); "
        "print(*{'torch', 'fairseq', 'matplotlib', 'numpy', 'scipy', 'jinja2'} & set(sys.modules))"
    )
    root = Path(memobert_plugin.__file__ or "").parents[1]
    found = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""


def test_metrics_and_significance_do_not_import_fairseq() -> None:
    code = (
        "import sys; from memobert_plugin.evaluation.metrics import scores, significance; "
        "print(*{'torch', 'fairseq', 'matplotlib', 'tabulate', 'jinja2'} & set(sys.modules))"
    )
    root = Path(memobert_plugin.__file__ or "").parents[1]
    found = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""
