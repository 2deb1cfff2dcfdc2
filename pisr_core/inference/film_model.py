"""A network that carries what it saw from frame to frame, on its way through a film."""

from __future__ import annotations

from typing import Any

from jaxtyping import Shaped
from torch import Tensor

from pisr_core.models import PanopticModel
from pisr_core.models.wrapped import WrappedModel


class FilmModel(WrappedModel):
    """Sees the frames of one film, one after another, each with what the network carries from those before.

    Args:
        model: of a network that has a `film_memory`.
    """

    def __init__(self, model: PanopticModel) -> None:
        super().__init__(model)
        self._memory = model.network.film_memory()

    def forward(self, frame: Shaped[Tensor, "1 3 H W"]) -> Any:
        """The model's output for the film's next frame, RGB with values in 0–255."""
        output = self.model(frame, self._memory)
        self._memory = output.memory
        return output
