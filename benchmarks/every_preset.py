"""Builds every preset at its real widths, takes one training step and predicts, on the CPU.

python benchmarks/every_preset.py --size 128x128 [PRESET …]

The image is a built-in scene; its segments get classes of the preset's dataset. Weights are random.
"""

from __future__ import annotations

import argparse
import resource
import time
from dataclasses import replace

import torch

from pisr_core import presets
from pisr_core.config import Config, ScenesConfig
from pisr_core.data.categories import known_categories
from pisr_core.data.scenes import SCENE_CATEGORIES, SceneDataset
from pisr_core.inference.mode import inference
from pisr_core.models import build_model
from pisr_core.structures import Category, PanopticSegmentation, thing_ids
from pisr_core.training.optimization import build_optimizer


def main() -> None:
    """Prints a row for each preset; stops at the first that fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("presets", nargs="*", default=presets.names())
    parser.add_argument("--size", default="128x128", help="height x width of the two images, pixels")
    arguments = parser.parse_args()
    height, width = map(int, arguments.size.split("x"))
    print(f"{'preset':38} {'parameters':>11} {'loss':>9} {'step':>7} {'predict':>8} {'segments':>8}")
    for name in arguments.presets:
        print(f"{name:38} {row(presets.load(name), (height, width))}", flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{len(arguments.presets)} presets; peak memory {peak:.1f} GiB")


def row(config: Config, size: tuple[int, int]) -> str:
    """One preset's step and prediction."""
    config = replace(config, backbone=replace(config.backbone, pretrained=False))
    categories = classes(config)
    torch.manual_seed(0)
    model = build_model(config, categories)
    optimizer = build_optimizer(model, config.train)
    scenes = SceneDataset(ScenesConfig(size=size), "train")
    samples = [scenes[0], scenes[1]]
    images = padded(torch.stack([sample.image for sample in samples]), model.size_divisor)
    generate = model.target_generator()
    targets = [
        generate(reclassified(sample.panoptic, categories, images.shape[2:]))
        for sample in samples
        if sample.panoptic is not None
    ]
    start = time.perf_counter()
    losses = model.losses(model(images), type(targets[0]).stack(targets))
    loss = torch.stack(list(losses.values())).sum()
    loss.backward()
    optimizer.step()
    step = time.perf_counter() - start
    assert loss.isfinite(), losses
    with inference(model):
        start = time.perf_counter()
        results = model.panoptic(model(images), [size] * 2, [size] * 2)
        predict = time.perf_counter() - start
    assert all(result.panoptic.ids.shape == size for result in results)
    parameters = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    segments = sum(len(result.panoptic.segments) for result in results)
    return f"{parameters:9.2f} M {loss.item():9.2f} {step:5.1f} s {predict:6.1f} s {segments:8}"


def classes(config: Config) -> tuple[Category, ...]:
    """The classes of a preset's dataset; the scenes' where only a user's own files would tell."""
    own = config.data.dataset in ("scenes", "custom")
    return SCENE_CATEGORIES if own else known_categories(config.data.dataset)


def reclassified(
    panoptic: PanopticSegmentation, categories: tuple[Category, ...], padded_size: tuple[int, int]
) -> PanopticSegmentation:
    """The scene's things as some things of other classes, its stuff as some stuff; padding is void."""
    things = thing_ids(categories)
    stuff = tuple(set(range(len(categories))) - set(things))
    segments = tuple(
        replace(segment, category=kind[segment.category % len(kind)])
        for segment in panoptic.segments
        for kind in [things if SCENE_CATEGORIES[segment.category].isthing else stuff]
    )
    ids = torch.zeros(padded_size, dtype=torch.int32)
    ids[: panoptic.ids.shape[0], : panoptic.ids.shape[1]] = torch.from_numpy(panoptic.ids)
    return PanopticSegmentation(ids.numpy(), segments)


def padded(images: torch.Tensor, divisor: int) -> torch.Tensor:
    """Zeros at the bottom and right, up to a multiple of what the model needs."""
    height, width = (-side % divisor for side in images.shape[2:])
    return torch.nn.functional.pad(images, (0, width, 0, height))


if __name__ == "__main__":
    main()
