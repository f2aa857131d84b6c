"""Many utterances one after another: a clip that cannot be used is recorded, and the others go on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..core.errors import DefectiveClip
from .prediction import Prediction
from .utterance import Evidence, Utterance

if TYPE_CHECKING:
    from .explain import Course, Explanation
    from .predictor import MEmoBERT


@dataclass(frozen=True)
class Outcome:
    """What became of one utterance.

    Attributes:
        utterance: what was asked about.
        error: why there is no answer; empty if there is one.
        prediction: the answer.
        evidence: what was found, where it was asked for.
        explanation: what the answer relied on, where it was asked for.
        course: how the answer came about over the clip, where it was asked for.
    """

    utterance: Utterance
    error: str = ""
    prediction: Prediction | None = None
    evidence: Evidence | None = None
    explanation: Explanation | None = None
    course: Course | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a JSON line."""
        if self.prediction is not None:
            return self.prediction.to_dict()
        asked = self.utterance
        return {"id": asked.title, "start": asked.start, "end": asked.end, "text": asked.text, "error": self.error}


def run(
    model: MEmoBERT,
    utterances: Iterable[Utterance],
    *,
    modalities: str | None = None,
    batch_size: int = 16,
    explained: bool = False,
) -> Iterator[Outcome]:
    """Read and answer in order.

    Args:
        model: the model.
        utterances: what to look at.
        modalities: what may be read; None: what the model was trained on.
        batch_size: utterances that are answered at a time, and held in memory.
        explained: also answer without each modality, and keep evidence and explanations.

    Raises:
        UserError: what concerns all clips: a missing package, missing weights, a wrong argument.
    """
    waiting: list[Evidence | Outcome] = []
    for utterance in utterances:
        try:
            waiting.append(model.read(utterance, modalities))
        except DefectiveClip as defect:
            waiting.append(Outcome(utterance, error=str(defect).removeprefix(f"{utterance.title}: ")))
        if len(waiting) >= batch_size:
            yield from _answered(model, waiting, batch_size, explained)
            waiting = []
    yield from _answered(model, waiting, batch_size, explained)


def _answered(
    model: MEmoBERT, waiting: list[Evidence | Outcome], batch_size: int, explained: bool
) -> Iterator[Outcome]:
    evidence = [found for found in waiting if isinstance(found, Evidence)]
    answers = iter(model.decide(evidence, leave_out=explained, batch_size=batch_size))
    for found in waiting:
        if isinstance(found, Outcome):
            yield found
        elif explained:
            from .explain import course, explain

            yield Outcome(
                found.utterance,
                prediction=next(answers),
                evidence=found,
                explanation=explain(model.network, found),
                course=course(model.network, found),
            )
        else:
            yield Outcome(found.utterance, prediction=next(answers))
