"""Scores in Python: of a model over a dataset, and of any maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from pisr_core.api.predictor import Predictor, load_model
from pisr_core.data import build_dataset
from pisr_core.data.categories import known_categories
from pisr_core.evaluation.evaluate import evaluate as evaluate_network
from pisr_core.metrics.panoptic_quality import PanopticQuality
from pisr_core.metrics.result import EvaluationResult
from pisr_core.models import PanopticModel
from pisr_core.structures import Category, PanopticDataset, PanopticResult, Sample


def evaluate(
    model: Predictor | PanopticModel | str | Path,
    data: PanopticDataset | str | Path | None = None,
    split: str = "val",
    *,
    dataset: str | None = None,
    instances: str | Path | None = None,
    limit: int = 0,
    batch_size: int = 1,
    device: str | None = None,
    progress: Callable[[int, int], None] | None = None,
    observe: Callable[[Sample, PanopticResult], None] | None = None,
    details: bool = False,
) -> EvaluationResult:
    """PQ, AP and mIoU of a model, 0–100, equal to the official tools': what `pisr eval` prints.

    `evaluate("runs/first/best.safetensors").panoptic.all.pq` is the PQ over all classes, `.to_json()` all scores.

    Args:
        model: what `load_model` gives; or what it takes; or a network, for example one with several views.
        data: the folder of the datasets, else `$PISR_DATASETS`, else `./datasets`; or a dataset itself.
        split: `train`, `val`, or another one that the annotations name.
        dataset: another one than the model was trained on, with the same classes, such as `custom`.
        instances: count AP against the official instances: COCO's instances JSON, or Cityscapes' `gtFine/SPLIT`.
        limit: the first so many images, 0 for all.
        batch_size: images at once; changes the speed only.
        device: where a model that is loaded for this computes.
        progress: called with (done, total) images.
        observe: called with each image and its prediction, in the dataset's order.
        details: tell what costs PQ, of each image, and likely wrong annotations too, as `.details`.

    Raises:
        CheckpointError: there is no such model.
        ConfigError: no such device or dataset.
        DataError: missing or broken data, or data of other classes.
    """
    if isinstance(model, str | Path):
        model = load_model(model, device)
    network = model.fast if isinstance(model, Predictor) else model
    config = replace(network.config.data, dataset=dataset or network.config.data.dataset)
    if data is None or isinstance(data, str | Path):
        data = build_dataset(config, split, None if data is None else Path(data))
    return evaluate_network(
        network,
        data,
        config,
        next(network.parameters()).device,
        batch_size,
        config.workers,
        limit,
        progress,
        official_instances=None if instances is None else Path(instances),
        observe=observe,
        details=details,
    )


def panoptic_quality(categories: Sequence[Category] | str) -> PanopticQuality:
    """A metric that takes panoptic maps as they come: `update`, `compute`, `reset`. PQ equals panopticapi's.

    Under `torchrun`, `compute` gives every process the scores of all.

    Args:
        categories: the classes, such as a model's `categories`; or `coco`, `cityscapes` or `ade20k` for theirs.

    Raises:
        ConfigError: no dataset of this name is known.
    """
    return PanopticQuality(known_categories(categories) if isinstance(categories, str) else categories)
