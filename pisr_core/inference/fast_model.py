"""A trained model, made faster: batch norms folded, channels last, low precision, compiled, as CUDA graphs."""

from __future__ import annotations

import copy
from contextlib import ExitStack, nullcontext
from itertools import chain, pairwise
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Shaped
from timm.layers import Conv2dSame, FrozenBatchNormAct2d
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights
from torchvision.ops import FrozenBatchNorm2d

from pisr_core.backbones import Backbone
from pisr_core.errors import ConfigError
from pisr_core.inference.casting import cast_weights
from pisr_core.inference.graphs import GraphedForward
from pisr_core.models import PanopticModel
from pisr_core.models.compiling import Compilation
from pisr_core.models.depthwise import DepthwiseConv2d
from pisr_core.models.wrapped import WrappedModel
from pisr_core.relations import PISR
from pisr_core.runtime.devices.device import warn_of_emulation

PRECISIONS: dict[str, torch.dtype | None] = {"no": None, "fp16": torch.float16, "bf16": torch.bfloat16}
"""What autocast computes in, by the words of `train.precision`."""

CONVOLUTIONS = (nn.Conv2d, Conv2dSame, DepthwiseConv2d)
NORMS = (nn.BatchNorm2d, FrozenBatchNorm2d, FrozenBatchNormAct2d)

PASS_SIZE = (224, 224)
"""Pixels of the image that shows what follows what in a backbone."""

Module = TypeVar("Module", bound=nn.Module)


class FastModel(WrappedModel):
    """A copy of a trained model that predicts the same, faster; it does not train.

    In float32 its predictions differ by rounding only, for a batch norm's scale moves into the convolution's weights.
    On a GPU the forward passes of sizes that come again are CUDA graphs (`graphs`), if the network's shapes permit.

    Args:
        model: the trained model; it stays as it is.
        precision: `no` for float32, `bf16` or `fp16` for autocast.
        compiled: pass the network through `torch.compile` when it first runs; each new image size costs minutes.
        graphs: record forward passes as CUDA graphs where that can be done.

    Raises:
        ConfigError: an unknown precision.
    """

    def __init__(
        self, model: PanopticModel, precision: str = "no", compiled: bool = False, graphs: bool = True
    ) -> None:
        check_precision(precision)
        super().__init__(fold_batch_norms(copy.deepcopy(model).eval()).to(memory_format=torch.channels_last))
        device = next(model.parameters()).device
        warn_of_emulation(device, precision)
        self.dtype = PRECISIONS[precision]
        self.requires_grad_(False)
        self._weights_cast = self.dtype is None
        self._compilation = Compilation(self.network.parts_to_compile()) if compiled else None
        graphs = graphs and device.type == "cuda" and self.network.fixed_shapes
        self._run = GraphedForward(self._plain_forward) if graphs else self._plain_forward

    def forward(self, images: Shaped[Tensor, "b 3 H W"], *memory: Tensor) -> Any:
        """The model's output for RGB images with values in 0–255, and for what a film's next frame begins with."""
        inputs = (images.contiguous(memory_format=torch.channels_last), *memory)
        if self.dtype is not None and not self._weights_cast:
            self._weights_cast = True
            with nullcontext() if self._compilation is None else torch.compiler.set_stance("force_eager"):
                cast_weights(self.model, self.dtype, lambda: self._autocast(*map(torch.clone, inputs)))
        return self._run(*inputs)

    def _plain_forward(self, *inputs: Tensor) -> Any:
        if self._compilation is None:
            return self._autocast(*inputs)
        return self._compilation.run(lambda: self._autocast(*inputs))

    def _autocast(self, *inputs: Tensor) -> Any:
        with torch.autocast(inputs[0].device.type, dtype=self.dtype, enabled=self.dtype is not None):
            return self.model(*inputs)


def check_precision(precision: str) -> None:
    """Raises `ConfigError` for an unknown precision."""
    if precision not in PRECISIONS:
        raise ConfigError(f"precision {precision!r}: choose one of {', '.join(PRECISIONS)}.")


def fold_batch_norms(model: Module) -> Module:
    """Moves each batch norm that follows a convolution into its weights, in place; exact up to rounding.

    A norm belongs to the convolution that its parent registers right before it, if their channels fit: so all heads
    here are written, and most backbones; of these only what a pass confirms is folded. Tracing the data's way, as
    `torch.fx` does, fails on some of them. The scale of F_pan's norm moves into g_q, whose outputs are F_pan's
    channels.

    Args:
        model: in evaluation mode.

    Returns:
        The same model.
    """
    backbones = [module for module in model.modules() if isinstance(module, Backbone)]
    inside = {module for backbone in backbones for module in backbone.modules()}
    reads = {norm: conv for backbone in backbones for norm, conv in _read_by_norms(backbone).items()}
    for parent in list(model.modules()):
        children: list[tuple[str, Any]] = list(parent.named_children())
        for (_, before), (name, norm) in pairwise(children):
            conv = _last(before)
            fits = type(conv) in CONVOLUTIONS and isinstance(norm, NORMS) and conv.out_channels == _channels(norm)
            if fits and (norm not in inside or reads.get(norm) is conv):
                _fold(conv, norm)
                # timm's norms bring their activation along.
                setattr(parent, name, getattr(norm, "act", None) or nn.Identity())
        if isinstance(parent, PISR) and isinstance(parent.feature_norm, NORMS):
            parent.feature_norm = _fold_into_g_q(parent.attention.g_q, parent.feature_norm)
    return model


def _read_by_norms(backbone: Backbone) -> dict[nn.Module, nn.Module | None]:
    """The convolution whose output each norm reads, if it reads one's; found by a pass that computes nothing."""
    outputs: dict[int, tuple[Tensor, nn.Module]] = {}  # with the tensors, which keeps their ids their own
    read: dict[nn.Module, nn.Module | None] = {}

    def note_output(module: nn.Module, _: Any, output: Tensor) -> None:
        outputs[id(output)] = (output, module)

    def note_input(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        read[module] = outputs.get(id(inputs[0]), (None, None))[1]

    with ExitStack() as hooks:
        for module in backbone.modules():
            if isinstance(module, CONVOLUTIONS):
                hooks.callback(module.register_forward_hook(note_output).remove)
            elif isinstance(module, NORMS):
                hooks.callback(module.register_forward_pre_hook(note_input).remove)
        nothing = {
            name: tensor.to("meta") for name, tensor in chain(backbone.named_parameters(), backbone.named_buffers())
        }
        with torch.no_grad():
            functional_call(backbone, nothing, (torch.empty(1, 3, *PASS_SIZE, device="meta"),))
    return read


class _Shift(nn.Module):
    """Adds a constant to each channel."""

    shift: Tensor

    def __init__(self, shift: Float[Tensor, " c"]) -> None:
        super().__init__()
        self.register_buffer("shift", shift[:, None, None])

    def forward(self, maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return maps + self.shift


def _fold_into_g_q(g_q: nn.Linear, norm: Any) -> _Shift:
    """Scales g_q as the norm would scale F_pan. Returns what the norm adds, which cannot be put into g_q."""
    g_q.weight, shift = fuse_linear_bn_weights(
        g_q.weight, None, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    return _Shift(shift.detach())


def _last(module: Any) -> Any:
    """What gives a module's output: a sequence's last."""
    while isinstance(module, nn.Sequential) and len(module):
        module = module[-1]
    return module


def _channels(norm: Any) -> int:
    return len(norm.running_mean)


def _fold(conv: Any, norm: Any) -> None:
    conv.weight, conv.bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
