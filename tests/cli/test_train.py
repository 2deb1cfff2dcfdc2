import io
import json
from types import SimpleNamespace

import pytest
from rich.console import Console
from typer.testing import CliRunner

from pisr_cli.app import app
from pisr_cli.train import command
from pisr_cli.train.command import _default_folder
from pisr_cli.train.live import LiveView, PlainLines, SmoothedLosses, live_view
from pisr_core.config import Config, TrainConfig
from pisr_core.errors import ConfigError, TrainingError
from pisr_core.training.listeners import EvaluationRecord, StartRecord, StepRecord
from pisr_core.weights.files.checkpoint import read_checkpoint

TINY = """
extends = "scenes-pdl-r18"
name = "tiny"
[data]
crop = [64, 64]
workers = 0
[data.scenes]
size = [64, 64]
val_images = 2
[train]
steps = 9
batch_size = 2
log_every = 1
"""


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """The smallest real preset, made smaller, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.toml").write_text(TINY)
    return tmp_path


def pisr(*arguments):
    return CliRunner().invoke(app, ["train", *arguments], catch_exceptions=True)


def test_trains_the_real_model_and_resumes(tiny, monkeypatch):
    kept = []
    monkeypatch.setattr(command, "keep_network_memory", lambda: kept.append("on the CPU"))
    options = ("--max-steps", "2", "--set", "train.lr=0.002", "--seed", "5", "--device", "cpu", "--json")
    result = pisr("--preset", "tiny.toml", *options)
    assert result.exit_code == 0, result.exception
    document = json.loads(result.stdout)
    assert document["memory"] > 0 and "memory: " in result.stderr
    assert document["out"] == "runs/tiny" and document["steps"] == 2
    assert "next: pisr eval --checkpoint runs/tiny/best.safetensors" in result.stderr
    config = read_checkpoint(tiny / "runs/tiny/last.safetensors").config
    assert (config.train.lr, config.train.seed, config.train.steps, config.data.crop) == (0.002, 5, 2, (64, 64))
    assert kept == ["on the CPU"]
    again = pisr("--resume", "--out", "runs/tiny", "--device", "cpu", "--json")
    assert json.loads(again.stdout) == {**document, "memory": None, "image_memory": None}  # not a step was made


def test_resuming_where_no_run_is_says_so(tiny):
    result = pisr("--resume", "--out", "runs/none")
    assert isinstance(result.exception, TrainingError)
    assert str(result.exception).startswith("runs/none: no run to resume.")


def test_dry_run_reports_and_writes_nothing(tiny):
    result = pisr("--preset", "tiny.toml", "--dry-run", "--device", "cpu", "--json")
    assert result.exit_code == 0, result.exception
    document = json.loads(result.stdout)
    assert (document["preset"], document["out"], document["device"]) == ("tiny", "runs/tiny", "cpu")
    assert document["estimated_seconds"] > 0 and document["disk"] > 0 and document["memory"] > 0
    shown = pisr("--preset", "tiny.toml", "--dry-run", "--device", "cpu").stdout
    for name in ("nothing was written", "parameters", "first losses", "images/s", "whole run", "disk"):
        assert name in shown
    assert [path.name for path in tiny.iterdir()] == ["tiny.toml"]


def test_dry_run_warns_of_a_full_disk(tiny, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    result = pisr("--preset", "tiny.toml", "--dry-run", "--device", "cpu", "--json")
    assert result.exit_code == 0 and "warning: runs/tiny" in result.stderr and "0.00 GiB are free" in result.stderr


def test_dry_run_is_not_for_resuming(tiny):
    error = pisr("--preset", "tiny.toml", "--dry-run", "--resume").exception
    assert isinstance(error, ConfigError) and "leave --resume out" in str(error)


def test_no_preset_is_a_clear_mistake(tiny):
    error = pisr().exception
    assert isinstance(error, ConfigError) and "--preset NAME" in str(error)


def test_resume_needs_a_run(tiny):
    error = pisr("--preset", "tiny.toml", "--resume", "--device", "cpu").exception
    assert isinstance(error, TrainingError) and "no state to resume from" in str(error)


def test_default_folders_count_up(tmp_path):
    base = tmp_path / "runs" / "name"
    assert _default_folder(base, resume=False) == base == _default_folder(base, resume=True)
    base.mkdir(parents=True)
    assert _default_folder(base, resume=True) == base
    second = tmp_path / "runs" / "name-2"
    assert _default_folder(base, resume=False) == second
    second.mkdir()
    assert _default_folder(base, resume=True) == second


def test_smoothed_losses_by_hand():
    losses = SmoothedLosses()
    losses.add(StepRecord(1, 0.1, {"a": 1.0, "b": 3.0}, 1.0))
    assert losses.values() == {"a": 1.0, "b": 3.0, "total": 4.0}
    losses.add(StepRecord(2, 0.1, {"a": 2.0, "b": 3.0}, 1.0))
    assert losses.values()["a"] == pytest.approx((0.95 * 1 + 2) / 1.95)
    assert losses.values()["b"] == pytest.approx(3.0)


def play(listener, folder):
    """A short run as its listener hears it."""
    config = Config(name="[demo]", train=TrainConfig(steps=4, log_every=2))
    listener.on_start(StartRecord(config, folder, 0, "cpu", 1))
    for step in (1, 2):
        listener.on_step(StepRecord(step, 0.001, {"semantic": 1.5, "offset": 0.5}, 12.0))
    listener.on_evaluating(1, 2)
    listener.on_evaluation(EvaluationRecord(2, 41.25, True, {}))
    listener.on_message("saved")
    listener.on_end()


def test_plain_lines_where_there_is_no_terminal(tmp_path):
    console = Console(file=io.StringIO(), width=200)
    listener = live_view(console)
    assert isinstance(listener, PlainLines)
    play(listener, tmp_path)
    lines = console.file.getvalue().splitlines()
    assert lines[0].startswith("training [demo] on cpu into ")
    assert lines[1].startswith("step 2/4  loss 2.0000  lr 1.00e-03  12.0 images/s  0:00:00 left")
    assert lines[2:] == ["step 2: PQ 41.2 (best so far)", "saved"]


def test_live_view_on_a_terminal(tmp_path):
    console = Console(file=io.StringIO(), width=100, force_terminal=True, highlight=False)
    listener = live_view(console)
    assert isinstance(listener, LiveView)
    play(listener, tmp_path)
    text = console.file.getvalue()
    for shown in ("training", "2/4", "12.0 images/s", "semantic", "1.5000", "2.0000", "PQ 41.2", "saved"):
        assert shown in text
