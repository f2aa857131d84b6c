"""What the host finds under which name once the package is its ``--user-dir``."""

from __future__ import annotations

import argparse
import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq import registry, tasks
from fairseq.criterions import CRITERION_REGISTRY
from fairseq.dataclass.utils import gen_parser_from_dataclass
from fairseq.models import MODEL_DATACLASS_REGISTRY, MODEL_REGISTRY
from fairseq.optim import OPTIMIZER_REGISTRY

from memobert_plugin.core.fairseq_quirks import compose_a_configuration
from tests.host import ROOT, USER_DIR

TASKS = ("memobert_pretraining", "memobert_prompt", "memobert_finetune", "memobert_facial_expression")
MODELS = ("memobert", "memobert_base", "memobert_small", "memobert_tiny", "memobert_denseface")


def ours(names: dict[str, Any]) -> dict[str, Any]:
    return {name: found for name, found in names.items() if getattr(found, "__module__", "").startswith("memobert_")}


def test_every_name_is_registered_and_has_the_prefix() -> None:
    """The host silently keeps the older class of two with one name."""
    assert set(TASKS) <= set(ours(tasks.TASK_REGISTRY)) and set(TASKS) <= set(ours(CRITERION_REGISTRY))
    assert set(MODELS) <= set(MODEL_DATACLASS_REGISTRY) and set(MODELS) <= set(ours(MODEL_REGISTRY))
    assert set(ours(OPTIMIZER_REGISTRY)) == {"memobert_adamw"}
    registered = [
        *ours(tasks.TASK_REGISTRY),
        *ours(MODEL_REGISTRY),
        *(name for kind in registry.REGISTRIES.values() for name in ours(kind["registry"])),
    ]
    assert [name for name in registered if not name.startswith("memobert")] == []


def test_loading_stays_restricted_to_plain_data_and_namespaces() -> None:
    assert argparse.Namespace in torch.serialization.get_safe_globals()
    assert all("memobert" not in getattr(kind, "__module__", "") for kind in torch.serialization.get_safe_globals())


def own_dataclasses() -> dict[str, type]:
    found = {name: tasks.TASK_DATACLASS_REGISTRY[name] for name in ours(tasks.TASK_REGISTRY)}
    found |= {name: MODEL_DATACLASS_REGISTRY[name] for name in MODELS}
    return found


@pytest.mark.parametrize("name", [*TASKS, *MODELS])
def test_every_flag_says_what_it_is_for(name: str) -> None:
    """But for values borrowed from the host's own flags."""
    silent = [
        field.name
        for field in dataclasses.fields(own_dataclasses()[name])
        if len(field.metadata.get("help", "")) < 5 and not str(field.default).startswith("${")
    ]
    assert silent in ([], ["_name"])


@pytest.mark.parametrize("name", [*TASKS, *MODELS])
def test_a_flag_without_a_value_turns_something_on(name: str) -> None:
    """A bool whose default is True would make a flag that turns it off."""
    defaults = {field.name: field.default for field in dataclasses.fields(own_dataclasses()[name])}
    assert [field for field, default in defaults.items() if default is True] == []


@pytest.mark.parametrize("name", [*TASKS, *MODELS])
def test_the_host_can_make_flags_of_it(name: str) -> None:
    parser = argparse.ArgumentParser()
    gen_parser_from_dataclass(parser, own_dataclasses()[name]())
    assert "%" not in parser.format_help()


REGISTERS = """
import argparse, sys
from fairseq import utils
utils.import_user_module(argparse.Namespace(user_dir=sys.argv[1]))
utils.import_user_module(argparse.Namespace(user_dir=sys.argv[1]))
from fairseq import tasks
print(sorted(name for name in tasks.TASK_REGISTRY if name.startswith("memobert")))
"""


@pytest.mark.slow
@pytest.mark.parametrize("where", ["relative", "absolute"])
def test_the_package_is_a_user_dir_from_anywhere(where: str, tmp_path: Path) -> None:
    user_dir, folder = (USER_DIR.name, ROOT) if where == "relative" else (str(USER_DIR), tmp_path)
    command = [sys.executable, "-c", REGISTERS, user_dir]
    finished = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert finished.returncode == 0, finished.stderr
    assert [name for name in TASKS if name not in finished.stdout] == []


IMPORT_ORDER = """
import sys
import memobert_plugin
print("fairseq" in sys.modules)
import fairseq.tasks
print("memobert_prompt" in fairseq.tasks.TASK_REGISTRY)
memobert_plugin.register()
memobert_plugin.register()
print("memobert_prompt" in fairseq.tasks.TASK_REGISTRY)
"""


@pytest.mark.slow
def test_imported_before_the_host_it_registers_when_asked_to() -> None:
    command = [sys.executable, "-c", IMPORT_ORDER]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert finished.stdout.splitlines()[-3:] == ["False", "False", "True"], finished.stderr


def test_composing_a_configuration_before_forks_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    from hydra.grammar.gen.OverrideParser import OverrideParser

    compose_a_configuration()
    assert capfd.readouterr() == ("", "")
    assert any(tables.states for tables in OverrideParser.decisionsToDFA)
