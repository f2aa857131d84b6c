"""What is installed: the wheel's content, the commands, light imports, and nothing of one machine in the tree."""

from __future__ import annotations

import configparser
import importlib.metadata
import json
import random
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import memobert_plugin
from memobert_plugin.core.version import SHIPPED_MODEL

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "memobert_plugin"
BUILD_FILES = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE")
MOST_BYTES = 95_000_000
"""Of the wheel, with the weights that are shipped: package indexes take files up to 100 MB."""
HEAVY = ("matplotlib", "sentencepiece", "tokenizers", "torch", "fairseq", "transformers", "scipy", "sklearn")
NOT_AT_IMPORT = ("matplotlib", "sentencepiece", "submitit", "tabulate", "tokenizers", "transformers", "scipy.stats")
TEXT_SUFFIXES = {".cfg", ".json", ".md", ".py", ".sh", ".srt", ".toml", ".tsv", ".txt", ".yaml", ".yml", ""}


def setup_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def console_scripts() -> dict[str, str]:
    lines = setup_cfg()["options.entry_points"]["console_scripts"].strip().splitlines()
    return {name.strip(): target.strip() for name, target in (line.split("=", 1) for line in lines)}


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=120)


def tree_files() -> list[Path]:
    """Files of the checkout as git sees them: tracked ones, and new ones that it does not ignore."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


def test_package_version_equals_setup_cfg() -> None:
    assert setup_cfg()["metadata"]["version"] == "attr: memobert_plugin.core.version.VERSION"
    assert memobert_plugin.__version__ == importlib.metadata.version("memobert-plugin")


def test_no_hydra_is_installed_that_fairseq_cannot_import() -> None:
    """[hydra]'s launcher asks for ``>=1.1.0.dev7``, by which pip takes pre-releases of Hydra too."""
    lines = setup_cfg()["options"]["install_requires"].strip().splitlines()
    (hydra,) = [found for line in lines if (found := Requirement(line)).name == "hydra-core"]
    assert hydra.specifier.contains("1.3.8")
    assert not hydra.specifier.contains("1.4.0rc3", prereleases=True)


def test_changelog_knows_the_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{memobert_plugin.__version__}]" in changelog


def test_every_folder_of_the_package_is_a_package() -> None:
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    assert [str(folder) for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []


@pytest.mark.slow
def test_wheel_holds_every_file_of_the_package_and_nothing_else(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", minversion="77")
    source = tmp_path / "source"
    source.mkdir()
    for name in {*BUILD_FILES, *(path.name for path in ROOT.glob("*.md"))}:
        shutil.copy(ROOT / name, source)
    leftovers = shutil.ignore_patterns("__pycache__", ".*", "work", "build", "*.egg-info")
    for name in ("docs", "examples"):
        shutil.copytree(ROOT / name, source / name, ignore=leftovers)
    shutil.copytree(PACKAGE, source / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    # Where the shipped model is not there, a stand-in of its files, which no compression makes smaller.
    bundle = source / SHIPPED_MODEL.relative_to(ROOT)
    if not bundle.exists():
        (bundle / "tokenizer").mkdir(parents=True)
        for name, size in (("model.safetensors", 62_000_000), ("tokenizer/vocab.txt", 200_000), ("config.json", 2000)):
            (bundle / name).write_bytes(random.Random(name).randbytes(size))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--wheel-dir", str(tmp_path), str(source)], check=True, timeout=300)
    (wheel,) = tmp_path.glob("memobert_plugin-*.whl")
    assert wheel.stat().st_size < MOST_BYTES
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name and ".data/" not in name}
        beside = {name.partition("/share/doc/memobert_plugin/")[2] for name in archive.namelist() if ".data/" in name}
        (scripts,) = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
        entry_points = archive.read(scripts).decode()
    expected = {path.relative_to(source).as_posix() for path in (source / PACKAGE.name).rglob("*") if path.is_file()}
    assert packed == expected
    kinds = (".md", ".yaml", ".sh", ".py", ".txt", ".ipynb", ".toml")
    recipes = [path for path in (source / "examples").rglob("*") if path.suffix in kinds]
    documents = [*source.glob("*.md"), *(source / "docs").glob("*.md"), *(source / "docs" / "pictures").iterdir()]
    assert beside == {path.relative_to(source).as_posix() for path in [*recipes, *documents]}
    assert all(f"{name} = {target}" in entry_points for name, target in console_scripts().items())


HELP = """
import contextlib, importlib, io, json, sys
name, target = sys.argv[1:]
module, function = target.split(":")
sys.argv = [name, "--help"]
status, printed = None, io.StringIO()
try:
    with contextlib.redirect_stdout(printed):
        getattr(importlib.import_module(module), function)()
except SystemExit as leaving:
    status = leaving.code
print(json.dumps([status, printed.getvalue(), sorted({name.partition(".")[0] for name in sys.modules})]))
"""


@pytest.mark.parametrize("name", console_scripts())
def test_help_of_every_command_exits_0_without_a_heavy_import(name: str) -> None:
    finished = run_python(HELP, name, console_scripts()[name])
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr == ""
    status, printed, modules = json.loads(finished.stdout)
    assert status in (0, None)
    assert printed.startswith(f"usage: {name}")
    assert [module for module in HEAVY if module in modules] == []


PLUGIN_AFTER_HOST = """
import json, logging, sys
import fairseq, fairseq_cli.train
host = set(sys.modules)
import memobert_plugin
assert "memobert_plugin.registration" in sys.modules
print(json.dumps(sorted(set(sys.modules) - host)))
"""


def test_the_plugin_brings_few_modules_beyond_the_hosts() -> None:
    pytest.importorskip("fairseq")
    finished = run_python(PLUGIN_AFTER_HOST)
    assert finished.returncode == 0, finished.stderr
    brought = json.loads(finished.stdout.splitlines()[-1])
    assert [module for module in brought if module.startswith(NOT_AT_IMPORT)] == []
    assert len([module for module in brought if not module.startswith("memobert_plugin")]) < 100, brought


def test_the_package_alone_imports_neither_torch_nor_the_host() -> None:
    finished = run_python(
        "import sys, memobert_plugin; print([m for m in ('torch', 'fairseq', 'numpy') if m in sys.modules])"
    )
    assert finished.stdout.strip() == "[]", finished.stderr


def test_no_file_names_a_folder_of_one_machine() -> None:
    homes = "|".join(("home", "Users", "root", "work", "mnt", "opt"))
    # A path that starts at the root: not a part of a longer one, of a web address or of a #! line.
    pattern = re.compile(rf"(?<![\w.:/$}}~-])/(?:{homes})/\w|\.\./shared|\.pyenv/")
    found = []
    for path in tree_files():
        if path.suffix not in TEXT_SUFFIXES or path == Path(__file__):
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if pattern.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert found == []
