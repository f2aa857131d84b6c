"""Fit a checkpoint of one stage to the model of the next, refusing everything that is not a declared difference."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from torch import Tensor

from ..core.errors import UserError, exits_in_one_line
from ..nn.network import FINGERPRINT

logger = logging.getLogger(__name__)

OPTIONAL_PARTS = (
    "visual_embedder.",
    "acoustic_embedder.",
    "pooler.",
    "heads.wwmlm.",
    "heads.mvfr.",
    "heads.mvfc.",
    "heads.mafr.",
    "heads.classify.",
)
"""Whole parts that one stage has and another has not: a part is present or absent, never half."""


@exits_in_one_line
def complete_state(state: dict[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Make ``state`` loadable into a model whose own state is ``own``, in place.

    Parts of :data:`OPTIONAL_PARTS` that ``state`` lacks are filled with the model's own fresh values; parts that the
    model lacks are dropped; both are logged.

    Raises:
        SystemExit: one line, when the dictionary, a dimension or any other parameter differs.
    """
    _refuse_other_dictionary(state, own)
    for part in OPTIONAL_PARTS:
        needed = [name for name in own if name.startswith(part)]
        given = [name for name in state if name.startswith(part)]
        if needed and not given:
            logger.info("not in the checkpoint, starts fresh: %s*", part)
            state.update({name: own[name].detach().clone() for name in needed})
        elif given and not needed:
            logger.info("in the checkpoint, not in this model, dropped: %s*", part)
            for name in given:
                del state[name]
    _refuse_other_names(state, own)
    for name, value in own.items():
        if state[name].shape != value.shape:
            raise UserError(
                f"checkpoint: {name} has shape {tuple(state[name].shape)}, this model needs {tuple(value.shape)}; "
                f"{_advice(name)}"
            )


def _refuse_other_dictionary(state: dict[str, Tensor], own: Mapping[str, Tensor]) -> None:
    known, needed = state.setdefault(FINGERPRINT, own[FINGERPRINT]), own[FINGERPRINT]
    if int(known) and int(needed) and int(known) != int(needed):
        raise UserError(
            "checkpoint: it was made with another dictionary than the data-bin's; "
            "binarize the corpus with the checkpoint's vocabulary (--vocab or --sentencepiece)"
        )
    if not int(known):
        state[FINGERPRINT] = needed


def _refuse_other_names(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    missing = sorted(set(own) - set(state))
    foreign = sorted(set(state) - set(own))
    if missing or foreign:
        what = [
            f"{len(names)} {word} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
            for names, word in ((missing, "missing"), (foreign, "unknown"))
            if names
        ]
        raise UserError(
            f"checkpoint: its parameters do not fit this architecture: {'; '.join(what)}; give the --arch it was made "
            f"with"
        )


def _advice(name: str) -> str:
    if name.startswith(("visual_embedder.", "heads.mvfr.")):
        return "extract the visual frames with the encoder the checkpoint was trained on"
    if name.startswith(("acoustic_embedder.", "heads.mafr.")):
        return "extract the acoustic frames with the encoder the checkpoint was trained on"
    if name.startswith("heads.mvfc."):
        return "use expression distributions over the classes the checkpoint was trained on"
    if name.startswith("heads.classify."):
        return "the checkpoint was finetuned on another number of emotions; start from the pre-trained one"
    if name.startswith(("text_embedder.word", "heads.wwmlm.")):
        return "the dictionary differs: binarize the corpus with the checkpoint's vocabulary"
    return "give the --arch and sizes the checkpoint was made with"
