"""The part of `pisr eval` that scores a model."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pisr_cli.console import RUNS, messages, progress_bar
from pisr_cli.eval_results import Outcome
from pisr_core.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from pisr_core.config import DataConfig
    from pisr_core.evaluation.submission import Archive
    from pisr_core.models import PanopticModel
    from pisr_core.structures import PanopticDataset, PanopticResult, Sample

    Observer = Callable[[Sample, PanopticResult], None]


@dataclass(frozen=True)
class Subject:
    """A model, and what it shall be scored on."""

    path: Path
    model: PanopticModel
    dataset: PanopticDataset
    config: DataConfig
    split: str
    device: torch.device
    views: str
    precision: str


def load_subject(
    checkpoint: Path | None,
    data: Path | None,
    dataset_name: str | None,
    split: str,
    views: tuple[tuple[float, ...], bool] | None,
    device_name: str | None,
    precision: str,
    compiled: bool,
) -> Subject:
    """Reads the checkpoint and finds the dataset; `views` are the scales, and whether to mirror."""
    from pisr_core.data import build_dataset
    from pisr_core.evaluation.multi_scale import MultiScaleModel
    from pisr_core.inference.fast_model import FastModel, check_precision
    from pisr_core.inference.load import load_model, newest_checkpoint
    from pisr_core.runtime.device import choose_device

    device = choose_device(device_name)
    check_precision(precision)
    path = checkpoint or newest_checkpoint(RUNS)
    model: PanopticModel = FastModel(load_model(path, device), precision, compiled)
    seen = "the image itself"
    if views is not None:
        model = MultiScaleModel(model, *views)
        seen = f"scales {', '.join(map(str, views[0]))}{', mirrored too' if views[1] else ''}"
    config = replace(model.config.data, dataset=dataset_name or model.config.data.dataset)
    dataset = build_dataset(config, split, data)
    messages.print(f"{path} on {config.dataset} {split}, {device}", markup=False, soft_wrap=True)
    return Subject(path, model, dataset, config, split, device, seen, precision)


def evaluate_model(
    subject: Subject,
    limit: int,
    batch_size: int,
    instances: Path | None,
    compare: bool,
    submission: Path | None,
) -> Outcome:
    """Scores the model and writes the archives in one pass; of images without annotations only the archives."""
    from pisr_core.evaluation.submission import open_submission
    from pisr_core.results.comparison import tables_to_compare

    model, config = subject.model, subject.config
    if submission is not None and (limit or submission.suffix == ".zip"):
        raise ConfigError(
            f"--submission {submission}: name a folder, in which each server's archive gets the name that it wants, "
            "and leave --limit out, for servers refuse archives that lack images."
        )
    if compare:
        tables_to_compare(model.config, config.dataset, subject.split)  # mistakes shall show before the work
    opened: AbstractContextManager[dict[Path, Archive]] = (
        nullcontext({})
        if submission is None
        else open_submission(submission, config.dataset, subject.split, model.config.name, model.categories)
    )
    positions: dict[int | str, int] = {}
    with opened as archives:

        def observe(sample: Sample, result: PanopticResult) -> None:
            positions[sample.image_id] = len(positions)
            for archive in archives.values():
                archive.add(sample, result)

        if archives and subject.dataset[0].panoptic is None:
            _predict(subject, batch_size, observe)
            outcome = Outcome(None, {})
        else:
            outcome = _score(subject, limit, batch_size, instances, compare, observe, positions)
    outcome.archives += archives
    return outcome


def _predict(subject: Subject, batch_size: int, observe: Observer) -> None:
    from pisr_core.data.loading import evaluation_loader
    from pisr_core.evaluation.evaluate import check_classes, predictions

    model, config = subject.model, subject.config
    check_classes(model.categories, subject.dataset.categories)
    loader = evaluation_loader(
        subject.dataset,
        config,
        batch_size,
        workers=config.workers,
        size_divisor=model.size_divisor,
        device=subject.device,
    )
    with progress_bar("predicting") as progress:
        for sample, result in predictions(model, loader, subject.device, progress):
            observe(sample, result)


def _score(
    subject: Subject,
    limit: int,
    batch_size: int,
    instances: Path | None,
    compared: bool,
    observe: Observer,
    positions: dict[int | str, int],
) -> Outcome:
    from pisr_core.evaluation.evaluate import evaluate
    from pisr_core.evaluation.examples import examples_of_model
    from pisr_core.results.comparison import compare

    model, config = subject.model, subject.config
    with progress_bar("evaluating") as progress:
        result = evaluate(
            model,
            subject.dataset,
            config,
            subject.device,
            batch_size,
            config.workers,
            limit,
            progress,
            official_instances=instances,
            observe=observe,
        )
    comparisons = compare(model.config, config.dataset, subject.split, result) if compared else []
    examples = examples_of_model(result.worst, model, subject.dataset, positions, subject.device)
    return Outcome(result, _facts(subject, result.images), comparisons, examples)


def _facts(subject: Subject, images: int) -> dict[str, Any]:
    from pisr_core.weights.checkpoint import read_info

    config = subject.model.config
    return {
        "checkpoint": str(subject.path),
        "preset": config.name,
        "architecture": f"{config.architecture}, {config.backbone.name}, relation {config.relation.name}",
        "trained steps": read_info(subject.path).get("step"),
        "dataset": subject.config.dataset,
        "split": subject.split,
        "images": images,
        "seen as": subject.views,
        "device": str(subject.device),
        "precision": subject.precision,
    }
