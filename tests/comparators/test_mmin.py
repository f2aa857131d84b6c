"""MMIN: its size, encoders and losses against plain computations, patterns, stages, runs of fairseq and of a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from memobert_plugin.comparators.base import COMPARATORS
from memobert_plugin.comparators.inputs import FrameRecurrence, Sequences, TextConvolutions
from memobert_plugin.comparators.mmin import PATTERNS, SHOWN, Imagined, Mmin, MminConfig, MminCriterion
from memobert_plugin.core.names import MODALITY_CASES
from memobert_plugin.data.corpus import Corpus
from memobert_plugin.tasks.utterance_dataset import Modalities
from tests.comparators import checks

STAGES = ("teacher", "imagination")


def build(corpus: Corpus, **sizes: Any) -> Mmin:
    torch.manual_seed(0)
    config, shape = MminConfig(**{"encoder_embed_dim": 16, **sizes}), checks.SHAPE
    model = COMPARATORS.get("mmin")(config, len(corpus.symbols), shape.visual_dim, shape.acoustic_dim, checks.LABELS)  # type: ignore[call-arg]
    assert isinstance(model, Mmin)
    return model


def student_of(teacher: Mmin, corpus: Corpus, **sizes: Any) -> Mmin:
    """The second stage, loaded from the first as fairseq does."""
    student = build(corpus, **sizes)
    state = {name: value.clone() for name, value in teacher.state_dict().items()}
    student.upgrade_state_dict(state)  # type: ignore[operator]
    student.load_state_dict(state, strict=True)
    return student


def criterion() -> MminCriterion:
    return MminCriterion(None, imagination_weight=4.0, cycle_weight=2.0)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return checks.small_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def student(corpus: Corpus) -> Mmin:
    return student_of(build(corpus, mmin_stage="teacher"), corpus)


def parameters(module: nn.Module | None) -> int:
    return sum(parameter.numel() for parameter in module.parameters()) if module is not None else 0


def test_it_has_the_published_number_of_parameters() -> None:
    """5.44 million: inputs of 130 (speech), 342 (faces) and 1024 (text); words' vectors and teacher are not counted."""
    model = Mmin(MminConfig(encoder_embed_dim=1024), 50, 342, 130, 4)
    parts = [model.encoders.acoustic, model.encoders.visual, model.encoders.text, model.cascade, model.back]
    assert [parameters(part) for part in parts] == [133_120, 241_664, 1_622_528, 1_694_400, 1_694_400]
    assert parameters(model.classifier) == 58_116
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert trained == 5_444_228
    shared = Mmin(MminConfig(encoder_embed_dim=1024, share_cascades=True), 50, 342, 130, 4)
    assert sum(parameter.numel() for parameter in shared.parameters() if parameter.requires_grad) == 3_749_828


def test_encoders_equal_plain_ones_on_each_utterance_alone() -> None:
    torch.manual_seed(1)
    lengths = [7, 1, 4, 3]
    rows = torch.randn(sum(lengths), 6).double()
    sequences = Sequences(rows, np.array(lengths))
    convolutions, recurrence = TextConvolutions(6, 0.0).double(), FrameRecurrence(6).double()
    text, frames = [], []
    for one in rows.split(lengths):
        image = functional.pad(one, (0, 0, 0, max(0, 5 - len(one))))
        maxima = []
        for convolution in convolutions.convolutions:
            assert isinstance(convolution, nn.Conv1d)
            height = convolution.kernel_size[0]
            # A text that is long enough for the window is not padded.
            window = image[: max(len(one), height)]
            picture = functional.conv2d(
                window[None, None], convolution.weight.transpose(1, 2)[:, None], convolution.bias
            )
            maxima.append(torch.relu(picture).amax(dim=(0, 2, 3)))
        text.append(torch.relu(convolutions.linear(torch.cat(maxima))))
        frames.append(recurrence.lstm(one)[0].amax(dim=0))
    torch.testing.assert_close(convolutions(convolutions.pooled(sequences)), torch.stack(text))
    torch.testing.assert_close(recurrence(recurrence.pooled(sequences)), torch.stack(frames))


def plain_cascade(cascade: nn.Module, joined: Tensor) -> tuple[Tensor, Tensor]:
    """Section 3 of the paper, block by block, from the linear maps alone."""
    codes, total = [], joined
    for block in cascade.blocks:  # type: ignore[union-attr]
        down = [part for part in block.encoder if isinstance(part, nn.Linear)]
        up = [part for part in block.decoder if isinstance(part, nn.Linear)]
        code = total
        for number, linear in enumerate(down):
            code = linear(code)
            code = torch.where(code > 0, code, 0.01 * code) if number < 2 else code
        output = code
        for number, linear in enumerate(up):
            output = linear(output)
            output = output.clamp(min=0) if number < 2 else output
        codes.append(code)
        total = total + output
    first, _, last = cascade.transform  # type: ignore[misc]
    return last(first(total).clamp(min=0)), torch.cat(codes, dim=1)


@pytest.mark.parametrize("shared", [False, True])
def test_the_loss_equals_a_plain_computation(corpus: Corpus, shared: bool) -> None:
    student = student_of(build(corpus, mmin_stage="teacher"), corpus, dropout=0.0, share_cascades=shared).double()
    with torch.no_grad():  # so that encoders and teacher differ
        for parameter in student.encoders.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    sample = checks.batch(corpus)
    torch.manual_seed(5)
    drawn = torch.randint(6, (12,)).tolist()
    torch.manual_seed(5)
    loss, count, logged = criterion()(student.train(), sample)
    assert count == 12 and len(set(drawn)) > 2
    joined: list[Tensor] = []
    missing: list[Tensor] = []
    for number, pattern in enumerate(drawn):
        for encoders, kept, found in (
            (student.encoders, set(PATTERNS[pattern]), joined),
            (student.teacher, set("lva") - set(PATTERNS[pattern]), missing),
        ):
            streams = checks.shown_streams(student, corpus, number, kept)
            found.append(encoders(streams)[0])
    imagined, codes = plain_cascade(student.cascade, torch.stack(joined))
    back, _ = plain_cascade(student.back or student.cascade, imagined)
    logits = student.classifier(codes)
    expected = 12 * functional.cross_entropy(logits, sample["target"])
    expected = expected + 12 * 4 * (imagined - torch.stack(missing)).square().mean()
    expected = expected + 12 * 2 * (back - torch.stack(joined)).square().mean()
    torch.testing.assert_close(loss, expected)
    assert float(logged["imagination"]) > 0 and float(logged["cycle"]) > 0


def test_what_is_shown_is_not_pulled_towards_what_is_imagined_back(student: Mmin, corpus: Corpus) -> None:
    """The second distance has no gradient through the vectors of what is shown, as a target."""
    sample = checks.batch(corpus)
    student.eval()
    seen = student(**sample["net_input"], head="imagine", rows=np.arange(0), shown=SHOWN[np.arange(12) % 6])
    assert isinstance(seen, Imagined) and not seen.missing.requires_grad


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_is_the_modality_case_of_the_same_name(student: Mmin, corpus: Corpus, pattern: str) -> None:
    """What fairseq-validate --modalities shows, and what validation hides itself."""
    student.eval()
    full = checks.batch(corpus)
    rows = np.cumsum(full["net_input"]["text_lengths"]) - full["net_input"]["text_lengths"]
    every = student(**full["net_input"], head="patterns", rows=rows)
    assert isinstance(every, Tensor) and every.shape == (6, 12, checks.LABELS)
    torch.testing.assert_close(every[PATTERNS.index(pattern)], checks.logits(student, checks.batch(corpus, pattern)))


def test_validation_counts_every_utterance_six_times(student: Mmin, corpus: Corpus) -> None:
    sample = checks.batch(corpus)
    loss, count, logged = criterion()(student.eval(), sample)
    assert count == 12 == int(logged["confusion"].sum()) and int(logged["patterns_confusion"].sum()) == 72
    expected = functional.cross_entropy(checks.logits(student, sample), sample["target"], reduction="sum")
    torch.testing.assert_close(loss, expected)
    cases = [checks.logits(student, checks.batch(corpus, pattern)).argmax(dim=-1) for pattern in PATTERNS]
    right = sum(int((case == sample["target"]).sum()) for case in cases)
    assert int(logged["patterns_confusion"].diag().sum()) == right


def test_the_second_stage_starts_from_the_teacher_and_leaves_it(corpus: Corpus) -> None:
    teacher = build(corpus, mmin_stage="teacher")
    student = student_of(teacher, corpus)
    sample = checks.batch(corpus)
    optimizer = torch.optim.Adam([one for one in student.parameters() if one.requires_grad], lr=1e-2)
    criterion()(student.train(), sample)[0].backward()
    optimizer.step()
    for name, value in teacher.encoders.state_dict().items():
        assert torch.equal(student.teacher.state_dict()[name], value)
        assert not torch.equal(student.encoders.state_dict()[name], value)
    resumed = build(corpus)
    state = student.state_dict()
    resumed.upgrade_state_dict(state)  # type: ignore[operator]
    resumed.load_state_dict(state, strict=True)
    criterion()(resumed.train(), sample)


def test_the_second_stage_without_a_teacher_is_refused(corpus: Corpus) -> None:
    with pytest.raises(SystemExit, match="--mmin-stage imagination: it starts from a teacher"):
        criterion()(build(corpus).train(), checks.batch(corpus))


@pytest.mark.parametrize("case", MODALITY_CASES)
@pytest.mark.parametrize("stage", STAGES)
def test_every_parameter_has_a_gradient(corpus: Corpus, case: str, stage: str) -> None:
    model = build(corpus, mmin_stage="teacher")
    model = model if stage == "teacher" else student_of(model, corpus)
    checks.assert_shows_every_case(model, corpus, case)
    for utterances in (range(12), range(1)):
        checks.assert_gradient_everywhere(model, checks.batch(corpus, case, utterances), criterion())


@pytest.mark.parametrize("stage", STAGES)
def test_an_utterance_does_not_depend_on_the_others_of_its_batch(corpus: Corpus, stage: str) -> None:
    checks.assert_independent_of_the_batch(build(corpus, mmin_stage=stage).double(), corpus)
    checks.assert_reads_the_asked_utterances(build(corpus, mmin_stage=stage).double(), corpus)


def test_any_float_type_reads_stored_frames(corpus: Corpus) -> None:
    checks.assert_follows_the_precision(build(corpus, mmin_stage="teacher"), corpus)


def test_a_tiny_corpus_is_learned_in_two_stages(corpus: Corpus) -> None:
    teacher = build(corpus, mmin_stage="teacher", dropout=0.1, teacher_dropout=0.1)
    losses = checks.training_losses(teacher, corpus, Modalities(), updates=24)
    assert sum(losses[-4:]) < 0.6 * sum(losses[:4])
    student = student_of(teacher, corpus, dropout=0.1)
    losses = checks.training_losses(student, corpus, Modalities(), updates=24, own=criterion())
    assert sum(losses[-4:]) < 0.6 * sum(losses[:4])


@pytest.mark.slow
def test_fairseq_trains_and_evaluates_a_fold(tmp_path: Path) -> None:
    flags = ["--criterion", "memobert_mmin", "--best-checkpoint-metric", "patterns_uar"]
    teacher = ["--mmin-stage", "teacher", "--best-checkpoint-metric", "uar"]
    lines = checks.train_and_validate(tmp_path, "memobert_mmin", *flags, first=teacher)
    assert len(lines) == checks.SHAPE.utterances
    assert {line["speaker"] for line in lines} == {"spk0"}
