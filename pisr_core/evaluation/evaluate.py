"""Scores of a model over a dataset."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from pisr_core.config import DataConfig
from pisr_core.data.loading import EvaluationBatch, Loader, evaluation_loader
from pisr_core.errors import DataError
from pisr_core.inference.behind import finished_behind
from pisr_core.inference.mode import inference
from pisr_core.metrics.result import EvaluationResult
from pisr_core.metrics.scores import Scores
from pisr_core.models import PanopticModel
from pisr_core.runtime.processes.gathering import from_all_processes
from pisr_core.runtime.processes.parallel import ALONE, Process
from pisr_core.structures import Category, PanopticDataset, PanopticResult, Sample


def evaluate(
    model: PanopticModel,
    dataset: PanopticDataset,
    config: DataConfig,
    device: torch.device,
    batch_size: int = 1,
    workers: int = -1,
    limit: int = 0,
    progress: Callable[[int, int], None] | None = None,
    process: Process = ALONE,
    instances: bool = True,
    official_instances: Path | None = None,
    observe: Callable[[Sample, PanopticResult], None] | None = None,
    details: bool = False,
) -> EvaluationResult:
    """PQ and AP of the merged maps, mIoU of the semantic maps, at the annotation's size.

    Args:
        model: is on `device`; the modes of its modules are afterwards what they were.
        dataset: annotated images with the model's classes.
        config: the evaluation size.
        device: where the model computes.
        batch_size: the most images a batch, which changes the speed only.
        workers: loading processes, -1 for one less than the cores.
        limit: the first so many images, 0 for all.
        progress: called with (done, total) images of this process after each batch.
        process: this process in torch's process group, all of which get the scores of all images.
        instances: count AP too.
        official_instances: see `pisr_core.metrics.scores.Scores`.
        observe: called with each image of this process and its prediction, in the dataset's order.
        details: see `pisr_core.metrics.scores.Scores`.

    Raises:
        DataError: other classes than the model's, or an image without an annotation.
    """
    start = time.perf_counter()
    check_classes(model.categories, dataset.categories)
    loader = evaluation_loader(dataset, config, batch_size, process, workers, model.size_divisor, device, limit)
    scores = Scores(model.categories, instances, official_instances, details=details)
    for sample, result in predictions(model, loader, device, progress):
        if sample.panoptic is None:
            raise DataError(f"{sample.file_name}: has no annotation. Use a split that has them all.")
        scores.update(sample.image_id, sample.file_name, result.panoptic, sample.panoptic, result.semantic)
        if observe is not None:
            observe(sample, result)
    if process.world_size > 1:
        states = from_all_processes(scores.state())
        scores = Scores(model.categories, instances, details=details)
        for state in states:
            scores.merge(state)
    return scores.result(time.perf_counter() - start)


def predictions(
    model: PanopticModel,
    loader: Loader[EvaluationBatch],
    device: torch.device,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[Sample, PanopticResult]]:
    """Each image of an `evaluation_loader` with its prediction, in order.

    Args:
        model: is on `device`; the modes of its modules are afterwards what they were.
        loader: what to predict.
        device: where the model computes.
        progress: called with (done, total) images after each batch.
    """
    done, total = 0, loader.images
    for samples, results in finished_behind(_begun(model, loader, device), device):
        yield from zip(samples, results, strict=True)
        done += len(samples)
        if progress is not None:
            progress(done, total)


def _begun(
    model: PanopticModel, loader: Loader[EvaluationBatch], device: torch.device
) -> Iterator[Callable[[], tuple[list[Sample], list[PanopticResult]]]]:
    """What merges each batch, once the network has seen it."""
    for batch in loader:
        with inference(model):
            output = model(batch.images.to(device, non_blocking=True))
        yield partial(_merged, model, output, batch)


def _merged(model: PanopticModel, output: Any, batch: EvaluationBatch) -> tuple[list[Sample], list[PanopticResult]]:
    """A batch's panoptic maps at the size of its samples."""
    sizes = [(sample.image.shape[1], sample.image.shape[2]) for sample in batch.samples]
    return batch.samples, model.panoptic(output, batch.input_sizes, sizes)


def check_classes(of_model: Sequence[Category], of_dataset: Sequence[Category]) -> None:
    """Raises `DataError` when a dataset has other classes than a model."""
    known, found = ([(c.id, c.name, c.isthing) for c in classes] for classes in (of_model, of_dataset))
    if known != found:
        strange = sorted(name for _, name, _ in set(known) ^ set(found)) or ["their order"]
        raise DataError(
            f"the dataset's {len(found)} classes are not the model's {len(known)}; they differ in "
            f"{', '.join(strange[:5])}. Use the dataset that the model was trained for."
        )
