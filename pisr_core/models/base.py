"""What all panoptic models share, and what all networks do that have a place for a relation (Fig. 2)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, TypeVar

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from pisr_core.backbones import PIXEL_MEAN, PIXEL_STD
from pisr_core.class_axes import ClassAxes, within
from pisr_core.config import Config, check
from pisr_core.errors import ConfigError, ExportError
from pisr_core.models.class_weights import class_weights
from pisr_core.models.exportable import ExportableNetwork
from pisr_core.models.resizing import STRIDE
from pisr_core.models.stage_maps import StageMaps
from pisr_core.models.views import View
from pisr_core.relations import Relation
from pisr_core.structures import Category, PanopticResult, TargetGenerator, thing_ids

Losses = dict[str, Float[Tensor, ""]]
"""The weighted terms of a loss."""

Model = TypeVar("Model", bound="TwoStageModel")


class PanopticModel(nn.Module, ABC):
    """A network with everything that follows it: its losses and its way to a panoptic map.

    Attributes:
        config: the preset that it was built from.
        categories: the dataset's classes, in the order of its predictions.
        thing_ids: positions of the thing classes.
    """

    class_weights: Float[Tensor, " n"] | None

    def __init__(self, config: Config, categories: Sequence[Category]) -> None:
        super().__init__()
        self.config = config
        self.categories = tuple(categories)
        self.thing_ids = thing_ids(categories)
        self.register_buffer("pixel_mean", torch.tensor(PIXEL_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(PIXEL_STD).view(3, 1, 1), persistent=False)
        self.register_buffer("class_weights", class_weights(config.loss, categories), persistent=False)

    @property
    @abstractmethod
    def network(self) -> TwoStageModel:
        """The trained network itself, without what is wrapped around it."""

    @property
    @abstractmethod
    def size_divisor(self) -> int:
        """Image sides are multiples of this many pixels."""

    def normalize(self, images: Shaped[Tensor, "b 3 H W"]) -> Float[Tensor, "b 3 H W"]:
        """RGB values in 0–255, of any type, to what the backbone expects."""
        return (images - self.pixel_mean) / self.pixel_std  # type: ignore[operator]

    @abstractmethod
    def target_generator(self) -> TargetGenerator:
        """What turns an annotation into the targets that `losses` reads."""

    @abstractmethod
    def losses(self, output: Any, targets: Any) -> Losses:
        """The weighted terms of Eq. 1; their sum is L."""

    @abstractmethod
    def panoptic(
        self,
        output: Any,
        input_sizes: Sequence[tuple[int, int]],
        output_sizes: Sequence[tuple[int, int]],
    ) -> list[PanopticResult]:
        """The panoptic map of each image of a padded batch.

        Args:
            output: of `forward`.
            input_sizes: (H, W) of each image without its padding, pixels.
            output_sizes: (H, W) that each result shall have.
        """


class TwoStageModel(PanopticModel):
    """First predictions, the relation, final predictions: Fig. 2.

    Those who inherit give it a `backbone`, the modules named in `decoders`, `initial_heads`, and `relation` and
    `final_heads`, which are `None` for a base model.

    Attributes:
        decoders: names of the modules between backbone and heads.
        fixed_shapes: whether all that it computes has shapes that follow from the images' alone. Heads that choose
            boxes have not: they are neither compiled nor computed twice to save memory, and need real numbers.
        merges_views: whether predictions from several views of an image have a mean.
        counted_by_segments: whether the cross entropy is one of segments, not of pixels.
    """

    decoders: ClassVar[tuple[str, ...]]
    fixed_shapes: ClassVar[bool] = True
    merges_views: ClassVar[bool] = False
    counted_by_segments: ClassVar[bool] = False
    _frozen: tuple[str, ...] = ()

    relation: Relation | None

    @classmethod
    def check_config(cls, config: Config) -> None:
        """Raises `ConfigError` for settings that mean nothing here."""
        choice = config.relation.final_heads
        check(choice == "all", "relation.final_heads", choice, f"{config.architecture} has no such heads; use all")
        taught = config.loss.reweighting
        check(not taught, "loss.reweighting", taught, f"{config.architecture} has no such loss; use 0")

    @classmethod
    def instance_limit(cls, config: Config) -> tuple[int, str] | None:
        """The most instances that an image can have, and the setting that says so; `None` without a limit."""
        return None

    @classmethod
    def busiest(cls, config: Config) -> Config:
        """The settings with which random weights, which are sure of nothing, compute as much as trained ones may."""
        return config

    @property
    def network(self) -> TwoStageModel:
        """Itself."""
        return self

    def film_memory(self) -> Float[Tensor, "1 q c"] | None:
        """What the first frame of a film begins with, where a network carries something from frame to frame.

        It is then called as `model(frame, memory)`, and `memory` of its output is for the next frame. A segment's id
        lasts by itself: what is seen again keeps it. `None` where each frame is seen alone.
        """
        return None

    @property
    def stride(self) -> int:
        """Pixels of the padded images to a cell of F and of the predictions."""
        return STRIDE

    def freeze(self, what: str | Sequence[str]) -> None:
        """Has training leave parts as they are, norms' statistics and dropout too.

        Args:
            what: `backbone`, `base` (all but the relation and the final heads), or names of modules, of modules
                within them too (`initial_heads`, `backbone.body.layer1`).

        Raises:
            ConfigError: no such part, or nothing is left to train.
        """
        if isinstance(what, str):
            names = self._base_parts() if what == "base" else (what,)
        else:
            names = tuple(what)
        known = dict(self.named_modules())
        for name in names:
            parts = ", ".join(name for name, _ in self.named_children())
            check(bool(name) and name in known, "train.freeze", what, f"{name!r} is no part; there are {parts}")
            known[name].requires_grad_(False)
        self._frozen = names
        if not any(parameter.requires_grad for parameter in self.parameters()):
            raise ConfigError(
                f"train.freeze = {what!r}: nothing is left to train. Choose a preset with PISR, or freeze less, as "
                "with --set train.freeze=none."
            )
        self.train(self.training)

    def train(self: Model, mode: bool = True) -> Model:
        """Sets the mode of all parts; frozen ones stay in evaluation mode."""
        super().train(mode)
        for name in self._frozen:
            self.get_submodule(name).eval()
        return self

    def _base_parts(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.named_children() if name not in ("relation", "final_heads"))

    def layers_above(self, name: str) -> int:
        """How many of the backbone's blocks follow that of a parameter, by its name; `train.layer_decay` reads it."""
        return 0

    def begin_step(self, progress: float) -> None:
        """Called before each training step.

        Args:
            progress: the share of the run's steps that are done.
        """

    def forward(self, images: Shaped[Tensor, "b 3 H W"]) -> Any:
        """Both stages' predictions for RGB images with values in 0–255."""
        return self.second_stage(self.first_stage(images))

    @abstractmethod
    def first_stage(self, images: Shaped[Tensor, "b 3 H W"]) -> Any:
        """All that comes before the relation, and so does not depend on K, for RGB images with values in 0–255."""

    @abstractmethod
    def second_stage(self, first: Any) -> Any:
        """The relation and the final heads, as far as the model has them; I has `config.relation.top_k` maps."""

    def both_stages(self, final: Losses, initial: Losses) -> Losses:
        """Eq. 1: the final stage's terms, and γ times the initial stage's."""
        return final | {f"initial_{name}": self.config.loss.gamma * value for name, value in initial.items()}

    def panoptic(
        self,
        output: Any,
        input_sizes: Sequence[tuple[int, int]],
        output_sizes: Sequence[tuple[int, int]],
    ) -> list[PanopticResult]:
        """The panoptic map of each image of a padded batch, see `PanopticModel.panoptic`."""
        sizes = zip(input_sizes, output_sizes, strict=True)
        return [self.merge(output.final, index, *pair) for index, pair in enumerate(sizes)]

    @abstractmethod
    def merge(
        self, prediction: Any, index: int, input_size: tuple[int, int], output_size: tuple[int, int]
    ) -> PanopticResult:
        """The panoptic map of one image of a batch.

        Args:
            prediction: the final stage's, in evaluation mode.
            index: of the image in the batch.
            input_size: (H, W) of the image without its padding, pixels.
            output_size: (H, W) of the result.
        """

    @abstractmethod
    def stage_maps(self, prediction: Any) -> StageMaps:
        """What one stage predicts for a batch of one image, in terms that all architectures share."""

    def class_axes(self, categories: Sequence[Category]) -> ClassAxes:
        """What of the heads and the relation belongs to which class, were the model built for these categories."""
        names = tuple(category.name for category in categories)
        return self._axes_of_parts(heads=(names,), relation=(names,))

    def _axes_of_parts(self, heads: tuple[Any, ...], relation: tuple[Any, ...]) -> ClassAxes:
        """Those of both stages' heads and of the relation, each asked with its own arguments."""
        axes: ClassAxes = {}
        for part, given in {"initial_heads": heads, "relation": relation, "final_heads": heads}.items():
            module: Any = getattr(self, part)
            if module is not None:
                axes |= within(part, module.class_axes(*given))
        return axes

    def relation_rows(self, k: int) -> list[int]:
        """The relation's row of each class and of each of k instances."""
        return list(range(len(self.categories) + k))

    def undo_view(self, prediction: Any, view: View) -> Any:
        """A stage's prediction from a view, on the images' grid and in their pixels."""
        raise NotImplementedError(f"{type(self).__name__} does not merge views")

    def mean_of_views(self, predictions: Sequence[Any]) -> Any:
        """One prediction from those of several views, on the images' grid."""
        raise NotImplementedError(f"{type(self).__name__} does not merge views")

    def exportable(self, merging: bool) -> ExportableNetwork:
        """What is exported of the model.

        Args:
            merging: give the panoptic map; else the final stage's predictions.

        Raises:
            ExportError: nobody wrote it.
        """
        raise ExportError(f"{self.config.architecture} cannot be exported: its graph is not written yet.")

    def parts_to_recompute(self) -> list[nn.Module]:
        """What activation checkpointing computes twice, beside the backbone's stages."""
        heads = ("initial_heads", "final_heads") if self.fixed_shapes else ()
        return self._parts(*self.decoders, "relation", *heads)

    def parts_to_compile(self) -> list[nn.Module]:
        """The whole model, or those of its parts that see equal shapes in all images."""
        return [self] if self.fixed_shapes else self._parts("backbone", *self.decoders, "relation")

    def _parts(self, *names: str) -> list[nn.Module]:
        return [part for name in names if isinstance(part := getattr(self, name), nn.Module)]
