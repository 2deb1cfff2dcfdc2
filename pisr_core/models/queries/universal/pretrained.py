"""Weights of the hub for the backbones of `transformers`' networks, which training starts from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import timm
from torch import Tensor, nn

from pisr_core.errors import ConfigError
from pisr_core.models.queries.universal.eomt_names import from_dinov3, from_timm

TIMM = "timm/"
"""What the hub's names of timm's weights begin with."""

MOST_MISSING = 0.1
"""Share of a backbone's tensors that its weights may lack: the norms of its outputs."""


def load_pyramid(backbone: Any, name: str) -> None:
    """Gives a backbone of `transformers` the weights of a classification network.

    Args:
        backbone: as a network of `transformers` has it.
        name: the hub's name of the weights, or a folder in its layout.

    Raises:
        ConfigError: they cannot be fetched, or are another network's.
    """

    def fetch() -> dict[str, Tensor]:
        loaded, found = type(backbone).from_pretrained(name, config=backbone.config, output_loading_info=True)
        state: dict[str, Tensor] = loaded.state_dict()
        missing = set(found["missing_keys"])
        if len(missing) > MOST_MISSING * len(state):
            raise ValueError(f"{len(missing)} of {len(state)} tensors are missing")
        return {key: tensor for key, tensor in state.items() if key not in missing}

    _load(backbone, name, fetch)


def load_vit(backbone: nn.Module, name: str, image_size: int, patch_size: int) -> None:
    """Gives EoMT's backbone the weights of DINOv2, from timm, or of DINOv3.

    Position embeddings and patches are resampled to the sizes.

    Args:
        backbone: has the names of EoMT in `transformers`.
        name: the hub's name of the weights, or a folder in its layout.
        image_size: side of the images, pixels.
        patch_size: side of the patches, pixels.

    Raises:
        ConfigError: they cannot be fetched, or are another network's.
    """

    def fetch() -> dict[str, Tensor]:
        if name.startswith(TIMM):
            sizes: dict[str, Any] = {"img_size": image_size, "patch_size": patch_size}
            return from_timm(
                timm.create_model(name.removeprefix(TIMM), pretrained=True, num_classes=0, **sizes).state_dict()
            )
        from transformers import DINOv3ViTModel

        return from_dinov3(DINOv3ViTModel.from_pretrained(name).state_dict())

    _load(backbone, name, fetch)


def _load(backbone: nn.Module, name: str, fetch: Callable[[], dict[str, Tensor]]) -> None:
    try:
        unfit = backbone.load_state_dict(fetch(), strict=False)
    # The hub's client, timm and torch, for want of a network or of a fit.
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(
            f"backbone.pretrained = true: the weights {name} cannot be used ({type(error).__name__}: {reason}). Check "
            "the network and backbone.name, or start from random weights with --set backbone.pretrained=false"
        ) from error
    if unfit.unexpected_keys:
        raise ConfigError(
            f"backbone.name = {name!r}: its weights are another network's: it has no {unfit.unexpected_keys[0]}."
        )
