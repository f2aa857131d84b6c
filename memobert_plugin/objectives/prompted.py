"""Pre-train the prompt itself without labels: its mask learns soft distributions over the emotion words.

Three sources of such distributions, each an objective:

* ``prompted_expression``: the facial expressions that the face encoder saw, while the faces are mostly hidden, so that
  words and voice learn what faces show;
* ``co_prompting``: the network's own answers from single streams. Streams that are independent witnesses of the emotion
  e give p(e | all) ~ p(e | text) p(e | faces) p(e | speech) / p(e)^2, so the target is that product. How frequent
  each emotion is stays the same in all rounds: if a round could change it, an emotion that is chosen too rarely would
  be chosen more rarely in the next, and vanish;
* ``prompted_similarity``: how near the sentence is to "i am WORD ." in the frozen text encoder.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..core.errors import UserError
from ..core.ragged import owners_and_positions
from ..data.batches import InputBuilder
from ..data.prompts import PAPER_TEMPLATE, PAPER_WORDS, Template, Verbalizer
from ..data.tokenizer import Tokenizer
from ..nn.heads import WORD_HEAD, HeadPlan, upcast, word_head
from ..nn.label_words import CandidateWords, LabelWords
from ..nn.network import MEmoBERTNetwork, frozen_copy
from ..nn.text_encoder import ENCODER_PREFIX, EncodedTextEmbedder
from .base import OBJECTIVES, InputSizes, Masked, MaskingOptions, Objective, Training
from .draws import Draws
from .prompt_flags import RAREST, parse_shares, parse_views, prior_of_shares

_LETTERS = "lva"
_VIEW = 0
"""Counter of the draw of an utterance's view."""
_LABEL_OF_EXPRESSION = {"anger": "anger", "happiness": "happy", "neutral": "neutral", "sadness": "sad"}
"""Expression classes that have a word in the paper, and the label under which it has one."""


@dataclass(frozen=True)
class PromptedOptions:
    """Flags of the prompted objectives."""

    prompt_template: str = field(
        default=PAPER_TEMPLATE, metadata={"help": "of the prompted objectives: appended to the text, with one [MASK]"}
    )
    prompt_words: str = field(
        default="",
        metadata={
            "help": "of the prompted objectives: emotions and their words, such as 'happiness=happy sadness=sad'; for "
            "prompted_expression they are expression classes of the data-bin (default: the paper's four words)"
        },
    )
    expression_sharpness: float = field(
        default=0.5,
        metadata={"help": "prompted_expression's target: softmax of this number times an expression's sum over faces"},
    )
    expression_views: str = field(
        default="a=2 la=3 l=2 lva va lv v",
        metadata={"help": "modality cases that prompted_expression shows, each with its weight (1 where none stands)"},
    )
    co_prompting_updates: int = field(
        default=150,
        metadata={"help": "updates of a round of co_prompting, which learns the answers of the network at its start"},
    )
    co_prompting_views: str = field(
        default="l v a la lv va lva=3", metadata={"help": "modality cases that co_prompting shows, with weights"}
    )
    co_prompting_shares: str = field(
        default="start",
        metadata={
            "help": "how frequent co_prompting makes each emotion in its targets: 'start': as in the answers before "
            "its first round; 'equal'; or every emotion's weight, such as 'anger=1 sadness=2'"
        },
    )
    similarity_temperature: float = field(
        default=1.0, metadata={"help": "prompted_similarity divides standardised similarities by this number"}
    )
    similarity_views: str = field(
        default="l", metadata={"help": "modality cases that prompted_similarity shows, with weights"}
    )


class PromptedObjective(Objective):
    """Base of the objectives that show an utterance's prompt and give its mask a distribution over emotion words."""

    modality = "text"
    head_name = WORD_HEAD
    Options = PromptedOptions
    shares = ("agreement",)
    views_flag: ClassVar[str]

    settings: PromptedOptions
    labels: tuple[str, ...] = ()
    """Emotions, in the order of targets; empty until :meth:`configure`."""

    def __init__(self, name: str, sizes: InputSizes, symbols: Sequence[str], options: MaskingOptions) -> None:
        super().__init__(name, sizes, symbols, options)
        self._inputs = InputBuilder(symbols)

    def configure(self, settings: Any, tokenizer: Tokenizer, expression_classes: Sequence[str]) -> None:
        """Encode the template and the emotion words, and check them.

        Raises:
            UserError: a wrong template or view, or a word that is not one piece of the vocabulary.
        """
        self.settings = settings
        self._prompt = Template.parse(settings.prompt_template).encode(tokenizer)
        entries = settings.prompt_words.split() or _default_words(expression_classes, tokenizer)
        names = list(dict.fromkeys(entry.partition("=")[0] for entry in entries))
        if len(names) < 2:
            raise UserError(f"--prompt-words {settings.prompt_words!r}: give two or more entries such as sadness=sad")
        verbalizer = Verbalizer.parse(" ".join(entries), names)
        self.labels = verbalizer.labels
        self._words = LabelWords(verbalizer.encode(tokenizer), self.sizes.vocabulary)
        self._candidates = CandidateWords(self._words.rows, *self._prompt.around_mask())
        self._views = parse_views(self.views_flag, getattr(settings, self.views_flag.replace("-", "_")))

    @classmethod
    def head(cls, sizes: InputSizes) -> HeadPlan:
        """Return BERT's masked-language-modelling head, which prompting reads."""
        return word_head(sizes.vocabulary)

    @abstractmethod
    def targets(self, batch: Mapping[str, Any]) -> Tensor:
        """Return distributions ``(B, C)``; NaN where an utterance has none."""

    def check(self) -> None:
        """Do nothing: :meth:`configure` has checked the flags, and targets need the network."""

    def mask(self, batch: Mapping[str, Any], draws: Draws) -> Masked:
        """Append the prompt, and hide the streams outside a view that is drawn for each utterance."""
        utterances = np.arange(len(batch["uids"]))
        chosen = draws.integers(utterances, _VIEW, np.full(len(utterances), len(self._views)))
        shows = np.array([[letter in view for view in self._views] for letter in _LETTERS])[:, chosen]
        inputs, mask_rows = self._shown(batch, shows)
        targets = self.targets(batch)
        usable = torch.isfinite(targets).all(dim=1)
        # Whether an utterance has a target depends on its lengths; reading it off the target waits for the device once.
        kept = usable.cpu().numpy()
        return Masked(mask_rows[kept], targets[usable], inputs)

    def _shown(self, batch: Mapping[str, Any], shows: np.ndarray) -> tuple[dict[str, Any], np.ndarray]:
        """Return the network's arguments for a batch of which only some streams are shown, and its masks' rows.

        Args:
            batch: of the pre-training task.
            shows: ``(3, B)`` bool. An utterance that has none of its view's streams shows all it has.
        """
        net_input = batch["net_input"]
        lengths = np.stack([batch["piece_lengths"], net_input["visual_lengths"], net_input["acoustic_lengths"]])
        shown = shows & (lengths > 0)
        shown = np.where(shown.any(axis=0), shown, lengths > 0)
        parts: list[Any] = []
        for stream, values in enumerate((batch["pieces"], net_input["visual"], net_input["acoustic"])):
            rows = np.flatnonzero(np.repeat(shown[stream], lengths[stream]))
            if isinstance(values, np.ndarray):
                parts.append(values[rows])
            elif len(rows) == len(values):
                parts.append(values)
            else:
                parts.append(values.index_select(0, torch.from_numpy(rows).to(values.device, non_blocking=True)))
        device = net_input["text"].device
        built = self._inputs.build(
            parts[0], lengths * shown, parts[1], parts[2], self._prompt, lambda ids: torch.from_numpy(ids).to(device)
        )
        return {**built.net_input, "words": self._candidates}, built.mask_rows

    def log_probabilities(self, network: MEmoBERTNetwork, batch: Mapping[str, Any], case: str) -> Tensor:
        """Return a network's answers ``(B, C)`` from some streams, as log-probabilities of the emotions."""
        shows = np.array([[letter in case] for letter in _LETTERS]).repeat(len(batch["uids"]), axis=1)
        inputs, mask_rows = self._shown(batch, shows)
        logits = upcast(network(**inputs, head=WORD_HEAD, rows=mask_rows))
        return self._words.scores_of_candidates(logits).log_softmax(dim=-1)

    def loss(self, output: Tensor, target: Tensor) -> tuple[Tensor, int]:
        """Return KL(target || answer) over n utterances."""
        answers = self._words.scores_of_candidates(output).log_softmax(dim=-1)
        return functional.kl_div(answers, target.to(answers.dtype), reduction="sum"), len(target)

    def count(self, output: Tensor, target: Tensor) -> Mapping[str, Tensor]:
        """Return the number of utterances whose likeliest emotion is the target's."""
        answers = self._words.scores_of_candidates(output)
        return {"agreement": (answers.argmax(dim=-1) == target.argmax(dim=-1)).sum()}


def _default_words(expression_classes: Sequence[str], tokenizer: Tokenizer) -> list[str]:
    """Return the paper's words, as entries of ``--prompt-words``, for the expression classes or for its labels."""
    names = {label: label for label in PAPER_WORDS}
    if expression_classes:
        names = {name: _LABEL_OF_EXPRESSION[name] for name in expression_classes if name in _LABEL_OF_EXPRESSION}
    if not names:
        return []
    words = Verbalizer.of_labels(list(names.values()), tokenizer).words
    return [f"{name}={','.join(of_label)}" for name, of_label in zip(names, words, strict=True)]


@OBJECTIVES.register("prompted_expression")
class PromptedExpression(PromptedObjective):
    """The prompt's mask learns which expressions the faces showed; the faces themselves are mostly hidden."""

    title = "the prompt from facial expressions"
    help = "prompted expression: the mask of the prompt learns the faces' expressions, mostly without seeing faces"
    order = 110
    views_flag = "expression-views"

    @classmethod
    def serves(cls, sizes: InputSizes) -> bool:
        """Return True where the data has expression distributions."""
        return sizes.expression_classes > 0

    def configure(self, settings: Any, tokenizer: Tokenizer, expression_classes: Sequence[str]) -> None:
        """Find each emotion among the expression classes.

        Raises:
            UserError: an emotion is no expression class, or a sharpness that is not positive.
        """
        super().configure(settings, tokenizer, expression_classes)
        for label in self.labels:
            if label not in expression_classes:
                raise UserError(
                    f"--prompt-words: {label!r} is no expression class of the data-bin; it has "
                    f"{', '.join(expression_classes)}"
                )
        if not 0 < settings.expression_sharpness < float("inf"):
            raise UserError(f"--expression-sharpness {settings.expression_sharpness:g}: give a number above 0")
        self._classes = [list(expression_classes).index(label) for label in self.labels]

    def targets(self, batch: Mapping[str, Any]) -> Tensor:
        """Return softmax(sharpness x sum over faces of an expression's probability), NaN without faces."""
        lengths = batch["net_input"]["visual_lengths"]
        if "expression" not in batch:  # a shard without faces
            return torch.full((len(lengths), len(self.labels)), torch.nan, device=batch["net_input"]["text"].device)
        expression = batch["expression"].float()
        owner = torch.from_numpy(owners_and_positions(lengths)[0]).to(expression.device, non_blocking=True)
        sums = expression.new_zeros(len(lengths), expression.shape[1]).index_add_(0, owner, expression)
        found = (self.settings.expression_sharpness * sums[:, self._classes]).softmax(dim=-1)
        return found.masked_fill(torch.from_numpy(lengths == 0).to(found.device)[:, None], torch.nan)


@OBJECTIVES.register("co_prompting")
class CoPrompting(PromptedObjective):
    """The prompt's mask learns the product of the network's own answers from single streams, round after round."""

    title = "the prompt from single streams"
    help = "co-prompting: the mask of the prompt learns the network's own answers from single streams, multiplied"
    order = 120
    views_flag = "co-prompting-views"

    def __init__(self, name: str, sizes: InputSizes, symbols: Sequence[str], options: MaskingOptions) -> None:
        super().__init__(name, sizes, symbols, options)
        self._round: int | None = None
        self._teacher: MEmoBERTNetwork | None = None
        self._given: Tensor | None = None
        self._shares: Tensor | None = None
        self._log_prior = torch.zeros(0)
        self._known: dict[int, Tensor] = {}

    @classmethod
    def serves(cls, sizes: InputSizes) -> bool:
        """Return True where the data has frames: words alone have nothing to multiply with."""
        return sizes.visual_dim > 0 or sizes.acoustic_dim > 0

    def configure(self, settings: Any, tokenizer: Tokenizer, expression_classes: Sequence[str]) -> None:
        """Check the length of a round and the emotions' shares.

        Raises:
            UserError: the length is not positive, or shares are not those of the emotions.
        """
        super().configure(settings, tokenizer, expression_classes)
        if settings.co_prompting_updates < 1:
            raise UserError(f"--co-prompting-updates {settings.co_prompting_updates}: give 1 or more")
        self._given = parse_shares(settings.co_prompting_shares, self.labels)

    def prepare(self, training: Training) -> None:
        """Make the network of this moment the teacher, at the start of a round.

        The teacher is kept in the folder of checkpoints, so that a training that resumes within a round goes on with
        it. One that was kept after the checkpoint belongs to another course of the training, and is made anew.
        """
        number = training.update // self.settings.co_prompting_updates
        if self._teacher is not None and (number == self._round or not training.trains):
            return
        self._round, self._known = number, {}
        # Statistics of frames and the frozen encoder never change: the network's own serve.
        self._teacher = frozen_copy(training.network)
        named = self._teacher.named_parameters()
        learned = {name: value for name, value in named if not name.startswith(ENCODER_PREFIX)}
        state = training.recall(f"{self.name}-{number}") if training.trains else None
        recalled = state is not None and _UPDATE in state and int(state[_UPDATE]) < training.first_update
        if recalled and state is not None:
            self._shares = state[_SHARES].to(next(iter(learned.values())).device)
            for name, value in learned.items():
                value.copy_(state[name])
        with torch.no_grad():
            evidence = [self._evidence(batch) for batch in training.sampled_batches()]
        answers = torch.cat([of_batch for of_batch, _ in evidence])
        streams = torch.cat([of_batch for _, of_batch in evidence])
        shares = self._shares_at_start(answers, streams, training) if self._given is None else self._given.to(answers)
        self._log_prior = prior_of_shares(answers, streams, shares)
        if training.trains and not recalled:
            update = torch.tensor(training.update)
            training.remember(f"{self.name}-{number}", {**learned, _SHARES: shares, _UPDATE: update})

    def _shares_at_start(self, answers: Tensor, streams: Tensor, training: Training) -> Tensor:
        """Return how often each emotion was the answer before the first round."""
        if self._shares is not None:
            return self._shares
        shares = (answers / streams.clamp(min=1)).softmax(dim=-1).mean(dim=0).clamp(min=RAREST)
        shares = shares / shares.sum()
        if training.trains:
            self._shares = shares
        return shares

    def _evidence(self, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """Return the summed log-probabilities ``(B, C)`` of the teacher's answers from single streams, and the number
        of streams ``(B, 1)``.
        """
        assert self._teacher is not None  # prepare() comes first
        net_input = batch["net_input"]
        lengths = np.stack([batch["piece_lengths"], net_input["visual_lengths"], net_input["acoustic_lengths"]])
        there = torch.from_numpy(lengths > 0).to(net_input["text"].device)
        answers = torch.stack([self.log_probabilities(self._teacher, batch, letter) for letter in _LETTERS])
        return (answers * there[:, :, None]).sum(dim=0), there.sum(dim=0)[:, None]

    def targets(self, batch: Mapping[str, Any]) -> Tensor:
        """Return the product of the answers from single streams over the prior; the same all through a round."""
        uids = batch["uids"].tolist()
        unknown = [uid for uid in uids if uid not in self._known]
        if unknown:
            with torch.no_grad():
                answers, streams = self._evidence(batch)
                found = (answers - (streams - 1) * self._log_prior.to(answers)).softmax(dim=-1)
            if len(self._known) > _MOST_KNOWN:
                self._known.clear()
            for uid, target in zip(uids, found, strict=True):
                self._known.setdefault(uid, target)
        return torch.stack([self._known[uid] for uid in uids])


_MOST_KNOWN = 1 << 17
_SHARES, _UPDATE = "(shares)", "(update)"
"""Kept beside the teacher's parameters, under names that no parameter has."""


@OBJECTIVES.register("prompted_similarity")
class PromptedSimilarity(PromptedObjective):
    """The prompt's mask learns how near the sentence is to "i am WORD ." in the frozen text encoder."""

    title = "the prompt from similar sentences"
    help = "prompted similarity: the mask of the prompt learns which 'i am WORD .' the text encoder finds most similar"
    order = 130
    views_flag = "similarity-views"

    def __init__(self, name: str, sizes: InputSizes, symbols: Sequence[str], options: MaskingOptions) -> None:
        super().__init__(name, sizes, symbols, options)
        self._embedder: EncodedTextEmbedder | None = None
        self._mean = self._deviation = torch.zeros(0)

    @classmethod
    def serves(cls, sizes: InputSizes) -> bool:
        """Return True: every utterance can have a text."""
        return True

    def configure(self, settings: Any, tokenizer: Tokenizer, expression_classes: Sequence[str]) -> None:
        """Check the temperature.

        Raises:
            UserError: it is not positive.
        """
        super().configure(settings, tokenizer, expression_classes)
        if not 0 < settings.similarity_temperature < float("inf"):
            raise UserError(f"--similarity-temperature {settings.similarity_temperature:g}: give a number above 0")

    def check_network(self, network: MEmoBERTNetwork) -> None:
        """Refuse a network without a frozen text encoder.

        Raises:
            UserError: it has none.
        """
        if not isinstance(network.text_embedder, EncodedTextEmbedder):
            raise UserError("--prompted-similarity-ratio: the model has no text encoder; give --text-encoder")

    def prepare(self, training: Training) -> None:
        """Measure mean and deviation of the similarities over the training utterances, once.

        Raises:
            UserError: no training utterance has a text.
        """
        if self._embedder is not None:
            return
        self.check_network(training.network)
        assert isinstance(training.network.text_embedder, EncodedTextEmbedder)
        self._embedder = training.network.text_embedder
        found = torch.cat([self._similarities(batch) for batch in training.sampled_batches()])
        found = found[torch.isfinite(found).all(dim=1)]
        if not len(found):
            raise UserError("--prompted-similarity-ratio: no training utterance has a text; leave the objective out")
        self._mean, self._deviation = found.mean(dim=0), found.std(dim=0, unbiased=False).clamp(min=1e-6)

    @torch.no_grad()
    def _similarities(self, batch: Mapping[str, Any]) -> Tensor:
        """Return the cosines ``(B, C)`` of sentences and "i am WORD ."; NaN without a text."""
        assert self._embedder is not None  # prepare() comes first
        net_input = batch["net_input"]
        texts = torch.from_numpy(self._candidates.texts()).to(net_input["text"].device)
        words = _sentence_vectors(self._embedder, texts.flatten(), np.full(len(texts), texts.shape[1]))
        sentences = _sentence_vectors(self._embedder, net_input["text"], net_input["text_lengths"])
        # The mean over an emotion's words: columns repeat a word where an emotion has fewer than others.
        cosines = (sentences @ words.T)[:, self._words.columns.to(words.device)]
        own = self._words.is_word.to(words.device)
        found = (cosines * own).sum(dim=-1) / own.sum(dim=-1)
        empty = torch.from_numpy(batch["piece_lengths"] == 0).to(found.device)
        return found.masked_fill(empty[:, None], torch.nan)

    def targets(self, batch: Mapping[str, Any]) -> Tensor:
        """Return softmax(standardised similarity / temperature)."""
        standardised = (self._similarities(batch) - self._mean) / self._deviation
        return (standardised / self.settings.similarity_temperature).softmax(dim=-1)


def _sentence_vectors(embedder: EncodedTextEmbedder, pieces: Tensor, lengths: np.ndarray) -> Tensor:
    """Return the mean state of each text as a unit vector, ``(B, E)`` float32."""
    states = embedder.encoder(pieces, lengths).float()
    owner = torch.from_numpy(owners_and_positions(lengths)[0]).to(states.device)
    sums = states.new_zeros(len(lengths), states.shape[1]).index_add_(0, owner, states)
    return functional.normalize(sums, dim=-1)
