"""The version of the package, which ``setup.cfg`` reads from here, and the place and licence of the shipped model."""

from pathlib import Path

from .errors import UserError

VERSION = "0.1.0"

SHIPPED_MODEL = Path(__file__).resolve().parents[1] / "weights" / "seven_emotions"
"""The bundle that answers where no model is named; an installation may lack it."""
MODEL_LICENSE = "CC BY-NC-SA 4.0"
_BECAUSE = "RAVDESS, under this licence, is in its training data, with GoEmotions, EmoryNLP and FER+"


def shipped_model() -> Path:
    """Return the folder of the shipped model.

    Raises:
        UserError: this installation has none.
    """
    if not (SHIPPED_MODEL / "config.json").is_file():
        raise UserError(
            "no model is shipped in this installation; give --model, a bundle of memobert-export or a "
            "checkpoint_best.pt (in Python: MEmoBERT.from_pretrained(path))"
        )
    return SHIPPED_MODEL


def license_of(model: Path) -> str:
    """Return the licence of the shipped model's weights and its reason; empty for any other model."""
    return f"{MODEL_LICENSE}: {_BECAUSE}" if model.resolve() == SHIPPED_MODEL else ""


def version_text(command: str) -> str:
    """Return the answer to ``--version``: the version, and the licences of the code and of the shipped weights."""
    there = "" if (SHIPPED_MODEL / "config.json").is_file() else " (not in this installation)"
    return "\n".join(
        [
            f"{command} {VERSION}, MIT licence",
            f"shipped model{there}: {license_of(SHIPPED_MODEL)}",
            "shipped speech encoders: Whisper tiny.en's MIT (OpenAI), speech embedding Apache 2.0 (Google)",
            "shipped face detectors and face mesh: Apache 2.0 (Google)",
        ]
    )
