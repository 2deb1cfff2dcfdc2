"""Batches for training and evaluation, read by worker processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from pisr_core.config import DataConfig
from pisr_core.data.augmentation import Augmentation, evaluation_size, pad, resize_for_eval
from pisr_core.data.pictures.images import MAX_MEGAPIXELS
from pisr_core.errors import ConfigError, DataError
from pisr_core.runtime.devices.memory import available_memory
from pisr_core.runtime.patience import LONGER, PATIENCE
from pisr_core.runtime.pipeline import read_ahead
from pisr_core.runtime.processes.parallel import ALONE, Process
from pisr_core.runtime.processes.workers import Work, Workers, available_cores, bounded
from pisr_core.structures import PanopticDataset, Sample, TargetGenerator, TensorStruct, TrainingBatch

Key = tuple[int, int]
"""(view, index): which view of which image. Where every image comes once an epoch, the view is the epoch."""

PARTS = 1 << 20
"""Of 1, in which factors of images are counted."""

SETTING = "--set data.workers"
"""Which the user may change."""

TrainingItem = tuple[UInt8[Tensor, "3 H W"], TensorStruct, Key]


class StepSampler:
    """What each step reads, known from its number alone: resuming at a step replays nothing.

    Every epoch is a permutation of the dataset seeded by (seed, epoch). Epochs follow each other without a
    gap, so a batch may span two. The images of a step are the same however many processes share them.

    With `repeats` an image of factor r comes ⌊r⌋ or ⌈r⌉ times an epoch, r times on average, each time as another view.
    Epoch e then has the places from ⌊e·R⌋ to ⌊(e + 1)·R⌋, R the sum of the factors, so that a step still needs no
    memory of those before.

    Args:
        size: images in the dataset.
        batch_size: images a step, over all processes and micro-batches.
        steps: the step to stop before.
        seed: of the permutations.
        start_step: the first step.
        process: this process among those that share the batch.
        accumulate: micro-batches a step, given one after another.
        repeats: how often each image comes in an epoch, at least 1; all once without.

    Raises:
        DataError: an empty dataset.
        ConfigError: the batch cannot be shared out evenly.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        steps: int,
        seed: int,
        start_step: int = 0,
        process: Process = ALONE,
        accumulate: int = 1,
        repeats: Float[np.ndarray, " images"] | None = None,
    ) -> None:
        if size < 1:
            raise DataError("The training split has no images. Check the images list of its JSON.")
        shares = process.world_size * accumulate
        if batch_size % shares:
            raise ConfigError(
                f"train.batch_size = {batch_size} cannot be shared by {process.world_size} processes with "
                f"train.accumulate = {accumulate}: make it a multiple of {shares}."
            )
        self.size = size
        self.batch_size = batch_size
        self.steps = steps
        self.seed = seed
        self.start_step = start_step
        self.process = process
        self.accumulate = accumulate
        # Whole numbers of parts, for floats would drift over the epochs.
        factors = np.ones(size) if repeats is None else repeats
        self._parts: Int[np.ndarray, " images"] = np.round(factors * PARTS).astype(np.int64)
        self._epoch_parts = int(self._parts.sum())
        self._views = -(-int(self._parts.max()) // PARTS)
        self._epoch, self._order = -1, np.empty((0, 2), dtype=np.int64)

    def __len__(self) -> int:
        return max(self.steps - self.start_step, 0) * self.accumulate

    def __getitem__(self, number: int) -> list[Key]:
        """The keys of a micro-batch."""
        if not 0 <= number < len(self):
            raise IndexError(f"Micro-batch {number} is outside 0 … {len(self) - 1}.")
        step, micro_batch = divmod(number, self.accumulate)
        share = self.batch_size // (self.process.world_size * self.accumulate)
        place = micro_batch * self.process.world_size + self.process.rank
        first = (self.start_step + step) * self.batch_size + place * share
        return [self.key(position) for position in range(first, first + share)]

    def key(self, position: int) -> Key:
        """The (view, index) at a position of the endless sequence of images."""
        epoch = ((position + 1) * PARTS - 1) // self._epoch_parts
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._epoch_order(epoch)
        view, index = self._order[position - epoch * self._epoch_parts // PARTS].tolist()
        return view, index

    def _epoch_order(self, epoch: int) -> Int[np.ndarray, "places 2"]:
        """The keys of an epoch: images in a new order, each as often as its parts pass a whole number."""
        rng = np.random.default_rng((self.seed, epoch))
        order = rng.permutation(self.size)
        if self._views == 1:
            return np.stack([np.full(self.size, epoch), order], axis=1)
        ends = epoch * self._epoch_parts % PARTS + np.cumsum(self._parts[order])
        counts = np.diff(ends // PARTS, prepend=0)
        first = np.cumsum(counts) - counts
        repeat = np.arange(counts.sum()) - np.repeat(first, counts)
        return rng.permutation(np.stack([epoch * self._views + repeat, np.repeat(order, counts)], axis=1))


class TrainingDataset:
    """Augmented images with their targets, addressed by (view, index).

    Args:
        dataset: annotated samples.
        augmentation: makes a view of a sample from a seed.
        target_generator: makes the targets of a view.
        seed: with the key, that of the augmentation.
    """

    def __init__(
        self,
        dataset: PanopticDataset,
        augmentation: Augmentation,
        target_generator: TargetGenerator,
        seed: int,
    ) -> None:
        self.dataset = dataset
        self.augmentation = augmentation
        self.target_generator = target_generator
        self.seed = seed

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: Key) -> TrainingItem:
        view_number, index = key
        view_seed = int(np.random.SeedSequence((self.seed, view_number, index)).generate_state(1, np.uint64)[0])
        view = self.augmentation(self.dataset[index], view_seed)
        assert view.panoptic is not None  # the augmentation refuses samples without annotation
        return view.image, self.target_generator(view.panoptic), key

    def file_name(self, key: Key) -> str:
        """Of the image that a view is of."""
        return self.dataset.file_name(key[1])


def collate(items: Sequence[TrainingItem]) -> TrainingBatch:
    """Stacks images and targets of one size."""
    images, targets, keys = zip(*items, strict=True)
    return TrainingBatch(torch.stack(images), type(targets[0]).stack(targets), keys)


@dataclass(frozen=True)
class EvaluationBatch:
    """Images of one size as the model reads them, and the samples that they come from.

    Attributes:
        images: (b, 3, H, W) uint8, padded at the bottom and right.
        input_sizes: (H, W) of each without padding.
        samples: the images at their own size, with their annotations.
    """

    images: UInt8[Tensor, "b 3 H W"]
    input_sizes: list[tuple[int, int]]
    samples: list[Sample]

    def pin_memory(self) -> EvaluationBatch:
        """The same with the model's input in page-locked memory."""
        return replace(self, images=self.images.pin_memory())


Batch = TypeVar("Batch", TrainingBatch, EvaluationBatch)


class Loader(Generic[Batch]):
    """Batches in order, read ahead by other processes. Each `iter` begins anew.

    A broken image, a process that dies and one that is stuck end in a `PisrError` where the batch is asked for.

    Args:
        work: makes each batch.
        name: of an image that work is done on, for messages.
        workers: loading processes, -1 for one less than the cores.
        patience: seconds that an image may take, 0 for ever.
        device: where the batches will go; for CUDA they are put in page-locked memory.
    """

    def __init__(
        self,
        work: Work[Batch],
        name: Callable[[Any], str],
        workers: int,
        patience: int,
        device: torch.device,
    ) -> None:
        self.work: Work[Batch] = work
        self.workers = worker_count(workers)
        self._name = name
        self._patience = patience
        self._pinned = device.type == "cuda"

    def __len__(self) -> int:
        return len(self.work.tasks)

    @property
    def images(self) -> int:
        """Of all batches together."""
        return sum(len(self.work.tasks[number]) for number in range(len(self)))

    def __iter__(self) -> Iterator[Batch]:
        processes = Workers(self.work, self.workers, SETTING, self._name, self._patience, LONGER)
        batches = processes.results()
        with ExitStack() as stack:
            if self._pinned:
                batches = stack.enter_context(closing(read_ahead(map(_pinned, batches), ahead=1)))
            stack.enter_context(processes)  # left first: then the thread that reads ahead waits for none of them
            for batch in batches:  # noqa: UP028 (`yield from` would close the thread first)
                yield batch


def check_batch_fits(images: int, size: tuple[int, int], settings: str) -> None:
    """Refuses what a slip of a key makes so large that the machine would stand still.

    Args:
        images: of a batch.
        size: (H, W) of each in pixels.
        settings: that decide both, with their values.

    Raises:
        ConfigError: the batch's images alone need more memory than there is.
    """
    needed, free = 3 * images * size[0] * size[1], available_memory()
    if free is not None and needed > free:
        raise ConfigError(
            f"{settings}: a batch's images alone take {needed / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB of memory "
            "are free. Make one of them smaller."
        )


def _pinned(batch: Batch) -> Batch:
    return batch.pin_memory()


def training_loader(
    dataset: TrainingDataset, sampler: StepSampler, workers: int, device: torch.device, patience: int = PATIENCE
) -> Loader[TrainingBatch]:
    """Training batches in the sampler's order; `workers`, `device` and `patience` as in `Loader`.

    Args:
        dataset: what to read.
        sampler: which keys; it already shares them out over processes.
        workers: loading processes.
        device: where the batches will go.
        patience: seconds that an image may take.
    """
    crop = dataset.augmentation.config.crop
    images = sampler.batch_size // (sampler.process.world_size * sampler.accumulate)
    check_batch_fits(images, crop, f"train.batch_size = {sampler.batch_size}, data.crop = {list(crop)}")
    return Loader(Work(sampler, dataset.__getitem__, collate), dataset.file_name, workers, patience, device)


def evaluation_loader(
    dataset: PanopticDataset,
    config: DataConfig,
    batch_size: int,
    process: Process = ALONE,
    workers: int = -1,
    size_divisor: int = 32,
    device: torch.device | None = None,
    limit: int = 0,
) -> Loader[EvaluationBatch]:
    """Evaluation batches (`EvaluationBatch`); over all ranks each image comes exactly once.

    Neighbours in the dataset share a batch when their input sizes are equal, so that padding, and so every
    result, does not depend on the batch size. Ranks may differ by a batch in number.

    Args:
        dataset: what to read.
        config: the evaluation size, and how long an image may take.
        batch_size: the most images a batch.
        process: this process among those that share the images.
        workers: loading processes, -1 for one less than the cores.
        size_divisor: sides of the batches are multiples of it, pixels.
        device: where the batches will go, if not the CPU; for CUDA they are put in page-locked memory.
        limit: read the first so many images, 0 for all.
    """
    count = min(limit, len(dataset)) if limit else len(dataset)
    sizes = [evaluation_size(dataset.size(i), config) for i in range(count)]
    batches = same_size_batches(sizes, batch_size)
    if batches:
        largest = max(batches, key=lambda batch: len(batch) * sizes[batch[0]][0] * sizes[batch[0]][1])
        check_batch_fits(len(largest), sizes[largest[0]], f"evaluating {len(largest)} images at once")

    prepare = partial(evaluation_batch, config=config, size_divisor=size_divisor)
    mine = batches[process.rank :: process.world_size]
    work: Work[EvaluationBatch] = Work(mine, dataset.__getitem__, prepare)
    return Loader(work, dataset.file_name, workers, config.timeout, device or torch.device("cpu"))


def evaluation_batch(samples: list[Sample], config: DataConfig, size_divisor: int) -> EvaluationBatch:
    """Resizes samples of one evaluation size and pads them to a multiple of `size_divisor` pixels.

    Raises:
        DataError: an image that is so narrow that it would become far too long.
    """
    for sample in samples:
        height, width = evaluation_size((sample.image.shape[1], sample.image.shape[2]), config)
        if height * width > MAX_MEGAPIXELS * 10**6:
            raise DataError(
                f"{sample.file_name}: would be scaled to {height}×{width} pixels, for its short side shall have "
                f"{config.eval_short_side}. Cut it, or limit the other side with data.eval_max_long_side."
            )
    resized = [resize_for_eval(sample.image, config) for sample in samples]
    input_sizes = [(image.shape[1], image.shape[2]) for image in resized]
    height, width = (max(side) for side in zip(*input_sizes, strict=True))
    padded_size = (-(-height // size_divisor) * size_divisor, -(-width // size_divisor) * size_divisor)
    return EvaluationBatch(
        torch.stack([pad(image, padded_size, config.padding) for image in resized]), input_sizes, samples
    )


def same_size_batches(sizes: Sequence[tuple[int, int]], batch_size: int) -> list[list[int]]:
    """Indices in order, at most `batch_size` together, neighbours of one size only."""
    batches = []
    for _, group in groupby(range(len(sizes)), key=sizes.__getitem__):
        indices = list(group)
        batches += [indices[i : i + batch_size] for i in range(0, len(indices), batch_size)]
    return batches


def worker_count(workers: int) -> int:
    """Loading processes of this process: -1 is its share of the cores, less one for itself."""
    if workers < -1:
        raise ConfigError(f"data.workers = {workers}: at least 0, or -1 for one less than the cores.")
    if workers >= 0:
        return bounded(workers, SETTING)
    return max(available_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")) - 1, 0)
