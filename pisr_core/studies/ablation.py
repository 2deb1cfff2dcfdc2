"""PQ over K, the number of instances that the relation sees (Fig. 9)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pisr_core.config import Config
from pisr_core.data.loading import evaluation_loader
from pisr_core.errors import ConfigError, DataError
from pisr_core.evaluation.evaluate import check_classes
from pisr_core.inference.load import build_trained
from pisr_core.inference.mode import inference
from pisr_core.metrics.scores import Scores
from pisr_core.models import MODELS, TwoStageModel
from pisr_core.results.plot import Series, draw_plot
from pisr_core.results.statistics import Summary, summarize
from pisr_core.results.table import Cell, ResultsTable
from pisr_core.structures import PanopticDataset
from pisr_core.studies.study import Study, Variant
from pisr_core.weights.find import find_weights, load_checkpoint
from pisr_core.weights.hub.fetching import SAFETENSORS

COLUMNS = (
    *("model", "seed", "k", "pq", "pq_things", "pq_stuff", "miou", "filled_mean", "filled_max"),
    *("trained_k", "images", "split", "weights", "checkpoint"),
)
"""Of `ablate_k.csv`; `filled` are the instance maps of an image that hold anything."""

NUMBERS = COLUMNS[1:11]
"""Those that hold numbers."""

KS_A_PASS = 8
"""Values of K for which the first stage is computed once; after each such pass its rows are written."""


@dataclass(frozen=True)
class ScoresAtK:
    """How a model does with K instances, 0–100.

    Attributes:
        k: K.
        pq: of all classes, and of things and stuff; `None` where there are none.
        pq_things: of thing classes.
        pq_stuff: of stuff classes.
        miou: of the final semantic maps.
        filled_mean: instance maps of an image that hold anything, at most K, on average.
        filled_max: the most of them in one image.
    """

    k: int
    pq: float | None
    pq_things: float | None
    pq_stuff: float | None
    miou: float | None
    filled_mean: float
    filled_max: int


@dataclass(frozen=True)
class Subject:
    """A checkpoint to look at.

    Attributes:
        path: its name, see `find_weights`.
        ks: the values of K.
        name: of its curve; else from its config, see `curve_name`.
    """

    path: Path
    ks: tuple[int, ...]
    name: str | None = None


@dataclass(frozen=True)
class Split:
    """The images to score on.

    Attributes:
        dataset: annotated.
        name: of the split, for the table.
        limit: the first so many images, 0 for all.
        batch_size: the most images a batch, which changes the speed only.
    """

    dataset: PanopticDataset
    name: str = "val"
    limit: int = 0
    batch_size: int = 1

    @property
    def images(self) -> int:
        """How many are scored."""
        return min(self.limit, len(self.dataset)) if self.limit else len(self.dataset)


def parse_range(text: str) -> tuple[int, ...]:
    """`10..200:10`, `10..200` for about twenty values, or `10,50,200`, in ascending order.

    Raises:
        ConfigError: it is written otherwise, or holds nothing.
    """
    try:
        if ".." not in text:
            ks = sorted({int(part) for part in text.split(",")})
        else:
            span, _, step = text.partition(":")
            first, last = (int(part) for part in span.split(".."))
            ks = list(range(first, last + 1, int(step) if step else max(1, round((last - first) / 19))))
    except ValueError:
        ks = []
    if not ks or ks[0] < 0:
        raise ConfigError(f"--range {text}: write 10..200, 10..200:10 or 10,50,200, from 0 on.")
    return tuple(ks)


def curve_name(config: Config) -> str:
    """What distinguishes a curve: the preset, and whether the relation weighs its categories."""
    if config.relation.name != "pisr":
        return f"{config.name}, {config.relation.name}"
    return f"{config.name}, {'with' if config.relation.reweight else 'without'} reweighting"


def retraining(study: Study, ks: Sequence[int], reweighting: Sequence[bool]) -> tuple[Study, list[Subject]]:
    """A study that trains a model for each K, and what to look at when it is done.

    Args:
        study: the preset, seeds and folder; its variants are replaced.
        ks: the values of K.
        reweighting: with it, without it, or both.

    Raises:
        ConfigError: the preset has fewer instances than the largest K.
    """
    config = study.config((), study.seeds[0])
    most, setting = MODELS[config.architecture].instance_limit(config) or (max(ks), "")
    if max(ks) > most:
        raise ConfigError(
            f"K = {max(ks)}: {study.preset} finds {most} instances at most. Give a smaller --range, or more with "
            f"--set {setting}=N."
        )
    variants, subjects = [], []
    for weighs in reweighting:
        name = f"{Path(study.preset).stem}, {'with' if weighs else 'without'} reweighting, trained for each K"
        for k in ks:
            settings = ("relation.name=pisr", f"relation.top_k={k}", f"relation.reweight={str(weighs).lower()}")
            variants.append(Variant(f"k{k}" if weighs else f"k{k}-noreweight", settings))
            subjects += [(name, k, variants[-1].name, seed) for seed in study.seeds]
    planned = replace(study, variants=tuple(variants))
    return planned, [Subject(planned.run_folder(variant, seed).last, (k,), name) for name, k, variant, seed in subjects]


def ablate(
    subjects: Sequence[Subject],
    split: Callable[[Config], Split],
    path: Path,
    device: torch.device,
    on_model: Callable[[str], None] = lambda text: None,
    progress: Callable[[int, int], None] | None = None,
) -> ResultsTable:
    """Scores of each checkpoint for each of its K; those that the table in `path` holds already are kept.

    Args:
        subjects: the checkpoints.
        split: the images for a checkpoint's config.
        path: a CSV that grows as rows are made.
        device: where the models compute.
        on_model: hears which checkpoint is at work.
        progress: called with (done, total) images of a pass.

    Returns:
        The rows asked for, by checkpoint and K.

    Raises:
        ConfigError: a checkpoint has no instances to vary, or a K is above that of its training.
        CheckpointError: a checkpoint cannot be read.
        DataError: the dataset is missing, broken or has other classes.
    """
    table = ResultsTable.read_csv(path, NUMBERS) if path.exists() else ResultsTable(COLUMNS)
    if table.columns != COLUMNS:
        raise DataError(f"{path}: is no table of `pisr ablate-k`. Choose another --out.")
    wanted: list[dict[str, Cell]] = []
    for subject in subjects:
        # A base model hears below that it has no K, even where nothing says what its things are.
        model = build_trained(load_checkpoint(subject.path, to_predict=False), str(subject.path), device)
        trained_k = check_ks(model, subject.ks)
        images = split(model.config)
        weights = _fingerprint(subject.path)
        key: dict[str, Cell] = {"weights": weights, "images": images.images, "split": images.name}
        name = subject.name or curve_name(model.config)
        missing = [k for k in subject.ks if table.find(k=k, model=name, **key) is None]
        on_model(f"{subject.path}: {name}, {len(missing)} of {len(subject.ks)} values of K to do")
        for first in range(0, len(missing), KS_A_PASS):
            for scores in scores_by_k(model, missing[first : first + KS_A_PASS], images, device, progress):
                row: dict[str, Cell] = {**vars(scores), **key, "model": name, "seed": model.config.train.seed}
                table.add({**row, "trained_k": trained_k, "checkpoint": str(subject.path)})
            table.write_csv(path)
        wanted += [found for k in subject.ks if (found := table.find(k=k, model=name, **key))]
    return ResultsTable(COLUMNS, wanted)


def check_ks(model: TwoStageModel, ks: Sequence[int]) -> int:
    """The K that a model was trained with.

    Raises:
        ConfigError: its relation reads no instances, or one of `ks` is larger.
    """
    relation: Any = model.relation
    if relation is None or not relation.uses_instances:
        name = model.config.relation.name
        raise ConfigError(f"relation.name = {name!r} reads no instances: choose a model with pisr, concat or product.")
    trained_k = int(model.config.relation.top_k)
    if max(ks) > trained_k:
        raise ConfigError(
            f"K = {max(ks)}: this model was trained with {trained_k} instances and has no weights for more. "
            f"Give a --range up to {trained_k}, or train a model for each K with --preset NAME --retrain."
        )
    return trained_k


def scores_by_k(
    model: TwoStageModel,
    ks: Sequence[int],
    split: Split,
    device: torch.device,
    progress: Callable[[int, int], None] | None = None,
) -> list[ScoresAtK]:
    """Evaluates a model for several K at once: all that comes before the relation is computed once.

    A smaller K takes the first rows of g_p: instances are ordered by confidence, so that K instances always meet
    the weights that they met in training.

    Raises:
        DataError: other classes than the model's, or an image without an annotation.
    """
    check_classes(model.categories, split.dataset.categories)
    config = model.config.data
    loader = evaluation_loader(
        split.dataset,
        config,
        split.batch_size,
        workers=config.workers,
        size_divisor=model.size_divisor,
        device=device,
        limit=split.limit,
    )
    scores = [Scores(model.categories, instances=False) for _ in ks]
    filled: list[list[int]] = [[] for _ in ks]
    with inference(model):
        for batch in loader:
            first = model.first_stage(batch.images.to(device, non_blocking=True))
            sizes = [(sample.image.shape[1], sample.image.shape[2]) for sample in batch.samples]
            for index, k in enumerate(ks):
                with _instances_limited(model, k):
                    output = model.second_stage(first)
                filled[index] += count_filled(output.instances).tolist()
                panoptic = model.panoptic(output, batch.input_sizes, sizes)
                for sample, result in zip(batch.samples, panoptic, strict=True):
                    if sample.panoptic is None:
                        raise DataError(f"{sample.file_name}: has no annotation. Use a split that has them all.")
                    scores[index].update(
                        sample.image_id, sample.file_name, result.panoptic, sample.panoptic, result.semantic
                    )
            if progress is not None:
                progress(len(filled[0]), split.images)
    return [_at_k(k, each, counts) for k, each, counts in zip(ks, scores, filled, strict=True)]


def count_filled(instances: Float[Tensor, "b k h w"]) -> Int[Tensor, " b"]:
    """Instance maps of each image that are not zero everywhere."""
    return (instances.flatten(2) > 0).any(dim=2).sum(dim=1)


def curve(table: ResultsTable, name: str, column: str = "pq") -> list[tuple[int, Summary]]:
    """A column over K, summarised over the checkpoints of one name."""
    points = [(int(row["k"] or 0), row[column]) for row in table.rows if row["model"] == name]
    return [
        (k, summarize([float(value) for each, value in points if each == k and value is not None]))
        for k in sorted({k for k, _ in points})
    ]


def draw_curves(table: ResultsTable, path: Path) -> None:
    """Fig. 9: PQ over K, a curve for each model, with the seeds' standard deviation."""
    series = []
    for name in dict.fromkeys(str(row["model"]) for row in table.rows):
        points = [point for point in curve(table, name) if point[1].mean is not None]
        spread = [pq.std or 0.0 for _, pq in points] if any(pq.n > 1 for _, pq in points) else ()
        series.append(Series(name, [float(k) for k, _ in points], [pq.mean or 0.0 for _, pq in points], spread))
    # A plot of one curve has no legend.
    subject = f": {series[0].name}" if len(series) == 1 else ""
    draw_plot(path, series, f"PQ over the number of instances{subject}", "K", "PQ")


@contextmanager
def _instances_limited(model: TwoStageModel, k: int) -> Iterator[None]:
    """Within it the model selects its k most confident instances."""
    config = model.config
    model.config = replace(config, relation=replace(config.relation, top_k=k))
    try:
        yield
    finally:
        model.config = config


def _at_k(k: int, scores: Scores, filled: Sequence[int]) -> ScoresAtK:
    result = scores.result(0.0)
    quality, semantic = result.panoptic, result.semantic
    assert semantic is not None  # it was counted
    mean, most = (sum(filled) / len(filled), max(filled)) if filled else (0.0, 0)
    return ScoresAtK(k, quality.all.pq, quality.things.pq, quality.stuff.pq, semantic.miou, mean, most)


def _fingerprint(name: Path) -> str:
    """Tells weights from each other, whatever their file is called."""
    found = find_weights(name).path
    with (found / SAFETENSORS if found.is_dir() else found).open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()[:16]}"
