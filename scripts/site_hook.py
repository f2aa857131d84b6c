"""Lets mkdocs build the site from README.md, docs/*.md and the commands' own help; see mkdocs.yml.

Links to files of the repository that are no pages of the site become plain text; a link to nothing ends the build.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
_LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]+)\]\((?P<target>(?![a-z]+:|#)[^)\s]+)\)")
_ROLE = re.compile(r":(?:meth|class|func|data|attr|mod|exc):<code>~?(?:[\w.]+\.)?(\w+)</code>")


def on_files(files: Any, config: Any, **_: Any) -> Any:
    """Add the overview, which is README.md, and a page with the help of every command."""
    overview = re.sub(r"\]\(docs/", "](", (ROOT / "README.md").read_text(encoding="utf-8"))
    files.append(File.generated(config, "index.md", content=_without_outer_links(overview, ROOT)))
    files.append(File.generated(config, "help.md", content=_help()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn links that leave docs/ into text."""
    return markdown if page.file.src_uri in ("index.md", "help.md") else _without_outer_links(markdown, DOCS)


def on_page_content(html: str, **_: Any) -> str:
    """Show the roles of docstrings, such as ``:meth:`predict```, as code."""
    return _ROLE.sub(r"<code>\1</code>", html)


def _without_outer_links(markdown: str, folder: Path) -> str:
    def replaced(link: re.Match[str]) -> str:
        path = link["target"].partition("#")[0]
        if (DOCS / path).exists() and not path.startswith(".."):
            return link[0]
        if not (folder / path).exists():
            raise PluginError(f"{link[0]}: there is no {path}")
        shown = os.path.relpath(folder / path, ROOT)
        return f"{link['text']} (`{shown}`)" if shown not in link["text"] else f"`{link['text'].strip('`')}`"

    return _LINK.sub(replaced, markdown)


def _help() -> str:
    """Return a page with what each command's ``--help`` prints."""
    from memobert_plugin.__main__ import COMMANDS

    names = [[name] for name in COMMANDS]
    names += [["extract", part] for part in ("acoustic", "visual", "film", "merge")]
    names += [["import", part] for part in ("bert", "official")]
    parts = ["# Flags of every command\n\nWhat `memobert COMMAND --help` prints.\n"]
    environment = {**os.environ, "COLUMNS": "100", "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    for name in sorted(names):
        command = [sys.executable, "-m", "memobert_plugin", *name, "--help"]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        if done.returncode:
            raise PluginError(f"memobert {' '.join(name)} --help: {done.stderr.strip()}")
        parts.append(f"## memobert {' '.join(name)}\n\n```text\n{done.stdout.rstrip()}\n```\n")
    return "\n".join(parts)
