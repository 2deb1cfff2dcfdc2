"""What can be had as a backbone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from pisr_core.backbones.build import build_backbone
from pisr_core.backbones.networks import output_strides, tags
from pisr_core.config import BackboneConfig


@dataclass(frozen=True)
class BackboneDescription:
    """A network of timm as a backbone.

    Attributes:
        name: timm's.
        channels: of the four stages.
        output_strides: of the deepest stage, those that it can have, pixels.
        parameters: their number, with those of the stages that are made.
        tags: of its weights.
    """

    name: str
    channels: tuple[int, ...]
    output_strides: tuple[int, ...]
    parameters: int
    tags: tuple[str, ...]


def describe_backbones(names: Sequence[str], progress: Callable[[int, int], None]) -> list[BackboneDescription]:
    """Those of timm's networks that can be backbones.

    Args:
        names: without tags.
        progress: called with (done, total) after each.
    """
    found = []
    for done, name in enumerate(names, start=1):
        strides = output_strides(name)
        if strides:
            found.append(_describe(name, strides))
        progress(done, len(names))
    return found


def _describe(name: str, strides: tuple[int, ...]) -> BackboneDescription:
    with torch.device("meta"):
        backbone = build_backbone(BackboneConfig(name, pretrained=False, output_stride=max(strides), multi_grid=()))
    channels = tuple(stage.channels for stage in backbone.stages.values())
    parameters = sum(parameter.numel() for parameter in backbone.parameters())
    return BackboneDescription(name, channels, strides, parameters, tuple(tags(name)))
