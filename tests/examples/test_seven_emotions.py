"""The corpus of the shipped model: which lines and faces an utterance gets."""

from __future__ import annotations

import importlib.util
import runpy
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from memobert_plugin.core.errors import UserError
from memobert_plugin.data.manifest import ManifestRow, read_manifest, write_manifest

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "seven_emotions" / "seven_corpus.py"


@pytest.fixture(scope="module")
def build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("seven_corpus", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_lines_of_one_known_label_are_taken_without_place_holders(build: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("joy\ncuriosity\nneutral\n")
    rows = ["text\tlabel\tid", "so [NAME]  happy\t0\ta", "why\t1\tb", "both\t0,2\tc", 'a "quote\t2\td']
    (tmp_path / "train.tsv").write_text("\n".join(rows) + "\n")
    assert list(build.goemotions_lines(tmp_path, "train")) == [("happiness", "so happy"), ("neutral", 'a "quote')]
    (tmp_path / "emorynlp_dev_final.csv").write_text('Utterance,Emotion\n"Oh, no",Scared\nHm,Powerful\n')
    assert list(build.emorynlp_lines(tmp_path, "dev")) == [("fear", "Oh, no")]


def test_items_come_again_only_when_all_have_been(build: ModuleType) -> None:
    turns = build.Turns({"fear": [1, 2, 3]}, np.random.default_rng(0))
    drawn = [turns.next("fear") for _ in range(6)]
    assert sorted(drawn[:3]) == sorted(drawn[3:]) == [1, 2, 3]


def test_a_single_face_shows_the_emotion_and_several_do_so_in_part(build: ModuleType) -> None:
    rng = np.random.default_rng(0)
    number = {emotion: index for index, emotion in enumerate(build.EMOTIONS)}
    faces = build.Turns({emotion: [index] for emotion, index in number.items()}, rng)
    drawn = [build.draw_faces("fear", faces, rng) for _ in range(600)]
    single = [shown for shown in drawn if len(shown) == 1]
    assert 0.25 < len(single) / len(drawn) < 0.35
    assert all(shown[0] == number["fear"] for shown in single)
    several = np.concatenate([shown for shown in drawn if len(shown) > 1])
    shares = np.bincount(several, minlength=7) / len(several)
    assert shares[number["fear"]] == pytest.approx(0.55 + 0.45 * 0.3 / 7, abs=0.05)
    assert shares[number["neutral"]] == pytest.approx(0.45 * (0.7 + 0.3 / 7), abs=0.05)


def test_lines_alone_are_as_frequent_as_in_dialogue_and_dialogue_comes_more_often(
    build: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "labels.txt").write_text("neutral\nfear\nsurprise\n")
    written = [f"{name}{number}\t{label}\ta" for label, name in enumerate("nfs") for number in range(300)]
    (tmp_path / "train.tsv").write_text("text\tlabel\tid\n" + "\n".join(written) + "\n")
    spoken = [f"spoken{number},Neutral" for number in range(100)]
    (tmp_path / "emorynlp_train_final.csv").write_text("Utterance,Emotion\n" + "\n".join(spoken) + "\n")
    rows = build.lines_alone(tmp_path, tmp_path, 4000, np.random.default_rng(0))
    assert len({row.id for row in rows}) == len(rows)
    assert all(row.split == "train" and not row.audio and not row.video for row in rows)
    counts = {emotion: sum(row.emotion == emotion for row in rows) for emotion in build.EMOTIONS}
    total = sum(build.SPOKEN.values())
    for emotion in ("neutral", "fear", "surprise"):
        assert counts[emotion] == round(4000 * build.SPOKEN[emotion] / total)
    of_dialogue = sum(row.text.startswith("spoken") for row in rows)
    assert of_dialogue / counts["neutral"] == pytest.approx(
        100 * build.DIALOGUE_WEIGHT / (100 * build.DIALOGUE_WEIGHT + 300), abs=0.01
    )
    times = [sum(row.text == f"f{number}" for row in rows) for number in range(300)]
    assert max(times) - min(times) <= 1


def test_lines_come_once_without_those_of_another_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "labels.txt").write_text("neutral\nfear\n")
    written = "text\tlabel\tid\nI wait\t0\ta\nRun!\t1\tb\nrun\t0\tc\nWell, hello.\t0\td\n"
    (tmp_path / "train.tsv").write_text(written)
    (tmp_path / "emorynlp_train_final.csv").write_text("Utterance,Emotion\nOh no!,Scared\n")
    write_manifest(tmp_path / "known.tsv", [ManifestRow(0, "a", "", "", "test", "well hello")])
    folder = str(tmp_path)
    words = ["--goemotions", folder, "--emorynlp", folder, "--once", "--leave-out", str(tmp_path / "known.tsv")]
    monkeypatch.setattr("sys.argv", ["text_corpus.py", *words, "--output", str(tmp_path / "once.tsv")])
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    runpy.run_path(str(SCRIPT.parent / "text_corpus.py"), run_name="text_corpus")["main"]()
    lines = {(row.emotion, row.text) for row in read_manifest(tmp_path / "once.tsv")}
    assert lines == {("neutral", "I wait"), ("fear", "Run!"), ("neutral", "run"), ("fear", "Oh no!")}
    assert "4 lines, 4 different: " in capsys.readouterr().out


def test_a_folder_of_another_corpus_is_named(build: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"labels\.txt: no such file; give the folder of the tables of GoEmotions"):
        list(build.goemotions_lines(tmp_path, "train"))
    with pytest.raises(UserError, match=r"dev_final\.csv: no such file; give the folder of the tables of EmoryNLP"):
        list(build.emorynlp_lines(tmp_path, "dev"))
