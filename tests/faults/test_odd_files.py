"""Pipes, devices and archives that unpack to more than memory: one line says so; nothing waits, nothing grows."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from memobert_plugin.checkpoints.bert import BertConfig
from memobert_plugin.checkpoints.bundle import CONFIGURATION, read_bundle
from memobert_plugin.checkpoints.fairseq_checkpoint import read_fairseq_checkpoint
from memobert_plugin.checkpoints.state_dictionary import read_pickled_tensors
from memobert_plugin.core.errors import DefectiveClip, UserError
from memobert_plugin.corpora.reading import read_text
from memobert_plugin.data import frames
from memobert_plugin.data.binarize import SKIPPED_FILE
from memobert_plugin.data.corpus import Corpus
from memobert_plugin.data.frames import frame_file, read_extractor_info, read_frames
from memobert_plugin.data.indexed import IndexedReader
from memobert_plugin.data.manifest import read_manifest
from memobert_plugin.data.tokenizer import SentencePieceTokenizer, WordPieceTokenizer
from memobert_plugin.features.denseface import weights as denseface_weights
from memobert_plugin.features.encoders import wav2vec2 as wav2vec2_weights
from memobert_plugin.features.media.container import media_facts
from memobert_plugin.features.media.sound import read_clip
from memobert_plugin.features.media.subtitles import read_subtitles
from memobert_plugin.features.speakers.face_sources.tracker import TrackerFaces
from memobert_plugin.features.speakers.voice_detectors.intervals import IntervalsFile
from memobert_plugin.sweep.plan import read_plan
from tests.data_bins import CorpusShape, make_data_bin

SECONDS = 10
MEMORY = 4 << 30


@pytest.fixture(autouse=True)
def limits() -> Iterator[None]:
    """Whoever waits or reads without end fails."""

    def waited(number: int, frame: object) -> None:
        raise TimeoutError(f"still waiting after {SECONDS} s")

    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    memory, handler = resource.getrlimit(resource.RLIMIT_AS), signal.signal(signal.SIGALRM, waited)
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, memory[1]))
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, handler)
    resource.setrlimit(resource.RLIMIT_AS, memory)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def tracker(path: Path) -> None:
    TrackerFaces(path).start(path)


def intervals(path: Path) -> None:
    IntervalsFile(path).start(path)


READERS: dict[str, Callable[[Path], object]] = {
    "manifest.tsv": lambda path: list(read_manifest(path)),
    "subtitles.srt": read_subtitles,
    "tracker.csv": tracker,
    "intervals.tsv": intervals,
    "sound.wav": lambda path: read_clip(path, max_seconds=1.0),
    "film.mp4": media_facts,
    "frames.npz": read_frames,
    "extractor.json": lambda path: read_extractor_info(path.parent),
    "text.idx": lambda path: IndexedReader(path.with_suffix("")),
    "vocab.txt": WordPieceTokenizer.from_vocab,
    "sentencepiece.model": SentencePieceTokenizer.from_model,
    "plan.yaml": read_plan,
    "checkpoint.pt": read_fairseq_checkpoint,
    "model_step_1.pt": read_pickled_tensors,
    "denseface.safetensors": denseface_weights.read_weights,
    "denseface.pt": denseface_weights.read_checkpoint,
    "wav2vec2.pt": wav2vec2_weights.read_weights,
    "bert_config.json": BertConfig.read,
    CONFIGURATION: lambda path: read_bundle(path.parent),
    "transcript.txt": read_text,
}


@pytest.mark.parametrize("make", [pipe, endless])
@pytest.mark.parametrize("name", READERS)
def test_a_pipe_or_device_is_refused_by_name(name: str, make: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / name
    make(path)
    with pytest.raises((UserError, DefectiveClip)) as refused:
        READERS[name](path)
    assert str(path) in str(refused.value) and "\n" not in str(refused.value)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data_bin(tmp_path_factory.mktemp("corpus"), CorpusShape(speakers=2, utterances=3))


@pytest.mark.parametrize("make", [pipe, endless])
def test_every_file_of_a_data_bin_may_be_a_pipe_or_device(
    whole: Path, make: Callable[[Path], None], tmp_path: Path
) -> None:
    files = [path.relative_to(whole) for path in whole.rglob("*") if path.is_file() and path.name != SKIPPED_FILE]
    assert len(files) > 15
    for number, name in enumerate(files):
        broken = tmp_path / str(number)
        shutil.copytree(whole, broken)
        (broken / name).unlink()
        make(broken / name)
        with pytest.raises(UserError) as refused:
            Corpus(broken).load_tokenizer()
        assert str(broken) in str(refused.value), name
        assert stat.S_ISFIFO((broken / name).stat().st_mode) or (broken / name).is_symlink()


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "_LARGEST_BYTES", 1 << 20)
    path = frame_file(tmp_path, "u1")
    np.savez_compressed(path, frames=np.zeros((1 << 18, 1), np.float32))
    assert path.stat().st_size < 1 << 14
    with pytest.raises(UserError, match="more than 1 MiB when unpacked"):
        read_frames(path)
