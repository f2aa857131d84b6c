"""A trained model as one folder to hand on: safetensors weights, one JSON, the tokenizer's files, a model card.

Loading a bundle runs nothing that it contains, and equals the checkpoint it was made of bit for bit.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from ..data.staging import refuse_existing, staged_folder
from ..data.tokenizer_files import TOKENIZER_FILES, read_tokenizer_files, write_tokenizer_files
from ..errors import UserError
from ..regular_file import regular
from .model_card import model_card
from .model_description import ModelDescription
from .trained_model import TrainedModel

FORMAT = "memobert bundle"
FORMAT_VERSION = 1
CONFIGURATION = "config.json"
WEIGHTS = "model.safetensors"
TOKENIZER = "tokenizer"
CARD = "README.md"
_BLOCK = 1 << 20


def write_bundle(model: TrainedModel, folder: Path, *, overwrite: bool = False) -> None:
    """Write ``folder``; it appears complete or not at all.

    Args:
        model: what to write.
        folder: a new folder, or with ``overwrite`` an earlier bundle. Nothing else is ever replaced.
        overwrite: replace an earlier bundle.

    Raises:
        UserError: the folder exists, or cannot be written.
    """
    from safetensors.torch import save

    from .. import __version__

    _refuse_foreign(folder)
    refuse_existing(folder, CONFIGURATION, overwrite)
    model.tokenizer()
    try:
        with staged_folder(folder, CONFIGURATION, overwrite) as staging:
            # safetensors takes no views and no tensors that share memory.
            weights = {name: tensor.detach().clone().contiguous() for name, tensor in model.weights.items()}
            (staging / WEIGHTS).write_bytes(save(weights))
            (staging / TOKENIZER).mkdir()
            write_tokenizer_files(model.tokenizer_files, staging / TOKENIZER)
            files = [WEIGHTS, *(f"{TOKENIZER}/{name}" for name in sorted(model.tokenizer_files))]
            configuration = {
                "format": FORMAT,
                "format_version": FORMAT_VERSION,
                "written_by": f"memobert-plugin {__version__}",
                "sha256": {name: _sha256(staging / name) for name in files},
                "model": model.description.to_dict(),
            }
            text = json.dumps(configuration, indent=1, ensure_ascii=False)
            (staging / CONFIGURATION).write_text(f"{text}\n", encoding="utf-8")
            (staging / CARD).write_text(model_card(model.description, folder.name), encoding="utf-8")
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror}); choose another folder") from None


def read_bundle(folder: Path) -> TrainedModel:
    """Read and check a bundle.

    Raises:
        UserError: not a bundle, another format version, a file missing, altered or damaged (the message names it).
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    configuration = read_configuration(folder)
    description = ModelDescription.from_dict(str(folder / CONFIGURATION), configuration["model"])
    expected = configuration["sha256"]
    for name in (WEIGHTS, *(f"{TOKENIZER}/{name}" for name in TOKENIZER_FILES)):
        _refuse_altered(folder / name, expected.get(name))
    try:
        weights = load_file(folder / WEIGHTS)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{folder / WEIGHTS}: is damaged ({error}); fetch the bundle again") from None
    return TrainedModel(folder, description, weights, read_tokenizer_files(folder / TOKENIZER))


def read_configuration(folder: Path) -> dict[str, Any]:
    """The bundle's JSON, its outermost form checked.

    Raises:
        UserError: the folder is no bundle or of another format version.
    """
    path = folder / CONFIGURATION
    try:
        content = json.loads(regular(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{folder}: no bundle (it has no {CONFIGURATION}); write one with memobert-export") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({error}); fetch the bundle again") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{path}: not the configuration of a bundle; write one with memobert-export")
    if content.get("format_version") != FORMAT_VERSION:
        raise UserError(
            f"{path}: bundle format {content.get('format_version')}, this version reads {FORMAT_VERSION}; "
            "install the version of memobert-plugin that wrote it, or export the model again"
        )
    if not isinstance(content.get("sha256"), dict) or not isinstance(content.get("model"), dict):
        raise UserError(f"{path}: incomplete; fetch the bundle again")
    return content


def _refuse_foreign(folder: Path) -> None:
    """A folder whose ``config.json`` is another system's is none of ours to replace."""
    if (folder / CONFIGURATION).is_file():
        try:
            read_configuration(folder)
        except UserError:
            raise UserError(f"{folder}: exists and holds something else; choose another output") from None


def _refuse_altered(path: Path, expected: object) -> None:
    if not path.is_file():
        if expected is None:
            return
        raise UserError(f"{path}: missing; fetch the bundle again")
    if _sha256(path) != expected:
        raise UserError(f"{path}: is not the file that was exported (its sha256 differs); fetch the bundle again")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
