"""The composite corpus: what is paired with what, and the simple systems beside it."""

from __future__ import annotations

import importlib.util
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from memobert_plugin.core.errors import UserError
from memobert_plugin.data.frames import ExtractorInfo, frame_file, read_extractor_info, read_frames
from memobert_plugin.data.manifest import read_manifest
from memobert_plugin.features.denseface.pictures import ExpressionPictures

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "composite"
EMOTIONS = ("anger", "happy", "neutral", "sad")


def load(script: str) -> ModuleType:
    """A script of the folder as a module."""
    spec = importlib.util.spec_from_file_location(script, FOLDER / f"{script}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[script] = module  # where a dataclass looks for its own module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def forget_modules() -> Iterator[None]:
    """The scripts' short names belong to no other test."""
    yield
    for name in ("pairing", "build"):
        sys.modules.pop(name, None)


@pytest.fixture
def pairing() -> ModuleType:
    """The drawing of lines and faces."""
    return load("pairing")


def pictures(each: int) -> dict[str, np.ndarray]:
    """Numbers of that many pictures of each emotion: hundreds tell the emotion."""
    return {emotion: 1000 * number + np.arange(each) for number, emotion in enumerate(EMOTIONS)}


def test_a_line_is_handed_out_once_and_no_text_twice(pairing: ModuleType) -> None:
    spoken = [("sad", pairing.Line("a", "No.")), ("anger", pairing.Line("b", "NO."))]
    spoken += [("sad", pairing.Line(str(number), f"Line {number}")) for number in range(5)]
    lines = pairing.Lines(spoken, np.random.default_rng(1))
    had = [line.text.casefold() for line in lines.left]
    assert len(had) == len(set(had)) == 6
    assert lines.suffice_for({"sad": 4}) == 1
    given = [lines.next("sad").id for _ in range(5)]
    assert len(set(given)) == 5
    assert not set(given) & {line.id for line in lines.left}
    with pytest.raises(UserError, match="no line of happy is left"):
        lines.next("happy")


def test_no_picture_has_two_speakers(pairing: ModuleType) -> None:
    rng = np.random.default_rng(1)
    faces = pairing.Faces(pictures(101), ["a", "b", "c"], rng)
    drawn: dict[str, set[int]] = {speaker: set() for speaker in "abc"}
    for speaker in "abc":
        for _ in range(200):
            drawn[speaker] |= set(faces.draw(speaker, "happy", rng).tolist())
    assert sum(len(numbers) for numbers in drawn.values()) == len(set.union(*drawn.values())) == 4 * 101
    with pytest.raises(UserError, match="2 pictures of anger for 3 speakers"):
        pairing.Faces(pictures(2), ["a", "b", "c"], rng)


def test_faces_show_the_emotion_with_probability_two_fifths(pairing: ModuleType) -> None:
    rng = np.random.default_rng(1)
    faces = pairing.Faces(pictures(500), ["a"], rng)
    utterances = [faces.draw("a", "sad", rng) for _ in range(600)]
    assert {len(numbers) for numbers in utterances} == set(range(8, 25))
    assert all(len(set(numbers.tolist())) == len(numbers) for numbers in utterances)
    shown = Counter(EMOTIONS[number // 1000] for numbers in utterances for number in numbers.tolist())
    shares = {emotion: count / shown.total() for emotion, count in shown.items()}
    assert shares == {emotion: pytest.approx(0.4 if emotion == "sad" else 0.2, abs=0.02) for emotion in EMOTIONS}


def test_a_speaker_with_few_pictures_repeats_them(pairing: ModuleType) -> None:
    rng = np.random.default_rng(1)
    faces = pairing.Faces(pictures(2), ["a"], rng)
    assert len(faces.draw("a", "anger", rng)) >= 8


def test_drawing_is_a_function_of_the_seed(pairing: ModuleType) -> None:
    def drawn(seed: int) -> list[int]:
        rng = np.random.default_rng(seed)
        return pairing.Faces(pictures(50), ["a", "b"], rng).draw("b", "sad", rng).tolist()

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_pictures_the_encoder_was_trained_on_and_their_twins_are_left_out(pairing: ModuleType) -> None:
    images = np.arange(8, dtype=np.uint8)[:, None, None] * np.ones((8, 2, 2), np.uint8)
    images[5] = images[0]  # a twin of a training picture
    images[6] = images[4]  # a twin among the others
    majorities = np.array([4, 1, 4, -1, 1, 4, 1, 3])
    in_training = np.array([True, True, False, False, False, False, False, False])
    unseen = pairing.usable_pictures(images, majorities, in_training, unseen=True)
    assert {emotion: numbers.tolist() for emotion, numbers in unseen.items()} == {
        "neutral": [], "happy": [4], "sad": [7], "anger": [2],
    }  # fmt: skip
    everything = pairing.usable_pictures(images, majorities, in_training, unseen=False)
    assert {emotion: numbers.tolist() for emotion, numbers in everything.items()} == {
        "neutral": [], "happy": [1, 4], "sad": [7], "anger": [0, 2],
    }  # fmt: skip


class FlatEncoder:
    """In DenseFace's place: the mean grey level is the feature, and every expression as likely."""

    @classmethod
    def from_shipped(cls) -> FlatEncoder:
        return cls()

    def encode(self, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        assert crops.dtype == np.uint8
        assert crops.shape[1:] == (64, 64)
        return crops.mean(axis=(1, 2))[:, None].astype(np.float32), np.full((len(crops), 8), 0.125, np.float32)

    def info(self, **options: object) -> ExtractorInfo:
        return ExtractorInfo(name="flat", options=options, dim=1)


def write_sources(folder: Path) -> list[str]:
    """Two actors, lines for two copies, sixty pictures whose grey level is their number; the flags for build.py."""
    for actor in ("01", "02"):
        for emotion in ("01", "02", "03", "04", "05", "06"):
            path = folder / "ravdess" / f"Actor_{actor}" / f"03-01-{emotion}-01-01-01-{actor}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    names = ["joy", "sadness", "anger", "neutral", "neutral", "fear"]
    lines = [["Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID"]]
    lines += [[f"Line {n}", "Ross", names[n % 6], str(n), "0"] for n in range(36)]
    (folder / "meld").mkdir()
    (folder / "meld" / "train_sent_emo.csv").write_text("".join(",".join(line) + "\n" for line in lines))
    votes = np.zeros((60, 10), np.uint8)
    votes[np.arange(60), np.array([0, 1, 3, 4])[np.arange(60) % 4]] = 7
    images = np.broadcast_to(np.arange(60, dtype=np.uint8)[:, None, None], (60, 48, 48)).copy()
    split = np.repeat(np.array([0, 1, 2], np.uint8), 20)
    ExpressionPictures(images, votes, split).write(folder / "ferplus")
    flags = [("--ravdess", "ravdess"), ("--meld", "meld"), ("--ferplus", "ferplus"), ("--output", "out")]
    return [text for flag, name in flags for text in (flag, str(folder / name))]


def test_the_corpus_is_built_from_the_three_sources(
    tmp_path: Path, pairing: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = load("build")
    monkeypatch.setattr(build, "DenseFace", FlatEncoder)
    monkeypatch.setattr(sys, "argv", ["build.py", *write_sources(tmp_path), "--copies", "1"])
    build.main()
    out = tmp_path / "out"
    emotions, pretraining = (list(read_manifest(out / f"{name}.tsv")) for name in ("emotions", "pretraining"))
    assert Counter(row.emotion for row in emotions) == {"neutral": 4, "happy": 2, "sad": 2, "anger": 2}
    assert Counter(row.emotion for row in pretraining) == {"": 10}
    assert {row.split for row in pretraining} <= {"train", "valid"}
    sources = dict(line.split("\t", 1) for line in (out / "sources.tsv").read_text().splitlines()[1:])
    texts = {f"train_dia{n}_utt0": f"Line {n}" for n in range(36)}
    of_speaker: dict[str, set[str]] = {"Actor_01": set(), "Actor_02": set()}
    for row in [*emotions, *pretraining]:
        line, pictures = sources[row.id].split("\t")
        assert row.text == texts[line]
        frames = read_frames(frame_file(out / "visual", row.id))
        assert frames is not None
        assert frames.frames[:, 0].tolist() == [float(number) for number in pictures.split()]
        of_speaker[row.speaker] |= set(pictures.split())
    assert not of_speaker["Actor_01"] & of_speaker["Actor_02"]
    assert min(int(number) for numbers in of_speaker.values() for number in numbers) >= 20
    info = read_extractor_info(out / "visual")
    assert (info.name, info.frame_rate, info.options) == ("flat", 10.0, {"enlarged_from": 48})
