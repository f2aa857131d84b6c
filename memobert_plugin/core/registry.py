"""Find plug-ins by name: the files of one folder of this package, and entry points of other packages."""

from __future__ import annotations

import difflib
import importlib
import logging
import pkgutil
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from .errors import UserError

logger = logging.getLogger(__name__)

Plugin = TypeVar("Plugin")
Registered = TypeVar("Registered")


class Registry(Generic[Plugin]):
    """The plug-ins of one kind.

    A file of this package adds itself with :meth:`register`; the folder's files are imported when the registry is first
    asked. Another package names its plug-in in an entry point, whose object is either the plug-in itself or a module
    that registers it on import. An entry point is imported when its name is asked for, not before.

    Args:
        kind: singular noun for messages, such as ``"objective"``.
        package: dotted name of the folder whose files register themselves; empty for none.
        group: the entry points' group, such as ``"memobert_plugin.objectives"``.
    """

    def __init__(self, kind: str, package: str, group: str) -> None:
        self.kind, self.package, self.group = kind, package, group
        self._found: dict[str, Plugin] = {}
        self._outside: dict[str, EntryPoint] | None = None
        self._folder_is_read = False

    def register(self, name: str) -> Callable[[Registered], Registered]:
        """Return a decorator that adds a plug-in under ``name``.

        Raises:
            ValueError: another plug-in has that name.
        """

        def add(plugin: Registered) -> Registered:
            known = self._found.get(name)
            if known is not None and known is not plugin:
                raise ValueError(f"two plug-ins are called {self.kind} {name!r}: {known!r} and {plugin!r}")
            self._found[name] = plugin  # type: ignore[assignment]
            return plugin

        return add

    def names(self) -> tuple[str, ...]:
        """Return all names: those of this package in the order of their files, then the other packages'."""
        self._read_folder()
        outside = self._entry_points()
        # By file, because a file that was imported on its own has registered before the others.
        inside = sorted(self._found, key=lambda name: str(getattr(self._found[name], "__module__", "")))
        return (*inside, *(name for name in outside if name not in self._found))

    def own(self) -> dict[str, Plugin]:
        """Return the plug-ins of this package's folder by name, without importing another package."""
        self._read_folder()
        return {
            name: plugin
            for name, plugin in self._found.items()
            if str(getattr(plugin, "__module__", "")).startswith(f"{self.package}.")
        }

    def get(self, name: str) -> Plugin:
        """Return the plug-in called ``name``.

        Raises:
            UserError: there is none (the message lists all names), or its package cannot be imported.
        """
        self._read_folder()
        if name not in self._found and name in self._entry_points():
            self._load(name)
        if name not in self._found:
            near = difflib.get_close_matches(name, self.names(), n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise UserError(f"unknown {self.kind} {name!r}: choose from {', '.join(self.names())}{hint}")
        return self._found[name]

    def items(self) -> Iterator[tuple[str, Plugin]]:
        """Yield every name with its plug-in; one whose package cannot be imported is logged and left out."""
        for name in self.names():
            try:
                yield name, self.get(name)
            except UserError as error:
                logger.warning("%s", error)

    def _read_folder(self) -> None:
        if self._folder_is_read or not self.package:
            return
        # Set first: a file of the folder may ask the registry while it is being imported.
        self._folder_is_read = True
        for module in pkgutil.iter_modules(importlib.import_module(self.package).__path__):
            if not module.name.startswith("_"):  # __main__ is a command, not a plug-in
                importlib.import_module(f"{self.package}.{module.name}")

    def _entry_points(self) -> dict[str, EntryPoint]:
        if self._outside is None:
            self._outside = {point.name: point for point in entry_points(group=self.group)}
        return self._outside

    def _load(self, name: str) -> None:
        point = self._entry_points()[name]
        try:
            loaded = point.load()
        except Exception as error:
            package = point.dist.name if point.dist is not None else point.value
            raise UserError(
                f"{self.kind} {name!r} of the package {package} cannot be imported "
                f"({type(error).__name__}: {error}); repair or uninstall that package"
            ) from None
        if name not in self._found:
            self._found[name] = loaded
