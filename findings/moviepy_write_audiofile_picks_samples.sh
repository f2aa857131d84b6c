#!/usr/bin/env bash
# MoviePy: sound written at another rate is picked sample by sample, without a filter.
#
# Versions: moviepy 2.1.2, imageio-ffmpeg 0.6.0, soundfile 0.13.1, numpy 1.26.4.
# Guess: AudioFileClip(file).write_audiofile(output, fps=16000), with which tutorials cut the sound of films for speech
#   models, resamples as FFmpeg does: a tone of 10 kHz vanishes, one of 1 kHz stays clean.
# Seen: the clip is read at 44.1 kHz, and of it the nearest sample before each time is taken. The tone of 10 kHz comes out
#   at 6 kHz, in the middle of speech, 3 dB lower; beside a tone of 1 kHz there is noise 28 dB below it.
# Do: AudioFileClip(file, fps=16000): then FFmpeg resamples, and both tones come out right.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    moviepy==2.1.2 imageio-ffmpeg==0.6.0 soundfile==0.13.1 numpy==1.26.4

cd "$folder"
venv/bin/python - <<'PY'
import numpy as np
import soundfile
from moviepy import AudioFileClip

RATE, WANTED = 44_100, 16_000


def through_moviepy(tone: int, **read: int) -> tuple[float, float, float]:
    """Return the loudest frequency, the level beside the tone's in dB, and that of all else beside the loudest one."""
    sound = 0.5 * np.sin(2 * np.pi * tone * np.arange(2 * RATE) / RATE)
    soundfile.write("tone.wav", sound.astype(np.float32), RATE)
    with AudioFileClip("tone.wav", **read) as clip:
        clip.write_audiofile("out.wav", fps=WANTED, logger=None)
    samples, rate = soundfile.read("out.wav", always_2d=True)
    assert rate == WANTED
    written = samples[:, 0]
    power = np.abs(np.fft.rfft(written * np.hanning(len(written)))) ** 2
    frequencies = np.fft.rfftfreq(len(written), 1 / rate)
    near = np.abs(frequencies - frequencies[power.argmax()]) < 20
    level = 20 * np.log10(written.std() / sound.std())
    return float(frequencies[power.argmax()]), float(level), float(10 * np.log10(power[~near].sum() / power[near].sum()))


loudest, level, _ = through_moviepy(10_000)
_, filtered, _ = through_moviepy(10_000, fps=WANTED)
_, _, noise = through_moviepy(1_000)
_, _, clean = through_moviepy(1_000, fps=WANTED)
print(f"10 kHz: comes out at {loudest:.0f} Hz, {level:.0f} dB; read at {WANTED} Hz: {filtered:.0f} dB")
print(f"1 kHz: all else {noise:.0f} dB; read at {WANTED} Hz: {clean:.0f} dB")
assert loudest == 6_000 and level > -6 and filtered < -40, "tones above half the new rate are treated otherwise now"
assert noise > -35 and clean < -70, "tones below half the new rate are treated otherwise now"
PY
