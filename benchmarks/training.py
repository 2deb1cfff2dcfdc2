"""Training: what each means of making it faster or smaller brings, and whether targets and loading keep up.

python benchmarks/training.py --small
python benchmarks/training.py --preset cityscapes-pdl-r50 --size 512x1024 --batch-size 4 --device cuda
python benchmarks/training.py --public --size 256x512 --batch-size 2

steps    images a second and memory of a whole step, in turn: eager float32, channels last (what training does), bf16,
         norms or all activations computed again, both, torch.compile; each with the settings of `train` that give it
parts    where the time of a step goes
ids      the ids of an annotation with their areas and places: by runs against sorting every pixel; both give the same
targets  vectorised against one instance after another over whole maps; both give the same
loader   images a second that one process reads, augments and draws targets for, beside those of a step

With --public instead: steps and predictions of Panoptic-DeepLab with ResNet-50 on the CPU, in turn with those that
`public_deeplab.py` writes out in plain PyTorch, from the same weights; each has a process of its own, ours with the
memory that the commands keep. `live` is the most memory that torch's tensors hold at once beyond what they held before,
without the gaps between them that the system's allocator keeps. --processor counts processor time of one thread, for a
CPU that is busy with other work.

Images, annotations and weights are random; 480×640 JPEGs and PNGs with 30 instances on disk. Medians.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from PIL import Image
from public_deeplab import PublicDeepLab, copy_weights, public_step
from timing import live_megabytes, megabytes, milliseconds, processor_time

from pisr_core import presets
from pisr_core.config import Config
from pisr_core.data import build_dataset
from pisr_core.data.augmentation import Augmentation
from pisr_core.data.coco.files import CocoPanopticWriter
from pisr_core.data.loading import StepSampler, TrainingDataset, training_loader
from pisr_core.inference.fast_model import FastModel
from pisr_core.models import PanopticModel, build_model
from pisr_core.models.center_offset.structures import CenterOffsetTargets
from pisr_core.models.center_offset.targets import CenterOffsetTargetGenerator
from pisr_core.pixel_runs import find_runs
from pisr_core.profiling.speed import timed
from pisr_core.runtime.devices.allocation import keep_network_memory
from pisr_core.runtime.devices.device import choose_device
from pisr_core.structures import Category, PanopticDataset, PanopticSegmentation, Segment, TrainingBatch
from pisr_core.training.learner import Learner

CATEGORIES = tuple(Category(index + 1, f"class {index}", isthing=index >= 3) for index in range(19))
IMAGE_SIZE, INSTANCES = (480, 640), 30

VARIANTS: dict[str, dict[str, object]] = {
    "channels last": {},
    "norms again": {"checkpointing": "norms"},
    "all again": {"checkpointing": "all"},
    "compile": {"compile": True},
    "bf16": {"precision": "bf16"},
    "bf16, norms again": {"precision": "bf16", "checkpointing": "norms"},
    "bf16, all again": {"precision": "bf16", "checkpointing": "all"},
    "bf16, compile": {"precision": "bf16", "compile": True},
}
"""Settings of `train`. Those with bf16 come last: accelerate keeps one precision a process, and asks for it only where
there is one."""


ROWS = {"step": ("none", "step"), "norms again": ("norms", "step"), "prediction": ("none", "prediction")}
"""What is set beside the public implementation: our `train.checkpointing`, and what is done."""


def main() -> None:
    """Prints all parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="custom-pdl-r18")
    parser.add_argument("--size", default="512x512", help="height x width of the training crop")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--device")
    parser.add_argument(
        "--small", action="store_true", help="three runs of two crops of 256x256, without torch.compile"
    )
    parser.add_argument(
        "--public", nargs="*", choices=ROWS, help="compare with the public step alone; all rows by default"
    )
    parser.add_argument("--processor", action="store_true")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, help="beside the first two; all by default")
    arguments = parser.parse_args()
    if arguments.small:
        arguments.runs, arguments.size, arguments.batch_size = 3, "256x256", 2
    chosen = arguments.variants or [name for name in VARIANTS if not (arguments.small and "compile" in name)]
    names = [name for name in VARIANTS if name == "channels last" or name in chosen]
    height, width = map(int, arguments.size.split("x"))
    if arguments.public is not None:
        names = arguments.public or list(ROWS)
        public(names, (height, width), arguments.batch_size, arguments.runs, arguments.processor)
        return
    config = settings(arguments.preset, (height, width), arguments.batch_size)
    device = choose_device(arguments.device)
    print(f"{arguments.preset}, {arguments.batch_size} × {arguments.size}, {device}, {torch.get_num_threads()} threads")
    with random_dataset(config, 8) as dataset:
        batch = next(batches(config, dataset))
        rate = steps(config, batch, names, device, arguments.runs)
        parts(config, batch, device, arguments.runs)
        ids(arguments.runs)
        targets(arguments.runs)
        loader(config, dataset, arguments.runs, rate)


def settings(preset: str, crop: tuple[int, int], batch_size: int) -> Config:
    """A preset's, for the images on disk and this process alone."""
    config = presets.load(preset, ["backbone.pretrained=false"])
    return replace(
        config,
        data=replace(config.data, dataset="custom", crop=crop, workers=0),
        train=replace(config.train, batch_size=batch_size, accumulate=1, precision="no", ema=0.0),
    )


def scene(seed: int, size: tuple[int, int] = IMAGE_SIZE) -> PanopticSegmentation:
    """Boxes of all sizes on three kinds of stuff."""
    rng = np.random.default_rng(seed)
    ids = np.repeat(np.arange(1, 4, dtype=np.int32), -(-size[0] // 3))[: size[0], None].repeat(size[1], axis=1)
    for instance in range(INSTANCES):
        height, width = rng.integers(8, size[0] // 3, 2)
        y, x = rng.integers(0, size[0] - height), rng.integers(0, size[1] - width)
        ids[y : y + height, x : x + width] = 100 + instance
    present, areas = np.unique(ids, return_counts=True)
    classes = [value - 1 if value < 100 else 3 + value % 16 for value in present.tolist()]
    return PanopticSegmentation(ids, tuple(map(Segment, present.tolist(), classes, areas.tolist())))


def write_images(root: Path, number: int) -> None:
    """A dataset as a user has it."""
    json_path = root / "annotations" / "panoptic_train.json"
    (root / "train").mkdir()
    with CocoPanopticWriter(json_path, json_path.with_suffix(""), CATEGORIES) as writer:
        for index in range(number):
            writer.add(index, f"{index}.jpg", scene(index))
            coarse = np.random.default_rng(index).integers(0, 256, (30, 40, 3)).astype(np.uint8)
            Image.fromarray(coarse).resize(IMAGE_SIZE[::-1]).save(root / "train" / f"{index}.jpg", quality=92)


@contextmanager
def random_dataset(config: Config, images: int) -> Iterator[PanopticDataset]:
    """Such a dataset, as long as it is used."""
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder), images)
        yield build_dataset(config.data, "train", Path(folder))


def batches(config: Config, dataset: PanopticDataset) -> Iterator[TrainingBatch]:
    """Endless, read by this process."""
    sampler = StepSampler(len(dataset), config.train.batch_size, 10**6, seed=0)
    model = build_model(config, dataset.categories)
    views = TrainingDataset(dataset, Augmentation(config.data), model.target_generator(), seed=0)
    return iter(training_loader(views, sampler, 0, torch.device("cpu")))


def build_learner(config: Config, device: torch.device, **train: Any) -> Learner:
    """A model with random weights, ready for its first step."""
    AcceleratorState._reset_state(reset_partial_state=True)
    train_config = replace(config.train, **train)
    accelerator = Accelerator(cpu=device.type == "cpu", mixed_precision=train_config.precision)
    torch.manual_seed(0)
    learner = Learner(build_model(config, CATEGORIES), train_config, accelerator)
    learner.model.train()
    return learner


def rows_first(learner: Learner) -> Learner:
    """Takes the channels back to where torch keeps them by default."""
    learner.model.to(memory_format=torch.contiguous_format)
    learner.model.register_forward_pre_hook(lambda _, inputs: (inputs[0].contiguous(),))
    return learner


def steps(config: Config, batch: TrainingBatch, names: list[str], device: torch.device, runs: int) -> float:
    """Prints a row for each variant. Returns the images a second of what training does by default."""
    learners = {"eager float32": rows_first(build_learner(config, device))}
    learners |= {name: build_learner(config, device, **VARIANTS[name]) for name in names}
    works = [step_of(learner, batch) for learner in learners.values()]
    times = milliseconds(device, runs, *works)
    # Once more, for the first step of each has made the optimiser's state.
    held = [megabytes(device, work) for work in works]
    print(f"\n{'step':22} {'images/s':>9} {'ratio':>6} {'memory MB':>10} {'ratio':>6} {'an image':>9}")
    for name, time, memory in zip(learners, times, held, strict=True):
        ratios = times[0] / time, memory / max(held[0], 1e-9)
        rate, share = 1000 * len(batch.images) / time, memory / len(batch.images)
        print(f"{name:22} {rate:9.2f} {ratios[0]:6.2f} {memory:10.0f} {ratios[1]:6.2f} {share:9.0f}", flush=True)
    return 1000 * len(batch.images) / times[1]


def step_of(learner: Learner, batch: TrainingBatch) -> Callable[[], object]:
    """The next step, each time that it is called."""
    numbers = count(1)
    return lambda: learner.step(next(numbers), [batch])


def public(names: list[str], crop: tuple[int, int], batch_size: int, runs: int, processor: bool) -> None:
    """Prints time and memory of steps and predictions beside those of the public ones."""
    threads = 1 if processor else torch.get_num_threads()
    kinds = dict.fromkeys(["public", *(ROWS[name][0] for name in names)])
    sides = {kind: Side(kind, crop, batch_size, threads) for kind in kinds}
    theirs = sides["public"]
    print(f"{threads} threads, {batch_size} × {crop[0]}×{crop[1]}")
    print(f"{'':12}", "".join(f"{'public ' + unit:>10} {'ours':>8} {'ratio':>6} " for unit in ("ms", "MB", "live MB")))
    for name in names:
        side, work = sides[ROWS[name][0]], ROWS[name][1]
        how = "processor" if processor else "wall"
        taken = [(theirs.ask(work, how), side.ask(work, how)) for _ in range(runs + 1)][1:]
        times = [statistics.median(column) for column in zip(*taken, strict=True)]
        cells = [f"{times[0]:10.0f} {times[1]:8.0f} {times[0] / times[1]:6.2f} "]
        for kind in ("megabytes", "live"):
            held = [one.ask(work, kind) for one in (theirs, side)]
            cells.append(f"{held[0]:10.0f} {held[1]:8.0f} {held[1] / max(held[0], 1e-9):6.2f} ")
        print(f"{name:12} ", *cells, sep="", flush=True)
    if "step" in names:
        first = sides["none"].first_losses
        far = max(abs(theirs.first_losses[name] / loss - 1) for name, loss in first.items())
        print(f"the first step's losses differ by {far:.1e}")


class Side:
    """Steps and predictions of one implementation, in a process of its own as its users have it.

    Args:
        name: `public`, or ours with this `train.checkpointing`.
        crop: (H, W).
        batch_size: images.
        threads: to compute with.
    """

    def __init__(self, name: str, *settings: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._end, end = context.Pipe()
        context.Process(target=serve_side, args=(end, name, *settings), daemon=True).start()

    def ask(self, work: str, how: str) -> float:
        """Milliseconds (`wall`, `processor`) or memory (`megabytes`, `live`) of a step or a prediction, once more."""
        self._end.send((work, how))
        return self._end.recv()

    @property
    def first_losses(self) -> dict[str, float]:
        """Of the first step."""
        self._end.send(("step", "losses"))
        return self._end.recv()


def serve_side(end: Connection, name: str, crop: tuple[int, int], batch_size: int, threads: int) -> None:
    """What such a process does."""
    torch.set_num_threads(threads)
    cpu, config = torch.device("cpu"), settings("cityscapes-pdl-r50-baseline", crop, batch_size)
    config = replace(config, train=replace(config.train, schedule="constant", warmup_steps=0))
    with random_dataset(config, batch_size) as dataset:
        batch = next(batches(config, dataset))
    learner = build_learner(config, cpu, checkpointing="none" if name == "public" else name)
    works: dict[str, Callable[[], Any]]
    if name == "public":
        network = PublicDeepLab(len(CATEGORIES))
        copy_weights(learner.model, network)
        works = {
            "step": public_step(network, batch, config.train.lr),
            "prediction": lambda: network.eval()(batch.images),
        }
    else:
        keep_network_memory()
        fast = FastModel(learner.model)
        works = {
            "step": step_of(learner, batch),
            "prediction": lambda: fast.panoptic(fast(batch.images), [crop], [crop]),
        }
    losses: list[dict[str, float]] = []
    step, trained = works["step"], network if name == "public" else learner.model
    works["step"] = lambda: (trained.train(), losses.append(step()))
    torch.manual_seed(0)  # of the dropout
    answers: dict[str, Callable[[Callable[[], Any]], Any]] = {
        "wall": lambda work: timed(work, cpu)[0],
        "processor": processor_time,
        "megabytes": lambda work: megabytes(cpu, work),
        "live": live_megabytes,
        "losses": lambda _: losses[0],
    }
    with suppress(EOFError):  # the asking process is at its end
        while True:
            work, how = end.recv()
            with torch.set_grad_enabled(work != "prediction"):
                end.send(answers[how](works[work]))


def parts(config: Config, batch: TrainingBatch, device: torch.device, runs: int) -> None:
    """Prints the share of each part of a step."""
    learner = build_learner(config, device)
    model: PanopticModel = learner.model
    moved = batch.to(device)
    images = moved.images.contiguous(memory_format=torch.channels_last)
    seen: dict[str, Any] = {}

    def forward() -> None:
        seen["output"] = model(images)

    def losses() -> None:
        seen["loss"] = torch.stack(list(model.losses(seen["output"], moved.targets).values())).sum()

    works: dict[str, Callable[[], object]] = {
        "batch to the device": lambda: batch.to(device),
        "forward": forward,
        "losses": losses,
        "backward": lambda: seen["loss"].backward(),
        "update": learner._descend,
    }
    times = milliseconds(device, runs, *works.values())
    print(f"\n{'part of a step':22} {'ms':>9} {'share':>6}")
    for name, time in zip(works, times, strict=True):
        print(f"{name:22} {time:9.1f} {time / sum(times):6.1%}")


def ids(repeats: int) -> None:
    """Prints the time of finding out which ids a map holds, and that of `np.unique`."""
    panoptic = scene(0).ids

    def by_runs() -> tuple[np.ndarray, ...]:
        runs = find_runs(panoptic)
        return runs.present, runs.positions(), runs.areas

    def by_sorting() -> tuple[np.ndarray, ...]:
        present, inverse, areas = np.unique(panoptic, return_inverse=True, return_counts=True)
        return present, inverse.reshape(panoptic.shape), areas

    ours, theirs = milliseconds(torch.device("cpu"), repeats, by_runs, by_sorting)
    same = all(map(np.array_equal, by_runs(), by_sorting()))
    print(f"\nids of a 480×640 map: {ours:.1f} ms, sorting every pixel {theirs:.1f} ms", end=", ")
    print(f"{theirs / ours:.1f} times as long; {'equal' if same else 'NOT EQUAL'}")


def targets(runs: int) -> None:
    """Prints the time of Panoptic-DeepLab's targets for one image, and that of the straightforward way."""
    config = presets.load("custom-pdl-r18").targets
    things = tuple(index for index, category in enumerate(CATEGORIES) if category.isthing)
    generator, panoptic = CenterOffsetTargetGenerator(config, things), scene(0)
    ours, theirs = milliseconds(
        torch.device("cpu"),
        runs,
        lambda: generator(panoptic),
        lambda: straightforward(panoptic, things, config.sigma),
    )
    semantic, center, offset = straightforward(panoptic, things, config.sigma)
    found = generator(panoptic)
    same = np.array_equal(found.semantic, semantic) and np.allclose(found.offset, offset, atol=1e-3)
    same = same and np.allclose(windowed(found, config.sigma), windowed(center, config.sigma), atol=1e-6)
    print(f"targets of a 480×640 image: {ours:.1f} ms, one instance after another {theirs:.1f} ms", end=", ")
    print(f"{theirs / ours:.1f} times as long; {'equal' if same else 'NOT EQUAL'}")


def windowed(center: CenterOffsetTargets | np.ndarray, sigma: float) -> np.ndarray:
    """The heatmap without what lies beyond three standard deviations, which ours does not draw."""
    heatmap = center.center[0].numpy() if isinstance(center, CenterOffsetTargets) else center
    return np.where(heatmap > np.exp(-4.5), heatmap, 0)


def straightforward(
    panoptic: PanopticSegmentation, things: tuple[int, ...], sigma: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Classes, centre heatmap and offsets, each segment over the whole image."""
    height, width = panoptic.ids.shape
    y, x = np.arange(height)[:, None], np.arange(width)
    semantic = np.full((height, width), 255, np.int64)
    center, offset = np.zeros((height, width), np.float32), np.zeros((2, height, width), np.float32)
    for segment in panoptic.segments:
        mask = panoptic.ids == segment.id
        semantic[mask] = segment.category
        if segment.category in things:
            rows, columns = mask.nonzero()
            middle = rows.mean(), columns.mean()
            squares = (y - np.rint(middle[0])) ** 2 + (x - np.rint(middle[1])) ** 2
            center = np.maximum(center, np.exp(-squares / (2 * sigma**2)).astype(np.float32))
            offset[0][mask], offset[1][mask] = middle[0] - rows, middle[1] - columns
    return semantic, center, offset


def loader(config: Config, dataset: PanopticDataset, runs: int, rate: float) -> None:
    """Prints how many images a process prepares in the time of a step's."""
    supply = batches(config, dataset)
    cpu = torch.device("cpu")
    next(supply)
    seconds = sorted(timed(lambda: next(supply), cpu)[0] for _ in range(2 * runs))[runs] / 1000
    prepared = config.train.batch_size / seconds
    print(f"loading: {prepared:.1f} images/s in one process, a step {rate:.1f}: ratio {prepared / rate:.1f}")


if __name__ == "__main__":
    main()
