import os
import signal
from dataclasses import replace

import pytest
import torch
from flipped_bits import flip_bit
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_training import CATEGORIES, CONFIG, TRAIN, Pixels, assert_same_run, metrics, run, tiny_parts

from pisr_core import presets
from pisr_core.errors import ConfigError, TrainingError
from pisr_core.training import train as trainer
from pisr_core.training.listeners import TrainListener
from pisr_core.training.state import read_state
from pisr_core.weights.files.checkpoint import read_checkpoint
from pisr_core.weights.fitting import FitReport


@pytest.fixture(autouse=True, scope="module")
def parts():
    with tiny_parts():
        yield


class Killed(BaseException):
    """As sudden as SIGKILL."""


class KillAt(TrainListener):
    def __init__(self, step, evaluation=False):
        self.step, self.evaluation = step, evaluation

    def on_step(self, record):
        if record.step == self.step and not self.evaluation:
            raise Killed

    def on_evaluation(self, record):
        if record.step == self.step and self.evaluation:
            raise Killed


@pytest.fixture(scope="module")
def whole(parts, tmp_path_factory):
    """An uninterrupted run."""
    out = tmp_path_factory.mktemp("whole")
    run(out)
    return out


def test_a_run_leaves_its_files(whole):
    names = sorted(str(path.relative_to(whole)) for path in whole.rglob("*") if path.is_file())
    assert [name for name in names if "tfevents" not in name] == [
        "best.safetensors",
        "config.toml",
        "last.safetensors",
        "metrics.jsonl",
        "state/lock",
        "state/previous.pt",
        "state/training.pt",
    ]
    assert presets.load(str(whole / "config.toml")) == CONFIG
    last = read_checkpoint(whole / "last.safetensors")
    assert last.config == CONFIG and last.categories == CATEGORIES and last.info["step"] == 8


def test_metrics_hold_steps_and_evaluations(whole):
    lines = metrics(whole)
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 9))
    assert [line["step"] for line in lines if "evaluation" in line] == [3, 6, 8]
    assert lines[0]["lr"] == pytest.approx(0.01 / 4)
    assert lines[0]["loss"] == pytest.approx(sum(lines[0]["losses"].values()))


def test_best_is_the_highest_pq(whole):
    scores = {
        line["step"]: line["evaluation"]["panoptic"]["all"]["pq"] for line in metrics(whole) if "evaluation" in line
    }
    step = max(scores, key=scores.get)
    assert read_checkpoint(whole / "best.safetensors").info == {
        "step": step,
        "pq": scores[step],
        "best_pq": scores[step],
        "best_step": step,
        "evaluated_step": step,
        "best_score": scores[step],
        "worse_evaluations": 0,
    }


def test_saved_weights_are_the_averaged_ones(whole):
    state = read_state(whole / "state" / "training.pt").learner
    saved = read_checkpoint(whole / "last.safetensors").state
    assert torch.equal(saved["head.weight"], state["average"]["module.head.weight"])
    assert not torch.equal(saved["head.weight"], state["model"]["head.weight"])


def test_tensorboard_holds_losses_and_scores(whole):
    events = EventAccumulator(str(whole / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("loss/semantic")] == list(range(1, 9))
    assert [event.step for event in events.Scalars("panoptic/all/pq")] == [3, 6, 8]
    assert "panoptic/all/rq" not in events.Tags()["scalars"]


@pytest.mark.parametrize("killer", [KillAt(1), KillAt(4), KillAt(5), KillAt(6, evaluation=True), KillAt(8)])
def test_resumed_run_is_the_uninterrupted_one(whole, tmp_path, killer):
    with pytest.raises(Killed):
        run(tmp_path, listeners=[killer])
    result = run(tmp_path, resume=True)
    assert result.progress.step == 8
    assert_same_run(whole, tmp_path)


def test_a_deterministic_run_is_the_same_over_a_kill(tmp_path):
    class Watch(TrainListener):
        def on_step(self, record):
            seen.append(torch.are_deterministic_algorithms_enabled())

    seen, config = [], replace(CONFIG, train=replace(TRAIN, deterministic=True))
    run(tmp_path / "whole", config, listeners=[Watch()])
    with pytest.raises(Killed):
        run(tmp_path / "killed", config, listeners=[KillAt(5)])
    run(tmp_path / "killed", config, resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "killed")
    assert seen == [True] * 8 and not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("write", range(1, 13))
def test_killed_while_writing(whole, tmp_path, monkeypatch, write):
    """Each of a run's files in turn is written, but not yet renamed, when the process dies."""
    real, calls = os.replace, []

    def replace_or_die(source, target):
        calls.append(target)
        if len(calls) == write:
            raise Killed
        real(source, target)

    monkeypatch.setattr("os.replace", replace_or_die)
    with pytest.raises(Killed):
        run(tmp_path)
    resumable = (tmp_path / "state" / "training.pt").exists()
    assert resumable == (write > 2)
    run(tmp_path, resume=resumable)
    assert_same_run(whole, tmp_path)


def test_a_damaged_state_gives_way_to_the_one_before(whole, tmp_path, caplog):
    with pytest.raises(Killed):
        run(tmp_path, listeners=[KillAt(7)])
    state = tmp_path / "state" / "training.pt"
    weights = read_state(state).learner["model"]["backbone.0.bias"]
    flip_bit(state, state.read_bytes().index(weights.numpy().tobytes()))
    result = run(tmp_path, resume=True)
    assert any("the one before it, of step 4, is taken" in message for message in caplog.messages)
    assert result.progress.step == 8
    assert_same_run(whole, tmp_path)


def test_half_a_line_of_metrics_is_dropped(whole, tmp_path):
    with pytest.raises(Killed):
        run(tmp_path, listeners=[KillAt(6)])
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')
    run(tmp_path, resume=True)
    assert metrics(tmp_path) == metrics(whole)


def test_resuming_a_finished_run_changes_nothing(whole, tmp_path):
    run(tmp_path)
    result = run(tmp_path, resume=True)
    assert result.progress.step == 8 and result.progress.pq is not None
    assert_same_run(whole, tmp_path)


class Ask(TrainListener):
    """Sends a signal to this process in a step."""

    def __init__(self, number, step):
        self.number, self.step, self.messages = number, step, []

    def on_step(self, record):
        if record.step == self.step:
            signal.raise_signal(self.number)

    def on_message(self, text):
        self.messages.append(text)


def test_ctrl_c_saves_the_step_and_interrupts(whole, tmp_path):
    listener = Ask(signal.SIGINT, 5)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, listeners=[listener])
    assert read_state(tmp_path / "state" / "training.pt").progress.step == 5
    assert listener.messages == ["state saved; --resume continues from here"]
    run(tmp_path, resume=True)
    assert_same_run(whole, tmp_path)


def test_sigterm_saves_the_step_and_ends_as_it_would_have(tmp_path):
    arrived = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: arrived.append(number))
    try:
        run(tmp_path, listeners=[Ask(signal.SIGTERM, 2)])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert arrived == [signal.SIGTERM]
    assert read_state(tmp_path / "state" / "training.pt").progress.step == 2


def test_ignored_signals_stay_ignored(tmp_path):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        result = run(tmp_path, listeners=[Ask(signal.SIGINT, 2)])
    finally:
        signal.signal(signal.SIGINT, before)
    assert result.progress.step == 8


def test_a_folder_with_a_run_is_refused(whole):
    with pytest.raises(TrainingError, match="holds a run already.*--resume.*--out"):
        run(whole)


def test_resume_without_a_run_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="no state to resume from"):
        run(tmp_path, resume=True)


def test_resume_with_other_settings_names_them(whole):
    other = replace(CONFIG, train=replace(TRAIN, lr=0.5, steps=9))
    with pytest.raises(TrainingError, match=r"train\.lr: 0\.01 → 0\.5; train\.steps: 8 → 9"):
        run(whole, other, resume=True)


def test_fp16_needs_a_gpu(tmp_path):
    with pytest.raises(ConfigError, match="bf16"):
        run(tmp_path, replace(CONFIG, train=replace(TRAIN, precision="fp16")))


def test_loss_that_is_not_finite_keeps_the_state_before(tmp_path, monkeypatch):
    calls = []

    def losses(self, output, targets):
        calls.append(1)
        return {"semantic": output.mean(), "offset": output.mean() / (0 if len(calls) == 10 else 1)}

    monkeypatch.setattr(Pixels, "losses", losses)
    with pytest.raises(
        TrainingError, match=r"step 5: .*\(offset = -?inf.*\) on the images (\d\.png,? ?){3}\d\.png\. .*step 4"
    ):
        run(tmp_path)
    assert read_state(tmp_path / "state" / "training.pt").progress.step == 4


def test_fine_tuning_starts_from_the_weights_and_tells_what_became_of_them(whole, tmp_path, monkeypatch):
    report = FitReport("a checkpoint of pisr", "", ("backbone.0.weight",), ("head.bias",), (), (), (), (), None)

    def load(model, path):
        model.load_state_dict(read_checkpoint(path).state)
        return report

    monkeypatch.setattr(trainer, "load_fitting_weights", load)
    config = replace(CONFIG, train=replace(TRAIN, steps=1, lr=1e-12, ema=0.0))
    result = run(tmp_path, config, weights=whole / "last.safetensors")
    assert result.start is report
    old = read_checkpoint(whole / "last.safetensors").state["backbone.0.weight"]
    new = read_checkpoint(tmp_path / "last.safetensors").state["backbone.0.weight"]
    assert torch.allclose(old, new, atol=1e-9)


def test_two_runs_in_one_process_may_differ_in_precision(tmp_path):
    short = replace(TRAIN, steps=1)
    run(tmp_path / "a", replace(CONFIG, train=short))
    run(tmp_path / "b", replace(CONFIG, train=replace(short, precision="bf16", accumulate=1)))
    assert (tmp_path / "b" / "last.safetensors").exists()
