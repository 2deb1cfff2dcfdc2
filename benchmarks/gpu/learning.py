"""Parts that measure training, and whether a GPU computes what the CPU computes."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch._inductor.config
import training

from gpu.part import Part
from gpu.prediction import dearest, waits
from pisr_core.data import build_dataset
from pisr_core.inference.fast_model import FastModel
from pisr_core.inference.mode import inference
from pisr_core.models import TwoStageModel, build_model
from pisr_core.runtime.devices.arithmetic import arithmetic
from pisr_core.structures import TrainingBatch

ARCHITECTURES = (
    "custom-pdl-r18", "custom-pdl-lite0", "custom-upernet-r18", "custom-maskformer-r18", "custom-pfpn-r18",
)  # fmt: skip

GRAPHED = "bf16, compile, graphs"
"""As compiled, with forward and backward pass as CUDA graphs."""


def batch_of(preset: str, crop: tuple[int, int], count: int) -> tuple[training.Config, TrainingBatch]:
    """A preset's settings and a batch of random images."""
    config = training.settings(preset, crop, count)
    with tempfile.TemporaryDirectory() as folder:
        training.write_images(Path(folder), count)
        return config, next(training.batches(config, build_dataset(config.data, "train", Path(folder))))


def steps(part: Part) -> None:
    """Images a second, memory and waits of steps that wait for no data. The compiled ones, which take minutes, last."""
    presets = {
        "cityscapes-pdl-r50-baseline": (512, 1024),
        "cityscapes-pdl-r50": (512, 1024),
        "scenes-pdl-r18": (128, 128),
    }
    batches = {name: batch_of(name, crop, 8) for name, crop in presets.items()}
    variants = {"fp32": {}, **training.VARIANTS, GRAPHED: training.VARIANTS["bf16, compile"]}
    if part.rehearse:
        batches, variants = {"custom-pdl-r18": batch_of("custom-pdl-r18", (64, 64), 2)}, {"fp32": {}}
    runs = [(preset, how) for preset in batches for how in variants]
    for preset, how in sorted(runs, key=lambda run: ("compile" in run[1], run[1] == GRAPHED)):
        config, batch = batches[preset]
        with torch._inductor.config.patch({"triton.cudagraphs": how == GRAPHED}):
            learner = training.build_learner(config, part.device, **variants[how])
            step = training.step_of(learner, batch)

            def work(step: Callable[[], object] = step) -> None:
                torch.compiler.cudagraph_mark_step_begin()
                step()

            work()
            time = part.milliseconds(work, runs=8, warmup=3)
            count, (height, width) = len(batch.images), batch.images.shape[-2:]
            part.row(
                preset=preset, crop=f"{height}x{width}", batch=count, how=how, ms=time,
                images_a_second=1000 * count / time, mb=part.megabytes(work), waits=waits(part, work),
            )  # fmt: skip
        del learner, step, work


def step_kernels(part: Part) -> None:
    """The dearest kernels of a training step; their sum beside its length tells how busy the card is."""
    preset, crop, count = ("custom-pdl-r18", (64, 64), 2) if part.rehearse else ("cityscapes-pdl-r50", (512, 1024), 8)
    config, batch = batch_of(preset, crop, count)
    work = training.step_of(training.build_learner(config, part.device, precision="bf16"), batch)
    part.row(of="step", kernel="the whole step by the clock", ms=part.milliseconds(work, runs=5, warmup=3))
    dearest(part, "step", work, runs=3)


def agreement(part: Part) -> None:
    """Each architecture on the device and on the CPU: panoptic maps, losses of a step, waits, graphs."""
    side = 64 if part.rehearse else 256
    for name in ARCHITECTURES[: 1 if part.rehearse else None]:
        config, batch = batch_of(name, (side, side), 2)
        torch.manual_seed(0)
        with arithmetic("none"):
            compare_predictions(part, name, build_model(config, training.CATEGORIES).eval(), batch.images)
            host = training.build_learner(config, torch.device("cpu")).step(1, [batch])
            for precision in ("no", "bf16"):
                there = training.build_learner(config, part.device, precision=precision).step(1, [batch])
                losses = {"loss": sum(there.values()), "of_cpu_in_fp32": sum(host.values())}
                part.row(model=name, training=precision, **losses)


def compare_predictions(part: Part, name: str, ours: TwoStageModel, images: torch.Tensor) -> None:
    """A row: equal pixels of both maps, waits on the device, and what a replayed graph changes."""
    theirs, moved = copy.deepcopy(ours).to(part.device), images.to(part.device)
    sizes = [(images.shape[2], images.shape[3])] * len(images)
    graphed = FastModel(theirs)
    with inference(ours), inference(theirs), inference(graphed):
        output = theirs(moved)
        maps = ours.panoptic(ours(images), sizes, sizes), theirs.panoptic(output, sizes, sizes)
        same = [(first.panoptic.ids == second.panoptic.ids).mean() for first, second in zip(*maps, strict=True)]
        eager, *_, replayed = (_logits(graphed(moved)) for _ in range(5))
        changed = float((eager - replayed).abs().max())
        counted = waits(part, lambda: theirs(moved)), waits(part, lambda: theirs.panoptic(output, sizes, sizes))
    part.row(
        model=name,
        equal_pixels=float(np.mean(same)),
        waits_forward=counted[0],
        waits_merging=counted[1],
        graph_changes=changed,
    )


def _logits(output: Any) -> torch.Tensor:
    """A tensor of the final stage that everything has a share in."""
    final = output.final
    return final.semantic.logits if hasattr(final, "semantic") else final.mask_logits
