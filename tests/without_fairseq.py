"""Extract, binarize, predict, export and report without fairseq, and without what Windows lacks.

fairseq, hydra and omegaconf cannot be imported here, and the package sees ``sys.platform == "win32"`` and no module or
name of POSIX only. Run as ``python -m tests.without_fairseq FOLDER``. It needs the core and PyAV.
"""

from __future__ import annotations

import builtins
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

FORBIDDEN = ("fairseq", "fairseq_cli", "hydra", "omegaconf")
POSIX_MODULES = ("fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty")
POSIX_NAMES = {
    "mmap": "MADV_WILLNEED",
    "multiprocessing.context": "ForkProcess ForkContext",
    "os": "O_CLOEXEC O_DIRECTORY O_NOFOLLOW O_NONBLOCK chown fork forkpty getegid geteuid getgid getloadavg getpgid"
    " getuid killpg mkfifo mknod nice openpty posix_fadvise pread pwrite register_at_fork sched_getaffinity sendfile"
    " setpgid setsid statvfs sync sysconf ttyname uname",
    "signal": "ITIMER_REAL SIGALRM SIGCHLD SIGHUP SIGKILL SIGPIPE SIGQUIT SIGUSR1 SIGUSR2 alarm pthread_sigmask"
    " setitimer sigwait",
}
MADE = Path(__file__).parent / "checkpoints" / "made_at_17cffec"


class OnWindows(ModuleType):
    """A module as it is on Windows: without some names."""

    def __init__(self, module: ModuleType) -> None:
        super().__init__(module.__name__)
        self._module, self._missing = module, frozenset(POSIX_NAMES.get(module.__name__, "").split())

    def __getattr__(self, name: str) -> Any:
        if name in self._missing:
            raise AttributeError(f"Windows has no {self.__name__}.{name}")
        return "win32" if (self.__name__, name) == ("sys", "platform") else getattr(self._module, name)


def import_on_windows(
    name: str,
    globals: Mapping[str, object] | None = None,
    locals: Mapping[str, object] | None = None,
    fromlist: Sequence[str] | None = (),
    level: int = 0,
) -> ModuleType:
    """Import a module, for the package as it is on Windows; everybody else gets the machine's own."""
    importer = str((globals or {}).get("__name__", ""))
    if level or importer.partition(".")[0] != "memobert_plugin":
        return original_import(name, globals, locals, fromlist, level)
    if name.partition(".")[0] in POSIX_MODULES:
        raise ModuleNotFoundError(f"Windows has no {name}", name=name)
    module = original_import(name, globals, locals, fromlist, level)
    return OnWindows(module) if name == "sys" or name in POSIX_NAMES else module


sys.modules.update(dict.fromkeys(FORBIDDEN))  # type: ignore[arg-type]  # None: cannot be imported
original_import, builtins.__import__ = builtins.__import__, import_on_windows

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import soundfile  # noqa: E402

import memobert_plugin  # noqa: E402
from memobert_plugin import MEmoBERT  # noqa: E402
from memobert_plugin.checkpoints.last_checkpoint import settle_last_checkpoint  # noqa: E402
from memobert_plugin.cli import binarize, export, extract, import_, inspect, predict, report, sweep  # noqa: E402
from memobert_plugin.core.errors import UserError  # noqa: E402
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
    run(binarize.main, *made, *frames, "--overwrite", "--workers", 2)
    assert not list(folder.glob(".*.lock")), "a lock file stayed"
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
    assert json.loads(written.read_text())["label"] and "How to read this page" in (folder / "page.html").read_text()
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
    assert import_.build_parser().format_help()
    (folder / "sweep" / "sweep.json").write_text("{}")
    run(sweep.main, "status", folder / "sweep")


def training(folder: Path) -> None:
    """Ask for a training, and be told which platforms have fairseq."""
    run(inspect.main, "--user-dir")
    plan = Path(__file__).parents[1] / "examples" / "sweep" / "small.yaml"
    with pytest.raises(UserError, match=r"needs fairseq, .* Linux x86-64 with Python 3\.11 or 3\.12"):
        memobert_plugin.register()
    with pytest.raises(UserError, match="a sweep needs fairseq"):
        sweep.main([str(plan), "--output", str(folder / "trained")])


def main(folder: Path) -> None:
    """Try everything in an empty folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for step in (extraction, prediction, files, training):
        step(folder)
    loaded = sorted(name for name, module in sys.modules.items() if module and name.partition(".")[0] in FORBIDDEN)
    assert not loaded, loaded
    print("extraction, prediction, export and report work without fairseq")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
