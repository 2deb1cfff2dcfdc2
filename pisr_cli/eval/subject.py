"""The part of `pisr eval` that scores a model."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pisr_cli.eval.outcome import Outcome
from pisr_cli.terminal.console import progress_bar, say
from pisr_cli.terminal.options import BatchSize, Data, Limit, NetworkOptions, Split
from pisr_core.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from pisr_core.config import DataConfig
    from pisr_core.evaluation.submission import Archive
    from pisr_core.models import PanopticModel
    from pisr_core.structures import PanopticDataset, PanopticResult, Sample

    Observer = Callable[[Sample, PanopticResult], None]


@dataclass(frozen=True)
class SubjectOptions:
    """What a model is scored on, and how it sees that."""

    data: Data = None
    dataset: Annotated[
        str | None, typer.Option(help="Another dataset with the same classes, such as custom.", metavar="NAME")
    ] = None
    split: Split = "val"
    limit: Limit = 0
    batch_size: BatchSize = 1


@dataclass(frozen=True)
class Subject:
    """A model, and what it shall be scored on."""

    path: Path
    model: PanopticModel
    dataset: PanopticDataset
    config: DataConfig
    device: torch.device
    network: NetworkOptions
    options: SubjectOptions


def load_subject(network: NetworkOptions, options: SubjectOptions) -> Subject:
    """Reads the checkpoint and finds the dataset."""
    from pisr_core.data import build_dataset

    path, model, device = network.load()
    config = replace(model.config.data, dataset=options.dataset or model.config.data.dataset)
    dataset = build_dataset(config, options.split, options.data)
    say(f"{path} on {config.dataset} {options.split}, {device}")
    return Subject(path, model, dataset, config, device, network, options)


def evaluate_model(
    subject: Subject, instances: Path | None, compare: bool, submission: Path | None, details: bool
) -> Outcome:
    """Scores the model and writes the archives in one pass; of images without annotations only the archives."""
    from pisr_core.evaluation.submission import open_submission
    from pisr_core.results.comparison import tables_to_compare

    model, config, split = subject.model, subject.config, subject.options.split
    if submission is not None and (subject.options.limit or submission.suffix == ".zip"):
        raise ConfigError(
            f"--submission {submission}: name a folder, in which each server's archive gets the name that it wants, "
            "and leave --limit out, for servers refuse archives that lack images."
        )
    if compare:
        tables_to_compare(model.config, config.dataset, split)  # mistakes shall show before the work
    opened: AbstractContextManager[dict[Path, Archive]] = (
        nullcontext({})
        if submission is None
        else open_submission(submission, config.dataset, split, model.config.name, model.categories)
    )
    positions: dict[int | str, int] = {}
    with opened as archives:

        def observe(sample: Sample, result: PanopticResult) -> None:
            positions[sample.image_id] = len(positions)
            for archive in archives.values():
                archive.add(sample, result)

        if archives and subject.dataset[0].panoptic is None:
            _predict(subject, observe)
            outcome = Outcome(None, {})
        else:
            outcome = _score(subject, instances, compare, observe, positions, details)
    outcome.archives += archives
    return outcome


def _predict(subject: Subject, observe: Observer) -> None:
    from pisr_core.data.loading import evaluation_loader
    from pisr_core.evaluation.evaluate import check_classes, predictions

    model, config = subject.model, subject.config
    check_classes(model.categories, subject.dataset.categories)
    loader = evaluation_loader(
        subject.dataset,
        config,
        subject.options.batch_size,
        workers=config.workers,
        size_divisor=model.size_divisor,
        device=subject.device,
    )
    with progress_bar("predicting") as progress:
        for sample, result in predictions(model, loader, subject.device, progress):
            observe(sample, result)


def _score(
    subject: Subject,
    instances: Path | None,
    compared: bool,
    observe: Observer,
    positions: dict[int | str, int],
    details: bool,
) -> Outcome:
    from pisr_core import evaluate
    from pisr_core.evaluation.model_examples import examples_of_model
    from pisr_core.results.comparison import compare

    model, config = subject.model, subject.config
    with progress_bar("evaluating") as progress:
        result = evaluate(
            model,
            subject.dataset,
            instances=instances,
            limit=subject.options.limit,
            batch_size=subject.options.batch_size,
            progress=progress,
            observe=observe,
            details=details,
        )
    comparisons = compare(model.config, config.dataset, subject.options.split, result) if compared else []
    examples_of = partial(
        examples_of_model, model=model, dataset=subject.dataset, positions=positions, device=subject.device
    )
    return Outcome(result, _facts(subject, result.images), comparisons, examples_of)


def _facts(subject: Subject, images: int) -> dict[str, Any]:
    from pisr_core.weights.find import checkpoint_info

    config = subject.model.config
    return {
        "checkpoint": str(subject.path),
        "preset": config.name,
        "architecture": f"{config.architecture}, {config.backbone.name}, relation {config.relation.name}",
        "trained steps": checkpoint_info(subject.path).get("step"),
        "dataset": subject.config.dataset,
        "split": subject.options.split,
        "images": images,
        "seen as": subject.network.seen_as,
        "device": str(subject.device),
        "precision": subject.network.precision,
        "settings": " ".join(subject.network.settings or ()) or "those of the checkpoint",
    }
