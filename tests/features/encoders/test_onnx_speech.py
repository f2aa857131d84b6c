"""An ONNX file's frames are those of the network it was made from; step and shortest clip are found by trying."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from memobert_plugin.core.errors import UserError
from memobert_plugin.features.encoders.base import PooledEncoder, SpeechOptions, build_speech
from memobert_plugin.features.encoders.onnx_speech import OnnxOptions, OnnxSpeech

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


class Convolutions(nn.Module):
    """Two strided convolutions: 80 samples a frame, the first after 96."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(1, 6, 32, stride=16), nn.Conv1d(6, 5, 5, stride=5)

    def forward(self, waveforms: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        frames = self.second(self.first(waveforms[:, None]).relu()).transpose(1, 2)
        return frames.mean(dim=1), frames


def export(path: Path, network: nn.Module, *shapes: tuple[int, ...]) -> Path:
    waveforms = tuple(torch.zeros(shape) for shape in shapes)
    dynamic = tuple({len(shape) - 1: torch.export.Dim("samples")} for shape in shapes)
    torch.onnx.export(
        network, waveforms, str(path), output_names=["mean", "frames"], dynamic_shapes=(dynamic[0],), verbose=False,
        external_data=False,
    )  # fmt: skip
    return path


@pytest.fixture(scope="module")
def network() -> Convolutions:
    torch.manual_seed(0)
    return Convolutions().eval()


@pytest.fixture(scope="module")
def file(network: Convolutions, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(tmp_path_factory.mktemp("onnx") / "model.onnx", network, (1, 4000))


def noise(*shape: int) -> np.ndarray:
    return (0.1 * np.random.default_rng(1).normal(size=shape)).astype(np.float32)


def test_frames_are_those_of_the_network(file: Path, network: Convolutions) -> None:
    encoder = OnnxSpeech(file)
    clips = noise(2, 3000)
    with torch.no_grad():
        expected = network(torch.from_numpy(clips))[1].numpy()
    np.testing.assert_allclose(encoder.encode(clips), expected, atol=1e-5)
    assert (encoder.output, encoder.dim, encoder.frame_rate, encoder.shortest) == ("frames", 5, 200.0, 96)
    assert encoder.encode(noise(1, 96)).shape == (1, 1, 5)


def test_clips_are_normalised_where_asked_for(file: Path) -> None:
    encoder = OnnxSpeech(file, normalized=True)
    np.testing.assert_allclose(encoder.encode(noise(1, 3000)), encoder.encode(0.5 * noise(1, 3000)), atol=1e-3)


def test_prediction_rebuilds_it_from_the_description(file: Path) -> None:
    made = build_speech(SpeechOptions("onnx", OnnxOptions(file, normalize="always"), pool=4))
    again = PooledEncoder.from_info(made.info(), file)
    np.testing.assert_array_equal(again.encode(noise(8000)), made.encode(noise(8000)))


def test_unusable_files_are_refused_in_one_line(file: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be read as ONNX \(no such file\)"):
        OnnxSpeech(tmp_path / "none.onnx")
    (tmp_path / "damaged.onnx").write_bytes(file.read_bytes()[:100])
    with pytest.raises(UserError, match="cannot be read as ONNX") as error:
        OnnxSpeech(tmp_path / "damaged.onnx")
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=r"--onnx-output hidden: .* has mean, frames"):
        OnnxSpeech(file, "hidden")
    with pytest.raises(UserError, match="mean has no more frames for a longer clip"):
        OnnxSpeech(file, "mean")
