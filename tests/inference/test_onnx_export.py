"""One ONNX file per model: the same probabilities as PyTorch in every modality case, at any size of its inputs."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from memobert_plugin import MEmoBERT
from memobert_plugin.checkpoints.bundle import write_bundle
from memobert_plugin.checkpoints.fairseq_checkpoint import read_fairseq_checkpoint
from memobert_plugin.cli.export import main as export
from memobert_plugin.core.errors import UserError
from memobert_plugin.core.names import MODALITY_CASES
from memobert_plugin.core.version import SHIPPED_MODEL
from memobert_plugin.data.tokenizer import SentencePieceTokenizer, tokenizer_of, train_sentencepiece
from memobert_plugin.evaluation.metrics.calibration import Calibration
from memobert_plugin.inference import onnx_export
from memobert_plugin.inference.network import Network, load_network
from memobert_plugin.inference.onnx_export import RectangularModel, _examples, _inputs, export_onnx, require_onnx
from tests.data_bins import CorpusShape, make_data_bin
from tests.inference.models import trained_checkpoint
from tests.reference.bert_folder import write_roberta_tokenizer

CALIBRATION = Calibration(
    temperature=2.0,
    threshold=0.5,
    error_before=0.1,
    error_after=0.01,
    utterances=100,
    temperatures={"l": 0.5, "va": 3.0},
)
KINDS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "prompt": ({}, ("memobert_prompt",)),
    "labels": ({}, ("memobert_prompt", "--mask-words", "labels")),
    "finetune": ({}, ("memobert_finetune",)),
    "zero_frames": ({}, ("memobert_prompt", "--zero-frames")),
    "no_voice": ({"acoustic_dim": 0}, ("memobert_prompt",)),
    "no_faces": ({"visual_dim": 0}, ("memobert_prompt",)),
    "numbers": ({"dimensions": True}, ("memobert_finetune", "--dimensions", "valence,arousal")),
    "several": ({"several": True}, ("memobert_finetune", "--several-labels")),
    "roberta": ({}, ("memobert_prompt", "--layer-norm-eps", "1e-5")),
    "sentencepiece": ({}, ("memobert_prompt",)),
}
SENTENCES = ["it is so great, we love it", "this is what they said before", "naïve answers are never great"] * 40
OTHER_TARGETS = ("numbers", "several")
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "onnx" / "predict.py"
needs_shipped = pytest.mark.skipif(not (SHIPPED_MODEL / "config.json").is_file(), reason="no model is shipped here")


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bundles")
    pieces = {"roberta": tokenizer_of(write_roberta_tokenizer(folder / "roberta_pieces"))}
    train_sentencepiece(SENTENCES, 300, folder / "s.model", words=["anger", "happy", "neutral", "sad", "[MASK]"])
    pieces["sentencepiece"] = SentencePieceTokenizer(folder / "s.model")
    for name, (sizes, (task, *flags)) in KINDS.items():
        shape, tokenizer = CorpusShape(speakers=3, utterances=8, **sizes), pieces.get(name)
        data_bin = make_data_bin(folder / f"{name}.corpus", shape, tokenizer=tokenizer)
        model = read_fairseq_checkpoint(trained_checkpoint(data_bin, task, folder / f"{name}.pt", *flags, updates=8))
        calibration = None if name in OTHER_TARGETS else CALIBRATION
        write_bundle(replace(model, description=replace(model.description, calibration=calibration)), folder / name)
    return {name: folder / name for name in KINDS}


def difference(network: Network, case: str, lengths: tuple[int, ...]) -> float:
    """The largest difference of an output between the packed network and the rectangular model."""
    evidence = list(_examples(network, case, lengths))
    inputs = _inputs(network, evidence)
    with torch.inference_mode():
        found = RectangularModel(network).eval()(**inputs)
        scores, _ = network.scores(network.batch(evidence, network.prompt))
        expected = network.answers(scores)
    assert found.shape == (len(lengths), len(network.labels))
    return float((found - expected).abs().max())


@pytest.mark.parametrize("kind", KINDS)
def test_rectangles_give_the_probabilities_of_packed_sequences(bundles: dict[str, Path], kind: str) -> None:
    network = load_network(bundles[kind], "cpu", "float32")
    for case in MODALITY_CASES:
        assert difference(network, case, (1, 4, 9)) < 1e-5
    longest = max(network.description.limits.values())
    assert difference(network, "lva", (longest + 7, 2)) < 1e-5


@needs_shipped
def test_a_frozen_text_encoder_gives_the_same(bundles: dict[str, Path]) -> None:
    network = load_network(SHIPPED_MODEL, "cpu", "float32")
    assert network.description.architecture["text_encoder_layers"]
    assert max(difference(network, case, (1, 5)) for case in MODALITY_CASES) < 1e-5


def test_what_cannot_be_exported_is_one_line(
    bundles: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="nothing to write: name the BUNDLE, or give --onnx FILE"):
        export([str(bundles["prompt"])])
    with pytest.raises(UserError, match="a bundle has its tokenizer and labels"):
        export([str(bundles["prompt"]), str(tmp_path / "x"), "--labels", "a,b"])
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r'--onnx: onnxruntime is not installed; pip install "\.\[onnx\]"'):
        export([str(bundles["prompt"]), "--onnx", str(tmp_path / "m.onnx")])
    assert not (tmp_path / "m.onnx").exists()


@pytest.fixture
def exports_onnx() -> Any:
    for name in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(name)
    require_onnx()
    return pytest.importorskip("onnxruntime")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_file_is_checked_in_every_case_and_reads_any_size(
    bundles: dict[str, Path], kind: str, tmp_path: Path, exports_onnx: Any
) -> None:
    path = tmp_path / "model.onnx"
    assert export([str(bundles[kind]), "--onnx", str(path)]) == 0
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]
    session = exports_onnx.InferenceSession(str(path))
    sizes = {one.name: one.shape for one in session.get_inputs()}
    streams = {"no_voice": ["visual"], "no_faces": ["acoustic"]}.get(kind, ["visual", "acoustic"])
    assert list(sizes) == ["text", "text_length", *(name + end for name in streams for end in ("", "_length"))]
    named = {"text": "pieces", "visual": "faces", "acoustic": "sound_frames"}
    assert all(sizes[name][:2] == ["utterances", named[name]] for name in ("text", *streams))
    assert [one.name for one in session.get_outputs()] == ["numbers" if kind == "numbers" else "probabilities"]
    given = {}
    for name, shape in sizes.items():
        empty = np.zeros([1, 0, *shape[2:]], np.int64 if name == "text" else np.float32)
        given[name] = np.zeros(1, np.int64) if name.endswith("_length") else empty
    nothing = session.run(None, given)[0]
    labels = ["valence", "arousal"] if kind == "numbers" else ["anger", "happy", "neutral", "sad"]
    assert nothing.shape == (1, len(labels)) and np.isfinite(nothing).all()
    assert kind in OTHER_TARGETS or nothing.sum() == pytest.approx(1.0, abs=1e-5)
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["labels"]) == labels
    expected = {"numbers": "dimensions", "several": "several"}.get(kind, "classes")
    assert json.loads(about["target"])["kind"] == expected
    with pytest.raises(UserError, match="exists already; give --overwrite"):
        export([str(bundles[kind]), "--onnx", str(path)])


@pytest.mark.slow
def test_a_file_that_differs_is_not_written(
    bundles: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exports_onnx: Any
) -> None:
    monkeypatch.setattr(onnx_export, "LARGEST_DIFFERENCE", -1.0)
    network = load_network(bundles["labels"], "cpu", "float32")
    with pytest.raises(UserError, match="differs from PyTorch by"):
        export_onnx(network, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def answer_without_this_package(path: Path, text: str) -> dict[str, float]:
    """The example's answer, in a process that cannot import this package or torch."""
    code = f"import sys; sys.modules['memobert_plugin'] = sys.modules['torch'] = None; sys.argv = {[str(EXAMPLE)]!r}; "
    code += f"sys.argv += [{str(path)!r}, {text!r}]; exec(open({str(EXAMPLE)!r}).read())"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=path.parent)
    return dict(json.loads(shown.stdout.replace("'", '"')))


@pytest.mark.slow
@needs_shipped
def test_the_shipped_model_runs_without_this_package(tmp_path: Path, exports_onnx: Any) -> None:
    path = tmp_path / "model.onnx"
    assert export(["--onnx", str(path)]) == 0
    answer = MEmoBERT.from_pretrained().predict(text="I love it")
    assert answer_without_this_package(path, "I love it") == pytest.approx(dict(answer.probabilities), abs=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["roberta", "sentencepiece"])
def test_pieces_of_other_kinds_are_cut_without_this_package(
    bundles: dict[str, Path], kind: str, tmp_path: Path, exports_onnx: Any
) -> None:
    path, text = tmp_path / "model.onnx", "it's so great, naïve!"
    assert export([str(bundles[kind]), "--onnx", str(path)]) == 0
    answer = MEmoBERT.from_pretrained(bundles[kind]).predict(text=text)
    assert answer_without_this_package(path, text) == pytest.approx(dict(answer.probabilities), abs=2e-3)
