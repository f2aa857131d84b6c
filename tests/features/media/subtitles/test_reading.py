"""Subtitle files as they are found in the wild."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest

from memobert_plugin.core.errors import DefectiveClip, UserError
from memobert_plugin.features.media.streams import StreamChoice
from memobert_plugin.features.media.subtitles import Line, embedded_subtitles, read_subtitles, usable_lines
from tests.films import Cue, Track, remux, write_film, write_srt, write_tracks

pytest.importorskip("pysubs2")
CUES = [Cue(1.5, 2.75, "Déjà vu – “yes”"), Cue(0.0, 1.0, "<i>Señor</i>\nGarcía")]
LINES = [Line(0.0, 1.0, "Señor\nGarcía", 1), Line(1.5, 2.75, "Déjà vu – “yes”", 2)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_lines_come_in_order_of_time_whatever_the_encoding(tmp_path: Path, encoding: str) -> None:
    found = read_subtitles(write_srt(tmp_path / "f.srt", CUES, encoding))
    assert found.lines == LINES
    assert found.remark == ""


def test_windows_1252_is_guessed_and_said(tmp_path: Path) -> None:
    path = write_srt(tmp_path / "f.srt", CUES, "cp1252")
    found = read_subtitles(path)
    assert found.lines == LINES
    assert found.remark == f"{path}: not UTF-8, taken for Windows-1252 (--encoding names another)"


def test_an_encoding_can_be_named(tmp_path: Path) -> None:
    path = write_srt(tmp_path / "f.srt", [Cue(0, 2, "Привет")], "cp1251")
    assert read_subtitles(path, "cp1251").lines[0].text == "Привет"
    with pytest.raises(UserError, match="--encoding klingon: Python knows no such encoding"):
        read_subtitles(path, "klingon")
    with pytest.raises(DefectiveClip, match="not in utf-8"):
        read_subtitles(path, "utf-8")


def test_ass_events_without_comments_drawings_and_tags(tmp_path: Path) -> None:
    path = tmp_path / "f.ass"
    path.write_text(
        "[Script Info]\nScriptType: v4.00+\n\n[Events]\n"
        "Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
        "Dialogue: 0,0:00:02.00,0:00:03.50,Default,,0,0,0,,{\\an8\\i1}Two{\\i0}\\Nrows, one comma\n"
        "Comment: 0,0:00:02.00,0:00:03.00,Default,,0,0,0,,not shown\n"
        "Dialogue: 0,0:00:01.00,0:00:02.00,Default,,0,0,0,,{\\p1}m 0 0 l 100 0{\\p0}\n"
        "Dialogue: 0,0:00:00.50,0:00:01.50,Default,,0,0,0,,One\n"
    )
    assert read_subtitles(path).lines == [Line(0.5, 1.5, "One", 1), Line(2.0, 3.5, "Two\nrows, one comma", 2)]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not readable as subtitles"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe\x81" * 9, "not readable as subtitles"),
        (b"just words", "not readable as subtitles"),
        (codecs.BOM_UTF16_LE + b"a", "not in utf-16"),
        (b"[V4+ Styles]\nStyle: a,b,20,,,,\n[Events]\n", "not readable as subtitles"),
    ],
)
def test_what_is_no_subtitle_file_is_a_defect(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "f.srt").write_bytes(content)
    with pytest.raises(DefectiveClip, match=f"f.srt: {reason}"):
        read_subtitles(tmp_path / "f.srt")
    with pytest.raises(DefectiveClip, match="cannot be read"):
        read_subtitles(tmp_path / "none.srt")


def test_the_stream_with_the_most_text_inside_a_film(tmp_path: Path) -> None:
    pytest.importorskip("av")
    film = write_film(tmp_path / "f.mkv", cues=[Cue(0.5, 1.5, "{\\i1}Hello{\\i0}\\Nthere"), Cue(1.5, 2.5, "Bye, now")])
    found = embedded_subtitles(film)
    assert found.lines == [Line(0.5, 1.5, "Hello\nthere", 1), Line(1.5, 2.5, "Bye, now", 2)]
    assert found.origin == f"{film}, stream 2"
    with pytest.raises(DefectiveClip, match="no stream of text inside in language fre"):
        embedded_subtitles(film, StreamChoice("fre"))
    with pytest.raises(DefectiveClip, match="no subtitles beside it, and no stream of text inside"):
        embedded_subtitles(write_film(tmp_path / "bare.mkv", seconds=0.5))


def test_a_field_that_pysubs2_cannot_read_makes_no_warning_of_python(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    (tmp_path / "f.ass").write_text(
        "[Script Info]\nScriptType: v4.00+\n\n[Events]\n"
        "Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
        "Dialogue: 0,0:00:02.00,0:00:03.50,Default,,0,wide,0,,Two\n"
    )
    assert read_subtitles(tmp_path / "f.ass").lines == [Line(2.0, 3.5, "Two", 1)]
    assert not recwarn.list


@pytest.mark.parametrize("later", [0.0, 5.0])
@pytest.mark.parametrize("pictures_later", [0.0, 0.1, 1.0])
def test_lines_inside_a_film_count_from_the_same_zero_as_its_pictures(
    tmp_path: Path, later: float, pictures_later: float
) -> None:
    """Sound that begins 0.1 s earlier is an encoder's priming, and 1 s earlier the film's beginning."""
    pytest.importorskip("av")
    from memobert_plugin.features.media.film_frames import FilmFrames

    cues = [Cue(0.5, 1.5, "Hello there"), Cue(1.5, 2.5, "Bye, now")]
    made = write_film(tmp_path / "made.mkv", cues=cues, sound_codec="pcm_s16le")
    moved = remux(tmp_path / "moved.mkv", [(made, (0, 2))], pictures_later)
    film = remux(tmp_path / "f.mkv", [(moved, (0, 1)), (made, (1,))], later)
    frames = FilmFrames(film)
    shown = frames.next()
    frames.close()
    assert shown is not None
    begin = pictures_later if pictures_later > 0.15 else 0.0
    assert shown.begin == pytest.approx(begin, abs=2e-3)
    starts = [line.start for line in embedded_subtitles(film).lines]
    assert starts == pytest.approx([begin + 0.5, begin + 1.5], abs=2e-3)


SRT = "1\n00:00:01,000 --> 00:00:02,500\nThe lamp is lit.\n\n2\n00:00:03,000 --> 00:00:04,500\nThe door is shut.\n"
TOLD = [(1.0, 2.5, "The lamp is lit."), (3.0, 4.5, "The door is shut.")]


def told(path: Path, rate: float | None = None) -> list[tuple[float, float, str]]:
    return [(line.start, line.end, line.text) for line in read_subtitles(path, picture_rate=rate).lines]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.srt", SRT),
        ("a.srt", SRT.replace("\n", "\r")),
        ("a.srt", SRT.replace("1\n", "").replace("\n2\n", "\n")),
        ("a.vtt", "\ufeffWEBVTT\n\n" + SRT.replace(",", ".")),
        ("a.sub", "{1}{1}10\n{10}{25}The lamp is lit.\n{30}{45}The door is shut.\n"),
        ("a.sub", "00:00:01.00,00:00:02.50\nThe lamp is lit.\n\n00:00:03.00,00:00:04.50\nThe door is shut.\n"),
        ("a.sbv", "0:00:01.000,0:00:02.500\nThe lamp is lit.\n\n0:00:03.000,0:00:04.500\nThe door is shut.\n"),
        ("a.txt", "[10][25]The lamp is lit.\n[30][45]The door is shut.\n"),
        ("a.tsv", "start\tend\ttext\n1000\t2500\tThe lamp is lit.\n3000\t4500\tThe door is shut.\n"),
        ("a.csv", 'start,end,text\n1000,2500," The lamp is lit."\n3000,4500," The door is shut."\n'),
        (
            "a.json",
            '{"segments": [{"start": 3, "end": 4.5, "text": "The door is shut."}, '
            '{"start": 1, "end": 2.5, "text": "The lamp is lit."}]}',
        ),
        (
            "a.ttml",
            '<tt xmlns="http://www.w3.org/ns/ttml"><body><div><p begin="00:00:01.000" end="00:00:02.500">The lamp is '
            'lit.</p><p begin="00:00:03.000" end="00:00:04.500">The door is shut.</p></div></body></tt>',
        ),
        (
            "a.smi",
            "<SAMI><BODY><SYNC Start=1000><P Class=ENCC>The lamp is lit.<SYNC Start=2500><P Class=ENCC>&nbsp;"
            "<SYNC Start=3000><P Class=ENCC>The door is shut.<SYNC Start=4500><P Class=ENCC>&nbsp;</BODY></SAMI>",
        ),
    ],
)
def test_formats_of_many_tools_say_the_same(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8", newline="")
    assert told(tmp_path / name) == TOLD


def test_microdvd_without_a_rate_takes_the_films_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "f.sub"
    path.write_text("{10}{25}The lamp|is lit.\n{30}{45}{y:i}The door is shut.\n")
    found = read_subtitles(path, picture_rate=10.0)
    assert [(line.start, line.end, line.text) for line in found.lines] == [
        (1.0, 2.5, "The lamp\nis lit."),
        (3.0, 4.5, "The door is shut."),
    ]
    assert found.remark == f"{path}: MicroDVD without a rate: the film's 10 pictures per second were taken"
    with pytest.raises(DefectiveClip, match=r"f\.sub: MicroDVD counts pictures, and neither .* such as \{1\}\{1\}25"):
        read_subtitles(path)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("f.sub", b"\0\0\1\xba\x44", "VobSub holds pictures of text"),
        ("f.sup", b"PG\0\0", "PGS holds pictures of text"),
        ("f.lrc", b"[ar:x]\n[00:12.00]La la\n", "lyrics .* do not say when lines end"),
        ("f.json", b'{"id": "x"}', "JSON without segments"),
        ("f.json", b'{"segments": [', "not readable as subtitles"),
        ("f.ttml", b'<?xml version="1.0"?><tt xmlns="http://www.w3.org/ns/ttml"><body>', "not readable as subtitles"),
        (
            "f.ttml",
            b'<tt xmlns="http://www.w3.org/ns/ttml"><body><div><p end="soon">One</p></div></body></tt>',
            "not readable",
        ),
        ("f.vtt", b"WEBVTT\n\nNOTE nothing else\n", "no line of subtitles"),
    ],
)
def test_what_cannot_be_read_says_why_in_a_line(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DefectiveClip, match=rf"{name}: .*{reason}"):
        read_subtitles(tmp_path / name)


def test_ass_of_several_layers_with_karaoke_and_drawings(tmp_path: Path) -> None:
    path = tmp_path / "f.ass"
    path.write_text(
        "[Script Info]\nScriptType: v4.00+\n\n[Events]\n"
        "Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
        "Dialogue: 0,0:00:01.00,0:00:03.00,Default,,0,0,0,,{\\k20}The {\\kf30}lamp\n"
        "Dialogue: 1,0:00:01.00,0:00:03.00,Default,,0,0,0,,{\\blur3}The lamp\n"
        "Dialogue: 1,0:00:01.50,0:00:03.00,Sign,,0,0,0,,{\\pos(1,2)\\p1}m 0 0 l 9 9{\\p0}\n"
    )
    used, dropped = usable_lines(read_subtitles(path).lines, None)
    assert [line.text for line in used] == ["The lamp"]
    assert [each.reason for each in dropped] == ["the same line twice"]


def test_marks_of_speakers_are_noted(tmp_path: Path) -> None:
    path = tmp_path / "f.srt"
    path.write_text("1\n00:00:01,000 --> 00:00:02,500\n[SPEAKER_00]: Yes.\n\n2\n00:00:03,000 --> 00:00:04,500\nNo.\n")
    assert [line.speaker for line in read_subtitles(path).lines] == ["SPEAKER_00", ""]
    names = ["Mira Novak", "Tom", "Mira Novak", "Mira Novak"]
    path.write_text(
        "WEBVTT\n\n" + "".join(f"00:0{n}.000 --> 00:0{n + 1}.000\n{who}: Yes.\n\n" for n, who in enumerate(names))
    )
    assert [(line.speaker, line.text) for line in read_subtitles(path).lines] == [(who, "Yes.") for who in names]
    path.write_text("WEBVTT\n\n00:01.000 --> 00:02.000\nListen: it rains.\n\n00:03.000 --> 00:04.000\nSo it does.\n")
    assert read_subtitles(path).lines[0].text == "Listen: it rains."


def test_lines_that_all_run_into_the_next_end_where_that_begins(tmp_path: Path) -> None:
    path = tmp_path / "f.srt"
    stamps = "".join(f"{n}\n00:00:0{n},000 --> 00:00:0{n + 2},000\nWord {n}\n\n" for n in range(1, 7))
    path.write_text(stamps)
    found = read_subtitles(path)
    assert [(line.start, line.end) for line in found.lines] == [(1, 2), (2, 3), (3, 4), (4, 5), (5, 6), (6, 8)]
    assert found.remark.endswith("nearly every line runs into the next one, and ends where that begins")


@pytest.mark.parametrize(
    ("suffix", "codec", "payloads"),
    [
        ("mkv", "ass", ["{\\i1}Hello{\\i0}\\Nthere", "Bye, now"]),
        ("mkv", "subrip", ["<i>Hello</i>\nthere", "Bye, now"]),
        ("mkv", "webvtt", ["<v Mira>Hello\nthere</v>", "Bye,<00:00:01.000> now"]),
        ("mp4", "mov_text", ["Hello\nthere", "Bye, now"]),
    ],
)
def test_streams_of_every_codec_of_text(tmp_path: Path, suffix: str, codec: str, payloads: list[str]) -> None:
    pytest.importorskip("av")
    first, second = payloads
    cues = [Cue(0.2, 0.8, first), Cue(0.8, 1.6, second)]
    film = write_tracks(tmp_path / f"f.{suffix}", [Track("eng", flags="default", cues=cues, codec=codec)])
    found = embedded_subtitles(film, StreamChoice("english"))
    assert [(line.start, line.end, line.text) for line in found.lines] == [
        (0.2, 0.8, "Hello\nthere"),
        (0.8, 1.6, "Bye, now"),
    ]
    if codec == "webvtt":
        assert found.lines[0].speaker == "Mira"
        assert found.lines[1].words[1].start == 1.0


def test_dialogue_is_preferred_to_longer_streams(tmp_path: Path) -> None:
    pytest.importorskip("av")
    plain, longer = [Cue(0.2, 1.0, "Hello there.")], [Cue(0.2, 1.0, "On that day the whole street was closed for us.")]
    tracks = [
        Track("eng", "Director's commentary", "comment", cues=longer),
        Track("eng", "Signs & Songs", "default", cues=longer),
        Track("eng", "SDH", cues=longer),
        Track("eng", "", cues=plain),
        Track("ger", "", cues=longer),
    ]
    film = write_tracks(tmp_path / "f.mkv", tracks)
    found = embedded_subtitles(film, StreamChoice("en"))
    assert (found.lines[0].text, found.language) == ("Hello there.", "eng")
    assert found.remark.startswith('f.mkv: subtitles: stream 4 (eng, ssa) taken, not 3 (eng, "SDH", ssa), 2 (eng,')
    assert embedded_subtitles(film, StreamChoice(subtitle_stream=1)).lines[0].text.startswith("On that day")
    with pytest.raises(DefectiveClip, match=r"--subtitle-stream 9: no such subtitle stream; there are: 1 \(eng, "):
        embedded_subtitles(film, StreamChoice(subtitle_stream=9))
    with pytest.raises(DefectiveClip, match=r"text inside in language fr; there are: f\.en\.srt, stream 1 \(eng, "):
        embedded_subtitles(film, StreamChoice("fr"), ["f.en.srt"])
