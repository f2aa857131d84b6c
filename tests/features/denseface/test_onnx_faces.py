"""An ONNX file's expressions are those of the network it was made from, whatever its pictures look like."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from memobert_plugin.core.errors import DefectiveClip, UserError
from memobert_plugin.data.frames import ExtractorInfo
from memobert_plugin.features.denseface.encoder import FACE_ENCODERS
from memobert_plugin.features.denseface.onnx_faces import OnnxFaceOptions, OnnxFaces
from memobert_plugin.inference.faces import FaceOptions, FaceReader

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
CLASSES = "neutral,joy,rage"


class Expressions(nn.Module):
    """A convolution, five features, three scores (or shares)."""

    def __init__(self, channels: int = 1, last: bool = False, shares: bool = False, features: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution, self.scores = nn.Conv2d(channels, 5, 8, stride=8), nn.Linear(5, 3)
        self.last, self.shares, self.features = last, shares, features

    def forward(self, pictures: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        maps = self.convolution(pictures.permute(0, 3, 1, 2) if self.last else pictures) / 50
        features = maps.mean(dim=(2, 3))
        scores = self.scores(features)
        found = scores.softmax(dim=-1) if self.shares else scores
        return (found, features) if self.features else found


def export(path: Path, network: nn.Module, *shape: int, batch: bool = True) -> Path:
    names = ["expressions", "features"] if getattr(network, "features", True) else ["expressions"]
    dynamic = ({0: torch.export.Dim("faces")},) if batch else None
    torch.onnx.export(
        network.eval(), (torch.zeros(shape),), str(path), output_names=names, dynamic_shapes=dynamic, verbose=False,
        external_data=False,
    )  # fmt: skip
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(tmp_path_factory.mktemp("onnx") / "grey.onnx", Expressions(), 2, 1, 64, 64)


def faces(count: int = 21) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, 64, 64), dtype=np.uint8)


def test_frames_and_expressions_are_those_of_the_network(file: Path) -> None:
    encoder = OnnxFaces(OnnxFaceOptions(file, CLASSES))
    features, shares = encoder.encode(faces())
    with torch.no_grad():
        scores, expected = Expressions().eval()(torch.from_numpy(faces()).float()[:, None])
    np.testing.assert_allclose(features, expected.numpy(), atol=1e-4)
    np.testing.assert_allclose(shares, scores.softmax(dim=-1).numpy(), atol=1e-5)
    assert (encoder.output, encoder.features, encoder.dim) == ("expressions", "features", 5)
    alone = np.concatenate([encoder.encode(face[None])[0] for face in faces(3)])
    np.testing.assert_allclose(alone, encoder.encode(faces(3))[0], atol=1e-6)
    assert encoder.encode(faces(0))[0].shape == (0, 5)


def test_colour_other_sizes_and_fixed_batches_are_served(tmp_path: Path) -> None:
    network = Expressions(3, last=True, shares=True, features=False)
    path = export(tmp_path / "m.onnx", network, 4, 96, 80, 3, batch=False)
    encoder = OnnxFaces(OnnxFaceOptions(path, CLASSES, face_scale="imagenet"))
    features, shares = encoder.encode(faces(6))
    grey = functional.interpolate(
        torch.from_numpy(faces(6)).float()[:, None], (96, 80), mode="bilinear", antialias=True
    )
    mean, deviation = (torch.tensor(each) for each in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        expected = network.eval()((grey.permute(0, 2, 3, 1).expand(-1, -1, -1, 3) / 255 - mean) / deviation)
    np.testing.assert_allclose(shares, expected.numpy(), atol=1e-5)
    np.testing.assert_array_equal(features, shares)  # a file without features gives its expressions as frames


def test_values_that_are_no_numbers_make_a_clip_defective(tmp_path: Path) -> None:
    class Broken(Expressions):
        def forward(self, pictures: torch.Tensor) -> Any:
            scores, features = super().forward(pictures)
            return scores, (features * 0 - 1).log()

    encoder = OnnxFaces(OnnxFaceOptions(export(tmp_path / "m.onnx", Broken(), 2, 1, 64, 64), CLASSES))
    with pytest.raises(DefectiveClip, match="the face encoder gave NaN or infinite values"):
        encoder.encode(faces(3))


def test_prediction_rebuilds_it_from_the_description_and_the_users_file(file: Path) -> None:
    made = OnnxFaces(OnnxFaceOptions(file, CLASSES, face_scale="1"))
    info = ExtractorInfo.from_dict("x", made.info(choice="speaker").to_dict())
    assert info.classes == ["neutral", "joy", "rage"] and info.options["choice"] == "speaker"
    reader = FaceReader(info, FaceOptions(weights=file))
    assert reader.obstacle == ""
    for again, expected in zip(reader.encode(faces()), made.encode(faces()), strict=True):
        np.testing.assert_array_equal(again, expected)
    assert "give its file (--face-weights)" in FaceReader(info, FaceOptions()).obstacle


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"face_weights": None}, "--face-encoder onnx: needs --face-weights"),
        ({"face_classes": None}, "--face-encoder onnx: needs --face-classes"),
        ({"face_classes": "a,a,b"}, "--face-classes a,a,b: give two or more different names"),
        ({"face_classes": "a,b"}, r"no output has 2 values.*expressions \(3 values\), features \(5 values\)"),
        ({"face_output": "features"}, "--face-output features: .*grey.onnx has expressions"),
        ({"face_features": "none"}, "--face-features none: .*grey.onnx has expressions"),
        ({"face_weights": Path("none.onnx")}, r"none\.onnx: cannot be read as ONNX \(no such file\)"),
    ],
)
def test_unusable_options_are_refused_in_one_line(file: Path, options: dict[str, str], message: str) -> None:
    given: dict[str, Any] = {"face_weights": file, "face_classes": CLASSES, **options}
    with pytest.raises(UserError, match=message):
        FACE_ENCODERS.get("onnx").from_options(OnnxFaceOptions(**given))


def test_a_file_of_other_inputs_is_refused(tmp_path: Path) -> None:
    class Sums(nn.Module):
        def forward(self, values: torch.Tensor) -> torch.Tensor:
            return values.sum(dim=-1, keepdim=True).expand(-1, 3) + 0

    torch.onnx.export(Sums().eval(), (torch.zeros(1, 7),), str(tmp_path / "m.onnx"), verbose=False, external_data=False)
    with pytest.raises(UserError, match="it must take float pictures of one size"):
        OnnxFaces(OnnxFaceOptions(tmp_path / "m.onnx", CLASSES))
