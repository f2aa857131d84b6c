"""Outputs of every command: an existing one asks for --overwrite; links, FIFOs and devices are never replaced."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import BertModel

from memobert_plugin.cli import binarize, extract, import_, inspect, report
from memobert_plugin.core.errors import UserError
from memobert_plugin.corpora import __main__ as corpora
from tests.data.sources import Sources
from tests.evaluation.sweeps import write_grid
from tests.reference.bert_folder import bert_config, bert_vocabulary, random_bert, write_bert_folder

VOCABULARY = bert_vocabulary()
TINY = bert_config(layers=2, hidden=128, heads=2, ffn=512, rows=len(VOCABULARY), positions=512)
pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")


def imported(folder: Path) -> Callable[..., int]:
    bert = write_bert_folder(folder / "bert", random_bert(BertModel, TINY), VOCABULARY)
    return lambda *flags: import_.main(["bert", str(bert), "--output", *flags])


def corpus(folder: Path) -> Callable[..., int]:
    clip = folder / "ravdess" / "Actor_01" / "03-01-01-01-01-01-01.wav"
    clip.parent.mkdir(parents=True)
    clip.touch()
    return lambda *flags: corpora.main(["ravdess", str(folder / "ravdess"), "--output", *flags])


def plotted(folder: Path) -> Callable[..., int]:
    pytest.importorskip("matplotlib")
    data_bin = Sources(folder).binarize().output
    return lambda *flags: inspect.main([str(data_bin), "--plot", *flags])


FILES = {"import": imported, "corpora": corpus, "inspect": plotted}


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_replaced_on_request_only_and_anything_else_is_written_through(name: str, tmp_path: Path) -> None:
    command = FILES[name](tmp_path)
    target, link, fifo = tmp_path / "out.png", tmp_path / "link.png", tmp_path / "fifo.png"
    target.write_text("mine")
    link.symlink_to(target)
    for path in (target, link):
        with pytest.raises(UserError, match="exists already; give --overwrite"):
            command(str(path))
    assert target.read_text() == "mine"
    assert command(str(link), "--overwrite") == 0
    assert link.is_symlink() and target.read_bytes() != b"mine"
    os.mkfifo(fifo)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(fifo.read_bytes()), daemon=True)
    reader.start()
    assert command(str(fifo)) == 0
    reader.join(10)
    assert stat.S_ISFIFO(fifo.stat().st_mode) and len(read[0]) > 100
    if Path("/dev/null").is_char_device():
        assert command("/dev/null") == 0 and Path("/dev/null").is_char_device()


def binarized(folder: Path) -> Callable[..., int]:
    manifest = folder / "m.tsv"
    manifest.write_text("id\ttext\nu\tstop\n")
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nstop\n")
    given = ["--manifest", str(manifest), "--vocab", str(folder / "vocab.txt"), "--output"]
    return lambda *flags: binarize.main([*given, *flags])


def reported(folder: Path) -> Callable[..., int]:
    runs = write_grid(folder / "runs")
    return lambda *flags: report.main([str(runs), "--no-pictures", "--out", *flags])


def extracted(folder: Path) -> Callable[..., int]:
    (folder / "a.wav").touch()
    (folder / "m.tsv").write_text("id\taudio\nu\ta.wav\n")
    given = ["acoustic", "--manifest", str(folder / "m.tsv"), "--encoder", "logmel", "--max-failed-share", "1"]
    return lambda *flags: extract.main([*given, "--output", *flags])


FOLDERS = {"binarize": binarized, "report": reported, "extract": extracted}


@pytest.mark.parametrize("name", FOLDERS)
def test_what_is_no_folder_is_never_replaced_by_one(name: str, tmp_path: Path) -> None:
    command = FOLDERS[name](tmp_path)
    file, fifo = tmp_path / "file", tmp_path / "fifo"
    file.write_text("mine")
    os.mkfifo(fifo)
    for path in (file, fifo, Path("/dev/null")):
        for more in ([], ["--overwrite"]):
            with pytest.raises(UserError, match=str(path)):
                command(str(path), *more)
    assert file.read_text() == "mine" and fifo.is_fifo()


@pytest.mark.parametrize("name", ["binarize", "report"])
def test_a_folder_is_replaced_on_request_only(name: str, tmp_path: Path) -> None:
    command = FOLDERS[name](tmp_path)
    output, link = tmp_path / "out", tmp_path / "link"
    link.symlink_to(output)
    assert command(str(output)) == 0
    made = {path.name: path.read_bytes() for path in output.iterdir() if path.is_file()}
    for path in (output, link):
        with pytest.raises(UserError, match="--overwrite"):
            command(str(path))
    assert command(str(link), "--overwrite") == 0
    assert link.is_symlink() and {path.name for path in output.iterdir() if path.is_file()} == set(made)
