"""The quickstart's corpus: real files, the same for the same seed, no modality reliable alone; and what reads it."""

from __future__ import annotations

import importlib
import json
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from memobert_plugin.core.errors import UserError
from memobert_plugin.data.manifest import media_path, read_manifest
from memobert_plugin.data.tokenizer import WordPieceTokenizer
from memobert_plugin.features.media.pictures import pictures
from memobert_plugin.features.media.sound import read_clip
from memobert_plugin.features.media.subtitles import read_subtitles
from memobert_plugin.features.speakers.face_sources.tracker import TrackerFaces
from memobert_plugin.sweep.forked_commands import ForkedCommands

QUICKSTART = Path(__file__).resolve().parents[2] / "examples" / "quickstart"
SCRIPTS = ("drawn_faces", "voices", "sentences", "films", "generate", "vocabulary", "results", "plot_losses")


@pytest.fixture(scope="module")
def scripts() -> Iterator[SimpleNamespace]:
    """The quickstart's files as modules, under their bare names only while they are loaded."""
    names = (*SCRIPTS, "commands", "run")
    hidden = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    sys.path.insert(0, str(QUICKSTART))
    try:
        modules: dict[str, ModuleType] = {name: importlib.import_module(name) for name in names}
        yield SimpleNamespace(**modules)
    finally:
        sys.path.remove(str(QUICKSTART))
        for name in names:
            sys.modules.pop(name, None)
        sys.modules.update(hidden)


@pytest.fixture(scope="module")
def corpus(scripts: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    scripts.generate.generate("emotions", folder / "emotions", speakers=4, utterances=8, seed=1)
    scripts.generate.generate("films", folder / "films", speakers=4, utterances=20, seed=1)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(
    scripts: SimpleNamespace, corpus: Path, tmp_path: Path
) -> None:
    for seed in (1, 2):
        scripts.generate.generate("emotions", tmp_path / str(seed), speakers=4, utterances=8, seed=seed, workers=2)
    assert contents(tmp_path / "1") == contents(corpus / "emotions")
    assert contents(tmp_path / "2") != contents(corpus / "emotions")


def test_a_larger_corpus_begins_with_the_smaller_one(scripts: SimpleNamespace, corpus: Path, tmp_path: Path) -> None:
    scripts.generate.generate("emotions", tmp_path / "fewer", speakers=2, utterances=8, seed=1)
    fewer, whole = contents(tmp_path / "fewer"), contents(corpus / "emotions")
    assert whole.pop("manifest.tsv").startswith(fewer.pop("manifest.tsv"))
    assert fewer.items() <= whole.items()


def test_every_utterance_has_a_line_a_sound_and_a_face_in_every_picture(scripts: SimpleNamespace, corpus: Path) -> None:
    manifest = corpus / "emotions" / "manifest.tsv"
    rows = [row for row in read_manifest(manifest) if row.speaker == "speaker1"]
    film = media_path(manifest, rows[0].video)
    lines = read_subtitles(film.with_suffix(".srt")).lines
    assert [(line.start, line.end, line.text) for line in lines] == [
        (pytest.approx(row.start), pytest.approx(row.end), row.text) for row in rows
    ]
    tracker = TrackerFaces(corpus / "emotions")
    tracker.start(film)
    for row in rows[:3]:
        assert row.start is not None and row.end is not None
        assert len(read_clip(film, start=row.start, end=row.end, max_seconds=10.0)) == round(
            16_000 * (row.end - row.start)
        )
        shown = list(pictures(film, scripts.films.PICTURES_PER_SECOND, row.start, row.end))
        assert len(shown) == round(scripts.films.PICTURES_PER_SECOND * (row.end - row.start))
        for picture in shown:
            (face,) = tracker.faces(picture.time, picture.rgb)
            assert face.eyes is not None and face.mouth is not None
            left, top, right, bottom = face.box
            for x, y in [*face.eyes, *face.mouth]:
                assert left < x < right and top < y < bottom


def test_the_mouth_opens_when_there_is_something_to_hear(scripts: SimpleNamespace) -> None:
    rng = np.random.default_rng(0)
    (speaker,) = scripts.generate.draw_speakers("emotions", 1, 1)
    correlations = []
    for _ in range(20):
        heard = scripts.generate.draw_sound(speaker, "neutral", rng)
        drawings = list(scripts.generate.draw_pictures(speaker, "neutral", heard, rng))
        opening = [drawing.mouth[3, 1] - drawing.mouth[2, 1] for drawing in drawings]
        loudness = np.sqrt((heard.reshape(len(drawings), -1) ** 2).mean(1))
        correlations.append(np.corrcoef(opening, loudness)[0, 1])
    assert np.median(correlations) > 0.5


def test_labelled_speakers_sit_in_sessions_of_two_with_as_many_utterances_of_each_emotion(corpus: Path) -> None:
    rows = list(read_manifest(corpus / "emotions" / "manifest.tsv"))
    assert {(row.speaker, row.session) for row in rows} == {
        ("speaker1", "session1"), ("speaker2", "session1"), ("speaker3", "session2"), ("speaker4", "session2")
    }  # fmt: skip
    assert set(Counter((row.speaker, row.emotion) for row in rows).values()) == {2}
    assert {row.emotion for row in rows} == {"anger", "happy", "neutral", "sad"}


def test_films_come_with_subtitles_and_faces_and_without_labels(corpus: Path) -> None:
    names = {path.name for path in (corpus / "films").iterdir()}
    assert names == {f"film{number:02d}{ending}" for number in range(1, 5) for ending in (".mp4", ".srt", ".csv")}


@pytest.mark.parametrize("part", ["emotions", "films"])
def test_cues_are_right_as_often_as_stated_and_independent(scripts: SimpleNamespace, part: str) -> None:
    generate, rng = scripts.generate, np.random.default_rng(0)
    right, nothing = generate.RIGHT[part], generate.NOTHING[part]
    cues = [generate.draw_cues(part, "happy", rng) for _ in range(6000)]
    for modality in zip(*cues, strict=True):
        shares = {shown: count / len(cues) for shown, count in Counter(modality).items()}
        assert shares["happy"] == pytest.approx(right, abs=0.03)
        assert shares[None] == pytest.approx(nothing, abs=0.03)
        wrong = (1 - right - nothing) / 3
        assert [shares[name] for name in ("anger", "neutral", "sad")] == pytest.approx([wrong] * 3, abs=0.015)
    correct = np.array([[shown == "happy" for shown in utterance] for utterance in cues], dtype=float)
    assert np.abs(np.corrcoef(correct.T) - np.eye(3)).max() < 0.04


def test_emotion_shows_in_loudness_and_pitch(scripts: SimpleNamespace) -> None:
    voices = scripts.voices
    voice = voices.Voice(pitch=140, tract=1.0, loudness=0.0)
    sounds = {
        emotion: voices.speak(voice, manner, 1.0, -60, np.random.default_rng(0))
        for emotion, manner in voices.MANNERS.items()
    }
    loudness = {emotion: 10 * np.log10(np.mean(sound**2)) for emotion, sound in sounds.items()}
    assert loudness["anger"] > loudness["happy"] > loudness["neutral"] > loudness["sad"]

    def pitch(sound: np.ndarray) -> float:
        """Median over stretches of 60 ms, by autocorrelation between 80 and 400 Hz."""
        stretches = np.lib.stride_tricks.sliding_window_view(sound, 960)[::480]
        spectra = np.abs(np.fft.rfft(stretches * np.hanning(960), 1920)) ** 2
        lags = 40 + np.fft.irfft(spectra)[:, 40:200].argmax(1)
        return float(voices.SAMPLE_RATE / np.median(lags))

    assert pitch(sounds["happy"]) > 1.1 * pitch(sounds["neutral"]) > 1.1 * pitch(sounds["sad"])


def test_words_show_an_emotion_or_none(scripts: SimpleNamespace) -> None:
    sentences, rng = scripts.sentences, np.random.default_rng(0)
    said = {shown: {sentences.say(shown, rng) for _ in range(200)} for shown in (*sentences.LABEL_WORDS, None)}
    assert {len(texts) for texts in said.values()} == {len(sentences.SENTENCES)}
    assert len(set.union(*said.values())) == len(said) * len(sentences.SENTENCES)


def texts_of(films: Path) -> list[str]:
    return [line.text for path in sorted(films.glob("*.srt")) for line in read_subtitles(path).lines]


def test_only_films_name_an_emotion_and_in_the_words_of_the_prompt(scripts: SimpleNamespace, corpus: Path) -> None:
    named = {scripts.sentences.name_emotion(emotion) for emotion in scripts.sentences.LABEL_WORDS}
    assert named == {"i am angry .", "i am happy .", "i am neutral .", "i am sad ."}
    ends = {part: [text.endswith(tuple(named)) for text in texts_of(corpus / part)] for part in ("emotions", "films")}
    assert not any(ends["emotions"])
    assert any(ends["films"]) and not all(ends["films"])


def test_expressions_look_different_and_a_face_in_the_dark_shows_less(scripts: SimpleNamespace) -> None:
    faces, generate, rng = scripts.drawn_faces, scripts.generate, np.random.default_rng(0)
    heads = [faces.Head.drawn_at_random(rng) for _ in range(20)]
    drawn = {
        name: np.stack([faces.draw_face(head, faces.EXPRESSIONS[name]).picture for head in heads])
        for name in generate.FACE_OF.values()
    }
    for name, pictures_of in drawn.items():
        for other in set(drawn) - {name}:
            assert np.abs(pictures_of - drawn[other]).mean() > 1
    (speaker,) = generate.draw_speakers("emotions", 1, 1)
    heard = generate.draw_sound(speaker, None, rng)
    contrast = {
        shown: np.mean([drawing.picture.std() for drawing in generate.draw_pictures(speaker, shown, heard, rng)])
        for shown in ("happy", None)
    }
    assert contrast[None] < 0.4 * contrast["happy"]


def test_every_word_and_the_prompt_are_single_pieces(scripts: SimpleNamespace, corpus: Path, tmp_path: Path) -> None:
    texts = texts_of(corpus / "films")
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("\n".join(scripts.vocabulary.vocabulary(texts)) + "\n", encoding="utf-8")
    tokenizer = WordPieceTokenizer.from_vocab(vocabulary)
    for text in [*texts, "i am angry . i am happy . i am neutral . i am sad ."]:
        ids, _ = tokenizer.encode(text)
        assert [tokenizer.symbols[index] for index in ids] == text.split()
    ids, _ = tokenizer.encode("zebra")
    assert [tokenizer.symbols[index] for index in ids] == ["z", "##e", "##b", "##r", "##a"]


def write_predictions(folder: Path, decisions: list[list[tuple[str, str]]]) -> None:
    folder.mkdir(parents=True)
    for fold, pairs in enumerate(decisions, 1):
        lines = [
            json.dumps({"label": label, "prediction": said, "probabilities": {"anger": 0.5, "sad": 0.5}})
            for label, said in pairs
        ]
        (folder / f"fold{fold}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_the_table_averages_over_folds_and_knows_chance(scripts: SimpleNamespace, tmp_path: Path) -> None:
    half_right = [("anger", "anger"), ("anger", "anger"), ("sad", "anger")]
    all_right = [("anger", "anger"), ("sad", "sad"), ("sad", "sad")]
    for _, settings in scripts.results.ROWS:
        for setting in filter(None, settings):
            right = all_right if setting == "direct_tenth" else half_right
            write_predictions(tmp_path / setting, [right, all_right])
    text, percent = scripts.results.table(tmp_path)
    assert percent["direct_all"]["wa"] == pytest.approx([200 / 3, 100])
    assert percent["direct_all"]["uar"] == pytest.approx([50, 100])
    assert percent["most_frequent"]["wa"] == pytest.approx([100 / 3, 100 / 3])
    lines = {line[:21].strip(): line[21:].split("  ") for line in text.splitlines()}
    assert [cell.strip() for cell in lines["Direct"] if cell.strip()] == ["75.0 ± 35.4", "100.0 ± 0.0"]
    assert [cell.strip() for cell in lines["Chance: most frequent"] if cell.strip()] == ["50.0 ± 0.0"]


def test_the_table_reads_what_the_job_writes(scripts: SimpleNamespace, tmp_path: Path) -> None:
    written = {
        step.output.parent.name
        for _, steps in scripts.commands.Quickstart(tmp_path, 1).phases()
        for step in steps
        if step.name.startswith("test_")
    }
    assert written == {name for _, names in scripts.results.ROWS for name in names if name}


def test_missing_predictions_are_named(scripts: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="pretrain_prompt_all_l: no fold"):
        scripts.results.table(tmp_path)


def test_loss_curves_come_from_the_log_without_the_objectives_that_were_not_drawn(
    scripts: SimpleNamespace, tmp_path: Path
) -> None:
    log = tmp_path / "pretraining.log"
    prefix = "2026-01-01 00:00:00 | INFO |"
    lines = [
        f'{prefix} train_inner | {{"mafr_loss": null, "wwmlm_loss": "2.5", "num_updates": "10"}}',
        f'{prefix} valid | {{"valid_wwmlm_loss": "2.0", "valid_mafr_loss": "0.5", "valid_num_updates": "20"}}',
        f'{prefix} train | {{"train_wwmlm_loss": "2.2", "train_num_updates": "20"}}',
        f"{prefix} fairseq_cli.train | done",
    ]
    log.write_text("\n".join(lines), encoding="utf-8")
    assert scripts.plot_losses.read_curves(log) == {
        ("wwmlm", "train"): [(10, 2.5)],
        ("wwmlm", "valid"): [(20, 2.0)],
        ("mafr", "valid"): [(20, 0.5)],
    }
    log.write_text("nothing", encoding="utf-8")
    with pytest.raises(UserError, match="no line with an objective's loss"):
        scripts.plot_losses.read_curves(log)


def test_a_dry_run_prints_every_command_for_a_shell_and_writes_nothing(
    tmp_path: Path, scripts: SimpleNamespace
) -> None:
    work = tmp_path / "a work folder"
    command = [sys.executable, str(QUICKSTART / "run.py"), "--dry-run", "--work", str(work)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout.splitlines()
    assert not work.exists()
    assert shlex.split(printed[1]) == ["cd", str(work)]
    typed = [shlex.split(line)[1:] for line in printed if line.startswith("OMP_NUM_THREADS=1 ")]
    steps = [step for _, steps in scripts.commands.Quickstart(work, 1).phases() for step in steps]
    assert typed == [list(step.command) for step in steps]
    assert len({step.name for step in steps}) == len({step.output for step in steps}) == len(steps)


def test_the_model_says_first_that_it_knows_no_people(scripts: SimpleNamespace, tmp_path: Path) -> None:
    steps = [step for _, steps in scripts.commands.Quickstart(tmp_path, 1).phases() for step in steps]
    [bundle] = [step for step in steps if step.name == "bundle"]
    assert (
        bundle.command[-2:] == ("--note", scripts.commands.NOTE)
        and "answers nothing about people" in bundle.command[-1]
    )
    tests = {str(step.output) for step in steps if step.name.startswith("test_pretrain_prompt_all_fold")}
    assert tests == {argument for argument in bundle.command if argument.startswith("predictions/")}


class OneStepPerPhase:
    """A job of two phases whose steps append a line to a file outside their output."""

    def __init__(self, scripts: SimpleNamespace, script: Path) -> None:
        self._step, self._script = scripts.commands.Step, str(script)

    def phases(self) -> list[tuple[str, list[object]]]:
        return [
            (name, [self._step(name, ("python", self._script, name), Path("out", name))])
            for name in ("first", "second")
        ]


def test_finished_steps_are_skipped_until_something_before_them_runs_again(
    scripts: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "script.py"
    script.write_text("import sys\nopen('runs', 'a').write(sys.argv[1] + ' ')\nopen(f'out/{sys.argv[1]}', 'x').close()")
    monkeypatch.chdir(tmp_path)

    def runs() -> str:
        scripts.run.run_phases(OneStepPerPhase(scripts, script), ForkedCommands(modules=()), dry=False)
        return Path("runs").read_text()

    assert runs() == "first second "
    assert runs() == "first second "
    Path("out", "second").unlink()
    assert runs() == "first second second "
    Path("out", "first").unlink()
    assert runs() == "first second second first second "


def test_a_failing_step_ends_the_run_with_its_log_and_is_not_taken_for_done(
    scripts: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "script.py"
    script.write_text("import sys\nopen(f'out/{sys.argv[1]}', 'x').close()\nsys.exit('the reason')")
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        with pytest.raises(UserError, match=r"first ended with status 1; see .*first\.log"):
            scripts.run.run_phases(OneStepPerPhase(scripts, script), ForkedCommands(modules=()), dry=False)
        assert "the reason" in capsys.readouterr().err
