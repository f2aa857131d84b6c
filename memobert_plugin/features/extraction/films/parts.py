"""Extract one part of a film into a folder of its own, which appears when it is complete."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Final

from ....core.errors import DefectiveClip, UserError
from ....core.files import OutputBusy, replaced_when_complete, staged_folder
from ....core.stopwatch import Stopwatch
from ....data.frames import frame_file, write_extractor_info, write_frames
from ....data.manifest import ManifestRow, write_manifest
from ...media.subtitles import DroppedLine, Line
from ..clip import ClipFrames, FrontEnd, FrontEndOptions, build_front_end
from ..job import reason_kind
from .plan import FilmPart
from .sheet import Sheet, sheet_file

PARTS: Final = "parts"
PART_FILE: Final = "part.json"
PARTS_NOTE: Final = "parts.json"
MANIFEST: Final = "manifest.tsv"
DROPPED: Final = "dropped.tsv"
VISUAL: Final = "visual"
ACOUSTIC: Final = "acoustic"
REPORTS: Final = "reports"
DEFECTIVE: Final = "the film cannot be read there"
"""Counts lines whose reason is a fault of the file."""

DROPPED_COLUMNS: Final = ("id", "start", "end", "reason", "text")


@dataclass(slots=True)
class PartReport:
    """Counts and times of one part."""

    film: str
    index: int
    film_seconds: float
    lines: int = 0
    """All lines, including those dropped before the film was opened."""
    kept: int = 0
    kept_seconds: float = 0.0
    defective: int = 0
    """Lines dropped because the film could not be read there."""
    dropped: dict[str, int] = field(default_factory=dict)
    """Lines by reason."""
    stages: dict[str, float] = field(default_factory=dict)
    """Wall seconds."""
    wall_seconds: float = 0.0
    failure: str = ""
    """Reason for the part being absent; empty if it is there."""


def utterance_id(film: str, line: Line) -> str:
    """Return the id of a line's utterance; it does not depend on how films are divided."""
    return f"{film}_{line.number:05d}"


def is_finished(part: FilmPart, output: Path) -> bool:
    """Tell whether an earlier run has finished this part with the same options."""
    try:
        content = json.loads((output / PARTS / part.folder / PART_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("key") == part.key


def note_parts(parts: Iterable[FilmPart], output: Path) -> None:
    """Write the list of all parts of an extraction, including those of other machines' shares."""
    content = {part.key: f"{part.film}, part {part.index}" for part in parts}
    with replaced_when_complete(output / PARTS_NOTE) as temporary:
        temporary.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def noted_parts(output: Path) -> dict[str, str]:
    """Return film and number of every part in the list by the part's key; nothing where there was no extraction."""
    path = output / PARTS_NOTE
    try:
        return {str(key): str(name) for key, name in json.loads(path.read_text(encoding="utf-8")).items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError):
        raise UserError(f"{path}: damaged; start the extraction of {output} again, what is finished is kept") from None


def extract_part(
    part: FilmPart,
    output: Path,
    options: FrontEndOptions,
    *,
    preview: bool = False,
    advance: Callable[[float], None] = lambda seconds: None,
) -> PartReport:
    """Extract a part into its folder below ``output``; a defect of the film is a failure of the part.

    Args:
        part: the part.
        output: folder of the whole job.
        options: the front end.
        preview: also write notes for the contact sheet.
        advance: called with the seconds of film that are done.
    """
    folder = output / PARTS / part.folder
    began = perf_counter()
    front_end = build_front_end(options)
    front_end.stopwatch = Stopwatch()
    done = 0.0

    def reach(moment: float) -> None:
        nonlocal done
        before, done = done, min(max(done, moment - part.start), part.seconds)
        advance(done - before)

    report = PartReport(part.film, part.index, part.seconds, len(part.lines) + len(part.dropped))
    try:
        with staged_folder(folder, PART_FILE, overwrite=True) as staging:
            sheet = Sheet(sheet_file(output, part)) if preview else None
            _write_part(part, staging, front_end, report, sheet, reach)
    except (DefectiveClip, OutputBusy) as error:
        report.failure = str(error)
    reach(part.start + part.seconds)
    report.stages, report.wall_seconds = dict(front_end.stopwatch.seconds), perf_counter() - began
    report_file = output / REPORTS / part.folder.with_suffix(".json")
    report_file.parent.mkdir(parents=True, exist_ok=True)
    with replaced_when_complete(report_file) as temporary:
        temporary.write_text(json.dumps(asdict(report), indent=1) + "\n", encoding="utf-8")
    return report


def read_report(part: FilmPart, output: Path, since: float = 0.0) -> PartReport | None:
    """Return the report of a part's last run; None if there is none, or only one from before ``since`` (clock time)."""
    path = output / REPORTS / part.folder.with_suffix(".json")
    try:
        if path.stat().st_mtime < since:
            return None
        return PartReport(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def write_dropped(path: Path, rows: Iterable[tuple[str, DroppedLine]]) -> None:
    """Write ``dropped.tsv``: id, times, reason and original text of (film, line) pairs."""
    with (
        replaced_when_complete(path) as temporary,
        open(temporary, "w", encoding="utf-8", errors="backslashreplace") as file,
    ):
        file.write("\t".join(DROPPED_COLUMNS) + "\n")
        for film, each in rows:
            line = each.line
            fields = (utterance_id(film, line), f"{line.start:.3f}", f"{line.end:.3f}", each.reason, line.text)
            file.write("\t".join(" ".join(field.split()) for field in fields) + "\n")


def _write_part(
    part: FilmPart,
    folder: Path,
    front_end: FrontEnd,
    report: PartReport,
    sheet: Sheet | None,
    reach: Callable[[float], None],
) -> None:
    """Write the frames and tables of a part; ``reach`` is told up to which second of the film it is done."""
    dropped = list(part.dropped)
    reasons = Counter(each.reason for each in dropped)
    rows: list[ManifestRow] = []
    _start_modalities(folder, front_end)
    for line, clip in zip(part.lines, front_end.film(part.path, part.lines) if part.lines else (), strict=True):
        with front_end.stopwatch.stage("writing"):
            if clip.dropped:
                dropped.append(DroppedLine(line, clip.dropped))
                reasons[DEFECTIVE if clip.defective else reason_kind(clip.dropped)] += 1
                report.defective += clip.defective
            else:
                rows.append(_row(part, line))
                _write_frames(folder, rows[-1].id, clip)
            if sheet is not None:
                sheet.add(line, clip)
        reach(line.end)
    dropped.sort(key=lambda each: each.line.number)
    report.kept, report.kept_seconds = len(rows), sum((row.end or 0.0) - (row.start or 0.0) for row in rows)
    report.dropped = dict(sorted(reasons.items()))
    if sheet is not None:
        sheet.write(part.dropped)
    write_manifest(folder / MANIFEST, rows)
    write_dropped(folder / DROPPED, [(part.film, each) for each in dropped])
    content = {"key": part.key, "film": part.film, "part": part.index, "utterances": len(rows)}
    if part.sound:
        content["sound"] = part.sound
    (folder / PART_FILE).write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _start_modalities(folder: Path, front_end: FrontEnd) -> None:
    for name, info in ((VISUAL, front_end.visual_info()), (ACOUSTIC, front_end.acoustic_info())):
        if info is not None:
            (folder / name).mkdir()
            write_extractor_info(folder / name, info)


def _row(part: FilmPart, line: Line) -> ManifestRow:
    media = str(part.path)
    return ManifestRow(
        line=0,
        id=utterance_id(part.film, line),
        speaker=" ".join(f"{part.film}_{line.speaker}".split()) if line.speaker else "",
        session=part.film,
        text=line.text,
        video=media,
        audio=media,
        start=line.start,
        end=line.end,
        text_source=part.text_source,
    )


def _write_frames(folder: Path, name: str, clip: ClipFrames) -> None:
    if clip.visual is not None:
        write_frames(frame_file(folder / VISUAL, name), clip.visual, clip.expression)
    if clip.acoustic is not None:
        write_frames(frame_file(folder / ACOUSTIC, name), clip.acoustic)
