"""A film that is read once: its last seconds are those that clips of the file have, from a file, a pipe or a device."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile

from memobert_plugin.core.errors import DefectiveClip
from memobert_plugin.features.media.live import LiveFilm
from memobert_plugin.features.media.pictures import Picture, pictures
from memobert_plugin.features.media.sound import SoundReader
from tests.films import tone, write_film

pytest.importorskip("av")
SECONDS, KEPT = 7.5, 3.0


def swept(rate: int, seconds: float = SECONDS) -> np.ndarray:
    """A tone whose pitch and loudness tell the time."""
    times = np.arange(round(seconds * rate)) / rate
    return (0.1 + 0.05 * times) * np.sin(2 * np.pi * (300 + 60 * times) * times).astype(np.float32)


@pytest.mark.parametrize(("suffix", "rate", "fps"), [(".mkv", 16_000, 20), (".mp4", 48_000, 25), (".ts", 44_100, 25)])
def test_the_last_seconds_are_those_of_the_file(tmp_path: Path, suffix: str, rate: int, fps: int) -> None:
    film = write_film(tmp_path / f"film{suffix}", seconds=SECONDS, samples=swept(rate), rate=rate, fps=fps)
    ends = []
    with LiveFilm(str(film), KEPT) as live, SoundReader(film) as sound:
        while not live.ended:
            if not live.advance(1.0):
                break
            start = max(0.0, np.ceil(live.end - 1e-6) - KEPT)
            ends.append(live.end)
            assert live.pictures is not None and live.sound is not None
            held, expected = list(live.pictures.between(start, live.end)), list(pictures(film, 10.0, start, live.end))
            assert [one.time for one in held] == pytest.approx([one.time for one in expected])
            assert all(np.array_equal(one.rgb, other.rgb) for one, other in zip(held, expected, strict=True))
            heard, wanted = live.sound.between(start, live.end), sound.between(start, live.end)
            assert abs(len(heard) - len(wanted)) < 1000
            # The resampler's filter runs out otherwise than at the end of one piece: by 0.003 in the last 40 ms.
            compared = min(len(heard), len(wanted)) - (1000 if live.ended else 0)
            assert np.abs(heard[:compared] - wanted[:compared]).max() < 1e-4
            assert len(list(live.pictures.between(0.0, None))) <= live.most_pictures
            assert len(live.sound.between(0.0, 1e6)) < (KEPT + 2) * 16_000
    assert ends[:7] == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0] and ends[7] == pytest.approx(SECONDS, abs=0.2)


def test_the_next_second_is_read_while_the_last_is_used(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.mkv", seconds=3.5, samples=swept(16_000, 3.5))
    looked = threading.Semaphore(0)
    with LiveFilm(str(film), KEPT) as live, LiveFilm(str(film), KEPT) as alone:
        assert live.pictures is not None and alone.pictures is not None and alone.sound is not None
        live.pictures.look = lambda picture: looked.release() if picture.time >= 1.0 else None
        for number, held in enumerate(live.seconds(1.0), start=1):
            if number == 1:
                assert all(looked.acquire(timeout=10) for _ in range(10))  # the second second's pictures
            came = alone.advance(1.0)
            assert (held.came, held.end, held.ended) == (came, alone.end, alone.ended)
            assert held.pictures is not None and held.sound is not None
            times = [[one.time for one in pictures.between(0.0, None)] for pictures in (held.pictures, alone.pictures)]
            assert times[0] == times[1]
            start = max(0.0, held.end - KEPT)
            assert np.array_equal(held.sound.between(start, held.end), alone.sound.between(start, held.end))
        assert number == 4


@pytest.mark.parametrize("rate", [1.0, 10.0])
def test_pictures_may_be_far_apart(tmp_path: Path, rate: float) -> None:
    """Slides: nothing is sought, and the end is that of the file."""
    times, samples = [0.0, 12.5, 13.0, 27.0], tone(28.0)
    film = write_film(tmp_path / "slides.mkv", times=times, samples=samples, seconds=28.0)
    with LiveFilm(str(film), KEPT, rate) as live:
        ends = [held.end for held in live.seconds(1.0)]
    assert ends[:27] == [float(end) for end in range(1, 28)] and ends[-1] == pytest.approx(28.0, abs=0.2)


def test_a_fault_of_the_thread_that_reads_ends_the_film(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.mkv", seconds=2.5, samples=swept(16_000, 2.5))

    def look(picture: Picture) -> None:
        if picture.time > 1.5:
            raise DefectiveClip("no such picture")

    with LiveFilm(str(film), KEPT) as live:
        assert live.pictures is not None
        live.pictures.look = look
        seconds = live.seconds(1.0)
        assert next(seconds).end == 1.0
        with pytest.raises(DefectiveClip, match="no such picture"):
            next(seconds)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_film_that_is_left_does_not_wait_for_a_silent_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memobert_plugin.features.media.live._PATIENCE", 0.2)
    content = write_film(tmp_path / "film.mkv", seconds=8.0, samples=swept(16_000, 8.0)).read_bytes()
    pipe = tmp_path / "pipe.mkv"
    os.mkfifo(pipe)
    left = threading.Event()

    def produce() -> None:
        with open(pipe, "wb") as stream:
            stream.write(content[: len(content) * 2 // 3])
            stream.flush()
            left.wait(30)

    producer = threading.Thread(target=produce)
    producer.start()
    with LiveFilm(str(pipe), KEPT) as live:
        assert next(live.seconds(1.0)).end == 1.0
    left.set()
    producer.join()


def test_sound_alone_and_pictures_alone_are_read(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(2.5), 16_000)
    with LiveFilm(str(tmp_path / "a.wav"), KEPT) as live:
        assert live.pictures is None and [live.advance(1.0) for _ in range(3)] == pytest.approx([1.0, 1.0, 0.5])
        assert live.ended
    film = write_film(tmp_path / "b.mkv", seconds=1.5, silent=True)
    with LiveFilm(str(film), KEPT) as live:
        assert live.sound is None and [live.advance(1.0) for _ in range(2)] == pytest.approx([1.0, 0.5])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
def test_a_pipe_is_read_as_it_comes(tmp_path: Path) -> None:
    film, fifo = write_film(tmp_path / "film.mkv", seconds=2.0), tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = threading.Thread(target=lambda: fifo.write_bytes(film.read_bytes()), daemon=True)
    writer.start()
    with LiveFilm(str(fifo), KEPT) as live:
        assert [live.advance(1.0), live.advance(1.0)] == [1.0, pytest.approx(1.0, abs=0.1)]
    writer.join(10)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
def test_a_playlist_in_a_pipe_is_refused(tmp_path: Path) -> None:
    """It would open the files that it names."""
    write_film(tmp_path / "film.ts", seconds=1.0)
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1.0,\n{tmp_path / 'film.ts'}\n#EXT-X-ENDLIST\n"
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = threading.Thread(target=lambda: fifo.write_text(playlist), daemon=True)
    writer.start()
    with pytest.raises(DefectiveClip, match=r"fifo: (a playlist of other files|cannot be opened)"):
        LiveFilm(str(fifo), KEPT)
    writer.join(10)


def test_a_device_is_read_by_the_format_before_its_name() -> None:
    with LiveFilm("lavfi:testsrc=duration=2:size=64x48:rate=25", KEPT) as live:
        assert live.advance(1.0) == 1.0 and live.sound is None
        assert len(list(live.pictures.between(0.0, 1.0) if live.pictures else [])) == 10


@pytest.mark.parametrize(("content", "message"), [(None, "no such file"), (b"no film", "cannot be opened")])
def test_what_is_no_film_is_refused_by_name(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "film.mkv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DefectiveClip, match=f"film.mkv: {message}"):
        LiveFilm(str(path), KEPT)
