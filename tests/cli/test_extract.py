"""``memobert-extract`` as a user types it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from memobert_plugin.cli.extract import main
from memobert_plugin.core.errors import UserError
from memobert_plugin.data.frames import read_frames
from memobert_plugin.data.manifest import ManifestRow, write_manifest

COMMAND = [sys.executable, "-c", "from memobert_plugin.cli.extract import cli_main; cli_main()"]
ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: object, check: bool = False) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, cwd=ROOT, check=check)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for index in range(4):
        soundfile.write(tmp_path / f"{index}.flac", random.uniform(-0.5, 0.5, 16_000 + 1000 * index), 16_000)
    write_manifest(tmp_path / "m.tsv", [ManifestRow(0, id=f"u{index}", audio=f"{index}.flac") for index in range(4)])
    return tmp_path / "m.tsv"


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from memobert_plugin.cli.extract import main\n"
        "try: main(['acoustic', '--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'fairseq', 'numpy', 'soundfile', 'scipy'} & set(sys.modules)"
    )
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=ROOT)
    assert time.perf_counter() - started < 1.5


def test_extracts_and_says_what_it_did(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = manifest.parent / "out"
    arguments = ["acoustic", "--manifest", str(manifest), "--output", str(output)]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "logmel: 80 dimensions, 16.67 frames per second" in printed
    assert "4 utterances, 0 without audio, 0 finished before; 4 extracted (4 s of media" in printed
    assert main(arguments) == 0
    assert "4 finished before; 0 extracted" in capsys.readouterr().out
    frames = read_frames(output / "u0.npz")
    assert frames is not None
    assert frames.frames.shape == (17, 80)


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_columns_that_are_not_used_are_named(
    manifest: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...]
) -> None:
    manifest.write_text("id\taudio\trating\nu0\t0.flac\t5\n")
    arguments = ["acoustic", "--manifest", str(manifest), "--output", str(manifest.parent / "out"), *more]
    assert main(arguments) == 0
    assert f"note: {manifest}: columns that are not used: rating\n" in capsys.readouterr().err
    manifest.write_text("id\taudo\nu0\t0.flac\n")
    with pytest.raises(UserError, match="no utterance has audio"):
        main(arguments)
    assert "not used: audo (did you mean audio?)" in capsys.readouterr().err


def test_failures_over_the_share_give_status_1(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (manifest.parent / "2.flac").write_bytes(b"no sound")
    arguments = ["acoustic", "--manifest", str(manifest), "--output", str(manifest.parent / "out")]
    assert main(arguments) == 1
    printed = capsys.readouterr()
    assert "3 extracted" in printed.out
    assert "1 failed" in printed.out
    assert "failed.tsv, the first: u2: " in printed.out
    assert "1 of 4 utterances failed, more than --max-failed-share 0.01" in printed.err
    assert main([*arguments, "--max-failed-share", "0.25"]) == 0


def test_whisper_needs_no_weights(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = manifest.parent / "whisper"
    assert main(["acoustic", "--manifest", str(manifest), "--output", str(output), "--encoder", "whisper"]) == 0
    assert "whisper: 384 dimensions, 16.67 frames per second; the shipped encoder of tiny.en" in capsys.readouterr().out
    stored = read_frames(output / "u0.npz")
    assert stored is not None and stored.frames.shape == (17, 384)


def test_a_dry_run_names_missing_files_and_writes_nothing(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (manifest.parent / "1.flac").unlink()
    output = manifest.parent / "out"
    assert main(["acoustic", "--manifest", str(manifest), "--output", str(output), "--dry-run"]) == 1
    printed = capsys.readouterr().out
    assert "4 to extract, nothing written" in printed
    assert "u1: " in printed
    assert not output.exists()


def test_a_users_mistake_ends_in_one_line(manifest: Path) -> None:
    output = manifest.parent / "out"
    for arguments, expected in (
        (["--manifest", manifest.parent / "none.tsv"], "none.tsv: cannot be read"),
        (["--manifest", manifest, "--encoder", "wav2vec2"], "--encoder wav2vec2: needs --weights"),
    ):
        result = run("acoustic", "--output", output, *arguments)
        assert result.returncode == 2
        assert expected in result.stderr
        assert "Traceback" not in result.stderr
    assert run("acoustic", "--manifest", manifest, "--output", output, check=True).stderr == ""
    other = run("acoustic", "--manifest", manifest, "--output", output, "--pool", "2")
    assert other.returncode == 2
    assert "pool 6, not 2" in other.stderr


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--pool", "0"),
        ("--pool", "x"),
        ("--max-seconds", "0"),
        ("--max-seconds", "nan"),
        ("--max-failed-share", "2"),
        ("--workers", "-1"),
    ],
)
def test_numbers_out_of_range_are_refused(
    manifest: Path, flag: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["acoustic", "--manifest", str(manifest), "--output", "out", flag, value])
    assert caught.value.code == 2
    assert flag in capsys.readouterr().err


def test_wav2vec2_says_which_normalisation_the_weights_want(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch = pytest.importorskip("torch")
    from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Config, Wav2Vec2Model

    settings = {
        "conv_feature_layers": "[(8, 10, 5)] + [(8, 3, 2)] * 4 + [(8, 2, 2)] * 2",
        "encoder_layers": 1,
        "encoder_embed_dim": 16,
        "encoder_ffn_embed_dim": 16,
        "encoder_attention_heads": 2,
        "conv_pos": 4,
        "conv_pos_groups": 2,
    }
    weights = manifest.parent / "w.pt"
    model = Wav2Vec2Model(Wav2Vec2Config(**settings))
    torch.save({"model": model.state_dict(), "cfg": {"model": {"_name": "wav2vec2", **settings}, "task": {}}}, weights)
    arguments = [
        "acoustic",
        "--manifest",
        str(manifest),
        "--output",
        str(manifest.parent / "out"),
        "--encoder",
        "wav2vec2",
    ]
    assert main([*arguments, "--weights", str(weights)]) == 0
    printed = capsys.readouterr()
    assert "wav2vec2: 16 dimensions, 16.67 frames per second" in printed.out
    assert "the weights were trained on clips not normalised, and these clips are normalised" in printed.out
    assert "Warning" not in printed.err
    frames = read_frames(manifest.parent / "out" / "u0.npz")
    assert frames is not None
    assert frames.frames.shape == (17, 16)


@pytest.mark.slow
def test_a_killed_extraction_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = []
    for index in range(400):
        soundfile.write(tmp_path / f"{index}.wav", random.uniform(-0.5, 0.5, 16_000), 16_000)
        rows.append(ManifestRow(0, id=f"u{index}", audio=f"{index}.wav"))
    write_manifest(tmp_path / "m.tsv", rows)
    run("acoustic", "--manifest", tmp_path / "m.tsv", "--output", tmp_path / "whole", check=True)
    killed = tmp_path / "killed"
    for share in (0.2, 0.6):
        arguments = ["acoustic", "--manifest", tmp_path / "m.tsv", "--output", killed]
        process = subprocess.Popen([*COMMAND, *map(str, arguments)], cwd=ROOT, stdout=subprocess.DEVNULL)
        while process.poll() is None and len(list(killed.glob("u*.npz"))) < share * len(rows):
            os.sched_yield()
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert 0 < len(list(killed.glob("u*.npz"))) < len(rows)
    run("acoustic", "--manifest", tmp_path / "m.tsv", "--output", killed, check=True)
    first, second = (
        {path.name: path.read_bytes() for path in folder.iterdir()} for folder in (tmp_path / "whole", killed)
    )
    assert first == second


def test_real_clips(real_data: Path, tmp_path: Path) -> None:
    clips = sorted((real_data / "ravdess_speech").glob("Actor_*/*.flac"))[:5]
    write_manifest(tmp_path / "m.tsv", [ManifestRow(0, id=clip.stem, audio=str(clip)) for clip in clips])
    assert main(["acoustic", "--manifest", str(tmp_path / "m.tsv"), "--output", str(tmp_path / "out")]) == 0
    for clip in clips:
        frames = read_frames(tmp_path / "out" / f"{clip.stem}.npz")
        assert frames is not None
        count = 1 + (soundfile.info(clip).frames - 400) // 160
        assert frames.frames.shape == (-(-count // 6), 80)
