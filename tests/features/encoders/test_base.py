"""Speech encoders as plug-ins: registry, pooling, and an encoder of another package from extraction to prediction."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from memobert_plugin import MEmoBERT
from memobert_plugin.checkpoints.bundle import write_bundle
from memobert_plugin.checkpoints.fairseq_checkpoint import read_fairseq_checkpoint
from memobert_plugin.cli.binarize import main as binarize
from memobert_plugin.cli.extract import main as extract
from memobert_plugin.core.errors import DefectiveClip, UserError
from memobert_plugin.data.frames import ExtractorInfo
from memobert_plugin.data.manifest import ManifestRow, write_manifest
from memobert_plugin.features.encoders.base import ENCODERS, PooledEncoder
from memobert_plugin.features.encoders.logmel import LogMel
from tests.films import tone
from tests.host import TrainingRun

MODULE = """
from dataclasses import asdict, dataclass, field
from memobert_plugin.features.encoders.base import SpeechEncoder

@dataclass(frozen=True)
class LoudnessOptions:
    window: int = field(default=320, metadata={"help": "samples per frame, 100 % of them", "metavar": "N"})

class Loudness(SpeechEncoder):
    name, summary, Options = "loudness", "root mean square of each window", LoudnessOptions
    dim, version = 2, "loudness 1"

    def __init__(self, given):
        self._given = given
        self.shortest, self.frame_rate = given.window, 16000 / given.window

    @classmethod
    def from_options(cls, options, device="cpu"):
        return cls(options)

    @property
    def options(self):
        return asdict(self._given)

    def encode(self, waveforms):
        import numpy as np
        frames = waveforms.shape[1] // self._given.window
        cut = waveforms[:, : frames * self._given.window].reshape(len(waveforms), frames, -1)
        return np.stack([np.sqrt((cut**2).mean(-1)), np.abs(cut).max(-1)], axis=-1).astype("float32")
"""


@pytest.fixture
def other_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two installed packages: one with an encoder, one whose encoder cannot be imported."""
    for name, module, point in (
        ("loudness-of-speech", "loudness_of_speech", "loudness = loudness_of_speech:Loudness"),
        ("broken-encoder", "broken_encoder", "broken = broken_encoder:Broken"),
    ):
        information = tmp_path / "site" / f"{module}-1.0.dist-info"
        information.mkdir(parents=True)
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (information / "entry_points.txt").write_text(f"[memobert_plugin.encoders]\n{point}\n")
    (tmp_path / "site" / "loudness_of_speech.py").write_text(MODULE)
    (tmp_path / "site" / "broken_encoder.py").write_text("import there_is_no_such_module\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setattr(ENCODERS, "_outside", None)
    monkeypatch.setattr(ENCODERS, "_found", {name: ENCODERS.get(name) for name in ("logmel", "wav2vec2")})


def write_speech(folder: Path, count: int = 12) -> Path:
    rows = []
    for index in range(count):
        soundfile.write(folder / f"{index}.wav", tone(0.5 + 0.1 * index) * (1 + index % 4) / 4, 16_000)
        speaker, emotion = f"s{index % 3}", ("anger", "happy", "neutral", "sad")[index % 4]
        rows.append(ManifestRow(0, f"u{index}", speaker, speaker, "train", "stop it", emotion, audio=f"{index}.wav"))
    write_manifest(folder / "m.tsv", rows)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "stop", "it", "i", "am", "."]
    (folder / "vocab.txt").write_text("\n".join([*words, "angry", "anger", "happy", "neutral", "sad"]))
    return folder / "m.tsv"


def test_an_encoder_of_another_package_works_from_extraction_to_prediction(other_package: None, tmp_path: Path) -> None:
    manifest, frames = write_speech(tmp_path), tmp_path / "acoustic"
    flags = ["--encoder", "loudness", "--window", "160", "--output", str(frames), "--manifest", str(manifest)]
    assert extract(["acoustic", *flags]) == 0
    written = json.loads((frames / "extractor.json").read_text())
    assert (written["name"], written["options"]["window"], written["options"]["pool"]) == ("loudness", 160, 6)
    assert written["frame_rate"] == pytest.approx(1 / 0.06)
    binarized = ["--vocab", tmp_path / "vocab.txt", "--output", tmp_path / "bin"]
    assert binarize([str(word) for word in ("--manifest", manifest, "--acoustic", frames, *binarized)]) == 0
    run = TrainingRun(tmp_path / "bin", "memobert_prompt", "--fold", "1", "--protocol", "all_but_one")
    run.train(1)
    write_bundle(read_fairseq_checkpoint(run.save(tmp_path / "checkpoint.pt")), tmp_path / "bundle")
    model = MEmoBERT.from_pretrained(tmp_path / "bundle")
    assert model.predict(tmp_path / "3.wav").modalities["acoustic"].present
    encoder = model.reader.speech.encoder
    samples, _ = soundfile.read(tmp_path / "3.wav", dtype="float32")
    with np.load(frames / "u3.npz") as stored:
        np.testing.assert_array_equal(encoder.encode(samples), stored["frames"])


def test_help_names_it_and_what_cannot_be_imported_is_named_when_it_is_asked_for(
    other_package: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        extract(["acoustic", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "loudness: root mean square of each window" in shown
    assert "loudness: samples per frame, 100 % of them (default: 320)" in shown
    given = ["acoustic", "--output", str(tmp_path / "out"), "--manifest", str(write_speech(tmp_path)), "--encoder"]
    with pytest.raises(UserError, match="speech encoder 'broken' of the package broken-encoder cannot be imported"):
        extract([*given, "broken"])
    with pytest.raises(UserError, match="--encoder loudness: takes no --weights"):
        extract([*given, "loudness", "--weights", "x.pt"])
    with pytest.raises(UserError, match="--encoder logmel: takes no --window"):
        extract([*given, "logmel", "--window", "160"])


def test_pooled_frames_are_60_ms_apart_unless_told_otherwise() -> None:
    assert PooledEncoder(LogMel()).pool == 6
    assert PooledEncoder(LogMel(), 3).frame_rate == pytest.approx(100 / 3)
    slow = LogMel()
    slow.frame_rate = 12.5
    assert PooledEncoder(slow).pool == 1


def test_an_encoder_is_rebuilt_from_what_extractor_json_says() -> None:
    info = PooledEncoder(LogMel(), 3, max_seconds=4.0).info()
    rebuilt = PooledEncoder.from_info(ExtractorInfo.from_dict("x", json.loads(json.dumps(info.to_dict()))))
    assert (rebuilt.pool, rebuilt.max_seconds, rebuilt.info()) == (3, 4.0, info)
    for wrong, reason in (
        (replace(info, name="mfcc"), "unknown speech encoder 'mfcc': choose from .*logmel, "),
        (replace(info, options={**info.options, "filters": 40}), "with filters 40, this version makes them with 80"),
        (replace(info, options={**info.options, "pool": "3"}), "have pool '3'; export the model again"),
        (replace(info, weights_sha256="0" * 64), "not the weights"),
        (replace(info, name="wav2vec2"), "wav2vec2"),
    ):
        with pytest.raises(UserError, match=reason):
            PooledEncoder.from_info(wrong)
    with pytest.raises(UserError, match="trained on logmel frames; leave the flag out"):
        PooledEncoder.from_info(info, Path("w.pt"))


def test_sound_is_cut_and_what_is_too_short_is_refused() -> None:
    speech = PooledEncoder(LogMel(), 1, max_seconds=0.5)
    assert len(speech.encode(np.zeros(20_000, np.float32))) == 1 + (8000 - 400) // 160
    with pytest.raises(DefectiveClip, match=r"the sound lasts 12.5 ms, shorter than one frame \(25 ms\)"):
        speech.encode(np.zeros(200, np.float32))
