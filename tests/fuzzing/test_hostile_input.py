"""Damaged and hostile input: readers take it or refuse it with their own error, and with nothing else.

``scripts/reliability/fuzz.py`` gives the same readers many more inputs.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzzing.edits import edited
from tests.fuzzing.targets import Target, make_targets

NAMES = (
    "manifest", "manifest.csv", "manifest.jsonl", "tokenizer.json", "byte_pairs", "shards",
    "corpus.json", "idx", "npz", "extractor.json", "template", "verbalizer", "plan", "subtitles", "webvtt",
    "transcript", "tracker",
    "intervals", "bundle",
)  # fmt: skip


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Target]:
    return make_targets(tmp_path_factory.mktemp("fuzzing"))


def test_every_reader_is_here(targets: Mapping[str, Target]) -> None:
    assert tuple(targets) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_good_input_is_taken(targets: Mapping[str, Target], name: str) -> None:
    assert all(targets[name].survives(seed) for seed in targets[name].seeds)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_damaged_input_is_taken_or_refused(targets: Mapping[str, Target], name: str, data: st.DataObject) -> None:
    target = targets[name]
    seed = data.draw(st.sampled_from(target.seeds))
    target.survives(edited(seed, target.pieces, lambda high: data.draw(st.integers(0, high - 1))))


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=st.binary(max_size=400) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_arbitrary_input_is_taken_or_refused(targets: Mapping[str, Target], name: str, content: bytes) -> None:
    targets[name].survives(content)
