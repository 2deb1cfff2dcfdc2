"""What images take that are seen in tiles: time, and memory as they grow.

python benchmarks/large_images.py --checkpoint runs/NAME/best.safetensors
python benchmarks/large_images.py --checkpoint runs/NAME/best.safetensors --sizes 5000x20000 20000x5000 --evaluate

Each image is a mosaic of made scenes of 128×128 pixels, in a tiled TIFF file that is written piece by piece below a
temporary folder. `pisr predict --tile 1024 --overlap 128` sees it, in a process of its own. With `--evaluate`,
`pisr eval --predictions` reads what was written, and compares it with itself.
"""

from __future__ import annotations

import argparse
import json
import os
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from pisr_core.config import ScenesConfig
from pisr_core.data.scenes import SceneDataset
from pisr_core.inference.tiles import Tiling

TILING = Tiling(1024, 128)
SCENES_A_SIDE = 4
"""Of a piece of the file."""

DIFFERENT_PIECES = 40


def main() -> None:
    """Prints a row for each image."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, type=Path)
    parser.add_argument("--sizes", nargs="+", default=["5000x5000", "10000x10000", "20000x20000"], metavar="HxW")
    parser.add_argument("--evaluate", action="store_true")
    arguments = parser.parse_args()
    side, pieces = drawn_pieces()
    print("| image | file MB | tiles | segments | PNG MB | s | tiles a second | processor s | peak MB |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for size in arguments.sizes:
        height, width = map(int, size.split("x"))
        with tempfile.TemporaryDirectory() as folder:
            image, out = Path(folder, "mosaic.tif"), Path(folder, "out")
            write_mosaic(image, (height, width), side, pieces)
            network = ("--checkpoint", str(arguments.checkpoint), "--device", "cpu")
            cut = ("--tile", str(TILING.side), "--overlap", str(TILING.overlap))
            used = run("predict", str(image), "--out", str(out), *network, *cut)
            tiles = len(TILING.spans(height)) * len(TILING.spans(width))
            found = json.loads((out / "panoptic.json").read_text())["annotations"][0]
            png = out / "panoptic" / found["file_name"]
            facts = (f"{height}×{width}", f"{megabytes(image):.0f}", tiles, len(found["segments_info"]))
            speed = f"{used.seconds:.0f} | {tiles / used.seconds:.2f} | {used.processor:.0f} | {used.peak:.0f}"
            print(f"| {' | '.join(map(str, facts))} | {megabytes(png):.1f} | {speed} |", flush=True)
            if arguments.evaluate:
                both = ("--predictions", str(out / "panoptic.json"), "--annotations", str(out / "panoptic.json"))
                used = run("eval", *both, "--metrics", "pq")
                print(f"{height}×{width}: evaluated in {used.seconds:.0f} s, peak {used.peak:.0f} MB", flush=True)


def drawn_pieces() -> tuple[int, list[bytes]]:
    """The side of pieces in pixels, and some of them, packed as a TIFF file has them."""
    count = DIFFERENT_PIECES * SCENES_A_SIDE**2
    dataset = SceneDataset(ScenesConfig(val_images=count), "val")
    scenes = np.stack([dataset[index].image.permute(1, 2, 0).numpy() for index in range(count)])
    side = SCENES_A_SIDE * scenes.shape[1]
    grids = scenes.reshape(-1, SCENES_A_SIDE, SCENES_A_SIDE, *scenes.shape[1:]).swapaxes(2, 3)
    return side, [zlib.compress(piece.tobytes(), 1) for piece in grids.reshape(-1, side, side, 3)]


def write_mosaic(path: Path, size: tuple[int, int], side: int, pieces: Sequence[bytes]) -> None:
    """A TIFF file of tiles in arbitrary order.

    Args:
        path: the file.
        size: (H, W) in pixels.
        side: of a tile, pixels.
        pieces: tiles to choose from.
    """
    count = -(-size[0] // side) * -(-size[1] // side)
    chosen = np.random.default_rng(0).integers(0, len(pieces), count).tolist()
    counts = [len(pieces[choice]) for choice in chosen]
    ends = (8 + np.cumsum(counts)).tolist()
    tags = ImageFileDirectory_v2(prefix=b"II")
    values = {256: size[1], 257: size[0], 258: (8, 8, 8), 259: 8, 262: 2, 277: 3, 322: side, 323: side}
    values |= {324: (8, *ends[:-1]), 325: tuple(counts)}
    for tag, value in values.items():
        tags.tagtype[tag] = 4 if tag >= 324 else 3
        tags[tag] = value
    with path.open("wb") as file:
        file.write(struct.pack("<4sI", b"II*\0", ends[-1]))
        for choice in chosen:
            file.write(pieces[choice])
        file.write(tags.tobytes(ends[-1]))


@dataclass(frozen=True)
class Used:
    """What a command took.

    Attributes:
        seconds: of time.
        processor: seconds of all its threads.
        peak: of resident memory, MB.
    """

    seconds: float
    processor: float
    peak: float


def run(*arguments: str) -> Used:
    """Runs a command of `pisr` in a process of its own."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "pisr_cli", *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"pisr {arguments[0]} failed")
    return Used(time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6)


def megabytes(path: Path) -> float:
    """The size of a file."""
    return path.stat().st_size / 1e6


if __name__ == "__main__":
    main()
