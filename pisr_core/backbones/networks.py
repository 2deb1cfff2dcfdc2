"""What timm has under a name: which maps a network gives, of which images, and which weights there are of it.

timm says of a network what its maps are, but neither which images it takes nor which output strides it can have. So
it is asked for a forward pass on the meta device, where nothing is computed.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache, lru_cache
from itertools import product
from typing import Any

import timm
import torch
from timm.models import PretrainedCfg
from torch import nn

from pisr_core.errors import ConfigError

OUTPUT_STRIDES = (8, 16, 32)
"""Of the deepest stage, in pixels, that can be asked for."""

DEEPEST = 32
"""Maps of a larger stride are left out, with the layers that only they need."""

DEFAULT_TAGS = {
    "resnet18": "tv_in1k",
    "resnet50": "tv_in1k",
    "resnet50s": "gluon_in1k",
    "resnet101": "tv_in1k",
    "resnet101s": "gluon_in1k",
    "xception71": "tf_in1k",
    "tf_efficientnet_lite0": "in1k",
    "hrnet_w48": "ms_in1k",
    "swin_tiny_patch4_window7_224": "ms_in1k",
    "swin_large_patch4_window12_384": "ms_in22k",
}
"""Weights that the public segmentation models start from; other networks have timm's own choice."""

FAMILY_OPTIONS: dict[str, dict[str, Any]] = {
    "hrnet_*": {"feature_location": ""},  # the four branches themselves, not the classifier's widened ones
    "swin_*": {"drop_path_rate": 0.3},  # the original dense models' stochastic depth
}
"""timm's further arguments, by patterns of names."""

WAYS: tuple[tuple[tuple[str, Any], ...], ...] = (
    (),
    (("strict_img_size", False), ("always_partition", True)),  # windows are whole at every size
    (("dynamic_img_size", True),),  # transformers resample their positions
    (("strict_img_size", False),),
)
"""Arguments with which networks take images of any size."""

DIVISORS = (32, 64, 128, 192, 224, 256, 320, 384, 512)
"""Multiples of which some networks need their images' sides to be."""

MOST_CELLS_OFF = 4
"""By which a map may be smaller or larger than the image's size over its stride; it is resized then."""

PATCH_14 = 7 / 8
"""Networks with patches of 14 pixels see images at 7/8 of their size, so that their cells are 16 pixels wide."""


@dataclass(frozen=True)
class Network:
    """A network of timm as a backbone.

    Attributes:
        name: timm's, with the tag of its weights where it has any.
        options: timm's further arguments.
        channels: of its maps.
        strides: of its maps, in pixels of the image.
        channels_last: whether its maps are (b, h, w, c).
        exact: whether its maps have exactly one cell for each `stride` pixels.
        divisor: the sides of its images are multiples of it, pixels.
        scale: at which it sees images.
        mean: of the RGB values that it expects, in 0–1.
        std: likewise.
    """

    name: str
    options: Mapping[str, Any]
    channels: tuple[int, ...]
    strides: tuple[int, ...]
    channels_last: bool
    exact: bool
    divisor: int
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def is_single_scale(self) -> bool:
        """Whether all its maps are of one stride, as a plain vision transformer's."""
        return len(set(self.strides)) == 1

    def has_output_stride(self, output_stride: int) -> bool:
        """Whether its deepest map has this stride, or its maps are all the same and can be rescaled."""
        return self.is_single_scale or self.strides[-1] == output_stride or output_stride == DEEPEST


def create_body(network: Network, **options: Any) -> nn.Module:
    """The network of timm that gives the maps, on the default device."""
    return timm.create_model(network.name, features_only=True, **network.options, **options)


@cache
def find_network(name: str, output_stride: int = 32) -> Network:
    """What timm has under a name.

    Args:
        name: `model` or `model.tag`.
        output_stride: of the deepest map, pixels; see `Network.has_output_stride`.

    Raises:
        ConfigError: an unknown name, tag or output stride, or a network that gives no maps of images of any size.
    """
    network = _found(_with_tag(name), output_stride)
    if network is None or not network.has_output_stride(output_stride):
        choices = " or ".join(str(stride) for stride in output_strides(name))
        if not choices:
            raise ConfigError(_refusal(name))
        raise ConfigError(f"backbone.output_stride = {output_stride}: {name} has {choices} only.")
    return network


def output_strides(name: str) -> tuple[int, ...]:
    """Those that a network can have; none of one that is no backbone."""
    full_name = _with_tag(name)
    found = {stride: _found(full_name, stride) for stride in OUTPUT_STRIDES}
    return tuple(stride for stride, network in found.items() if network and network.has_output_stride(stride))


def matching_names(pattern: str) -> list[str]:
    """Names of timm that match a pattern such as `convnext*`, without tags.

    Raises:
        ConfigError: there are none.
    """
    names = [name for name in timm.list_models() if fnmatch(name, pattern)]
    if not names:
        raise ConfigError(f"--backbones {pattern}: none of timm's names matches; {_close(pattern)}")
    return names


def tags(name: str) -> list[str]:
    """Tags of the weights that timm has of a network, its own choice first."""
    return [full.partition(".")[2] for full in timm.list_models(f"{name}.*", pretrained=True)]


def _with_tag(name: str) -> str:
    """A name that timm knows, with the tag of its weights where there are any."""
    model, dot, tag = name.partition(".")
    if not timm.is_model(model):
        raise ConfigError(f"backbone.name = {name!r}: {_close(model)}")
    known = tags(model)
    if dot and tag not in known:
        choices = ", ".join(known) or "none"
        raise ConfigError(f"backbone.name = {name!r}: timm's weights of {model} are {choices}.")
    tag = tag or DEFAULT_TAGS.get(model, "")
    return f"{model}.{tag}" if tag else model


def _close(name: str) -> str:
    close = difflib.get_close_matches(name, timm.list_models(), n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    return f"{hint}`pisr presets --backbones PATTERN` lists timm's names that match, such as 'convnext*'."


def _refusal(name: str) -> str:
    size = _expected(name).input_size
    return (
        f"backbone.name = {name!r}: it takes images of {size[1]}×{size[2]} pixels only, or its maps are no grid. "
        "`pisr presets --backbones PATTERN` lists networks that take images of any size."
    )


def _expected(name: str) -> PretrainedCfg:
    """What timm says of the images that a network's weights expect."""
    return timm.get_pretrained_cfg(name) or PretrainedCfg()


def _found(name: str, output_stride: int) -> Network | None:
    """The network with this output stride where it can have it; one of a single scale stays as it is."""
    plain = _tried(name, ())
    if output_stride == DEEPEST or plain is None or plain.is_single_scale:
        return plain
    return _tried(name, (("output_stride", output_stride),))


@cache
def _tried(name: str, options: tuple[tuple[str, Any], ...]) -> Network | None:
    """The network with the smallest divisor and the first way with which it takes images of any size."""
    tries = (_measured(name, options + way, divisor) for divisor, way in product(DIVISORS, WAYS))
    return next(filter(None, tries), None)


@lru_cache(maxsize=len(WAYS))
def _meta_body(name: str, options: tuple[tuple[str, Any], ...]) -> tuple[dict[str, Any], Any] | None:
    """The network on the meta device with its complete arguments; `None` where it does not have one of them."""
    arguments = dict(options)
    for pattern, usual in FAMILY_OPTIONS.items():
        arguments |= usual if fnmatch(name, pattern) else {}
    try:
        with torch.device("meta"):
            body = timm.create_model(name, features_only=True, **arguments)
            info: Any = body.feature_info
            if max(info.reduction()) > DEEPEST:
                strides = zip(info.out_indices, info.reduction(), strict=True)
                arguments["out_indices"] = tuple(index for index, stride in strides if stride <= DEEPEST)
                body = timm.create_model(name, features_only=True, **arguments)
    except (TypeError, ValueError, AssertionError, NotImplementedError, RuntimeError):
        return None
    return arguments, body.eval()


def _measured(name: str, options: tuple[tuple[str, Any], ...], divisor: int) -> Network | None:
    """What maps the network gives of an image of 11×13 times the divisor; `None` where it refuses it.

    No side of a window has these factors: a smaller divisor than it needs would else pass.
    """
    built = _meta_body(name, options)
    if built is None:
        return None
    arguments, body = built
    expected = body.feature_info.get_dicts()
    scale = PATCH_14 if any(entry["reduction"] % 7 == 0 for entry in expected) else 1.0
    if not all(math.log2(entry["reduction"] / scale).is_integer() for entry in expected):
        return None
    size = (11 * divisor, 13 * divisor)
    try:
        with torch.no_grad():
            maps = body(torch.empty(1, 3, *(int(scale * side) for side in size), device="meta"))
    except Exception:  # networks refuse sizes with errors of every kind
        return None
    channels = tuple(entry["num_chs"] for entry in expected)
    channels_last = maps[-1].shape[1] != channels[-1]
    grids = [(each.shape[1:3] if channels_last else each.shape[2:4]) for each in maps]
    # timm does not say of all networks that a limited output stride makes their last maps larger.
    strides = tuple(
        min(2 ** round(math.log2(size[0] / grid[0])), round(entry["reduction"] / scale))
        for grid, entry in zip(grids, expected, strict=True)
    )
    off = [abs(size[i] / stride - grid[i]) for stride, grid in zip(strides, grids, strict=True) for i in (0, 1)]
    if max(off) > MOST_CELLS_OFF:
        return None
    values = _expected(name)
    return Network(
        name, arguments, channels, strides, channels_last, max(off) == 0, divisor, scale, values.mean, values.std
    )
