"""Write answers as JSON lines, as a table, or as subtitles; the file's suffix tells the format."""

from __future__ import annotations

import csv
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ..core.errors import UserError, pip_install
from ..core.files import replaced_when_complete
from ..core.names import counted
from ..data.manifest import TRANSCRIBED
from ..pages.drawings import emotion_colors, rgb_of
from .prediction import UNITS, bars

if TYPE_CHECKING:
    from pysubs2 import SSAFile

    from .utterance import Utterance

TABLES = {".csv": ",", ".tsv": "\t"}
"""Suffixes of tables and what separates their cells."""
SUBTITLES = (".srt", ".vtt", ".ass")
"""Suffixes of files whose lines need times."""
STREAMS = {"text": "words", "visual": "faces", "acoustic": "voice"}
"""The modalities in tables, subtitles and pictures."""

Line = Mapping[str, Any]
"""An answer, or the reason why there is none, as :meth:`Outcome.to_dict` returns it."""


def streams_read(line: Line) -> list[str]:
    """Return the plain names of the streams that an answer was read from."""
    return [plain for name, plain in STREAMS.items() if line["modalities"][name]["present"]]


def write_answers(path: Path, lines: Sequence[Line], labels: Sequence[str]) -> None:
    """Write answers in the format of the suffix: a table, subtitles, else JSON lines.

    Args:
        path: named by the user; a device or FIFO is written to, a link stays.
        lines: in order.
        labels: the emotions that the model chose among.

    Raises:
        UserError: the file cannot be written, or pysubs2 is missing.
    """
    suffix = path.suffix.lower()
    try:
        with (
            replaced_when_complete(path, named_by_user=True) as temporary,
            # A lone surrogate stands for a byte of a file name that is not UTF-8.
            open(temporary, "w", encoding="utf-8", errors="backslashreplace", newline="") as stream,
        ):
            if suffix in TABLES:
                _write_table(stream, lines, labels, TABLES[suffix])
            elif suffix in SUBTITLES:
                stream.write(_subtitles(lines, labels, suffix).to_string(suffix[1:]))
            else:
                stream.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); name another file") from None


def _write_table(stream: IO[str], lines: Sequence[Line], labels: Sequence[str], delimiter: str) -> None:
    """Write a row for each utterance: a column for every emotion's probability and for every stream that was read."""
    columns = ["id", "file", "start", "end", "text", "text_source", "label", "confidence", "unsure"]
    numbers = any("dimensions" in line for line in lines)
    columns += [label if numbers else f"p_{label}" for label in labels]
    columns += ["word", *STREAMS.values(), "not_read", "notes", "error"]
    writer = csv.DictWriter(stream, columns, delimiter=delimiter, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for line in lines:
        row = {name: " ".join(value.split()) if isinstance(value, str) else value for name, value in line.items()}
        if "error" not in line:
            uses = line["modalities"]
            row |= {f"p_{label}": f"{share:.6f}" for label, share in line["probabilities"].items()}
            row |= {name: f"{one['value']:.6f}" for name, one in line.get("dimensions", {}).items()}
            sure = "" if line["confidence"] is None else f"{line['confidence']:.6f}"
            row |= {"confidence": sure, "unsure": str(line["unsure"]).lower()}
            row |= {plain: uses[name]["frames"] for name, plain in STREAMS.items()}
            missing = [f"{plain}: {uses[name]['reason']}" for name, plain in STREAMS.items() if uses[name]["reason"]]
            row |= {"not_read": "; ".join(missing), "notes": "; ".join(line["notes"])}
        writer.writerow(row)


def answer_alone(line: Line) -> str:
    """Return the label of an answer, of numbers these: ``valence 2.41, arousal 3.10``."""
    numbers = line.get("dimensions", {})
    return ", ".join(f"{name} {one['value']:.2f}" for name, one in numbers.items()) or str(line["label"])


def headline(line: Line) -> str:
    """Return an answer in a few words, with the streams it was read from: ``anger 71 % (words, voice)``."""
    sure = "" if line["confidence"] is None else f" {line['confidence']:.0%}"
    unsure = ", unsure" if line["unsure"] else ""
    return f"{answer_alone(line)}{sure}{unsure} ({', '.join(streams_read(line))})"


def _subtitles(lines: Sequence[Line], labels: Sequence[str], suffix: str) -> SSAFile:
    """Return a subtitle for each answer; in .ass each emotion has a style of its own colour."""
    try:
        from pysubs2 import Color, SSAEvent, SSAFile, SSAStyle
    except ImportError:
        raise UserError(f"subtitles: pysubs2 is not installed; {pip_install('video')}") from None
    made = SSAFile()
    made.info["Title"] = f"answers: {', '.join(labels)}"
    for label, color in emotion_colors(labels).items():
        made.styles[_style(label)] = SSAStyle(primarycolor=Color(*rgb_of(color)), bold=True)
    for line in lines:
        if "error" in line:
            continue
        shown, said = _plain(headline(line), suffix), _plain(line["text"], suffix)
        back = "{\\rDefault}" if suffix == ".ass" else ""
        made.append(
            SSAEvent(
                round(1000 * line["start"]),
                round(1000 * line["end"]),
                f"{shown}\\N{back}{said}" if said else shown,
                style=_style(max(filled := bars(line), key=lambda name: filled[name][0])),
            )
        )
    return made


def _style(label: str) -> str:
    """Return a style's name; a comma would end the field."""
    return label.replace(",", " ")


def _plain(text: str, suffix: str) -> str:
    """Return words in which no format sees a command of its own."""
    text = " ".join(text.split()).replace("{", "(").replace("}", ")").replace("\\", "\\\u2060")
    if suffix == ".vtt":
        text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace("-->", "->")


Key = tuple[str, str, float | None, float | None, str]
"""Name, file, beginning, end and given words of an utterance."""


class Answers:
    """Answers in the order of the utterances, some of them from an earlier run.

    Args:
        utterances: all that were asked about.
        earlier: answers of an earlier run, from :func:`earlier_answers`.
    """

    def __init__(self, utterances: Sequence[Utterance], earlier: Mapping[Key, dict[str, Any]]) -> None:
        self._keys = [_key(one.title, one.file, one.start, one.end, one.text, one.text_source) for one in utterances]
        self._lines = {key: earlier[key] for key in self._keys if key in earlier}
        self.waiting = [one for one, key in zip(utterances, self._keys, strict=True) if key not in self._lines]
        self._new: list[dict[str, Any]] = []

    def add(self, line: dict[str, Any]) -> None:
        """Add the answer about the next of :attr:`waiting`."""
        self._new.append(line)

    def lines(self) -> list[dict[str, Any]]:
        """Return the answers that are there."""
        new = iter(self._new)
        found = [self._lines[key] if key in self._lines else next(new, None) for key in self._keys]
        return [line for line in found if line is not None]


def _key(title: str, file: str, start: float | None, end: float | None, text: str, text_source: str) -> Key:
    """Return what tells utterances apart; words that a recogniser heard belong to the answer."""
    return title, file, start, end, "" if text_source == TRANSCRIBED else text


_NOT_THESE = "give another --output, or --overwrite without --resume"


def earlier_answers(path: Path | None, labels: Sequence[str], model: str = "") -> dict[Key, dict[str, Any]]:
    """Return the answers of an earlier run in a file of JSON lines; failed clips are left out, to be tried again.

    Args:
        path: of the file; None or no file gives no answers.
        labels: the emotions that the model tells apart.
        model: its digest; answers that name none, of an earlier version, are taken.

    Raises:
        UserError: a file of another kind, or answers of another model or one with other labels.
    """
    if path is None or not path.is_file():
        return {}
    found: dict[Key, dict[str, Any]] = {}
    try:
        # Words may hold separators at which splitlines() would cut.
        for number, text in enumerate(path.read_text(encoding="utf-8").rstrip("\n").split("\n"), start=1):
            line = json.loads(text)
            if "error" in line:
                continue
            if sorted(line.get("dimensions", line["probabilities"])) != sorted(labels):
                raise UserError(f"{path}, row {number}: an answer with other labels; {_NOT_THESE}")
            if model and line.get("model", model) != model:
                raise UserError(f"{path}, row {number}: an answer of another model; {_NOT_THESE}")
            given = (line["id"], line.get("file") or "", line["start"], line["end"])
            found[_key(*given, line["text"], line["text_source"] or "")] = line
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"--resume: {path} holds no answers of memobert-predict; give another --output") from None
    return found


NEVER_READ = "this model was not trained on"
NOT_GIVEN = "not given"
LONGEST_TEXT = 40
"""Letters of a text in the table; a longer one is cut."""
MOST_ROWS = 200
"""Rows of the table."""
MOST_NOTES = 3
"""Different notes of one kind that are printed."""


def as_text(lines: Sequence[dict[str, Any]], timeline: bool, *, notes: bool = True) -> str:
    """Return a table of the answers, the notes on them, and the clips that failed."""
    from tabulate import tabulate

    answered = [line for line in lines if "error" not in line]
    failed = [line for line in lines if "error" in line]
    parts = []
    if answered:
        rows = [_row(line, timeline) for line in answered[:MOST_ROWS]]
        header = ["time" if timeline else "clip", "text", "answer", "", "read", "word"]
        # Words that nobody gave, and the word of a model that fills in none, need no column.
        shown = [
            at for at, name in enumerate(header) if name not in ("text", "word", "") or any(row[at] for row in rows)
        ]
        table = [[row[at] for at in shown] for row in rows]
        parts.append(tabulate(table, headers=[header[at] for at in shown], disable_numparse=True))
    if len(answered) > MOST_ROWS:
        parts.append(f"… and {len(answered) - MOST_ROWS} more (--output holds all)")
    if notes:
        parts += [*_transcribed(answered), *_notes(answered)]
    parts += [f"failed: {line['id']}: {line['error']}" for line in failed]
    if failed:
        parts.append(f"{len(failed)} of {counted(len(lines), 'clip')} failed")
    return "\n".join(parts)


def _transcribed(answered: Sequence[dict[str, Any]]) -> list[str]:
    """Return a line for each recogniser and language, with the number of answers whose words it wrote."""
    written = Counter(
        (line["transcript"]["recognizer"], line["transcript"]["sha256"], line["transcript"]["language"])
        for line in answered
        if line["transcript"] is not None
    )
    return [
        f"words transcribed in {count} of {len(answered)}: by {name} (sha256 {sha256[:12]}), language {language}"
        for (name, sha256, language), count in written.items()
    ]


def _notes(answered: Sequence[dict[str, Any]]) -> list[str]:
    """Return the notes, each with the number of answers it belongs to, and at most :data:`MOST_NOTES` of one kind."""
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    for line in answered:
        for name, plain in (("text", "text"), ("visual", "faces"), ("acoustic", "sound")):
            reason = line["modalities"][name]["reason"]
            if reason and reason != NOT_GIVEN and not reason.startswith(NEVER_READ):
                kinds[f"no {plain} read"][f"no {plain} read: {reason}"] += 1
        for told in line["notes"]:
            kinds[told.partition(":")[0]][told] += 1
    shown = []
    for kind, notes in kinds.items():
        for told, count in notes.most_common(MOST_NOTES):
            shown.append(f"note: {told}" if len(answered) == 1 else f"note ({count} of {len(answered)}): {told}")
        rest = sum(count for _, count in notes.most_common()[MOST_NOTES:])
        if rest:
            shown.append(f"note ({rest} of {len(answered)}): {kind}: otherwise (--output has each)")
    return shown


def _row(line: dict[str, Any], timeline: bool) -> list[str]:
    where = f"{line['start']:.1f} – {line['end']:.1f} s" if timeline else line["id"]
    text = line["text"]
    shown = text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"
    counts = {what: line["modalities"][name]["frames"] for name, what in UNITS.items()}
    read = ", ".join(counted(count, what) for what, count in counts.items() if count)
    answer = f"{answer_alone(line)}{' (unsure)' if line['unsure'] else ''}"
    sure = "" if line["confidence"] is None else f"{line['confidence']:.0%}"
    return [where, shown, answer, sure, read, line["word"] or ""]
