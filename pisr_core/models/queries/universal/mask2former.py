"""Mask2Former (Cheng et al., CVPR 2022) as `transformers` has it, with a relation between two prediction stages."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor

from pisr_core.models.queries.model import FirstStage
from pisr_core.models.queries.structures import MaskPrediction
from pisr_core.models.queries.universal.model import QueryHeads, UniversalSegmentation

_EMBEDDER = "model.transformer_module.decoder.mask_predictor.mask_embedder."


class Mask2Former(UniversalSegmentation):
    """Backbone → pixel decoder (F and three coarser levels) → masked attention of the queries → heads.

    F are the mask features. Every layer's queries predict masks, within which the next layer attends.
    """

    kinds = {"mask2former": "Mask2FormerForUniversalSegmentation"}
    prefixes = {
        "model.pixel_level_module.encoder.": "backbone.",
        "model.pixel_level_module.decoder.": "pixel_decoder.",
        _EMBEDDER: "initial_heads.mask_embedder.",
        "model.transformer_module.": "transformer_decoder.",
        "class_predictor.": "initial_heads.class_predictor.",
    }
    decoders = ("pixel_decoder", "transformer_decoder")

    def take_apart(self, network: Any) -> None:
        """The decoder borrows the initial heads' mask embedder, so that it has one place in the model."""
        pixel_level, transformer = network.model.pixel_level_module, network.model.transformer_module
        self.backbone, self.pixel_decoder = pixel_level.encoder, pixel_level.decoder
        self.transformer_decoder = transformer
        predictor = transformer.decoder.mask_predictor
        self.initial_heads = QueryHeads(network.class_predictor, predictor.mask_embedder)
        del predictor.mask_embedder
        predictor.mask_embedder = self.initial_heads.embed

    @staticmethod
    def queries(settings: Any) -> int:
        """Their number."""
        return int(settings.num_queries)

    @staticmethod
    def channels(settings: Any) -> int:
        """C of the mask features."""
        return int(settings.mask_feature_size)

    def first_stage(self, images: Shaped[Tensor, "b 3 H W"]) -> FirstStage:
        """F, the last layer's queries, and what the initial heads say of each layer's; of the last at inference."""
        pyramid = self.backbone(self.normalize(images)).feature_maps
        decoded = self.pixel_decoder(pyramid)
        features = decoded.mask_features
        layers = self.transformer_decoder(decoded.multi_scale_features, features, True)
        first = 0 if self.backbone.training else -1
        queries = [each.transpose(0, 1) for each in layers.intermediate_hidden_states[first:]]
        predictions = [
            MaskPrediction(self.initial_heads.class_predictor(query).float(), masks.float())
            for query, masks in zip(queries, layers.masks_queries_logits[first:], strict=True)
        ]
        return features, torch.stack(queries[-1:]), predictions
