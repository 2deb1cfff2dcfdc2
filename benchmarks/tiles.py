"""What tiles cost in PQ: a trained model sees the same images as a whole, and in tiles with several overlaps.

python benchmarks/tiles.py --checkpoint runs/NAME/best.safetensors --tile 64 --overlap 0 8 16 32

Images of one tile are seen alike; choose a tile that is smaller than they are. With `--picture FILE` the image that
tiles change most is drawn: annotation, whole, and the last tiling.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pisr_core.config import DataConfig
from pisr_core.data import build_dataset
from pisr_core.inference.fast_model import FastModel
from pisr_core.inference.load import load_model
from pisr_core.inference.mode import inference
from pisr_core.inference.predict import predict_sample
from pisr_core.inference.tiles import TilePredictor, Tiling, tiled_pixels
from pisr_core.metrics.scores import Scores
from pisr_core.structures import PanopticSegmentation, Sample
from pisr_core.visualization.overlay import overlay

CPU = torch.device("cpu")


def main() -> None:
    """Prints a row for the whole images and for each overlap."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--split", default="val")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--tile", type=int, required=True)
    parser.add_argument("--overlap", type=int, nargs="+", default=[0])
    parser.add_argument("--picture", type=Path)
    arguments = parser.parse_args()
    model = FastModel(load_model(arguments.checkpoint, CPU))
    config: DataConfig = model.config.data
    dataset = build_dataset(config, arguments.split, arguments.data)
    samples = [dataset[index] for index in range(min(arguments.images, len(dataset)))]
    sizes = sorted({sample.image.shape[1:] for sample in samples})
    print(f"{len(samples)} images of {tuple(sizes[0])} to {tuple(sizes[-1])} pixels, tiles of {arguments.tile}")
    print("| seen | PQ | SQ | RQ | PQ things | PQ stuff | processor s |\n|---|---|---|---|---|---|---|")
    whole = report("as a whole", model, samples, None)
    for overlap in arguments.overlap:
        tiled = report(f"in tiles, overlap {overlap}", model, samples, Tiling(arguments.tile, overlap))
    if arguments.picture is not None:
        changed = [np.mean(one.semantic() != other.semantic()) for one, other in zip(whole, tiled, strict=True)]
        most = int(np.argmax(changed))
        sample, maps = samples[most], (samples[most].panoptic, whole[most], tiled[most])
        pixels = np.ascontiguousarray(sample.image.permute(1, 2, 0).numpy())
        Image.fromarray(np.hstack([overlay(pixels, each, model.categories) for each in maps])).save(arguments.picture)


def report(name: str, model: FastModel, samples: list[Sample], tiling: Tiling | None) -> list[PanopticSegmentation]:
    """Prints a row of scores; gives the maps."""
    scores, maps, start = Scores(model.categories, instances=False, semantic=False), [], time.process_time()
    for sample in samples:
        maps.append(predicted(model, sample, tiling))
    seconds = time.process_time() - start
    for sample, panoptic in zip(samples, maps, strict=True):
        scores.update(sample.image_id, sample.file_name, panoptic, sample.panoptic)
    groups = scores.result(seconds).to_json()["panoptic"]
    columns = [groups["all"][key] for key in ("pq", "sq", "rq")] + [groups[key]["pq"] for key in ("things", "stuff")]
    print(f"| {name} | {' | '.join('–' if c is None else f'{c:.1f}' for c in columns)} | {seconds:.0f} |", flush=True)
    return maps


def predicted(model: FastModel, sample: Sample, tiling: Tiling | None) -> PanopticSegmentation:
    """The map of an image."""
    size = (sample.image.shape[1], sample.image.shape[2])
    with inference(model):
        if tiling is None or tiling.fits(size):
            return predict_sample(model, sample, CPU)
        image = tiled_pixels(sample.file_name, sample.image.permute(1, 2, 0).numpy())
        return TilePredictor(model, tiling, model.config.data, CPU).predict(image).map.at(size)


if __name__ == "__main__":
    main()
