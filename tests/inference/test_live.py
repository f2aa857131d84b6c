"""Answers along a film that comes: those of the same windows of the file, each picture and face looked at once."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memobert_plugin import MEmoBERT
from memobert_plugin.checkpoints.bundle import read_bundle, write_bundle
from memobert_plugin.cli.predict import main
from memobert_plugin.core.errors import DefectiveClip, Interrupted, UserError
from memobert_plugin.features.speakers.face import Face
from memobert_plugin.inference import live
from memobert_plugin.inference.faces import FaceReader
from memobert_plugin.inference.live import Moment, follow
from memobert_plugin.inference.utterance import Utterance
from tests.films import write_film
from tests.talking_faces import DrawnFace, draw

pytest.importorskip("av")
FACE = DrawnFace(x=60.0, size=60.0, talks=((0.5, 2.5), (3.0, 5.5)))
SECONDS = 6.5
HOUR = 3600


class CountingFaces:
    """A source that knows where the drawn face is, and counts the pictures it was asked about."""

    name, version = "litert", "drawn"

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}
        self.asked: Counter[bytes] = Counter()

    def start(self, path: Path, offset_seconds: float = 0.0) -> None:
        pass

    def faces(self, time: float, rgb: np.ndarray, left_edge: int = 0) -> list[Face]:
        self.asked[rgb.tobytes()] += 1
        half = FACE.size / 2
        eyes = np.array([[FACE.x - 10, FACE.y - 7], [FACE.x + 10, FACE.y - 7]])
        mouth = np.array(
            [[FACE.x - 8, FACE.y + 17], [FACE.x + 8, FACE.y + 17], [FACE.x, FACE.y + 15], [FACE.x, FACE.y + 19]]
        )
        return [Face((FACE.x - half, FACE.y - half, FACE.x + half, FACE.y + half), eyes, mouth)]


@pytest.fixture
def film(tmp_path: Path) -> Path:
    times = np.arange(round(SECONDS * 16_000)) / 16_000
    voice = (0.3 * np.sin(2 * np.pi * 200 * times) * (np.sin(2 * np.pi * 3 * times) > 0)).astype(np.float32)
    return write_film(tmp_path / "film.mkv", seconds=SECONDS, picture=lambda time: draw([FACE], time), samples=voice)


@pytest.fixture
def model(clip_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[MEmoBERT, CountingFaces]:
    source = CountingFaces()
    monkeypatch.setattr(FaceReader, "_detector", lambda self: source)
    return MEmoBERT.from_pretrained(clip_bundle), source


def test_answers_are_those_of_the_same_windows_of_the_file(film: Path, model: tuple[MEmoBERT, CountingFaces]) -> None:
    answers, source = model
    moments = list(follow(answers, str(film), window=3.0))
    assert [(one.start, round(one.end, 1)) for one in moments] == [
        (0.0, 1.0), (0.0, 2.0), (0.0, 3.0), (1.0, 4.0), (2.0, 5.0), (3.0, 6.0), (4.0, 6.5),
    ]  # fmt: skip
    assert sum(source.asked.values()) == round(SECONDS * 10)  # each picture once, though windows overlap
    for moment in moments:
        assert moment.prediction is not None and moment.lag >= 0
        same = answers.predict(Utterance(film, start=moment.start, end=moment.end))
        assert moment.prediction.probabilities == pytest.approx(same.probabilities, abs=1e-3)
        assert moment.prediction.modalities["visual"].frames == same.modalities["visual"].frames > 0
    assert len({moment.prediction.confidence for moment in moments if moment.prediction}) == len(moments)


def test_a_face_is_encoded_once(
    film: Path, model: tuple[MEmoBERT, CountingFaces], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, _ = model
    encoded: list[int] = []
    encoder = answers.reader.faces.encoder
    encode = encoder.encode

    def counted(crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        encoded.append(len(crops))
        return encode(crops)

    monkeypatch.setattr(encoder, "encode", counted)
    assert len(list(follow(answers, str(film)))) == 7
    assert 0 < sum(encoded) <= round(SECONDS * 10)  # windows of 4 s show each face four times


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's count of this process's memory")
def test_memory_stays_the_same_over_an_hour(clip_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour of film: few and small pictures, so that it takes about a minute."""
    monkeypatch.setattr(FaceReader, "_detector", lambda self: CountingFaces())
    monkeypatch.setattr(live, "_FACES_KEPT", 20)
    of_one_picture = read_bundle(clip_bundle)
    description = of_one_picture.description
    assert description.visual_extractor is not None
    slower = replace(description, visual_extractor=replace(description.visual_extractor, frame_rate=1.0))
    write_bundle(replace(of_one_picture, description=slower), tmp_path / "bundle")
    voice = (0.3 * np.sin(np.arange(HOUR * 8000) / 13) * (np.arange(HOUR * 8000) % 2600 < 1500)).astype(np.float32)
    shown = [draw([FACE], time / 10) for time in range(7)]
    film = write_film(
        tmp_path / "hour.mkv",
        seconds=HOUR,
        picture=lambda time: shown[int(time) % len(shown)],
        fps=1,
        samples=voice,
        rate=8000,
        sound_codec="pcm_s16le",
    )
    model, resident = MEmoBERT.from_pretrained(tmp_path / "bundle"), []
    for moment in follow(model, str(film), window=1.0):
        assert moment.prediction is not None, moment.error
        assert moment.prediction.modalities["visual"].frames
        resident.append(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
    assert len(resident) == HOUR
    assert max(resident[300:]) - min(resident[300:]) < 16 << 20


def test_what_cannot_be_read_is_said_in_the_line(tmp_path: Path, model: tuple[MEmoBERT, CountingFaces]) -> None:
    silent = write_film(tmp_path / "silent.mkv", seconds=1.5, silent=True)
    moments = list(follow(model[0], str(silent), modalities="a"))
    assert [one.prediction for one in moments] == [None, None]
    assert "sound: no audio stream" in moments[0].to_dict()["error"]
    (tmp_path / "empty.mkv").touch()
    with pytest.raises(DefectiveClip, match=r"empty\.mkv: cannot be opened"):
        next(follow(model[0], str(tmp_path / "empty.mkv")))


def test_the_command_writes_a_line_as_soon_as_it_is_there(
    film: Path, model: Any, clip_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    output = tmp_path / "out.jsonl"
    written: list[int] = []
    follow_ = live.follow

    def watched(*arguments: Any, **settings: Any) -> Any:
        for number, moment in enumerate(follow_(*arguments, **settings)):
            written.append(len(output.read_text().splitlines()))
            yield moment
            if number == 2:
                raise KeyboardInterrupt

    monkeypatch.setattr(live, "follow", watched)
    given = ["--live", str(film), "--model", str(clip_bundle), "--output", str(output), "--window", "2"]
    with pytest.raises(Interrupted, match="3 answers written"):
        main(given)
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert written == [0, 1, 2] and [line["end"] for line in lines] == [1.0, 2.0, 3.0]
    assert all({"label", "probabilities", "lag", "start"} <= line.keys() for line in lines)
    with pytest.raises(UserError, match="exists already"):
        main(given)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--live", "x.mkv", "clip.wav"], "takes one --output of JSON lines and no clips"),
        (["--live", "x.mkv", "--faces", "x.csv"], "--faces: a tracker's file belongs to a film that has ended"),
        (["--live", "x.mkv", "--window", "0"], "--window 0: give 1 to 60 seconds"),
        (["--live", "nowhere.mkv"], "nowhere.mkv: no such file"),
    ],
)
def test_mistakes_are_one_line(clip_bundle: Path, flags: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        main([*flags, "--model", str(clip_bundle)])


def test_a_moment_without_an_answer_is_a_line_too() -> None:
    assert Moment(0.0, 1.0, None, "no face", 0.5).to_dict() == {
        "id": "1.0 s", "start": 0.0, "end": 1.0, "error": "no face", "lag": 0.5,
    }  # fmt: skip
