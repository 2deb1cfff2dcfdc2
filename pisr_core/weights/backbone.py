"""Files of backbones' weights."""

from __future__ import annotations

import logging
from pathlib import Path

from torch import nn

from pisr_core.backbones import Backbone, start_backbone
from pisr_core.config import BackboneConfig
from pisr_core.errors import CheckpointError, ConfigError
from pisr_core.weights.files.tensor_files import read_network

logger = logging.getLogger(__name__)


def load_backbone_weights(model: nn.Module, config: BackboneConfig) -> None:
    """Loads the file of `backbone.weights`, where it names one, into the model's backbone.

    Raises:
        CheckpointError: the file cannot be read, or is of another network.
        ConfigError: the model has no such backbone.
    """
    if not config.weights:
        return
    backbone = dict(model.named_children()).get("backbone")
    if not isinstance(backbone, Backbone):
        raise ConfigError(
            f"backbone.weights = {config.weights}: this architecture has no backbone of timm. Start the "
            "whole network with --weights."
        )
    try:
        kept = start_backbone(backbone, config, read_network(Path(config.weights)))
    except ConfigError as error:
        raise CheckpointError(f"backbone.weights = {config.weights}: {error}") from error
    logger.info("%s: the backbone starts from it", config.weights)
    if kept:
        logger.warning("%s lacks %s, which keep their initial values", config.weights, ", ".join(kept))
