"""A model with everything that is needed to use it, wherever it came from: weights, description, tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..core.errors import UserError
from ..data.tokenizer import Tokenizer, tokenizer_from_files
from ..models.configuration import MEmoBERTConfig
from ..models.memobert import MEmoBERTModel
from ..models.state_upgrade import FINGERPRINT, dictionary_fingerprint
from ..nn.skeleton import parameters_unmade
from .model_description import FINETUNED, ModelDescription


@dataclass(frozen=True)
class TrainedModel:
    """Weights under the plugin's names, and what they are.

    Attributes:
        source: where they were read, for messages.
        description: how to build and use the model.
        weights: the state dictionary, of the precision it was saved in.
        tokenizer_files: content of the tokenizer's files by name.
    """

    source: Path
    description: ModelDescription
    weights: Mapping[str, Tensor]
    tokenizer_files: Mapping[str, bytes]

    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the dictionary that the weights belong to.

        Raises:
            UserError: its files are no tokenizer, or one of another dictionary.
        """
        tokenizer = tokenizer_from_files(self.tokenizer_files)
        known = int(self.weights[FINGERPRINT]) if FINGERPRINT in self.weights else 0
        other = known and known != dictionary_fingerprint(tokenizer.symbols)
        if other or len(tokenizer.symbols) != self.description.vocabulary:
            raise UserError(f"{self.source}: its tokenizer is not the one of its weights; export it again")
        return tokenizer

    def skeleton(self) -> MEmoBERTModel:
        """The network without memory for its parameters, and without random numbers for what is replaced at once.

        Raises:
            UserError: sizes that no network has.
        """
        description = self.description
        layers = description.architecture["encoder_layers"]
        if layers > len(self.weights):
            raise UserError(f"{self.source}: tells of {layers} layers, which its weights do not have; export it again")
        config = MEmoBERTConfig()
        for name, size in description.architecture.items():
            setattr(config, name, size)
        try:
            with parameters_unmade():
                return MEmoBERTModel.build(
                    config,
                    description.vocabulary,
                    description.visual_dim,
                    description.acoustic_dim,
                    len(description.expression_classes),
                    labels=len(description.labels) if description.kind == FINETUNED else None,
                )
        except (RuntimeError, ValueError, ZeroDivisionError) as error:
            raise UserError(f"{self.source}: no network has these sizes ({error}); export it again") from None

    def build(self, device: torch.device, dtype: torch.dtype) -> MEmoBERTModel:
        """The model in evaluation mode, its parameters without gradients.

        Raises:
            UserError: the weights are not those of the description.
        """
        model = self.skeleton()
        try:
            # The host's own method copies into the model's tensors, which are not there.
            torch.nn.Module.load_state_dict(model, dict(self.weights), assign=True)
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{self.source}: weights and configuration do not fit ({reason[:200]})") from None
        model = model.to(device)
        for parameter in model.parameters():
            parameter.data = parameter.data.to(dtype)
        return model.eval().requires_grad_(False)
