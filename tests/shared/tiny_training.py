"""A training run that takes a fraction of a second, for several test files and the scripts that they start."""

import json
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from pisr_core.config import BackboneConfig, Config, DataConfig, TrainConfig
from pisr_core.models.center_offset.targets import CenterOffsetTargetGenerator
from pisr_core.structures import Category, PanopticSegmentation, Sample, Segment
from pisr_core.training import loop
from pisr_core.training import train as trainer
from pisr_core.training.state import read_state
from pisr_core.weights.files.checkpoint import read_checkpoint

CATEGORIES = (Category(1, "ground", False), Category(2, "box", True))
TRAIN = TrainConfig(
    steps=8,
    batch_size=4,
    accumulate=2,
    lr=0.01,
    warmup_steps=3,
    ema=0.8,
    eval_every=3,
    save_every=2,
    log_every=1,
)
CONFIG = Config(
    name="tiny",
    backbone=BackboneConfig(pretrained=False),
    data=DataConfig(crop=(16, 16), color=0.1, workers=0),
    train=TRAIN,
)


class Boxes:
    """Six images of noise, each with a box on the ground."""

    categories = CATEGORIES

    def __len__(self):
        return 6

    def __getitem__(self, index):
        rng = np.random.default_rng(index)
        ids = np.ones((20, 20), np.int32)
        ids[4:12, 2 + index : 10 + index] = 2
        image = rng.integers(0, 256, (3, 20, 20), dtype=np.uint8) // 2 + (ids == 2) * 100
        segments = (Segment(1, 0, 336), Segment(2, 1, 64))
        return Sample(
            torch.from_numpy(image.astype(np.uint8)),
            PanopticSegmentation(ids, segments),
            index,
            self.file_name(index),
        )

    def size(self, index):
        return 20, 20

    def file_name(self, index):
        return f"{index}.png"


class Pixels(nn.Module):
    """Classifies pixels; batch norm and dropout make resuming hard."""

    def __init__(self, classes):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5))
        self.head = nn.Conv2d(4, classes, 1)

    def forward(self, images):
        return self.head(self.backbone(images.float() / 255))

    def begin_step(self, progress):
        pass

    def target_generator(self):
        return CenterOffsetTargetGenerator(CONFIG.targets, thing_ids=(1,))

    def losses(self, output, targets):
        return {"semantic": nn.functional.cross_entropy(output, targets.semantic, ignore_index=255)}


def fake_evaluate(model, dataset, config, device, *, batch_size, workers, limit, progress, process, instances):
    """A score that follows from the weights alone, and goes up and down."""
    assert not instances  # AP would hold training up
    progress(len(dataset), len(dataset))
    total = sum(p.double().abs().sum().item() for p in model.parameters())
    quality = {"pq": (total * 1e4) % 100, "sq": 1.0, "rq": None, "n": 2}
    scores = {"panoptic": {g: quality for g in ("all", "things", "stuff")}, "semantic": {"miou": 50.0}}
    return SimpleNamespace(to_json=lambda: scores)


@contextmanager
def tiny_parts():
    """Puts the dataset, the model and the evaluation above in place of the real ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "build_dataset", lambda config, split, root: Boxes())
        patch.setattr(trainer, "build_model", lambda config, categories: Pixels(len(categories)))
        patch.setattr(loop, "evaluate", fake_evaluate)
        yield


def run(out, config=CONFIG, **options):
    return trainer.train(config, None, out, device="cpu", **options)


def metrics(out):
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [
        {key: value for key, value in line.items() if key not in ("images_per_second", "waiting")} for line in lines
    ]


def assert_same_weights(first, second):
    a, b = read_checkpoint(first).state, read_checkpoint(second).state
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def assert_same_run(first, second):
    assert_same_weights(first / "last.safetensors", second / "last.safetensors")
    assert_same_weights(first / "best.safetensors", second / "best.safetensors")
    assert metrics(first) == metrics(second)
    a, b = (read_state(out / "state" / "training.pt") for out in (first, second))
    assert a.progress == b.progress
    assert all(torch.equal(a.learner["model"][name], b.learner["model"][name]) for name in a.learner["model"])
