"""MaskFormer (Cheng et al., NeurIPS 2021) as `transformers` has it, with a relation between two prediction stages."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor

from pisr_core.models.queries.model import FirstStage
from pisr_core.models.queries.universal.model import QueryHeads, UniversalSegmentation


class HFMaskFormer(UniversalSegmentation):
    """Backbone → pixel decoder (F) → queries that attend to the backbone's deepest features → heads."""

    kinds = {"maskformer": "MaskFormerForInstanceSegmentation"}
    prefixes = {
        "model.pixel_level_module.encoder.": "backbone.",
        "model.pixel_level_module.decoder.": "pixel_decoder.",
        "model.transformer_module.": "transformer_decoder.",
        "class_predictor.": "initial_heads.class_predictor.",
        "mask_embedder.": "initial_heads.mask_embedder.",
    }
    decoders = ("pixel_decoder", "transformer_decoder")
    own_pixels = False

    def take_apart(self, network: Any) -> None:
        """All parts stand side by side."""
        pixel_level = network.model.pixel_level_module
        self.backbone, self.pixel_decoder = pixel_level.encoder, pixel_level.decoder
        self.transformer_decoder = network.model.transformer_module
        self.initial_heads = QueryHeads(network.class_predictor, network.mask_embedder)

    @staticmethod
    def queries(settings: Any) -> int:
        """Their number."""
        return int(settings.decoder_config.num_queries)

    @staticmethod
    def channels(settings: Any) -> int:
        """C of the mask features."""
        return int(settings.mask_feature_size)

    def first_stage(self, images: Shaped[Tensor, "b 3 H W"]) -> FirstStage:
        """F, the last layer's queries, and what the initial heads say of each layer's; of the last at inference."""
        pyramid = self.backbone(self.normalize(images)).feature_maps
        features = self.pixel_decoder(pyramid).last_hidden_state
        decoded = self.transformer_decoder(pyramid[-1], self.backbone.training)
        queries = decoded.last_hidden_state[None]
        if self.backbone.training:
            earlier = decoded.hidden_states[1:-1]
            queries = torch.cat((self.transformer_decoder.decoder.layernorm(torch.stack(earlier)), queries))
        return features, queries, self.initial_heads(queries, features)
