"""Extract, binarize, predict, export and report where fairseq, hydra and omegaconf cannot be imported.

Run as ``python -m tests.without_fairseq FOLDER``: by a test, which forbids the imports, and by
``scripts/test_without_fairseq.sh`` in an environment without these packages. It needs the core and PyAV.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path

FORBIDDEN = ("fairseq", "fairseq_cli", "hydra", "omegaconf")
MADE = Path(__file__).parent / "checkpoints" / "made_at_17cffec"


class Forbidden(MetaPathFinder):
    """An import hook that refuses fairseq and what it brings."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Refuse a forbidden module; leave all others to the next hook."""
        if fullname.partition(".")[0] in FORBIDDEN:
            raise ModuleNotFoundError(f"{fullname} must not be imported here", name=fullname)
        return None


sys.meta_path.insert(0, Forbidden())

import numpy as np  # noqa: E402
import soundfile  # noqa: E402

from memobert_plugin import MEmoBERT  # noqa: E402
from memobert_plugin.checkpoints.last_checkpoint import settle_last_checkpoint  # noqa: E402
from memobert_plugin.cli import binarize, export, extract, import_, inspect, predict, report, sweep  # noqa: E402
from memobert_plugin.data.manifest import ManifestRow, write_manifest  # noqa: E402
from tests.checkpoints.made_at_17cffec.make import expected as probabilities  # noqa: E402
from tests.evaluation.sweeps import write_grid  # noqa: E402
from tests.films import Cue, tone  # noqa: E402
from tests.talking_faces import DrawnFace, write_talking_film  # noqa: E402


def run(main: Callable[[Sequence[str]], int | None], *arguments: object) -> None:
    """Run a command and require its success."""
    assert not main([str(argument) for argument in arguments]), arguments


def extraction(folder: Path) -> None:
    """Extract sound, a film's faces and a film by its subtitles, and binarize the result."""
    films, out = folder / "films", folder / "film"
    films.mkdir()
    face = DrawnFace(x=40, talks=((0.0, 2.0),), seen=(0.0, 4.0))
    write_talking_film(films, "one", [face], [Cue(0.0, 2.0, "I said hello!")], 4.0)
    soundfile.write(folder / "a.wav", tone(1.0), 16_000)
    write_manifest(folder / "manifest.tsv", [ManifestRow(0, "a", text="i said", audio="a.wav", split="train")])
    run(extract.main, "acoustic", "--manifest", folder / "manifest.tsv", "--output", folder / "acoustic")
    tracked = ["--faces", "tracker", "--tracker", films / "tracks", "--voice", "energy"]
    run(extract.main, "film", films, "--output", out, "--preview", folder / "sheet.html", *tracked)
    clips = [ManifestRow(0, "one", text="i said", video="films/one.mp4", split="train")]
    write_manifest(folder / "clips.tsv", clips)
    run(extract.main, "visual", "--manifest", folder / "clips.tsv", "--output", folder / "visual", *tracked)
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "i", "said", "hello", "!"]))
    frames = ["--visual", out / "visual", "--acoustic", out / "acoustic"]
    made = ["--manifest", out / "manifest.tsv", "--vocab", vocabulary, "--output", folder / "bin"]
    run(binarize.main, *made, *frames)
    run(inspect.main, folder / "bin")


def prediction(folder: Path) -> None:
    """Predict from a bundle and from checkpoints, export one, and get the numbers of the version that made them."""
    expected = json.loads((MADE / "expected.json").read_text())["probabilities"]
    run(export.main, MADE / "memobert_prompt.pt", folder / "bundle")
    for path in (MADE / "bundle", folder / "bundle", MADE / "memobert_prompt.pt", MADE / "memobert_finetune.pt"):
        found = probabilities(MEmoBERT.from_pretrained(path))
        of_same = expected[path.name]
        for name, answer in found.items():
            difference = max(abs(answer[label] - share) for label, share in of_same[name].items())
            assert difference < 1e-6, (path, name, difference)
    written = folder / "answers.jsonl"
    asked = ["--model", folder / "bundle", "--text", "we love the fun"]
    run(predict.main, *asked, "--output", written, "--report", folder / "page.html")
    assert json.loads(written.read_text())["label"] and "Emotion in" in (folder / "page.html").read_text()
    model = MEmoBERT.from_pretrained(MADE / "memobert_pretraining.pt")
    assert len(model.fill_mask("I am [MASK].", top_k=3)) == 3
    assert model.encode(text="stop it", visual=np.ones((3, 6), np.float32)).visual.shape[0] == 3


def files(folder: Path) -> None:
    """Report on a sweep, and look for the last whole checkpoint of a training."""
    (folder / "sweep").mkdir()
    write_grid(folder / "sweep", settings=("direct", "pretrain_prompt"))
    run(report.main, folder / "sweep", "--out", folder / "report", "--no-pictures")
    saved = folder / "checkpoints"
    saved.mkdir()
    (saved / "checkpoint1.pt").write_bytes((MADE / "memobert_prompt.pt").read_bytes())
    assert settle_last_checkpoint(saved, print) == 4 and (saved / "checkpoint_last.pt").is_file()
    for command in (import_, sweep):
        assert command.build_parser().format_help()


def main(folder: Path) -> None:
    """Try everything in an empty folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for step in (extraction, prediction, files):
        step(folder)
    loaded = sorted(name for name in sys.modules if name.partition(".")[0] in FORBIDDEN)
    assert not loaded, loaded
    print("extraction, prediction, export and report work without fairseq")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
