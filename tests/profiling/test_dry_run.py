import math

import pytest
import torch

from pisr_core import presets
from pisr_core.config import TrainConfig
from pisr_core.errors import DeviceError, TrainingError
from pisr_core.profiling import dry_run as module
from pisr_core.profiling.dry_run import dry_run, evaluations, tensor_bytes
from pisr_core.training.learner import Learner

SETTINGS = (
    "data.crop=[64, 64]",
    "data.scenes.size=[64, 64]",
    "data.scenes.train_images=10",
    "data.scenes.val_images=3",
    "train.steps=7",
    "train.eval_every=3",
    "train.batch_size=2",
)


def tried(tmp_path, *settings):
    config = presets.load("scenes-pdl-r18", [*SETTINGS, *settings])
    return dry_run(config, None, tmp_path / "runs" / "new", device="cpu")


@pytest.mark.parametrize(("steps", "every", "count"), [(7, 3, 3), (6, 3, 2), (7, 0, 1), (2, 5, 1)])
def test_evaluations_of_a_run(steps, every, count):
    assert evaluations(TrainConfig(steps=steps, eval_every=every)) == count


def test_tensor_bytes_of_nested_tables():
    state = {"a": torch.zeros(3), "b": [torch.zeros(2, dtype=torch.uint8), {"c": torch.zeros(1)}], "d": 5, "e": None}
    assert tensor_bytes(state) == 12 + 2 + 4


def test_numbers_follow_from_each_other(tmp_path):
    run = tried(tmp_path, "data.workers=0")
    assert (run.device, run.processes, run.train_images, run.val_images, run.workers) == ("cpu", 1, 10, 3, 0)
    assert len(run.classes) == 15 and set(run.losses) > {"semantic", "initial_semantic"}
    pace = run.step_seconds + run.loading_seconds
    assert run.images_per_second == pytest.approx(2 / pace)
    assert run.estimated_seconds == pytest.approx(7 * pace + 3 * 3 * run.evaluation_seconds)
    assert run.free > 0 and run.reinitialised == ()
    # Adam's two moments, the weights and their average; best and last weights; two states, and one once more.
    floats = 4 * run.parameters
    assert (4 * 3 + 2) * floats < run.disk < (4 * 3 + 2) * floats * 1.02
    assert list(tmp_path.iterdir()) == []


def test_workers_read_while_the_step_computes(tmp_path):
    run = tried(tmp_path, "data.workers=3", "train.eval_images=1", "train.steps=1", "train.ema=0.0")
    assert run.workers == 3 and run.val_images == 1
    assert run.images_per_second == pytest.approx(2 / max(run.step_seconds, run.loading_seconds / 3))


def test_finds_what_would_stop_the_run(tmp_path, monkeypatch):
    (tmp_path / "runs/new").mkdir(parents=True)
    (tmp_path / "runs/new/last.safetensors").touch()
    with pytest.raises(TrainingError, match="holds a run already"):
        tried(tmp_path)
    (tmp_path / "runs/new/last.safetensors").unlink()
    with pytest.raises(TrainingError, match="step 1: .* not finite .offset = nan"):
        monkeypatch.setattr(Learner, "step", lambda *_: {"semantic": 1.0, "offset": math.nan})
        tried(tmp_path, "data.workers=0")


def test_explains_a_lack_of_memory(tmp_path, monkeypatch):
    def out_of_memory(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(module, "evaluate", out_of_memory)
    with pytest.raises(DeviceError, match="train.accumulate"):
        tried(tmp_path, "data.workers=0")
