"""The network with its prompt or classifier: utterances in, probabilities out, as fairseq's tasks compute them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..checkpoints.bundle import read_bundle
from ..checkpoints.fairseq_checkpoint import read_fairseq_checkpoint
from ..checkpoints.model_description import FINETUNED, PRETRAINED, PROMPTED, ModelDescription, templates_of
from ..checkpoints.trained_model import TrainedModel
from ..core.errors import UserError
from ..core.names import CLASSES, SEVERAL
from ..core.ragged import first_rows
from ..data.batches import InputBuilder, Limits, NetworkInput, zero_frame
from ..data.prompts import PromptPieces, Template, Verbalizer
from ..data.vocabulary import SPECIALS
from ..nn.heads import EMOTION_HEAD, WORD_HEAD, upcast
from ..nn.label_words import CandidateWords, LabelWords
from ..nn.packing import PackedLayout
from .reading import LEFT_OUT
from .utterance import Evidence


class Network:
    """A trained model in evaluation mode.

    Args:
        model: weights, description and tokenizer.
        device: runs the network.
        dtype: the parameters'; answers are computed in float32 at least.
        wanted: from :func:`wanted_labels`; empty for the labels of the training.

    Raises:
        UserError: weights, tokenizer and description do not belong together, the prompt cannot be encoded, or the
            model cannot choose among the wanted labels.
    """

    def __init__(
        self, model: TrainedModel, device: torch.device, dtype: torch.dtype, wanted: Mapping[str, str] | None = None
    ) -> None:
        self.description = _limited(model.description, wanted) if wanted else model.description
        self.tokenizer = model.tokenizer()
        self.module = model.build(device, dtype)
        self.device = device
        self.labels = list(self.description.labels)
        symbols = self.tokenizer.symbols
        self._inputs = InputBuilder(symbols)
        self.prompt: PromptPieces | None = None
        """The template appended to every text; None for a finetuned model."""
        self._without_content: Tensor | None = None
        if model.description.kind == PROMPTED:
            templates = [Template.parse(text).encode(self.tokenizer) for text in templates_of(model.description)]
            self._prompts = [one.after_vectors(model.description.soft_prompt_length) for one in templates]
            self.prompt = self._prompts[0]
            words = self._words_of_labels(limited=bool(wanted))
            self._label_words = LabelWords(words, len(symbols))
            self._candidates = [CandidateWords(self._label_words.rows, *one.around_mask()) for one in self._prompts]
            if model.description.contextual_calibration:
                self._without_content = self._answers_to_nothing()
        elif model.description.kind == FINETUNED:
            self._columns = [model.description.labels.index(label) for label in self.labels]
        # Other labels take the temperature of the training too.
        self._calibration = model.description.calibration

    def _words_of_labels(self, *, limited: bool) -> list[list[int]]:
        try:
            return Verbalizer.parse(self.description.verbalizer, self.labels).encode(self.tokenizer)
        except UserError as error:
            raise UserError(f"--labels: {error}") from None if limited else error

    def batch(self, evidence: Sequence[Evidence], prompt: PromptPieces | None) -> NetworkInput:
        """Put utterances together, cut to the model's limits; nothing is padded.

        With the model's own prompt they are also put together with its further templates.
        """
        built = self._built(evidence, prompt)
        if prompt is None or prompt is not self.prompt or len(self._prompts) == 1:
            return built
        return replace(built, more=tuple(self._built(evidence, one) for one in self._prompts[1:]))

    def _built(self, evidence: Sequence[Evidence], prompt: PromptPieces | None) -> NetworkInput:
        description = self.description
        return self._inputs.from_arrays(
            [found.pieces for found in evidence],
            [self._frames(found, "v", found.visual, description.visual_dim) for found in evidence],
            [self._frames(found, "a", found.acoustic, description.acoustic_dim) for found in evidence],
            limits=Limits(**description.limits),
            dims=(description.visual_dim, description.acoustic_dim),
            prompt=prompt,
            device=self.device,
        )

    def _frames(self, evidence: Evidence, letter: str, frames: np.ndarray | None, dim: int) -> np.ndarray | None:
        """Return the frames, or the zero frame where the model wants one for what the clip lacks."""
        found_none = letter in evidence.absent and evidence.absent[letter] != LEFT_OUT
        wants_one = self.description.training.get("zero_frames") and letter in self.description.trained_on
        return zero_frame(dim) if dim and found_none and wants_one else frames

    def scores(self, batch: NetworkInput) -> tuple[Tensor, Tensor | None]:
        """Return scores of the emotions (B, C), whose softmax are the calibrated probabilities; of other targets what
        :meth:`answers` turns into them.

        For a prompted model that chooses among the whole vocabulary also return the rows (B,) of its likeliest pieces.

        Raises:
            UserError: the model was only pre-trained.
        """
        if self.description.kind == PRETRAINED:
            raise UserError("this model was only pre-trained and tells no emotions apart; fill_mask and encode work")
        temperatures = self._temperatures(batch)
        if self.description.kind == FINETUNED:
            rows = first_rows(batch.net_input["text_lengths"])
            scores = upcast(self.module(**batch.net_input, head=EMOTION_HEAD, rows=rows))
            return scores[:, self._columns] / temperatures, None
        scores, logits = self._prompted(batch, 0)
        words = None if self.description.mask_words == "labels" else logits.argmax(dim=-1)
        if batch.more or self._without_content is not None:
            others = [self._prompted(one, number)[0] for number, one in enumerate(batch.more, start=1)]
            of_each = [one.log_softmax(dim=-1) for one in (scores, *others)]
            if self._without_content is not None:
                of_each = [one - nothing for one, nothing in zip(of_each, self._without_content, strict=False)]
            weights = self.description.template_weights or [1 / len(of_each)] * len(of_each)
            scores = torch.einsum("t,tbc->bc", torch.tensor(weights).to(scores), torch.stack(of_each))
        return scores / temperatures, words

    def _prompted(self, batch: NetworkInput, template: int) -> tuple[Tensor, Tensor]:
        """Return the emotions' scores (B, C) by one template, and the logits that they are made of."""
        if self.description.mask_words != "labels":
            logits = self.vocabulary_logits(batch)
            return self._label_words.scores(logits), logits
        words = self._candidates[template]
        logits = upcast(self.module(**batch.net_input, head=WORD_HEAD, rows=batch.mask_rows, words=words))
        return self._label_words.scores_of_candidates(logits), logits

    @torch.no_grad()
    def _answers_to_nothing(self) -> Tensor:
        """Return each template's log-probabilities (T, 1, C) for an utterance without words, faces and voice."""
        found = []
        for number, prompt in enumerate(self._prompts):
            batch = self._inputs.from_arrays(
                [np.empty(0, np.int64)],
                [None],
                [None],
                limits=Limits(**self.description.limits),
                dims=(self.description.visual_dim, self.description.acoustic_dim),
                prompt=prompt,
                device=self.device,
            )
            found.append(self._prompted(batch, number)[0].log_softmax(dim=-1))
        return torch.stack(found)

    def answers(self, scores: Tensor) -> Tensor:
        """Return the answers (B, C) of scores: probabilities, or numbers on the scale of the training."""
        target = self.description.target
        if target is None:
            return scores.softmax(dim=-1)
        if target["kind"] == SEVERAL:
            return scores.sigmoid()
        mean, deviation = (torch.tensor(target[name]).to(scores) for name in ("mean", "deviation"))
        return scores * deviation + mean

    def _temperatures(self, batch: NetworkInput) -> Tensor:
        """Return the temperature of each utterance's answer, (B, 1): that of the modalities it has."""
        found = self._calibration
        lengths = [batch.piece_lengths, batch.net_input["visual_lengths"], batch.net_input["acoustic_lengths"]]
        cases = [
            "".join(letter for letter, own in zip("lva", of, strict=True) if own) for of in zip(*lengths, strict=True)
        ]
        values = [found.of_case(case) if found is not None else 1.0 for case in cases]
        return torch.tensor(values, device=self.device)[:, None]

    def vocabulary_logits(self, batch: NetworkInput) -> Tensor:
        """Return logits (B, vocabulary) at the prompt's mask."""
        return upcast(self.module(**batch.net_input, head=WORD_HEAD, rows=batch.mask_rows))

    def likeliest_words(self, batch: NetworkInput, prompt: PromptPieces, count: int) -> list[tuple[int, float]]:
        """Return rows of the dictionary with their probabilities at the mask of one utterance, likeliest first.

        Special symbols are left out: they have a probability too, but no text holds one. A model that was trained to
        choose among label words ranks these alone.
        """
        if self.description.mask_words == "labels":
            words = CandidateWords(self._label_words.rows, *prompt.around_mask())
            logits = upcast(self.module(**batch.net_input, head=WORD_HEAD, rows=batch.mask_rows, words=words))[0]
            chosen = logits.softmax(dim=-1).topk(min(count, len(words.rows)))
            return [(words.rows[index], float(share)) for share, index in zip(*map(list, chosen), strict=True)]
        logits = self.vocabulary_logits(batch)[0]
        probabilities = logits.softmax(dim=-1)
        special = [*range(len(SPECIALS)), self.tokenizer.mask_index]
        ranked = probabilities.index_fill(0, torch.tensor(special, device=logits.device), -1.0)
        rows = ranked.topk(min(count, len(ranked) - len(special))).indices.tolist()
        return [(row, float(probabilities[row])) for row in rows]

    def word(self, row: int) -> str:
        """Return a row of the dictionary as a word, without its tokenizer's marks."""
        return self.tokenizer.spelled([row])

    def hidden_states(self, batch: NetworkInput) -> tuple[Tensor, PackedLayout]:
        """Return the last layer of every piece and frame, packed, and the layout of its rows."""
        return self.module.hidden_states(**batch.net_input)


DTYPES = ("float32", "bfloat16", "float16")


Labels = str | Sequence[str] | Mapping[str, str]
"""Labels to choose among, as a user gives them: see :meth:`MEmoBERT.from_pretrained`."""


def wanted_labels(given: Labels) -> dict[str, str]:
    """Return the words of the labels that a user wants; the word is empty where the training's is meant.

    Args:
        given: ``"happiness,calm=calm"``, a list of such entries, or words by label.

    Raises:
        UserError: an entry of another form, a label given twice, or less than two labels.
    """
    if isinstance(given, Mapping):
        entries = [f"{label}={word}" for label, word in given.items()]
    else:
        entries = given.split(",") if isinstance(given, str) else list(given)
    wanted: dict[str, str] = {}
    for entry in entries:
        label, equals, word = (part.strip() for part in entry.partition("="))
        if not label or bool(equals) != bool(word):
            raise UserError(f'--labels: "{entry}" is not of the form label or label=word, separated by commas')
        if word and len(label.split()) > 1:
            raise UserError(f'--labels: label "{label}" has a blank; write it as one word')
        if label.casefold() in map(str.casefold, wanted):
            raise UserError(f'--labels: "{label}" is given twice')
        if len(word.split()) > 1:
            raise UserError(f'--labels: the word of "{label}", "{word}", is not one word; give one')
        wanted[label] = word
    if len(wanted) < 2:
        raise UserError("--labels: give at least two labels to choose among, such as happiness,anger")
    return wanted


def _limited(description: ModelDescription, wanted: Mapping[str, str]) -> ModelDescription:
    """Return the description of a model that chooses among other labels than in its training.

    Raises:
        UserError: the model was only pre-trained, a label is unknown, or words are given for a finetuned model.
    """
    if description.kind == PRETRAINED:
        raise UserError("--labels: this model was only pre-trained and tells no emotions apart; leave the flag out")
    if description.target_kind != CLASSES:
        raise UserError("--labels: this model does not choose one of its labels; leave the flag out")
    known = ", ".join(description.labels)
    trained = dict.fromkeys(description.labels, "")
    if description.kind == PROMPTED:
        verbalizer = Verbalizer.parse(description.verbalizer, description.labels)
        trained = {label: ",".join(words) for label, words in zip(verbalizer.labels, verbalizer.words, strict=True)}
    elif any(wanted.values()):
        raise UserError(f"--labels: this model was finetuned and has no words; choose among {known}")
    by_name = {label.casefold(): label for label in trained}
    words = {by_name.get(label.casefold(), label): word for label, word in wanted.items()}
    for label, word in words.items():
        if not word and label not in trained:
            new = f"; for a new label give its word, {label}=WORD" if description.kind == PROMPTED else ""
            raise UserError(f'--labels: unknown label "{label}"; the model has {known}{new}')
    chosen = {label: word or trained[label] for label, word in words.items()}
    if chosen == trained:
        return replace(description, labels=list(chosen))
    words_of_chosen = ""
    if description.kind == PROMPTED:
        words_of_chosen = Verbalizer(tuple(chosen), tuple(tuple(word.split(",")) for word in chosen.values())).text()
    note = f"asked to choose among {', '.join(chosen)} alone (--labels): another answer may be the right one"
    return replace(
        description,
        labels=list(chosen),
        verbalizer=words_of_chosen,
        note="; ".join(filter(None, (description.note, note))),
        # Nobody compared the confidence in new words with how often they are right.
        calibration=description.calibration if chosen.items() <= trained.items() else None,
    )


def load_network(
    path: Path,
    device: str,
    dtype: str | torch.dtype,
    data_bin: Path | None = None,
    zero_frames: bool = False,
    labels: Labels | None = None,
) -> Network:
    """Load a bundle (a folder) or a checkpoint of ``fairseq-train`` (a file).

    Args:
        path, data_bin, labels: see :meth:`MEmoBERT.from_pretrained`.
        device, dtype: of the parameters.
        zero_frames: let the model read one zero frame for faces or speech that a clip lacks.

    Raises:
        UserError: not a model, an altered file, no such device, an unknown dtype, or labels that the model cannot
            choose among.
    """
    wanted = None if labels is None else wanted_labels(labels)
    if not path.exists():
        raise UserError(f"{path}: no such bundle or checkpoint")
    model = read_bundle(path) if path.is_dir() else read_fairseq_checkpoint(path, data_bin)
    if zero_frames:
        model.description.training["zero_frames"] = True
    return Network(model, _device(device), _dtype(dtype), wanted)


def cpu_network(model: TrainedModel) -> Network:
    """Return a trained model as a network in float32 on the CPU."""
    return Network(model, torch.device("cpu"), torch.float32)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"device {name!r}: unknown; give cpu or cuda") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"device {name}: this machine has no usable CUDA device; give cpu")
    return device


def _dtype(dtype: str | torch.dtype) -> torch.dtype:
    name = str(dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise UserError(f"dtype {name}: give one of {', '.join(DTYPES)}")
    found = getattr(torch, name)
    assert isinstance(found, torch.dtype)
    return found
