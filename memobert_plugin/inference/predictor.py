"""``MEmoBERT``: a trained model that answers for clips.

>>> from memobert_plugin import MEmoBERT
>>> model = MEmoBERT.from_pretrained(bundle)
>>> answer = model.predict(text="we love the fun")
>>> answer.label in model.labels, round(sum(answer.probabilities.values()), 6)
(True, 1.0)
>>> answer.modalities["visual"].present, answer.modalities["visual"].reason
(False, 'not given')
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from ..core.errors import UserError
from .decision import named, prediction
from .prediction import Asked, Encoding, Prediction, Predictions
from .utterance import Clip, Clips, Evidence, Utterance, one_utterance, utterances

if TYPE_CHECKING:
    import torch

    from ..checkpoints.model_description import ModelDescription
    from ..features.media.streams import StreamChoice
    from .network import Labels, Network
    from .reading import ClipReader


class MEmoBERT:
    """A trained model; :meth:`from_pretrained` loads one.

    Attributes:
        network: the model with its prompt or classifier.
        reader: reads media as the frames that the model was trained on.
        weights_license: of the shipped model's weights; empty for any other model.
    """

    def __init__(self, network: Network, reader: ClipReader, weights_license: str = "") -> None:
        self.network, self.reader, self.weights_license = network, reader, weights_license

    def __repr__(self) -> str:
        rows = self._facts()
        width = max(map(len, rows))
        return "\n".join(["MEmoBERT", *(f"  {name:<{width}}  {value}" for name, value in rows.items())])

    def _repr_html_(self) -> str:
        from markupsafe import Markup

        row = Markup('<tr><th style="text-align:left">{}</th><td style="text-align:left">{}</td></tr>')
        rows = Markup("").join(row.format(*fact) for fact in self._facts().items())
        return str(Markup("<div><strong>MEmoBERT</strong><table>{}</table></div>").format(rows))

    def _facts(self) -> dict[str, str]:
        from ..checkpoints.model_description import facts

        return {**facts(self.description), **({"licence": self.weights_license} if self.weights_license else {})}

    @classmethod
    def from_pretrained(
        cls,
        path: str | os.PathLike[str] | None = None,
        *,
        device: str = "cpu",
        dtype: str | torch.dtype = "float32",
        data_bin: str | os.PathLike[str] | None = None,
        zero_frames: bool = False,
        weights: str | os.PathLike[str] | None = None,
        tracker: str | os.PathLike[str] | None = None,
        face_weights: str | os.PathLike[str] | None = None,
        voice: str | None = None,
        streams: StreamChoice | None = None,
        transcribe: str | os.PathLike[str] | None = None,
        preview: bool = False,
        labels: Labels | None = None,
    ) -> MEmoBERT:
        """Load a model; no code in its files is run, and nothing is fetched.

        Args:
            path: a bundle of ``memobert-export``, or a checkpoint of ``fairseq-train``; None: the shipped model.
            device: runs the model and the encoders: ``cpu``, ``cuda`` …
            dtype: the parameters' type: ``float32``, ``bfloat16`` or ``float16``.
            data_bin: the data-bin an older checkpoint was trained on, for its tokenizer and extractor settings.
            zero_frames: read one zero frame for faces or speech that a clip lacks, as the authors' code does; for
                imported weights (a training's own ``--zero-frames`` is kept).
            weights: the speech encoder's, such as wav2vec 2.0, for a model that was trained on its frames.
            tracker: CSV of a face tracker, or a folder with one per film, instead of faces found in the pictures.
            face_weights: another DenseFace than the shipped one, or an ONNX file, for a model trained on its frames.
            voice: ``silero`` or ``energy``, the detector that tells speech from silence.
            streams: a film's streams to read, by language or number (None: as players choose).
            transcribe: a folder of Whisper in CTranslate2's format, which recognises words where a clip has no text, in
                the language of ``streams``, else of the film, else in the likeliest.
            preview: keep pictures of the clips that are read, for a page.
            labels: the emotions to choose among: some of the model's (``"sad,anger"`` or a list); for a prompted model
                also others with their word in the prompt (``"calm=calm,anger"``, or words by label).

        Raises:
            UserError: no model, an altered file, no such device, labels it cannot choose among, no such Whisper.

        >>> MEmoBERT.from_pretrained(bundle, labels="sad,happy").labels
        ['sad', 'happy']
        """
        from ..core.version import license_of, shipped_model
        from ..features.media.streams import ANY_STREAMS

        with _surroundings_kept():
            from .faces import FaceOptions
            from .network import load_network
            from .reading import ClipReader, ReadingOptions
            from .speech import transcribe_options

            streams = streams or ANY_STREAMS
            words = None if transcribe is None else transcribe_options(Path(transcribe), streams, device, voice)
            model = _path(path) or shipped_model()
            network = load_network(model, device, dtype, _path(data_bin), zero_frames, labels)
            faces = FaceOptions(_path(tracker), voice, _path(face_weights), streams)
            options = ReadingOptions(weights=_path(weights), faces=faces, preview=preview, transcribe=words)
            reader = ClipReader(network.description, network.tokenizer, options, device)
        return cls(network, reader, license_of(model))

    @property
    def description(self) -> ModelDescription:
        """Return the model's sizes, inputs, labels and training."""
        return self.network.description

    @property
    def labels(self) -> list[str]:
        """Return the emotions that it tells apart; none for a model that was only pre-trained."""
        return list(self.network.labels)

    @overload
    def predict(
        self,
        clip: Clip | None = None,
        text: str | None = None,
        *,
        modalities: str | None = None,
        leave_out: bool = False,
        batch_size: int = 16,
        **utterance: Any,
    ) -> Prediction: ...

    @overload
    def predict(
        self,
        clip: Clips,
        text: Sequence[str] | None = None,
        *,
        modalities: str | None = None,
        leave_out: bool = False,
        batch_size: int = 16,
        **utterance: Any,
    ) -> Predictions: ...

    def predict(
        self,
        clip: Clip | Clips | None = None,
        text: str | Sequence[str] | None = None,
        *,
        modalities: str | None = None,
        leave_out: bool = False,
        batch_size: int = 16,
        **utterance: Any,
    ) -> Prediction | Predictions:
        """Predict the emotion of an utterance, or of each of several.

        Args:
            clip: a video or sound file, a folder of pictures of one face each, a waveform (N,), an
                :class:`~memobert_plugin.inference.utterance.Utterance`; or a list of these.
            text: the words that are said; for a list of clips a list as long.
            modalities: letters of those that may be read, of ``l`` (text), ``v`` (faces), ``a`` (voice); default: as
                trained.
            leave_out: also answer without each modality in turn, and note streams that contradict each other.
            batch_size: utterances at a time.
            utterance: further parts of the utterance: ``start`` and ``end`` in the file or waveform in seconds,
                ``sampling_rate`` of a waveform (default 16 000), and ready frames of the model's encoders, ``visual``
                (T, V) and ``acoustic`` (A, D).

        Returns:
            A :class:`~memobert_plugin.inference.prediction.Prediction`, or for a list of clips a
            :class:`~memobert_plugin.inference.prediction.Predictions`, a list of them.

        Raises:
            UserError: arguments that do not go together, a missing package or missing weights.
            DefectiveClip: a clip cannot be read, or has nothing to read.

        Waveforms, files and ready frames; every answer is that of the utterance alone:

            >>> import numpy as np
            >>> one = model.predict(np.ones(16000, np.float32), "stop it")
            >>> one.modalities["acoustic"].reason.partition(";")[0]
            "this model's speech frames were made by 'generated', which is not installed"
            >>> faces = np.ones((12, 6), np.float32)
            >>> seen = model.predict(text="stop it", visual=faces, leave_out=True)
            >>> seen.modalities["visual"].frames, sorted(seen.modalities["visual"].without) == model.labels
            (12, True)
        """
        given = self.with_voice_means(utterances(clip, text, **utterance), modalities)
        answers: list[Prediction] = []
        for first in range(0, len(given), max(1, batch_size)):
            evidence = [self.read(one, modalities) for one in given[first : first + max(1, batch_size)]]
            found = self.decide(evidence, leave_out=leave_out, compare=leave_out, batch_size=batch_size)
            answers += [
                replace(answer, asked=Asked(self, one.utterance, modalities))
                for answer, one in zip(found, evidence, strict=True)
            ]
        return Predictions(answers) if isinstance(clip, (list, tuple)) else answers[0]

    def timeline(
        self,
        film: str | os.PathLike[str],
        *,
        every: float = 4.0,
        subtitles: str | os.PathLike[str] | None = None,
        modalities: str | None = None,
        batch_size: int = 16,
    ) -> Predictions:
        """Predict the emotion along a film or sound file.

        Args:
            film: the file.
            every: seconds of each stretch; the cuts move to pauses of the voice.
            subtitles: a subtitle file, or ``embedded``: its lines are the stretches, with their words.
            modalities: as in :meth:`predict`.
            batch_size: stretches at a time.

        Returns:
            The answers in order; stretches without one are in ``failed``. ``plot()`` draws them.

        Raises:
            UserError: no usable subtitle line, a stretch that is too short or too long, or no answer at all.
            DefectiveClip: the file cannot be read.
        """
        from .requests import of_subtitles, of_windows, run

        if not 0.5 <= every <= 60.0:
            raise UserError(f"every {every:g}: give 0.5 to 60 seconds")
        streams = self.reader.options.faces.streams
        with _surroundings_kept():
            if subtitles is None:
                request = of_windows(Path(film), every, streams)
            else:
                request = of_subtitles(Path(film), os.fspath(subtitles), streams)
            given = self.with_voice_means(request.utterances, modalities)
            outcomes = list(run(self, given, modalities=modalities, batch_size=batch_size))
        answers = [
            replace(one.prediction, asked=Asked(self, one.utterance, modalities))
            for one in outcomes
            if one.prediction is not None
        ]
        return Predictions(
            answers, timeline=True, failed={one.utterance.title: one.error for one in outcomes if one.error}
        )

    def with_preview(self) -> MEmoBERT:
        """Return the same model, which also keeps pictures of clips for a page."""
        return MEmoBERT(self.network, self.reader.with_preview(), self.weights_license)

    def write_page(self, asked: Sequence[Asked], path: Path, *, timeline: bool = False) -> None:
        """Read the clips again and write the page of :meth:`Predictions.page`."""
        from .page import Page, details_folder
        from .requests import run

        shown = self.with_preview()
        beside = details_folder(path, len(asked), overwrite=True)
        page = Page(self.description, timeline, self.weights_license, beside=beside)
        with _surroundings_kept():
            for one in asked:
                for outcome in run(shown, [one.utterance], modalities=one.modalities, explained=True):
                    page.add(outcome)
        page.write(path)

    def with_voice_means(
        self, utterances: Sequence[Utterance], modalities: str | None = None, *, progress: bool = False
    ) -> list[Utterance]:
        """Return what :meth:`.reading.ClipReader.with_voice_means` does; other methods take the clips' means by it."""
        with _surroundings_kept():
            return self.reader.with_voice_means(utterances, modalities, progress=progress)

    def read(self, utterance: Utterance, modalities: str | None = None) -> Evidence:
        """Read one utterance without answering; raises what :meth:`predict` raises."""
        with _surroundings_kept():
            return self.reader.read(utterance, modalities)

    def decide(
        self, evidence: Sequence[Evidence], *, leave_out: bool = False, compare: bool = False, batch_size: int = 16
    ) -> list[Prediction]:
        """Answer for utterances from :meth:`read`.

        Args:
            evidence: the utterances.
            leave_out: also answer without each modality in turn.
            compare: also answer from each modality alone, and note streams that contradict each other.
            batch_size: utterances at a time.
        """
        answers = self.probabilities(evidence, batch_size=batch_size)
        parts = [
            (index, letters)
            for index, found in enumerate(evidence)
            for letters in _parts(found.present, leave_out=leave_out, compare=compare)
        ]
        limited = [evidence[index].limited_to(letters) for index, letters in parts]
        of_parts = {
            part: named(self.labels, shares)
            for part, (shares, _) in zip(parts, self.probabilities(limited, batch_size=batch_size), strict=True)
        }
        found_answers = []
        for index, (found, (shares, row)) in enumerate(zip(evidence, answers, strict=True)):
            several = found.present if len(found.present) > 1 else ""
            found_answers.append(
                prediction(
                    found,
                    self.description,
                    shares,
                    None if row is None else self.network.word(row),
                    {letter: of_parts[index, several.replace(letter, "")] for letter in several if leave_out},
                    {letter: of_parts[index, letter] for letter in several if compare},
                )
            )
        return found_answers

    def probabilities(
        self, evidence: Sequence[Evidence], *, batch_size: int = 16
    ) -> list[tuple[np.ndarray, int | None]]:
        """Return for each utterance the probabilities (C,) of the emotions (for other targets its numbers, or the
        probability of each label), and the most likely row at the mask.

        Raises:
            UserError: the model was only pre-trained.
        """
        import torch

        if batch_size < 1:
            raise UserError(f"batch_size {batch_size}: give a number from 1 on")
        answers: list[tuple[np.ndarray, int | None]] = []
        for first in range(0, len(evidence), batch_size):
            with torch.inference_mode():
                batch = self.network.batch(evidence[first : first + batch_size], self.network.prompt)
                scores, words = self.network.scores(batch)
                rows = self.network.answers(scores).cpu().double().numpy()
            chosen: list[int | None] = [None] * len(rows) if words is None else words.tolist()
            answers += zip(rows, chosen, strict=True)
        return answers

    def fill_mask(
        self,
        template: str,
        clip: Clip | None = None,
        *,
        text: str = "",
        top_k: int = 5,
        modalities: str | None = None,
        **utterance: Any,
    ) -> list[tuple[str, float]]:
        """Return the most likely words at a template's mask, with their probabilities.

        Args:
            template: words around one ``[MASK]``; appended to ``text``, as a prompt is.
            clip: as in :meth:`predict`; None reads the template (and text) alone.
            text: the words that are said.
            top_k: number of words.
            modalities: as in :meth:`predict`.
            utterance: further parts of the utterance, as in :meth:`predict`.

        Raises:
            UserError: no single ``[MASK]``, or a finetuned model, whose word head was not trained with it.

        >>> words = model.fill_mask("I am [MASK].", text="we love the fun", top_k=3)
        >>> len(words), words == sorted(words, key=lambda word: -word[1])
        (3, True)
        """
        import torch

        from ..checkpoints.model_description import FINETUNED
        from ..data.prompts import Template

        if self.description.kind == FINETUNED:
            raise UserError("this model was finetuned, and its word head was not trained with it; give a prompted one")
        if top_k < 1:
            raise UserError(f"top_k {top_k}: give a number from 1 on")
        [given] = self.with_voice_means([one_utterance(clip, text, **utterance)], modalities)
        alone = clip is None and not text and not utterance
        prompt = Template.parse(template).encode(self.network.tokenizer, follows_text=not alone)
        evidence = Evidence.nothing(given) if alone else self.read(given, modalities)
        with torch.inference_mode():
            found = self.network.likeliest_words(self.network.batch([evidence], prompt), prompt, top_k)
        return [(self.network.word(row), share) for row, share in found]

    def encode(
        self, clip: Clip | None = None, *, text: str = "", modalities: str | None = None, **utterance: Any
    ) -> Encoding:
        """Return contextual embeddings of pieces and frames, without a prompt; arguments as in :meth:`predict`.

        >>> found = model.encode(text="stop it", visual=np.ones((4, 6), np.float32))
        >>> found.pieces, found.text.shape, found.visual.shape
        (('[CLS]', 'stop', 'it', '[SEP]'), (4, 16), (4, 16))
        >>> found.visual_times.round(3).tolist()
        [0.0, 0.1, 0.2, 0.3]
        """
        import torch

        [given] = self.with_voice_means([one_utterance(clip, text, **utterance)], modalities)
        evidence = self.read(given, modalities)
        with torch.inference_mode():
            batch = self.network.batch([evidence], None)
            hidden, layout = self.network.hidden_states(batch)
        rows = hidden.float().cpu().numpy()
        parts = [rows[layout.packed_rows(modality)] for modality in range(3)]
        times = [
            np.zeros(0) if own is None else own[: len(part)]
            for own, part in ((evidence.visual_times, parts[1]), (evidence.acoustic_times, parts[2]))
        ]
        pieces = tuple(self.network.tokenizer.symbols[row] for row in batch.net_input["text"].tolist())
        return Encoding(pieces, parts[0], parts[1], times[0], parts[2], times[1])


@contextmanager
def _surroundings_kept() -> Iterator[None]:
    """Keep the caller's random state, thread count and warning filters: encoders that are built draw numbers, and
    packages that are imported set filters and threads.
    """
    import torch

    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        try:
            yield
        finally:
            if torch.get_num_threads() != threads:
                torch.set_num_threads(threads)


def _path(given: str | os.PathLike[str] | None) -> Path | None:
    return None if given is None else Path(given)


def _parts(present: str, *, leave_out: bool, compare: bool) -> list[str]:
    """Return the modality cases below one of several modalities that are to be answered too, each once."""
    if len(present) < 2:
        return []
    without = [present.replace(letter, "") for letter in present if leave_out]
    return list(dict.fromkeys([*without, *(present if compare else "")]))
