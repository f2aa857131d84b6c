"""Readers of files and texts from outside, each as a function of bytes that may raise only what it declares."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from memobert_plugin.checkpoints.bert import read_bert_tensors
from memobert_plugin.checkpoints.bundle import CONFIGURATION, read_bundle, write_bundle
from memobert_plugin.checkpoints.model_description import PROMPTED, ModelDescription
from memobert_plugin.checkpoints.trained_model import TrainedModel
from memobert_plugin.core.errors import DefectiveClip, UserError
from memobert_plugin.data.corpus import TOKENIZER_FOLDER, Corpus
from memobert_plugin.data.frames import frame_file, read_extractor_info, read_frames
from memobert_plugin.data.indexed import IndexedReader
from memobert_plugin.data.manifest import COLUMNS, manifest_notes, read_manifest
from memobert_plugin.data.prompts import Template, Verbalizer
from memobert_plugin.data.tokenizer import read_tokenizer_files, tokenizer_of
from memobert_plugin.features.media.subtitles import read_subtitles, usable_lines
from memobert_plugin.features.speakers.face_sources.tracker import PLAIN_COLUMNS, read_tracker_rows
from memobert_plugin.features.speakers.voice_detectors.intervals import IntervalsFile
from memobert_plugin.models.memobert import MEmoBERTConfig, MEmoBERTModel
from memobert_plugin.nn.network import weights_of_checkpoint
from memobert_plugin.sweep.plan import read_plan
from tests.data_bins import CorpusShape, make_data_bin

DECLARED = (UserError, DefectiveClip)
"""What readers may raise on bad input: the second is one clip's, and the job goes on."""

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

    def manifest_as(suffix: str) -> Callable[[bytes], object]:
        def read(content: bytes) -> object:
            path = _written(folder / f"manifest{suffix}", content)
            return manifest_notes(path), list(read_manifest(path))

        return read

    def vocabulary(content: bytes) -> object:
        return tokenizer_of(_written(folder / "tokenizer.json", content)).encode("i am here")

    def byte_pairs(content: bytes) -> object:
        """A ``vocab.json``, an empty line, a ``merges.txt``."""
        numbers, _, merges = content.partition(b"\n\n")
        _written(folder / "merges.txt", merges)
        return tokenizer_of(_written(folder / "vocab.json", numbers)).encode(" i am  here")

    shards = folder / "shards"
    shards.mkdir()
    save_file({"a": torch.ones(2)}, shards / "model-1.safetensors")

    def shard_index(content: bytes) -> object:
        _written(shards / "model.safetensors.index.json", content)
        return read_bert_tensors(shards)

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

    def subtitles(content: bytes) -> object:
        found = read_subtitles(_written(folder / "film.srt", content), picture_rate=25.0)
        return usable_lines(found.lines, duration=60.0)

    def tracker(content: bytes) -> object:
        return read_tracker_rows(_written(folder / "film.csv", content))

    def intervals(content: bytes) -> object:
        voice = IntervalsFile(_written(folder / "film.tsv", content))
        voice.start(folder / "film.mp4")
        return voice.intervals(np.zeros(16_000, np.float32))

    bundle_folder = make_bundle(data_bin, folder / "bundle")

    def bundle(content: bytes) -> object:
        _written(bundle_folder / CONFIGURATION, content)
        model = read_bundle(bundle_folder)
        return model.tokenizer(), model.skeleton()

    row = 'u1\ts1\tx\ttrain\ti am "here"\tsad\tv.mp4\ta.wav\t0.5\t1.5\n'
    return {
        "manifest": Target(
            manifest,
            (("\t".join(COLUMNS) + "\n" + row + row.replace("u1", "u2")).encode(),),
            (b"\t", b"\n", b"\r\n", b"nan", b"1e999", b"-1", b"\xef\xbb\xbf", b"\x00", "é".encode(), b'"'),
        ),
        "manifest.csv": Target(
            manifest_as(".csv"),
            (b'id,text,start\nu1,"one ""two"", three",0.5\nu2,,1\n', b"sep=;\r\nid;text\r\nu1;a\r\n"),
            (b",", b";", b'"', b'""', b"\n", b"\r\n", b"\r", b"sep=", b"\xff\xfe", b"\x00", b"1e999", b"\t"),
        ),
        "manifest.jsonl": Target(
            manifest_as(".jsonl"),
            (b'{"id": "u1", "text": "a\\nb", "start": 0.5}\n{"id": 2, "speaker": null}\n', b' [{"id": "u1"}]'),
            (b"{", b"}", b"[", b"]", b'"', b"null", b"NaN", b"1e400", b"\\ud800", b"\n", b"true", b"[" * 3000),
        ),
        "tokenizer.json": Target(
            vocabulary,
            (TOKENIZER_JSON, BYTE_LEVEL_JSON),
            (b"{", b"}", b"[", b"]", b'"', b"null", b"-1", b"1e400", b"5", b'"BPE"', b"true", b"[MASK]", b"[" * 3000),
        ),
        "byte_pairs": Target(
            byte_pairs,
            (json.dumps(BYTE_LEVEL).encode() + b"\n\n#version: 0.2\na m\n\xc4\xa0 am\n",),
            (b"{", b"}", b"[", b'"', b"null", b"-1", b"1e400", b"\n", b" ", b"\r", b"<mask>", b"\xff", b"a a\n"),
        ),
        "shards": Target(
            shard_index,
            (b'{"metadata": {}, "weight_map": {"a": "model-1.safetensors"}}',),
            (b"{", b"}", b"[", b'"', b"null", b"../", b"/", b"\\", b":", b".safetensors", b".bin", b"[" * 3000),
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
        "subtitles": Target(
            subtitles, SUBTITLES,
            (
                b" --> ", b"\n\n", b"\r", b"[Events]", b"Dialogue: ", b"{\\p1}", b"<i>", b"\xff\xfe", b"99:59:59,999",
                b"\x00",
            ),
        ),
        "webvtt": Target(
            subtitles, WEBVTT,
            (
                b" --> ", b"\n\n", b"\r", b"WEBVTT", b"NOTE", b"STYLE\n", b"<v ", b"<c>", b"</c>", 
                b"<00:00:01.500>", b"<rt>",
                b"&amp;", b"&#x10ffff;", b"&#99999999999;", b"99999:59:59.999", b"\x00", 
                b"\xff", b">>", b"[SPEAKER_00]: ",
            ),
        ),
        "transcript": Target(
            subtitles, TRANSCRIPTS,
            (
                b"{", b"}", b"[", b"]", b"null", b"NaN", b"1e400", b"-1", b'"', b",", b"\t",
                b'"words": ', b'"speaker": ',
                b'"segments": ', b'"chunks": ', b'"events": ', b'"transcription": ', b"start\tend\ttext", b"[" * 3000,
            ),
        ),
        "tracker": Target(
            tracker, TRACKER_FILES, (b",", b"\n", b"nan", b"1e400", b"-1", b"\x00", b'"', b"time", b"timestamp")
        ),
        "intervals": Target(
            intervals, INTERVALS,
            (
                b"\t", b"\n", b" ", b"inf", b"1e400", b"-1", b"\x00", b"\xef\xbb\xbf", b"SPEAKER ", b";;", b"\\\t",
                b"<NA>", b"SPKR-INFO",
            ),
        ),
        "bundle": Target(
            bundle, ((bundle_folder / CONFIGURATION).read_bytes(),),
            (b"{", b"}", b"[", b"null", b'"../../x": ', b'"', b"1e400", b"1048576", b"true", b'"finetune"'),
        ),
    }  # fmt: skip


TOKENIZER_JSON = json.dumps(
    {
        "added_tokens": [{"id": 4, "content": "[MASK]"}],
        "normalizer": {"type": "BertNormalizer", "lowercase": True},
        "model": {
            "type": "WordPiece",
            "vocab": {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4, "i": 5, "##s": 6},
        },
    }
).encode()
BYTE_LEVEL = {piece: row for row, piece in enumerate(["<s>", "<pad>", "</s>", "<unk>", "<mask>", *"aimĠ", "am", "Ġam"])}
BYTE_LEVEL_JSON = json.dumps(
    {
        "added_tokens": [{"id": 4, "content": "<mask>"}],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False},
        "model": {"type": "BPE", "vocab": BYTE_LEVEL, "merges": ["a m", ["Ġ", "am"]]},
    }
).encode()
SUBTITLES = (
    b"1\n00:00:01,000 --> 00:00:02,500\n<i>I am here.</i>\n\n2\n00:00:02,400 --> 00:00:04,000\n- No.\n- Yes.\n",
    "1\n00:00:01,000 --> 00:00:02,500\nschön\n".encode("utf-16"),
    b"WEBVTT\n\n00:01.000 --> 00:02.500\nI am here.\n",
    b"[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\nFormat: Name, Fontname\nStyle: Default,Arial\n\n[Events]\n"
    b"Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
    b"Dialogue: 0,0:00:01.00,0:00:02.50,Default,,0,0,0,,{\\i1}I am\\Nhere.\n",
)
WEBVTT = (
    b"WEBVTT head\nKind: captions\n\nSTYLE\n::cue {}\n\nREGION\nid:a\n\nNOTE x\n\n1\n"
    b"00:01.000 --> 00:02.500 align:left\n"
    b"<v.loud Mira>I &amp; you</v> <ruby>a<rt>b</rt></ruby>\n\n00:00:03.000 --> 00:04.500\n"
    b"nobody <00:00:03.600>told<c.x> <00:00:04.000>him</c>\n",
    b"WEBVTT\n\n00:01.000 --> 00:02.990\n \nthe<00:01.400><c> kettle</c>\n\n00:02.990 --> 00:03.000\nthe kettle\n \n\n"
    b"00:03.000 --> 00:05.490\nthe kettle\nand<00:03.500><c> the</c>\n",
    b"1\r00:00:01 --> 00:00:02\r[SPEAKER_00]: One\r2\r0:00:03,5 --> 00:00:05\r>> Two >> three\r",
    b"{10}{25}One|two\n{30}{45}{y:i}Three\n",
    b"0:00:01.000,0:00:02.500\nOne\n\n0:00:03.000,0:00:04.500\nTwo[br]three\n",
    b'<tt xmlns="http://www.w3.org/ns/ttml"><body><div><p begin="1s" end="00:00:02.5">One<br/>two</p></div></body>'
    b"</tt>",
    b"<SAMI><BODY><SYNC Start=1000><P Class=ENCC>One<SYNC Start=2500><P Class=ENCC>&nbsp;</BODY></SAMI>",
    b"[10][25]One|two\n[30][45]Three\n",
)
TRANSCRIPTS = (
    b'{"text": " One", "segments": [{"id": 0, "start": 1.0, "end": 2.5, "text": " One two", "speaker": "A", "words": ['
    b'{"word": " One", "start": 1.1, "end": 1.5, "speaker": "A"}, '
    b'{"word": " two", "start": 1.6, "end": 2, "speaker": "B"}]}]}',
    b'{"transcription": [{"offsets": {"from": 1000, "to": 2500}, "text": " One"}]}',
    b'{"chunks": [{"timestamp": [1.0, 2.5], "text": " One"}, {"timestamp": [3.0, null], "text": " Two"}]}',
    b'{"events": [{"tStartMs": 1000, "dDurationMs": 1500, "segs": [{"utf8": "one"}, '
    b'{"utf8": " two", "tOffsetMs": 500}]}]}',
    b"start\tend\ttext\n1000\t2500\tOne\n3000\t4500\tTwo\n",
    b'start,end,speaker,text\n1.0,2.5,A,"One, two"\n',
)
INTERVALS = (
    b"begin\tend\n0.5\t0.75\n0.25\t2\n",
    b"0.5\t0.75\tA\n\\\t300\t4000\n0,9\t0,9\tpoint\n",
    b";; pyannote\nSPKR-INFO film 1 <NA> <NA> <NA> unknown A <NA>\nSPEAKER film 1 0.100 0.500 <NA> <NA> A <NA> <NA>\n"
    b"SPEAKER other 1 0.2 0.3 <NA> <NA> B <NA> <NA>\n",
)
_POINTS = [f"{axis}_{point}" for axis in "xy" for point in range(68)]
TRACKER_FILES = (
    (",".join(PLAIN_COLUMNS) + "\n0.1,10,10,50,60,1,0.9" + ",20,20,40,20" + ",25,50,35,50,30,48,30,52\n").encode(),
    b"time,left,top,right,bottom\n0.1,10,10,50,60\n0.2,11,10,51,60\n",
    (
        f"frame,face_id,timestamp,confidence,success,{','.join(_POINTS)}\n"
        f"1,0,0.1,0.98,1,{','.join(str(value) for value in range(136))}\n"
    ).encode(),
)


def make_bundle(data_bin: Path, folder: Path) -> Path:
    """A bundle of random weights."""
    sizes = {
        "encoder_layers": 1, "encoder_embed_dim": 8, "encoder_ffn_embed_dim": 16, "encoder_attention_heads": 2,
        "max_positions": 64,
    }  # fmt: skip
    corpus = Corpus(data_bin)
    description = ModelDescription(
        architecture=sizes,
        vocabulary=len(corpus.symbols),
        visual_dim=corpus.meta.visual_dim or 0,
        acoustic_dim=corpus.meta.acoustic_dim or 0,
        expression_classes=corpus.meta.expression_classes,
        kind=PROMPTED,
        labels=list(LABELS),
        limits={"pieces": 30, "visual_frames": 36, "acoustic_frames": 64},
        template="i am [MASK] .",
        verbalizer="anger=angry happy=happy neutral=neutral sad=sad",
        visual_extractor=corpus.meta.visual_extractor,
        acoustic_extractor=corpus.meta.acoustic_extractor,
    )
    config = MEmoBERTConfig()
    for name, size in sizes.items():
        setattr(config, name, size)
    dims = description.visual_dim, description.acoustic_dim, len(description.expression_classes)
    network = MEmoBERTModel.build(config, description.vocabulary, *dims, symbols=corpus.symbols)
    files = read_tokenizer_files(data_bin / TOKENIZER_FOLDER)
    write_bundle(TrainedModel(folder, description, weights_of_checkpoint(network.state_dict()), files), folder)
    return folder


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
