"""Weight files of the visual encoder: what they hold, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from memobert_plugin.core.errors import UserError
from memobert_plugin.features.denseface.weights import SHIPPED, main, read_checkpoint, read_weights, write_weights
from tests.reference import dense_net as reference


def state(seed: int = 1) -> dict[str, Tensor]:
    parameters = reference.random_parameters(seed)
    named = {name: value for name, value in parameters.items() if not name.endswith("num_batches_tracked")}
    return {**named, "grey_mean": torch.tensor(129.4637), "grey_std": torch.tensor(65.1234)}


def checkpoint(folder: Path, **changes: Tensor) -> Path:
    """What the host writes, as far as it is read here."""
    model = {
        f"network.{name}": value for name, value in {**reference.random_parameters(1), **state(), **changes}.items()
    }
    path = folder / "checkpoint_last.pt"
    torch.save({"args": None, "model": model, "optimizer_history": [{"num_updates": 41}]}, path)
    return path


def test_a_checkpoint_becomes_a_small_file_with_exact_statistics(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(checkpoint(tmp_path)), str(tmp_path / "new.safetensors")]) == 0
    read, given = read_weights(tmp_path / "new.safetensors"), state()
    assert read.state.keys() == given.keys()
    assert (tmp_path / "new.safetensors").stat().st_size < 2_000_000
    for name, value in given.items():
        exact = name.endswith(("running_mean", "running_var", "grey_mean", "grey_std"))
        assert torch.equal(read.state[name], value if exact else value.half().float()), name
    assert read.sha256 in capsys.readouterr().out


def test_the_shipped_file_is_small_and_complete() -> None:
    assert SHIPPED.stat().st_size < 2_000_000
    assert read_weights(SHIPPED).state.keys() == state().keys()
    assert {str(value.dtype) for value in load_file(SHIPPED).values()} == {"torch.float16", "torch.float32"}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"grey_mean": None}, "lacks grey_mean; give the weights of a DenseFace"),
        ({"extra": torch.zeros(1)}, "has unknown extra"),
        ({"classifier.bias": torch.zeros(7)}, "has another shape of classifier.bias"),
        ({"classifier.bias": torch.full((8,), torch.nan)}, "classifier.bias holds NaN or infinite numbers"),
    ],
)
def test_a_file_of_something_else_is_refused_by_name(
    tmp_path: Path, change: dict[str, Tensor | None], complaint: str
) -> None:
    path = tmp_path / "other.safetensors"
    save_file({name: value for name, value in {**state(), **change}.items() if value is not None}, path)
    with pytest.raises(UserError, match=rf"other.safetensors: {complaint}"):
        read_weights(path)


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, SHIPPED.read_bytes()[:50_000]])
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"damaged\.safetensors: no safetensors file"):
        read_weights(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be opened"):
        read_weights(tmp_path / "absent.safetensors")
    with pytest.raises(UserError, match="cannot be opened"):
        read_checkpoint(tmp_path / "absent.pt")


def test_a_checkpoint_of_another_model_or_with_code_inside_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    torch.save({"model": {"encoder.weight": torch.zeros(1)}}, path)
    with pytest.raises(UserError, match="holds no memobert_denseface model"):
        read_checkpoint(path)
    torch.save({"model": Path("code")}, path)
    with pytest.raises(UserError, match="damaged or no checkpoint"):
        read_checkpoint(path)


def test_numbers_beyond_float16_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"classifier.bias reaches 1e\+06"):
        write_weights(tmp_path / "new.safetensors", {**state(), "classifier.bias": torch.full((8,), 1e6)}, {})
    assert list(tmp_path.iterdir()) == []


def test_equal_weights_have_equal_bytes(tmp_path: Path) -> None:
    """Several keys in the header of safetensors would be written in random order."""
    made_by = {name: name for name in "abcdefgh"}
    for number in range(8):
        write_weights(tmp_path / f"{number}.safetensors", dict(reversed(state().items())), made_by)
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1
