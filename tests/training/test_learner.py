from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn

from pisr_core.config import TrainConfig
from pisr_core.models.center_offset.structures import CenterOffsetTargets
from pisr_core.structures import TrainingBatch
from pisr_core.training.learner import Learner, random_seed

CONFIG = TrainConfig(steps=10, batch_size=4, lr=0.1, schedule="constant", warmup_steps=0)


class Regression(nn.Module):
    """Learns the mean of each image; its loss is a mean over the batch."""

    def __init__(self, dropout=0.0):
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.dropout = nn.Dropout(dropout)

    def forward(self, images):
        return self.dropout(self.layer(images.float().mean(dim=(2, 3)) / 255))

    def parts_to_compile(self):
        return [self]

    def begin_step(self, progress):
        self.progress = progress

    def losses(self, output, targets):
        wanted = targets.center.mean(dim=(1, 2, 3))
        return {"first": ((output[:, 0] - wanted) ** 2).mean(), "second": (output[:, 1] ** 2).mean()}


def batch(start, count, center=None):
    rng = torch.Generator().manual_seed(start)
    images = torch.stack([torch.randint(0, 256, (3, 4, 4), generator=rng.manual_seed(start + i)) for i in range(count)])
    center = images[:, :1].float() / 255 if center is None else center
    ones, two = torch.ones(count, 4, 4), torch.zeros(count, 2, 4, 4)
    targets = CenterOffsetTargets(ones.long(), ones, center, ones[:, None], two, ones[:, None])
    return TrainingBatch(images.to(torch.uint8), targets, tuple((0, start + i) for i in range(count)))


def learner(config=CONFIG, dropout=0.0):
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(cpu=True, mixed_precision=config.precision)
    torch.manual_seed(3)
    return Learner(Regression(dropout), config, accelerator)


def weights(module):
    return torch.cat([p.detach().flatten().clone() for p in module.parameters()])


def test_first_adam_step_by_hand():
    one = learner()
    before = weights(one.model)
    one.step(1, [batch(0, 4)])
    moved = (weights(one.model) - before).abs()
    assert torch.allclose(moved, torch.full_like(moved, 0.1), atol=1e-4)  # Adam's first step is ±lr


def test_losses_are_the_named_terms():
    one = learner()
    data = batch(0, 4)
    expected = one.model.losses(one.model(data.images), data.targets)
    values = one.step(1, [data])
    assert values == pytest.approx({name: loss.item() for name, loss in expected.items()})


def test_accumulation_is_the_big_batch():
    whole, parts = learner(), learner(replace(CONFIG, accumulate=2))
    for step in (1, 2, 3):
        first = whole.step(step, [batch(4 * step, 4)])
        second = parts.step(step, [batch(4 * step, 2), batch(4 * step + 2, 2)])
        assert first == pytest.approx(second, rel=1e-5)
    assert torch.allclose(weights(whole.model), weights(parts.model), atol=1e-5)


def test_average_by_hand():
    one = learner(replace(CONFIG, ema=0.75))
    one.step(1, [batch(0, 4)])
    first = weights(one.model)
    assert torch.equal(weights(one.evaluated), first)
    one.step(2, [batch(4, 4)])
    assert torch.allclose(weights(one.evaluated), 0.75 * first + 0.25 * weights(one.model))
    assert not one.evaluated.training


def test_without_average_the_model_itself_is_evaluated():
    one = learner()
    assert one.evaluated is one.model


def test_clipping_limits_the_gradient():
    norms = []
    one = learner(replace(CONFIG, clip_norm=1e-3))
    one.optimizer.register_step_pre_hook(
        lambda *_: norms.append(torch.cat([p.grad.flatten() for p in one.model.parameters()]).norm().item())
    )
    one.step(1, [batch(0, 4)])
    assert norms == pytest.approx([1e-3], rel=1e-2)


def test_randomness_depends_on_step_alone():
    data = batch(0, 4)
    a, b, c = learner(dropout=0.5), learner(dropout=0.5), learner(dropout=0.5)
    torch.rand(17)
    first = a.step(5, [data])
    torch.rand(3)
    assert b.step(5, [data]) == first
    assert c.step(6, [data]) != first


def test_seeds_differ():
    seeds = {random_seed(seed, step, rank) for seed in (0, 1) for step in (1, 2) for rank in (0, 1)}
    assert len(seeds) == 8


def test_a_step_is_made_whole_where_compiling_fails(monkeypatch, caplog):
    def backend(graph, inputs):
        raise OSError("no compiler here")

    compile_module = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda self, **_: compile_module(self, backend=backend, dynamic=False))
    torch.compiler.reset()
    config = replace(CONFIG, accumulate=2)
    plain, compiled = learner(config), learner(replace(config, compile=True))
    for step in (1, 2):
        batches = [batch(4 * step, 2), batch(4 * step + 2, 2)]
        assert compiled.step(step, batches) == plain.step(step, batches)
    assert torch.equal(weights(compiled.model), weights(plain.model))
    assert sum("torch.compile does not work here" in message for message in caplog.messages) == 1


def test_bf16_works_on_the_cpu():
    one = learner(replace(CONFIG, precision="bf16"))
    exact = learner().step(1, [batch(0, 4)])
    assert one.step(1, [batch(0, 4)]) == pytest.approx(exact, rel=0.05)
    assert one.model.layer.weight.dtype == torch.float32


def test_state_continues_exactly():
    config = replace(CONFIG, ema=0.9, schedule="cosine", warmup_steps=2)
    whole = learner(config, dropout=0.3)
    for step in (1, 2, 3, 4):
        whole.step(step, [batch(step, 4)])
    first, second = learner(config, dropout=0.3), learner(config, dropout=0.3)
    for step in (1, 2):
        first.step(step, [batch(step, 4)])
    second.load_state_dict(first.state_dict())
    for step in (3, 4):
        second.step(step, [batch(step, 4)])
    assert torch.equal(weights(whole.model), weights(second.model))
    assert torch.equal(weights(whole.evaluated), weights(second.evaluated))
    assert whole.lr == second.lr
