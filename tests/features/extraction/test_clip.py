"""A clip to frames: whose face, which times, and what is left when a stream is missing."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from memobert_plugin.cli.extract import main
from memobert_plugin.core.errors import DefectiveClip, UserError
from memobert_plugin.data.frames import ExtractorInfo, read_extractor_info, read_frames
from memobert_plugin.data.manifest import ManifestRow, write_manifest
from memobert_plugin.features.denseface.encoder import FACE_ENCODERS, FaceEncoder
from memobert_plugin.features.encoders.base import PooledEncoder
from memobert_plugin.features.encoders.logmel import LogMel
from memobert_plugin.features.extraction.clip import FilmSettings, FrontEnd
from memobert_plugin.features.media.streams import StreamChoice
from memobert_plugin.features.media.subtitles import Line
from memobert_plugin.features.speakers.active_speaker import SpeakerChoice
from memobert_plugin.features.speakers.face_sources.tracker import TrackerFaces
from memobert_plugin.features.speakers.voice_detectors.energy import EnergyVoice
from memobert_plugin.inference.faces import FaceOptions, FaceReader
from tests.features.speakers.face_sources.test_tracker import openface_points, write_openface
from tests.films import Cue, remux, write_film
from tests.talking_faces import DrawnFace, write_talking_film

pytest.importorskip("av")
LEFT = DrawnFace(x=40, talks=((0.0, 4.0),))
RIGHT = DrawnFace(x=120, talks=((4.0, 8.0),))


@dataclass(frozen=True)
class NoOptions:
    """Nothing to choose."""


class MeanGrey(FaceEncoder):
    """A face encoder that needs no weights."""

    name, summary, Options = "mean_grey", "mean grey level", NoOptions

    @classmethod
    def from_options(cls, options: object, device: str = "cpu") -> FaceEncoder:
        return cls()

    def encode(self, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        frames = crops.reshape(len(crops), -1).mean(axis=1, keepdims=True).astype(np.float32)
        return frames, np.ones_like(frames)

    def info(self, **options: object) -> ExtractorInfo:
        return ExtractorInfo(name="mean_grey", options=options, dim=1)


def front_end(folder: Path, **settings: object) -> FrontEnd:
    return FrontEnd(
        TrackerFaces(folder / "tracks"),
        EnergyVoice(),
        MeanGrey(),
        PooledEncoder(LogMel(), 3),
        settings=FilmSettings(**settings),  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_talking_film(tmp_path_factory.mktemp("film"), "talk", [LEFT, RIGHT], [Cue(0, 4, "x")], 8.0)


def chosen_side(choice: SpeakerChoice | None) -> str:
    assert choice is not None
    assert choice.track is not None, choice.reason
    return "left" if choice.track.boxes[0, 0] < 80 else "right"


def test_a_films_lines_show_the_face_that_speaks(film: Path) -> None:
    lines = [Line(0.5, 3.5, "a"), Line(3.9, 4.1, "b"), Line(4.5, 7.7, "c")]
    first, _, last = front_end(film.parent).film(film, lines)
    assert (chosen_side(first.choice), chosen_side(last.choice)) == ("left", "right")
    assert first.dropped == last.dropped == ""
    assert first.visual is not None
    assert first.visual.shape == (30, 1)
    np.testing.assert_allclose(first.visual_times, np.arange(30) / 10)
    assert last.visual is not None
    assert len(last.visual) == 32
    assert last.acoustic is not None
    assert last.acoustic.shape == (106, 80)
    assert len(last.samples) == 51_200


def test_a_clip_is_what_the_film_gives_for_its_times(film: Path) -> None:
    made = front_end(film.parent)
    (in_film,) = made.film(film, [Line(4.5, 7.7, "c")])
    alone = made.clip(film, 4.5, 7.7)
    for name in ("visual", "expression", "visual_times", "acoustic", "samples"):
        np.testing.assert_array_equal(getattr(alone, name), getattr(in_film, name))


def test_half_of_the_picture_is_all_that_is_looked_at(tmp_path: Path) -> None:
    both = [DrawnFace(x=40, talks=((0.0, 3.0),)), DrawnFace(x=120, talks=((0.0, 3.0),))]
    film = write_talking_film(tmp_path, "f", both, [], 3.0)
    left = front_end(tmp_path, thumbnails=1).clip(film, region="left")
    right = front_end(tmp_path, thumbnails=1).clip(film, region="right")
    assert left.thumbnails[0].rgb.shape == right.thumbnails[0].rgb.shape == (96, 80, 3)
    assert np.abs(left.thumbnails[0].rgb.astype(int) - right.thumbnails[0].rgb).mean() < 3
    for clip in (left, right):
        (track,) = clip.tracks
        np.testing.assert_allclose(track.boxes[:, [0, 2]].mean(axis=1), 40.0)
        assert track.crops.std() > 20


def test_nobody_speaks_with_a_still_mouth_or_in_silence(tmp_path: Path) -> None:
    still = write_talking_film(tmp_path, "still", [DrawnFace()], [], 3.0, samples=None)
    clip = front_end(tmp_path).clip(still)
    assert clip.visual is None
    assert clip.dropped.startswith("no evidence that its only face speaks")
    assert clip.acoustic is not None
    silent = write_talking_film(tmp_path, "quiet", [LEFT], [], 3.0, samples=np.zeros(48_000, np.float32))
    assert front_end(tmp_path).clip(silent).dropped == "no voice in 3.0 s"
    assert not clip.defective


def test_the_most_frequent_face_needs_no_voice(tmp_path: Path) -> None:
    film = write_talking_film(tmp_path, "f", [DrawnFace(seen=(0.0, 1.0)), DrawnFace(x=120)], [], 3.0, silent=True)
    clip = front_end(tmp_path, choice="most_frequent").clip(film)
    assert chosen_side(clip.choice) == "right"
    assert clip.visual is not None
    assert clip.acoustic is None
    assert clip.dropped.endswith("no audio stream")


def test_a_missing_stream_leaves_out_its_modality(tmp_path: Path) -> None:
    sound = write_film(tmp_path / "sound.mp4", picture=None, seconds=2.0)
    clip = front_end_without_tracker().clip(sound)
    assert (clip.visual, clip.defective) == (None, True)
    assert clip.acoustic is not None
    assert clip.dropped == f"{sound}: no video stream"
    with pytest.raises(DefectiveClip, match="no video stream"):
        list(front_end_without_tracker().film(sound, [Line(0, 1, "a")]))


def front_end_without_tracker() -> FrontEnd:
    class NoFaces(TrackerFaces):
        def __init__(self) -> None: ...
        def start(self, path: Path, offset_seconds: float = 0.0) -> None: ...
        def faces(self, time: float, rgb: np.ndarray, left_edge: int = 0) -> list:
            return []

    return FrontEnd(NoFaces(), EnergyVoice(), MeanGrey(), PooledEncoder(LogMel()))


def test_a_clip_beyond_the_end_and_one_without_faces(tmp_path: Path) -> None:
    film = write_film(tmp_path / "f.mp4", seconds=2.0)
    made = front_end_without_tracker()
    with pytest.raises(DefectiveClip, match="the clip starts at 5 s, the file ends at 2"):
        made.clip(film, 5.0, 6.0)
    assert made.clip(film, 0.0, 1.5).dropped == "no face"


def test_a_tracker_without_the_films_file_is_a_defect_of_the_film(tmp_path: Path) -> None:
    film = write_film(tmp_path / "f.mp4", seconds=2.0)
    (tmp_path / "tracks").mkdir()
    (clip,) = front_end(tmp_path).film(film, [Line(0, 1.5, "a")])
    assert clip.defective
    assert "has no f.csv" in clip.dropped


def test_what_frames_depend_on_is_described(film: Path) -> None:
    described = front_end(film.parent, choice="speaker", picture_rate=5.0).visual_info()
    assert described.frame_rate == 5.0
    assert described.options["voice"]["name"] == "energy"
    assert described.options["faces"]["name"] == "tracker"
    assert "voice" not in front_end(film.parent, choice="most_frequent").visual_info().options


def test_a_face_encoder_of_another_package_is_named_in_extractor_json_and_read_again(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FACE_ENCODERS._found, "mean_grey", MeanGrey)
    rows = [ManifestRow(0, "a", video=str(film), start=0.5, end=3.5)]
    write_manifest(tmp_path / "m.tsv", rows)
    flags = ["--faces", "tracker", "--tracker", str(film.parent / "tracks"), "--voice", "energy"]
    given = ["--manifest", str(tmp_path / "m.tsv"), "--output", str(tmp_path / "out"), "--face-encoder", "mean_grey"]
    assert main(["visual", *flags, *given]) == 0
    info = read_extractor_info(tmp_path / "out")
    assert (info.name, info.dim) == ("mean_grey", 1)
    reader = FaceReader(info, FaceOptions(tracker=film.parent / "tracks", voice="energy"))
    assert reader.obstacle == ""
    clip, _ = reader.read(film, 0.5, 3.5)
    written = read_frames(tmp_path / "out" / "a.npz")
    assert written is not None and clip.visual is not None
    np.testing.assert_array_equal(clip.visual, written.frames)
    with pytest.raises(UserError, match="--face-weights: this model was trained on mean_grey frames"):
        MeanGrey.from_info(info, film)
    with pytest.raises(UserError, match="--face-encoder mean_grey: takes no --face-weights"):
        main(["visual", *flags, *given, "--face-weights", str(film)])


def test_openfaces_pixels_are_those_of_the_stream_that_was_asked_for(tmp_path: Path) -> None:
    """The second stream's pixels are twice as wide as high."""
    square = write_film(tmp_path / "square.mkv", seconds=1.0)
    wide = write_film(tmp_path / "wide.mkv", seconds=1.0, aspect=Fraction(2))
    film = remux(tmp_path / "film.mkv", [(square, (0, 1)), (wide, (0,))])
    write_openface(tmp_path / "tracks.csv", [(step / 10, 0, 1, openface_points(20.0, 24.0, 16.0)) for step in range(9)])

    def left_edge(number: int) -> float:
        settings = FilmSettings(choice="most_frequent", streams=StreamChoice(video_stream=number))
        source = TrackerFaces(tmp_path / "tracks.csv")
        clip = FrontEnd(source, EnergyVoice(), MeanGrey(), None, settings=settings).clip(film)
        return float(clip.tracks[0].boxes[0, 0])

    assert left_edge(2) == pytest.approx(2 * left_edge(0))
