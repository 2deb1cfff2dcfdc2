"""VidEoMT (Norouzi et al., CVPR 2026) as `transformers` has it: EoMT whose queries go on from frame to frame."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NoReturn

from jaxtyping import Float, Shaped
from torch import Tensor

from pisr_core.config import Config, TransformersConfig, check
from pisr_core.errors import ConfigError, ExportError
from pisr_core.models.queries.merging import MergingRule
from pisr_core.models.queries.structures import MaskOutput
from pisr_core.models.queries.universal.eomt import EoMT


@dataclass(frozen=True)
class FrameOutput(MaskOutput):
    """What the network gives for a frame of a film, or of several films.

    Attributes:
        memory: the queries that the next frame begins with.
    """

    memory: Float[Tensor, "b q c"] | None = None


class VidEoMT(EoMT):
    """EoMT that begins each frame of a film with what became of its queries in the one before.

    A query stays with what it found, so that its number is the id of a thing. An image is a film of one frame. It
    predicts only: `transformers` has no loss for films.
    """

    kinds = {"videomt": "VideomtForUniversalSegmentation"}
    prefixes = {**EoMT.prefixes, "query_updater.": "query_updater."}
    since = "5.4"

    @classmethod
    def check_config(cls, config: Config) -> None:
        """Raises `ConfigError` for settings that mean nothing here."""
        super().check_config(config)
        name = config.relation.name
        check(name == "none", "relation.name", name, "none alone, for videomt is not trained here; PISR goes with eomt")

    @classmethod
    def settings_of(cls, network: Any) -> TransformersConfig:
        """The settings that build a network anew; it has no masked attention, though its files have a place for it."""
        return replace(super().settings_of(network), masked_attention=())

    def take_apart(self, network: Any) -> None:
        """EoMT's parts, and what makes the next frame's queries."""
        super().take_apart(network)
        self.query_updater = network.query_updater

    @property
    def merging_rule(self) -> MergingRule:
        """With ids that a query keeps."""
        return replace(super().merging_rule, first_thing_id=1 + len(self.categories))

    def film_memory(self) -> Float[Tensor, "1 q c"]:
        """The learned queries, as nothing was seen yet."""
        queries: Float[Tensor, "q c"] = self.query.weight
        return queries[None]

    def forward(self, images: Shaped[Tensor, "b 3 H W"], memory: Float[Tensor, "b q c"] | None = None) -> FrameOutput:
        """Classes and masks of the queries, and the queries of the next frame.

        Args:
            images: RGB with values in 0–255, frames of different films.
            memory: of the frames before; `None` for the first frames of their films.

        Raises:
            ConfigError: images of another size than the network's.
        """
        tokens, _ = self.encode(images, self.query.weight if memory is None else memory)
        seen = tokens[:, : len(self.query.weight)]
        return FrameOutput(self.predict(tokens)[2], memory=self.query_updater(seen) + self.query.weight)

    def target_generator(self) -> NoReturn:
        """Refused.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(
            "videomt predicts, but is not trained here: transformers has no loss for films. Train a preset of eomt, on "
            "images; it can start from a VidEoMT with --weights."
        )

    def exportable(self, merging: bool) -> NoReturn:
        """Refused.

        Raises:
            ExportError: always.
        """
        raise ExportError(
            "videomt is not exported: its queries go on from frame to frame, and a graph sees single images. Use `pisr "
            "predict` for films, or export an eomt."
        )
