"""Write a model as one ONNX file, and compare it with PyTorch in every modality case.

The file computes what :class:`~memobert_plugin.inference.network.Network` computes, on padded rectangles: the prompt is
put together inside, so that its inputs are the text's pieces and the frames alone.
"""

from __future__ import annotations

import base64
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..checkpoints.model_description import FINETUNED, PRETRAINED
from ..core.errors import UserError, pip_install
from ..core.files import replaced_when_complete
from ..core.names import DIMENSIONS, MODALITY_CASES, SEVERAL
from ..data.byte_level import ByteLevelTokenizer
from ..data.prompts import ends_sentence
from ..data.tokenizer import SentencePieceTokenizer, WordPieceTokenizer
from ..data.vocabulary import CLS, SEP, UNK
from ..nn.embedders import FrameEmbedder
from ..nn.heads import EMOTION_HEAD, WORD_HEAD, TiedHead
from ..nn.text_encoder import EncodedTextEmbedder
from ..nn.transformer import CrossModalityTransformer, TransformerLayer
from .network import Network
from .utterance import Evidence, Utterance

LARGEST_DIFFERENCE = 1e-4
"""Between probabilities of PyTorch and of ONNX Runtime; a file that differs by more is not written."""
_OPSET = 18
_STREAMS = {"v": "visual", "a": "acoustic"}


class RectangularModel(nn.Module):
    """A model as a function of padded tensors, for ONNX.

    Args:
        network: a prompted or finetuned model on the CPU in float32.
    """

    tail: Tensor
    sentence_end: Tensor
    temperatures: Tensor
    mean: Tensor
    deviation: Tensor
    columns: Tensor
    decoder: Tensor
    bias: Tensor
    word_columns: Tensor
    is_word: Tensor

    def __init__(self, network: Network) -> None:
        super().__init__()
        description, self.module = network.description, network.module
        symbols = network.tokenizer.symbols
        self.limits = description.limits
        trained = {_STREAMS[letter] for letter in description.trained_on if letter in _STREAMS}
        self.zero_frames = trained if description.training.get("zero_frames") else set()
        self.finetuned, self.target_kind = description.kind == FINETUNED, description.target_kind
        for name in ("mean", "deviation") if self.target_kind == DIMENSIONS else ():
            assert description.target is not None  # the kind comes from it
            self._constant(name, torch.tensor(description.target[name], dtype=torch.float32))
        prompt = network.prompt
        self.mask_offset = 0 if prompt is None else prompt.mask_offset
        self.period = symbols.index(".") if "." in symbols else UNK
        self.prompted = prompt is not None
        self._constant("tail", torch.tensor([*([] if prompt is None else prompt.ids), SEP]))
        self._constant("sentence_end", torch.from_numpy(ends_sentence(symbols)))
        found = description.calibration
        cases = [
            "".join(letter for letter, bit in zip("lva", f"{case:03b}", strict=True) if bit == "1") for case in range(8)
        ]
        self._constant("temperatures", torch.tensor([found.of_case(case) if found else 1.0 for case in cases]))
        if self.finetuned:
            self._constant("columns", torch.tensor(network._columns))
            return
        words = network._label_words
        candidates = network._candidates[0]
        encoded = isinstance(self.module.text_embedder, EncodedTextEmbedder)
        of_labels = description.mask_words == "labels"
        with torch.no_grad():
            decoder = self.module._input_weights("text", candidates if of_labels or not encoded else None)
        rows = list(words.rows)
        self._constant("decoder", decoder if of_labels or not encoded else decoder[rows])
        head = self.module.heads[WORD_HEAD]
        assert isinstance(head, TiedHead)
        self._constant("bias", head.bias[rows])
        self._constant("word_columns", words.columns)
        self._constant("is_word", words.is_word)

    def _constant(self, name: str, value: Tensor) -> None:
        self.register_buffer(name, value.detach().clone(), persistent=False)

    def forward(
        self,
        text: Tensor,
        text_length: Tensor,
        visual: Tensor | None = None,
        visual_length: Tensor | None = None,
        acoustic: Tensor | None = None,
        acoustic_length: Tensor | None = None,
    ) -> Tensor:
        """Return probabilities (B, C), or numbers on the scale of the training.

        Args:
            text: (B, L) pieces without special ones; what follows an utterance's own is not read.
            text_length: (B,) pieces of each; 0 without text.
            visual: (B, T, V) face frames; None for a model that reads none, like all that follow.
            visual_length: (B,).
            acoustic: (B, A, D) speech frames.
            acoustic_length: (B,).
        """
        ids, length, pieces = self._assembled(text, text_length)
        parts, masks, present = [self._embedded_text(ids, length)], [_inside(ids, length)], [pieces > 0]
        for name, frames, frames_length in (
            ("visual", visual, visual_length),
            ("acoustic", acoustic, acoustic_length),
        ):
            if frames is None or frames_length is None:
                present.append(torch.zeros_like(pieces, dtype=torch.bool))
                continue
            embedded, own = self._embedded_frames(name, frames, frames_length)
            parts.append(embedded)
            masks.append(_inside(embedded, own))
            present.append(own > 0)
        hidden = _transformed(self.module.encoder, torch.cat(parts, dim=1), torch.cat(masks, dim=1))
        case = 4 * present[0].long() + 2 * present[1].long() + present[2].long()
        scores = self._scores(hidden, length)
        if self.target_kind == DIMENSIONS:
            return scores * self.deviation + self.mean
        scores = scores / self.temperatures[case][:, None]
        return scores.sigmoid() if self.target_kind == SEVERAL else scores.softmax(dim=-1)

    def _assembled(self, text: Tensor, text_length: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return ``[CLS] text . prompt [SEP]`` (B, L + …), its lengths and those of the texts as they are read."""
        pieces = text_length.clamp(min=0, max=self.limits["pieces"])
        # The first column stands where nothing is read, so that any number of pieces will do, also none.
        padded = functional.pad(text, (1, 0))
        last = padded.gather(1, pieces[:, None])[:, 0]
        stop = ((pieces > 0) & ~self.sentence_end[last]).long() * int(self.prompted)
        place = torch.arange(text.shape[1] + 2 + len(self.tail), device=text.device)[None, :]
        of_text = padded.gather(1, place.clamp(max=text.shape[1]).expand(text.shape[0], -1))
        rest = place - 1 - (pieces + stop)[:, None]
        ids = torch.where(rest >= 0, self.tail[rest.clamp(0, len(self.tail) - 1)], self.period)
        ids = torch.where((place <= pieces[:, None]) & (place > 0), of_text, ids)
        ids = torch.where(place == 0, CLS, ids)
        return ids, 1 + pieces + stop + len(self.tail), pieces

    def _embedded_text(self, ids: Tensor, length: Tensor) -> Tensor:
        embedder = self.module.text_embedder
        positions = torch.arange(ids.shape[1], device=ids.device)
        if not isinstance(embedder, EncodedTextEmbedder):
            return embedder(ids, positions.clamp(max=embedder.position.num_embeddings - 1))
        encoder = embedder.encoder
        states = encoder.embedder(ids, positions.clamp(max=encoder.embedder.position.num_embeddings - 1))
        states = _transformed(encoder.body, states, _inside(ids, length))
        return embedder.norm(embedder._projected(states) + embedder.token_type.weight[0])

    def _embedded_frames(self, name: str, frames: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        embedder = getattr(self.module, f"{name}_embedder")
        assert isinstance(embedder, FrameEmbedder)
        own = length.clamp(min=0, max=self.limits[f"{name}_frames"])
        if name in self.zero_frames:
            frames = functional.pad(frames, (0, 0, 0, 1)) * (own > 0)[:, None, None]
            own = own.clamp(min=1)
        positions = torch.arange(frames.shape[1], device=frames.device).clamp(max=embedder.position.num_embeddings - 1)
        type_row = self.module.text_embedder.token_type.weight[1] if name == "visual" else None
        return embedder(frames, positions, None, type_row), own

    def _scores(self, hidden: Tensor, length: Tensor) -> Tensor:
        """Return scores of the emotions (B, C) from the last layer (B, N, D)."""
        if self.finetuned:
            pooled = torch.tanh(self.module.pooler(hidden[:, 0]))
            return self.module.heads[EMOTION_HEAD](pooled)[:, self.columns]
        place = length - len(self.tail) + self.mask_offset
        at_mask = hidden.gather(1, place[:, None, None].expand(-1, 1, hidden.shape[2]))[:, 0]
        head = self.module.heads[WORD_HEAD]
        assert isinstance(head, TiedHead)
        transformed = head.transformed(at_mask)
        logits = functional.linear(transformed, self.decoder, self.bias)[:, self.word_columns]
        return logits.masked_fill(~self.is_word, -torch.inf).logsumexp(dim=-1)


def _inside(values: Tensor, length: Tensor) -> Tensor:
    """Return (B, N), True before each utterance's end."""
    return torch.arange(values.shape[1], device=values.device)[None, :] < length[:, None]


def _transformed(body: CrossModalityTransformer, hidden: Tensor, mask: Tensor) -> Tensor:
    """Run all layers on a rectangle (B, N, D); positions where the mask (B, N) is False are not attended to."""
    for layer in body.layers:
        assert isinstance(layer, TransformerLayer)
        attention = layer.attention
        parts = attention.qkv(hidden).unflatten(2, (3, attention.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = parts.unbind(0)
        context = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, None, :])
        hidden = layer.rest(hidden, attention.out(context.transpose(1, 2).flatten(2)))
    return hidden


def export_onnx(network: Network, path: Path, license_text: str = "") -> float:
    """Write a model as ONNX, checked; return the largest difference of an output from PyTorch's.

    Raises:
        UserError: a model that was only pre-trained, a missing package, a file that cannot be written, or one that
            differs from PyTorch by more than :data:`LARGEST_DIFFERENCE`.
    """
    require_onnx()
    if network.description.kind == PRETRAINED:
        raise UserError("--onnx: this model was only pre-trained and tells no emotions apart; give a trained one")
    description = network.description
    if description.more_templates or description.contextual_calibration or description.soft_prompt_length:
        raise UserError(
            "--onnx: a model of one template only; this one has more, contextual calibration or a soft prompt"
        )
    model = RectangularModel(network).eval()
    inputs = _inputs(network, list(_examples(network, "lva", (3, 2))))
    with torch.no_grad(), _silenced():
        program = torch.onnx.export(
            model,
            (),
            kwargs=inputs,
            input_names=list(inputs),
            output_names=["numbers" if description.target_kind == DIMENSIONS else "probabilities"],
            dynamic_shapes={name: _dynamic(name, value) for name, value in inputs.items()},
            opset_version=_OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    assert program is not None
    program.model.metadata_props.update(_about(network, license_text))
    try:
        with replaced_when_complete(path, named_by_user=True) as temporary:
            program.save(str(temporary), external_data=False)
            return _checked(network, temporary)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); name another file") from None


@contextmanager
def _silenced() -> Iterator[None]:
    """Keep back what torch tells its own developers during an export."""
    told = logging.getLogger("torch.onnx")
    level = told.level
    told.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        told.setLevel(level)


def require_onnx() -> None:
    """Raise :class:`UserError` unless the packages of the extra ``onnx`` are installed."""
    try:
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as missing:
        raise UserError(f"--onnx: {missing.name} is not installed; {pip_install('onnx')}") from None
    assert onnxruntime


def _dynamic(name: str, value: Tensor) -> dict[int, Any]:
    """Return the names of the dimensions that may differ from call to call."""
    sizes = {0: torch.export.Dim("utterances")}
    if value.dim() > 1:
        sizes[1] = torch.export.Dim({"text": "pieces", "visual": "faces", "acoustic": "sound_frames"}[name])
    return sizes


def _about(network: Network, license_text: str) -> dict[str, str]:
    """Return what a user of the file has to know, as JSON or plain text by name."""
    description, tokenizer = network.description, network.tokenizer
    cuts: dict[str, Any] = {"kind": tokenizer.kind, "lowercase": None}
    if isinstance(tokenizer, WordPieceTokenizer):
        cuts["lowercase"] = tokenizer._lowercase
    elif isinstance(tokenizer, ByteLevelTokenizer):
        cuts |= {"merges": tokenizer.vocabulary.merges, "prefix_space": tokenizer.vocabulary.prefix_space}
    elif isinstance(tokenizer, SentencePieceTokenizer):
        cuts["model"] = base64.b64encode(tokenizer.model_bytes()).decode("ascii")
    extractors = {
        name: None if info is None else info.to_dict()
        for name, info in (("visual", description.visual_extractor), ("acoustic", description.acoustic_extractor))
    }
    return {
        "labels": json.dumps(network.labels, ensure_ascii=False),
        "target": json.dumps(description.target or {"kind": description.target_kind}),
        "symbols": json.dumps(list(tokenizer.symbols), ensure_ascii=False),
        "tokenizer": json.dumps(cuts, ensure_ascii=False),
        "limits": json.dumps(description.limits),
        "extractors": json.dumps(extractors, ensure_ascii=False),
        "template": description.template or "",
        "note": description.note or "",
        "license": license_text,
    }


def _examples(network: Network, case: str, lengths: tuple[int, ...]) -> Iterator[Evidence]:
    """Yield utterances of random pieces and frames, of these lengths, in a modality case."""
    description = network.description
    draws = np.random.default_rng(1)
    for length in lengths:
        pieces = draws.integers(len(network.tokenizer.symbols) // 2, len(network.tokenizer.symbols), length)
        visual, acoustic = (
            draws.normal(size=(length + more, dim)).astype(np.float16) if letter in case and dim else None
            for letter, dim, more in (("v", description.visual_dim, 1), ("a", description.acoustic_dim, 2))
        )
        words = pieces.astype(np.int64) if "l" in case else np.zeros(0, np.int64)
        absent = {letter: "not given" for letter in "lva" if letter not in case}
        yield Evidence(Utterance(text="x"), words, words.astype(np.uint8), visual, acoustic, absent=absent)


def _inputs(network: Network, evidence: list[Evidence]) -> dict[str, Tensor]:
    """Return the inputs of the ONNX file for utterances, padded with zeros."""
    given: dict[str, list[np.ndarray]] = {"text": [one.pieces for one in evidence]}
    for name, dim in (("visual", network.description.visual_dim), ("acoustic", network.description.acoustic_dim)):
        if dim:
            own = [getattr(one, name) for one in evidence]
            given[name] = [np.zeros((0, dim), np.float16) if frames is None else frames for frames in own]
    inputs = {}
    for name, arrays in given.items():
        longest = max(1, *(len(array) for array in arrays))
        kind = np.int64 if name == "text" else np.float32
        padded = np.zeros((len(arrays), longest, *arrays[0].shape[1:]), kind)
        for row, array in zip(padded, arrays, strict=True):
            row[: len(array)] = array
        inputs[name] = torch.from_numpy(padded)
        inputs[f"{name}_length"] = torch.tensor([len(array) for array in arrays])
    return inputs


def _checked(network: Network, path: Path) -> float:
    """Return the largest difference of an output, over all modality cases alone and in one batch.

    Outputs are probabilities, or numbers in standard deviations of the training.

    Raises:
        UserError: it is too large.
    """
    import onnxruntime

    quiet = onnxruntime.SessionOptions()
    quiet.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), quiet, providers=["CPUExecutionProvider"])
    limits = network.description.limits
    longest = max(limits.values()) + 5
    scale = np.asarray((network.description.target or {}).get("deviation", 1.0))
    batches = [list(_examples(network, case, (1, 4, longest))) for case in MODALITY_CASES]
    batches.append([one for batch in batches for one in batch])
    worst = 0.0
    for evidence in batches:
        with torch.inference_mode():
            scores, _ = network.scores(network.batch(evidence, network.prompt))
            expected = network.answers(scores).numpy()
        given = {name: value.numpy() for name, value in _inputs(network, evidence).items()}
        worst = max(worst, float(np.abs((session.run(None, given)[0] - expected) / scale).max()))
    if not worst <= LARGEST_DIFFERENCE:
        raise UserError(f"--onnx: differs from PyTorch by {worst:.2g} in an output; try another version of torch")
    return worst
