"""The optimiser's parameter groups and the learning rate over the run."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from pisr_core.config import TrainConfig

OPTIMIZERS: dict[str, Callable[[list[dict[str, Any]], TrainConfig], Optimizer]] = {
    "adam": lambda groups, config: Adam(groups, fused=True),
    "adamw": lambda groups, config: AdamW(groups, fused=True),
    "sgd": lambda groups, config: SGD(groups, momentum=config.momentum, fused=True),
}
"""Optimisers by the names that `train.optimizer` takes, in one kernel for all that a step changes: every device that
`choose_device` knows has it."""

DECAY = 0.1
"""What `multistep` multiplies the rate by at each milestone."""


def parameter_groups(model: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """Sorts the trainable parameters by learning rate and weight decay.

    Parameters of `model.backbone` learn at `backbone_lr_factor` times the rate, those of a vision transformer's blocks
    less by `layer_decay` for each block above. Those with one dimension or none (biases, and the scales of norms) are
    not decayed.

    Returns:
        Groups for a torch optimiser, each with `params`, `lr`, `weight_decay`, and `late`: whether it waits for the
        others' warm-up.
    """
    groups: dict[tuple[float, float, bool], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        of_backbone = name.startswith("backbone.")
        lr = config.lr * (config.backbone_lr_factor if of_backbone else 1.0)
        if config.layer_decay != 1.0:
            lr *= config.layer_decay ** model.layers_above(name)  # type: ignore[operator]
        decay = config.weight_decay if parameter.ndim > 1 else 0.0
        groups[lr, decay, of_backbone and config.backbone_warmup_steps > 0].append(parameter)
    return [
        {"params": params, "lr": lr, "weight_decay": decay, "late": late}
        for (lr, decay, late), params in groups.items()
    ]


def build_optimizer(model: nn.Module, config: TrainConfig) -> Optimizer:
    """The optimiser of a config over `parameter_groups`."""
    return OPTIMIZERS[config.optimizer](parameter_groups(model, config), config)


def lr_factor(config: TrainConfig, step: int, late: bool = False) -> float:
    """What the peak learning rate is multiplied by in a step.

    Args:
        config: the schedule, its length and its warm-up.
        step: steps done before this one, from 0.
        late: whether the group's own warm-up, of `backbone_warmup_steps`, follows that of the others.

    Returns:
        A factor in [0, 1]: the schedule's (`poly` is (1 − step/steps)^power, `cosine` half a period, `multistep` a
        tenth after each milestone) times a linear warm-up that starts just above zero and reaches 1 at `warmup_steps`.
    """
    done = min(step / config.steps, 1.0)
    factors = {
        "poly": (1.0 - done) ** config.poly_power,
        "cosine": 0.5 * (1.0 + math.cos(math.pi * done)),
        "multistep": DECAY ** bisect_right(config.milestones, step),
        "constant": 1.0,
    }
    waiting, length = (config.warmup_steps, config.backbone_warmup_steps) if late else (0, config.warmup_steps)
    warmup = min(1.0, max(0.0, (step + 1 - waiting) / (length + 1)))
    return warmup * factors[config.schedule]


def build_scheduler(optimizer: Optimizer, config: TrainConfig) -> LambdaLR:
    """`lr_factor` applied to every group of the optimiser."""
    factors: list[Callable[[int], float]] = [
        partial(lr_factor, config, late=bool(group["late"])) for group in optimizer.param_groups
    ]
    return LambdaLR(optimizer, factors)
