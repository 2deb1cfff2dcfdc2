"""What all relations share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from pisr_core.class_axes import ClassAxes
from pisr_core.errors import ConfigError
from pisr_core.structures import SemanticPrediction


class Relation(nn.Module, ABC):
    """A module between the first and the final predictions.

    Attributes:
        uses_instances: whether it reads I; where it does not, nobody needs to compute I.
        encoding_stride: it needs I on every so-manieth cell of each row and column only.
    """

    uses_instances = True
    encoding_stride = 1

    @abstractmethod
    def forward(
        self,
        features: Float[Tensor, "b c h w"],
        semantic: SemanticPrediction,
        instances: Float[Tensor, "b k _ _"],
    ) -> Float[Tensor, "b c h w"]:
        """Features for the final stage, in F's channel layout.

        Args:
            features: F.
            semantic: S, (b, n, h, w).
            instances: I in [0, 1], rows ordered by confidence, absent ones zero; on the cells of F, or on those
                that `encoding_stride` leaves.
        """

    def taught_weights(
        self,
        features: Float[Tensor, "b c h w"],
        semantic: SemanticPrediction,
        instances: Float[Tensor, "b k _ _"],
    ) -> Float[Tensor, "b m"] | None:
        """What it weighs the categories with, for a loss that teaches this alone; `None` where it does not."""
        return None

    def class_axes(self, classes: Sequence[str], first: int = 0) -> ClassAxes:
        """The dimensions of its tensors whose entries belong to S's maps, and behind them to I's.

        Args:
            classes: whose S's maps are, by name.
            first: those of S's maps that come before and belong to no single class.
        """
        return {}


class IdentityRelation(Relation):
    """No relation: the final heads read F itself. The control that separates PISR from deep supervision."""

    uses_instances = False

    def forward(
        self,
        features: Float[Tensor, "b c h w"],
        semantic: SemanticPrediction,
        instances: Float[Tensor, "b k _ _"],
    ) -> Float[Tensor, "b c h w"]:
        """F as it is."""
        return features


def check_top_k(k: int, top_k: int) -> None:
    """Raises `ConfigError` when there are more instances than the relation was built for."""
    if k > top_k:
        raise ConfigError(
            f"{k} instances for a relation that was trained with relation.top_k = {top_k}: "
            f"use at most {top_k}, or train with a larger relation.top_k."
        )


def pad_instances(instances: Float[Tensor, "b k h w"], top_k: int) -> Float[Tensor, "b K h w"]:
    """Exactly K instance maps, absent ones zero, for relations whose convolutions need a fixed number.

    Raises:
        ConfigError: there are more than K.
    """
    check_top_k(instances.shape[1], top_k)
    return F.pad(instances, (0, 0, 0, 0, 0, top_k - instances.shape[1]))
