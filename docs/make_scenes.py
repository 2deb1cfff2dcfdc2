"""Draws the scenes' levels beside this file: `python docs/make_scenes.py` writes images/levels.jpg."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from pisr_core.config import ScenesConfig
from pisr_core.data.scenes import DIFFICULTIES, SCENE_CATEGORIES, SceneDataset
from pisr_core.visualization.overlay import overlay

SIDE, GAP = 256, 6
SCENES = (0, 4)


def column(level: str) -> np.ndarray:
    """Two scenes of a level, each with its annotation below it."""
    size = (256, 256) if level == "crowded" else (128, 128)
    dataset = SceneDataset(ScenesConfig(difficulty=level, size=size), "val")
    pictures = []
    for index in SCENES:
        sample = dataset[index]
        image = cv2.resize(sample.image.permute(1, 2, 0).numpy(), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        ids = cv2.resize(sample.panoptic.ids, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)
        truth = overlay(image, type(sample.panoptic)(ids, sample.panoptic.segments), SCENE_CATEGORIES)
        pictures += [np.pad(each, ((GAP, 0), (GAP, 0), (0, 0)), constant_values=255) for each in (image, truth)]
    return np.concatenate(pictures)


if __name__ == "__main__":
    picture = np.concatenate([column(level) for level in DIFFICULTIES], axis=1)[GAP:, GAP:]
    Image.fromarray(picture).save(Path(__file__).parent / "images" / "levels.jpg", quality=88)
