"""Describe a model beside its weights, as plain values that are checked when they come from a file."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeGuard

from ..core.errors import UserError
from ..core.names import CLASSES, DIMENSIONS, LAYER_NORM_EPS, MODALITY_CASES, SEVERAL
from ..data.frames import ExtractorInfo
from ..evaluation.metrics.calibration import Calibration

PRETRAINED, PROMPTED, FINETUNED = "pretraining", "prompt", "finetune"
KINDS = (PRETRAINED, PROMPTED, FINETUNED)

SIZES = (
    "encoder_layers",
    "encoder_embed_dim",
    "encoder_ffn_embed_dim",
    "encoder_attention_heads",
    "max_positions",
)
"""The architecture's numbers, named as fairseq's flags."""
TEXT_ENCODER_SIZES = (
    "text_encoder_layers",
    "text_encoder_embed_dim",
    "text_encoder_ffn_embed_dim",
    "text_encoder_attention_heads",
    "text_encoder_max_positions",
)
"""Those of a frozen text encoder, which most models lack."""

EPSILONS = ("layer_norm_eps", "text_encoder_layer_norm_eps")
"""Epsilons of the LayerNorms of both; those that are BERT's are left out, as earlier versions did."""

MASK_WORDS = ("vocabulary", "labels")
LIMITS = ("pieces", "visual_frames", "acoustic_frames")
MOST = 1 << 20
"""Upper limit of every size, for files that are damaged or hostile."""


@dataclass(frozen=True)
class ModelDescription:
    """A model's sizes, inputs and outputs.

    Attributes:
        architecture: one number for each of :data:`SIZES` and, with a frozen text encoder, of
            :data:`TEXT_ENCODER_SIZES`; those of :data:`EPSILONS` that are not BERT's.
        vocabulary: rows of the dictionary.
        visual_dim: size of a face frame's feature; 0 for a model without faces.
        acoustic_dim: size of a speech frame's feature; 0 for a model without speech.
        expression_classes: names of the facial expressions, in the order of their distribution.
        kind: one of :data:`KINDS`, the last training of the model.
        labels: emotions in the order of the outputs; empty for a model that was only pre-trained.
        template: a prompted model's, such as ``i am [MASK] .``.
        verbalizer: a prompted model's, such as ``anger=anger happy=happy``.
        limits: for each of :data:`LIMITS` the number that is read from an utterance's start.
        modalities: those of its last training, one of ``lva``, ``lv``, ``la``, ``va``, ``l``, ``v``, ``a``.
        visual_extractor: the maker of the face frames it was trained on.
        acoustic_extractor: the maker of the speech frames.
        training: facts about the training, by name, for the model card.
        calibration: temperature and threshold, fitted to predictions for held-out speakers; None without.
        note: shown first with every answer, such as "trained on drawn faces"; empty without.
        mask_words: a prompted model's: ``vocabulary``, or ``labels`` where it was trained to choose among the label
            words alone.
        more_templates: further templates of a prompted model, whose answers are averaged with those of ``template``.
        template_weights: of ``template`` and ``more_templates`` in the average; empty for equal ones.
        soft_prompt_length: number of learned vectors before the words of each template.
        contextual_calibration: a prompted model's answers are divided by those for an utterance without content.
        target: of a finetuned model that does not tell one emotion: its ``kind``, and of numbers, by place in
            ``labels``, ``mean`` and ``deviation`` in training and their ``ranges`` in the corpus; None for one emotion.
    """

    architecture: dict[str, Any]
    vocabulary: int
    visual_dim: int
    acoustic_dim: int
    expression_classes: list[str]
    kind: str
    labels: list[str]
    limits: dict[str, int]
    modalities: str = "lva"
    template: str = ""
    verbalizer: str = ""
    visual_extractor: ExtractorInfo | None = None
    acoustic_extractor: ExtractorInfo | None = None
    training: dict[str, Any] = field(default_factory=dict)
    calibration: Calibration | None = None
    note: str = ""
    mask_words: str = "vocabulary"
    more_templates: list[str] = field(default_factory=list)
    template_weights: list[float] = field(default_factory=list)
    contextual_calibration: bool = False
    soft_prompt_length: int = 0
    target: dict[str, Any] | None = None

    @property
    def target_kind(self) -> str:
        """Return the kind of what it predicts: ``classes``, ``several`` or ``dimensions``."""
        return str(self.target["kind"]) if self.target else CLASSES

    @property
    def trained_on(self) -> str:
        """Return the letters of those :attr:`modalities` that the training corpus had."""
        dims = {"l": 1, "v": self.visual_dim, "a": self.acoustic_dim}
        return "".join(letter for letter in self.modalities if dims[letter])

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a JSON file; what earlier versions did not know is left out where it says nothing."""
        values = asdict(self)
        for name in ("visual_extractor", "acoustic_extractor"):
            info: ExtractorInfo | None = getattr(self, name)
            values[name] = info and info.to_dict()
        defaults: dict[str, Any] = {"calibration": None, "note": "", "mask_words": "vocabulary", "target": None}
        defaults |= {
            "template_weights": [],
            "more_templates": [],
            "contextual_calibration": False,
            "soft_prompt_length": 0,
        }
        return {name: value for name, value in values.items() if name not in defaults or value != defaults[name]}

    @classmethod
    def from_dict(cls, place: str, content: Mapping[str, Any]) -> ModelDescription:
        """Build a description from a file's values, checking each; ``place`` names the file in errors.

        Raises:
            UserError: a value is missing, unknown or impossible.
        """
        values = dict(content)
        unknown = sorted(values.keys() - _TAKES.keys() - _OPTIONAL.keys())
        missing = sorted(_TAKES.keys() - values.keys())
        if unknown or missing:
            what = f"unknown key {unknown[0]!r}" if unknown else f"no {missing[0]}"
            raise UserError(f"{place}: {what}; it was written by another version or is damaged, export the model again")
        for name, fits in {**_TAKES, **_OPTIONAL}.items():
            if name in values and not fits(values[name]):
                raise UserError(f"{place}: {name} cannot be {_short(values[name])}; export the model again")
        for name in ("visual_extractor", "acoustic_extractor"):
            if values[name] is not None:
                values[name] = ExtractorInfo.from_dict(f"{place}, {name}", values[name])
            mean = values[name] and values[name].speaker_mean
            if mean and (name == "visual_extractor" or values["acoustic_dim"] not in (0, len(mean))):
                raise UserError(f"{place}, {name}: speaker_mean does not fit the frames; export the model again")
        if "calibration" in values:
            values["calibration"] = Calibration(**values["calibration"])
        description = cls(**values)
        if (description.kind == PRETRAINED) == bool(description.labels):
            raise UserError(f"{place}: kind {description.kind} does not go with its labels; export the model again")
        further = (description.more_templates, description.contextual_calibration, description.soft_prompt_length)
        if description.kind != PROMPTED and any(further):
            raise UserError(f"{place}: templates without a prompt; export the model again")
        if description.template_weights and len(description.template_weights) != len(templates_of(description)):
            raise UserError(f"{place}: not one of template_weights for each template; export the model again")
        if not _fits_target(description):
            told = f"and target cannot be {_short([description.labels, description.target])}"
            if description.target is None:
                told = f"cannot be {_short(description.labels)}"
            raise UserError(f"{place}: labels {told}; export the model again")
        return description


def templates_of(description: ModelDescription) -> list[str]:
    """Return all templates of a prompted model."""
    return [description.template, *description.more_templates]


def facts(description: ModelDescription) -> dict[str, str]:
    """Return what a model is, as lines for a reader: architecture, labels, streams, training, calibration."""
    sizes, limits, training = description.architecture, description.limits, description.training
    shape = "{encoder_layers} layers of {encoder_embed_dim}, {encoder_attention_heads} heads".format(**sizes)
    if "text_encoder_layers" in sizes:
        shape += "; text by a frozen encoder of {text_encoder_layers} layers of {text_encoder_embed_dim}".format(
            **sizes
        )
    trained_for = {PRETRAINED: "masked modelling only", PROMPTED: "prompting", FINETUNED: "a classifier head"}
    heads = {SEVERAL: "several labels at once", DIMENSIONS: "numbers"}
    rows = {
        "architecture": f"{shape}; {description.vocabulary} word pieces",
        "trained for": heads.get(description.target_kind, trained_for[description.kind]),
    }
    if description.labels:
        rows["labels"] = ", ".join(description.labels)
    if description.template:
        rows["prompt"] = f"{' || '.join(templates_of(description))} ({description.verbalizer})"
        if description.template_weights:
            rows["prompt"] += f", weighted {', '.join(f'{one:g}' for one in description.template_weights)}"
        if description.contextual_calibration:
            rows["prompt"] += ", over the answer to nothing"
        if description.soft_prompt_length:
            rows["prompt"] += f", after {description.soft_prompt_length} learned vectors"
    makers = {"v": description.visual_extractor, "a": description.acoustic_extractor}
    names = {
        "l": f"text ({limits['pieces']} word pieces)",
        "v": f"faces ({limits['visual_frames']} frames{_made_by(makers['v'])})",
        "a": f"sound ({limits['acoustic_frames']} frames{_made_by(makers['a'])})",
    }
    rows["reads at most"] = ", ".join(names[letter] for letter in description.trained_on)
    told = {"data": "on {}", "updates": "{} updates", "selected_by": "selected by {}"}
    trained = [form.format(training[name]) for name, form in told.items() if training.get(name) not in (None, "")]
    if trained:
        rows["training"] = ", ".join(trained)
    if description.calibration is not None:
        rows["calibration"] = f"{description.calibration.describe()}, {description.calibration.utterances} answers"
    if description.note:
        rows["note"] = description.note
    return rows


def _made_by(extractor: ExtractorInfo | None) -> str:
    if extractor is None:
        return ""
    rate = f", {extractor.frame_rate:g} per second" if extractor.frame_rate else ""
    centered = ", less the speaker's mean" if extractor.is_centered else ""
    return f" of {extractor.name}{rate}{centered}"


def _size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST


def _names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) and name for name in value)


def _sizes(names: tuple[str, ...]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, dict) and set(value) == set(names) and all(map(_size, value.values()))


def is_epsilon(value: object) -> TypeGuard[float]:
    """Tell whether a value of a file can be the epsilon of LayerNorms."""
    return isinstance(value, float) and 0 < value < 1


def _is_architecture(value: Mapping[str, Any]) -> bool:
    """Tell whether these are the sizes of a network, with or without a frozen text encoder."""
    sizes = {name: size for name, size in value.items() if name not in EPSILONS}
    if not _sizes(SIZES)(sizes) and not _sizes((*SIZES, *TEXT_ENCODER_SIZES))(sizes):
        return False
    return all(is_epsilon(value[name]) for name in EPSILONS if name in value)


def architecture_of(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return the architecture in fairseq's configuration of a model."""
    encoder = TEXT_ENCODER_SIZES if model.get("text_encoder_layers") else ()
    epsilons = {name: model[name] for name in EPSILONS if model.get(name, LAYER_NORM_EPS) != LAYER_NORM_EPS}
    return {**{size: model[size] for size in (*SIZES, *encoder)}, **epsilons}


_TAKES: dict[str, Callable[[Any], bool]] = {
    "architecture": lambda value: isinstance(value, dict) and _is_architecture(value),
    "vocabulary": _size,
    "visual_dim": _size,
    "acoustic_dim": _size,
    "expression_classes": _names,
    "kind": lambda value: value in KINDS,
    "labels": lambda value: _names(value) and len(set(value)) == len(value),
    "limits": _sizes(LIMITS),
    "modalities": lambda value: value in MODALITY_CASES,
    "template": lambda value: isinstance(value, str),
    "verbalizer": lambda value: isinstance(value, str),
    "visual_extractor": lambda value: value is None or isinstance(value, dict),
    "acoustic_extractor": lambda value: value is None or isinstance(value, dict),
    "training": lambda value: isinstance(value, dict),
}

LONGEST_NOTE = 300
"""Letters of :attr:`ModelDescription.note`."""
_OPTIONAL: dict[str, Callable[[Any], bool]] = {
    "mask_words": lambda value: value in MASK_WORDS,
    "calibration": Calibration.fits,
    "note": lambda value: isinstance(value, str) and 0 < len(value) <= LONGEST_NOTE,
    "more_templates": _names,
    "template_weights": lambda value: (
        _numbers(value, len(value)) and all(one >= 0 for one in value) and abs(sum(value) - 1) < 0.01
    ),
    "contextual_calibration": lambda value: isinstance(value, bool),
    "soft_prompt_length": _size,
    "target": lambda value: isinstance(value, dict) and value.get("kind") in (SEVERAL, DIMENSIONS),
}


def _fits_target(description: ModelDescription) -> bool:
    """Tell whether labels, kind and target belong together."""
    target, count = description.target, len(description.labels)
    if target is None or target["kind"] == SEVERAL:
        return count != 1 and (target is None or (description.kind == FINETUNED and set(target) == {"kind"}))
    scales = [target.get("mean"), target.get("deviation")]
    ranges = target.get("ranges")
    return (
        description.kind == FINETUNED
        and set(target) == {"kind", "mean", "deviation", "ranges"}
        and all(_numbers(scale, count) for scale in scales)
        and isinstance(ranges, list)
        and len(ranges) == count
        and all(_numbers(ends, 2) for ends in ranges)
    )


def _numbers(value: object, count: int) -> bool:
    return (
        isinstance(value, list)
        and len(value) == count
        and all(isinstance(one, (int, float)) and math.isfinite(one) for one in value)
    )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
