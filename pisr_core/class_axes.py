"""Which entries of a network's tensors belong to which class, so that weights can move between sets of classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class ClassAxis:
    """A dimension of a tensor whose entries belong to classes. Those before and behind them belong to none.

    Attributes:
        dim: which one.
        classes: the class of each entry, by name. A class may have several entries.
        first: the first class's entry.
    """

    dim: int
    classes: tuple[str, ...]
    first: int = 0

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether a tensor has all these entries."""
        return self.dim < len(shape) and shape[self.dim] >= self.first + len(self.classes)

    def owners(self, size: int) -> list[tuple[Any, int]]:
        """Whose each of `size` entries is, the same in another network with the same classes in another order."""
        behind = size - self.first - len(self.classes)
        names = [*["before"] * self.first, *((name,) for name in self.classes), *["behind"] * behind]
        seen: Counter[Any] = Counter()
        owners = []
        for name in names:
            owners.append((name, seen[name]))
            seen[name] += 1
        return owners


ClassAxes = dict[str, tuple[ClassAxis, ...]]
"""Such dimensions of tensors, by name."""


def predictor_axes(name: str, classes: Iterable[str], first: int = 0) -> ClassAxes:
    """Of a layer whose outputs belong to classes."""
    axis = (ClassAxis(0, tuple(classes), first),)
    return {f"{name}.weight": axis, f"{name}.bias": axis}


def within(part: str, axes: Mapping[str, tuple[ClassAxis, ...]]) -> ClassAxes:
    """The same, named as in a network that has the layers in one of its parts."""
    return {f"{part}.{name}": entry for name, entry in axes.items()}


def move_classes(
    own: Tensor, other: Tensor, own_axes: Sequence[ClassAxis], other_axes: Sequence[ClassAxis]
) -> Tensor | None:
    """A tensor with the values of another one in all entries that both have, matched by class.

    Args:
        own: keeps its values in all other entries.
        other: of the same kind of layer for other classes.
        own_axes: the dimensions of `own` that have to do with classes.
        other_axes: the same of `other`.

    Returns:
        A new tensor; `None` where the two differ in another dimension, or share no entry.
    """
    if own.ndim != other.ndim or not all(axis.fits(other.shape) for axis in other_axes):
        return None
    places, other = [], other.to(own.dtype)
    for mine, theirs in zip(own_axes, other_axes, strict=True):
        found = {owner: index for index, owner in enumerate(theirs.owners(other.shape[theirs.dim]))}
        pairs = [(i, found[o]) for i, o in enumerate(mine.owners(own.shape[mine.dim])) if o in found]
        if not pairs:
            return None
        to, of = torch.tensor(pairs).unbind(1)
        places.append((mine.dim, to))
        other = other.index_select(theirs.dim, of)
    same = all(own.shape[d] == other.shape[d] for d in range(own.ndim) if d not in {dim for dim, _ in places})
    return _with_entries(own, other, places) if same else None


def _with_entries(own: Tensor, values: Tensor, places: Sequence[tuple[int, Tensor]]) -> Tensor:
    if not places:
        return values
    (dim, indices), *others = places
    return own.index_copy(dim, indices, _with_entries(own.index_select(dim, indices), values, others))
