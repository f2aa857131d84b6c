"""A plan becomes the runs one would have written by hand: names, dependencies, speakers, flags, descriptions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from memobert_plugin.core.errors import UserError
from memobert_plugin.sweep.commands import flag_arguments, flag_value
from tests.data_bins import CorpusShape, make_data_bin
from tests.sweep.sweeps import OPTIMISER, expand, plan_values


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data_bin(tmp_path_factory.mktemp("corpus"), CorpusShape(speakers=4, utterances=8))


def test_runs_have_readable_names_and_come_after_their_dependencies(tmp_path: Path, corpus: Path) -> None:
    runs = expand(
        tmp_path, corpus, train_fractions=[0.1, 1.0], bert="bert", settings=["bert_finetune", "pretrain_prompt"]
    )
    assert list(runs)[:3] == [
        "import/bert",
        "pretraining/full/seed1234-without-spk0",
        "pretraining/full/seed1234-without-spk1",
    ]
    assert "emotion/bert_finetune/full/fraction010/fold01/seed1" in runs
    prompt = runs["emotion/pretrain_prompt/full/fraction100/fold02/seed1"]
    assert prompt.depends_on == ("pretraining/full/seed1234-without-spk1",)
    assert runs[prompt.depends_on[0]].depends_on == ("import/bert",)
    assert len(runs) == 3 + 2 * 2 * 2


def test_one_plan_has_a_bert_of_another_size_beside_a_pretraining_from_nothing(tmp_path: Path, corpus: Path) -> None:
    pretraining = {**plan_values(corpus)["pretraining"], "from_bert": False}
    sizes = {"arch": "memobert_base", "encoder_layers": 6, "encoder_embed_dim": None}
    emotion = {**plan_values(corpus)["emotion"], "setting_flags": {"bert_finetune": sizes}}
    settings = ["bert_finetune", "pretrain_prompt"]
    runs = expand(tmp_path, corpus, bert="bert", settings=settings, pretraining=pretraining, emotion=emotion, folds=[1])
    pretrained = runs["pretraining/full/seed1234-without-spk0"]
    assert pretrained.depends_on == () and flag_value(pretrained.commands[0], "--finetune-from-model") is None
    bert = runs["emotion/bert_finetune/full/fraction100/fold01/seed1"]
    assert bert.depends_on == ("import/bert",)
    values = [flag_value(bert.commands[0], f"--{name}") for name in ("arch", "encoder-layers", "encoder-embed-dim")]
    assert values == ["memobert_base", "6", None]
    prompt = runs["emotion/pretrain_prompt/full/fraction100/fold01/seed1"]
    assert flag_value(prompt.commands[0], "--arch") == "memobert_tiny"


def test_each_fold_is_pretrained_without_its_test_speaker(tmp_path: Path, corpus: Path) -> None:
    runs = expand(tmp_path, corpus)
    run = runs["pretraining/full/seed1234-without-spk1"]
    assert flag_value(run.commands[0], "--exclude-speakers") == "spk1"
    assert not runs["emotion/pretrain_prompt/full/fraction100/fold02/seed1"].description["transductive"]


def test_pretraining_on_everybody_is_shared_and_marked(tmp_path: Path, corpus: Path) -> None:
    pretraining = {"data": str(corpus), "speakers": "all", "flags": {**OPTIMISER, "max_update": 2}}
    runs = expand(tmp_path, corpus, pretraining=pretraining)
    assert [name for name in runs if name.startswith("pretraining")] == ["pretraining/full/seed1234"]
    assert runs["emotion/pretrain_prompt/full/fraction100/fold01/seed1"].description["transductive"] is True
    assert runs["emotion/direct/full/fraction100/fold01/seed1"].description["transductive"] is False


def test_other_speakers_are_checked(tmp_path: Path, corpus: Path) -> None:
    pretraining = {"data": str(corpus), "speakers": "others", "flags": {**OPTIMISER, "max_update": 2}}
    with pytest.raises(UserError, match="others, but spk0, spk1 are tested and in the pre-training's data-bin too"):
        expand(tmp_path, corpus, pretraining=pretraining)


def test_a_seed_may_pretrain_for_itself_and_ablations_change_pretraining_only(tmp_path: Path, corpus: Path) -> None:
    pretraining = {"data": str(corpus), "speakers": "all", "seed": "each", "flags": {**OPTIMISER, "max_update": 2}}
    runs = expand(tmp_path, corpus, pretraining=pretraining, seeds=[1, 2], ablations=["full", "no_visual"], folds=[1])
    names = [name for name in runs if name.startswith("pretraining")]
    assert sorted(names) == [
        f"pretraining/{variant}/seed{seed}" for variant in ("full", "no_visual") for seed in (1, 2)
    ]
    ablated = runs["pretraining/no_visual/seed2"].commands[0]
    assert flag_value(ablated, "--mvfr-ratio") == "0" and flag_value(ablated, "--mvfc-ratio") == "0"
    assert not any(name.startswith("emotion/direct/no_visual") for name in runs)
    assert runs["emotion/pretrain_prompt/no_visual/fraction100/fold01/seed2"].depends_on == (
        "pretraining/no_visual/seed2",
    )


@pytest.mark.parametrize(
    ("protocol", "selection", "checkpoint", "flag"),
    [
        ("strict", "best valid uar", "checkpoint_best.pt", "--maximize-best-checkpoint-metric"),
        ("all_but_one", "last", "checkpoint_last.pt", "--disable-validation"),
        ("reference", "best test uar", "checkpoint_best.pt", "--best-checkpoint-metric"),
    ],
)
def test_protocols_choose_the_checkpoint(
    tmp_path: Path, corpus: Path, protocol: str, selection: str, checkpoint: str, flag: str
) -> None:
    runs = expand(tmp_path, corpus, protocol=protocol, settings=["direct"], modality_cases=["lva", "v"])
    run = runs["emotion/direct/full/fraction100/fold01/seed1"]
    train, *tests = run.commands
    assert flag in train and run.description["selection"] == selection
    assert [flag_value(test, "--modalities") for test in tests] == ["lva", "v"]
    assert all(str(flag_value(test, "--path")).endswith(checkpoint) for test in tests)


def test_descriptions_hold_what_the_report_reads(tmp_path: Path, corpus: Path) -> None:
    changes: dict[str, Any] = {"train_fractions": [0.5], "modality_cases": ["lva", "l"]}
    emotion = {"flags": {**OPTIMISER, "max_epoch": 3}, "partial_data_flags": {"lr": 3e-5}}
    run = expand(tmp_path, corpus, emotion=emotion, **changes)["emotion/direct/full/fraction050/fold02/seed1"]
    description = dict(run.description)
    assert description["budget"] == {
        "max_epoch": 3, "max_update": None, "batch_size": 8, "lr": 3e-5, "update_freq": None
    }  # fmt: skip
    assert description["predictions"] == {"lva": "predictions/test-lva.jsonl", "l": "predictions/test-l.jsonl"}
    assert (description["fold"], description["test_speaker"], description["seed"]) == (2, "spk1", 1)
    assert description["labels"] == ["anger", "happy", "neutral", "sad"]
    assert set(description["corpus"]) == {"path", "name", "sha256"} and len(description["corpus"]["sha256"]) == 64


def test_the_manifests_own_split_is_fold_0(tmp_path: Path) -> None:
    split = make_data_bin(tmp_path / "split", CorpusShape(speakers=2, utterances=6, split="test"))
    run = expand(tmp_path, split, folds=[0], settings=["direct"])["emotion/direct/full/fraction100/fold00/seed1"]
    assert run.description["test_speaker"] == "" and flag_value(run.commands[0], "--fold") == "0"


def test_comparators_bring_their_own_architecture(tmp_path: Path, corpus: Path) -> None:
    command = expand(tmp_path, corpus, settings=["mult"])["emotion/mult/full/fraction100/fold01/seed1"].commands[0]
    assert flag_value(command, "--arch") == "memobert_mult" and "--encoder-layers" not in command
    model = {"arch": "memobert_tiny", "text_encoder": "bert.pt"}
    emotion = {"flags": {**OPTIMISER, "mixture_full_weight": 3, "max_epoch": 1, "lr_scheduler": "fixed"}}
    changes: dict[str, Any] = {"model": model, "folds": [1], "modality_mixture": True, "emotion": emotion}
    runs = expand(tmp_path, corpus, settings=["mult", "mmin", "direct"], **changes)
    assert {flag_value(run.commands[0], "--text-encoder") for run in runs.values()} == {"bert.pt"}
    mixture = {run.description["setting"]: "--modality-mixture" in run.commands[-2] for run in runs.values()}
    assert mixture == {"mult": True, "mmin": False, "direct": True}
    weight = {name: flag_value(run.commands[-2], "--mixture-full-weight") for name, run in runs.items()}
    assert [value for name, value in weight.items() if "mmin" in name] == [None] and list(weight.values()).count(
        "3"
    ) == 2
    assert {run.description["setting"]: run.description["modality_mixture"] for run in runs.values()} == mixture


def test_a_setting_of_two_stages_trains_both_in_one_run(tmp_path: Path, corpus: Path) -> None:
    run = expand(tmp_path, corpus, settings=["mmin"], modality_cases=["lva", "l"])[
        "emotion/mmin/full/fraction100/fold01/seed1"
    ]
    teacher, student, *tests = run.commands
    folder = tmp_path / "runs" / run.name
    assert [flag_value(one, "--arch") for one in (teacher, student)] == ["memobert_mmin"] * 2
    assert flag_value(teacher, "--mmin-stage") == "teacher" and flag_value(student, "--mmin-stage") is None
    assert flag_value(teacher, "--save-dir") == str(folder / "first")
    assert flag_value(student, "--finetune-from-model") == str(folder / "first" / "checkpoint_best.pt")
    metrics = [flag_value(one, "--best-checkpoint-metric") for one in (teacher, student)]
    assert metrics == ["uar", "patterns_uar"]
    assert {flag_value(one, "--path") for one in tests} == {str(folder / "checkpoints" / "checkpoint_best.pt")}
    assert flag_value(student, "--criterion") == "memobert_mmin" and "six patterns" in run.description["setting_note"]


def test_ssmm_reads_the_pretraining_data_without_labels(tmp_path: Path, corpus: Path) -> None:
    runs = expand(tmp_path, corpus, settings=["ssmm"])
    assert list(runs) == [f"emotion/ssmm/full/fraction100/fold{fold:02d}/seed1" for fold in (1, 2)]
    run = runs["emotion/ssmm/full/fraction100/fold01/seed1"]
    assert flag_value(run.commands[0], "--unlabelled") == str(corpus) and not run.description["transductive"]
    for pretraining in (
        None,
        {"data": f"{corpus}:{corpus}", "speakers": "all", "flags": {**OPTIMISER, "max_update": 2}},
    ):
        with pytest.raises(UserError, match="pretraining: needs data of one data-bin, which ssmm reads without labels"):
            expand(tmp_path, corpus, settings=["ssmm"], pretraining=pretraining)


def test_dialogues_are_refused_where_their_order_is_unknown(tmp_path: Path, corpus: Path) -> None:
    with pytest.raises(UserError, match=r"settings: clstm_mma reads dialogues, and .* or leave clstm_mma out"):
        expand(tmp_path, corpus, settings=["clstm_mma"])
    ordered = make_data_bin(tmp_path / "ordered", CorpusShape(dialogues=True))
    run = expand(tmp_path, ordered, settings=["clstm_mma"])["emotion/clstm_mma/full/fraction100/fold01/seed1"]
    assert "--dialogues" in run.commands[0] and "earlier utterances" in run.description["setting_note"]


def test_several_processes_get_a_port_of_the_runs_own(tmp_path: Path, corpus: Path) -> None:
    runs = expand(tmp_path, corpus, ranks=2)
    commands = [run.commands[0] for run in runs.values() if run.kind == "pretraining"]
    ports = {flag_value(command, "--distributed-port") for command in commands}
    assert len(ports) == 2 and None not in ports
    assert all(flag_value(command, "--distributed-world-size") == "2" for command in commands)
    assert all("--load-checkpoint-on-all-dp-ranks" in command for command in commands)
    emotion = runs["emotion/direct/full/fraction100/fold01/seed1"].commands[0]
    assert flag_value(emotion, "--distributed-world-size") == "1"


def test_fairseq_parses_the_commands(tmp_path: Path, corpus: Path) -> None:
    from fairseq import options

    import memobert_plugin

    memobert_plugin.register()
    settings = ["direct", "pretrain_prompt", "mmin", "ssmm"]
    for run in expand(tmp_path, corpus, settings=settings).values():
        for command in run.commands:
            training = command[0] == "fairseq-train"
            parser = options.get_training_parser() if training else options.get_validation_parser()
            options.parse_args_and_arch(parser, list(command[1:]))


def test_flags_as_arguments() -> None:
    flags = {"cpu": True, "fp16": False, "restore": None, "update_freq": [1, 2], "adam_betas": "(0.9, 0.98)"}
    assert flag_arguments(flags) == ("--cpu", "--update-freq", "1,2", "--adam-betas", "(0.9, 0.98)")


def test_variants_are_settings_with_other_flags(tmp_path: Path, corpus: Path) -> None:
    emotion = {"flags": {**OPTIMISER, "max_epoch": 1}, "setting_flags": {"direct": {"dropout": 0.2}}}
    variants = {"smoothed": {"setting": "direct", "flags": {"label_smoothing": 0.1}}}
    runs = expand(tmp_path, corpus, settings=["direct"], folds=[1], emotion=emotion, variants=variants)
    plain, smoothed = (run for run in runs.values() if run.kind == "emotion")
    assert smoothed.name.startswith("emotion/smoothed/") and smoothed.description["setting_title"] == "Direct, smoothed"
    assert (
        flag_value(smoothed.commands[0], "--label-smoothing") == "0.1" and "--label-smoothing" not in plain.commands[0]
    )
    assert flag_value(smoothed.commands[0], "--dropout") == flag_value(plain.commands[0], "--dropout") == "0.2"
