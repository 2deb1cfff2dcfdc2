"""The panoptic models, each forward reading as the paper's Fig. 2."""

from __future__ import annotations

from collections.abc import Sequence

from pisr_core.config import Config
from pisr_core.errors import ConfigError
from pisr_core.models.base import PanopticModel, TwoStageModel
from pisr_core.models.boxes.panoptic_fpn import PanopticFPN
from pisr_core.models.center_offset.panoptic_deeplab import PanopticDeepLab
from pisr_core.models.center_offset.upernet import UPerNet
from pisr_core.models.queries.maskformer.model import MaskFormer
from pisr_core.models.queries.universal.eomt import EoMT
from pisr_core.models.queries.universal.hf_maskformer import HFMaskFormer
from pisr_core.models.queries.universal.mask2former import Mask2Former
from pisr_core.models.queries.universal.videomt import VidEoMT
from pisr_core.structures import Category

MODELS: dict[str, type[TwoStageModel]] = {
    "panoptic_deeplab": PanopticDeepLab,
    "panoptic_fpn": PanopticFPN,
    "maskformer": MaskFormer,
    "mask2former": Mask2Former,
    "eomt": EoMT,
    "videomt": VidEoMT,
    "hf_maskformer": HFMaskFormer,
    "upernet": UPerNet,
}
"""Models by the `architecture` of a preset."""


def build_model(config: Config, categories: Sequence[Category]) -> TwoStageModel:
    """The model of a config for a dataset's categories.

    Raises:
        ConfigError: an unknown architecture, a setting that means nothing to it, or a dataset without categories.
    """
    if config.architecture not in MODELS:
        raise ConfigError(f"architecture = {config.architecture!r}: choose one of {', '.join(MODELS)}.")
    if not categories:
        raise ConfigError("a model needs at least one category; the dataset has none.")
    kind = MODELS[config.architecture]
    kind.check_config(config)
    return kind(config, categories)


__all__ = [
    "MODELS",
    "MaskFormer",
    "PanopticDeepLab",
    "PanopticFPN",
    "PanopticModel",
    "TwoStageModel",
    "UPerNet",
    "build_model",
]
