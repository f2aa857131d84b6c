"""Write and read a bundle, a trained model as one folder: safetensors weights, one JSON, the tokenizer, a model card.

No code in a bundle is run. Its weights equal those of its checkpoint bit for bit.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..core.errors import UserError
from ..core.files import refuse_existing, regular, sha256_of, staged_folder
from ..core.names import DIMENSIONS, SEVERAL
from ..data.frames import ExtractorInfo
from ..data.tokenizer import TOKENIZER_FILES, read_tokenizer_files, write_tokenizer_files
from .model_description import FINETUNED, PRETRAINED, ModelDescription
from .trained_model import TrainedModel

_NAMES = {"l": "text", "v": "faces", "a": "voice"}


def model_card(description: ModelDescription, name: str) -> str:
    """Return the model card in Markdown; ``name`` is the bundle's."""
    lines = [f"# {name}", "", *([f"**{_cell(description.note)}**", ""] if description.note else [])]
    lines += [_summary(description), "", "```python"]
    lines += ["from memobert_plugin import MEmoBERT", "", f"model = MEmoBERT.from_pretrained({json.dumps(name)})"]
    if description.kind == PRETRAINED:
        lines.append('print(model.fill_mask("I am [MASK].", "clip.mp4"))')
    else:
        lines.append('print(model.predict("clip.mp4", text="the words said in it"))')
    lines += ["```", "", "## What it reads", ""]
    lines += [f"- text: the first {description.limits['pieces']} word pieces"]
    for modality, dim, extractor in (
        ("visual", description.visual_dim, description.visual_extractor),
        ("acoustic", description.acoustic_dim, description.acoustic_extractor),
    ):
        lines.append(f"- {modality}: {_frames(description.limits[f'{modality}_frames'], dim, extractor)}")
    lines += _confidence(description)
    lines += ["", "## Training", "", "| fact | value |", "|---|---|"]
    lines += [f"| {_cell(fact.replace('_', ' '))} | {_cell(value)} |" for fact, value in _facts(description)]
    lines += [
        "",
        "## For its owner to complete",
        "",
        "- Whose speech, faces and texts it was trained on, with which consent and licence; the weights' own licence.",
        "- Which use it is meant for, and which not: an estimate of how something sounds, looks and reads says nothing "
        "certain about what a person feels, and must not decide about anyone.",
        "- How it fares on speakers, languages and recordings unlike those it was trained on.",
        "- Numbers on test data, with the protocol, the seeds and the intervals (`memobert-report`).",
        "",
    ]
    return "\n".join(lines)


def _summary(description: ModelDescription) -> str:
    sizes = description.architecture
    network = (
        f"MEmoBERT of {sizes['encoder_layers']} layers x {sizes['encoder_embed_dim']} x "
        f"{sizes['encoder_attention_heads']} heads"
    )
    if description.kind == PRETRAINED:
        return f"{network}, pre-trained: it fills masked words, and tells no emotions apart."
    how = "by a classifier" if description.kind == FINETUNED else f'by the prompt "{description.template}"'
    read = " + ".join(_NAMES[letter] for letter in description.trained_on)
    names = ", ".join(description.labels)
    if description.target_kind == DIMENSIONS:
        ends = ", ".join(f"{least:g} to {most:g}" for least, most in description.target["ranges"])  # type: ignore[index]
        return f"{network}. It predicts {names} (in its corpus {ends}) from {read}."
    if description.target_kind == SEVERAL:
        return f"{network}. It gives any of the labels {names}, several at once, from {read}."
    return f"{network}. It tells {names} apart {how}, from {read}."


def _confidence(description: ModelDescription) -> list[str]:
    """Return the section on how far the model's confidence can be trusted."""
    if description.kind == PRETRAINED or description.target_kind == DIMENSIONS:
        return []
    found, several = description.calibration, description.target_kind == SEVERAL
    if found is None:
        text = "Not calibrated: its probabilities may be far from how often it is right."
    else:
        sure = "none of its answers is" if found.threshold >= 1 else f"answers of at least {found.threshold:.3g} are"
        over = " over its decisions, yes or no for each label," if several else ""
        text = (
            f"Calibrated on {found.utterances} predictions for held-out speakers: {found.describe()}, "
            f"expected calibration error (15 bins){over} {found.error_before:.3f} before and {found.error_after:.3f} "
            "after. "
        )
        if not several:
            text += f"There {sure} right in at least 60 % of cases; the others are marked unsure. "
        text += "On other speakers, recordings and modalities than those it may be wrong."
    return ["", "## Confidence", "", text]


def _frames(limit: int, dim: int, extractor: ExtractorInfo | None) -> str:
    if not dim:
        return "not read"
    origin = extractor or ExtractorInfo()
    rate = f", {origin.frame_rate:.4g} per second" if origin.frame_rate else ""
    options = f" with {json.dumps(origin.options, ensure_ascii=False)}" if origin.options else ""
    centered = ", less the mean of their speaker" if origin.is_centered else ""
    return f"the first {limit} frames of {dim} numbers{rate}, made by {origin.name}{options}{centered}"


def _facts(description: ModelDescription) -> list[tuple[str, Any]]:
    facts = []
    for name, value in description.training.items():
        if isinstance(value, dict):
            facts += [(f"{name}: {inner}", of_inner) for inner, of_inner in value.items()]
        else:
            facts.append((name, value))
    facts += [("further template", text) for text in description.more_templates]
    if description.verbalizer:
        facts.append(("emotion words", description.verbalizer))
    return facts


def _cell(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return " ".join(text.split()).replace("|", "\\|")


FORMAT = "memobert bundle"
FORMAT_VERSION = 1
CONFIGURATION = "config.json"
WEIGHTS = "model.safetensors"
TOKENIZER = "tokenizer"
CARD = "README.md"


def write_bundle(model: TrainedModel, folder: Path, *, overwrite: bool = False) -> None:
    """Write a bundle, completely or not at all.

    Args:
        model: the model.
        folder: a new folder, or with ``overwrite`` an earlier bundle; nothing else is ever replaced.
        overwrite: replace an earlier bundle.

    Raises:
        UserError: the folder exists, or cannot be written; the model could not be read from it again.
    """
    from safetensors.torch import save

    from ..core.version import VERSION

    _refuse_foreign(folder)
    refuse_existing(folder, CONFIGURATION, overwrite)
    model.tokenizer()
    model.loaded()
    try:
        with staged_folder(folder, CONFIGURATION, overwrite) as staging:
            # safetensors refuses views and tensors that share memory.
            weights = {name: tensor.detach().clone().contiguous() for name, tensor in model.weights.items()}
            (staging / WEIGHTS).write_bytes(save(weights))
            (staging / TOKENIZER).mkdir()
            write_tokenizer_files(model.tokenizer_files, staging / TOKENIZER)
            files = [WEIGHTS, *(f"{TOKENIZER}/{name}" for name in sorted(model.tokenizer_files))]
            configuration = {
                "format": FORMAT,
                "format_version": FORMAT_VERSION,
                "written_by": f"memobert-plugin {VERSION}",
                "sha256": {name: sha256_of(staging / name) for name in files},
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


def model_digest(path: Path) -> str:
    """Return twelve digits by which the answers of models are told apart: of a checkpoint, or of what a bundle says.

    A bundle's configuration holds the digest of its weights.
    """
    return sha256_of(path / CONFIGURATION if path.is_dir() else path)[:12]


def read_configuration(folder: Path) -> dict[str, Any]:
    """Read a bundle's JSON and check its outermost form.

    Raises:
        UserError: not a bundle, or another format version.
    """
    path = folder / CONFIGURATION
    try:
        content = json.loads(regular(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{folder}: not a bundle (no {CONFIGURATION} in it); write one with memobert-export") from None
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
    """Refuse to replace a folder whose ``config.json`` is not a bundle's."""
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
    if sha256_of(path) != expected:
        raise UserError(f"{path}: not the file that was exported (its sha256 differs); fetch the bundle again")
