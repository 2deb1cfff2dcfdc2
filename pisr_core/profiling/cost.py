"""A model's operations and parameters from its config alone, with those of its base and of both product orders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from pisr_core.config import Config
from pisr_core.data.augmentation import evaluation_size
from pisr_core.data.categories import known_categories
from pisr_core.errors import ConfigError
from pisr_core.models import MODELS, PanopticModel, build_model
from pisr_core.profiling.operations import OperationCount, count_operations
from pisr_core.structures import Category

IMAGE_SIZES = {"cityscapes": (1024, 2048), "coco": (480, 640), "ade20k": (512, 683)}
"""(H, W) in pixels of a usual image of each public dataset."""


@dataclass(frozen=True)
class ModelCost:
    """What one image costs.

    Attributes:
        size: (H, W) of the image, pixels.
        parameters: of the whole model.
        operations: of the forward pass; PISR's attention in the literal order, which Table 4 counts.
        fused: the same in the order that never builds F_sp; `None` where there is no such order.
        base: of the same model without its relation; `None` for a base model.
        base_parameters: likewise.
    """

    size: tuple[int, int]
    parameters: int
    operations: OperationCount
    fused: OperationCount | None = None
    base: OperationCount | None = None
    base_parameters: int | None = None

    @property
    def added(self) -> float | None:
        """What relation and final heads add to the base's operations, in percent."""
        return None if self.base is None else 100 * (self.operations.all.total / self.base.all.total - 1)


def model_cost(config: Config, categories: Sequence[Category], size: tuple[int, int] | None = None) -> ModelCost:
    """Counts a config's model.

    Args:
        config: the preset.
        categories: the dataset's.
        size: (H, W) in pixels, padded to what the model takes; else that of a usual image of its dataset.
    """
    model = _build(config, categories, torch.device("meta"))
    relation = config.relation.name
    base = replace(config, relation=replace(config.relation, name="none"))
    return ModelCost(
        size=padded_size(size or usual_size(config), model.size_divisor),
        parameters=_parameters(model),
        operations=config_operations(config, categories, size, fused=False),
        fused=config_operations(config, categories, size, fused=True) if relation == "pisr" else None,
        base=config_operations(config, categories, size, name="none") if relation != "none" else None,
        base_parameters=_parameters(_build(base, categories, torch.device("meta"))) if relation != "none" else None,
    )


def _parameters(model: PanopticModel) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def config_operations(
    config: Config, categories: Sequence[Category], size: tuple[int, int] | None = None, **relation: object
) -> OperationCount:
    """The forward pass's operations, from a model with random weights.

    Args:
        config: the preset.
        categories: the dataset's.
        size: as in `model_cost`.
        **relation: settings of its relation to change.
    """
    config = replace(
        config,
        # Frozen norms compute what others do at inference, but as products and sums without a weight.
        backbone=replace(config.backbone, frozen_norms=False),
        relation=replace(config.relation, **relation),  # type: ignore[arg-type]
    )
    device = torch.device("meta" if MODELS[config.architecture].fixed_shapes else "cpu")
    model = _build(MODELS[config.architecture].busiest(config), categories, device).requires_grad_(False)
    height, width = padded_size(size or usual_size(config), model.size_divisor)
    return count_operations(model, torch.full((1, 3, height, width), 128.0, device=device))


def _build(config: Config, categories: Sequence[Category], device: torch.device) -> PanopticModel:
    """A model with the same random weights each time; nothing is downloaded."""
    with device, torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_model(replace(config, backbone=replace(config.backbone, pretrained=False)), categories)


def usual_size(config: Config) -> tuple[int, int]:
    """(H, W) in pixels at which a usual image of the config's dataset is evaluated, before padding."""
    if config.data.dataset == "scenes":
        return config.data.scenes.size
    if config.data.dataset not in IMAGE_SIZES:
        return config.data.crop
    return evaluation_size(IMAGE_SIZES[config.data.dataset], config.data)


def padded_size(size: tuple[int, int], divisor: int) -> tuple[int, int]:
    """The size with both sides raised to multiples of `divisor`."""
    height, width = (-(-side // divisor) * divisor for side in size)
    return height, width


def categories_of(config: Config) -> tuple[Category, ...]:
    """The classes of the config's dataset.

    Raises:
        ConfigError: only the dataset's own files tell them.
    """
    try:
        return known_categories(config.data.dataset)
    except ConfigError:
        raise ConfigError(
            f"{config.name}: the classes of data.dataset = {config.data.dataset!r} are in its files alone. "
            "Give a trained model with --checkpoint, or another dataset's classes with --set data.dataset=coco."
        ) from None
