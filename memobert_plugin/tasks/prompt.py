"""Recognise emotion by prompting: "… i am [MASK]." (MEmoBERT, section 3.3)."""

from dataclasses import dataclass, field
from typing import Any

from fairseq.tasks import register_task

from ..data.prompts import PAPER_TEMPLATE, PAPER_WORDS, PromptPieces, Template, Verbalizer
from ..data.tokenizer import load_tokenizer
from .emotion_classification import EmotionClassificationConfig, EmotionClassificationTask


@dataclass
class PromptConfig(EmotionClassificationConfig):
    """Template and emotion words; defaults are the paper's."""

    template: str = field(
        default=PAPER_TEMPLATE,
        metadata={"help": "appended to the text; holds [MASK] exactly once and is never cut off"},
    )
    verbalizer: str = field(
        default=" ".join(f"{label}={word}" for label, word in PAPER_WORDS.items()),
        metadata={"help": "the words that stand for each emotion: label=word[,word...] with blanks between labels"},
    )


@register_task("memobert_prompt", dataclass=PromptConfig)
class MEmoBERTPromptTask(EmotionClassificationTask):
    """No new parameters: the masked-language head reads the prompt's mask."""

    cfg: PromptConfig

    def __init__(self, cfg: PromptConfig, **kwargs: Any) -> None:
        super().__init__(cfg, **kwargs)
        self.state.add_factory("prompt", self._encoded)

    def _encoded(self) -> dict[str, Any]:
        """Template and emotion words as dictionary rows, plain types for the checkpoint."""
        tokenizer = load_tokenizer(self.corpus().path / "tokenizer")
        pieces = Template.parse(self.cfg.template).encode(tokenizer)
        return {
            "template": self.cfg.template,
            "verbalizer": self.cfg.verbalizer,
            "pieces": [int(piece) for piece in pieces.ids],
            "mask_offset": int(pieces.mask_offset),
            "label_words": [
                [int(piece) for piece in words]
                for words in Verbalizer.parse(self.cfg.verbalizer, self.labels).encode(tokenizer)
            ],
        }

    def _prompt_state(self) -> dict[str, Any]:
        """The encoded prompt; encoded anew when template or verbalizer are not those of the checkpoint."""
        if (self.state.prompt["template"], self.state.prompt["verbalizer"]) != (self.cfg.template, self.cfg.verbalizer):
            self.state.merge_state_dict({"prompt": self._encoded()})
        return self.state.prompt

    @property
    def label_words(self) -> list[list[int]]:
        """Dictionary rows of each emotion's words."""
        return self._prompt_state()["label_words"]

    def prompt(self) -> PromptPieces:
        """The encoded template."""
        return PromptPieces(ids=self._prompt_state()["pieces"], mask_offset=self._prompt_state()["mask_offset"])

    def longest_text(self) -> int:
        """Text, special pieces, prompt and the full stop that may precede it."""
        return super().longest_text() + len(self.prompt().ids) + 1
