import os
import pickle

import pytest
import torch

from pisr_core.engine.state import (
    Progress,
    RunFolder,
    TrainingState,
    check_same_run,
    read_state,
    save_state,
)
from pisr_core.errors import CheckpointError, TrainingError

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
    with pytest.raises(TrainingError, match=r"train\.ema: None → 0\.9; train\.lr: 0\.1 → 0\.2\)"):
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
