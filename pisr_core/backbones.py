"""Backbones: timm's feature extractors as pyramids of named stages."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import timm
import torch
from jaxtyping import Float
from timm.utils.model import freeze_batch_norm_2d
from torch import Tensor, nn

from pisr_core.config import BackboneConfig
from pisr_core.errors import ConfigError

log = logging.getLogger(__name__)

PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)
"""ImageNet's mean and standard deviation of RGB values in 0–255: what all backbones take their images with."""

STAGES = ("res2", "res3", "res4", "res5")
"""Names of the pyramid's stages, at strides 4, 8, 16, 32 (less where the output stride is limited)."""


@dataclass(frozen=True)
class Stage:
    """What a backbone says of one of its outputs: channels and stride in pixels."""

    channels: int
    stride: int


class Backbone(nn.Module):
    """A timm network whose forward gives the four stages of its pyramid by name.

    Attributes:
        stages: channels and stride of each stage.
        body: timm's network.
    """

    def __init__(self, body: nn.Module, output_stride: int = 32) -> None:
        super().__init__()
        self.body = body
        # Convolutional networks have a stem at stride 2 before these, which nothing here reads.
        info = body.feature_info.get_dicts()[-4:]  # type: ignore[union-attr, operator]
        self.stages: Mapping[str, Stage] = {
            name: Stage(entry["num_chs"], min(entry["reduction"], output_stride))
            for name, entry in zip(STAGES, info, strict=True)
        }

    def forward(self, images: Float[Tensor, "b 3 H W"]) -> dict[str, Float[Tensor, "b _ _ _"]]:
        """Features of each stage, `res2` (stride 4) to `res5`; H and W are multiples of the output stride.

        Args:
            images: RGB values minus `PIXEL_MEAN`, divided by `PIXEL_STD`.
        """
        return dict(zip(STAGES, self.body(images)[-4:], strict=True))


class SwinBackbone(Backbone):
    """Swin with a layer norm on each stage's output, as all public dense Swin models have it.

    timm rolls the map before it pads it to whole windows, the original code after: the two agree on images whose
    stages are multiples of the window, elsewhere cells near the border differ slightly.
    """

    def __init__(self, body: nn.Module, output_stride: int = 32) -> None:
        super().__init__(body, output_stride)
        self.norms = nn.ModuleDict({name: nn.LayerNorm(stage.channels) for name, stage in self.stages.items()})

    def forward(self, images: Float[Tensor, "b 3 H W"]) -> dict[str, Float[Tensor, "b _ _ _"]]:
        """As in `Backbone`, from timm's maps with channels last."""
        return {
            name: self.norms[name](maps).permute(0, 3, 1, 2).contiguous()
            for name, maps in zip(STAGES, self.body(images), strict=True)
        }


class TensorFlowBackbone(Backbone):
    """A network whose pretrained weights come from TensorFlow and expect RGB values between −1 and 1."""

    def __init__(self, body: nn.Module, output_stride: int = 32) -> None:
        super().__init__(body, output_stride)
        mean, std = (torch.tensor(values).view(3, 1, 1) / 127.5 for values in (PIXEL_MEAN, PIXEL_STD))
        self.register_buffer("scale", std, persistent=False)
        self.register_buffer("shift", mean - 1, persistent=False)

    def forward(self, images: Float[Tensor, "b 3 H W"]) -> dict[str, Float[Tensor, "b _ _ _"]]:
        """As in `Backbone`."""
        return super().forward(images * self.scale + self.shift)  # type: ignore[operator]


@dataclass(frozen=True)
class BackboneEntry:
    """How timm builds a backbone.

    Attributes:
        description: what it is.
        tag: timm's tag of the weights that the public segmentation models start from.
        output_strides: of the deepest stage, those that can be asked for, pixels.
        options: timm's further arguments.
        kind: what wraps timm's network.
    """

    description: str
    tag: str
    output_strides: tuple[int, ...] = (8, 16, 32)
    options: Mapping[str, Any] = field(default_factory=dict)
    kind: type[Backbone] = Backbone


# Whole windows at every size, as in the original dense models, and their stochastic depth.
_SWIN = {"strict_img_size": False, "always_partition": True, "drop_path_rate": 0.3}

BACKBONES: dict[str, BackboneEntry] = {
    "resnet18": BackboneEntry("ResNet-18", "tv_in1k"),
    "resnet50": BackboneEntry("ResNet-50", "tv_in1k"),
    "resnet50s": BackboneEntry("ResNet-50, stem of three 3×3 convolutions (DeepLab)", "gluon_in1k"),
    "resnet101": BackboneEntry("ResNet-101", "tv_in1k"),
    "resnet101s": BackboneEntry("ResNet-101, stem of three 3×3 convolutions (DeepLab)", "gluon_in1k"),
    "xception71": BackboneEntry("Xception-71, aligned (DeepLab)", "tf_in1k", kind=TensorFlowBackbone),
    "tf_efficientnet_lite0": BackboneEntry(
        "EfficientNet-Lite0, for small devices", "in1k", (16, 32), kind=TensorFlowBackbone
    ),
    # The four branches themselves, not the classifier's widened ones.
    "hrnet_w48": BackboneEntry("HRNet-W48", "ms_in1k", (32,), {"feature_location": ""}),
    "swin_tiny_patch4_window7_224": BackboneEntry("Swin-T", "ms_in1k", (32,), _SWIN, SwinBackbone),
    "swin_large_patch4_window12_384": BackboneEntry("Swin-L", "ms_in22k", (32,), _SWIN, SwinBackbone),
}
"""Supported backbones by timm's names."""


def build_backbone(config: BackboneConfig) -> Backbone:
    """The backbone of a config.

    Raises:
        ConfigError: an unknown name, a setting that it does not have, or pretrained weights that cannot be fetched.
    """
    if config.name not in BACKBONES:
        raise ConfigError(f"backbone.name = {config.name!r}: choose one of {', '.join(BACKBONES)} (timm's names).")
    entry = BACKBONES[config.name]
    if config.output_stride not in entry.output_strides:
        choices = " or ".join(map(str, entry.output_strides))
        raise ConfigError(f"backbone.output_stride = {config.output_stride}: {config.name} has {choices} only.")
    options = dict(entry.options)
    if len(entry.output_strides) > 1:
        options["output_stride"] = config.output_stride
    name = f"{config.name}.{entry.tag}"
    if config.pretrained:
        log.info("ImageNet weights of %s: from the cache, or fetched", config.name)
    try:
        with _hub_silent():
            body = timm.create_model(name, pretrained=config.pretrained, features_only=True, **options)
    # timm reaches its weights through the hub's client, whose failures all derive from these two.
    except (OSError, RuntimeError) as error:
        raise ConfigError(
            f"backbone.pretrained = true: the ImageNet weights of {config.name} cannot be fetched "
            f"({type(error).__name__}: {str(error).splitlines()[0]}). Check the network, or start from random "
            "weights with --set backbone.pretrained=false"
        ) from error
    set_multi_grid(body, config)
    freeze(body, config)
    return entry.kind(body, config.output_stride)


@contextmanager
def _hub_silent() -> Iterator[None]:
    """Keeps the hub's client from a page of warnings about each of its many tries: our error says it once."""
    hub = logging.getLogger("huggingface_hub")
    level = hub.level
    hub.setLevel(logging.ERROR)
    try:
        yield
    finally:
        hub.setLevel(level)


def set_multi_grid(body: nn.Module, config: BackboneConfig) -> None:
    """Multiplies the dilation of the deepest stage's blocks (DeepLabv3, Sec. 3.2), which timm cannot be asked for.

    At output stride 16 the stage's own dilation is 2, so (1, 2, 4) gives 2, 4, 8.

    Raises:
        ConfigError: not a ResNet, or its last stage has another number of blocks.
    """
    if not config.multi_grid:
        return
    stage = dict(body.named_children()).get("layer4")
    blocks = [] if stage is None else list(stage.children())
    if len(blocks) != len(config.multi_grid):
        raise ConfigError(
            f"backbone.multi_grid = {list(config.multi_grid)}: it needs a ResNet with as many blocks in its last stage "
            f"({config.name} has {len(blocks)}); use [] for none."
        )
    for block, factor in zip(blocks, config.multi_grid, strict=True):
        dilation = factor * (32 // config.output_stride)
        block.conv2.dilation = block.conv2.padding = (dilation, dilation)  # type: ignore[union-attr]


def freeze(body: nn.Module, config: BackboneConfig) -> None:
    """Keeps parts as they are in training: `frozen_norms` all batch norms, `frozen_stages` the first layers.

    Raises:
        ConfigError: frozen stages of something else than a ResNet.
    """
    if config.frozen_norms:
        freeze_batch_norm_2d(body)
    if not config.frozen_stages:
        return
    layers = dict(body.named_children())
    if "layer4" not in layers:
        raise ConfigError(f"backbone.frozen_stages = {config.frozen_stages}: {config.name} is no ResNet; use 0.")
    for name, layer in layers.items():
        if name == f"layer{config.frozen_stages}":
            return
        layer.requires_grad_(False)
