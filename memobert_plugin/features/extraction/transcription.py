"""Transcribe speech: find the voice, recognise its words, and cut them into lines as subtitles have them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from ...core.errors import DefectiveClip, UserError
from ...core.names import SAMPLE_RATE
from ..media.streams import parse_language
from ..speakers.voice import Interval, nearest_pause
from ..speakers.voice_detectors import VoiceDetector, best_voice_detector, load_voice_detector
from .recognition import HeardWord, Recognized, Recognizer, Whisper, WhisperFolder, average_log_probability

LONGEST_CHUNK: Final = 28.0
"""Seconds of sound that are recognised at a time."""
LONGEST_GAP: Final = 2.0
"""Seconds without voice inside a chunk."""
LONGEST_LINE: Final = 10.0
"""Seconds; a longer sentence becomes several lines."""
SHORTEST_LINE: Final = 1.0
"""Seconds; a shorter sentence stays with the one beside it."""
LONGEST_PAUSE: Final = 0.7
"""Seconds without voice inside a line."""
UNSURE: Final = -1.0
"""Average log-probability of a line's pieces below which its words are not relied on (section 4.5 of the paper)."""
NO_SPEECH: Final = 0.6
"""Probability of no speech above which unsure words are left out (section 4.5 of the paper)."""
DETECTED: Final = 0.5
"""Probability of the language below which it is called unsure."""

_MARGIN, _NO_PAUSE = 0.2, 0.1
"""Seconds of sound around the voice; of a gap between words that is no pause."""
_STRETCH: Final = 300.0
"""Seconds in which voice is sought at a time."""
_ENDS: Final = tuple(".?!…。？！")
_AFTER_ENDS: Final = "\"'”’)]»"
_TITLES: Final = frozenset({"mr.", "mrs.", "ms.", "dr.", "prof.", "st.", "vs."})


@dataclass(frozen=True, slots=True)
class Transcript:
    """The origin of transcribed words, and how sure they are.

    Attributes:
        recognizer: its name.
        sha256: of its weights.
        language: the recogniser's code.
        log_probability: average over the pieces of the words.
        no_speech: probability of there being no speech, the largest of the chunks.
        language_probability: of the language, where it was detected.
    """

    recognizer: str
    sha256: str
    language: str
    log_probability: float = 0.0
    no_speech: float = 0.0
    language_probability: float | None = None

    @property
    def unsure(self) -> str:
        """Return the reason why the words should not be relied on; empty where there is none."""
        if self.log_probability < UNSURE:
            return f"average log-probability {self.log_probability:.2f}"
        if self.no_speech > NO_SPEECH:
            return f"there is no speech with probability {self.no_speech:.2f}"
        if self.language_probability is not None and self.language_probability < DETECTED:
            return f"the language, {self.language}, has probability {self.language_probability:.2f}; name a --language"
        return ""

    def __str__(self) -> str:
        return f"{self.recognizer} {self.sha256[:12]} {self.language}"


@dataclass(frozen=True, slots=True)
class HeardLine:
    """A line of recognised words.

    Attributes:
        start: seconds.
        end: seconds.
        text: in one row.
        transcript: the origin.
    """

    start: float
    end: float
    text: str
    transcript: Transcript


class Sound(Protocol):
    """Sound that is read in stretches, such as :class:`~memobert_plugin.features.media.sound.SoundReader`."""

    def between(self, start: float, end: float) -> np.ndarray:
        """Return float32 samples (N,) at 16 kHz; ``DefectiveClip`` where there are none."""


class Samples:
    """Samples (N,) at 16 kHz as :class:`Sound`."""

    def __init__(self, samples: np.ndarray) -> None:
        self._samples = samples

    def between(self, start: float, end: float) -> np.ndarray:
        """Return the samples from ``start`` to ``end``."""
        found = self._samples[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)]
        if not len(found):
            raise DefectiveClip(f"no samples between {start:.2f} s and {end:.2f} s")
        return found


@dataclass(frozen=True)
class TranscribeOptions:
    """Settings of transcription as plain values, from which every process builds the same transcriber.

    Attributes:
        folder: of Whisper, for CTranslate2.
        language: asked for, by any code or name; None: the sound's mark, else detected.
        voice: name of the voice detector; None: Silero, or the energy where it is not installed.
        voice_options: the detector's ``Options``.
        device: ``cpu`` or ``cuda``.
        threads: of the processor.
    """

    folder: Path
    language: str | None = None
    voice: str | None = None
    voice_options: Any = None
    device: str = "cpu"
    threads: int = 1

    def check(self) -> None:
        """Check the folder, the package and the language, without loading the model.

        Raises:
            UserError: one of them cannot be used.
        """
        from .recognition import import_ctranslate2

        checked = whisper_folder(self.folder)
        import_ctranslate2()
        if self.language is not None:
            checked.language_code(self.language)

    def to_dict(self) -> dict[str, Any]:
        """Return what the lines depend on."""
        return {
            "recognizer": Whisper.name,
            "sha256": whisper_folder(self.folder).sha256,
            "language": self.language,
            "voice": self.voice,
        }


@cache
def whisper_folder(folder: Path) -> WhisperFolder:
    """Check a folder, once in each process."""
    return WhisperFolder(folder)


@cache
def build_transcriber(options: TranscribeOptions) -> Transcriber:
    """Build a transcriber, once in each process.

    Raises:
        UserError: the folder, the package, the device or the voice detector cannot be used.
    """
    return Transcriber(
        Whisper(whisper_folder(options.folder), options.device, options.threads), _voice(options), options.language
    )


def _voice(options: TranscribeOptions) -> VoiceDetector:
    if options.voice is not None:
        return load_voice_detector(options.voice, options.voice_options)
    return best_voice_detector()


class Transcriber:
    """A recogniser with a voice detector.

    Args:
        recognizer: recognises at most 30 s at a time.
        voice: finds the voice; no words are taken from elsewhere.
        language: asked for, by any code or name; None: the sound's mark, else detected.
    """

    def __init__(self, recognizer: Recognizer, voice: VoiceDetector, language: str | None = None) -> None:
        self.recognizer, self.voice = recognizer, voice
        self._asked = language

    def lines(
        self, sound: Sound, path: Path | None, start: float = 0.0, end: float | None = None, mark: str = ""
    ) -> list[HeardLine]:
        """Transcribe the sound from ``start`` to ``end``.

        Args:
            sound: that is read.
            path: its file, for voice detectors that read a file about it; None for samples.
            start: seconds.
            end: seconds; None: the sound's end.
            mark: the language that the file states; empty where it does not.

        Returns:
            Lines in order of time that do not overlap; none where there is no voice or no word.

        Raises:
            DefectiveClip: the sound cannot be read, or is marked as of a language that the recogniser does not know.
        """
        if path is not None:
            self.voice.start(path)
        language, share = self._known_language(mark), None
        found: list[HeardLine] = []
        for chunk in self._chunks(sound, start, end):
            if not language:
                language, share = self._detected(sound, start, end, chunk)
            found += self._lines(chunk, language, share)
        return found

    def _known_language(self, mark: str) -> str:
        """Return the code of the language asked for, else of the one that the sound is marked with; else nothing."""
        if self._asked is not None:
            return self.recognizer.language_code(self._asked)
        if parse_language(mark) is None:
            return ""
        try:
            return self.recognizer.language_code(mark)
        except UserError as error:
            # The user gave no --language: the film's mark is the reason.
            reason = str(error).partition(": ")[2]
            raise DefectiveClip(f"its sound is marked {mark}; {reason} (--language names another language)") from None

    def _detected(self, sound: Sound, start: float, end: float | None, first: _Chunk) -> tuple[str, float | None]:
        """Return the most likely language of the first chunks, and its probability; None if there is only one."""
        shares: Counter[str] = Counter(self.recognizer.detect(first.samples))
        if len(shares) == 1:
            return next(iter(shares)), None
        others = [self.recognizer.detect(chunk.samples) for chunk in islice(self._chunks(sound, start, end), 1, 3)]
        for other in others:
            shares.update(other)
        ((language, share),) = shares.most_common(1)
        return language, share / (1 + len(others))

    def _chunks(self, sound: Sound, start: float, end: float | None) -> Iterator[_Chunk]:
        """Yield the stretches of voice."""
        begin = start
        while end is None or begin < end - 1e-6:
            last = begin + _STRETCH if end is None else min(end, begin + _STRETCH)
            try:
                samples = sound.between(begin, last)
            except DefectiveClip:
                if begin == start:
                    raise
                return
            lasts = len(samples) / SAMPLE_RATE
            whole = lasts < last - begin - 0.01 or last == end
            grouped = groups(self.voice.intervals(samples, begin), samples)
            # What is said across the end of a stretch is read with the next one.
            if not whole and grouped and grouped[-1][-1][1] > lasts - LONGEST_GAP and grouped[-1][0][0] > 0.0:
                following = begin + grouped.pop()[0][0]
            else:
                following = begin + lasts
            for intervals in grouped:
                yield _Chunk.of(samples, intervals, begin)
            if whole:
                return
            begin = following

    def _lines(self, chunk: _Chunk, language: str, share: float | None) -> Iterator[HeardLine]:
        recognized = self.recognizer.recognize(chunk.samples, language)
        if _nothing_said(recognized):
            return
        origin = Transcript(
            self.recognizer.name,
            self.recognizer.sha256,
            language,
            no_speech=recognized.no_speech,
            language_probability=share,
        )
        for words in sentences(within_voice(recognized.words, chunk.voiced)):
            text = " ".join("".join(word.text for word in words).split())
            transcript = replace(origin, log_probability=average_log_probability(words))
            yield HeardLine(
                round(chunk.start + words[0].start, 3), round(chunk.start + words[-1].end, 3), text, transcript
            )


def joined(lines: Sequence[HeardLine]) -> tuple[str, Transcript | None]:
    """Return the text of several lines and their transcript: the average of probabilities, weighted by letters."""
    if not lines:
        return "", None
    weights = [len(line.text) for line in lines]
    average = float(np.average([line.transcript.log_probability for line in lines], weights=weights))
    transcript = replace(
        lines[0].transcript,
        log_probability=average,
        no_speech=max(line.transcript.no_speech for line in lines),
    )
    return " ".join(line.text for line in lines), transcript


# --- voice to chunks ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Chunk:
    """Sound that is recognised at a time.

    Attributes:
        samples: float32 (N,).
        start: of the samples, in seconds of the file.
        voiced: intervals of voice, in seconds of the samples.
    """

    samples: np.ndarray
    start: float
    voiced: tuple[Interval, ...]

    @classmethod
    def of(cls, samples: np.ndarray, intervals: Sequence[Interval], begin: float) -> _Chunk:
        """Cut the chunk of these intervals out of samples that begin at ``begin``."""
        first = max(0.0, intervals[0][0] - _MARGIN)
        cut = samples[round(first * SAMPLE_RATE) : round((intervals[-1][1] + _MARGIN) * SAMPLE_RATE)]
        return cls(cut, begin + first, tuple((start - first, end - first) for start, end in intervals))


def groups(intervals: Sequence[Interval], samples: np.ndarray) -> list[list[Interval]]:
    """Group intervals of voice to chunks of at most :data:`LONGEST_CHUNK`, without gaps over :data:`LONGEST_GAP`.

    Where a group would be too long it ends in its longest pause. An interval that is too long is cut in a pause of the
    voice, else anywhere.
    """
    short: list[Interval] = []
    for begin, end in intervals:
        while end - begin > LONGEST_CHUNK:
            around = (begin + LONGEST_CHUNK - 8.0, begin + LONGEST_CHUNK)
            near = samples[round(around[0] * SAMPLE_RATE) : round(around[1] * SAMPLE_RATE)]
            cut = around[0] + nearest_pause(near, 4.0, 4.0)
            short.append((begin, cut))
            begin = cut
        short.append((begin, end))
    found: list[list[Interval]] = []
    for begin, end in short:
        group = found[-1] if found else []
        if not group or begin - group[-1][1] > LONGEST_GAP:
            found.append([(begin, end)])
            continue
        found[-1:] = _split([*group, (begin, end)])
    return found


def _split(group: list[Interval]) -> list[list[Interval]]:
    """Split a group in its longest pause, the last of several, until no part is too long."""
    if group[-1][1] - group[0][0] <= LONGEST_CHUNK or len(group) < 2:
        return [group]
    pauses = [after[0] - before[1] for before, after in pairwise(group)]
    longest = 1 + max(range(len(pauses)), key=lambda place: (pauses[place], place))
    return [*_split(group[:longest]), *_split(group[longest:])]


def _nothing_said(recognized: Recognized) -> bool:
    unsure = recognized.log_probability < UNSURE and recognized.no_speech > NO_SPEECH
    return unsure or not any(letter.isalnum() for word in recognized.words for letter in word.text)


# --- words to lines -------------------------------------------------------------------------------------------------


def within_voice(words: Sequence[HeardWord], voiced: Sequence[Interval]) -> list[HeardWord]:
    """Limit each word to the interval of voice in which most of it lies; a word outside goes to the nearest one.

    A recogniser lets a word last until the next one begins, across the pause between them.
    """
    found: list[HeardWord] = []
    reached = 0.0
    for word in words:
        begin, end = max(voiced, key=lambda interval: _overlap(word, interval))
        start = min(max(word.start, begin, reached), end)
        stop = max(start, min(word.end, end))
        found.append(replace(word, start=max(start, reached), end=max(stop, reached)))
        reached = found[-1].end
    return found


def _overlap(word: HeardWord, interval: Interval) -> float:
    """Return the common seconds; negative for the distance."""
    return min(word.end, interval[1]) - max(word.start, interval[0])


def sentences(words: Sequence[HeardWord]) -> list[list[HeardWord]]:
    """Cut words into lines: at the ends of sentences, in pauses, and where a line would be too long.

    Sentences of less than a second stay with a neighbour if there is no pause between them.
    """
    lines: list[list[HeardWord]] = []
    for word in words:
        if not lines or word.start - lines[-1][-1].end >= LONGEST_PAUSE or _ends_sentence(lines[-1][-1], word):
            lines.append([])
        lines[-1].append(word)
    found: list[list[HeardWord]] = []
    for line in chain.from_iterable(map(_shortened, lines)):
        before = found[-1] if found else []
        if (
            before
            and min(_seconds(before), _seconds(line)) < SHORTEST_LINE
            and line[0].start - before[-1].end < _NO_PAUSE
            and _seconds([*before, *line]) <= LONGEST_LINE
        ):
            before += line
        else:
            found.append(line)
    return found


def _seconds(line: Sequence[HeardWord]) -> float:
    return line[-1].end - line[0].start


def _ends_sentence(word: HeardWord, following: HeardWord) -> bool:
    text = word.text.strip().rstrip(_AFTER_ENDS)
    return text.endswith(_ENDS) and text.lower() not in _TITLES and not following.text.strip()[:1].islower()


def _shortened(line: list[HeardWord]) -> Iterator[list[HeardWord]]:
    """Halve a line that lasts too long: in its longest pause, else after a comma, else near the middle."""
    if _seconds(line) <= LONGEST_LINE or len(line) < 2:
        yield line
        return
    best = max(
        range(1, len(line)),
        key=lambda place: (
            round(max(0.0, line[place].start - line[place - 1].end), 1),
            line[place - 1].text.rstrip().endswith((",", ";", ":", "、", "，")),
            -abs(2 * line[place].start - line[0].start - line[-1].end),
        ),
    )
    yield from _shortened(line[:best])
    yield from _shortened(line[best:])
