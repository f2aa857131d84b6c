"""The ``fairseq-train`` commands of the presets' READMEs say the same as the presets."""

from __future__ import annotations

import math
import re
import shlex
import warnings
from pathlib import Path
from typing import Any

import pytest
from fairseq import options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from omegaconf import OmegaConf

from tests.host import ROOT, USER_DIR

FOLDERS = {"memobert_base": ROOT / "examples" / "pretraining", "prompt": ROOT / "examples" / "emotion"}
NOT_COMPARED = {"common.user_dir", "task.data", "checkpoint.finetune_from_model", "common.reset_logging"}
"""What is the reader's own, and what only Hydra needs."""


def flags_of(readme: Path) -> list[str]:
    """The array ``FLAGS`` of the README's shell command, without its comments."""
    [block] = re.findall(r"^FLAGS=\(\n(.*?)^\)$", readme.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    words = shlex.split(block, comments=True)
    return [str(USER_DIR) if word == "$(memobert-inspect --user-dir)" else word for word in words]


def leaves(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found = {}
    for key, value in values.items():
        found.update(leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return found


def same(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other)
    return one == other or str(one) == str(other)


@pytest.mark.parametrize("name", FOLDERS)
def test_the_command_has_the_presets_values(name: str) -> None:
    preset = OmegaConf.load(FOLDERS[name] / "config" / f"{name}.yaml")
    for group in ("hydra", "defaults"):
        preset.pop(group)
    expected = leaves(OmegaConf.to_container(preset, resolve=True))
    arguments = ["data-bin", *flags_of(FOLDERS[name] / "README.md")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = convert_namespace_to_omegaconf(options.parse_args_and_arch(options.get_training_parser(), arguments))
    found = leaves(OmegaConf.to_container(config, resolve=True, enum_to_str=True))
    differing = {
        key: (found.get(key), value)
        for key, value in expected.items()
        if key not in NOT_COMPARED and not key.endswith("._name") and not same(found.get(key), value)
    }
    assert differing == {}
