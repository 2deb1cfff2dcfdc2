"""Operations of a forward pass by part of the network, as Table 4 counts them.

torch's counter knows convolutions, matrix products and attention: two operations for each multiply-accumulate. The
public counter of the papers' tables (fvcore) calls a multiply-accumulate one, and weighs norms and resizing as well.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from pisr_core.inference.mode import inference
from pisr_core.relations import PISR

aten = torch.ops.aten


@dataclass(frozen=True)
class Operations:
    """Operations of a part for one pass.

    Attributes:
        macs: multiply-accumulates of convolutions, matrix products and attention.
        others: norms, resizing and adaptive pooling, by the public counter's weights.
    """

    macs: int = 0
    others: int = 0

    @property
    def total(self) -> int:
        """What Table 4 calls FLOP."""
        return self.macs + self.others

    def __add__(self, other: Operations) -> Operations:
        return Operations(self.macs + other.macs, self.others + other.others)

    def __sub__(self, other: Operations) -> Operations:
        return Operations(self.macs - other.macs, self.others - other.others)


@dataclass(frozen=True)
class OperationCount:
    """Operations of a forward pass; merging, which follows it, is not part of it.

    Attributes:
        parts: those of each part that has any, from the backbone on.
        uncounted: output elements of every operation that has no weight (activations, sums, softmax …), by name.
    """

    parts: Mapping[str, Operations]
    uncounted: Mapping[str, int]

    @property
    def all(self) -> Operations:
        """The sum of the parts."""
        return sum(self.parts.values(), Operations())


PARTS = {
    "backbone": "backbone",
    "proposals": "proposals",
    "initial_heads": "initial heads",
    "": "initial heads",
    "relation": "encodings",
    "relation.attention": "attention",
    "relation.feature_norm": "attention",
    "final_heads": "final heads",
}
"""Parts by the path of their module, beside the decoders that a model names.

What no module of the model does itself makes S and I of the initial heads'
outputs; encodings (and ω) are what PISR does beside its attention."""


def _per_input(weight: int) -> Callable[..., int]:
    return lambda shape, *_, **__: weight * math.prod(shape)


def _per_output(weight: int) -> Callable[..., int]:
    return lambda *_, out_shape, **__: weight * math.prod(out_shape)


OTHERS: dict[Any, Callable[..., int]] = {
    aten.batch_norm: _per_input(2),
    aten.layer_norm: _per_input(5),
    aten.group_norm: _per_input(5),
    aten.adaptive_avg_pool2d: _per_input(1),
    aten.upsample_nearest2d: _per_output(1),
    aten.upsample_bilinear2d: _per_output(4),
}
"""The public counter's operations an element at inference, for what is neither convolution nor matrix product."""

UNKNOWN_TO_TORCH: dict[Any, Callable[..., int]] = {
    aten._scaled_dot_product_flash_attention_for_cpu: lambda query, key, value, *_, **__: sdpa_flop_count(
        query, key, value
    )
}
"""Matrix products that torch's counter passes over: attention as a CPU computes it."""

_MOVES = frozenset(
    "_to_copy _unsafe_view arange cat clone copy_ detach empty fill_ full lift_fresh stack zeros zeros_like".split()
)
"""Operations that compute nothing."""


def count_operations(model: nn.Module, images: Shaped[Tensor, "b 3 H W"]) -> OperationCount:
    """Operations of one forward pass in evaluation mode.

    The meta device is enough, which computes nothing and needs no memory, except for models without `fixed_shapes`.

    Args:
        model: one of ours, or another whose parts have the same names. Its parameters must not ask for gradients, for
            the counter would follow them.
        images: on the model's device.
    """
    # Counted by packet, but taken apart unless the overload is known too; some torch versions look for that alone.
    overloads = {getattr(packet, name): weight for packet, weight in OTHERS.items() for name in packet.overloads()}
    counter = FlopCounterMode(display=False, custom_mapping=OTHERS | overloads | UNKNOWN_TO_TORCH)
    unweighed = _Unweighed(counter.flop_registry.keys())
    with inference(model), unweighed, counter, _apart_from_the_backbone(model, counter):
        model(images)
    return OperationCount(_by_part(counter.get_flop_counts(), model), dict(unweighed.elements.most_common()))


@contextmanager
def _apart_from_the_backbone(model: nn.Module, counter: FlopCounterMode) -> Iterator[None]:
    """Has parts that a model calls while its backbone runs (EoMT predicts between blocks) count as themselves alone."""
    backbone, active = f"{type(model).__name__}.backbone", counter.mod_tracker.parents
    interrupted: list[bool] = []

    def enter(*_: Any) -> None:
        interrupted.append(backbone in active)
        active.discard(backbone)

    def leave(*_: Any) -> None:
        if interrupted.pop():
            active.add(backbone)

    parts = [part for name, part in model.named_children() if name != "backbone"]
    handles = [part.register_forward_pre_hook(enter) for part in parts]
    handles += [part.register_forward_hook(leave) for part in parts]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _by_part(counts: Mapping[str, Mapping[Any, int]], model: nn.Module) -> dict[str, Operations]:
    """From torch's counts, which hold a module's children too, to those of each part alone."""
    root = type(model).__name__
    names = {"backbone": "backbone"} | dict.fromkeys(getattr(model, "decoders", ()), "decoder") | PARTS
    if not isinstance(getattr(model, "relation", None), PISR):  # other relations have no parts of their own
        names["relation"] = "relation"
    paths = {path: _operations(counts.get(f"{root}.{path}" if path else "Global", {})) for path in names}
    parts = dict.fromkeys(names.values(), Operations())
    for path, operations in paths.items():
        children = (paths[child] for child in names if child and child.rpartition(".")[0] == path and child != path)
        parts[names[path]] += operations - sum(children, Operations())
    return {name: operations for name, operations in parts.items() if operations.total}


def _operations(counts: Mapping[Any, int]) -> Operations:
    others = sum(value for operator, value in counts.items() if operator in OTHERS)
    return Operations((sum(counts.values()) - others) // 2, others)


class _Unweighed(TorchDispatchMode):
    """Adds up the output elements of operations without a weight. The counter above it passes all of them on.

    Args:
        weighed: operations that the counter has weights for.
    """

    def __init__(self, weighed: Iterable[Any]) -> None:
        super().__init__()
        self.weighed = frozenset(weighed)
        self.elements: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        operator = func.overloadpacket
        name = operator.__name__
        if operator not in self.weighed and not func.is_view and name not in _MOVES:
            self.elements[name.strip("_")] += sum(t.numel() for t in tree_leaves(result) if isinstance(t, Tensor))
        return result
