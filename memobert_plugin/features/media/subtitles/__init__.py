"""Read subtitle files, transcripts and subtitle streams, and choose the lines that become utterances."""

from .lines import (
    CLEANINGS,
    Cleaning,
    DroppedLine,
    Line,
    LineRules,
    Word,
    clean_text,
    several_speakers,
    usable_lines,
)
from .reading import SUBTITLE_SUFFIXES, Subtitles, embedded_subtitles, is_subtitle_file, read_subtitles

__all__ = [
    "CLEANINGS",
    "SUBTITLE_SUFFIXES",
    "Cleaning",
    "DroppedLine",
    "Line",
    "LineRules",
    "Subtitles",
    "Word",
    "clean_text",
    "embedded_subtitles",
    "is_subtitle_file",
    "read_subtitles",
    "several_speakers",
    "usable_lines",
]
