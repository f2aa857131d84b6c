"""The command's flags, what it prints, and its exit status."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from memobert_plugin.cli.binarize import cli_main, main
from memobert_plugin.core.errors import UserError
from memobert_plugin.data.corpus import Corpus
from memobert_plugin.data.manifest import write_manifest
from tests.data.sources import VISUAL_DIM, Sources, distributions


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    sources = Sources(tmp_path)
    write_manifest(sources.manifest, sources.rows)
    return sources


def flags(sources: Sources, *more: str, tokenizer: tuple[str, ...] | None = None) -> list[str]:
    folder = sources.folder
    return [
        *(
            "--manifest",
            str(sources.manifest),
            "--visual",
            str(folder / "visual"),
            "--acoustic",
            str(folder / "acoustic"),
        ),
        *(tokenizer or ("--vocab", str(sources.vocabulary))),
        *("--output", str(folder / "bin"), *more),
    ]


def spoil(sources: Sources) -> None:
    sources.put("visual", "film/2", np.full((3, VISUAL_DIM), np.inf), distributions(3))


def test_it_writes_a_data_bin_and_says_what_is_in_it(sources: Sources, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(flags(sources)) == 0
    printed = capsys.readouterr()
    assert "bin: 6 utterances, 0 of 6 rows left out" in printed.out
    assert "visual    5 utterances (1 without), 16 frames" in printed.out
    assert printed.err == ""
    assert len(Corpus(sources.folder / "bin")) == 6


def test_more_defects_than_allowed_give_status_1_and_a_summary(
    sources: Sources, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(sources)
    assert main(flags(sources)) == 1
    printed = capsys.readouterr()
    assert "5 utterances, 1 of 6 rows left out" in printed.out
    assert "film%2F2.npz: frames has NaN or infinite values, first in frame 0" in printed.out
    assert "bin/skipped.tsv" in printed.out
    assert "16.67% of the rows left out, more than --max-failed-share 0.01" in printed.err


def test_fewer_defects_than_allowed_give_status_0(sources: Sources, capsys: pytest.CaptureFixture[str]) -> None:
    spoil(sources)
    assert main(flags(sources, "--max-failed-share", "0.2")) == 0
    assert "left out: film/2: " in capsys.readouterr().out


def test_a_mistake_is_one_line_and_status_2(
    sources: Sources, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sources.manifest.write_text("name\ttext\na\tb\n")
    monkeypatch.setattr("sys.argv", ["memobert-binarize", *flags(sources)])
    with pytest.raises(SystemExit) as caught:
        cli_main()
    assert caught.value.code == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"memobert-binarize: error: {sources.manifest}, row 1: no column id")
    assert printed.count("\n") == 1


def test_a_dry_run_writes_nothing(sources: Sources, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(flags(sources, "--dry-run")) == 0
    assert "6 utterances would be written" in capsys.readouterr().out
    assert not (sources.folder / "bin").exists()


def test_overwriting_must_be_asked_for(sources: Sources) -> None:
    assert main(flags(sources)) == 0
    with pytest.raises(UserError, match="give --overwrite"):
        main(flags(sources))
    with pytest.raises(UserError, match="give --overwrite"):
        main(flags(sources, tokenizer=("--train-sentencepiece", "50")))
    assert main(flags(sources, "--overwrite", "--workers", "2")) == 0


def test_sentencepiece_is_trained_on_the_manifest_and_a_model_can_be_used_again(sources: Sources) -> None:
    assert main(flags(sources, tokenizer=("--train-sentencepiece", "100"))) == 0
    first = Corpus(sources.folder / "bin")
    assert first.meta.tokenizer == "sentencepiece"
    model = str(first.path / "tokenizer" / "sentencepiece.model")
    assert main(flags(sources, "--output", str(sources.folder / "again"), tokenizer=("--sentencepiece", model))) == 0
    assert Corpus(sources.folder / "again").symbols == first.symbols


@pytest.mark.parametrize("kept", [True, False])
def test_case_is_kept_on_request(sources: Sources, kept: bool) -> None:
    sources.rows[0] = sources.rows[0].__class__(2, "film/0", text="CAT cat")
    write_manifest(sources.manifest, sources.rows)
    assert main(flags(sources, *["--cased"] * kept)) == 0
    corpus = Corpus(sources.folder / "bin")
    assert [corpus.symbols[row] for row in corpus.text.view(0)] == ["[UNK]" if kept else "cat", "cat"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--max-failed-share", "2"], "--max-failed-share 2: give a share from 0 to 1"),
        (["--workers", "0"], "--workers 0: give at least 1"),
    ],
)
def test_a_flag_out_of_range_is_refused(sources: Sources, more: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        main(flags(sources, *more))


def test_case_is_the_models_own_business(sources: Sources) -> None:
    with pytest.raises(UserError, match="--cased: a sentencepiece model has its own rule for case"):
        main(flags(sources, "--cased", tokenizer=("--sentencepiece", "m.model")))


def test_a_tokenizer_must_be_chosen(sources: Sources, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--manifest", "m.tsv", "--output", "x"])
    assert "one of the arguments --vocab --sentencepiece --train-sentencepiece is required" in capsys.readouterr().err
