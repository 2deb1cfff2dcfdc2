"""MaskFormer's pixel decoder: from the backbone's pyramid to per-pixel embeddings (Cheng et al., NeurIPS 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import Conv2dNormActivation

from pisr_core.backbones import Stage
from pisr_core.config import MaskFormerConfig
from pisr_core.models.queries.maskformer.transformer import EncoderLayer, init_xavier, sine_positions


class ContextEncoder(nn.Module):
    """A transformer encoder over the cells of the deepest stage.

    Args:
        in_channels: of the deepest stage.
        config: widths and number of layers.
    """

    def __init__(self, in_channels: int, config: MaskFormerConfig) -> None:
        super().__init__()
        self.input_proj = init_convolution(nn.Conv2d(in_channels, config.channels, kernel_size=1))
        self.layers = nn.ModuleList(
            EncoderLayer(config.channels, config.heads, config.feedforward, config.dropout)
            for _ in range(config.encoder_layers)
        )
        init_xavier(self.layers)

    def forward(self, features: Float[Tensor, "b i h w"]) -> Float[Tensor, "b c h w"]:
        """The features, reduced to c channels, with the whole image as context."""
        features = self.input_proj(features)
        size = (features.shape[2], features.shape[3])
        positions = sine_positions(size, features.shape[1], features.device)
        tokens = features.flatten(2).transpose(1, 2)
        for layer in self.layers:
            tokens = layer(tokens, positions)
        return tokens.transpose(1, 2).unflatten(2, size)


class PixelDecoder(nn.Module):
    """A feature pyramid with group norm, on a transformer encoder or, without encoder layers, on the backbone itself.

    Args:
        stages: the backbone's.
        config: widths and number of encoder layers.

    Attributes:
        context_channels: of the deepest features that `forward` gives.
    """

    def __init__(self, stages: Mapping[str, Stage], config: MaskFormerConfig) -> None:
        super().__init__()
        channels, deepest = config.channels, stages["res5"].channels
        self.encoder = ContextEncoder(deepest, config) if config.encoder_layers else None
        self.context_channels = channels if self.encoder else deepest
        inputs = {"res5": self.context_channels, "res4": channels, "res3": channels, "res2": channels}
        self.output = nn.ModuleDict({stage: _block(width, channels, 3, nn.ReLU) for stage, width in inputs.items()})
        self.lateral = nn.ModuleDict(
            {stage: _block(stages[stage].channels, channels, 1, None) for stage in ("res4", "res3", "res2")}
        )
        self.mask_features = init_convolution(nn.Conv2d(channels, config.mask_channels, kernel_size=3, padding=1))

    def forward(
        self, pyramid: Mapping[str, Float[Tensor, "b _ _ _"]]
    ) -> tuple[Float[Tensor, "b m h w"], Float[Tensor, "b c _ _"]]:
        """F, the mask features at stride 4, and the deepest features, which the queries attend to."""
        context = self.encoder(pyramid["res5"]) if self.encoder else pyramid["res5"]
        features = self.output["res5"](context)
        for stage, lateral in self.lateral.items():
            skip = lateral(pyramid[stage])
            features = self.output[stage](skip + F.interpolate(features, size=skip.shape[2:], mode="nearest"))
        return self.mask_features(features), context


def init_convolution(convolution: nn.Conv2d) -> nn.Conv2d:
    """The start that detectron2 gives its convolutions: variance by the inputs' number, no bias."""
    nn.init.kaiming_uniform_(convolution.weight, a=1)
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    return convolution


def _block(
    in_channels: int, out_channels: int, kernel_size: int, activation: type[nn.Module] | None
) -> Conv2dNormActivation:
    """A convolution with group norm of 32 groups."""
    group_norm = partial(nn.GroupNorm, 32)
    block = Conv2dNormActivation(
        in_channels, out_channels, kernel_size, norm_layer=group_norm, activation_layer=activation
    )
    init_convolution(block[0])
    return block
