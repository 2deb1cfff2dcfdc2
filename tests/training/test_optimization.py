import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW

from pisr_core.config import TrainConfig
from pisr_core.errors import ConfigError
from pisr_core.training.optimization import build_optimizer, build_scheduler, lr_factor, parameter_groups


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.head = nn.Linear(4, 2)
        self.frozen = nn.Parameter(torch.zeros(2, 2), requires_grad=False)


def test_poly_schedule_by_hand():
    config = TrainConfig(steps=100, schedule="poly", poly_power=0.9, warmup_steps=0)
    assert lr_factor(config, 0) == 1.0
    assert lr_factor(config, 50) == pytest.approx(0.5358867)
    assert lr_factor(config, 99) == pytest.approx(0.01584893)
    assert lr_factor(config, 100) == 0.0


def test_cosine_schedule_by_hand():
    config = TrainConfig(steps=100, schedule="cosine", warmup_steps=0)
    assert [lr_factor(config, s) for s in (0, 25, 50, 100)] == pytest.approx([1.0, 0.8535534, 0.5, 0.0])


def test_multistep_divides_by_ten_at_each_milestone():
    config = TrainConfig(steps=100, schedule="multistep", milestones=(50, 80), warmup_steps=0)
    factors = [lr_factor(config, s) for s in (0, 49, 50, 79, 80, 99)]
    assert factors == pytest.approx([1.0, 1.0, 0.1, 0.1, 0.01, 0.01])
    with pytest.raises(ConfigError, match="train.milestones = .*ascending"):
        TrainConfig(milestones=(80, 50))


@pytest.mark.parametrize(("name", "kind"), [("adam", Adam), ("adamw", AdamW), ("sgd", SGD)])
def test_a_fused_step_is_the_plain_one(name, kind):
    ours, plain = Net(), Net()
    plain.load_state_dict(ours.state_dict())
    config = TrainConfig(optimizer=name, lr=0.01, weight_decay=0.1)
    momentum = {"momentum": config.momentum} if kind is SGD else {}
    optimizers = build_optimizer(ours, config), kind(parameter_groups(plain, config), **momentum, foreach=False)
    assert all(group["fused"] for group in optimizers[0].param_groups)
    for _ in range(3):
        for parameters in zip(ours.parameters(), plain.parameters(), strict=True):
            for parameter in parameters:
                parameter.grad = parameters[1].detach().sin() if parameter.requires_grad else None
        for optimizer in optimizers:
            optimizer.step()
    for own, expected in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(own, expected, rtol=1e-5, atol=1e-6)


def test_sgd_takes_its_momentum():
    optimizer = build_optimizer(Net(), TrainConfig(optimizer="sgd", momentum=0.8))
    assert {group["momentum"] for group in optimizer.param_groups} == {0.8}


def test_warmup_is_linear_and_ends_at_its_step():
    config = TrainConfig(steps=100, schedule="constant", warmup_steps=4)
    assert [lr_factor(config, s) for s in range(6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])


def test_warmup_multiplies_the_decay():
    config = TrainConfig(steps=10, schedule="poly", poly_power=1.0, warmup_steps=4)
    assert lr_factor(config, 2) == pytest.approx(0.6 * 0.8)


def test_norms_and_biases_do_not_decay_and_the_backbone_learns_slower():
    model = Net()
    config = TrainConfig(lr=0.01, backbone_lr_factor=0.1, weight_decay=0.05)
    groups = {(g["lr"], g["weight_decay"]): g["params"] for g in parameter_groups(model, config)}
    assert {key: len(params) for key, params in groups.items()} == {
        (0.001, 0.05): 1,
        (0.001, 0.0): 3,
        (0.01, 0.05): 1,
        (0.01, 0.0): 1,
    }
    assert groups[0.01, 0.05][0] is model.head.weight
    assert groups[0.001, 0.05][0] is model.backbone[0].weight


def test_equal_settings_make_one_group():
    assert len(parameter_groups(Net(), TrainConfig())) == 1


def test_scheduler_drives_every_group():
    config = TrainConfig(lr=0.01, backbone_lr_factor=0.1, schedule="poly", poly_power=1.0, steps=4, warmup_steps=0)
    optimizer = build_optimizer(Net(), config)
    scheduler = build_scheduler(optimizer, config)
    seen = []
    for _ in range(4):
        seen.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    assert torch.allclose(
        torch.tensor(seen).T, torch.tensor([[0.1], [1.0]]) * torch.tensor([1.0, 0.75, 0.5, 0.25]) * 0.01
    )


@pytest.mark.parametrize(("name", "kind"), [("adam", Adam), ("adamw", AdamW), ("sgd", SGD)])
def test_optimizer_by_name(name, kind):
    assert type(build_optimizer(Net(), TrainConfig(optimizer=name))) is kind


def test_a_late_group_waits_for_the_others_warm_up():
    config = TrainConfig(schedule="constant", warmup_steps=4, backbone_warmup_steps=2, steps=10)
    assert [lr_factor(config, s, late=True) for s in range(8)] == pytest.approx([0, 0, 0, 0, 1 / 3, 2 / 3, 1, 1])


def test_blocks_far_below_learn_more_slowly():
    class Blocks(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = nn.ModuleList([nn.Linear(2, 2, bias=False) for _ in range(3)])
            self.head = nn.Linear(2, 1, bias=False)

        def layers_above(self, name):
            return 2 - int(name.split(".")[1]) if name.startswith("backbone.") else 0

    model = Blocks()
    config = TrainConfig(lr=1.0, layer_decay=0.5, backbone_warmup_steps=3)
    groups = {(g["lr"], g["late"]): g["params"] for g in parameter_groups(model, config)}
    assert set(groups) == {(0.25, True), (0.5, True), (1.0, True), (1.0, False)}
    assert groups[0.25, True] == [model.backbone[0].weight] and groups[1.0, False] == [model.head.weight]
