"""Weights in low precision: cast once, where autocast would cast them in every call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

CAST = torch.ops.aten._to_copy.default


def cast_weights(model: nn.Module, dtype: torch.dtype, call: Callable[[], object]) -> None:
    """Casts the weights of which a call reads nothing but what autocast makes of them; it computes the same afterwards.

    Autocast keeps its casts only of weights that want gradients. Which layers it leaves in float32, and which parts
    of a model are computed outside it, a call tells best.

    Args:
        model: does not train any more.
        dtype: autocast's.
        call: calls the model under autocast.
    """
    reads = _Reads({id(weight): weight for weight in model.parameters()}, dtype)
    # In inference mode a dispatch mode would see, and call, some operations before autocast does.
    with torch.inference_mode(False), torch.no_grad(), reads:
        call()
    for weight in reads.cast_only():
        weight.data = weight.data.to(dtype)


class _Reads(TorchDispatchMode):
    """Notes how weights are read."""

    def __init__(self, weights: dict[int, nn.Parameter], dtype: torch.dtype) -> None:
        super().__init__()
        self.weights, self.dtype = weights, dtype
        self.cast: set[int] = set()
        self.read: set[int] = set()

    def cast_only(self) -> Iterator[nn.Parameter]:
        """Those that were cast, and read in no other way."""
        return (self.weights[key] for key in self.cast - self.read)

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        seen = {id(leaf) for leaf in torch.utils._pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        casts = function is CAST and kwargs.get("dtype") == self.dtype
        (self.cast if casts else self.read).update(seen & self.weights.keys())
        return function(*args, **kwargs)
