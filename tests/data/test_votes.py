"""Tests of ``memobert_plugin.data.votes``."""

from __future__ import annotations

import pytest

from memobert_plugin.data.votes import format_votes, parse_votes, renamed_votes


def test_votes_are_read_and_written() -> None:
    assert parse_votes("anger=3 happy=0.5") == {"anger": 3.0, "happy": 0.5} and parse_votes("") == {}
    assert format_votes({"happy": 1.0, "anger": 3.0, "sad": 0.0}) == "anger=3 happy=1"


def test_votes_of_emotions_that_get_one_name_are_added() -> None:
    names = {"calm": "neutral", "Anger": "anger"}
    assert renamed_votes("anger=1 Anger=2 calm=1 neutral=0.5", names) == "anger=3 neutral=1.5"
    assert renamed_votes("", names) == ""


@pytest.mark.parametrize("text", ["anger", "anger=", "anger=x", "anger=-1", "anger=inf", "=2", "a=1 a=2", "a=0"])
def test_other_votes_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="votes "):
        parse_votes(text)
