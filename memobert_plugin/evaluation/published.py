"""Numbers of the paper's Tables 2 and 3, and what to know before comparing with them."""

from __future__ import annotations

from dataclasses import dataclass

from .runs import FULL


@dataclass(frozen=True)
class PublishedRow:
    """One published row, in per cent; None where nothing was published.

    Attributes:
        name: as published.
        setting: ours that it corresponds to, None for other systems.
        ablation: ours that it corresponds to.
        scores: (WA, UAR) by corpus, as :func:`published_corpus` names it.
    """

    name: str
    setting: str | None
    ablation: str
    scores: dict[str, tuple[float | None, float | None]]


def _row(
    name: str,
    setting: str | None,
    ablation: str,
    iemocap: tuple[float | None, float | None],
    msp_improv: tuple[float | None, float | None],
) -> PublishedRow:
    return PublishedRow(name, setting, ablation, {"IEMOCAP": iemocap, "MSP-IMPROV": msp_improv})


NOTHING = (None, None)
PUBLISHED = (
    _row("cLSTM-MMA", None, FULL, (73.94, None), NOTHING),
    _row("SSMM", None, FULL, (75.60, 74.50), NOTHING),
    _row("MMIN", None, FULL, (None, 78.12), (None, 68.55)),
    _row("Direct", "direct", FULL, (74.64, 75.76), (67.17, 65.57)),
    _row("BERT+Finetune", "bert_finetune", FULL, (77.98, 78.98), (70.08, 69.67)),
    _row("Pretrain+Finetune", "pretrain_finetune", FULL, (79.63, 80.61), (71.77, 71.35)),
    _row("Pretrain+Prompt", "pretrain_prompt", FULL, (80.01, 81.09), (72.36, 72.22)),
    _row("w/o visual tasks", "pretrain_prompt", "no_visual", (79.73, 80.89), (71.04, 70.88)),
    _row("w/o acoustic task", "pretrain_prompt", "no_acoustic", (79.48, 80.82), (71.78, 71.52)),
    _row("w/o span and whole word", "pretrain_prompt", "no_span_no_whole_word", (79.46, 80.70), (70.73, 71.01)),
)

CONFOUNDS = (
    "Published numbers (paper, Tables 2 and 3) are those of the training step that was best on the test speaker, and "
    "the finetuning settings validated on the test speaker; prompting left out test utterances of more than 60 word "
    "pieces, finetuning did not; the ablations also changed warm-up, batch size and text limit. Numbers selected on a "
    "validation speaker are expected to be lower."
)


def published_corpus(name: str) -> str | None:
    """The published corpus that a corpus' name means, whatever its case and punctuation; None for any other."""
    plain = "".join(character for character in name.casefold() if character.isalnum())
    return {"iemocap": "IEMOCAP", "mspimprov": "MSP-IMPROV"}.get(plain)


def published_row(setting: str, ablation: str) -> PublishedRow | None:
    """The row that corresponds to one of ours."""
    return next((row for row in PUBLISHED if (row.setting, row.ablation) == (setting, ablation)), None)


def other_systems(corpus: str) -> list[PublishedRow]:
    """Rows of systems that are none of ours, published on that corpus."""
    return [row for row in PUBLISHED if row.setting is None and any(row.scores[corpus])]
