"""Fit a checkpoint of one stage to the model of the next, refusing everything that is not a declared difference."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from fairseq.models import BaseFairseqModel
from torch import Tensor

from ..core.errors import UserError, exits_in_one_line
from ..core.names import LAYER_NORM_EPS
from ..nn.attention import CHANGE
from ..nn.embedders import PROMPT
from ..nn.heads import EMOTION_HEAD
from ..nn.network import (
    DIVERGED,
    FINGERPRINT,
    STORED_EPSILON,
    STORED_FINGERPRINT,
    STORED_HALF,
    all_finite,
    stored_epsilon,
    weights_of_checkpoint,
    with_changes,
)
from ..nn.text_encoder import ENCODER_PREFIX
from ..objectives.base import OBJECTIVES

WORDS = "text_embedder.word.weight"
_TEXT_ENCODER_ADVICE = "give the --text-encoder of its training"
logger = logging.getLogger(__name__)

OPTIONAL_PARTS = ("visual_embedder.", "acoustic_embedder.", "pooler.", PROMPT)
"""Whole parts, beside heads, that one stage has and another has not: a part is present or absent, never half."""


class StagedModel(BaseFairseqModel):
    """A model of fairseq that loads checkpoints of other stages; another dictionary is refused in one line."""

    dictionary_fingerprint: Tensor
    layer_norm_eps: float = LAYER_NORM_EPS
    prompt_starts_as: Sequence[int] = ()
    """Rows of the words whose vectors the learned vectors of a prompt start as."""
    given_text_encoder: str = ""
    """File or folder that a frozen text encoder was read from; empty where a checkpoint is to bring its weights."""

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return torch's state dictionary with the fingerprint under a name that ``--store-ema`` passes over."""
        state = super().state_dict(*args, **kwargs)
        prefix = kwargs.get("prefix", "")
        state[prefix + STORED_FINGERPRINT] = state.pop(prefix + FINGERPRINT)
        state.update({prefix + name: value for name, value in stored_epsilon(self.layer_norm_eps).items()})
        for name in [name for name in state if name.startswith(prefix + ENCODER_PREFIX)]:
            # The frozen encoder's weights are rounded to half precision when they are read: nothing is lost.
            state[name + STORED_HALF] = state.pop(name).half().view(torch.int16)
        return state

    def upgrade_state_dict_named(self, state_dict: dict[str, Tensor], name: str) -> None:
        """Fit a checkpoint (imported, pre-trained, finetuned) to this model, in place."""
        super().upgrade_state_dict_named(state_dict, name)
        _refuse_other_epsilon(state_dict.pop(STORED_EPSILON, None), self.layer_norm_eps)
        for name, value in weights_of_checkpoint(state_dict).items():
            state_dict[name] = value
        for name in [name for name in state_dict if name.endswith(STORED_HALF) or name == STORED_FINGERPRINT]:
            del state_dict[name]
        own = weights_of_checkpoint(self.state_dict())
        _fit_changes(state_dict, own)
        if PROMPT in own and PROMPT not in state_dict and WORDS in state_dict:
            state_dict[PROMPT] = state_dict[WORDS][list(self.prompt_starts_as)].clone()
        complete_state(state_dict, own)
        if self.given_text_encoder:
            self._refuse_other_text_encoder(state_dict, own)

    @exits_in_one_line
    def _refuse_other_text_encoder(self, state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
        """Compare in the precision of this model, in which the given encoder's weights are by now."""
        for name in (name for name in own if name.startswith(ENCODER_PREFIX)):
            rounded = state[name].to(self.get_parameter(name).dtype).half()
            if not torch.equal(rounded, own[name].half()):
                raise UserError(
                    f"--text-encoder {self.given_text_encoder}: not the frozen text encoder of the checkpoint, which "
                    f"would replace it; {_TEXT_ENCODER_ADVICE}"
                )


def _fit_changes(state: dict[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Keep low-rank changes that the model has too; multiply others into the weights, and start its own fresh."""
    changes = {name for name in own if CHANGE in name}
    given = {name for name in state if CHANGE in name}
    if changes != given or any(state[name].shape != own[name].shape for name in changes):
        merged = with_changes(state)
        state.clear()
        state.update({**merged, **{name: own[name].detach().clone() for name in changes}})


@exits_in_one_line
def complete_state(state: dict[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Make ``state`` loadable into a model whose own state is ``own``, in place.

    Heads and :data:`OPTIONAL_PARTS` that ``state`` lacks are filled with the model's own fresh values; those that the
    model lacks are dropped; both are logged. A head of an objective that is not installed here is named.

    Raises:
        SystemExit: one line, when the dictionary, a dimension or any other parameter differs, or one holds NaN.
    """
    _refuse_other_dictionary(state, own)
    heads = dict.fromkeys(f"heads.{head_of(name)}." for name in (*own, *state) if head_of(name))
    for part in (*OPTIONAL_PARTS, *heads):
        needed = [name for name in own if name.startswith(part)]
        given = [name for name in state if name.startswith(part)]
        if needed and not given:
            logger.info("not in the checkpoint, starts fresh: %s*", part)
            state.update({name: own[name].detach().clone() for name in needed})
        elif given and not needed:
            logger.info("in the checkpoint, not in this model, dropped: %s*", part)
            if head_of(part) not in (EMOTION_HEAD, "", *OBJECTIVES.names()):
                logger.warning(
                    "the checkpoint was trained on the objective %s, which is not installed here; install its package "
                    "to train it further",
                    head_of(part),
                )
            for name in given:
                del state[name]
    _refuse_other_names(state, own)
    # Another frozen encoder changes the shape of the projection behind it too: name the encoder first.
    for name, value in sorted(own.items(), key=lambda item: not item[0].startswith(ENCODER_PREFIX)):
        if state[name].shape != value.shape:
            raise UserError(
                f"checkpoint: {name} has shape {tuple(state[name].shape)}, this model needs {tuple(value.shape)}; "
                f"{_advice(name)}"
            )
        if not all_finite(state[name]):
            raise UserError(f"checkpoint: {name} {DIVERGED}")


def head_of(name: str) -> str:
    """Return the head that a parameter belongs to; empty for none."""
    return name.split(".")[1] if name.startswith("heads.") else ""


def _refuse_other_dictionary(state: dict[str, Tensor], own: Mapping[str, Tensor]) -> None:
    known, needed = state.setdefault(FINGERPRINT, own[FINGERPRINT]), own[FINGERPRINT]
    if int(known) and int(needed) and int(known) != int(needed):
        raise UserError(
            "checkpoint: it was made with another dictionary than the data-bin's; "
            "binarize the corpus with the checkpoint's vocabulary (--vocab or --sentencepiece)"
        )
    if not int(known):
        state[FINGERPRINT] = needed


@exits_in_one_line
def _refuse_other_epsilon(stored: Tensor | None, own: float) -> None:
    known = own if stored is None else float(stored)
    if known != own:
        raise UserError(
            f"checkpoint: the epsilon of its LayerNorms is {known:g}, this model's {own:g}; give --layer-norm-eps "
            f"{known:g}"
        )


def _refuse_other_names(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    missing = sorted(set(own) - set(state))
    foreign = sorted(set(state) - set(own))
    if (encoded := any(ENCODER_PREFIX in name for name in own)) != any(ENCODER_PREFIX in name for name in state):
        raise UserError(
            "checkpoint: it has no frozen text encoder and this model has one; leave out --text-encoder"
            if encoded
            else f"checkpoint: it has a frozen text encoder and this model has none; {_TEXT_ENCODER_ADVICE}"
        )
    if missing or foreign:
        what = [
            f"{len(names)} {word} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
            for names, word in ((missing, "missing"), (foreign, "unknown"))
            if names
        ]
        advice = "give the --arch it was made with"
        if all(name.startswith(ENCODER_PREFIX) for name in (*missing, *foreign)):
            advice = _TEXT_ENCODER_ADVICE
        raise UserError(f"checkpoint: its parameters do not fit this architecture: {'; '.join(what)}; {advice}")


def _advice(name: str) -> str:
    if name.startswith("heads."):
        if head_of(name) == EMOTION_HEAD:
            return "the checkpoint was finetuned on another number of emotions; start from the pre-trained one"
        return OBJECTIVES.get(head_of(name)).advice
    if name.startswith(ENCODER_PREFIX):
        return _TEXT_ENCODER_ADVICE
    for modality in ("visual", "acoustic"):
        if name.startswith(f"{modality}_embedder."):
            return f"extract the {modality} frames with the encoder the checkpoint was trained on"
    if name == PROMPT:
        return "give the --soft-prompt-length of its training"
    if name.startswith(WORDS):
        return "the dictionary differs: binarize the corpus with the checkpoint's vocabulary"
    return "give the --arch and sizes the checkpoint was made with"
