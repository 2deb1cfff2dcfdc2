"""PISR in the MaskFormer and Mask2Former classes of Hugging Face's `transformers`, which the paper does not cover."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pisr_core.config import RelationConfig, check
from pisr_core.errors import ConfigError
from pisr_core.models.queries.instances import mask_instances
from pisr_core.models.queries.maskformer import SMALLEST_PROBABILITY
from pisr_core.models.queries.merging import semantic_inference
from pisr_core.models.queries.structures import MaskPrediction
from pisr_core.relations import build_relation
from pisr_core.structures import SemanticPrediction

try:
    from transformers import Mask2FormerForUniversalSegmentation, MaskFormerForInstanceSegmentation
except ImportError as error:
    raise ConfigError("this adapter needs transformers: pip install '.[transformers]'") from error

UniversalSegmentation = MaskFormerForInstanceSegmentation | Mask2FormerForUniversalSegmentation

MASK_EMBEDDERS: dict[type[nn.Module], str] = {
    MaskFormerForInstanceSegmentation: "mask_embedder",
    Mask2FormerForUniversalSegmentation: "model.transformer_module.decoder.mask_predictor.mask_embedder",
}
"""Where each class keeps what turns its queries into mask embeddings."""

DEFAULTS = RelationConfig(channels=128, top_k=100)
"""K = 100 is the number of queries of the public models."""


class PISRUniversalSegmentation(nn.Module):
    """A network of `transformers` with a relation between its pixel decoder and its final masks.

    F are the mask features, S the sum of all queries' masks by class, I the most confident queries' masks. The
    final heads read the last layer's queries again and multiply them with F_pan. They begin as copies of the
    network's own heads, so that with a residual relation an untrained wrapper changes nothing.

    Args:
        base: the network; it becomes a part of this one.
        relation: which relation, and its settings. A K beyond the number of queries is lowered to it.
        gamma: γ of Eq. 1, the weight of the network's own loss.

    Raises:
        ConfigError: `relation.name` is `none`.
    """

    def __init__(self, base: UniversalSegmentation, relation: RelationConfig = DEFAULTS, gamma: float = 0.5) -> None:
        super().__init__()
        check(relation.name != "none", "relation.name", relation.name, "there must be one between the two stages")
        self.base = base
        self.gamma = gamma
        self.detach = relation.detach
        self.top_k = relation.top_k
        self.relation = build_relation(base.config.mask_feature_size, base.class_predictor.out_features - 1, relation)
        self.final_class_predictor = deepcopy(base.class_predictor)
        self.final_mask_embedder = deepcopy(self._mask_embedder())

    def forward(
        self,
        pixel_values: Float[Tensor, "b 3 H W"],
        mask_labels: list[Float[Tensor, "_ H W"]] | None = None,
        class_labels: list[Int[Tensor, " _"]] | None = None,
        **options: Any,
    ) -> Any:
        """The network's own output class with the final classes and masks, and with Eq. 1 as its loss.

        Args:
            pixel_values: as the network's image processor gives them.
            mask_labels: the segments' masks of each image, 0 or 1.
            class_labels: their classes; without labels there is no loss.
            options: the network's further arguments.
        """
        with self._last_queries() as inputs:
            output = self.base(
                pixel_values=pixel_values,
                mask_labels=mask_labels,
                class_labels=class_labels,
                **(options | {"return_dict": True}),
            )
        queries = inputs[-1] if inputs[-1].dim() == 3 else inputs[-1][-1]
        features = output.pixel_decoder_last_hidden_state
        semantic, instances = self._first_predictions(output)
        relational = self.relation(features, semantic, instances)  # type: ignore[misc]
        output.class_queries_logits = self.final_class_predictor(queries)
        output.masks_queries_logits = torch.einsum("bqc,bchw->bqhw", self.final_mask_embedder(queries), relational)
        if output.loss is not None:
            output.loss = self.gamma * output.loss + self._final_loss(output, mask_labels, class_labels)
        return output

    def _first_predictions(self, output: Any) -> tuple[SemanticPrediction, Float[Tensor, "b k h w"]]:
        """S and I from the network's own classes and masks."""
        probabilities = semantic_inference(output.class_queries_logits, output.masks_queries_logits)
        semantic = SemanticPrediction(probabilities.clamp(min=SMALLEST_PROBABILITY).log(), probabilities)
        prediction = MaskPrediction(output.class_queries_logits, output.masks_queries_logits)
        instances = mask_instances(prediction, self.top_k)
        return (semantic.detach(), instances.detach()) if self.detach else (semantic, instances)

    def _final_loss(self, output: Any, mask_labels: Any, class_labels: Any) -> Float[Tensor, ""]:
        """The network's own criterion on the final predictions; all decoder layers belong to the first stage."""
        terms = self.base.get_loss_dict(
            output.masks_queries_logits, output.class_queries_logits, mask_labels, class_labels, {}
        )
        return self.base.get_loss(terms)

    def _mask_embedder(self) -> nn.Module:
        return self.base.get_submodule(next(at for kind, at in MASK_EMBEDDERS.items() if isinstance(self.base, kind)))

    @contextmanager
    def _last_queries(self) -> Iterator[list[Tensor]]:
        """Keeps what the network's mask embedder reads: (b, q, c) in each layer, or all layers stacked."""
        inputs: list[Tensor] = []
        hook = self._mask_embedder().register_forward_pre_hook(lambda module, arguments: inputs.append(arguments[0]))
        try:
            yield inputs
        finally:
            hook.remove()
