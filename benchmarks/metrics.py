"""Speed of the scores, as ratios to the official tools, on generated maps.

python benchmarks/metrics.py

1. Growth of memory over 5,000 images.
2. PQ of pairs in COCO panoptic format: ours with files and in memory, against panopticapi's evaluator (where it is
   not installed, cityscapesscripts' evaluator, the same algorithm), which uses all cores.
   `pisr eval --predictions` as a command, and hotcoco (written in Rust) as a script: wall time with Python's start,
   time of all cores and memory of whole processes, in turn.
3. Cityscapes' AP and iIoU against cityscapesscripts on images of 1024×2048: ours in memory, as `pisr eval` scores a
   model, and with files; theirs with files, which it needs.
Both sides of a ratio run in turn, on the same files; medians are compared.
"""

from __future__ import annotations

import argparse
import copy
import io
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import chdir, redirect_stdout
from pathlib import Path

import numpy as np
from cityscapesscripts.evaluation import evalInstanceLevelSemanticLabeling as instance_level
from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as pixel_level
from cityscapesscripts.preparation.createPanopticImgs import convert2panoptic
from PIL import Image

from pisr_core.data.categories import known_categories
from pisr_core.data.coco.files import CocoPanopticWriter
from pisr_core.metrics.files import evaluate_files
from pisr_core.metrics.scores import Scores
from pisr_core.structures import Category, PanopticSegmentation, Segment

try:
    from panopticapi.evaluation import pq_compute as official_pq
except ImportError:
    from cityscapesscripts.evaluation.evalPanopticSemanticLabeling import evaluatePanoptic

    def official_pq(truths: str, predictions: str, truth_dir: str, prediction_dir: str) -> None:
        """PQ by cityscapesscripts, called as panopticapi's function is."""
        with tempfile.TemporaryDirectory() as folder:
            evaluatePanoptic(truths, truth_dir, predictions, prediction_dir, f"{folder}/results.json")


Pair = tuple[PanopticSegmentation, PanopticSegmentation]


def main() -> None:
    """Prints a line for each comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=500)
    parser.add_argument("--size", default="480x640", help="height x width of a pair's maps")
    parser.add_argument("--cityscapes", type=int, default=4, help="images of 1024x2048 pixels")
    parser.add_argument("--memory", type=int, default=5000, help="images of 96x128 pixels")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--command-runs", type=int, default=5, help="of the commands that score files")
    arguments = parser.parse_args()
    # What cityscapesscripts needs of older releases of NumPy; its file of matches does not take NumPy's integers.
    np.in1d = np.isin  # type: ignore[attr-defined]
    instance_level.writeDict2JSON = lambda content, path: None
    print(f"{os.cpu_count()} cores, official PQ: {official_pq.__module__}")
    show_memory(arguments.memory)  # first, while this process holds no memory that it could use again
    with tempfile.TemporaryDirectory() as folder:
        height, width = map(int, arguments.size.split("x"))
        compare_pq(Path(folder), arguments.pairs, (height, width), arguments.runs)
        compare_commands(Path(folder), arguments.command_runs)
    with tempfile.TemporaryDirectory() as folder:
        compare_cityscapes(Path(folder), arguments.cityscapes, arguments.runs)


def compare_pq(folder: Path, count: int, size: tuple[int, int], runs: int) -> None:
    """Comparison 2."""
    categories, generator = known_categories("coco"), np.random.default_rng(0)
    pairs = [make_pair(generator, categories, size) for _ in range(count)]
    paths = []
    for name, index in (("predicted", 0), ("annotated", 1)):
        with CocoPanopticWriter(folder / f"{name}.json", folder / name, categories) as writer:
            for image_id, pair in enumerate(pairs):
                writer.add(image_id, f"{image_id:06}.jpg", pair[index])
        paths.append(folder / f"{name}.json")
    predicted, annotated = map(str, paths)

    def official() -> None:
        official_pq(annotated, predicted, annotated.removesuffix(".json"), predicted.removesuffix(".json"))

    def in_memory() -> None:
        scores = Scores(categories, instances=False)
        for image_id, pair in enumerate(pairs):
            scores.update(image_id, "", *pair)
        scores.result(0)

    ours = {
        "in memory, all but AP": in_memory,
        "files, all but AP": lambda: evaluate_files(*paths, instances=False),
        "files, all scores": lambda: evaluate_files(*paths),
    }
    show(f"PQ of {count} pairs of {size[0]}×{size[1]}", official, ours, runs, count)


HOTCOCO = "import sys; from hotcoco.panoptic import pq_compute; pq_compute(*sys.argv[1:])"


def compare_commands(folder: Path, runs: int) -> None:
    """Comparison 2, its last part."""
    predicted, annotated = str(folder / "predicted.json"), str(folder / "annotated.json")
    ours = [sys.executable, "-m", "pisr_cli", "eval", "--predictions", predicted, "--annotations", annotated, "--json"]
    commands = {
        "hotcoco, PQ": [sys.executable, "-c", HOTCOCO, annotated, predicted],
        "pisr eval --metrics pq": [*ours, "--metrics", "pq"],
        "pisr eval": ours,
    }
    measured: dict[str, list[tuple[float, float, float]]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            measured[name].append(cost_of(command))
    peer = measured["hotcoco, PQ"]
    for name, costs in measured.items():
        wall, cores, memory = (statistics.median(column) for column in zip(*costs, strict=True))
        ratios = [
            statistics.median(own[i] / other[i] for own, other in zip(costs, peer, strict=True)) for i in range(2)
        ]
        print(
            f"  {name:24} {wall:6.2f} s ({ratios[0]:.2f} of hotcoco's), all cores {cores:6.2f} s ({ratios[1]:.2f}), "
            f"{memory:4.0f} MB",
            flush=True,
        )


MEASURE = """
import os, subprocess, sys, time
start = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
process.returncode = os.waitstatus_to_exitcode(status)
if process.returncode:
    sys.exit(f"{sys.argv[1:]} ended with {process.returncode}")
print(time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
"""
"""In a process of its own, for a command's peak of memory begins with that of the process that starts it."""


def cost_of(command: list[str]) -> tuple[float, float, float]:
    """Seconds, seconds of all cores, and megabytes at the peak of a command."""
    done = subprocess.run([sys.executable, "-c", MEASURE, *command], stdout=subprocess.PIPE, text=True, check=True)
    seconds, cores, megabytes = map(float, done.stdout.split())
    return seconds, cores, megabytes


def compare_cityscapes(root: Path, count: int, runs: int) -> None:
    """Comparison 3."""
    categories, generator = known_categories("cityscapes"), np.random.default_rng(0)
    city, results = root / "gtFine" / "val" / "ulm", root / "results"
    city.mkdir(parents=True)
    results.mkdir()
    names = [f"ulm_{index:06}_000019" for index in range(count)]
    pairs = [make_pair(generator, categories, (1024, 2048), 60) for _ in names]
    with CocoPanopticWriter(root / "predicted.json", root / "predicted", categories) as writer:
        for name, (prediction, truth) in zip(names, pairs, strict=True):
            write_cityscapes(city, results, name, prediction, truth, categories)
            writer.add(name, f"{name}.png", prediction)
    with redirect_stdout(io.StringIO()):
        convert2panoptic(str(root / "gtFine"), setNames=["val"])

    def official() -> None:
        args = copy.copy(instance_level.args)
        args.quiet, args.JSONOutput, args.predictionPath = True, False, str(results)
        args.gtInstancesFile = str(root / "not there")
        truths = [f"{city}/{name}_gtFine_instanceIds.png" for name in names]
        instance_level.evaluateImgLists([f"{results}/{name}.txt" for name in names], truths, args)
        args = copy.copy(pixel_level.args)
        args.quiet, args.JSONOutput = True, False
        truths = [f"{city}/{name}_gtFine_labelIds.png" for name in names]
        pixel_level.evaluateImgLists([f"{results}/{name}.png" for name in names], truths, args)

    def in_memory() -> None:
        scores = Scores(categories)
        for name, (prediction, truth), semantic in zip(names, pairs, semantics, strict=True):
            scores.update(name, "", prediction, truth, semantic)
        scores.result(0)

    semantics = [prediction.semantic() for prediction, _ in pairs]
    paths = root / "predicted.json", root / "gtFine" / "cityscapes_panoptic_val.json"
    ours = {
        "in memory, all scores": in_memory,
        "files, all scores": lambda: evaluate_files(*paths),
        "files, against instanceIds.png": lambda: evaluate_files(*paths, official_instances=city.parent),
    }
    show(f"Cityscapes' AP and iIoU of {count} images of 1024×2048", official, ours, runs, count)


def write_cityscapes(
    city: Path,
    results: Path,
    name: str,
    prediction: PanopticSegmentation,
    truth: PanopticSegmentation,
    categories: tuple[Category, ...],
) -> None:
    """The annotation and the predictions of one image as the official tools read them."""
    ids = np.zeros(truth.ids.shape, np.uint16)
    for number, segment in enumerate(truth.segments):
        category = categories[segment.category]
        ids[truth.ids == segment.id] = category.id * 1000 + number if category.isthing else category.id
    Image.fromarray(ids).save(city / f"{name}_gtFine_instanceIds.png")
    Image.fromarray(np.where(ids < 1000, ids, ids // 1000).astype(np.uint8)).save(city / f"{name}_gtFine_labelIds.png")
    label_ids = np.array([*(category.id for category in categories), 0], np.uint8)
    semantic = label_ids[np.minimum(prediction.semantic(), len(categories))]
    Image.fromarray(semantic).save(results / f"{name}.png")
    lines = []
    for segment in prediction.segments:
        if categories[segment.category].isthing:
            mask = (prediction.ids == segment.id).astype(np.uint8) * 255
            Image.fromarray(mask).save(results / f"{name}_{segment.id}.png")
            lines.append(f"{name}_{segment.id}.png {categories[segment.category].id} {segment.score}")
    (results / f"{name}.txt").write_text("\n".join(lines))


def show_memory(count: int) -> None:
    """Memory at a tenth of the images and at their end."""
    categories, generator = known_categories("coco"), np.random.default_rng(0)
    pairs = [make_pair(generator, categories, (96, 128)) for _ in range(20)]
    scores = Scores(categories)
    start, early = time.perf_counter(), 0.0
    for index in range(count):
        scores.update(index, f"{index}.jpg", *pairs[index % len(pairs)])
        early = resident_mib() if index == count // 10 else early
    late, seconds = resident_mib(), time.perf_counter() - start
    scores.result(0)
    print(
        f"memory with all scores: {early:.0f} MiB after {count // 10} images, {late:.0f} after {count}, "
        f"{resident_mib():.0f} with the result; {1000 * seconds / count:.1f} ms an image of 96×128"
    )


def resident_mib() -> float:
    """Memory that this process holds now (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def make_pair(
    generator: np.random.Generator, categories: tuple[Category, ...], size: tuple[int, int], cells: int = 24
) -> Pair:
    """A prediction and an annotation of cells with wavy borders; a tenth of the classes are mistaken."""
    points = generator.uniform(0, 1, (cells, 2)) * size
    classes = generator.integers(0, len(categories), cells)
    guessed = np.where(generator.random(cells) < 0.9, classes, generator.integers(0, len(categories), cells))
    moved = points + generator.normal(0, size[0] / 60, points.shape)
    truth = cell_map(points, size, generator)
    truth[truth == cells] = 0
    prediction = cell_map(moved, size, generator)
    return panoptic(prediction, guessed, generator.random(cells)), panoptic(truth, classes, np.ones(cells))


def cell_map(points: np.ndarray, size: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
    """1 + the nearest point of each pixel, seen through a ripple."""
    rows, columns = np.mgrid[: size[0], : size[1]].astype(np.float32)
    phase = generator.uniform(0, 6, 2)
    rows, columns = rows + 4 * np.sin(columns / 9 + phase[0]), columns + 4 * np.sin(rows / 7 + phase[1])
    nearest, best = np.zeros(size, np.int32), np.full(size, np.inf, np.float32)
    for index, (y, x) in enumerate(points, start=1):
        distance = (rows - y) ** 2 + (columns - x) ** 2
        nearest[distance < best] = index
        np.minimum(best, distance, out=best)
    return nearest


def panoptic(ids: np.ndarray, classes: np.ndarray, scores: np.ndarray) -> PanopticSegmentation:
    """A map with the segments that it shows."""
    present = np.unique(ids[ids > 0]).tolist()
    return PanopticSegmentation(
        ids, tuple(Segment(i, int(classes[i - 1]), 0, False, float(scores[i - 1])) for i in present)
    )


def show(
    title: str, official: Callable[[], None], ours: dict[str, Callable[[], object]], runs: int, count: int
) -> None:
    """Prints the official time an image, and of each of ours the ratio to it."""
    seconds: dict[str, list[float]] = {name: [] for name in ("official", *ours)}
    for _ in range(runs):
        for name, run in {"official": official, **ours}.items():
            start = time.perf_counter()
            with tempfile.TemporaryDirectory() as folder, chdir(folder), redirect_stdout(io.StringIO()):
                run()
            seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    print(f"{title}: official {1000 * medians['official'] / count:.1f} ms an image")
    for name in ours:
        ratio = medians["official"] / medians[name]
        print(f"  {name:36} {1000 * medians[name] / count:8.1f} ms   {ratio:6.1f} times as fast", flush=True)


if __name__ == "__main__":
    main()
