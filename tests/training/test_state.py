import os
import pickle
from dataclasses import replace
from unittest.mock import Mock

import pytest
import torch
from flipped_bits import flip_bit

from pisr_core.errors import CheckpointError, TrainingError
from pisr_core.training.state import (
    Progress,
    RunFolder,
    TrainingState,
    check_same_run,
    drop_damaged_state,
    newest_unfinished,
    read_state,
    save_state,
    state_before,
)

STATE = TrainingState(
    Progress(step=7, pq=40.5, best_pq=41.0, best_step=5),
    {"train": {"lr": 0.1}, "data": {"crop": [8, 8]}},
    {"model": {"w": torch.arange(3.0)}, "average": None},
)


def test_round_trip(tmp_path):
    path = RunFolder(tmp_path).state
    save_state(path, STATE)
    read = read_state(path)
    assert read.progress == STATE.progress and read.identity == STATE.identity
    assert torch.equal(read.learner["model"]["w"], torch.arange(3.0))
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("links", [True, False])
def test_the_state_before_is_kept(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr("os.link", Mock(side_effect=PermissionError))
    path = tmp_path / "training.pt"
    for step in (1, 2, 3):
        save_state(path, replace(STATE, progress=Progress(step)))
    assert read_state(path).progress.step == 3
    assert read_state(state_before(path)).progress.step == 2
    assert sorted(tmp_path.iterdir()) == [state_before(path), path]


def test_no_flipped_bit_goes_unnoticed(tmp_path, caplog):
    path = tmp_path / "training.pt"
    save_state(path, replace(STATE, progress=Progress(1)))
    save_state(path, STATE)
    content, noticed = path.read_bytes(), 0
    for place in range(0, len(content), 29):
        path.write_bytes(content)
        flip_bit(path, place, bit=place % 8)
        state = read_state(path)
        assert state.progress in (STATE.progress, Progress(1))
        assert torch.equal(state.learner["model"]["w"], torch.arange(3.0)), place
        noticed += state.progress == Progress(1)
    assert noticed > 20 and len(caplog.messages) == noticed


def test_two_damaged_states_are_refused(tmp_path):
    path = tmp_path / "training.pt"
    for _ in range(2):
        save_state(path, STATE)
    for each in (path, state_before(path)):
        each.write_bytes(each.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"training\.pt: not a whole training state .*--weights"):
        read_state(path)


def test_a_damaged_state_is_dropped_before_the_next_save(tmp_path):
    path = tmp_path / "training.pt"
    save_state(path, replace(STATE, progress=Progress(1)))
    save_state(path, STATE)
    drop_damaged_state(path)
    assert read_state(path).progress == STATE.progress
    flip_bit(path, path.read_bytes().index(torch.arange(3.0).numpy().tobytes()))
    drop_damaged_state(path)
    assert read_state(path).progress == Progress(1) and not state_before(path).exists()


def test_no_state_is_named_with_its_cure(tmp_path):
    with pytest.raises(TrainingError, match="no state to resume from.*--resume"):
        read_state(tmp_path / "training.pt")


def test_truncated_state(tmp_path):
    path = tmp_path / "training.pt"
    save_state(path, STATE)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"training\.pt: not a whole training state"):
        read_state(path)


@pytest.mark.parametrize("content", [b"", b"nothing", pickle.dumps([1, 2])])
def test_foreign_state(tmp_path, content):
    path = tmp_path / "training.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="not a whole training state"):
        read_state(path)


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_nothing_in_a_state_is_executed(tmp_path):
    torch.save({"progress": Payload(str(tmp_path / "owned"))}, tmp_path / "training.pt")
    with pytest.raises(CheckpointError):
        read_state(tmp_path / "training.pt")
    assert not (tmp_path / "owned").exists()


def test_differing_settings_are_all_named(tmp_path):
    now = {"train": {"lr": 0.2, "ema": 0.9}, "data": {"crop": (8, 8)}}
    with pytest.raises(TrainingError, match=r"train\.ema: 0\.0 → 0\.9; train\.lr: 0\.1 → 0\.2\)"):
        check_same_run(tmp_path, STATE.identity, now)


def test_equal_settings_are_the_same_run(tmp_path):
    check_same_run(tmp_path, STATE.identity, {"train": {"lr": 0.1}, "data": {"crop": (8, 8)}})


@pytest.mark.parametrize("name", ["state/training.pt", "last.safetensors", "best.safetensors"])
def test_a_folder_with_a_run_is_not_free(tmp_path, name):
    folder = RunFolder(tmp_path)
    folder.check_free()
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    with pytest.raises(TrainingError, match="holds a run already.*--resume"):
        folder.check_free()


def test_settings_that_change_no_run_may_change(tmp_path, caplog):
    then = {"data": {"workers": 4}, "train": {"accumulate": 1, "save_every": 10}}
    now = {"data": {"workers": 0}, "train": {"accumulate": 2, "save_every": 10}}
    with caplog.at_level("INFO", logger="pisr_core"):
        check_same_run(tmp_path, then, now)
    assert caplog.messages == ["resuming with data.workers: 4 → 0; train.accumulate: 1 → 2"]


def test_a_run_may_go_on_with_settings_that_it_did_not_know(tmp_path, caplog):
    now = {"train": {"accumulate": 1, "checkpointing": "all", "compile": False}}
    with caplog.at_level("INFO", logger="pisr_core"):
        check_same_run(tmp_path, {"train": {"accumulate": 1}}, now)
    assert caplog.messages == ["resuming with train.checkpointing: none → all"]


def finished_until(folder, step, age):
    path = RunFolder(folder).state
    save_state(path, TrainingState(Progress(step=step, evaluated_step=step), {"train": {"steps": 9}}, {}))
    os.utime(path, (1e9 - age, 1e9 - age))


def test_the_newest_unfinished_run(tmp_path):
    with pytest.raises(TrainingError, match=r"no unfinished run.*--out"):
        newest_unfinished(tmp_path)
    finished_until(tmp_path / "older", 3, age=3)
    finished_until(tmp_path / "study" / "runs" / "newer", 4, age=2)
    finished_until(tmp_path / "done", 9, age=1)
    RunFolder(tmp_path / "broken").state.parent.mkdir(parents=True)
    RunFolder(tmp_path / "broken").state.write_bytes(b"half")
    assert newest_unfinished(tmp_path).path == tmp_path / "study" / "runs" / "newer"


def test_a_run_before_its_last_evaluation_is_unfinished(tmp_path):
    state = TrainingState(Progress(step=9, evaluated_step=6), {"train": {"steps": 9}}, {})
    save_state(RunFolder(tmp_path / "a").state, state)
    assert newest_unfinished(tmp_path).path == tmp_path / "a"
