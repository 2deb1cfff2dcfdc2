"""Batches for training and evaluation, read by worker processes."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from pisr_core.config import DataConfig
from pisr_core.data.augmentation import Augmentation, evaluation_size, pad, resize_for_eval
from pisr_core.data.images import MAX_MEGAPIXELS
from pisr_core.errors import ConfigError, DataError, PisrError
from pisr_core.runtime.parallel import ALONE, Process
from pisr_core.structures import PanopticDataset, Sample, TargetGenerator, TensorStruct, TrainingBatch

Key = tuple[int, int]
"""(epoch, index): which view of which image."""

TrainingItem = tuple[UInt8[Tensor, "3 H W"], TensorStruct, Key]


class StepSampler(Sampler[list[Key]]):
    """What each step reads, known from its number alone: resuming at a step replays nothing.

    Every epoch is a permutation of the dataset seeded by (seed, epoch). Epochs follow each other without a
    gap, so a batch may span two. The images of a step are the same however many processes share them.

    Args:
        size: images in the dataset.
        batch_size: images a step, over all processes and micro-batches.
        steps: the step to stop before.
        seed: of the permutations.
        start_step: the first step.
        process: this process among those that share the batch.
        accumulate: micro-batches a step, given one after another.

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
        self._epoch, self._order = -1, np.empty(0, dtype=np.int64)

    def __len__(self) -> int:
        return max(self.steps - self.start_step, 0) * self.accumulate

    def __iter__(self) -> Iterator[list[Key]]:
        share = self.batch_size // (self.process.world_size * self.accumulate)
        for step in range(self.start_step, self.steps):
            for micro_batch in range(self.accumulate):
                first = step * self.batch_size + (micro_batch * self.process.world_size + self.process.rank) * share
                yield [self.key(position) for position in range(first, first + share)]

    def key(self, position: int) -> Key:
        """The (epoch, index) at a position of the endless sequence of images."""
        epoch, place = divmod(position, self.size)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, np.random.default_rng((self.seed, epoch)).permutation(self.size)
        return epoch, int(self._order[place])


class TrainingDataset(Dataset[TrainingItem]):
    """Augmented images with their targets, addressed by (epoch, index).

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
        epoch, index = key
        view_seed = int(np.random.SeedSequence((self.seed, epoch, index)).generate_state(1, np.uint64)[0])
        view = self.augmentation(self.dataset[index], view_seed)
        assert view.panoptic is not None  # the augmentation refuses samples without annotation
        return view.image, self.target_generator(view.panoptic), key


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


def training_loader(
    dataset: TrainingDataset, sampler: StepSampler, workers: int, device: torch.device
) -> DataLoader[Any]:
    """Training batches (`TrainingBatch`) in the sampler's order.

    Args:
        dataset: what to read.
        sampler: which keys; it already shares them out over processes.
        workers: loading processes, -1 for one less than the cores.
        device: where the batches will go; for CUDA they are put in page-locked memory.
    """
    return _loader(dataset, sampler, collate, workers, device)


def evaluation_loader(
    dataset: PanopticDataset,
    config: DataConfig,
    batch_size: int,
    process: Process = ALONE,
    workers: int = -1,
    size_divisor: int = 32,
    device: torch.device | None = None,
    limit: int = 0,
) -> DataLoader[Any]:
    """Evaluation batches (`EvaluationBatch`); over all ranks each image comes exactly once.

    Neighbours in the dataset share a batch when their input sizes are equal, so that padding, and so every
    result, does not depend on the batch size. Ranks may differ by a batch in number.

    Args:
        dataset: what to read.
        config: the evaluation size.
        batch_size: the most images a batch.
        process: this process among those that share the images.
        workers: loading processes, -1 for one less than the cores.
        size_divisor: sides of the batches are multiples of it, pixels.
        device: where the batches will go, if not the CPU; for CUDA they are put in page-locked memory.
        limit: read the first so many images, 0 for all.
    """
    count = min(limit, len(dataset)) if limit else len(dataset)
    batches = same_size_batches([evaluation_size(dataset.size(i), config) for i in range(count)], batch_size)

    prepare = partial(evaluation_batch, config=config, size_divisor=size_divisor)
    return _loader(
        dataset, batches[process.rank :: process.world_size], prepare, workers, device or torch.device("cpu")
    )


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
        return workers
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")) - 1, 0)


class _ErrorsAsItems(Dataset[Any]):
    """Gives a `PisrError` as an item, for torch would bury its message in a worker's traceback."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __getitem__(self, key: Any) -> Any:
        try:
            return self.dataset[key]
        except PisrError as error:
            return error


class _CollateUnlessError:
    """Collates items, or gives the first error among them."""

    def __init__(self, collate_items: Callable[[Any], Any]) -> None:
        self.collate_items = collate_items

    def __call__(self, items: list[Any]) -> Any:
        errors = [item for item in items if isinstance(item, PisrError)]
        return errors[0] if errors else self.collate_items(items)


class _Loader(DataLoader[Any]):
    """Raises in the main process, and only when a batch is fetched, what went wrong in the workers."""

    def __iter__(self) -> Any:
        with _child_handler_kept():
            batches = super().__iter__()
        try:
            for batch in batches:
                if isinstance(batch, PisrError):
                    raise batch
                yield batch
        except (RuntimeError, ConnectionError, EOFError) as error:
            # A worker that dies while it hands over a batch breaks the connection before torch sees its death.
            if isinstance(error, RuntimeError) and not str(error).startswith("DataLoader worker (pid"):
                raise
            reason = str(error).partition("\n")[0]
            raise DataError(
                f"a data-loading process died ({reason}), perhaps for want of memory. Use fewer "
                "with --set data.workers=N (0 loads in the main process), or give the machine or container more "
                "memory, /dev/shm too."
            ) from error


@contextmanager
def _child_handler_kept() -> Iterator[None]:
    """Torch's handler would raise a worker's death at any moment, in the middle of a training step."""
    number = getattr(signal, "SIGCHLD", None)  # not on Windows
    if number is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(number)
    yield
    signal.signal(number, handler)


def _loader(
    dataset: Any, batches: Any, collate_items: Callable[[Any], Any], workers: int, device: torch.device
) -> DataLoader[Any]:
    count = worker_count(workers)
    return _Loader(
        _ErrorsAsItems(dataset),
        batch_sampler=batches,
        num_workers=count,
        collate_fn=_CollateUnlessError(collate_items),
        pin_memory=device.type == "cuda",
        worker_init_fn=_start_worker,
        persistent_workers=count > 0,
    )


def _start_worker(worker: int) -> None:
    """Leaves Ctrl-C to the main process, and threads alone: workers are many already."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    cv2.setNumThreads(0)  # sequential; 1 would wait for ever for threads that a fork does not copy
