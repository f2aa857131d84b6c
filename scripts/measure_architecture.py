"""Print the measures of the package's structure that docs/architecture.md tabulates.

python scripts/measure_architecture.py            # from the project's folder; needs no installed package
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT / "memobert_plugin"
QUESTION = re.compile(r"(What|How|Where|Who|Which|Whether|Why)\b")
OBJECTIVES = ("wwmlm", "mvfr", "mvfc", "mafr")
SMALL = 60
"""Lines below which a file with a single importer belongs into that importer."""


def sources() -> dict[str, str]:
    """Return the text of every Python file by its path below the package."""
    return {str(path.relative_to(PACKAGE)): path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py"))}


def module_of(file: str) -> str:
    """Return the dotted name below the package: ``nn/heads.py`` is ``nn.heads``, a folder's ``__init__`` the folder."""
    return file.removesuffix(".py").replace("/", ".").removesuffix("__init__").rstrip(".")


def imported_modules(file: str, tree: ast.Module, modules: set[str]) -> Iterator[str]:
    """Yield the package's own modules that a file imports, also inside functions."""
    folder = file.split("/")[:-1]
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = folder[: len(folder) - node.level + 1] + (node.module.split(".") if node.module else [])
        for alias in node.names:
            submodule = ".".join([*base, alias.name])
            yield submodule if submodule in modules else ".".join(base)


def documented(tree: ast.Module) -> Iterator[ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield everything that may carry a docstring."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def comment_lines(text: str) -> int:
    """Count comments that are not directives to a tool."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    directive = re.compile(r"#\s*(noqa|type:|fmt:|ruff:|pragma)")
    return sum(token.type == tokenize.COMMENT and not directive.match(token.string) for token in tokens)


def code_lines(text: str, tree: ast.Module) -> int:
    """Count the lines that are neither blank nor part of a docstring or of another text on its own."""
    texts = {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    return sum(bool(line.strip()) and number not in texts for number, line in enumerate(text.splitlines(), start=1))


def branches_on_objective(tree: ast.Module) -> bool:
    """Return whether a comparison, a key or a call of a file names one of the paper's objectives.

    The definition of a constant is none of these: ``nn/heads.py`` holds the name under which checkpoints store the head
    of masked language modelling.
    """
    defined = {id(node.value) for node in tree.body if isinstance(node, ast.Assign)}
    return any(
        isinstance(node, ast.Constant) and node.value in OBJECTIVES and id(node) not in defined
        for node in ast.walk(tree)
    )


def main() -> None:
    """Measure and print."""
    texts = sources()
    trees = {file: ast.parse(text) for file, text in texts.items()}
    modules = {module_of(file) for file in texts}
    importers: dict[str, set[str]] = defaultdict(set)
    for file, tree in trees.items():
        for module in imported_modules(file, tree, modules):
            importers[module].add(file)
    lengths = {file: len(text.splitlines()) for file, text in texts.items()}
    functions = {
        f"{file}:{node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for file, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }
    docstrings = [text for tree in trees.values() for node in documented(tree) if (text := ast.get_docstring(node))]
    small = sorted(
        file
        for file, lines in lengths.items()
        if lines < SMALL and not file.endswith("__init__.py") and len(importers[module_of(file)]) == 1
    )
    largest_file, largest_function = max(lengths, key=lengths.__getitem__), max(functions, key=functions.__getitem__)
    naming = sorted(
        file
        for file, tree in trees.items()
        if not file.startswith(("objectives/", "checkpoints/official")) and branches_on_objective(tree)
    )
    print(f"files: {len(texts)}")
    code = sum(code_lines(text, trees[file]) for file, text in texts.items())
    print(f"lines: {sum(lengths.values())}, {code} of them without docstrings and blank lines")
    print(f"files under {SMALL} lines with one importer: {len(small)} ({', '.join(small)})")
    print(f"largest file: {lengths[largest_file]} lines ({largest_file})")
    print(f"largest function: {functions[largest_function]} lines ({largest_function})")
    print(f"functions: {len(functions)}, median {sorted(functions.values())[len(functions) // 2]} lines")
    questions = sum(map(bool, map(QUESTION.match, docstrings)))
    print(f"docstrings that begin with a question word: {questions} of {len(docstrings)}")
    print(f"comment lines: {sum(map(comment_lines, texts.values()))}")
    print(f"files that branch on an objective of the paper outside its own: {len(naming)} ({', '.join(naming)})")


if __name__ == "__main__":
    main()
