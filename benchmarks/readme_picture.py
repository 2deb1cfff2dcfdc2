"""Draws the README's pictures: validation images, their annotation, and what a trained model makes of them.

python benchmarks/readme_picture.py --checkpoint runs/first/best.safetensors --out docs/images/scenes.jpg
python benchmarks/readme_picture.py --checkpoint runs/nuclei/best.safetensors --data datasets --images 1 2 3 4 5 \
    --scale 1 --out docs/images/nuclei.jpg
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from pisr_core.data import build_dataset
from pisr_core.inference.load import load_model
from pisr_core.inference.mode import inference
from pisr_core.inference.predict import predict_sample
from pisr_core.visualization.overlay import overlay

GAP = 6


def main() -> None:
    """Writes one picture with a column for each image; they have one size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--images", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--scale", type=int, default=2, help="how many times as large, for people to see")
    arguments = parser.parse_args()

    device = torch.device("cpu")
    model = load_model(arguments.checkpoint, device)
    dataset = build_dataset(model.config.data, "val", arguments.data)
    columns = []
    with inference(model):
        for index in arguments.images:
            sample = dataset[index]
            assert sample.panoptic is not None
            image = enlarged(sample.image.permute(1, 2, 0).contiguous().numpy(), arguments.scale, cv2.INTER_CUBIC)
            maps = (sample.panoptic, predict_sample(model, sample, device))
            pictures = [image]
            for panoptic in maps:
                ids = enlarged(panoptic.ids, arguments.scale, cv2.INTER_NEAREST)
                pictures.append(overlay(image, type(panoptic)(ids, panoptic.segments), model.categories))
            columns.append(np.concatenate([framed(picture) for picture in pictures], axis=0))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(columns, axis=1)[GAP:, GAP:]).save(arguments.out, quality=90)


def enlarged(pixels: np.ndarray, scale: int, interpolation: int) -> np.ndarray:
    """`scale` times as large."""
    return cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=interpolation)


def framed(picture: np.ndarray) -> np.ndarray:
    """With a white gap above and to the left."""
    return np.pad(picture, ((GAP, 0), (GAP, 0), (0, 0)), constant_values=255)


if __name__ == "__main__":
    main()
