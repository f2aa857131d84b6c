"""An imported DenseFace of the authors computes what their network computes, down to frames."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from memobert_plugin.checkpoints.official_denseface import import_denseface, is_denseface
from memobert_plugin.cli.import_ import main
from memobert_plugin.core.errors import UserError
from memobert_plugin.features.denseface.encoder import DenseFace
from memobert_plugin.features.denseface.weights import main as make_weights
from memobert_plugin.models.denseface import DenseFaceConfig, DenseFaceModel
from tests.host import load_safely
from tests.reference import dense_net as reference

MEAN, STD = 63.98, 43.0
PARAMETERS = reference.random_parameters(4)
STATISTICS = ("--grey-mean", str(MEAN), "--grey-std", str(STD))


def pictures(count: int) -> Tensor:
    return torch.randint(256, (count, 64, 64), generator=torch.Generator().manual_seed(0)).float()


def imported_state(content: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return import_denseface(Path("denseface.pt"), content, MEAN, STD).weights


def save(path: Path, content: Mapping[str, Tensor]) -> Path:
    torch.save(dict(content), path)
    return path


@pytest.mark.parametrize("prefix", ["", "module.", "net.module."])
def test_the_model_computes_what_the_authors_network_computes(prefix: str) -> None:
    content = {f"{prefix}{name}": value for name, value in PARAMETERS.items()}
    assert is_denseface(content)
    model = DenseFaceModel(DenseFaceConfig(), 0.0, 1.0)
    model.load_state_dict(imported_state(content))
    model.eval()
    faces = pictures(2)
    with torch.no_grad():
        features, logits = model(faces)
    for face, feature, logit in zip(faces, features, logits, strict=True):
        expected_feature, expected_logits = reference.denseface(PARAMETERS, (face.double() - MEAN) / STD)
        torch.testing.assert_close(feature.double(), expected_feature, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(logit.double(), expected_logits, atol=1e-4, rtol=1e-4)


def test_counters_of_batches_may_be_absent_as_in_old_files() -> None:
    content = {name: value for name, value in PARAMETERS.items() if not name.endswith("num_batches_tracked")}
    model = DenseFaceModel(DenseFaceConfig(), 0.0, 1.0)
    model.load_state_dict(imported_state(content))


def test_unknown_tensors_are_listed() -> None:
    content = {**PARAMETERS, "avgpool.extra": torch.zeros(2), "classifier2.weight": torch.zeros(2)}
    imported = import_denseface(Path("denseface.pt"), content, MEAN, STD)
    assert imported.unused == ["avgpool.extra", "classifier2.weight"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"features.norm3.running_var": None}, r"denseface.pt: lacks features\.norm3\.running_var"),
        ({"classifier.weight": torch.zeros(7, 342)}, r"classifier\.weight is 7 x 342, expected 8 x 342"),
        ({"classifier.bias": torch.full((8,), torch.nan)}, r"classifier\.bias holds NaN"),
        ({"features.norm3.running_var": -torch.ones(342)}, r"features\.norm3\.running_var has negative variances"),
        ({"twin.features.conv0.weight": torch.zeros(1)}, "holds 2 networks"),
    ],
)
def test_a_file_of_another_network_is_refused_by_name(change: dict[str, Tensor | None], complaint: str) -> None:
    content = {name: value for name, value in {**PARAMETERS, **change}.items() if value is not None}
    with pytest.raises(UserError, match=complaint):
        imported_state(content)


def test_from_the_authors_file_to_frames_by_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, checkpoint, weights = (tmp_path / name for name in ("authors.pt", "imported.pt", "denseface.safetensors"))
    save(source, {**PARAMETERS, "extra": torch.zeros(1)})
    assert main(["official", "--checkpoint", str(source), *STATISTICS, "--output", str(checkpoint)]) == 0
    said = capsys.readouterr().out
    assert "unused: extra" in said
    assert f"--arch memobert_denseface --finetune-from-model {checkpoint}" in said
    assert load_safely(checkpoint)["cfg"]["model"]["_name"] == "memobert_denseface"
    assert make_weights([str(checkpoint), str(weights)]) == 0
    face = pictures(1)[0]
    [feature], _ = DenseFace.from_file(weights).encode(face.byte().numpy()[None])
    halved = {name: value if "running" in name else value.half() for name, value in PARAMETERS.items()}
    expected, _ = reference.denseface(halved, (face.double() - MEAN) / STD)
    np.testing.assert_allclose(feature, expected.numpy(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (STATISTICS[:2], "--grey-std: missing; .* is a DenseFace, which needs it"),
        ((*STATISTICS, "--vocab", "vocab.txt"), "--vocab: .* is a DenseFace; leave the flag out"),
        (("--grey-mean", "300", *STATISTICS[2:]), "--grey-mean 300: grey levels are 0 to 255"),
        ((*STATISTICS[:2], "--grey-std", "0"), "--grey-std 0: grey levels are 0 to 255"),
    ],
)
def test_flags_that_do_not_fit_are_refused(tmp_path: Path, flags: tuple[str, ...], complaint: str) -> None:
    source = save(tmp_path / "authors.pt", PARAMETERS)
    with pytest.raises(UserError, match=complaint):
        main(["official", "--checkpoint", str(source), *flags, "--dry-run"])


def test_a_memobert_needs_its_configuration_and_vocabulary(tmp_path: Path) -> None:
    source = save(tmp_path / "authors.pt", {"uniter.embeddings.word_embeddings.weight": torch.zeros(2, 2)})
    with pytest.raises(UserError, match=r"--config: missing; .* is a MEmoBERT, which needs it"):
        main(["official", "--checkpoint", str(source), "--dry-run"])
