"""Build a network from a trained model's weights, description and tokenizer, read from a bundle or a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..core.errors import UserError
from ..data.tokenizer import Tokenizer, tokenizer_from_files
from ..nn.heads import EMOTION_HEAD, WORD_HEAD, emotion_head, word_head
from ..nn.network import (
    DIVERGED,
    FINGERPRINT,
    MEmoBERTNetwork,
    NetworkSizes,
    add_statistics,
    all_finite,
    dictionary_fingerprint,
)
from ..nn.skeleton import parameters_unmade
from .model_description import FINETUNED, ModelDescription


@dataclass(frozen=True)
class TrainedModel:
    """Weights under the plugin's names, with their description.

    Attributes:
        source: their file or folder, for messages.
        description: the model's sizes, inputs and outputs.
        weights: the state dictionary, of the precision it was saved in.
        tokenizer_files: content of the tokenizer's files by name.
    """

    source: Path
    description: ModelDescription
    weights: Mapping[str, Tensor]
    tokenizer_files: Mapping[str, bytes]

    def tokenizer(self) -> Tokenizer:
        """Build the tokenizer of the dictionary that the weights belong to.

        Raises:
            UserError: its files are not a tokenizer, or one of another dictionary.
        """
        tokenizer = tokenizer_from_files(self.tokenizer_files)
        known = int(self.weights[FINGERPRINT]) if FINGERPRINT in self.weights else 0
        other = known and known != dictionary_fingerprint(tokenizer.symbols)
        if other or len(tokenizer.symbols) != self.description.vocabulary:
            raise UserError(f"{self.source}: tokenizer and weights belong to different dictionaries; export it again")
        return tokenizer

    def skeleton(self) -> MEmoBERTNetwork:
        """Return the network without memory for its parameters, and without drawing numbers that weights replace.

        It has the heads that prediction reads: the words', and a finetuned model's classifier.

        Raises:
            UserError: sizes that no network has.
        """
        description = self.description
        layers = description.architecture["encoder_layers"]
        if layers > len(self.weights):
            raise UserError(f"{self.source}: names {layers} layers, its weights have fewer; export it again")
        heads = {WORD_HEAD: word_head(description.vocabulary)}
        if description.kind == FINETUNED:
            heads[EMOTION_HEAD] = emotion_head(len(description.labels))
        try:
            with parameters_unmade():
                network = MEmoBERTNetwork(
                    NetworkSizes(**description.architecture),
                    description.vocabulary,
                    description.visual_dim,
                    description.acoustic_dim,
                    heads,
                )
                if count := description.soft_prompt_length:
                    network.text_embedder.add_prompt(torch.empty(count, network.pooler.in_features))
                return network
        except (RuntimeError, ValueError, ZeroDivisionError) as error:
            raise UserError(f"{self.source}: no network has these sizes ({error}); export it again") from None

    def build(self, device: torch.device, dtype: torch.dtype) -> MEmoBERTNetwork:
        """Return the network in evaluation mode, its parameters without gradients.

        Raises:
            UserError: as :meth:`loaded`.
        """
        network = self.loaded().to(device)
        for parameter in network.parameters():
            parameter.data = parameter.data.to(dtype)
        return network.eval().requires_grad_(False)

    def loaded(self) -> MEmoBERTNetwork:
        """Return the network on these very weights, of the precision they were saved in.

        Raises:
            UserError: the weights are not those of the description, or none that a network can answer with.
        """
        network = self.skeleton()
        own = network.state_dict()
        # Heads that prediction does not read stay in the file.
        weights = {name: value for name, value in self.weights.items() if name in own or not name.startswith("heads.")}
        add_statistics(weights)
        try:
            network.load_state_dict(weights, assign=True)
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{self.source}: weights and configuration do not fit ({reason[:200]})") from None
        self._refuse_unusable(network)
        return network

    def _refuse_unusable(self, network: MEmoBERTNetwork) -> None:
        for name, values in network.state_dict().items():
            if not all_finite(values):
                raise UserError(f"{self.source}: {name} {DIVERGED}")
            if name.endswith("_embedder.deviation") and not (values > 0).all():
                raise UserError(f"{self.source}: {name} holds numbers that are not above 0; export it again")
