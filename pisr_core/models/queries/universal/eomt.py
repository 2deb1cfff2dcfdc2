"""EoMT (Kerssies et al., CVPR 2025) on DINOv2 and DINOv3 as `transformers` has it, with a relation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import functional as F

from pisr_core.config import Config, TransformersConfig, check
from pisr_core.errors import ConfigError
from pisr_core.models.queries.model import FirstStage
from pisr_core.models.queries.structures import MaskPrediction
from pisr_core.models.queries.universal.model import QueryHeads, UniversalSegmentation
from pisr_core.models.queries.universal.pretrained import load_vit
from pisr_core.structures import Category

ANNEALING_POWER = 0.9
"""Exponent of the decay of a block's masked attention."""

FORBIDDEN = -1e9
"""Added to the logit of a pair of tokens that may not attend to each other."""

Masking = Callable[[int, Float[Tensor, "b t c"]], Float[Tensor, "b 1 t t"] | None]
"""Gives the attention mask of one of the last blocks from the tokens that enter it, where it has one."""


class QueryViT(nn.Module):
    """A plain vision transformer whose last blocks see queries beside the image's patches.

    Args:
        network: EoMT of `transformers`.

    Attributes:
        blocks: how many blocks see the queries.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.embeddings = network.embeddings
        self.layers = network.layers
        self.layernorm = network.layernorm
        self.rope_embeddings = getattr(network, "rope_embeddings", None)
        self.blocks = int(network.config.num_blocks)

    def forward(
        self, pixels: Float[Tensor, "b 3 H W"], queries: Float[Tensor, "*b q c"], masking: Masking
    ) -> Float[Tensor, "b t c"]:
        """The tokens of queries, class, registers and patches after the last block, in this order."""
        tokens = self.embeddings(pixels)
        positions = () if self.rope_embeddings is None else (self.rope_embeddings(pixels),)
        for index, layer in enumerate(self.layers, start=self.blocks - len(self.layers)):
            if index == 0:
                tokens = torch.cat((queries.expand(len(tokens), -1, -1), tokens), dim=1)
            tokens = layer(tokens, masking(index, tokens) if index >= 0 else None, *positions)
        return tokens


class EoMT(UniversalSegmentation):
    """Vision transformer with queries in its last blocks → upscaled patches (F) → heads.

    In training each of the last blocks is preceded by a prediction, and a query attends only to the patches within
    its mask: with a probability that fades over the run (`transformers.annealing`), so that in the end the network
    works without.

    Attributes:
        fading: in training, the probability of each of the last blocks that a query's attention is masked.
        masked: where it is above zero.
    """

    fading: Tensor

    kinds = {"eomt": "EomtForUniversalSegmentation", "eomt_dinov3": "EomtDinov3ForUniversalSegmentation"}
    prefixes = {
        "embeddings.": "backbone.embeddings.",
        "layers.": "backbone.layers.",
        "layernorm.": "backbone.layernorm.",
        "query.": "query.",
        "upscale_block.": "upscale.",
        "mask_head.": "initial_heads.mask_embedder.",
        "class_predictor.": "initial_heads.class_predictor.",
    }
    decoders = ("upscale",)

    def __init__(self, config: Config, categories: Sequence[Category], network: Any = None) -> None:
        super().__init__(config, categories, network)
        blocks, rule = self.backbone.blocks, f"[] or one entry for each of the {self.backbone.blocks} last blocks"
        for name in ("annealing", "masked_attention"):
            given = getattr(config.transformers, name)
            check(len(given) in (0, blocks), f"transformers.{name}", list(given), rule)

    @classmethod
    def settings_of(cls, network: Any) -> TransformersConfig:
        """With the masked attention that it was saved with."""
        probabilities = tuple(network.attn_mask_probs.tolist())
        return replace(super().settings_of(network), masked_attention=probabilities if any(probabilities) else ())

    def take_apart(self, network: Any) -> None:
        """Blocks and norm are the backbone, which takes the queries as its input."""
        settings = network.config
        self.backbone: QueryViT = QueryViT(network)
        self.query = network.query
        self.upscale = network.upscale_block
        self.initial_heads = QueryHeads(network.class_predictor, network.mask_head)
        self.image_size = int(settings.image_size)
        self.grid = int(settings.image_size) // int(settings.patch_size)
        self._stride = int(settings.patch_size) // 2 ** int(settings.num_upscale_blocks)
        self.register_buffer("fading", torch.zeros(int(settings.num_blocks)), persistent=False)
        self.masked = (False,) * int(settings.num_blocks)

    def load_pretrained(self, name: str) -> None:
        """Starts the blocks from DINOv2 or DINOv3."""
        load_vit(self.backbone, name, self.image_size, self.image_size // self.grid)

    @staticmethod
    def queries(settings: Any) -> int:
        """Their number."""
        return int(settings.num_queries)

    @staticmethod
    def channels(settings: Any) -> int:
        """C of the upscaled patches."""
        return int(settings.hidden_size)

    @property
    def size_divisor(self) -> int:
        """Images are padded to the one size that the network takes."""
        return self.image_size

    @property
    def stride(self) -> int:
        """Pixels to a cell of F."""
        return self._stride

    def layers_above(self, name: str) -> int:
        """The first block counts for what precedes it."""
        last = len(self.backbone.layers) - 1
        if name.startswith("backbone.embeddings."):
            return last
        return last - int(name.split(".")[2]) if name.startswith("backbone.layers.") else 0

    def begin_step(self, progress: float) -> None:
        """Has the masked attention fade, block after block.

        Args:
            progress: the share of the run's steps that are done.
        """
        probabilities = [_faded(progress, *span) for span in self.config.transformers.annealing]
        if probabilities:
            self.masked = tuple(probability > 0 for probability in probabilities)
            self.fading.copy_(torch.tensor(probabilities))

    def first_stage(self, images: Shaped[Tensor, "b 3 H W"]) -> FirstStage:
        """F, the last block's queries, and what the initial heads say before each of the last blocks and after them.

        Raises:
            ConfigError: images of another size than the network's.
        """
        tokens, earlier = self.encode(images, self.query.weight)
        features, queries, prediction = self.predict(tokens)
        return features, queries[None], (*earlier, prediction)

    def encode(
        self, images: Shaped[Tensor, "b 3 H W"], queries: Float[Tensor, "*b q c"]
    ) -> tuple[Float[Tensor, "b t c"], list[MaskPrediction]]:
        """The last block's tokens (see `QueryViT`), and what the initial heads say before each of the last blocks."""
        size = self.image_size
        if images.shape[2:] != (size, size):
            sides = "data.eval_short_side and data.eval_max_long_side"
            raise ConfigError(
                f"{self.config.name or self.config.architecture} sees images of {size}×{size} pixels alone, not "
                f"{images.shape[2]}×{images.shape[3]}: set data.crop, or "
                f"{'both sides of data.eval_size' if self.config.data.eval_size else sides}, to {size}."
            )
        earlier: list[MaskPrediction] = []

        def masking(block: int, tokens: Float[Tensor, "b t c"]) -> Float[Tensor, "b 1 t t"] | None:
            probability = self._masking_probability(block)
            if probability is None and not self.backbone.training:
                return None
            earlier.append(self.predict(tokens)[2])
            return None if probability is None else self._within_masks(earlier[-1], tokens, probability)

        return self.backbone(self.normalize(images), queries, masking), earlier

    def _masking_probability(self, block: int) -> Float[Tensor, ""] | float | None:
        """That a query's attention is masked in a block; `None` where it never is."""
        if self.backbone.training:
            return self.fading[block] if self.masked[block] else None
        given = self.config.transformers.masked_attention
        return (given[block] or None) if given else None

    def predict(
        self, tokens: Float[Tensor, "b t c"]
    ) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b q c"], MaskPrediction]:
        """F, the queries, and what the initial heads make of them, from the last block's tokens."""
        tokens = self.backbone.layernorm(tokens)
        queries, patches = tokens[:, : len(self.query.weight)], tokens[:, -(self.grid**2) :]
        features = self.upscale(patches.transpose(1, 2).reshape(len(patches), -1, self.grid, self.grid))
        (prediction,) = self.initial_heads(queries[None], features)
        return features, queries, prediction

    @torch.no_grad()
    def _within_masks(
        self, prediction: MaskPrediction, tokens: Float[Tensor, "b t c"], probability: Float[Tensor, ""] | float
    ) -> Float[Tensor, "b 1 t t"]:
        """What is added to the attention's logits: a query attends to no patch outside its mask, or by chance to all.

        Allowed pairs get 1, not 0, which softmax does not see and rounding does: to the bit as `transformers` has it.
        """
        b, t, _ = tokens.shape
        q = len(self.query.weight)
        inside = F.interpolate(prediction.mask_logits, (self.grid, self.grid), mode="bilinear").flatten(2) > 0
        free = torch.rand(b, q, device=tokens.device) > probability
        allowed = torch.ones(b, 1, t, t, dtype=torch.bool, device=tokens.device)
        allowed[:, 0, :q, -(self.grid**2) :] = inside | free[..., None]
        return allowed.float().masked_fill(~allowed, FORBIDDEN)

    def parts_to_recompute(self) -> list[nn.Module]:
        """The blocks too, which a list holds."""
        return [*self.backbone.layers, *super().parts_to_recompute()]


def _faded(progress: float, first: float, last: float) -> float:
    """A block's probability of masked attention: 1 before the share `first` of the run, 0 from `last` on."""
    if progress < first:
        return 1.0
    return 0.0 if progress >= last else (1 - (progress - first) / (last - first)) ** ANNEALING_POWER
