"""The backbone of a config."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from fnmatch import fnmatch

import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.utils.model import freeze_batch_norm_2d
from torch import Tensor, nn

from pisr_core.backbones.networks import DIVISORS, Network, create_body, find_network, tags
from pisr_core.backbones.pyramid import AdaptedBackbone, Backbone, SwinBackbone, stage_strides
from pisr_core.config import BackboneConfig
from pisr_core.errors import ConfigError
from pisr_core.runtime.quiet import errors_only

log = logging.getLogger(__name__)

SAME_NETWORK = 0.8
"""Share of a network's weights that a file of it gives."""


def build_backbone(config: BackboneConfig) -> Backbone:
    """The backbone of a config; `backbone.weights` is for `start_backbone` to read.

    Raises:
        ConfigError: an unknown name, a setting that it does not have, or pretrained weights that cannot be fetched.
    """
    network = find_network(config.name, config.output_stride)
    is_fetched = config.pretrained and not config.weights
    if is_fetched:
        _check_published(config.name, network)
        log.info("pretrained weights of %s: from the cache, or fetched", network.name)
    try:
        with errors_only("huggingface_hub"):
            body = create_body(network, pretrained=is_fetched)
    # timm reaches its weights through the hub's client, whose failures all derive from these two.
    except (OSError, RuntimeError) as error:
        raise ConfigError(
            f"backbone.pretrained = true: the weights of {network.name} cannot be fetched "
            f"({type(error).__name__}: {str(error).splitlines()[0]}). Check the network, name a file of them with "
            "--set backbone.weights=FILE, or start from random weights with --set backbone.pretrained=false"
        ) from error
    set_multi_grid(body, config)
    freeze(body, config)
    return _wrapped(body, network, config.output_stride)


def start_backbone(backbone: Backbone, config: BackboneConfig, tensors: Mapping[str, Tensor]) -> list[str]:
    """Loads weights into a backbone, converted as timm converts those that it knows of the network.

    Args:
        backbone: as `build_backbone` gave it.
        config: its config.
        tensors: by timm's names, or by those of any original that timm reads.

    Returns:
        Names of the weights that the tensors do not give, which keep their values.

    Raises:
        ConfigError: they are those of another network.
    """
    network = find_network(config.name, config.output_stride)
    with torch.random.fork_rng(devices=[]):
        seed = torch.seed()
        fresh = create_body(network).state_dict()
        torch.manual_seed(seed)
        try:
            body = create_body(network, pretrained=True, pretrained_cfg_overlay={"state_dict": dict(tensors)})
        except (RuntimeError, LookupError, ValueError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"they are of another network than {network.name} ({str(error).splitlines()[0]})."
            ) from error
    started = body.state_dict()
    weights = [name for name, tensor in started.items() if tensor.dim() > 1]
    kept = [name for name in weights if torch.equal(started[name], fresh[name])]
    if len(kept) > (1 - SAME_NETWORK) * len(weights):
        raise ConfigError(
            f"they give {len(weights) - len(kept)} of the {len(weights)} weights of {network.name}; "
            f"{kept[0]} is missing, and they have {', '.join(list(tensors)[:3])}, …"
        )
    names = {name for name in started if name not in kept}
    backbone.body.load_state_dict({name: started[name] for name in names}, strict=False)
    return kept


def _wrapped(body: nn.Module, network: Network, output_stride: int) -> Backbone:
    """A network of timm with what makes a pyramid of its maps."""
    if fnmatch(network.name, "swin_*"):
        return SwinBackbone(body, output_stride)
    takes_any_size = network.exact and network.divisor == DIVISORS[0]
    has_stages = not network.channels_last and network.strides[-4:] == stage_strides(output_stride)
    has_usual_values = (network.mean, network.std) == (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
    if takes_any_size and has_stages and has_usual_values:
        return Backbone(body, output_stride)
    return AdaptedBackbone(body, network, output_stride)


def _check_published(name: str, network: Network) -> None:
    """Raises `ConfigError` where timm has no weights of a network."""
    model = name.partition(".")[0]
    if not tags(model):
        raise ConfigError(
            f"backbone.pretrained = true: timm has no weights of {model}. Name a file of them with "
            "--set backbone.weights=FILE, or start from random weights with --set backbone.pretrained=false"
        )


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
