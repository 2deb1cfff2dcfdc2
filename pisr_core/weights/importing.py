"""Public weights into our models: both prediction stages start from the base's."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from pisr_core.config import Config
from pisr_core.errors import CheckpointError
from pisr_core.models import MODELS, PanopticModel, build_model
from pisr_core.structures import Category
from pisr_core.weights.checkpoint import save_checkpoint
from pisr_core.weights.layouts import Found, detect_layout, rename_tensors
from pisr_core.weights.tensor_files import read_tensors

logger = logging.getLogger(__name__)

SAME_NETWORK = 0.8
"""Share of the tensors, counted on either side, that must fit. Other depths and widths stay below, and another
dataset's predictors cost a few tensors only."""

BACKBONE = "backbone."
"""What the names of a backbone's tensors begin with."""

SECOND_STAGE = ("relation.", "final_heads.")
"""What a base does not have."""


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
class ImportReport:
    """What became of every tensor.

    Attributes:
        source: the kind of file.
        prefix: what stands before the weights' names in the file, see `Found`.
        loaded: names, in the model, of the tensors that were loaded.
        reinitialised: those that differ in shape, such as the predictors of another number of classes.
        unused: those that the model has no place for.
        missing: those that the file lacks; they keep their initial values.
        elsewhere: the file's tensors without the prefix, such as a second copy of the weights; they were not read.
    """

    source: str
    prefix: str
    loaded: tuple[str, ...]
    reinitialised: tuple[Unfit, ...]
    unused: tuple[Unfit, ...]
    missing: tuple[Unfit, ...]
    elsewhere: tuple[str, ...]


def import_weights(
    path: Path, config: Config, categories: Sequence[Category], out: Path, backbone_only: bool = False
) -> ImportReport:
    """Writes a checkpoint of a preset that starts from public weights.

    What the file does not give is initialised from `train.seed`.

    Args:
        path: see `read_tensors`.
        config: the preset.
        categories: its dataset's.
        out: the checkpoint, `*.safetensors`.
        backbone_only: see `load_public_weights`.

    Raises:
        CheckpointError: the file cannot be used for the preset.
        OutputError: `out` cannot be written.
    """
    torch.manual_seed(config.train.seed)
    model = build_model(replace(config, backbone=replace(config.backbone, pretrained=False)), categories)
    report = load_public_weights(model, path, backbone_only)
    save_checkpoint(out, model.state_dict(), config, categories, {"imported": path.name, "source": report.source})
    return report


def load_public_weights(model: PanopticModel, path: Path, backbone_only: bool = False) -> ImportReport:
    """Loads every tensor of a public checkpoint that fits; final heads become copies of the initial ones.

    With a residual relation the model's first and final predictions then both equal the base's.

    Args:
        model: of the checkpoint's architecture.
        path: see `read_tensors`.
        backbone_only: leave the rest of the file alone; files that hold a backbone alone need no such hint.

    Raises:
        CheckpointError: the file cannot be read, or holds another network than the model.
    """
    found = detect_layout(path, read_tensors(path))
    backbone_only = backbone_only or found.layout.backbone_only
    _check_architecture(path, found, model, backbone_only)
    renamed = rename_tensors(path, found)
    origins = dict(zip(renamed, found.tensors.items(), strict=True))
    if backbone_only:
        renamed = {name: tensor for name, tensor in renamed.items() if name.startswith(BACKBONE)}
    own = model.state_dict()
    wanted = _base_tensors(own, backbone_only)
    report = _report(found, renamed, origins, own, wanted)
    _check_fit(path, report, len(wanted), sum(not _counts_batches(name) for name in renamed))
    model.load_state_dict({name: renamed[name] for name in report.loaded}, strict=False)
    if not backbone_only:
        _start_final_heads(model, report.loaded)
    _log(path, report)
    return report


def _report(
    found: Found,
    renamed: Mapping[str, Tensor],
    origins: Mapping[str, tuple[str, Tensor]],
    own: Mapping[str, Tensor],
    wanted: Sequence[str],
) -> ImportReport:
    """Compares the file's tensors, under our names, with the model's own and with those that a base has."""

    def unfit(names: Iterable[str]) -> tuple[Unfit, ...]:
        return tuple(Unfit(*_in_file(origins, name), _shape(own.get(name))) for name in names)

    known = [name for name in renamed if name in own]
    return ImportReport(
        source=found.source,
        prefix=found.prefix,
        loaded=tuple(name for name in known if renamed[name].shape == own[name].shape),
        reinitialised=unfit(name for name in known if renamed[name].shape != own[name].shape),
        unused=unfit(name for name in renamed if name not in own),
        missing=unfit(name for name in wanted if name not in renamed),
        elsewhere=found.elsewhere,
    )


def _start_final_heads(model: PanopticModel, loaded: Sequence[str]) -> None:
    """Copies the initial heads to the final ones, unless there are none or the file had some."""
    parts = dict(model.named_children())
    if "final_heads" in parts and not any(name.startswith("final_heads.") for name in loaded):
        parts["final_heads"].load_state_dict(parts["initial_heads"].state_dict())


def _check_architecture(path: Path, found: Found, model: PanopticModel, backbone_only: bool) -> None:
    architecture = found.layout.architecture
    if backbone_only or not architecture or isinstance(model, MODELS[architecture]):
        return
    raise CheckpointError(
        f"{path}: it is {found.source}, but the preset {model.config.name} builds a {type(model).__name__}. "
        f"Choose a preset of {architecture}, or take the backbone alone with --backbone-only."
    )


def _base_tensors(state: Mapping[str, Tensor], backbone_only: bool) -> list[str]:
    """Names of what a file of the base is expected to give: no second stage, and no counters of batches."""
    scope = BACKBONE if backbone_only else ""
    return [
        name
        for name in state
        if name.startswith(scope) and not name.startswith(SECOND_STAGE) and not _counts_batches(name)
    ]


def _counts_batches(name: str) -> bool:
    """Whether a tensor is a batch norm's counter, which detectron2's frozen norms lack and nothing here reads."""
    return name.endswith(".num_batches_tracked")


def _in_file(origins: Mapping[str, tuple[str, Tensor]], name: str) -> tuple[str, tuple[int, ...] | None]:
    """A tensor's name and shape in the file, or its name here where the file lacks it."""
    own_name, tensor = origins.get(name, (name, None))
    return own_name, _shape(tensor)


def _shape(tensor: Tensor | None) -> tuple[int, ...] | None:
    return None if tensor is None else tuple(tensor.shape)


def _check_fit(path: Path, report: ImportReport, wanted: int, offered: int) -> None:
    """Refuses a file that is another network under the same names."""
    kept = len(report.missing) + sum(not unfit.name.startswith(SECOND_STAGE) for unfit in report.reinitialised)
    fit = sum(not _counts_batches(name) for name in report.loaded)
    if kept <= (1 - SAME_NETWORK) * wanted and fit >= SAME_NETWORK * offered:
        return
    examples = (*report.reinitialised, *report.missing, *report.unused)[:10]
    raise CheckpointError(
        f"{path}: it is {report.source}, but of another backbone, width or kind of convolution than the preset's: "
        f"{fit} of its {offered} tensors fit, and {kept} of the {wanted} needed are missing. "
        f"Choose another preset, or --set what differs. For example:\n  " + "\n  ".join(map(str, examples))
    )


def _log(path: Path, report: ImportReport) -> None:
    below = f" (below {report.prefix})" if report.prefix else ""
    logger.info("%s: %s%s, %d tensors loaded", path, report.source, below, len(report.loaded))
    kept = len(report.missing) + len(report.reinitialised)
    if kept:
        logger.warning("%d tensors keep their initial values: the model must be trained before it is used", kept)
