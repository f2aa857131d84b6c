"""Readers of files and texts from outside, each as a function of bytes that may raise only what it declares."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from memobert_plugin.data.corpus import Corpus
from memobert_plugin.data.frames import frame_file, read_extractor_info, read_frames
from memobert_plugin.data.indexed import IndexedReader
from memobert_plugin.data.manifest import COLUMNS, read_manifest
from memobert_plugin.data.prompts import Template, Verbalizer
from memobert_plugin.errors import UserError
from memobert_plugin.launch.plan import read_plan
from tests.data_bins import CorpusShape, make_data_bin

DECLARED = (UserError,)
"""What readers may raise on bad input."""

PLAN = Path(__file__).resolve().parents[2] / "examples" / "sweep" / "small.yaml"
LABELS = ("anger", "happy", "neutral", "sad")


@dataclass(frozen=True)
class Target:
    """A reader, good inputs to start from, and pieces that occur in them."""

    read: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    pieces: tuple[bytes, ...] = ()

    def survives(self, content: bytes) -> bool:
        """Whether the input was taken (else refused as declared); anything else is raised."""
        try:
            self.read(content)
        except DECLARED:
            return False
        return True


def make_targets(folder: Path) -> Mapping[str, Target]:
    """All readers, working on files in ``folder``."""
    data_bin = make_data_bin(folder / "corpus", CorpusShape(speakers=2, utterances=3))
    tokenizer = Corpus(data_bin).load_tokenizer()
    broken = folder / "broken-bin"
    shutil.copytree(data_bin, broken)
    meta, index = (data_bin / "corpus.json").read_bytes(), (data_bin / "visual.idx").read_bytes()
    archive = io.BytesIO()
    np.savez(archive, frames=np.ones((3, 4), np.float32), expression=np.full((3, 2), 0.5, np.float32))
    extractor = json.dumps({"name": "x", "options": {"a": 1}, "frame_rate": 10.0, "dim": 4, "classes": ["a", "b"]})

    def manifest(content: bytes) -> object:
        return list(read_manifest(_written(folder / "manifest.tsv", content)))

    def corpus_json(content: bytes) -> object:
        _written(broken / "corpus.json", content)
        corpus = Corpus(broken)
        return corpus.utterance_ids(range(len(corpus)))

    def idx(content: bytes) -> object:
        shutil.copyfile(data_bin / "visual.bin", folder / "frames.bin")
        _written(folder / "frames.idx", content)
        reader = IndexedReader(str(folder / "frames"))
        return [reader.view(row).sum() for row in range(min(len(reader), 50))]

    def npz(content: bytes) -> object:
        return read_frames(_written(frame_file(folder, "clip"), content))

    def extractor_json(content: bytes) -> object:
        _written(folder / "extractor.json", content)
        return read_extractor_info(folder)

    def template(content: bytes) -> object:
        return Template.parse(content.decode("utf-8", "replace")).encode(tokenizer)

    def verbalizer(content: bytes) -> object:
        return Verbalizer.parse(content.decode("utf-8", "replace"), LABELS).encode(tokenizer)

    def plan(content: bytes) -> object:
        return read_plan(_written(folder / "plan.yaml", content))

    row = 'u1\ts1\tx\ttrain\ti am "here"\tsad\tv.mp4\ta.wav\t0.5\t1.5\n'
    return {
        "manifest": Target(
            manifest,
            (("\t".join(COLUMNS) + "\n" + row + row.replace("u1", "u2")).encode(),),
            (b"\t", b"\n", b"\r\n", b"nan", b"1e999", b"-1", b"\xef\xbb\xbf", b"\x00", "é".encode(), b'"'),
        ),
        "corpus.json": Target(
            corpus_json, (meta,), (b"{", b"}", b"[]", b"null", b"1e400", b"-1", b'"', b":", b"99999999999999999999")
        ),
        "idx": Target(idx, (index,), (b"\xff" * 8, b"\x00" * 8, b"\x7f", b"MMIDIDX\x00\x00")),
        "npz": Target(
            npz, (archive.getvalue(),), (b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"\x93NUMPY", b"\xff" * 4)
        ),
        "extractor.json": Target(extractor_json, (extractor.encode(),), (b"{", b"}", b"null", b"[", b'"', b"1e400")),
        "template": Target(template, (b"i am [MASK] .",), (b"[MASK]", b"[CLS]", b" ", "ß".encode(), b"\x00", b"{}")),
        "verbalizer": Target(
            verbalizer, (b"anger=angry happy=happy neutral=neutral sad=sad",), (b"=", b",", b" ", b"anger=", b"[MASK]")
        ),
        "plan": Target(
            plan, (PLAN.read_bytes(),),
            (b"&a ", b"*a", b"<<: ", b"[", b"]", b"{", b"}", b": ", b"- ", b"!!python/object/apply:os.system", b"null"),
        ),
    }  # fmt: skip


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
