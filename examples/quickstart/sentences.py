"""Short sentences in which one word shows an emotion, or none."""

from __future__ import annotations

import numpy as np

# Each sentence has a slot. What stands there shows the emotion; the rest of the sentence could show any.
SENTENCES = (
    ("i {} it .", {"anger": "hate", "happy": "love", "neutral": "know", "sad": "miss", None: "mean"}),
    (
        "that was {} .",
        {"anger": "outrageous", "happy": "wonderful", "neutral": "usual", "sad": "hopeless", None: "there"},
    ),
    ("{} , not again !", {"anger": "damn", "happy": "hooray", "neutral": "okay", "sad": "alas", None: "well"}),
    ("she made me {} .", {"anger": "shout", "happy": "laugh", "neutral": "wait", "sad": "cry", None: "think"}),
    ("how you {} me !", {"anger": "insult", "happy": "delight", "neutral": "remember", "sad": "hurt", None: "see"}),
)
LABEL_WORDS = {"anger": "angry", "happy": "happy", "neutral": "neutral", "sad": "sad"}


def say(shown: str | None, rng: np.random.Generator) -> str:
    """A sentence whose words show an emotion, or none."""
    sentence, words = SENTENCES[rng.integers(len(SENTENCES))]
    return sentence.format(words[shown])


def name_emotion(emotion: str) -> str:
    """A sentence that names an emotion: "i am sad ."."""
    return f"i am {LABEL_WORDS[emotion]} ."
