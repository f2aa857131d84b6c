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
        default="",
        metadata={
            "help": "the words of each emotion: label=word[,word...] with blanks between labels (default: those of the "
            f"paper for {', '.join(PAPER_WORDS)}, as far as the data-bin has these labels)"
        },
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
        if self.cfg.verbalizer:
            words = Verbalizer.parse(self.cfg.verbalizer, self.labels)
        else:
            words = Verbalizer.of_labels(self.labels, tokenizer)
        return {
            "template": self.cfg.template,
            "verbalizer": self.cfg.verbalizer or words.text(),
            "pieces": [int(piece) for piece in pieces.ids],
            "mask_offset": int(pieces.mask_offset),
            "label_words": [[int(piece) for piece in of_label] for of_label in words.encode(tokenizer)],
        }

    def _prompt_state(self) -> dict[str, Any]:
        """Return the encoded prompt, encoded again if template or verbalizer differ from those of the checkpoint."""
        known = self.state.prompt
        # Without --verbalizer a checkpoint keeps its words, also an older one's "angry".
        asked = (self.cfg.template, self.cfg.verbalizer or known["verbalizer"])
        if (known["template"], known["verbalizer"]) != asked:
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
