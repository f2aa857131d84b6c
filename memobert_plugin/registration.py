"""Importing this module registers every task, model, criterion and optimiser with fairseq.

fairseq's ``--help`` ends before it knows the flags of a task: they are printed after it here.
"""

from __future__ import annotations

import atexit
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, dataclass, fields
from enum import Enum
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

from fairseq.dataclass import FairseqDataclass
from fairseq.models import MODEL_DATACLASS_REGISTRY
from fairseq.registry import REGISTRIES
from fairseq.tasks import TASK_DATACLASS_REGISTRY

from .comparators.base import comparator_settings
from .core.fairseq_quirks import allow_fairseq_arguments, keep_compiler_unloaded
from .core.flags import flag_of
from .criterions import emotion as facial_expression_criterion  # noqa: F401
from .criterions import emotion as finetune_criterion  # noqa: F401
from .criterions import emotion as prompt_criterion  # noqa: F401
from .criterions import pretraining as pretraining_criterion  # noqa: F401
from .models import denseface as denseface_model  # noqa: F401
from .models import memobert  # noqa: F401
from .optim import adamw  # noqa: F401
from .tasks import emotion as emotion_task  # noqa: F401
from .tasks import facial_expression as facial_expression_task  # noqa: F401
from .tasks import pretraining as pretraining_task  # noqa: F401

_PREFIX = "memobert_"


@dataclass(frozen=True)
class Flag:
    """A flag of this package: its name, the value it takes (empty: none), its default and its help."""

    name: str
    value: str
    default: str
    help: str


def flags_by_owner() -> dict[tuple[str, str], list[Flag]]:
    """Return the flags of every task, criterion, architecture and optimiser of this package, by kind and name."""
    registries = {
        "task": TASK_DATACLASS_REGISTRY,
        "criterion": REGISTRIES["criterion"]["dataclass_registry"],
        "arch": MODEL_DATACLASS_REGISTRY,
        "optimizer": REGISTRIES["optimizer"]["dataclass_registry"],
    }
    return {
        (kind, name): list(_flags(registry[name]))
        for kind, registry in registries.items()
        for name in sorted(registry)
        if name.startswith(_PREFIX) or name == "memobert"
    }


def _flags(options: type[FairseqDataclass]) -> Iterator[Flag]:
    for one in fields(options):
        default = one.default if one.default_factory is MISSING else one.default_factory()
        if one.name == "_name" or str(default).startswith("${") or default == "???":
            continue  # fairseq's own, which the task only reads, and the data-bin
        shown = default.value if isinstance(default, Enum) else default
        yield Flag(flag_of(one.name), _value(one.type, one.default), str(shown), one.metadata.get("help", ""))


def _value(kind: Any, default: Any) -> str:
    """Return the placeholder of a flag's value."""
    (kind, *_) = [one for one in get_args(kind) if one is not type(None)] or [kind]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return "|".join(str(choice.value) for choice in kind)
    if kind is bool:
        return ""
    return {int: "N", float: "X", str: "TEXT"}.get(kind, "VALUE")


def help_lines(arguments: Sequence[str]) -> list[str]:
    """Return help on the flags of what a command line names; on all that this package has without ``--task``."""
    named = {
        (word.lstrip("-"), value)
        for word, value in pairwise(arguments)
        if word in ("--task", "--criterion", "--arch", "--optimizer")
    }
    owners = flags_by_owner()
    lines = []
    for (kind, name), flags in owners.items():
        if (kind, name) not in named or not flags:
            continue
        lines += ["", f"--{kind} {name}:"]
        for flag in flags:
            lines.append(f"  {flag.name} {flag.value}".rstrip())
            default = f" (default: {flag.default})" if flag.default not in ("", "None", "False") else ""
            lines += textwrap.wrap(flag.help + default, 80, initial_indent=" " * 24, subsequent_indent=" " * 24)
    if not lines:
        names = ", ".join(f"--{kind} {name}" for kind, name in owners)
        lines = ["", *textwrap.wrap(f"memobert_plugin adds {names}. Name them before --help to see their flags.", 100)]
    return lines


def _help_is_asked_of_fairseq() -> bool:
    return Path(sys.argv[0]).name.startswith("fairseq-") and bool({"-h", "--help"} & set(sys.argv[1:]))


allow_fairseq_arguments()
keep_compiler_unloaded()
# Comparators of this package and of others register their architectures when they are imported.
comparator_settings()
if _help_is_asked_of_fairseq():
    atexit.register(lambda: print(*help_lines(sys.argv[1:]), sep="\n"))
