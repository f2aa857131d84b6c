"""Make the small inputs of wrong_answers.py: drawn faces, tones, invented sentences, random weights."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import soundfile

from tests.films import Cue, Track, set_display_matrix, tone, write_film, write_sound, write_srt, write_tracks
from tests.numbered_films import Kind, write_numbered_film
from tests.talking_faces import DrawnFace, draw, voice

HEADER = "id\tspeaker\tsession\tsplit\ttext\temotion\tvideo\taudio\tstart\tend\n"
LINES = [
    Cue(1.0, 2.5, "The kettle is on."),
    Cue(3.0, 4.5, "Nobody told the baker."),
    Cue(5.0, 6.5, "We walk home now."),
]
TALKER = DrawnFace(x=48.0, y=48.0, size=76.0, talks=((0.0, 100.0),))
PIECES = [
    *("[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", ",", "i", "am", "it", "was", "happy", "sad"),
    *("angry", "anger", "neutral", "door", "table", "##s", "##ly", "rain", "the", "we", "go", "home", "never", "again"),
    *("so", "?"),
]

WEBVTT = {
    "ids_notes.vtt": """WEBVTT - made by hand

STYLE
::cue { color: yellow }

REGION
id:low
width:40%

NOTE confidence 0.91
and a second row

opening
00:00:01.000 --> 00:00:02.500
The kettle is on.

7f0e/12-0
00:00:03.000 --> 00:00:04.500 region:low align:left
Nobody told the baker.

NOTE checked

3
00:00:05.000 --> 00:00:06.500
We walk home now.
""",
    "entities.vtt": """WEBVTT

00:00:01.000 --> 00:00:02.500
Bread &amp; butter,&nbsp;please.

00:00:03.000 --> 00:00:04.500
Two &lt; three &gt; one.

00:00:05.000 --> 00:00:06.500
<v Mira>Is it &quot;late&quot;?</v>&lrm;
""",
    "word_times.vtt": """WEBVTT

00:00:01.000 --> 00:00:02.500
the<00:00:01.400><c> kettle</c><00:00:01.900><c> is</c><00:00:02.100><c> on</c>

00:00:03.000 --> 00:00:04.500
nobody <00:00:03.600>told <00:00:04.000>him
""",
    "rolling.vtt": """WEBVTT
Kind: captions

00:00:01.000 --> 00:00:02.990 align:start position:0%
\x20
the<00:00:01.400><c> kettle</c><00:00:01.900><c> is</c><00:00:02.300><c> on</c>

00:00:02.990 --> 00:00:03.000 align:start position:0%
the kettle is on
\x20

00:00:03.000 --> 00:00:05.490 align:start position:0%
the kettle is on
and<00:00:03.500><c> the</c><00:00:04.000><c> window</c><00:00:04.600><c> open</c>

00:00:05.490 --> 00:00:05.500 align:start position:0%
and the window open
\x20

00:00:05.500 --> 00:00:07.500 align:start position:0%
and the window open
so<00:00:06.000><c> come</c><00:00:06.500><c> in</c>
""",
}


def make_inputs(root: Path) -> None:
    """Write all inputs below ``root``."""
    for name in ("films", "subtitles", "sound", "text", "bert", "manifest"):
        (root / name).mkdir(parents=True, exist_ok=True)
    _subtitles(root / "subtitles")
    _streams(root / "films")
    _geometry(root / "films")
    _times(root / "films")
    _sounds(root / "sound")
    _texts(root)
    _bert_folders(root / "bert")


def _subtitles(folder: Path) -> None:
    for name, content in WEBVTT.items():
        (folder / name).write_text(content, encoding="utf-8")
    marks = ("[SPEAKER_00]: ", "SPEAKER_01: ", ">> ")
    spoken = [Cue(cue.start, cue.end, mark + cue.text) for mark, cue in zip(marks, LINES, strict=True)]
    write_srt(folder / "speakers.srt", [*spoken, Cue(7.0, 8.5, ">>> MIRA: Bring the ladder.")])
    times = (("00:00:01", "00:00:02"), ("00:00:03", "00:00:05"), ("00:00:06", "00:00:08"))
    mixed = (("00:00:01,000", "00:00:02,500"), times[1], ("00:00:06,000", "00:00:08,000"))
    for name, pairs in (("whole_seconds.srt", times), ("mixed_seconds.srt", mixed)):
        blocks = [
            f"{n}\n{a} --> {b}\n{cue.text}\n" for n, ((a, b), cue) in enumerate(zip(pairs, LINES, strict=True), 1)
        ]
        (folder / name).write_text("\n".join(blocks))
    rows = write_srt(folder / "cr_only.srt", LINES[:2]).read_bytes()
    (folder / "cr_only.srt").write_bytes(rows.replace(b"\n", b"\r"))
    frames = [f"{{{round(10 * cue.start)}}}{{{round(10 * cue.end)}}}{cue.text}\n" for cue in LINES]
    (folder / "microdvd.sub").write_text(
        "".join(frames).replace("told the", "told|the").replace("We walk", "{y:i}We walk")
    )
    stamps = [f"{round(1000 * cue.start)}\t{round(1000 * cue.end)}\t{cue.text}\n" for cue in LINES]
    (folder / "whisper.tsv").write_text("start\tend\ttext\n" + "".join(stamps))
    segments = [
        {"id": n, "seek": 0, "start": cue.start, "end": cue.end, "text": f" {cue.text}", "tokens": [50364]}
        for n, cue in enumerate(LINES)
    ]
    content = {"text": "".join(str(segment["text"]) for segment in segments), "language": "en", "segments": segments}
    (folder / "whisper.json").write_text(json.dumps(content))


def write_boxes(path: Path, seconds: float, box: tuple[float, float, float, float]) -> None:
    """Write a tracker's file with one face in one box, five times a second."""
    edges = ",".join(f"{edge:g}" for edge in box)
    rows = "".join(f"{step / 5:g},{edges},0,1\n" for step in range(round(seconds * 5)))
    path.write_text("time,left,top,right,bottom,track,confidence\n" + rows)


def _streams(films: Path) -> None:
    write_film(
        films / "talk.mp4", seconds=9.0, fps=10, picture=lambda time: draw([TALKER], time), samples=voice([TALKER], 9.0)
    )
    write_boxes(films / "talk.csv", 9.0, (10, 8, 86, 90))
    remarks = [
        Cue(1.0, 2.5, "On that day the director had the whole street closed for us"),
        Cue(3.0, 4.5, "and this very ladder was borrowed from the town museum"),
    ]
    signs = [Cue(0.5, 1.5, "MUNICIPAL LIBRARY AND READING ROOM"), Cue(3.5, 4.5, "NO ENTRY WITHOUT A VISITOR CARD")]
    german = [Cue(1.0, 2.5, "Der Kessel steht schon auf dem Herd."), Cue(3.0, 4.5, "Dem Baecker hat es keiner gesagt.")]
    dialogue = Track("eng", "", "default", cues=LINES[:2])
    hum = Track("eng", "", "default", tone=300.0)
    films_ = {
        "commentary.mkv": [hum, dialogue, Track("eng", "Director's commentary", "comment", cues=remarks)],
        "forced_signs.mkv": [hum, Track("eng", "Signs", "forced", cues=signs), dialogue],
        "languages.mkv": [hum, Track("ger", "", "default", cues=german), Track("eng", cues=LINES[:2])],
        "two_voices.mkv": [Track("ger", "", "default", tone=300.0), Track("eng", tone=2000.0), dialogue],
    }
    for name, tracks in films_.items():
        write_tracks(films / name, tracks, seconds=5.0)


def _geometry(films: Path) -> None:
    def face(time: float) -> np.ndarray:
        picture = draw([TALKER], time)
        picture[8:26, 20:50] = (40, 25, 15)  # hair on one side: no turning or mirroring leaves the face as it is
        return picture

    stored = {
        "square.mp4": face,
        "mirror.mp4": lambda time: face(time)[:, ::-1],
        "flipped.mp4": lambda time: face(time)[::-1],
        "anamorphic.mp4": lambda time: face(time).reshape(96, 80, 2, 3).mean(2).astype(np.uint8),
    }
    for name, picture in stored.items():
        aspect = Fraction(2) if name == "anamorphic.mp4" else None
        made = lambda time, picture=picture: np.ascontiguousarray(picture(time))  # noqa: E731
        write_film(films / name, seconds=2.5, fps=10, picture=made, samples=voice([TALKER], 2.5), aspect=aspect)
    set_display_matrix(films / "mirror.mp4", -1, 0, 0, 1)
    set_display_matrix(films / "flipped.mp4", 1, 0, 0, -1)
    write_boxes(films / "face.csv", 2.6, (10, 10, 86, 86))
    (films / "shapes.tsv").write_text(
        HEADER + "".join(f"{name}\ts\tx\ttrain\t\t\t{name}\t\t0\t2.3\n" for name in stored)
    )


def _times(films: Path) -> None:
    codecs = {"h264": ("libx264", {"crf": "20", "bf": "2"}), "xvid": ("mpeg4", {"qmin": "3", "qmax": "3", "bf": "2"})}
    names = []
    for name, (codec, options) in codecs.items():
        for suffix, sound in ((".mp4", "aac"), (".avi", "mp2")):
            film = films / f"numbered_{name}{suffix}"
            write_numbered_film(film, Kind(suffix, codec, sound, options), 50, key_every=50)
            names.append(film.name)
    write_numbered_film(films / "numbered.ts", Kind(".ts", "libx264", "mp2", codecs["h264"][1]), 150, key_every=50)
    write_boxes(films / "whole.csv", 6.0, (0, 0, 64, 64))
    (films / "times.tsv").write_text(
        HEADER + "".join(f"{name}\ts\tx\ttrain\t\t\t{name}\t\t0.4\t1.6\n" for name in names)
    )


def _sounds(folder: Path) -> None:
    for suffix, codec, rate in (
        (".m4a", "aac", 16_000), (".aac", "aac", 16_000), (".mka", "libopus", 48_000), (".wma", "wmav2", 16_000),
        (".amr", "libopencore_amrnb", 8_000),
    ):  # fmt: skip
        write_sound(folder / f"voice{suffix}", tone(2.0, 300.0, rate=rate), rate, codec)
    soundfile.write(folder / "voice.wav", tone(1.0, 300.0), 16_000)
    soundfile.write(folder / "four_seconds.flac", tone(3.84, 300.0), 16_000)
    soundfile.write(folder / "streamed.flac", tone(2.0, 300.0), 16_000)
    content = bytearray((folder / "streamed.flac").read_bytes())
    content[21] &= 0xF0  # STREAMINFO: no number of samples, no checksum (RFC 9639, 8.2)
    content[22:42] = bytes(20)
    (folder / "streamed.flac").write_bytes(content)


def _texts(root: Path) -> None:
    text, manifests = root / "text", root / "manifest"
    chinese, japanese = "今天下雨我们不回家了", "雨が降るので今日は帰りません"
    symbols = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", *dict.fromkeys(chinese + japanese)]
    (text / "cjk_vocab.txt").write_text("".join(f"{each}\n" for each in symbols), encoding="utf-8")
    rows = "".join(f"{name}\ts\tx\ttrain\t{words}\t\t\t\t\t\n" for name, words in (("zh", chinese), ("ja", japanese)))
    (text / "cjk_manifest.tsv").write_text(HEADER + rows, encoding="utf-8")
    (text / "emotion_vocab.txt").write_text("".join(f"{each}\n" for each in PIECES))
    said = [("we go home", "happy"), ("it was rain", "sad"), ("never again", "anger"), ("the door", "neutral")]
    rows = "".join(
        f"u{n}\ts{n % 3}\tx\t{'valid' if n > 8 else 'train'}\t{said[n % 4][0]}\t{said[n % 4][1]}\t\t\t\t\n"
        for n in range(12)
    )
    (text / "emotion_manifest.tsv").write_text(HEADER + rows)
    (manifests / "few_columns.tsv").write_text("id\ttext\temotion\nu1\twe go home\thappy\nu2\tnever again\tanger\n")
    (manifests / "utterances.csv").write_text(
        'id,speaker,text,emotion\nu1,s1,"we go home, so",happy\nu2,s2,never again,anger\n'
    )


def _bert_folders(folder: Path) -> None:
    """Write folders with transformers: one with its tokenizer as ``tokenizer.json`` alone, one in shards."""
    from transformers import BertForMaskedLM, BertTokenizerFast

    from tests.reference.bert_folder import bert_config, random_bert

    model = random_bert(BertForMaskedLM, bert_config(1, 8, 2, 16, len(PIECES), 16))
    for name, size in (("tokenizer_only", "5GB"), ("sharded", "5KB")):
        model.save_pretrained(folder / name, max_shard_size=size)
        (folder / name / "vocab.txt").write_text("".join(f"{piece}\n" for piece in PIECES))
    tokenizer = BertTokenizerFast(str(folder / "tokenizer_only" / "vocab.txt"), do_lower_case=True)
    tokenizer.save_pretrained(folder / "tokenizer_only")
    (folder / "tokenizer_only" / "vocab.txt").unlink()
