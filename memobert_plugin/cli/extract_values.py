"""Numbers as flags of ``memobert-extract`` take them."""

from __future__ import annotations

import argparse
import math


def count(text: str) -> int:
    """A whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def seconds(text: str) -> float:
    """A length of time up to an hour."""
    value = _number(text)
    if not 0.0 < value <= 3600.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds up to 3600")
    return value


def minutes(text: str) -> float:
    """A length of time up to a day."""
    value = _number(text)
    if not 0.0 < value <= 1440.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of minutes up to 1440")
    return value


def rate(text: str) -> float:
    """Pictures per second."""
    value = _number(text)
    if not 0.0 < value <= 100.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a rate up to 100 per second")
    return value


def share(text: str) -> float:
    """From 0 to 1."""
    value = _number(text)
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share from 0 to 1")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
