"""What `Compilation` adds to a training step; `test_fast_model` compiles every architecture for prediction."""

import logging
import subprocess
import sys

import pytest
import torch
from torch import nn

from pisr_core.models.compiling import Compilation

TRAINING = """
import sys
from dataclasses import replace

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from pisr_core import presets
from pisr_core.data import build_dataset
from pisr_core.data.augmentation import Augmentation
from pisr_core.data.loading import TrainingDataset, collate
from pisr_core.evaluation.evaluate import evaluate
from pisr_core.training.learner import Learner
from pisr_core.models import build_model

graphs = []
def backend(graph, inputs):
    graphs.append(len(graph.graph.nodes))
    return graph.forward

compile_module = torch.nn.Module.compile
torch.nn.Module.compile = lambda self, **options: compile_module(self, backend=backend, dynamic=False)
data = ["data.dataset=scenes", "data.scenes.size=[64, 64]", "data.crop=[64, 64]", "train.ema=0.0"]

def losses(config):
    AcceleratorState._reset_state(reset_partial_state=True)
    dataset = build_dataset(config.data, "train", None)
    torch.manual_seed(0)
    model = build_model(config, dataset.categories)
    learner = Learner(model, config.train, Accelerator(cpu=True, mixed_precision=config.train.precision))
    views = TrainingDataset(dataset, Augmentation(config.data), model.target_generator(), 0)
    batch = collate([views[0, index] for index in range(2)])
    learner.model.train()
    terms = [learner.step(step, [batch]) for step in (1, 2)]
    before = len(graphs)
    with learner.evaluating():
        val = build_dataset(config.data, "val", None)
        evaluate(learner.evaluated, val, config.data, torch.device("cpu"), workers=0, limit=1, instances=False)
    assert len(graphs) == before  # evaluations compile nothing
    return terms

for preset, *settings in map(str.split, sys.argv[1:]):
    config = presets.load(preset, ["backbone.pretrained=false", *data, *settings])
    expected = losses(config)
    graphs.clear()
    found = losses(replace(config, train=replace(config.train, compile=True)))
    for ours, theirs in zip(found, expected):
        assert ours.keys() == theirs.keys()
        for name in ours:
            assert abs(ours[name] - theirs[name]) <= 0.02 * abs(theirs[name]) + 1e-3, (preset, name, ours, theirs)
    print(preset, len(graphs), max(graphs))
"""


def test_steps_are_compiled_and_evaluations_are_not():
    """In a process of its own: types that are checked at run time, as in tests, break the graphs."""
    run = "scenes-pdl-r18 train.precision=bf16"
    done = subprocess.run([sys.executable, "-c", TRAINING, run], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    _, count, nodes = done.stdout.split()
    assert int(count) == 1 and int(nodes) > 60


CHECKPOINTED = """
import copy
from functools import partial
import torch
from torch import nn
from pisr_core.training.checkpointing import _recomputed

plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
stage = copy.deepcopy(plain)
stage.forward = partial(_recomputed, stage.forward, [stage[1]], "all")
images = torch.rand(2, 3, 8, 8)
for model in (plain, torch.compile(stage, backend="aot_eager_decomp_partition", fullgraph=True)):
    model(images).square().sum().backward()
for ours, expected in zip(stage.parameters(), plain.parameters(), strict=True):
    torch.testing.assert_close(ours.grad, expected.grad, rtol=1e-3, atol=1e-3)
for ours, expected in zip(stage.state_dict().values(), plain.state_dict().values(), strict=True):
    torch.testing.assert_close(ours, expected)
"""


def test_checkpointed_stages_compile():
    done = subprocess.run([sys.executable, "-c", CHECKPOINTED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def failing_compiler(monkeypatch):
    """`torch.compile` with a backend that fails."""

    def backend(graph, inputs):
        raise OSError("no compiler here")

    compile_module = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda self, **_: compile_module(self, backend=backend, dynamic=False))
    torch.compiler.reset()


class Doubled(nn.Module):
    """Not torch's own layer, which some versions do not compile by itself."""

    def forward(self, images):
        return 2 * images


def test_work_is_done_again_without_the_compiler(failing_compiler, caplog):
    model, images, calls = Doubled(), torch.rand(1, 3, 8, 8), []
    compilation = Compilation([model])

    def work():
        calls.append(1)
        return model(images)

    with caplog.at_level(logging.WARNING, "pisr_core"):
        first, second = compilation.run(work), compilation.run(work)
    assert len(calls) == 3 and torch.equal(first, second)
    (record,) = [record for record in caplog.records if record.name.startswith("pisr_core")]
    assert "torch.compile does not work here" in record.message and "no compiler here" in record.message


def test_other_errors_are_raised():
    with pytest.raises(ZeroDivisionError):
        Compilation([nn.ReLU()]).run(lambda: 1 // 0)
