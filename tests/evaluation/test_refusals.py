"""What may not stand in one table is refused with its difference; what is missing is listed; what is optimistic is
marked everywhere.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from memobert_plugin.core.errors import UserError
from memobert_plugin.evaluation.report.figures import Picture
from memobert_plugin.evaluation.report.formats import Table
from memobert_plugin.evaluation.report.report import Choices, Report, build_report
from memobert_plugin.evaluation.report.runs import find_runs
from tests.evaluation.sweeps import LABELS, emotion_log, write_grid, write_run


def report_of(root: Path, **choices: Any) -> Report:
    return build_report(*find_runs([root]), Choices(**{"pictures": False, **choices}))


MIXTURES = [
    ("protocol", {"protocol": "all_but_one"}, "protocol differs (--protocol chooses one): strict in 8 runs such as"),
    (
        "selection",
        {"selection": "last"},
        "selection differs: best valid uar in 8 runs such as {root}/emotion/direct-",
    ),
    (
        "corpus",
        {"corpus": {"path": "x", "name": "other", "sha256": "ab" * 32}},
        "corpus.name differs (--corpus chooses one): toy in 8 runs",
    ),
    ("edition", {"corpus": {"path": "x", "name": "toy", "sha256": "cd" * 32}}, "corpus.sha256 differs"),
    ("labels", {"labels": [*LABELS, "joy"]}, "labels differs: anger, happy, neutral, sad in 8 runs"),
    (
        "budget",
        {"budget": {"max_epoch": 30, "max_update": 0, "batch_size": 32, "lr": [5e-05], "update_freq": [1]}},
        "budget.max_epoch differs: 15 in 8 runs such as {root}/emotion/direct-lva/full/",
    ),
]


@pytest.mark.parametrize(("changes", "message"), [case[1:] for case in MIXTURES], ids=[case[0] for case in MIXTURES])
def test_runs_that_differ_in_what_a_table_shares_are_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    write_grid(tmp_path, ("direct",))
    write_grid(tmp_path, ("pretrain_prompt",), **changes)
    for partial in (False, True):
        with pytest.raises(UserError) as raised:
            report_of(tmp_path, partial=partial)
        assert message.format(root=tmp_path) in str(raised.value)
        assert "pretrain_prompt" in str(raised.value)


def test_every_difference_is_told_at_once(tmp_path: Path) -> None:
    write_grid(tmp_path, ("direct",))
    write_grid(tmp_path, ("pretrain_prompt",), protocol="reference", selection="best test uar")
    with pytest.raises(UserError, match=r"protocol differs.*selection differs"):
        report_of(tmp_path)


def test_the_sweep_of_a_run_that_differs_is_told(tmp_path: Path) -> None:
    write_grid(tmp_path / "mine", ("direct",))
    write_grid(tmp_path / "published", ("direct",), protocol="reference")
    with pytest.raises(UserError, match=r"strict in 8 runs such as \S+/mine/emotion/.* such as \S+/published/emotion/"):
        report_of(tmp_path)


def test_one_of_several_protocols_or_corpora_can_be_chosen(tmp_path: Path) -> None:
    write_grid(tmp_path / "a", ("direct",))
    write_grid(tmp_path / "b", ("direct",), protocol="reference", selection="best test uar")
    assert "protocol strict" in report_of(tmp_path, protocol="strict").title
    with pytest.raises(UserError, match="--protocol last: no such runs; there are reference, strict"):
        report_of(tmp_path, protocol="last")


def test_a_setting_without_labels_stands_beside_trained_ones_of_one_budget(tmp_path: Path) -> None:
    write_grid(tmp_path, ("zero_shot",), budget={"lr": 0.0, "max_update": 1})
    write_grid(tmp_path, ("direct",))
    assert "max_epoch 15" in report_of(tmp_path).files()["index.html"].decode()


def test_budgets_may_differ_between_shares_of_training_data_and_not_within_one(tmp_path: Path) -> None:
    write_grid(tmp_path)
    small = {"max_epoch": 15, "max_update": 0, "batch_size": 32, "lr": [3e-05], "update_freq": [1]}
    write_grid(tmp_path, ("direct",), fraction=0.5, budget=small)
    write_grid(tmp_path / "more", ("pretrain_prompt",), fraction=0.5, budget=small)
    text = report_of(tmp_path).files()["figure3_train_fraction.md"].decode()
    assert "lr is \\[3e-05\\] at 50 %, \\[5e-05\\] at 100 %" in text
    write_grid(tmp_path, ("direct", "pretrain_prompt"), fraction=0.2)
    write_grid(tmp_path, ("mult",))
    write_grid(tmp_path, ("mult",), fraction=0.2, budget=small)
    with pytest.raises(UserError, match=r"figure 3 \(share of training data\) at 20 %: .*budget.lr differs"):
        report_of(tmp_path)


def test_other_utterances_are_refused(tmp_path: Path) -> None:
    write_grid(tmp_path)
    path = tmp_path / "emotion/pretrain_prompt-lva/full/fraction100/fold03/seed2/predictions/test-lva.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(UserError, match="only the first has 1 utterance such as Ses03_023"):
        report_of(tmp_path, partial=True)


def test_missing_runs_are_listed_and_refused(tmp_path: Path) -> None:
    write_grid(tmp_path, ("direct",))
    write_grid(tmp_path, ("pretrain_prompt",), folds=(1, 2, 3))
    write_run(tmp_path, "pretrain_prompt", 4, 1, status="failed")
    with pytest.raises(UserError) as raised:
        report_of(tmp_path)
    lines = str(raised.value).splitlines()
    assert lines[0].startswith("2 results missing; finish the sweep, or give --partial")
    assert "  emotion/pretrain_prompt-lva/full/fraction100/fold04/seed1: failed" in lines
    assert "  Pretrain+Prompt, 100 % of the training data, fold 4, seed 2: no run" in lines


def test_a_partial_report_marks_cells_and_compares_common_folds(tmp_path: Path) -> None:
    write_grid(tmp_path, ("direct",))
    write_grid(tmp_path, ("pretrain_prompt",), folds=(1, 2, 3))
    report = report_of(tmp_path, partial=True)
    files = {name: content.decode() for name, content in report.files().items()}
    assert len(report.missing) == 2
    assert "[3/4 folds, 6/8 runs]" in files["table2_settings.tex"]
    assert "\\[3/4 folds\\]" in files["table2_tests.md"]
    assert "fold 4, seed 2: no run" in files["index.html"]
    assert "Partial:" in files["table2_settings.md"]


def test_a_sweep_without_a_finished_run_has_no_report(tmp_path: Path) -> None:
    write_run(tmp_path, status="waiting")
    with pytest.raises(UserError, match="no run has predictions yet"):
        report_of(tmp_path, partial=True)


def test_selection_on_test_is_marked_on_every_table_and_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    reference: dict[str, Any] = {"protocol": "reference", "selection": "best test uar", "log": emotion_log(2)}
    write_grid(tmp_path, cases=("lva", "v"), **reference)
    write_grid(tmp_path, cases=("lva", "v"), fraction=0.5, **reference)
    write_grid(tmp_path, ("pretrain_prompt",), ablation="no_visual", **reference)
    report = report_of(tmp_path, pictures=True)
    shown: list[Table | Picture] = []
    for section in report.sections:
        shown += [*section.tables, *section.pictures]
    assert len(shown) == 12
    assert [one.stem for one in shown if "(selected on test)" not in one.title] == []
    for name, content in report.files().items():
        if not name.endswith((".png", ".svg", "curves.csv")):
            assert b"elected on test" in content or b"selected_on_test" in content, name
    strict = tmp_path / "strict"
    write_grid(strict)
    assert all(b"elected on test" not in content for content in report_of(strict).files().values())


def test_transductive_rows_are_marked_on_every_table_and_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    write_grid(tmp_path, ("direct",), cases=("lva", "v"))
    write_grid(tmp_path, ("pretrain_prompt",), cases=("lva", "v"), transductive=True)
    files = report_of(tmp_path).files()
    for stem in ("table2_settings", "table2_tests", "modality_cases", "confusion"):
        text = files[f"{stem}.md"].decode()
        assert re.search(r"Pretrain\+Prompt[\w, ]*\(transductive\)", text)
        assert not re.search(r"Direct[\w, ]*\(transductive\)", text)
        assert "Transductive: clips of the test speakers" in text
    assert b"Transductive: clips" in files["index.html"]
