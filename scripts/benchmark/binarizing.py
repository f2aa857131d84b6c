"""memobert-binarize: megabytes and utterances per second by the number of workers, memory by the number of utterances.

    python scripts/benchmark/binarizing.py
    python scripts/benchmark/binarizing.py --utterances 200 400 --workers 1 2 --rounds 1

Writes a manifest and one .npz of faces and one of speech frames per utterance (float32, as extractors write them; sizes
as in generated_corpus.py) into a temporary folder. The largest number of utterances is binarized with every number of
workers in turn, the data-bins are compared byte by byte, and nothing but the data-bin may be left beside them. Memory
is the most that the command, or one process below it, had resident. Beside the command the floor is timed: bare
packages that read the files, check their sums, round to float16, cut texts into pieces and write the bytes.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import resource
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from generated_corpus import FACES_PER_SECOND, SPEECH_FRAMES_PER_SECOND, Shape, drawn_seconds
from process_memory import run_measured
from tabulate import tabulate
from timing import in_turn, median_ratio, medians, write_result

from memobert_plugin.data.frames import FERPLUS_CLASSES, ExtractorInfo, frame_file, write_extractor_info, write_frames
from memobert_plugin.data.manifest import ManifestRow, write_manifest

WORDS = 2_000
COMMAND = str(Path(sys.executable).with_name("memobert-binarize"))


def write_inputs(folder: Path, utterances: Sequence[int], seed: int = 1) -> int:
    """Manifests ``<n>.tsv`` of so many utterances, frames of the largest, a vocabulary; returns the frames' bytes."""
    rng = np.random.default_rng(seed)
    most, shape = max(utterances), Shape()
    folder.mkdir()
    words = [f"word{number}" for number in range(WORDS)]
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "."]
    (folder / "vocab.txt").write_text("\n".join([*specials, *words]) + "\n", encoding="utf-8")
    rates = {"visual": FACES_PER_SECOND, "acoustic": SPEECH_FRAMES_PER_SECOND}
    dims = {"visual": shape.visual_dim, "acoustic": shape.acoustic_dim}
    for name, dim in dims.items():
        (folder / name).mkdir()
        write_extractor_info(folder / name, ExtractorInfo("generated", frame_rate=rates[name], dim=dim))
    rows, size = [], 0
    for number, seconds in enumerate(drawn_seconds(rng, most).tolist()):
        identity = f"utterance_{number}"
        text = " ".join(rng.choice(words, 1 + int(3 * seconds)))
        rows.append(ManifestRow(0, identity, f"film_{number // 500}", "", "train", text, "", "", "", None, None))
        for name, dim in dims.items():
            frames = rng.standard_normal((max(1, int(seconds * rates[name])), dim), dtype=np.float32)
            expression = None
            if name == "visual":
                expression = np.full((len(frames), len(FERPLUS_CLASSES)), 1 / len(FERPLUS_CLASSES), np.float32)
            path = frame_file(folder / name, identity)
            write_frames(path, frames, expression)
            size += path.stat().st_size
    for count in utterances:
        write_manifest(folder / f"{count}.tsv", rows[:count])
    return size


def binarize(folder: Path, utterances: int, workers: int) -> float:
    """Run the command once; the MiB it took. Its data-bin is ``<workers>`` in the folder."""
    output = folder / f"{workers}"
    shutil.rmtree(output, ignore_errors=True)
    inputs = ["--visual", str(folder / "visual"), "--acoustic", str(folder / "acoustic")]
    inputs += ["--manifest", str(folder / f"{utterances}.tsv"), "--vocab", str(folder / "vocab.txt")]
    return run_measured([COMMAND, *inputs, "--output", str(output), "--workers", str(workers)])[1]


FLOOR = """
import csv, sys, zlib
from pathlib import Path
import numpy as np
from tokenizers import BertWordPieceTokenizer
folder, rows = Path(sys.argv[1]), sys.argv[2]
texts, ids = [], []
with open(folder / f"{rows}.tsv", newline="", encoding="utf-8") as stream:
    for row in csv.DictReader(stream, delimiter="\t"):
        ids.append(row["id"])
        texts.append(row["text"])
pieces = BertWordPieceTokenizer(str(folder / "vocab.txt")).encode_batch(texts)
with open(folder / "floor.bin", "wb") as written:
    for identity, encoding in zip(ids, pieces, strict=True):
        written.write(np.array(encoding.ids, np.uint16).data)
        for name in ("visual", "acoustic"):
            content = (folder / name / f"{identity}.npz").read_bytes()
            zlib.crc32(content)
            written.write(np.frombuffer(content, np.float32, len(content) // 4).astype(np.float16).data)
"""


def floor(folder: Path, utterances: int) -> None:
    """Let bare packages read, round and write the frames, and cut the texts into pieces."""
    run_measured([sys.executable, "-W", "ignore", "-c", FLOOR, str(folder), str(utterances)])


def processor_seconds(run: Callable[[], object]) -> float:
    """Return the processor seconds of the processes that a call starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def digest(data_bin: Path) -> str:
    """One hash of all files' names and bytes."""
    total = hashlib.sha256()
    for path in sorted(data_bin.rglob("*")):
        if path.is_file():
            total.update(path.relative_to(data_bin).as_posix().encode())
            with open(path, "rb") as stream:
                while block := stream.read(1 << 20):
                    total.update(block)
    return total.hexdigest()


def main() -> None:
    """Run what the flags describe."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--utterances", type=int, nargs="+", default=[1_000, 4_000], metavar="N", help="default: 1000 4000")
    add("--workers", type=int, nargs="+", default=[1, 2], metavar="N", help="processes (default: 1 2)")
    add("--rounds", type=int, default=3, metavar="N", help="how often each is measured (default: %(default)s)")
    add("--output", type=Path, metavar="JSON", help="write the numbers there too")
    options = parser.parse_args()
    most = max(options.utterances)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "inputs")
        size = write_inputs(folder, options.utterances)
        names = {f"{workers} workers": workers for workers in options.workers}
        candidates = {name: functools.partial(binarize, folder, most, workers) for name, workers in names.items()}
        seconds = in_turn(candidates, options.rounds)
        same = len({digest(folder / f"{workers}") for workers in options.workers}) == 1
        left = {path.name for path in folder.iterdir()} - {"visual", "acoustic", "vocab.txt"}
        left -= {f"{count}.tsv" for count in options.utterances} | {str(workers) for workers in options.workers}
        memory = {
            name: {count: binarize(folder, count, workers) for count in sorted(options.utterances)}
            for name, workers in names.items()
        }
        compared = (functools.partial(binarize, folder, most, 1), functools.partial(floor, folder, most))
        pairs = [[processor_seconds(run) for run in compared] for _ in range(options.rounds)]
    command, bare = (statistics.median(each) for each in zip(*pairs, strict=True))
    first = next(iter(names))
    rows = [
        {
            "": name,
            "utterances/s": most / median,
            "MB/s": size / 1e6 / median,
            f"times {first}": median_ratio(seconds, first, name),
            **{f"MiB of {count}": used for count, used in memory[name].items()},
        }
        for name, median in medians(seconds).items()
    ]
    print(tabulate(rows, "keys", floatfmt=".1f"))
    print(f"{size / 1e6:.0f} MB of frames; equal bytes whatever the workers: {same}; left beside the data-bins: {left}")
    print(f"processor time: {command:.2f} s with one worker, {bare:.2f} by bare packages: {command / bare:.2f} x")
    write_result(
        options.output,
        "binarizing",
        {"megabytes": size / 1e6, "equal_bytes": same, "rows": rows, "command_s": command, "floor_s": bare},
    )


if __name__ == "__main__":
    main()
