"""How often things change their ids in films of scenes, without and with tracking.

python benchmarks/tracking.py
python benchmarks/tracking.py --checkpoint runs/first/best.safetensors --films 20 --frames 50

Without a checkpoint the annotation stands for a network that makes no mistake, but numbers each frame's segments anew.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from pisr_core.config import ScenesConfig
from pisr_core.data.scenes import SCENE_CATEGORIES
from pisr_core.data.scenes.films import SceneFilm
from pisr_core.inference.load import load_model
from pisr_core.inference.mode import inference
from pisr_core.inference.predict import predict_sample
from pisr_core.inference.tracking import MEMORY, Tracker
from pisr_core.metrics.films import FilmResult, FilmScores
from pisr_core.models import PanopticModel
from pisr_core.structures import PanopticSegmentation, Sample
from pisr_core.structures.renumbering import renumbered

Predict = Callable[[Sample], PanopticSegmentation]


def main() -> None:
    """Prints a line for frames on their own and for each memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--films", type=int, default=20)
    parser.add_argument("--frames", type=int, default=50)
    arguments = parser.parse_args()
    if arguments.checkpoint is None:
        results = scored(arguments.films, arguments.frames, numbered_anew)
    else:
        model: PanopticModel = load_model(arguments.checkpoint, torch.device("cpu"))
        with inference(model):
            predict = lambda sample: predict_sample(model, sample, torch.device("cpu"))  # noqa: E731
            results = scored(arguments.films, arguments.frames, predict)
    print(f"{'tracking':24} {'switches':>8} {'VPQ':>6} {'STQ':>6} {'AQ':>6}")
    for name, result in results.items():
        print(f"{name:24} {result.id_switches:8} {result.vpq:6.1f} {result.stq:6.1f} {result.aq:6.1f}")


def scored(films: int, frames: int, predict: Predict) -> dict[str, FilmResult]:
    """The scores of the same predictions with their own ids, and after tracking with and without a memory."""
    memories = {"none": None, "of the last frame": 1, f"of {MEMORY} frames": MEMORY}
    scores = {name: FilmScores(SCENE_CATEGORIES) for name in memories}
    for index in range(films):
        trackers = {name: Tracker(SCENE_CATEGORIES, memory) for name, memory in memories.items() if memory}
        for counted in scores.values():
            counted.begin_film()
        for sample in SceneFilm(ScenesConfig(), "val", index).frames(frames):
            assert sample.panoptic is not None
            prediction = predict(sample)
            for name, counted in scores.items():
                tracked = trackers[name].update(prediction) if name in trackers else prediction
                counted.update(tracked, sample.panoptic)
    return {name: counted.result() for name, counted in scores.items()}


def numbered_anew(sample: Sample) -> PanopticSegmentation:
    """The annotation with ids from 1 in an order by chance."""
    assert sample.panoptic is not None
    segments = sample.panoptic.segments
    order = np.random.default_rng(int(sample.image_id)).permutation(len(segments)) + 1
    return renumbered(sample.panoptic, {s.id: int(i) for s, i in zip(segments, order, strict=True)})


if __name__ == "__main__":
    main()
