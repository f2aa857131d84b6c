"""Describe files and folders other than data-bins for ``memobert-inspect``: the kind, and the main facts."""

from __future__ import annotations

import csv
import html
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..core.errors import DefectiveClip, UserError
from ..core.files import regular
from .model_descriptions import bundle_folder, checkpoint_file, onnx_file, safetensors_file

_MANIFESTS = (".tsv", ".csv", ".jsonl", ".ndjson", ".json", ".txt")
_CHECKPOINTS = (".pt", ".pth", ".bin")
KNOWN = (
    "data-bins, bundles, checkpoints and weights (.pt, .safetensors, .onnx), folders of frames, of films that were "
    "extracted, of clips, of BERT, sweeps, runs, reports, plans (.yaml), manifests (.tsv, .csv, .jsonl), predictions "
    "(.jsonl, .csv), pages (.html), frames (.npz), films, sound files, subtitles, vocabularies and lists of failures"
)
_MOST_NAMES = 12

Describer = Callable[[Path], dict[str, Any]]


def describe(path: Path) -> dict[str, Any] | None:
    """Return the kind of a file or folder and its content as plain values; None for a data-bin or an unknown folder.

    Raises:
        UserError: nothing is there, the file is damaged, or its kind is unknown.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; memobert-inspect reads {KNOWN}")
    kind = _folder_kind(path) if path.is_dir() else _file_kind(path)
    if kind is None and not path.is_dir():
        raise UserError(f"{path}: of unknown kind; memobert-inspect reads {KNOWN}")
    try:
        return None if kind is None else {"path": str(path), **kind(path)}
    except DefectiveClip as defect:
        raise UserError(f"{defect}; give another file") from None


def as_lines(content: dict[str, Any]) -> str:
    """Return a description as text, a line for each value."""
    lines = [f"{content['path']}: {content['kind']}"]
    for name, value in content.items():
        if name in ("path", "kind") or value in (None, "", [], {}):
            continue
        lines.append(f"{name.replace('_', ' ')}: {_shown(value)}")
    return "\n".join(lines)


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name or '(none)'} {_shown(one)}" for name, one in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _folder_kind(path: Path) -> Describer | None:
    """Return the describer of a folder, by the files in it."""
    if (path / "corpus.json").exists():
        return None
    kinds: dict[Describer, tuple[str, ...]] = {
        bundle_folder: ("config.json", "model.safetensors", "tokenizer"),
        _sweep: ("sweep.json",),
        _run: ("run.json",),
        _extracted_films: ("extraction.json", "manifest.tsv"),
        _frame_folder: ("extractor.json",),
        _report: ("index.html", "table2_settings.md"),
        _pretrained: ("config.json",),
    }
    for kind, names in kinds.items():
        if all((path / name).exists() for name in names):
            return kind
    if any(path.glob("*.npz")):
        return _frame_folder
    if next(path.rglob("*.pt"), None) is not None:
        return _checkpoints
    return _clips if _media_below(path) else None


def _file_kind(path: Path) -> Describer | None:
    """Return the describer of a file, by its suffix and its first bytes."""
    from ..features.media.container import FILM_SUFFIXES
    from ..features.media.sound import SOUND_SUFFIXES
    from ..features.media.subtitles import SUBTITLE_SUFFIXES, is_subtitle_file

    suffix = path.suffix.lower()
    by_suffix: dict[Describer, tuple[str, ...]] = {
        _frames: (".npz",),
        checkpoint_file: _CHECKPOINTS,
        safetensors_file: (".safetensors",),
        onnx_file: (".onnx",),
        _plan: (".yaml", ".yml"),
        _page: (".html", ".htm"),
        _media: (*FILM_SUFFIXES, *SOUND_SUFFIXES),
    }
    for kind, suffixes in by_suffix.items():
        if suffix in suffixes:
            return kind
    if suffix in SUBTITLE_SUFFIXES and is_subtitle_file(path):
        return _subtitles
    return _table_kind(path) if suffix in _MANIFESTS else None


def _table_kind(path: Path) -> Describer:
    if "id" in (first := _first_object(path)) and first.keys() & {"probabilities", "prediction"}:
        return _predictions
    header = _first_row(path)
    if "label" in header and any(name.startswith("p_") for name in header):
        return _table_of_predictions
    if header == ["id", "reason"]:
        return _reasons
    if {"timestamp", "success"} <= {name.strip() for name in header} or {"time", "left", "top"} <= set(header):
        return _tracker
    return _vocabulary if path.suffix.lower() == ".txt" and len(header) == 1 and header != ["id"] else _manifest


def _first_row(path: Path) -> list[str]:
    """Return the cells of a table's header, or nothing."""
    try:
        with open(regular(path), encoding="utf-8-sig", newline="") as stream:
            line = stream.readline(1 << 20)
    except (OSError, ValueError):
        return []
    return next(csv.reader([line], delimiter="\t" if "\t" in line else ","), [])


def _first_object(path: Path) -> dict[str, Any]:
    """Return the first line of a file of JSON lines, or an empty object."""
    try:
        with open(regular(path), encoding="utf-8") as stream:
            first = json.loads(stream.readline(1 << 20))
    except (OSError, ValueError, RecursionError):
        return {}
    return first if isinstance(first, dict) else {}


def _manifest(path: Path) -> dict[str, Any]:
    from ..data.manifest import manifest_notes, read_manifest
    from ..data.spellings import joined_labels

    counts: dict[str, Counter[str]] = {name: Counter() for name in ("emotion", "split", "speaker")}
    filled: Counter[str] = Counter()
    rows = 0
    for row in read_manifest(path):
        rows += 1
        for name, of_name in counts.items():
            of_name[getattr(row, name)] += 1
        filled.update(name for name in ("text", "video", "audio", "end") if getattr(row, name))
    notes = [note.removeprefix(f"{path}: ") for note in manifest_notes(path)]
    for name in ("emotion", "split"):
        joined, remarks = joined_labels(counts[name], ("train", "valid", "test") if name == "split" else ())
        notes += [f"{name} {remark}" for remark in remarks]
        given, counts[name] = counts[name], Counter()
        for spelling, count in given.items():
            counts[name][joined[spelling]] += count
    return {
        "kind": "a manifest",
        "utterances": rows,
        "with": dict(filled),
        **{f"{name}s": _most(of_name) for name, of_name in counts.items()},
        "notes": notes,
    }


def _predictions(path: Path) -> dict[str, Any]:
    return _answers(_json_lines(path))


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    with open(path, encoding="utf-8") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                found = json.loads(line)
                found["id"]
            except (ValueError, LookupError, TypeError, RecursionError):
                raise UserError(f"{path}, row {number}: not a JSON object; write the predictions again") from None
            yield found


def _table_of_predictions(path: Path) -> dict[str, Any]:
    with open(path, encoding="utf-8-sig", newline="") as stream:
        delimiter = "\t" if "\t" in stream.readline() else ","
        stream.seek(0)
        rows = list(csv.DictReader(stream, delimiter=delimiter))
    emotions = [name.removeprefix("p_") for name in rows[0] if name.startswith("p_")] if rows else []
    return {**_answers(rows), "emotions": emotions}


def _answers(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    labels: Counter[str] = Counter()
    failed = answered = 0
    for row in rows:
        label = row.get("dimensions") or row.get("label")
        if row.get("error"):
            failed += 1
            continue
        answered += 1
        labels.update(map(str, label) if isinstance(label, (list, dict)) else [str(label)])
    return {"kind": "predictions", "utterances": answered, "failed": failed or None, "labels": _most(labels)}


def _reasons(path: Path) -> dict[str, Any]:
    with open(path, encoding="utf-8", errors="replace") as stream:
        reasons = Counter(line.rstrip("\n").partition("\t")[2].partition(": ")[0] for line in stream if "\t" in line)
    del reasons["reason"]
    return {"kind": "utterances that an extraction left out", "utterances": reasons.total(), "reasons": _most(reasons)}


def _tracker(path: Path) -> dict[str, Any]:
    from ..features.speakers.face_sources.tracker import read_tracker_rows

    rows = read_tracker_rows(path)
    times = {"begin": float(rows.times.min()), "end": float(rows.times.max())} if len(rows.times) else {}
    return {"kind": "faces of a tracker (--tracker)", "faces": len(rows.times), **times}


def _vocabulary(path: Path) -> dict[str, Any]:
    pieces = regular(path).read_text(encoding="utf-8", errors="replace").split()
    special = [piece for piece in pieces if piece[:1] == "[" and piece[1:-1].isupper()]
    return {"kind": "a vocabulary of word pieces", "pieces": len(pieces), "special": special[:_MOST_NAMES]}


def _media(path: Path) -> dict[str, Any]:
    from ..features.media.container import FILM_SUFFIXES, media_facts
    from ..features.media.sound import sound_seconds

    if path.suffix.lower() not in FILM_SUFFIXES:
        return {"kind": "a sound file", "seconds": sound_seconds(path)}
    facts = media_facts(path)
    return {
        "kind": "a film",
        "seconds": facts.duration,
        "pictures_per_second": facts.picture_rate,
        "streams": [f"{stream.kind} {stream}" for stream in facts.streams],
        "notes": [facts.remark] if facts.remark else [],
    }


def _subtitles(path: Path) -> dict[str, Any]:
    from ..features.media.subtitles import read_subtitles, usable_lines

    found = read_subtitles(path)
    used, dropped = usable_lines(found.lines, None)
    times = {"begin": found.lines[0].start, "end": max(line.end for line in found.lines)}
    reasons = Counter(one.reason for one in dropped)
    notes = [found.remark] if found.remark else []
    lines = {"lines": len(found.lines), "usable": len(used), "left_out": _most(reasons)}
    return {"kind": "subtitles or a transcript", **lines, **times, "notes": notes}


def _plan(path: Path) -> dict[str, Any]:
    from ..core.fairseq_quirks import require_fairseq

    require_fairseq("reading a plan")
    from ..sweep.plan import read_plan

    plan = read_plan(path)
    return {
        "kind": "a plan of memobert-sweep",
        "name": plan.name,
        "corpus": str(plan.corpus),
        "settings": list(plan.settings),
        "protocol": plan.protocol,
        "labels": list(plan.labels),
        "seeds": list(plan.seeds),
    }


def _sweep(path: Path) -> dict[str, Any]:
    from ..sweep.progress import read_progress
    from ..sweep.records import SweepFolder

    runs = read_progress(SweepFolder(path))
    return {
        "kind": "a sweep (memobert-sweep status shows more)",
        "runs": len(runs),
        "status": dict(Counter(run.state.status for run in runs)),
        "groups": dict(Counter(run.group for run in runs)),
    }


def _run(path: Path) -> dict[str, Any]:
    facts = _json_object(path / "run.json")
    shown = {name: value for name, value in facts.items() if isinstance(value, (str, int, float))}
    return {**shown, "kind": f"a run of a sweep ({facts.get('kind', 'unknown')})"}


def _extracted_films(path: Path) -> dict[str, Any]:
    folders = [path / name for name in ("visual", "acoustic") if (path / name).is_dir()]
    made = {folder.name: _frame_folder(folder)["extractor"]["name"] for folder in folders}
    manifest = {name: value for name, value in _manifest(path / "manifest.tsv").items() if name != "kind"}
    parts = sum(1 for _ in (path / "parts").glob("*")) if (path / "parts").is_dir() else 0
    return {"kind": "films extracted by memobert-extract film", "parts": parts, "frames": made, **manifest}


def _page(path: Path) -> dict[str, Any]:
    with open(regular(path), encoding="utf-8", errors="replace") as stream:
        found = re.search(r"<title>(.*?)</title>", stream.read(1 << 16), re.DOTALL)
    return {"kind": "a page, to open in a browser", "title": html.unescape(found[1].strip()) if found else ""}


def _report(path: Path) -> dict[str, Any]:
    return {"kind": "a report of memobert-report", "page": str(path / "index.html"), "files": _names(path.iterdir())}


def _pretrained(path: Path) -> dict[str, Any]:
    """Describe a folder with other people's ``config.json``."""
    from ..checkpoints.bert import FAMILIES

    facts = _json_object(path / "config.json")
    wanted = ("model_type", "hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size", "d_model")
    whisper = (path / "model.bin").is_file() and any(path.glob("vocabulary.*"))
    kind = "a Whisper in CTranslate2's format (--transcribe)" if whisper else "a model of Hugging Face's"
    known: dict[str, Any] = {name: facts[name] for name in wanted if name in facts}
    if facts.get("model_type") in FAMILIES:
        known["note"] = "memobert-import bert makes a checkpoint of it"
    return {"kind": kind, **known, "files": _names(path.iterdir())}


def _json_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(regular(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not readable as JSON ({error}); write it again") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a JSON object; write it again")
    return content


def _checkpoints(path: Path) -> dict[str, Any]:
    found = sorted(file.relative_to(path).as_posix() for file in path.rglob("*.pt"))
    return {"kind": "a folder of checkpoints; name one of them", "files": _shortened(found)}


def _media_below(path: Path) -> Counter[str]:
    """Count the films, sound files and subtitle files below a folder."""
    from ..features.media.container import FILM_SUFFIXES
    from ..features.media.sound import SOUND_SUFFIXES
    from ..features.media.subtitles import SUBTITLE_SUFFIXES

    kinds = {"films": FILM_SUFFIXES, "sound files": SOUND_SUFFIXES, "subtitle files": SUBTITLE_SUFFIXES[:-2]}
    suffixes = Counter(file.suffix.lower() for file in path.rglob("*") if not file.name.startswith("."))
    found = Counter({kind: sum(suffixes[suffix] for suffix in of_kind) for kind, of_kind in kinds.items()})
    return +found if found["films"] + found["sound files"] else Counter()


def _clips(path: Path) -> dict[str, Any]:
    return {
        "kind": "a folder of clips",
        **_media_below(path),
        "note": "memobert manifest makes a manifest of it, memobert predict answers for it",
    }


def _names(paths: Iterable[Path]) -> list[str]:
    return _shortened(sorted(path.name for path in paths))


def _shortened(names: list[str]) -> list[str]:
    more = len(names) - _MOST_NAMES
    return [*names[:_MOST_NAMES], f"and {more} more"] if more > 0 else names


def _frames(path: Path) -> dict[str, Any]:
    from ..data.frames import read_frames

    found = read_frames(path)
    if found is None:
        raise UserError(f"{path}: no such file; name another")
    expression = None if found.expression is None else found.expression.shape[1]
    return {
        "kind": "frames of one utterance",
        "frames": found.frames.shape[0],
        "dimensions": found.frames.shape[1],
        "type": str(found.frames.dtype),
        "expressions": expression,
    }


def _frame_folder(path: Path) -> dict[str, Any]:
    from ..data.frames import read_extractor_info

    facts = read_extractor_info(path).facts()
    return {"kind": "a folder of frames", "utterances": sum(1 for _ in path.glob("*.npz")), "extractor": facts}


def _most(counts: Counter[str]) -> dict[str, int]:
    """Return the most frequent names; the name "" means none, and the rest is counted together."""
    shown = dict(sorted(counts.most_common(_MOST_NAMES)))
    rest = counts.total() - sum(shown.values())
    if list(shown) == [""]:
        return {}
    return {**shown, f"and {len(counts) - len(shown)} more:": rest} if rest else shown
