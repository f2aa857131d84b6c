"""Read and write the frames of an utterance (``.npz``) and the description of their extractor.

A feature folder holds ``<utterance id>.npz`` with ``frames`` (T, D) and, for faces, optionally ``expression`` (T, K),
the probabilities of K expressions per frame (the target of SpanMVFC); beside them an optional ``extractor.json``.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import UserError
from ..core.files import regular, replaced_when_complete

FERPLUS_CLASSES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
"""Order of the FER+ votes; also the names of eight expressions without names."""

_EXTRACTOR_FILE = "extractor.json"
_SUM_TOLERANCE = 1e-2
_EXPONENT = 0x7C00
"""The exponent's bits of a float16; infinity and NaN have all of them."""
_SIGN = 0x8000
"""The sign's bit of a float16."""
LARGEST_HALF = 65504
_LONGEST_NAME = 200
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
_LARGEST_BYTES = 1 << 30
"""Of one array. An hour of frames of 1024 floats, fifty a second, is 700 MiB."""
_READ_AT_ONCE = 1 << 26
"""Bytes of a file that is read whole."""
_STORED_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00(..)"
    rb"\{'descr': '(<f[248])', 'fortran_order': False, 'shape': \((\d{1,9}), (\d{1,9})\), \} *\n",
    re.DOTALL,
)
"""Beginning of a matrix of floats as ``numpy.savez`` writes it: the header's length, type, rows, columns, padding."""
_ZIP_END, _ZIP_ENTRY, _ZIP_LOCAL = struct.Struct("<4s4H2LH"), struct.Struct("<4s4B4HL2L5H2L"), struct.Struct("<4s22x2H")
_ZIP_VERSION = 63
_ZIP_FLAGS = 0x0808
"""Of members that are read as they are: sizes follow the content, names are UTF-8. Others tell of encryption."""
_UNREADABLE = (
    OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error,
    NotImplementedError, RuntimeError,  # zipfile's, for encrypted members and methods it does not know
    MemoryError,  # an array whose header promises more than there is
    tokenize.TokenError,  # numpy's, for a header that is cut off inside a bracket
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Frames:
    """Frames of one utterance, in the precision of the file."""

    frames: np.ndarray
    """(T, D)."""
    expression: np.ndarray | None = None
    """(T, K), rows sum to 1."""


@dataclass(frozen=True, slots=True)
class ExtractorInfo:
    """The extractor of a folder of frames; frames of unknown origin may leave everything out."""

    name: str = "unknown"
    options: dict[str, Any] = field(default_factory=dict)
    weights_sha256: str | None = None
    frame_rate: float | None = None
    """Frames per second."""
    dim: int | None = None
    classes: list[str] | None = None
    """Names of the expressions."""
    version: str | None = None
    speaker_mean: list[float] | None = None
    """Of frames less the mean of their speaker, the average of these means; None for frames as they were made."""

    @classmethod
    def from_dict(cls, place: str, content: object) -> ExtractorInfo:
        """Build it from the content of a JSON file; ``place`` names the file in errors.

        Raises:
            UserError: not an object, an unknown key or a value of the wrong type.
        """
        if not isinstance(content, dict):
            raise UserError(f"{place}: not a JSON object; see memobert-binarize --help")
        for key, value in content.items():
            if key not in _TAKES:
                raise UserError(f"{place}: unknown key {key!r}; known are {', '.join(_TAKES)}")
            if not _TAKES[key](value):
                raise UserError(f"{place}: {key} cannot be {value!r:.60}; correct it or leave it out")
        info = cls(**content)
        if info.speaker_mean is None:
            return info
        if info.dim not in (None, len(info.speaker_mean)):
            raise UserError(f"{place}: speaker_mean has {len(info.speaker_mean)} numbers, a frame {info.dim}")
        return replace(info, dim=len(info.speaker_mean))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a JSON file; what earlier versions did not know is left out where it says nothing."""
        values = asdict(self)
        if not self.is_centered:
            del values["speaker_mean"]
        return values

    @property
    def average_voice(self) -> np.ndarray | None:
        """Return :attr:`speaker_mean` as an array (D,)."""
        return None if self.speaker_mean is None else np.array(self.speaker_mean)

    @property
    def is_centered(self) -> bool:
        """Return whether the mean of their speaker was subtracted from the frames."""
        return self.speaker_mean is not None

    def facts(self) -> dict[str, Any]:
        """Return what is known, for a reader: a mean of hundreds of numbers only as a word."""
        known = {name: value for name, value in self.to_dict().items() if value not in (None, {})}
        if self.is_centered:
            known["speaker_mean"] = "subtracted"
        return known


def visual_frames(frames: Frames, visual_input: str) -> np.ndarray:
    """Return the frames (T, D) that a network reads of a face encoder's.

    Args:
        frames: with their expression distributions.
        visual_input: one of :data:`~memobert_plugin.core.names.VISUAL_INPUTS`.

    Raises:
        UserError: distributions are wanted and there are none.
    """
    if visual_input == "features":
        return frames.frames
    if frames.expression is None:
        raise UserError(f"--visual-input {visual_input}: the face frames have no expression distributions")
    if visual_input == "expressions":
        return frames.expression
    return np.concatenate([frames.frames, frames.expression], axis=1)


def described_visual_input(info: ExtractorInfo, visual_input: str) -> ExtractorInfo:
    """Return the description of the frames that :func:`visual_frames` makes; unchanged for ``features``."""
    if visual_input == "features":
        return info
    classes = len(info.classes) if info.classes else None
    dims = {"expressions": classes, "both": info.dim + classes if info.dim and classes else None}
    return replace(info, dim=dims[visual_input], options={**info.options, "visual_input": visual_input})


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < float("inf")


def _are_names(value: object) -> bool:
    return (
        isinstance(value, list)
        and all(isinstance(name, str) and name for name in value)
        and len(set(value)) == len(value)
    )


def _are_halves(values: object) -> bool:
    return (
        isinstance(values, list)
        and bool(values)
        and all(type(value) in (int, float) and abs(value) <= LARGEST_HALF for value in values)  # NaN is not
    )


_TAKES: dict[str, Callable[[Any], bool]] = {
    "name": lambda value: isinstance(value, str),
    "options": lambda value: isinstance(value, dict),
    "weights_sha256": lambda value: value is None or isinstance(value, str),
    "frame_rate": lambda value: value is None or _is_number(value),
    "dim": lambda value: value is None or (isinstance(value, int) and _is_number(value)),
    "classes": lambda value: value is None or _are_names(value),
    "version": lambda value: value is None or isinstance(value, str),
    "speaker_mean": lambda value: value is None or _are_halves(value),
}


def read_extractor_info(folder: str | os.PathLike[str]) -> ExtractorInfo:
    """Read ``extractor.json`` of a feature folder; without one the extractor is "unknown".

    Raises:
        UserError: the file is not such a description.
    """
    path = Path(folder, _EXTRACTOR_FILE)
    try:
        content = json.loads(regular(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ExtractorInfo()
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not readable as JSON ({error}); correct it or remove it") from None
    return ExtractorInfo.from_dict(str(path), content)


def write_extractor_info(folder: str | os.PathLike[str], info: ExtractorInfo) -> None:
    """Write ``extractor.json``, whole or not at all."""
    with replaced_when_complete(Path(folder, _EXTRACTOR_FILE)) as temporary:
        temporary.write_text(json.dumps(info.to_dict(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def frame_file(folder: str | os.PathLike[str], utterance_id: str) -> Path:
    """Return the file of an utterance's frames, inside ``folder`` whatever the id (see :func:`frame_name`)."""
    return Path(folder, frame_name(utterance_id))


def frame_name(utterance_id: str) -> str:
    """Return the name of the file of an utterance's frames.

    Bytes outside ``A-Za-z0-9._-`` and a leading dot are percent-encoded (``a/b`` is ``a%2Fb.npz``); a name that would
    be longer than file systems take is cut and ends in a hash of the id.
    """
    name = utterance_id
    if not _PLAIN_NAME.fullmatch(name):
        name = re.sub(rb"[^A-Za-z0-9._-]", lambda found: b"%%%02X" % ord(found[0]), name.encode()).decode("ascii")
    if name.startswith("."):
        name = f"%2E{name[1:]}"
    if len(name) > _LONGEST_NAME:
        digest = hashlib.blake2b(utterance_id.encode(), digest_size=16).hexdigest()
        name = f"{name[: _LONGEST_NAME - len(digest) - 1]}~{digest}"
    return f"{name}.npz"


def read_frames(path: str | os.PathLike[str]) -> Frames | None:
    """Read one utterance's frames; None if there is no such file.

    Raises:
        UserError: not an ``.npz`` of plain arrays, no ``frames``, not (T, D), NaN or infinite values, an
            ``expression`` of another length or whose rows are not probabilities.
    """
    arrays = _load_arrays(path)
    if arrays is None:
        return None
    if "frames" not in arrays:
        raise UserError(f"{path}: no array 'frames'; save it under that name, numpy.savez(path, frames=...)")
    frames, expression = arrays["frames"], arrays.get("expression")
    _check_matrix(path, "frames", frames)
    if expression is not None:
        _check_matrix(path, "expression", expression)
        _check_distribution(path, expression, len(frames))
    return Frames(frames, expression)


def read_half_frames(path: str | os.PathLike[str]) -> Frames | None:
    """Read one utterance's frames in float16; None if there is no such file.

    Call it under ``np.errstate(over="ignore")``.

    Raises:
        UserError: as :func:`read_frames` and :func:`to_float16` do.
    """
    with contextlib.suppress(*_UNREADABLE):
        arrays = _stored_matrices(path) or {}
        halved = {name: array.astype(np.float16) for name, array in arrays.items()}
        if "frames" in halved and all(map(_holds_values, halved.values())):
            if "expression" in arrays:
                _check_distribution(path, arrays["expression"], len(arrays["frames"]))
            return Frames(halved["frames"], halved.get("expression"))
    found = read_frames(path)
    if found is None:
        return None
    expression = None if found.expression is None else to_float16(path, "expression", found.expression)
    return Frames(to_float16(path, "frames", found.frames), expression)


def write_frames(path: str | os.PathLike[str], frames: np.ndarray, expression: np.ndarray | None = None) -> None:
    """Write one utterance's frames, whole or not at all."""
    arrays = {"frames": frames} if expression is None else {"frames": frames, "expression": expression}
    archive = io.BytesIO()  # zipfile writes to a file that fails once more when it is collected, and complains
    np.savez(archive, **arrays)
    with replaced_when_complete(path) as temporary:
        temporary.write_bytes(archive.getbuffer())


def to_float16(path: str | os.PathLike[str], name: str, array: np.ndarray) -> np.ndarray:
    """Return ``array`` in float16, C order.

    Raises:
        UserError: a value beyond float16's ±65504.
    """
    with np.errstate(over="ignore"):
        half = np.ascontiguousarray(array, dtype=np.float16)
    if not _holds_values(half):
        largest = float(np.abs(array).max())
        raise UserError(f"{path}: {name} reach {largest:g}, beyond float16's 65504; scale them down and extract again")
    return half


def _holds_values(half: np.ndarray) -> bool:
    """Return whether float16 held every value: all bits of the exponent are set for NaN, infinity and what is beyond.

    Two maxima, of the numbers above zero and of those below, take half the time of a mask.
    """
    above, below = half.view(np.int16).max(initial=0), half.view(np.uint16).max(initial=0)
    return bool(above < _EXPONENT and below < _SIGN + _EXPONENT)


def _stored_matrices(path: str | os.PathLike[str]) -> dict[str, np.ndarray] | None:
    """Return the matrices of a file as ``numpy.savez`` writes it, None for any other, which numpy is to read or refuse.

    numpy parses each header as Python and reads members in small pieces: that takes three times as long.
    """
    with open(regular(path), "rb", buffering=0) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > _READ_AT_ONCE:
            return None
        content = memoryview(np.empty(size, np.uint8).data)
        if stream.readinto(content) != size:
            return None
    members = _stored_members(content)
    if members is None:
        return None
    arrays = {}
    for name in ("frames", "expression"):
        stored = members.get(f"{name}.npy".encode())
        if stored is None:
            continue
        header = _STORED_HEADER.match(stored[:128])
        if header is None:
            return None
        rows, columns = int(header[3]), int(header[4])
        values = np.frombuffer(stored[header.end() :], header[2].decode("ascii"))
        if int.from_bytes(header[1], "little") + 10 != header.end() or len(values) != rows * columns:
            return None
        arrays[name] = values.reshape(rows, columns)
    return arrays


def _stored_members(content: memoryview) -> dict[bytes, memoryview] | None:
    """Return the members of a zip file without compression whose checksums are right; None for any other file."""
    end = len(content) - _ZIP_END.size
    if end < 0:
        return None
    mark, disk, of_directory, here, count, size, at, comment = _ZIP_END.unpack_from(content, end)
    if mark != b"PK\5\6" or disk or of_directory or here != count or comment or at + size != end:
        return None
    members = {}
    for _ in range(count):
        if at + _ZIP_ENTRY.size > end:
            return None
        mark, _, _, version, _, flags, method, _, _, checksum, packed, size, length, *others, local = (
            _ZIP_ENTRY.unpack_from(content, at)
        )
        extra, comment = others[:2]
        if mark != b"PK\1\2" or method != zipfile.ZIP_STORED or flags & ~_ZIP_FLAGS or version > _ZIP_VERSION:
            return None
        if packed != size or extra or local >= at:
            return None
        at += _ZIP_ENTRY.size
        name = content[at : at + length]
        own_mark, own_length, own_extra = _ZIP_LOCAL.unpack_from(content, local)
        start = local + _ZIP_LOCAL.size + own_length + own_extra
        stored = content[start : start + size]
        if own_mark != b"PK\3\4" or content[local + _ZIP_LOCAL.size : start - own_extra] != name:
            return None
        if start + size > end or zlib.crc32(stored) != checksum:
            return None
        members[bytes(name)] = stored
        at += length + comment
    return members if at == end and len(members) == count else None


def _load_arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray] | None:
    with contextlib.suppress(*_UNREADABLE):  # numpy's reader says what is wrong
        stored = _stored_matrices(path)
        if stored is not None:
            return stored
    try:
        content = np.load(regular(path), allow_pickle=False)
        if not isinstance(content, np.lib.npyio.NpzFile):
            raise ValueError("a single array")
        with content:
            if any(member.file_size > _LARGEST_BYTES for member in content.zip.infolist()):
                raise ValueError(f"more than {_LARGEST_BYTES >> 20} MiB when unpacked")
            arrays: dict[str, np.ndarray] = {
                name: content[name] for name in ("frames", "expression") if name in content.files
            }
        if not all(isinstance(array, np.ndarray) for array in arrays.values()):
            raise ValueError("a member that is not an array")
        return arrays
    except FileNotFoundError:
        return None
    except _UNREADABLE as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: not readable as an .npz of plain arrays ({reason}); extract it again") from None


def _check_matrix(path: str | os.PathLike[str], name: str, array: np.ndarray) -> None:
    if array.ndim != 2 or array.dtype.kind != "f":
        raise UserError(
            f"{path}: {name} is {array.dtype} {array.shape}; it must be floats of shape (frames, dimensions)"
        )
    finite = np.isfinite(array)
    if not finite.all():
        row = int(np.argmin(finite.all(axis=1)))
        raise UserError(f"{path}: {name} has NaN or infinite values, first in frame {row}; extract it again")


def _check_distribution(path: str | os.PathLike[str], expression: np.ndarray, frames: int) -> None:
    if len(expression) != frames:
        raise UserError(f"{path}: expression has {len(expression)} rows for {frames} frames; give one row per frame")
    sums = expression.sum(axis=1, dtype=np.float64)
    if expression.min(initial=0.0) < 0 or np.abs(sums - 1.0).max(initial=0.0) > _SUM_TOLERANCE:
        bad = (np.abs(sums - 1.0) > _SUM_TOLERANCE) | (expression < 0).any(axis=1)
        row = int(np.argmax(bad))
        raise UserError(f"{path}: expression row {row} is not a distribution (sum {sums[row]:g}); apply softmax")
