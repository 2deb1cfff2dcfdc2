"""Prints what small models compute on the CPU and on a pretended device, as JSON: training, prediction, heatmaps.

python on_pretend_device.py '{"a": ["scenes-pdl-r18", "relation.top_k=3"]}'
"""

import json
import sys
import traceback
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pretend_device
import torch
from pretend_device import DEVICE, PretendDevice

from pisr_core import presets
from pisr_core.data import build_dataset
from pisr_core.data.loading import collate, evaluation_loader
from pisr_core.figures.heatmaps import gather_maps
from pisr_core.inference.fast_model import FastModel
from pisr_core.models import build_model
from pisr_core.training.learner import Learner

torch.inference_mode = lambda *_: torch.no_grad()  # the pretended tensors have no place in the former

SCENES = presets.load("scenes-pdl-r18", ["data.crop=[64,64]", "data.scenes.size=[64,64]", "data.workers=0"]).data
TRAIN = [
    "backbone.pretrained=false",
    "train.batch_size=2",
    "train.warmup_steps=0",
    "train.clip_norm=1",
    "train.ema=0.5",
]


def accelerator(device):
    """Accelerate's own would look for hardware."""
    return SimpleNamespace(
        device=device,
        num_processes=1,
        process_index=0,
        scaler=None,
        prepare=lambda *parts: parts,
        autocast=nullcontext,
        backward=lambda loss: loss.backward(),
        clip_grad_norm_=torch.nn.utils.clip_grad_norm_,
    )


def results(device, preset, *settings):
    config = replace(presets.load(preset, [*TRAIN, *settings]), data=SCENES)
    dataset = build_dataset(config.data, "train", None)
    torch.manual_seed(0)
    model = build_model(config, dataset.categories)
    samples, targets = [dataset[0], dataset[1]], model.target_generator()
    batch = collate([(sample.image, targets(sample.panoptic), (0, i)) for i, sample in enumerate(samples)])
    learner = Learner(model, config.train, accelerator(device))
    first = learner.step(1, [batch])
    pretend_device.waits.clear()
    losses, waits = [first, learner.step(2, [batch])], [dict(pretend_device.waits)]
    model = learner.evaluated.eval()
    images = next(iter(evaluation_loader(dataset, config.data, 2, workers=0, size_divisor=model.size_divisor, limit=2)))
    maps, sizes = [], [sample.image.shape[1:] for sample in images.samples]
    with torch.no_grad():
        for one in (model, FastModel(model)):
            pretend_device.waits.clear()
            output = one(images.images.to(device, non_blocking=True))
            waits.append(dict(pretend_device.waits))
            pretend_device.waits.clear()
            maps.append([result.panoptic for result in one.panoptic(output, images.input_sizes, sizes)])
            waits.append(dict(pretend_device.waits))
    seen = gather_maps(model, samples[0], device)
    return {
        "losses": losses,
        "waits": dict(zip(("step", "forward", "merging", "forward fast", "merging fast"), waits, strict=True)),
        "maps": [[[s.category, s.area] for s in panoptic.segments] for group in maps for panoptic in group],
        "heatmaps": [stage.classes.double().sum(dim=(1, 2)).tolist() for stage in (seen.encoded, seen.final)],
    }


def compared(preset, *settings):
    """The results on the CPU and on the pretended device, or why there are none."""
    try:
        on_cpu = results(torch.device("cpu"), preset, *settings)
        with PretendDevice():
            return {"cpu": on_cpu, "pretended": results(DEVICE, preset, *settings)}
    except Exception:
        return {"error": traceback.format_exc()}


if __name__ == "__main__":
    print(json.dumps({name: compared(*run) for name, run in json.loads(sys.argv[1]).items()}))
