"""Scores of a model over a dataset."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
import torch.distributed
from jaxtyping import Shaped

from pisr_core.config import DataConfig
from pisr_core.data.loading import EvaluationBatch, evaluation_loader
from pisr_core.errors import DataError
from pisr_core.metrics.panoptic_quality import PanopticQuality
from pisr_core.metrics.result import EvaluationResult
from pisr_core.metrics.semantic import MeanIoU
from pisr_core.models import PanopticModel
from pisr_core.structures import Category, PanopticDataset, PanopticResult


def evaluate(
    model: PanopticModel,
    dataset: PanopticDataset,
    config: DataConfig,
    device: torch.device,
    batch_size: int = 1,
    workers: int = -1,
    limit: int = 0,
    progress: Callable[[int, int], None] | None = None,
    rank: int = 0,
    world_size: int = 1,
) -> EvaluationResult:
    """PQ of the merged maps and mIoU of the semantic maps, at the annotation's size.

    Args:
        model: is on `device`; the modes of its modules are afterwards what they were.
        dataset: annotated images with the model's classes.
        config: the evaluation size.
        device: where the model computes.
        batch_size: the most images a batch, which changes the speed only.
        workers: loading processes, -1 for one less than the cores.
        limit: the first so many images, 0 for all.
        progress: called with (done, total) images of this process after each batch.
        rank: this process.
        world_size: processes of torch's process group; all get the scores of all images.

    Raises:
        DataError: other classes than the model's, or an image without an annotation.
    """
    start = time.perf_counter()
    _check_classes(model.categories, dataset.categories)
    loader = evaluation_loader(
        dataset, config, batch_size, rank, world_size, workers, model.size_divisor, device, limit
    )
    quality, iou = PanopticQuality(model.categories), MeanIoU(len(model.categories))
    done, total = 0, sum(len(batch) for batch in loader.batch_sampler or ())
    with inference(model):
        for batch in loader:
            for sample, result in zip(batch.samples, run(model, batch, device), strict=True):
                if sample.panoptic is None:
                    raise DataError(f"{sample.file_name}: has no annotation. Use a split that has them all.")
                quality.update(result.panoptic, sample.panoptic)
                iou.update(result.semantic, sample.panoptic.semantic())
            done += len(batch.samples)
            if progress is not None:
                progress(done, total)
    if world_size > 1:
        quality.state, iou.state = _summed(quality.state, device), _summed(iou.state, device)
        done = int(_summed(np.array([done]), device)[0])
    seconds = time.perf_counter() - start
    return EvaluationResult(model.categories, quality.result(), iou.result(), done, seconds)


def run(model: PanopticModel, batch: EvaluationBatch, device: torch.device) -> list[PanopticResult]:
    """A batch's panoptic maps at the size of its samples."""
    output = model(batch.images.to(device, non_blocking=True))
    output_sizes = [(sample.image.shape[1], sample.image.shape[2]) for sample in batch.samples]
    return model.panoptic(output, batch.input_sizes, output_sizes)


@contextmanager
def inference(model: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards every module has its former mode."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, training in modes:
            module.training = training


def _check_classes(of_model: Sequence[Category], of_dataset: Sequence[Category]) -> None:
    known, found = ([(c.id, c.name, c.isthing) for c in classes] for classes in (of_model, of_dataset))
    if known != found:
        strange = sorted(name for _, name, _ in set(known) ^ set(found)) or ["their order"]
        raise DataError(
            f"the dataset's {len(found)} classes are not the model's {len(known)}; they differ in "
            f"{', '.join(strange[:5])}. Use the dataset that the model was trained for."
        )


def _summed(state: Shaped[np.ndarray, "*shape"], device: torch.device) -> Shaped[np.ndarray, "*shape"]:
    """The sum over all processes."""
    total = torch.from_numpy(state).to(device)
    torch.distributed.all_reduce(total)
    return total.cpu().numpy()
