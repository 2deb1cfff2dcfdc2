"""Backbones: every network of timm that gives maps of its images, as a pyramid of four named stages."""

from pisr_core.backbones.build import build_backbone, freeze, set_multi_grid, start_backbone
from pisr_core.backbones.listing import BackboneDescription, describe_backbones
from pisr_core.backbones.networks import Network, find_network, matching_names, output_strides, tags
from pisr_core.backbones.pyramid import PIXEL_MEAN, PIXEL_STD, STAGES, Backbone, Stage

__all__ = [
    "PIXEL_MEAN",
    "PIXEL_STD",
    "STAGES",
    "Backbone",
    "BackboneDescription",
    "Network",
    "Stage",
    "build_backbone",
    "describe_backbones",
    "find_network",
    "freeze",
    "matching_names",
    "output_strides",
    "set_multi_grid",
    "start_backbone",
    "tags",
]
