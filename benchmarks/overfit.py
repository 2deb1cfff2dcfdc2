"""Overfits a few images with each architecture, with and without PISR, and prints the panoptic quality reached.

python benchmarks/overfit.py ROOT [--split val] [--images 2] [--steps 400] [--size 320x448] [--out runs/overfit]

ROOT holds `annotations/panoptic_SPLIT.json`, its PNGs and the images (or COCO's own layout). The JSON is cut to the
classes that occur. A model that cannot say what the annotation says, in targets, losses or merging, shows here. Runs
that are already in the folder are continued.
"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import replace
from pathlib import Path

from pisr_core import presets
from pisr_core.config import Config, DataConfig, check_choice
from pisr_core.data import build_dataset
from pisr_core.data.coco.dataset import CocoPanopticDataset
from pisr_core.data.coco.files import CocoPanopticWriter
from pisr_core.structures import PanopticSegmentation
from pisr_core.training.listeners import StepRecord, TrainListener
from pisr_core.training.train import train

LEARNING_RATES = {"pdl": 1e-3, "upernet": 1e-3, "pfpn": 4e-4, "maskformer": 3e-4}


class Progress(TrainListener):
    """Says every fifty steps where a run is."""

    def on_step(self, record: StepRecord) -> None:
        """Prints the loss."""
        if record.step % 50 == 0:
            print(f"    step {record.step}: loss {record.loss:.3f}", flush=True)


def main() -> None:
    """Prints a row for each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--dataset", default="coco", help="coco or custom: the layout of ROOT")
    parser.add_argument("--split", default="val")
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--size", default="320x448", help="height x width of the training crop, pixels")
    parser.add_argument("--architectures", default="pdl,upernet,pfpn,maskformer")
    parser.add_argument("--out", type=Path, default=Path("runs/overfit"))
    arguments = parser.parse_args()
    height, width = map(int, arguments.size.split("x"))
    data = arguments.out / "data"
    write_subset(data, arguments.root, arguments.dataset, arguments.split, arguments.images)
    print(f"{'architecture':12} {'relation':8} {'PQ':>5} {'things':>6} {'stuff':>5} {'mIoU':>5} {'steps':>5}  lowest")
    for architecture in arguments.architectures.split(","):
        check_choice("--architectures", architecture, tuple(LEARNING_RATES))
        for relation in ("none", "pisr"):
            config = settings(architecture, relation, (height, width), arguments.steps)
            folder = arguments.out / f"{architecture}-{relation}"
            train(config, data, folder, resume=(folder / "state").exists(), listeners=(Progress(),))
            print(f"{architecture:12} {relation:8} {scores(folder, data)}", flush=True)


def settings(architecture: str, relation: str, size: tuple[int, int], steps: int) -> Config:
    """The small preset of an architecture without augmentation or regularisation."""
    config = presets.load(f"custom-{architecture}-r18")
    return replace(
        config,
        backbone=replace(config.backbone, pretrained=False),
        # Plain convolutions: they train in bfloat16 on the CPU too.
        deeplab=replace(config.deeplab, depthwise_separable=False),
        upernet=replace(config.upernet, depthwise_separable=False),
        maskformer=replace(config.maskformer, dropout=0.0),
        relation=replace(config.relation, name=relation),
        loss=replace(config.loss, offset=0.05),
        targets=replace(config.targets, sigma=4.0),
        merge=replace(config.merge, stuff_area=0.0001),
        data=replace(
            config.data,
            crop=size,
            short_side=(size[0],),
            max_long_side=size[1],
            scale=(1.0, 1.0),
            flip=0.0,
            color=0.0,
            eval_short_side=size[0],
            eval_max_long_side=size[1],
            workers=1,
        ),
        train=replace(
            config.train,
            steps=steps,
            batch_size=2,
            optimizer="adamw",
            lr=LEARNING_RATES[architecture],
            weight_decay=0.0,
            schedule="cosine",
            milestones=(),
            warmup_steps=20,
            ema=0.95,
            eval_every=steps,
            save_every=100,
            precision="bf16",
        ),
    )


def write_subset(out: Path, root: Path, dataset_name: str, split: str, count: int) -> None:
    """The first images with the classes that occur in them, as both splits of a dataset of its own."""
    dataset = build_dataset(DataConfig(dataset=dataset_name), split, root)
    assert isinstance(dataset, CocoPanopticDataset), "only datasets on disk"
    samples = [dataset[index] for index in range(min(count, len(dataset)))]
    maps = [sample.panoptic for sample in samples if sample.panoptic is not None]
    present = sorted({segment.category for panoptic in maps for segment in panoptic.segments})
    categories = tuple(dataset.categories[index] for index in present)
    for part in ("train", "val"):
        json_path = out / "annotations" / f"panoptic_{part}.json"
        (out / part).mkdir(parents=True, exist_ok=True)
        with CocoPanopticWriter(json_path, json_path.with_suffix(""), categories) as writer:
            for image, sample, panoptic in zip(dataset.file.images, samples, maps, strict=False):
                segments = (replace(s, category=present.index(s.category)) for s in panoptic.segments)
                writer.add(sample.image_id, sample.file_name, PanopticSegmentation(panoptic.ids, tuple(segments)))
                (out / part / sample.file_name).write_bytes(dataset.image_path(image).read_bytes())


def scores(folder: Path, data: Path) -> str:
    """What the last evaluation of a run says."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    last = [line for line in lines if "evaluation" in line][-1]
    names = {str(c.id): c.name for c in build_dataset(DataConfig(dataset="custom"), "val", data).categories}
    panoptic, classes = last["evaluation"]["panoptic"], last["evaluation"]["panoptic"]["per_class"]
    worst = min(classes, key=lambda key: classes[key]["pq"])
    numbers = [panoptic[group]["pq"] for group in ("all", "things", "stuff")] + [last["evaluation"]["semantic"]["miou"]]
    row = " ".join(f"{number:{width}.1f}" for number, width in zip(numbers, (5, 6, 5, 5), strict=True))
    return f"{row} {last['step']:5}  {names[worst]} {classes[worst]['pq']:.1f}"


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    main()
