"""Read a plan's values one by one, so that each mistake is answered with its key and what it may be."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core.errors import UserError

REQUIRED = object()
"""Default of a key that must be given."""
_LARGEST_END = 1e300
"""Of a range, so that the distance of its ends is finite."""


class Section:
    """A mapping of the plan file; keys are taken out one by one, and :meth:`finish` refuses those that are left.

    Args:
        path: the plan file, for messages.
        where: the mapping's place in it, such as ``pretraining``; empty for the whole file.
        values: its content.

    Raises:
        UserError: it is no mapping.
    """

    def __init__(self, path: Path, where: str, values: object) -> None:
        self.path, self.where = path, where
        if not isinstance(values, Mapping):
            raise UserError(f"{path}: {where or 'the file'} is {_shown(values)}; give a mapping of keys to values")
        self._values = dict(values)
        self._known: list[str] = []

    def error(self, key: str, problem: str) -> UserError:
        """Return the one-line error for a key."""
        place = ".".join(filter(None, (self.where, key)))
        return UserError(f"{self.path}: {place}: {problem}")

    def peek(self, key: str) -> Any:
        """Return a value that is still to be taken; None if it is not given, and then it need not be taken."""
        self._known.append(key)
        if self._values.get(key) is None:
            self._values.pop(key, None)
        return self._values.get(key)

    def take(self, key: str, default: Any = REQUIRED) -> Any:
        """Take a value as it stands."""
        self._known.append(key)
        value = self._values.pop(key, None)
        if value is not None:
            return value
        if default is REQUIRED:
            raise self.error(key, "is missing; give it")
        return default

    def text(self, key: str, default: Any = REQUIRED, choices: Collection[str] = ()) -> str:
        """Take a string, possibly one of several."""
        value = self.take(key, default)
        if not isinstance(value, str) or (choices and value not in choices):
            allowed = f"one of {', '.join(choices)}" if choices else "a text"
            raise self.error(key, f"is {_shown(value)}; give {allowed}")
        return value

    def number(self, key: str, default: Any = REQUIRED, least: int = 0, most: int | None = None) -> int:
        """Take a whole number."""
        value = self.take(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise self.error(key, f"is {_shown(value)}; give a whole number of at least {least}")
        if most is not None and value > most:
            raise self.error(key, f"is {value}; give at most {most}")
        return value

    def truth(self, key: str, default: bool) -> bool:
        """Take ``true`` or ``false``."""
        value = self.take(key, default)
        if not isinstance(value, bool):
            raise self.error(key, f"is {_shown(value)}; give true or false")
        return value

    def numbers(self, key: str, default: Any = REQUIRED) -> tuple[int, ...]:
        """Take a list of different whole numbers."""
        values = self._list(key, default)
        if any(isinstance(value, bool) or not isinstance(value, int) or value < 0 for value in values):
            raise self.error(key, f"is {_shown(values)}; give a list of whole numbers such as [1234, 4321]")
        return tuple(values)

    def shares(self, key: str, default: Any = REQUIRED) -> tuple[float, ...]:
        """Take a list of different shares above 0 and at most 1."""
        values = self._list(key, default)
        if any(
            isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1 for value in values
        ):
            raise self.error(key, f"is {_shown(values)}; give shares above 0 and at most 1 such as [0.1, 1.0]")
        return tuple(float(value) for value in values)

    def names(self, key: str, default: Any = REQUIRED, choices: Collection[str] = ()) -> tuple[str, ...]:
        """Take a list of different names, possibly out of several."""
        return self.choose(key, self._list(key, default), choices)

    def choose(self, key: str, values: Sequence[Any], choices: Collection[str] = ()) -> tuple[str, ...]:
        """Return these values of a key if all are names, out of ``choices`` where there are some."""
        for value in values:
            if not isinstance(value, str) or (choices and value not in choices):
                allowed = f"names out of {', '.join(choices)}" if choices else "a list of names"
                raise self.error(key, f"has {_shown(value)}; give {allowed}")
        return tuple(values)

    def section(self, key: str, default: Any = REQUIRED) -> Section:
        """Take a mapping inside this one."""
        return Section(self.path, ".".join(filter(None, (self.where, key))), self.take(key, default))

    def flags(self, key: str, reserved: Mapping[str, str], grids: bool = False) -> dict[str, Any]:
        """Take fairseq's flags by name, with underscores; ``reserved`` ones belong to the sweep, each with the remedy.

        Args:
            key: of the flags.
            reserved: names and remedies.
            grids: a value may be ``{grid: [...]}`` or ``{low: …, high: …}``, of which the best in validation is taken.

        Raises:
            UserError: a reserved flag is given, or a value is no text, number, truth value or list of these.
        """
        inner = self.section(key, {})
        flags = {}
        for name in list(inner._values):
            value = inner.take(name, None)
            plain = str(name).replace("-", "_")
            if plain in reserved:
                raise inner.error(str(name), f"is set by the sweep itself; {reserved[plain]}")
            if isinstance(value, Mapping):
                inner._check_varied(str(name), value, grids)
            flags[plain] = value
        return flags

    def _check_varied(self, name: str, value: Mapping[str, Any], allowed: bool) -> None:
        """Refuse a mapping that is no grid and no range."""
        values = value.get("grid") if len(value) == 1 else None
        is_range = {"low", "high"} <= set(value) <= {"low", "high", "log"}
        if not allowed or (values is None and not is_range):
            more = ", or {grid: [value, value]}, or {low: number, high: number, log: true}" if allowed else ""
            raise self.error(name, f"is {_shown(value)}; give the value of fairseq's flag --{name}{more}")
        if is_range:
            ends, logarithmic = [value["low"], value["high"]], value.get("log", False)
            numbers = all(isinstance(end, (int, float)) and not isinstance(end, bool) for end in ends)
            ordered = numbers and ends[0] < ends[1] and max(map(abs, ends)) < _LARGEST_END
            if not ordered or not isinstance(logarithmic, bool):
                told = "give low below high, both finite numbers, and log: true or false"
                raise self.error(name, f"is {_shown(value)}; {told}")
            if logarithmic and ends[0] <= 0:
                raise self.error(f"{name}.low", f"is {ends[0]}; a logarithmic range begins above 0")
        elif not isinstance(values, list) or len(values) < 2 or len(set(map(str, values))) < len(values):
            raise self.error(f"{name}.grid", f"is {_shown(values)}; give two or more different values")

    def names_left(self) -> list[str]:
        """Return the keys that are left, without taking them."""
        return [str(key) for key in self._values]

    def items(self) -> list[tuple[str, Any]]:
        """Take and return all remaining items."""
        items = [(str(key), value) for key, value in self._values.items()]
        self._values.clear()
        return items

    def finish(self) -> None:
        """Refuse keys that were not taken."""
        for key in self._values:
            known = ", ".join(dict.fromkeys(self._known))
            raise self.error(str(key), f"is no key here; known are {known}")

    def _list(self, key: str, default: Any) -> Sequence[Any]:
        values = self.take(key, default)
        if not isinstance(values, (list, tuple)) or not values:
            raise self.error(key, f"is {_shown(values)}; give a list with at least one entry")
        if len(set(map(str, values))) != len(values):
            raise self.error(key, f"is {_shown(values)}; name each entry once")
        return values


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
