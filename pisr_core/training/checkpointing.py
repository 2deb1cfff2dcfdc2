"""Activation checkpointing: a stage keeps its inputs for the backward pass, and computes what lies between twice.

All of it, or only what is cheap: norms, activations, sums and resizing, between convolutions and matrix products whose
results are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from timm.models.efficientnet import EfficientNetFeatures
from timm.models.mobilenetv3 import MobileNetV3Features
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

from pisr_core.models import TwoStageModel

aten = torch.ops.aten
EXPENSIVE = [
    aten.convolution.default,
    aten.mm.default,
    aten.addmm.default,
    aten.bmm.default,
    aten.baddbmm.default,
    aten._scaled_dot_product_flash_attention.default,
    aten._scaled_dot_product_flash_attention_for_cpu.default,
    aten._scaled_dot_product_efficient_attention.default,
    aten._scaled_dot_product_cudnn_attention.default,
]
"""Operations whose results are kept where only the cheap ones are computed twice."""


def checkpoint_activations(model: TwoStageModel, what: str) -> None:
    """Has the backbone's stages, decoders, relation and heads computed once more in the backward pass, in place.

    Outputs, gradients and running statistics stay the same, up to rounding. Parameters keep their names.

    Args:
        model: to be trained.
        what: `all` of them, or `norms`, which takes in all but `EXPENSIVE`.
    """
    for stage in stages(model):
        norms = [module for module in stage.modules() if isinstance(module, _BatchNorm)]
        setattr(stage, "forward", partial(_recomputed, stage.forward, norms, what))  # noqa: B010, mypy knows no other
        if what == "norms":
            _write_nowhere_else(stage)


def _write_nowhere_else(stage: nn.Module) -> None:
    """Has activations leave what they read as it is: it may be a result that is kept for the second time."""
    for module in stage.modules():
        if getattr(module, "inplace", False):
            setattr(module, "inplace", False)  # noqa: B010, mypy knows no other way


def stages(model: TwoStageModel) -> list[nn.Module]:
    """The backbone's blocks of layers, then the other parts that the model has."""
    backbone = model.get_submodule("backbone")
    blocks = [
        part
        for part in _called_parts(getattr(backbone, "body", backbone))
        # Single layers have little to save, and a list of modules is none.
        if any(True for _ in part.children()) and not isinstance(part, nn.ModuleList)
    ]
    return blocks + model.parts_to_recompute()


def _called_parts(body: nn.Module) -> Iterator[nn.Module]:
    """A feature extractor's largest parts whose forward it calls: some of timm's go through their stages' blocks."""
    whole = getattr(body, "model", body)  # where timm takes the maps from the network's own `forward_intermediates`
    goes_through = whole is not body or isinstance(body, EfficientNetFeatures | MobileNetV3Features)
    for part in whole.children():
        if goes_through and isinstance(part, nn.Sequential | nn.ModuleList):
            yield from part
        else:
            yield part


def _recomputed(forward: Callable[..., Any], norms: Sequence[_BatchNorm], what: str, *inputs: Any) -> Any:
    def compute(*given: Any) -> Any:
        # HRNet's stages write into the list that they get, which the second time must be as it was.
        return forward(*(list(each) if isinstance(each, list) else each for each in given))

    # The compiler itself computes twice what is cheap, and sees to it that statistics change once.
    compiling = torch.compiler.is_compiling()
    if not torch.is_grad_enabled() or (compiling and what == "norms"):
        return compute(*inputs)
    if compiling:
        return checkpoint(compute, *inputs, use_reentrant=False)

    def contexts() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
        if what == "all":
            return nullcontext(), _statistics_kept(norms)
        keeping, taking = create_selective_checkpoint_contexts(EXPENSIVE)
        return keeping, _both(taking, _statistics_kept(norms))

    return checkpoint(compute, *inputs, use_reentrant=False, context_fn=contexts)


@contextmanager
def _both(outer: AbstractContextManager[Any], inner: AbstractContextManager[Any]) -> Iterator[None]:
    with outer, inner:
        yield


@contextmanager
def _statistics_kept(norms: Sequence[_BatchNorm]) -> Iterator[None]:
    """Batch norms that normalise as in training, but leave their running statistics and their counter alone."""
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
