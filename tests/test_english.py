"""Docstrings follow the rules of CONTRIBUTING: an order first, no riddles, also of attributes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import memobert_plugin

PACKAGE = Path(memobert_plugin.__file__ or "").parent
QUESTIONS = re.compile(r"(What|How|Where|Who|Which|Whether|Why)\b")
NO_ORDER = re.compile(
    r"(The|A|An|This|These|Those|Every|All|Each|As|Of|For|In|Is|Are|Not|No|One|Two|Many|From|At|If|When|On|By|With|"
    r"Without|Its|It|Same|First|Last|Also|Only)\b|\W|\d"
)
"""Openings of a function's docstring that are no imperative verb."""
OPENINGS = (
    ('"""What is meant."""', True),
    ('"""Whether it fits."""', True),
    ('def f():\n    """The number."""', True),
    ('def f():\n    """Return the number."""', False),
    ('class C:\n    """A number."""', False),
    ('NUMBER = 1\n"""What is meant."""', True),
    ('NUMBER = 1\n"""A number."""', False),
)


def offending(source: str) -> Iterator[tuple[int, str]]:
    """Yield line and text of each docstring that opens with a question word or, of a function, with no order."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            text, riddle = ast.get_docstring(node) or "", NO_ORDER
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            text, riddle = node.value.value, QUESTIONS
        else:
            continue
        if riddle.match(text):
            yield node.lineno, text.partition("\n")[0]


@pytest.mark.parametrize(("source", "offends"), OPENINGS)
def test_the_rule_tells_orders_from_riddles(source: str, offends: bool) -> None:
    assert bool(list(offending(source))) == offends


def test_docstrings_of_functions_begin_with_an_order() -> None:
    found = [
        f"{path.relative_to(PACKAGE)}:{line}: {text}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for line, text in offending(path.read_text(encoding="utf-8"))
    ]
    assert found == []
