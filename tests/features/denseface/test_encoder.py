"""The shipped visual encoder: its frames, and the accuracy that its model card claims."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from memobert_plugin.core.errors import UserError
from memobert_plugin.data.frames import FERPLUS_CLASSES
from memobert_plugin.features import denseface
from memobert_plugin.features.denseface.encoder import FACE_ENCODERS, DenseFace
from memobert_plugin.features.denseface.pictures import ExpressionPictures
from memobert_plugin.features.denseface.weights import SHIPPED, write_weights
from memobert_plugin.tasks.picture_dataset import resized
from tests.features.denseface.test_weights import state
from tests.reference import dense_net as reference

CARD = SHIPPED.with_suffix(".md")
SAMPLE_STEP = 12


@pytest.fixture(scope="module")
def encoder() -> DenseFace:
    return DenseFace.from_shipped()


def crops(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 64, 64), dtype=np.uint8)


def test_faces_become_features_after_the_last_relu_and_distributions(encoder: DenseFace) -> None:
    features, distributions = encoder.encode(crops(5))
    assert (features.shape, features.dtype) == ((5, 342), np.float32)
    assert (distributions.shape, distributions.dtype) == ((5, 8), np.float32)
    assert features.min() >= 0 and features.max() > 0
    np.testing.assert_allclose(distributions.sum(axis=1), 1, atol=1e-5)
    assert encoder.classes == FERPLUS_CLASSES


def test_a_face_gives_the_same_frame_alone_and_among_others(encoder: DenseFace) -> None:
    faces = crops(70)
    features, distributions = encoder.encode(faces)
    for index in (0, 1, 63, 64, 69):
        feature, distribution = encoder.encode(faces[index : index + 1])
        np.testing.assert_allclose(feature[0], features[index], atol=1e-5)
        np.testing.assert_allclose(distribution[0], distributions[index], atol=1e-5)


def test_frames_are_those_of_the_plain_network_under_the_files_grey_levels(tmp_path: Path) -> None:
    parameters = state()
    write_weights(tmp_path / "other.safetensors", parameters, {})
    faces = crops(2)
    features, distributions = DenseFace.from_file(tmp_path / "other.safetensors").encode(faces)
    halved = {name: value.half().float() if "running" not in name else value for name, value in parameters.items()}
    for face, feature, distribution in zip(faces, features, distributions, strict=True):
        normalised = (torch.from_numpy(face).double() - parameters["grey_mean"]) / parameters["grey_std"]
        expected, logits = reference.denseface(halved, normalised)
        np.testing.assert_allclose(feature, expected.numpy(), atol=1e-4, rtol=1e-4)
        np.testing.assert_allclose(distribution, logits.softmax(dim=0).numpy(), atol=1e-4)


def test_no_face_gives_no_frame(encoder: DenseFace) -> None:
    features, distributions = encoder.encode(np.zeros((0, 64, 64), np.uint8))
    assert (features.shape, distributions.shape) == ((0, 342), (0, 8))


@pytest.mark.parametrize(
    "wrong", [np.zeros((1, 64, 64), np.float32), np.zeros((64, 64), np.uint8), np.zeros((1, 48, 48), np.uint8)]
)
def test_other_pictures_are_refused(encoder: DenseFace, wrong: np.ndarray) -> None:
    with pytest.raises(UserError, match=r"give grey levels, uint8 \(N, 64, 64\)"):
        encoder.encode(wrong)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the device")
def test_an_absent_device_is_refused() -> None:
    with pytest.raises(UserError, match="no usable CUDA device"):
        DenseFace.from_shipped(device="cuda")


def test_it_says_what_made_the_frames(encoder: DenseFace) -> None:
    info = encoder.info(faces="drawn")
    assert (info.name, info.dim, info.classes, info.options) == (
        "denseface", 342, list(FERPLUS_CLASSES), {"faces": "drawn"},
    )  # fmt: skip
    assert f"sha256 {info.weights_sha256}" in CARD.read_text(encoding="utf-8"), "the model card is about other weights"


def test_importing_it_brings_in_neither_torch_nor_the_host() -> None:
    code = (
        "import sys; from memobert_plugin.features.denseface.encoder import FACE_ENCODERS; FACE_ENCODERS.names(); "
        "sys.exit('torch' in sys.modules or 'fairseq' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_model_cards_accuracy_is_reproduced_on_a_fixed_sample(encoder: DenseFace, real_data: Path) -> None:
    """Every twelfth validation picture that has a majority, as the encoder sees faces."""
    with np.load(real_data / "ferplus_train_valid.npz", allow_pickle=False) as archive:
        pictures = ExpressionPictures(archive["images"], archive["votes"].astype(np.uint8), archive["split"])
    valid = pictures.of_split("valid")
    sample = valid.where(valid.majorities() >= 0)
    images, majorities = sample.images[::SAMPLE_STEP], sample.majorities()[::SAMPLE_STEP]
    faces = resized(torch.from_numpy(images).float(), 64).round().byte().numpy()
    accuracy = 100 * (encoder.encode(faces)[1].argmax(axis=1) == majorities).mean()
    claimed = re.search(rf"every {SAMPLE_STEP}th, {len(faces)} \| ([\d.]+) \|", CARD.read_text(encoding="utf-8"))
    assert claimed is not None
    one_picture = 100 / len(faces)
    assert accuracy == pytest.approx(float(claimed[1]), abs=one_picture + 0.01)


def test_shown_probabilities_are_those_of_logits_divided_by_the_temperature(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    write_weights(path, state(), {})
    plain = DenseFace.from_file(path)
    distributions = plain.encode(crops(3))[1]
    assert plain.calibrated(distributions) is distributions
    path.with_suffix(".json").write_text('{"temperature": 0.5}')
    sharper = DenseFace.from_file(path)
    np.testing.assert_array_equal(sharper.encode(crops(3))[1], distributions)
    expected = distributions**2 / (distributions**2).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(sharper.calibrated(distributions), expected, rtol=1e-5)
    assert sharper.weights_sha256 == plain.weights_sha256
    assert sharper.calibrated(np.zeros((0, 8), np.float32)).shape == (0, 8)


@pytest.mark.parametrize("content", ["{}", '{"temperature": 0}', '{"temperature": "warm"}', "[]", "{"])
def test_a_bad_temperature_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "other.safetensors"
    write_weights(path, state(), {})
    path.with_suffix(".json").write_text(content)
    with pytest.raises(UserError, match=r"other\.json: .*; repair or remove it"):
        DenseFace.from_file(path)


def test_the_shipped_weights_have_a_temperature_that_the_card_names(encoder: DenseFace) -> None:
    assert 0.3 < encoder.temperature < 1.0
    assert f"temperature {encoder.temperature:g}" in CARD.read_text(encoding="utf-8")


def test_a_file_of_this_folder_needs_no_other_file_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(
        "from .encoder import FACE_ENCODERS, FaceEncoder\n\n\n"
        '@FACE_ENCODERS.register("mine")\n'
        "class Mine(FaceEncoder):\n"
        '    name = "mine"\n'
    )
    monkeypatch.setattr(denseface, "__path__", [*denseface.__path__, str(tmp_path)])
    monkeypatch.setattr(FACE_ENCODERS, "_found", dict(FACE_ENCODERS._found))
    monkeypatch.setattr(FACE_ENCODERS, "_folder_is_read", False)
    try:
        assert {"denseface", "onnx", "mine"} <= set(FACE_ENCODERS.names())
    finally:
        sys.modules.pop("memobert_plugin.features.denseface.mine", None)
