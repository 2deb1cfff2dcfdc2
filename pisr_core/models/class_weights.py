"""The factors of classes in the cross entropies."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from pisr_core.config import LossConfig, check
from pisr_core.structures import Category


def class_weights(config: LossConfig, categories: Sequence[Category]) -> Float[Tensor, " n"] | None:
    """The factor of each class, 1 where none is set; `None` without any. Training puts numbers in place of `balanced`.

    Raises:
        ConfigError: a weight of a class that there is not.
    """
    if not config.class_weights or isinstance(config.class_weights, str):
        return None
    names = [category.name for category in categories]
    for name, weight in config.class_weights.items():
        check(name in names, f"loss.class_weights.{name}", weight, f"no such class; there are {', '.join(names)}")
    return torch.tensor([config.class_weights.get(name, 1.0) for name in names])
