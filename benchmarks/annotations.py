"""Annotations of COCO's full size: time and memory to open them, of those who read batches, and of `data convert`.

python benchmarks/annotations.py

Makes the panoptic JSON of 118,287 images with 11 segments each and opens it in two ways, each in a process of its own:
into arrays, as `pisr` does, and into Python objects, a record for each image, annotation and segment. Then a worker
started by fork, forkserver and spawn looks at the annotations of 20,000 images. Memory is what is the process's own
(Linux): pages of the file itself, and those that a fork shares, are not.

Then what `pisr data convert` holds beside its images: a JSON of instances, seven for each of as many images, is opened
and the entries of 20,000 images are looked at; and the record of a split, which takes their panoptic entries one by one
and writes their JSON.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import pickle
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pisr_core.data.coco.instances_json import read_coco_file
from pisr_core.data.coco.panoptic_json import read_panoptic_json
from pisr_core.data.coco.tables import AnnotationRecord, ImageRecord
from pisr_core.data.prepare.record import SplitRecord
from pisr_core.structures import Segment

INSTANCES = 7
"""Of an image, as in COCO."""

RNGS = [np.random.default_rng(seed) for seed in range(100)]

METHODS = ("fork", "forkserver", "spawn")


def main() -> None:
    """Prints a table for each way of keeping the annotations."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=118_287)
    parser.add_argument("--read", type=int, default=20_000, help="images that a worker looks at")
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "panoptic.json"
        write_json(path, arguments.images)
        print(f"{arguments.images} images, a JSON of {path.stat().st_size / 1e6:.0f} MB")
        context = multiprocessing.get_context("spawn")  # each way starts afresh
        for name, opener in (("Python objects", open_as_objects), ("arrays", read_panoptic_json)):
            print(f"\n{name}", flush=True)
            process = context.Process(target=measure, args=(opener, path, arguments.read, arguments.runs))
            process.start()
            process.join()
        path.unlink()
        for part in (measure_instances, measure_record):
            process = context.Process(target=part, args=(Path(folder), arguments.images, arguments.read))
            process.start()
            process.join()


def measure_instances(folder: Path, count: int, read: int) -> None:
    """Opening a JSON of instances, as `pisr data convert` does."""
    path = folder / "instances.json"
    write_instances(path, count)
    print(
        f"\n{INSTANCES * count} instances of {count} images, a JSON of {path.stat().st_size / 1e6:.0f} MB", flush=True
    )
    before, cpu = private_mb(), time.process_time()
    file = read_coco_file(path, isthing=True)
    cpu = time.process_time() - cpu
    print(f"  opened in {cpu:.2f} s of the processor; held {private_mb() - before:.0f} MB; {peak()}")
    print(f"  pickled: {len(pickle.dumps(file, protocol=5)) / 1e6:.1f} MB")
    before = private_mb()
    for image in file.images[:read]:
        assert len(file.entries(image.id)) == INSTANCES
    print(f"  entries of {min(read, count)} images looked at: {private_mb() - before:+.0f} MB", flush=True)


def measure_record(folder: Path, count: int, read: int) -> None:
    """Keeping the record of a split that is being prepared, and writing its JSON."""
    record, rng = SplitRecord(folder / "split.json"), np.random.default_rng(0)
    before, cpu = private_mb(), time.process_time()
    for number in range(count):
        record.append({"image": image_entry(number), "annotation": annotation_entry(number, rng)})
    print(f"\nthe record of a split: {count} images noted in {time.process_time() - cpu:.0f} s of the processor")
    cpu = time.process_time()
    finished = record.read()
    print(f"  read again in {time.process_time() - cpu:.1f} s; held {private_mb() - before:.0f} MB")
    cpu = time.process_time()
    record.write_json(finished, list(finished), ())
    print(f"  the JSON written in {time.process_time() - cpu:.1f} s; {peak()}")


def peak() -> str:
    """The process's largest size so far."""
    return f"largest resident size {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB"


def measure(opener: Callable[[Path], Any], path: Path, read: int, runs: int) -> None:
    """Prints one way's numbers."""
    before = private_mb()
    annotations = opener(path)
    print(f"  held after opening: {private_mb() - before:.0f} MB; {peak()}")
    start = time.perf_counter()
    size = len(pickle.dumps(annotations, protocol=5))
    print(f"  pickled in {1000 * (time.perf_counter() - start):.0f} ms, {size / 1e6:.1f} MB")
    for method in METHODS:
        context = multiprocessing.get_context(method)
        ready, done = context.SimpleQueue(), context.SimpleQueue()
        start = time.perf_counter()
        worker = context.Process(target=look_at, args=(annotations, read, ready, done))
        worker.start()
        first = ready.get()
        seconds = time.perf_counter() - start
        at_start, at_end = first, done.get()
        worker.join()
        print(
            f"  worker by {method:10}: first image after {seconds:5.2f} s; private memory {at_start:.0f} MB, after "
            f"{read} images {at_end - at_start:+.0f} MB",
            flush=True,
        )
    del annotations
    times = []
    for _ in range(runs):
        start, cpu = time.perf_counter(), time.process_time()
        opener(path)
        times.append((time.perf_counter() - start, time.process_time() - cpu))
    wall, cpu = (statistics.median(column) for column in zip(*times, strict=True))
    print(f"  opened in {wall:.2f} s, {cpu:.2f} s of the processor (medians of {runs})", flush=True)


def look_at(annotations: Any, count: int, ready: Any, done: Any) -> None:
    """A worker's part: the annotations of images all over the dataset, one after another."""
    images, of_image = annotations.images, annotations.annotations.of_image
    order = np.random.default_rng(0).permutation(len(images)).tolist()
    assert of_image(order[0]).segments
    ready.put(private_mb())
    for position in order[:count]:
        assert images[position].size and of_image(position).segments
    done.put(private_mb())


def private_mb() -> float:
    """Memory that is this process's own: pages that it has written to, or copied as it did."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    sizes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    return sizes["Private_Dirty"] / 1024


class Objects:
    """A record for each entry."""

    def __init__(self, images: Sequence[ImageRecord], annotations: dict[int, AnnotationRecord]) -> None:
        self.images = images
        self.by_id = annotations
        self.annotations = self

    def of_image(self, position: int) -> AnnotationRecord:
        """The annotation of the image at a position."""
        return self.by_id[self.images[position].id]


def open_as_objects(path: Path) -> Objects:
    """As `json` and dataclasses do."""
    content = json.loads(path.read_text())
    positions = {category["id"]: i for i, category in enumerate(content["categories"])}
    images = tuple(ImageRecord(i["id"], i["file_name"], (i["height"], i["width"])) for i in content["images"])
    annotations = {
        entry["image_id"]: AnnotationRecord(
            entry["file_name"],
            tuple(Segment(s["id"], positions[s["category_id"]], 0, bool(s["iscrowd"])) for s in entry["segments_info"]),
        )
        for entry in content["annotations"]
    }
    return Objects(images, annotations)


def write_json(path: Path, count: int) -> None:
    """Entries as COCO's are, their numbers drawn at random."""
    rng = np.random.default_rng(0)
    categories = [{"id": i, "name": f"class {i}", "isthing": int(i <= 90)} for i in range(1, 134)]
    with path.open("w") as file:
        file.write('{"info": {"year": 2017}, "images": [')
        join(file, map(image_entry, range(count)))
        file.write('], "annotations": [')
        join(file, (annotation_entry(number, rng) for number in range(count)))
        file.write(f'], "categories": {json.dumps(categories)}}}')


def write_instances(path: Path, count: int) -> None:
    """As COCO's: polygons of 20 to 40 points, their numbers always the same."""
    polygons = [json.dumps(np.round(rng.random((1, 2 * rng.integers(20, 40))) * 400, 2).tolist()) for rng in RNGS]
    categories = [{"id": i, "name": f"class {i}"} for i in range(1, 91)]
    with path.open("w") as file:
        file.write('{"info": {"year": 2017}, "images": [')
        join(file, map(image_entry, range(count)))
        file.write('], "annotations": [')
        for number in range(INSTANCES * count):
            file.write(
                f'{", " if number else ""}{{"segmentation": {polygons[number % len(polygons)]}, "area": 702.1, '
                f'"iscrowd": 0, "image_id": {5 * (number % count) + 9}, "bbox": [473.07, 395.93, 38.65, 28.67], '
                f'"category_id": {number % 90 + 1}, "id": {number}}}'
            )
        file.write(f'], "categories": {json.dumps(categories)}}}')
        os.fsync(file.fileno())  # pages that are not yet on the disk would count as the reader's own


def join(file: Any, entries: Any) -> None:
    """Writes entries with commas between."""
    for number, entry in enumerate(entries):
        file.write((", " if number else "") + json.dumps(entry))


def image_entry(number: int) -> dict[str, Any]:
    """With COCO's keys."""
    name = f"{5 * number + 9:012}.jpg"
    url = f"http://images.cocodataset.org/train2017/{name}"
    return {
        "license": 3,
        "file_name": name,
        "coco_url": url,
        "height": 480,
        "width": 640,
        "date_captured": "2013-11-14 11:18:45",
        "flickr_url": url,
        "id": 5 * number + 9,
    }


def annotation_entry(number: int, rng: np.random.Generator) -> dict[str, Any]:
    """With 3 to 19 segments."""
    segments = [
        {"id": int(i), "category_id": int(c), "iscrowd": 0, "bbox": box.tolist(), "area": int(box[2] * box[3])}
        for i, c, box in zip(
            np.unique(rng.integers(1, 2**24, rng.integers(3, 20))),
            rng.integers(1, 134, 20),
            rng.integers(1, 400, (20, 4)),
            strict=False,
        )
    ]
    return {"segments_info": segments, "file_name": f"{5 * number + 9:012}.png", "image_id": 5 * number + 9}


if __name__ == "__main__":
    if sys.platform != "linux":
        sys.exit("it reads /proc, which Linux has")
    main()
