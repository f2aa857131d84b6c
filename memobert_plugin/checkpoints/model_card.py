"""The card that goes with a bundle: what is known of the model, and the questions only its owner can answer."""

from __future__ import annotations

import json
from typing import Any

from ..data.frames import ExtractorInfo
from .model_description import FINETUNED, PRETRAINED, ModelDescription

_NAMES = {"l": "text", "v": "faces", "a": "voice"}


def model_card(description: ModelDescription, name: str) -> str:
    """The card in Markdown; ``name`` is the bundle's."""
    lines = [f"# {name}", "", _summary(description), "", "```python"]
    lines += ["from memobert_plugin import MEmoBERT", "", f"model = MEmoBERT.from_pretrained({json.dumps(name)})"]
    if description.kind == PRETRAINED:
        lines.append('print(model.fill_mask("I am [MASK].", "clip.mp4"))')
    else:
        lines.append('print(model.predict("clip.mp4", text="what is said in it"))')
    lines += ["```", "", "## What it reads", ""]
    lines += [f"- text: the first {description.limits['pieces']} word pieces"]
    for modality, dim, extractor in (
        ("visual", description.visual_dim, description.visual_extractor),
        ("acoustic", description.acoustic_dim, description.acoustic_extractor),
    ):
        lines.append(f"- {modality}: {_frames(description.limits[f'{modality}_frames'], dim, extractor)}")
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
    read = " + ".join(_NAMES[letter] for letter in description.modalities)
    return f"{network}. It tells {', '.join(description.labels)} apart {how}, from {read}."


def _frames(limit: int, dim: int, extractor: ExtractorInfo | None) -> str:
    if not dim:
        return "not read"
    origin = extractor or ExtractorInfo()
    rate = f", {origin.frame_rate:.4g} per second" if origin.frame_rate else ""
    options = f" with {json.dumps(origin.options, ensure_ascii=False)}" if origin.options else ""
    return f"the first {limit} frames of {dim} numbers{rate}, made by {origin.name}{options}"


def _facts(description: ModelDescription) -> list[tuple[str, Any]]:
    facts = []
    for name, value in description.training.items():
        if isinstance(value, dict):
            facts += [(f"{name}: {inner}", of_inner) for inner, of_inner in value.items()]
        else:
            facts.append((name, value))
    if description.verbalizer:
        facts.append(("emotion words", description.verbalizer))
    return facts


def _cell(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return " ".join(text.split()).replace("|", "\\|")
