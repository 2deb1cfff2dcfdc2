"""Weights of one network into another, wherever they come from: what fits is loaded, another network is refused."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from pisr_core.class_axes import ClassAxes, move_classes
from pisr_core.errors import CheckpointError
from pisr_core.models import TwoStageModel
from pisr_core.structures import Category

logger = logging.getLogger(__name__)

SAME_NETWORK = 0.8
"""Share of the base's tensors, counted on either side, that must fit. Other depths and widths stay below, and another
dataset's predictors cost a few tensors only."""

SHOWN = 10
"""Tensors that a message names."""

BACKBONE = "backbone."
"""What the names of a backbone's tensors begin with."""

SECOND_STAGE = ("relation.", "final_heads.")
"""What a base does not have."""


@dataclass(frozen=True)
class Weights:
    """A file's weights under the names of our models.

    Attributes:
        path: the file.
        source: what kind of file it is.
        tensors: by name.
        names: the tensors' names in the file, by ours.
        categories: the classes that they were trained for, in the order of the outputs; `None` where the file does not
            name them.
        prefix: what stands before the names in the file, see `pisr_core.weights.public.layouts.Found`.
        elsewhere: names of the file's other tensors.
    """

    path: Path
    source: str
    tensors: Mapping[str, Tensor]
    names: Mapping[str, str]
    categories: Sequence[Category] | None = None
    prefix: str = ""
    elsewhere: tuple[str, ...] = ()


@dataclass(frozen=True)
class Unfit:
    """A tensor that was not loaded.

    Attributes:
        name: in the file where the file has it, else in the model.
        file_shape: its shape in the file, `None` where the file lacks it.
        model_shape: its shape in the model, `None` where the model has no place for it.
    """

    name: str
    file_shape: tuple[int, ...] | None
    model_shape: tuple[int, ...] | None

    def __str__(self) -> str:
        return f"{self.name}: {shape_text(self.file_shape)} in the file, {shape_text(self.model_shape)} in the model"


def shape_text(shape: tuple[int, ...] | None) -> str:
    """A shape for people: 64×3×7×7, `none` for no tensor."""
    return "none" if shape is None else "×".join(map(str, shape)) or "scalar"


@dataclass(frozen=True)
class ClassMatch:
    """How the file's classes and the model's meet, by name.

    Attributes:
        known: the model's classes that the file knows; their outputs are the file's, wherever they stand in it.
        new: those that it does not know; their outputs start anew.
        unused: the file's classes that the model does not have.
        moved: whether any known class stands elsewhere than in the file.
    """

    known: tuple[str, ...]
    new: tuple[str, ...]
    unused: tuple[str, ...]
    moved: bool


@dataclass(frozen=True)
class FitReport:
    """What became of every tensor.

    Attributes:
        source: the kind of file.
        prefix: what stands before the weights' names in the file.
        loaded: names, in the model, of the tensors that were loaded; of those that have to do with classes, as far as
            the classes are known.
        kept: names, in the model, of those that keep their initial values, its second stage's too.
        reinitialised: those that differ in shape, or share no class.
        unused: those that the model has no place for.
        missing: those of a base that the file lacks; they keep their initial values.
        elsewhere: the file's tensors without the prefix, such as a second copy of the weights; they were not read.
        class_match: how the classes meet; `None` where the file does not name them, and of a backbone alone.
    """

    source: str
    prefix: str
    loaded: tuple[str, ...]
    kept: tuple[str, ...]
    reinitialised: tuple[Unfit, ...]
    unused: tuple[Unfit, ...]
    missing: tuple[Unfit, ...]
    elsewhere: tuple[str, ...]
    class_match: ClassMatch | None


def load_fitting(model: TwoStageModel, weights: Weights, backbone_only: bool = False) -> FitReport:
    """Loads every tensor that fits; final heads become copies of the initial ones where the file has none.

    With a residual relation the model's first and final predictions then both equal the base's. Outputs for classes
    are matched by the classes' names; where the file does not name them, by their order.

    Args:
        model: keeps its own values in all else.
        weights: of the same network, perhaps for other classes and with another relation.
        backbone_only: leave all but the backbone alone.

    Raises:
        CheckpointError: they are another network's.
    """
    offered = {name: t for name, t in weights.tensors.items() if name.startswith(BACKBONE) or not backbone_only}
    own = model.state_dict()
    values = _fitting_values(model, own, offered, weights.categories)
    copied = not backbone_only and not any(name.startswith("final_heads.") for name in offered)
    loaded = set(values) | ({_final_twin(name) for name in values} if copied else set())

    def unfit(name: str) -> Unfit:
        return Unfit(weights.names.get(name, name), _shape(offered.get(name)), _shape(own.get(name)))

    report = FitReport(
        source=weights.source,
        prefix=weights.prefix,
        loaded=tuple(values),
        kept=tuple(name for name in own if name not in loaded),
        reinitialised=tuple(unfit(name) for name in offered if name in own and name not in values),
        unused=tuple(unfit(name) for name in offered if name not in own),
        missing=tuple(unfit(name) for name in own if _is_of_base(name, backbone_only) and name not in offered),
        elsewhere=weights.elsewhere,
        class_match=None if backbone_only else _class_match(model.categories, weights.categories),
    )
    _check_fit(weights.path, report, own, offered, backbone_only)
    model.load_state_dict(values, strict=False)
    if copied:
        _start_final_heads(model)
    _log(weights, report)
    return report


def _fitting_values(
    model: TwoStageModel,
    own: Mapping[str, Tensor],
    offered: Mapping[str, Tensor],
    categories: Sequence[Category] | None,
) -> dict[str, Tensor]:
    """What the model's tensors shall hold, of those that the file has something for."""
    axes: ClassAxes = model.class_axes(model.categories)
    theirs = axes if categories is None else model.class_axes(categories)
    values = {}
    for name in own.keys() & offered.keys():
        if name in axes and categories is not None:
            value = move_classes(own[name], offered[name], axes[name], theirs[name])
        else:
            value = offered[name] if own[name].shape == offered[name].shape else None
        if value is not None:
            values[name] = value
    return {name: values[name] for name in own if name in values}


def _class_match(own: Sequence[Category], theirs: Sequence[Category] | None) -> ClassMatch | None:
    if theirs is None:
        return None
    names, others = [category.name for category in own], [category.name for category in theirs]
    known = tuple(name for name in names if name in others)
    return ClassMatch(
        known=known,
        new=tuple(name for name in names if name not in others),
        unused=tuple(name for name in others if name not in names),
        moved=any(names.index(name) != others.index(name) for name in known),
    )


def _start_final_heads(model: TwoStageModel) -> None:
    """Copies the initial heads to the final ones, as far as there are such."""
    parts = dict(model.named_children())
    if "final_heads" in parts:
        values = parts["initial_heads"].state_dict()
        parts["final_heads"].load_state_dict({name: values[name] for name in parts["final_heads"].state_dict()})


def _final_twin(name: str) -> str:
    return "final_heads." + name.removeprefix("initial_heads.") if name.startswith("initial_heads.") else name


def _is_of_base(name: str, backbone_only: bool) -> bool:
    """Whether a file of the base is expected to give a tensor: no second stage, no counter of batches.

    Batch norm's counters are missing in detectron2's frozen norms, and nothing here reads them.
    """
    in_scope = name.startswith(BACKBONE) or not backbone_only
    return in_scope and not name.startswith(SECOND_STAGE) and not name.endswith(".num_batches_tracked")


def _shape(tensor: Tensor | None) -> tuple[int, ...] | None:
    return None if tensor is None else tuple(tensor.shape)


def _check_fit(
    path: Path, report: FitReport, own: Mapping[str, Tensor], offered: Mapping[str, Tensor], backbone_only: bool
) -> None:
    """Refuses a file that is another network under the same names."""
    fit = sum(_is_of_base(name, backbone_only) for name in report.loaded)
    wanted = sum(_is_of_base(name, backbone_only) for name in own)
    given = sum(_is_of_base(name, backbone_only) for name in offered)
    if fit >= SAME_NETWORK * wanted and fit >= SAME_NETWORK * given:
        return
    examples = (*report.reinitialised, *report.missing, *report.unused)[:SHOWN]
    raise CheckpointError(
        f"{path}: it is {report.source}, but of another backbone, width or kind of convolution than the preset's: "
        f"{fit} of its {given} tensors fit, and {wanted - fit} of the {wanted} needed are missing. Choose another "
        "preset, or --set what differs; `pisr weights import --backbone-only` takes the backbone alone. For example:"
        "\n  " + "\n  ".join(map(str, examples))
    )


def _log(weights: Weights, report: FitReport) -> None:
    below = f" (below {report.prefix})" if report.prefix else ""
    total = len(report.loaded) + len(report.kept)
    logger.info("%s: %s%s, %d of %d tensors loaded", weights.path, report.source, below, len(report.loaded), total)
    if report.kept:
        logger.info("%d tensors keep their initial values: %s", len(report.kept), _some(report.kept))
    for line in class_lines(report.class_match):
        logger.info("%s", line)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")


def class_lines(match: ClassMatch | None) -> list[str]:
    """What a person should know of the classes: none of them where they are the same in the same order."""
    if match is None or not (match.new or match.unused or match.moved):
        return []
    groups = {
        "classes taken by name": match.known,
        "classes that start anew": match.new,
        "classes of the file that are not used": match.unused,
    }
    return [f"{what} ({len(names)}): {', '.join(names)}" for what, names in groups.items() if names]
