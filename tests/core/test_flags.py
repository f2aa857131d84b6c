"""Dataclasses become flags, and flags become dataclasses."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from memobert_plugin.core.errors import UserError
from memobert_plugin.core.flags import add_flags, options_from


@dataclass(frozen=True)
class Plain:
    pool: int = field(default=3, metadata={"help": "frames averaged"})


@dataclass(frozen=True)
class Weighted:
    weights: Path = field(metadata={"help": "the folder of weights", "metavar": "PATH"})
    level: Literal["always", "never"] = field(default="always", metadata={"help": "normalise the level"})
    rate: float | None = field(default=None, metadata={"help": "100% of something"})
    loud: bool = field(default=False, metadata={"help": "loudly"})


def parse(*flags: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_flags(parser, [("plain", Plain), ("weighted", Weighted)])
    parser.format_help()
    return parser.parse_args(flags)


def test_values_are_parsed_by_the_fields_types() -> None:
    given = options_from(parse("--weights", "w", "--level", "never", "--rate", "2", "--loud"), Weighted, "weighted")
    assert given == Weighted(Path("w"), "never", 2.0, True)


def test_flags_that_were_not_given_keep_their_defaults() -> None:
    assert options_from(parse(), Plain, "plain") == Plain()


def test_a_required_flag_that_is_missing_is_named() -> None:
    with pytest.raises(UserError, match="--encoder weighted: needs --weights, the folder of weights"):
        options_from(parse(), Weighted, "--encoder weighted")


def test_a_flag_of_another_variant_is_refused() -> None:
    with pytest.raises(UserError, match="--encoder plain: takes no --weights; leave it out"):
        options_from(parse("--weights", "w"), Plain, "--encoder plain", [Weighted])


def test_help_names_the_variant_of_each_flag() -> None:
    parser = argparse.ArgumentParser()
    add_flags(parser, [("plain", Plain), ("weighted", Weighted)])
    assert "plain: frames averaged (default: 3)" in parser.format_help()


@dataclass(frozen=True)
class OtherLevels:
    level: int = field(default=1, metadata={"help": "a number"})
    loud: Literal["a", "b"] = field(default="a", metadata={"help": "a letter"})


def test_variants_may_share_a_flag_of_different_types() -> None:
    parser = argparse.ArgumentParser()
    add_flags(parser, [("weighted", Weighted), ("other", OtherLevels)])
    given = parser.parse_args(["--level", "3", "--loud", "b"])
    assert options_from(given, OtherLevels, "other") == OtherLevels(3, "b")
    with pytest.raises(UserError, match="--encoder weighted: --level '3': give always or never"):
        options_from(given, Weighted, "--encoder weighted")
    given = parser.parse_args(["--level", "always", "--loud", "true", "--weights", "w"])
    assert options_from(given, Weighted, "weighted") == Weighted(Path("w"), "always", None, True)
    with pytest.raises(UserError, match="--encoder other: --level 'always': give int"):
        options_from(given, OtherLevels, "--encoder other")


def test_a_plug_ins_option_with_the_name_of_a_commands_flag_is_named() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pool")
    with pytest.raises(UserError, match=r"--pool: this command has a flag of that name, .* \(plain: frames averaged"):
        add_flags(parser, [("plain", Plain)])
