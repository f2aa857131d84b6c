"""Plug-ins are found by name, inside the package and in other packages."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from memobert_plugin.core import registry as registry_module
from memobert_plugin.core.errors import UserError
from memobert_plugin.core.registry import Registry


def point(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    entry = EntryPoint(name, value, "tests.group")
    monkeypatch.setattr(registry_module, "entry_points", lambda group: [entry] if group == "tests.group" else [])


def test_a_registered_plugin_is_found_by_name() -> None:
    registry: Registry[object] = Registry("colour", "", "tests.none")
    assert registry.register("red")(int) is int
    assert registry.names() == ("red",) and registry.get("red") is int


def test_an_unknown_name_is_answered_with_all_names_and_the_nearest() -> None:
    registry: Registry[object] = Registry("colour", "", "tests.none")
    registry.register("green")(int)
    registry.register("red")(str)
    with pytest.raises(UserError, match=r"unknown colour 'gren': choose from green, red; did you mean green\?"):
        registry.get("gren")


def test_two_plugins_of_one_name_are_refused() -> None:
    registry: Registry[object] = Registry("colour", "", "tests.none")
    registry.register("red")(int)
    with pytest.raises(ValueError, match="two plug-ins are called colour 'red'"):
        registry.register("red")(str)


def test_files_of_the_folder_register_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "colours_of_a_test"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "from memobert_plugin.core.registry import Registry\nCOLOURS = Registry('colour', __name__, '')\n"
    )
    (folder / "red.py").write_text("from . import COLOURS\nCOLOURS.register('red')('#f00')\n")
    monkeypatch.syspath_prepend(tmp_path)
    import colours_of_a_test  # type: ignore[import-not-found]

    assert colours_of_a_test.COLOURS.get("red") == "#f00"


def test_an_entry_point_is_listed_without_being_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    point(monkeypatch, "blue", "this")  # the standard library's joke module: nothing else imports it
    registry: Registry[object] = Registry("colour", "", "tests.group")
    assert registry.names() == ("blue",) and "this" not in sys.modules


def test_an_entry_point_may_be_the_plugin_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    point(monkeypatch, "blue", "pathlib:PurePosixPath")
    registry: Registry[object] = Registry("colour", "", "tests.group")
    assert registry.get("blue") is __import__("pathlib").PurePosixPath


def test_a_package_that_cannot_be_imported_is_named_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    point(monkeypatch, "blue", "no_such_package_of_a_test")
    registry: Registry[object] = Registry("colour", "", "tests.group")
    with pytest.raises(UserError, match=r"colour 'blue' of the package no_such_package_of_a_test cannot be imported"):
        registry.get("blue")
    assert list(registry.items()) == []
