"""Loads `pisr serve` with many clients at once, and counts answers, refusals, and the server's memory.

python benchmarks/serving.py --checkpoint runs/first/best.safetensors --requests 400

Clients send painted scenes one after another, and now and then what is no image or a decompression bomb. Prints
requests a second, how long they took, and the server's memory as the requests go on. Linux only, for the memory.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path

from PIL import Image

from pisr_core import presets
from pisr_core.data import build_dataset

STRANGE_EVERY = 10
"""One request of so many is no image."""

BOMB_SIDE = 12_000


@contextmanager
def server(checkpoint: Path, queue: int) -> Iterator[tuple[str, int]]:
    """Address and process id of a server of its own."""
    command = [sys.executable, "-m", "pisr_cli", "serve", "--checkpoint", str(checkpoint), "--port", "0"]
    process = subprocess.Popen([*command, "--queue", str(queue), "--json"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        document = ""
        for line in process.stdout:
            document += line
            if line == "}\n":
                break
        yield json.loads(document)["url"], process.pid
        assert process.poll() is None, "the server has ended"
    finally:
        process.terminate()
        process.wait(60)


def images(size: tuple[int, int]) -> list[bytes]:
    """Eight painted scenes as JPEGs, a text, and a bomb: a small PNG of very many equal pixels."""
    config = presets.load("scenes-pdl-r18").data
    dataset = build_dataset(replace(config, scenes=replace(config.scenes, size=size)), "val")
    pictures = [Image.fromarray(dataset[index].image.permute(1, 2, 0).numpy()) for index in range(8)]
    return [encoded(picture, "JPEG") for picture in pictures]


def encoded(picture: Image.Image, kind: str) -> bytes:
    """The picture's file."""
    buffer = io.BytesIO()
    picture.save(buffer, format=kind)
    return buffer.getvalue()


def post(url: str, data: bytes) -> tuple[int, float]:
    """Status and seconds of a request; one that is sent away tries again."""
    start = time.perf_counter()
    for attempt in count():
        try:
            with urllib.request.urlopen(urllib.request.Request(f"{url}/predict", data), timeout=300) as answer:
                answer.read()
                return answer.status, time.perf_counter() - start
        except urllib.error.HTTPError as error:
            error.read()
            if error.code != 503 or attempt > 100:
                return error.code, time.perf_counter() - start
            time.sleep(0.1)
    raise AssertionError


def megabytes(process: int) -> float:
    """Memory that a process has in use."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1000


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--queue", type=int, default=8)
    parser.add_argument("--size", type=int, nargs=2, default=(128, 128), metavar=("H", "W"))
    parser.add_argument("--parts", type=int, default=8, help="lines of the table")
    options = parser.parse_args()
    scenes = images(tuple(options.size))
    strange = [b"no image", encoded(Image.new("RGB", (BOMB_SIDE, BOMB_SIDE)), "PNG")]
    statuses: Counter[int] = Counter()

    def request(number: int) -> tuple[int, float]:
        is_strange = number % STRANGE_EVERY == 0
        return post(url, strange[number // STRANGE_EVERY % 2] if is_strange else scenes[number % len(scenes)])

    with server(options.checkpoint, options.queue) as (url, process), ThreadPoolExecutor(options.clients) as clients:
        list(clients.map(request, range(1, 17)))
        print(f"{options.clients} clients, a queue of {options.queue}, images of {options.size[0]}×{options.size[1]}")
        print(f"{'requests':>8} {'a second':>9} {'median s':>9} {'95 % s':>7} {'memory MB':>10}")
        share = options.requests // options.parts
        for part in range(options.parts):
            start = time.perf_counter()
            answers = list(clients.map(request, range(part * share, (part + 1) * share)))
            rate = share / (time.perf_counter() - start)
            statuses.update(status for status, _ in answers)
            times = sorted(seconds for status, seconds in answers if status == 200)
            median, high = statistics.median(times), times[int(0.95 * len(times))]
            print(f"{(part + 1) * share:8} {rate:9.1f} {median:9.3f} {high:7.3f} {megabytes(process):10.0f}")
    print("answers by status:", dict(sorted(statuses.items())))


if __name__ == "__main__":
    main()
