"""Turn dataclasses into command-line flags and back.

A field's flag is its name with dashes. ``metadata`` may hold ``help`` (required), ``metavar`` and ``type`` (a function
of the text, for fields of any other type). Types that need none: ``str``, ``int``, ``float``, ``bool`` (a
flag without value; its default must be False), ``Path``, ``Literal[...]``, each also ``| None``.
"""

from __future__ import annotations

import argparse
import dataclasses
import types
import typing
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

from .errors import UserError

Options = TypeVar("Options")


def flag_of(field: str) -> str:
    """Return the flag of a field: ``max_seconds`` becomes ``--max-seconds``."""
    return "--" + field.replace("_", "-")


def add_flags(parser: argparse._ActionsContainer, variants: Iterable[tuple[str, type]]) -> None:
    """Add one flag for every field of some dataclasses.

    Args:
        parser: a parser or one of its groups.
        variants: pairs of a name (such as an encoder's, or empty) and its dataclass. A field that several share is one
            flag, whose help names them all.

    Absent flags stay None in the namespace, so that :func:`options_from` can tell given values from defaults.
    """
    helps: dict[str, list[str]] = {}
    fields: dict[str, list[_Field]] = {}
    for name, options in variants:
        hints = typing.get_type_hints(options)
        for field in dataclasses.fields(options):
            fields.setdefault(field.name, []).append(_Field.of(field, hints[field.name]))
            text = str(field.metadata["help"])
            default = field.default if field.default is not dataclasses.MISSING else None
            if default not in (None, False, "", ()):
                text += f" (default: {','.join(map(str, default)) if isinstance(default, tuple) else default})"
            helps.setdefault(field.name, []).append(f"{name}: {text}" if name else text)
    for field_name, alike in fields.items():
        settings: dict[str, Any] = {
            "default": None,
            "help": "; ".join(dict.fromkeys(helps[field_name])).replace("%", "%%"),
        }
        first = alike[0]
        if any(each != first for each in alike):
            settings |= {"metavar": "VALUE"}  # read as text; options_from parses it for the variant that is chosen
        elif first.kind is bool:
            settings |= {"action": "store_const", "const": True}
        else:
            metavar = first.metavar if first.choices is None else None
            settings |= {"type": first.kind, "choices": first.choices, "metavar": metavar}
        try:
            parser.add_argument(flag_of(field_name), **settings)
        except argparse.ArgumentError:
            raise UserError(
                f"{flag_of(field_name)}: this command has a flag of that name, and so has a plug-in "
                f"({helps[field_name][0]}); rename the plug-in's option or uninstall it"
            ) from None


def options_from(
    namespace: argparse.Namespace, options: type[Options], owner: str, others: Iterable[type] = ()
) -> Options:
    """Build a dataclass from parsed flags; flags that were not given keep the field's default.

    Args:
        namespace: what the parser returned.
        options: the dataclass to build.
        owner: for messages, such as ``"--encoder logmel"``.
        others: dataclasses whose flags do not belong to ``owner``.

    Raises:
        UserError: a flag of ``others`` was given, a field without default was not, or a value does not fit its field.
    """
    own = {field.name: field for field in dataclasses.fields(options)}  # type: ignore[arg-type]
    for other in others:
        for field in dataclasses.fields(other):
            if field.name not in own and getattr(namespace, field.name, None) is not None:
                raise UserError(f"{owner}: takes no {flag_of(field.name)}; leave it out")
    hints = typing.get_type_hints(options)
    given = {
        name: _Field.of(field, hints[name]).parsed(value, f"{owner}: {flag_of(name)}")
        for name, field in own.items()
        if (value := getattr(namespace, name, None)) is not None
    }
    for name, field in own.items():
        without_default = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if without_default and name not in given:
            raise UserError(f"{owner}: needs {flag_of(name)}, {field.metadata['help']}")
    return options(**given)


@dataclasses.dataclass(frozen=True)
class _Field:
    """The type of a field, and the values that its flag takes."""

    kind: Callable[[str], Any]
    choices: tuple[Any, ...] | None
    metavar: str | None

    @classmethod
    def of(cls, field: dataclasses.Field[Any], hint: Any) -> _Field:
        kind, choices = (field.metadata["type"], None) if "type" in field.metadata else _kind(hint)
        return cls(kind, choices, field.metadata.get("metavar"))

    def parsed(self, value: Any, place: str) -> Any:
        """Return a flag's value; text is parsed where variants of other types share the flag."""
        if not isinstance(value, str) or self.kind is str:
            found = value
        elif self.kind is bool:
            found = {"true": True, "false": False}.get(value.lower())
        else:
            try:
                found = self.kind(value)
            except (ValueError, argparse.ArgumentTypeError):
                found = None
        if found is None or (self.choices is not None and found not in self.choices):
            wanted = " or ".join(map(str, self.choices or ())) or getattr(self.kind, "__name__", "another value")
            raise UserError(f"{place} {value!r}: give {wanted}")
        return found


def _kind(hint: Any) -> tuple[Callable[[str], Any], tuple[Any, ...] | None]:
    """Return the type that parses a value, and the choices where there are some."""
    if typing.get_origin(hint) in (Union, types.UnionType):
        (hint,) = [one for one in typing.get_args(hint) if one is not type(None)]
    if typing.get_origin(hint) is Literal:
        choices = typing.get_args(hint)
        return type(choices[0]), choices
    if hint not in (str, int, float, bool, Path):
        raise TypeError(f"no flag can hold a {hint!r}")
    return hint, None
