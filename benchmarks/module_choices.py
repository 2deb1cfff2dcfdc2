"""Relations and PISR's open choices, each changed alone, on the frozen features of a trained base.

python benchmarks/module_choices.py runs/scenes-pdl-r18-baseline/last.safetensors
python benchmarks/module_choices.py BASE.safetensors --data ROOT --only heads,concat,product,ocr --steps 1500

The base's F, S, M and O are kept for some training images and all validation images. A relation and one more semantic
head, which starts as the base's, then learn from these alone; the base's centres and offsets are kept. A run takes a
minute, and all runs of a seed see the same images. What needs the whole network to learn (the gradient through S and
I, γ) is left to `pisr study`. Printed: cross entropy, PQ and mIoU of the validation images, mean and standard
deviation over the seeds, the difference from `--against` on equal seeds, and the chance that ω is larger for a class
that is there than for one that is not, and for a real instance than for a false one. With `--twins` also the share of
the pixels of these classes where the right one of the two is the likelier: what can but be guessed is right in half of
them, where PQ depends on how it is guessed (always the same one, or either).
"""

from __future__ import annotations

import argparse
import copy
import math
import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from module_changes import CHOICES, Change
from scipy.stats import rankdata
from torch import Tensor, nn
from torch.nn import functional as F

from pisr_core.config import LossConfig, RelationConfig, TrainConfig
from pisr_core.data import build_dataset
from pisr_core.data.loading import EvaluationBatch, evaluation_loader
from pisr_core.inference.load import load_model
from pisr_core.metrics.scores import Scores
from pisr_core.models.center_offset.instances import center_instances, what_is_there
from pisr_core.models.center_offset.losses import hard_pixel_cross_entropy
from pisr_core.models.center_offset.merging.panoptic import center_offset_panoptic
from pisr_core.models.center_offset.panoptic_deeplab import PanopticDeepLab
from pisr_core.models.center_offset.structures import CenterOffsetPrediction, CenterOffsetTargets
from pisr_core.models.center_offset.targets import CenterOffsetTargetGenerator
from pisr_core.models.class_weights import class_weights
from pisr_core.relations import Relation, build_relation
from pisr_core.relations.reweighting import reweighting_loss
from pisr_core.runtime.devices.device import choose_device
from pisr_core.structures import IGNORE_INDEX, PanopticSegmentation, SemanticPrediction
from pisr_core.training.optimization import build_optimizer, build_scheduler

BATCH = 8


@dataclass(frozen=True)
class Seen:
    """What a base says of some images of one size, and their annotation.

    Attributes:
        features: F in half precision, the bulk of the memory.
        logits: S.
        centers: M.
        offsets: O.
        targets: of each pixel that the network sees, centres and offsets in half precision.
        input_size: (H, W) that the network sees, without padding.
        panoptic: the annotations, at the images' own size.
    """

    features: Tensor
    logits: Tensor
    centers: Tensor
    offsets: Tensor
    targets: CenterOffsetTargets
    input_size: tuple[int, int]
    panoptic: tuple[PanopticSegmentation, ...]

    def batch(self, index: Tensor, flip: bool = False) -> tuple[Tensor, CenterOffsetPrediction, CenterOffsetTargets]:
        """F, the base's predictions and the targets of some images, mirrored on request."""

        def chosen(maps: Tensor, moved: bool = False) -> Tensor:
            maps = maps[index].flip(-1) if flip else maps[index]
            return maps * maps.new_tensor([1, -1])[:, None, None] if flip and moved else maps

        semantic = SemanticPrediction.from_logits(chosen(self.logits).float())
        first = CenterOffsetPrediction(semantic, chosen(self.centers), chosen(self.offsets, moved=True))
        targets = replace(
            self.targets,
            semantic=chosen(self.targets.semantic).long(),
            center=chosen(self.targets.center),
            offset=chosen(self.targets.offset, moved=True),
        )
        return chosen(self.features).float(), first, targets


def look_at(model: PanopticDeepLab, split: str, root: Path | None, limit: int = 0) -> Seen:
    """Runs the base once over the first images of a split."""
    device = model.pixel_mean.device
    dataset = build_dataset(model.config.data, split, root)
    targets = CenterOffsetTargetGenerator(model.config.targets, model.thing_ids)
    parts, annotations = [], []
    loader = evaluation_loader(
        dataset, model.config.data, BATCH, workers=0, size_divisor=model.size_divisor, limit=limit
    )
    for batch in loader:
        with torch.inference_mode():
            features, first = model.first_stage(batch.images.to(device))
        wanted = [targets(sample.panoptic) for sample in batch.samples]
        maps = (
            on_grid(torch.stack([own.semantic for own in wanted])[:, None].byte(), batch, IGNORE_INDEX)[:, 0],
            on_grid(torch.stack([own.center for own in wanted]), batch).half(),
            on_grid(torch.stack([own.offset for own in wanted]), batch).half(),
        )
        own = (features.half(), first.semantic.logits.half(), first.center_heatmap, first.offset)
        parts.append([tensor.to(device) for tensor in (*own, *maps)])
        annotations += [sample.panoptic for sample in batch.samples]
    *own, classes, centers, offsets = (torch.cat(part) for part in zip(*parts, strict=True))
    nothing = torch.empty(0, device=device)
    seen = CenterOffsetTargets(classes, nothing, centers, nothing, offsets, nothing)
    return Seen(*own, seen, batch.input_sizes[0], tuple(annotations))


def on_grid(maps: Tensor, batch: EvaluationBatch, padding: int = 0) -> Tensor:
    """Targets at the size that the network sees; those of offsets are for images that keep their size."""
    height, width = batch.input_sizes[0]
    resized = F.interpolate(maps, (height, width), mode="nearest")
    return F.pad(resized, (0, batch.images.shape[3] - width, 0, batch.images.shape[2] - height), value=padding)


def build(model: PanopticDeepLab, change: Change) -> tuple[Relation, RelationConfig, LossConfig]:
    """A relation with one thing changed, and the losses that it learns from."""
    settings = {"then": change} if callable(change) else dict(change)
    then: Any = settings.pop("then", None)
    taught = {name.removeprefix("loss."): settings.pop(name) for name in list(settings) if name.startswith("loss.")}
    loss = replace(model.config.loss, **taught)  # type: ignore[arg-type]
    config = replace(model.config.relation, **{"name": "pisr", "top_k": 64, **settings})  # type: ignore[arg-type]
    channels = model.config.deeplab.semantic.channels + model.config.deeplab.instance.channels
    relation = build_relation(channels, len(model.categories), config)
    assert relation is not None
    if then is not None:
        then(relation)
    return relation, config, loss


def learn(
    model: PanopticDeepLab,
    train: Seen,
    val: Seen,
    change: Change,
    seed: int,
    steps: int,
    lr: float,
    weights_of_classes: Tensor | None = None,
    twins: Tensor | None = None,
) -> tuple[float, float, float, float, float, float]:
    """Cross entropy, PQ, mIoU, the twins' share and ω's two chances after training one choice with one seed."""
    torch.manual_seed(seed)
    relation, config, loss_config = build(model, change)
    head, width = copy.deepcopy(model.initial_heads.semantic), model.initial_heads.widths[0]

    def inputs(features: Tensor, first: CenterOffsetPrediction) -> tuple[Tensor, SemanticPrediction, Tensor]:
        k = config.top_k if relation.uses_instances else 0
        return features, first.semantic, center_instances(first, model.things, k, config)

    def enlarged(maps: Tensor, classes: Tensor) -> Tensor:
        return F.interpolate(maps, size=classes.shape[-2:], mode="bilinear")

    parts = nn.ModuleList((relation, head)).to(model.pixel_mean.device).requires_grad_(True).train()
    how = TrainConfig(
        optimizer="adamw", lr=lr, weight_decay=0.01, schedule="cosine", steps=steps, warmup_steps=steps // 20
    )
    optimizer = build_optimizer(parts, how)
    schedule = build_scheduler(optimizer, how)
    order = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        index = torch.randint(len(train.features), (BATCH,), generator=order)
        features, first, targets = train.batch(index, flip=bool(torch.rand(1, generator=order) < 0.5))
        read = inputs(features, first)
        predicted = enlarged(head(relation(*read)[:, :width]), targets.semantic)
        weight = torch.ones_like(predicted[:, 0])
        loss = hard_pixel_cross_entropy(
            predicted, targets.semantic, weight, loss_config.hard_pixel_share, weights_of_classes
        )
        weights = relation.taught_weights(*read) if loss_config.reweighting else None
        if weights is not None:
            there = what_is_there(first, targets, weights.shape[1], config)
            loss = loss + loss_config.reweighting * reweighting_loss(weights, *there)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parts.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    parts.eval()
    losses, right, scores = [], [], Scores(model.categories, instances=False)
    omega = Omega(len(model.categories))
    with torch.inference_mode():
        for index in torch.arange(len(val.features)).split(BATCH):
            features, first, targets = val.batch(index)
            read = inputs(features, first)
            final = replace(first, semantic=SemanticPrediction.from_logits(head(relation(*read)[:, :width])))
            predicted = enlarged(final.semantic.logits, targets.semantic)
            losses.append(F.cross_entropy(predicted, targets.semantic, ignore_index=IGNORE_INDEX).item())
            if twins is not None:
                right.append(right_of_two(predicted, targets.semantic, twins))
            weights = relation.taught_weights(*read)
            if weights is not None:
                omega.add(weights, *what_is_there(first, targets, weights.shape[1], config))
            for place, image in enumerate(index.tolist()):
                truth = val.panoptic[image]
                result = center_offset_panoptic(
                    final, place, val.input_size, truth.ids.shape, model.thing_ids, model.config.merge
                )
                scores.update(image, str(image), result.panoptic, truth, result.semantic)
    result = scores.result(0).to_json()
    pq, miou = result["panoptic"]["all"]["pq"], result["semantic"]["miou"]
    share = torch.cat(right).float().mean().item() if right else math.nan
    return statistics.fmean(losses), pq, miou, 100 * share, *omega.chances()


def right_of_two(logits: Tensor, classes: Tensor, twins: Tensor) -> Tensor:
    """Of each pixel of a class that has a twin, whether it is the likelier of the two.

    Args:
        logits: (b, n, H, W).
        classes: (b, H, W).
        twins: of each class, -1 for none.
    """
    known = classes.where(classes < len(twins), 0)
    other = twins[known].where(classes < len(twins), -1)
    chosen = other >= 0
    own, others = (logits.gather(1, index.clamp(min=0)[:, None])[:, 0] for index in (known, other))
    return (own > others)[chosen]


class Omega:
    """How well ω tells what is there from what is not.

    Args:
        classes: n, its first weights of each image.
    """

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.seen: list[tuple[Tensor, Tensor]] = []
        self.instances: list[tuple[Tensor, Tensor]] = []

    def add(self, weights: Tensor, present: Tensor, counted: Tensor) -> None:
        """Those of a batch, see `reweighting_loss`."""
        n = self.classes
        self.seen.append((weights[:, :n].flatten(), present[:, :n].flatten()))
        chosen = counted[:, n:]
        self.instances.append((weights[:, n:][chosen], present[:, n:][chosen]))

    def chances(self) -> tuple[float, float]:
        """That a class that is there outweighs one that is not, and a real instance a false one; 0.5 tells nothing."""
        return chance(self.seen), chance(self.instances)


def chance(groups: list[tuple[Tensor, Tensor]]) -> float:
    """That a weight of the chosen is larger than one of the others, ties counting half (Mann and Whitney's U)."""
    if not groups:
        return math.nan
    weights, chosen = (torch.cat(part).cpu().numpy() for part in zip(*groups, strict=True))
    if chosen.all() or not chosen.any():
        return math.nan
    count = chosen.sum()
    above = rankdata(weights)[chosen].sum() - count * (count + 1) / 2
    return float(above / (count * (~chosen).sum()))


def main() -> None:
    """Prints a row for each choice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path, help="a trained Panoptic-DeepLab without a relation")
    parser.add_argument("--data", type=Path, help="folder of the datasets")
    parser.add_argument("--only", help="names of choices with commas between; all without it")
    parser.add_argument("--against", default="default", help="the choice that the others are compared with")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--images", type=int, default=2400, help="the first so many to learn from")
    parser.add_argument("--val", type=int, default=0, help="the first so many to score; 0 for all")
    parser.add_argument("--lr", type=float, default=0.001)
    parser.add_argument("--class-weights", default="", help="as in loss.class_weights: boat=3,car=3")
    parser.add_argument("--twins", default="", help="classes that only context tells apart: boat=car,dog=sheep")
    parser.add_argument("--rows", type=Path, help="a CSV for the scores of each run, see paired_tests.py")
    parser.add_argument("--split", default="val", help="what is scored")
    parser.add_argument("--device")
    arguments = parser.parse_args()
    others = (name for name in (arguments.only or ",".join(CHOICES)).split(",") if name != arguments.against)
    names = [arguments.against, *others]
    model = load_model(arguments.base, choose_device(arguments.device))
    assert isinstance(model, PanopticDeepLab), "a Panoptic-DeepLab is needed"
    model.requires_grad_(False)
    factors = dict(pair.split("=") for pair in arguments.class_weights.split(",") if pair)
    loss = replace(model.config.loss, class_weights={name: float(factor) for name, factor in factors.items()})
    weights = class_weights(loss, model.categories)
    weights = None if weights is None else weights.to(model.pixel_mean.device)
    train = look_at(model, "train", arguments.data, arguments.images)
    val = look_at(model, arguments.split, arguments.data, arguments.val)
    twins = twins_of(arguments.twins, [category.name for category in model.categories], model.pixel_mean.device)
    print(f"{len(train.features)} images, {arguments.steps} steps of {BATCH}, seeds 0 to {arguments.seeds - 1}")
    if arguments.rows:
        arguments.rows.write_text("variant,seed,cross_entropy,pq,miou,twins\n")
    columns = " ".join(f"{column:>14}" for column in ("PQ", "mIoU", "twins", "ΔPQ", "ΔmIoU", "Δtwins"))
    print(f"{'choice':22} {'cross entropy':>16} {columns} {'ω classes':>10} {'instances':>10} {'s':>5}")
    against: list[list[float]] | None = None
    for name in names:
        start = time.perf_counter()
        results = [
            learn(model, train, val, CHOICES[name], seed, arguments.steps, arguments.lr, weights, twins)
            for seed in range(arguments.seeds)
        ]
        if arguments.rows:
            with arguments.rows.open("a") as file:
                for seed, row in enumerate(results):
                    file.write(f"{name},{seed},{','.join(f'{value:.4f}' for value in row[:4])}\n")
        losses, *scores, omega, instances = (list(column) for column in zip(*results, strict=True))
        against = against or scores
        gains = [
            [own - other for own, other in zip(values, reference, strict=True)]
            for values, reference in zip(scores, against, strict=True)
        ]
        seconds = (time.perf_counter() - start) / arguments.seeds
        cells = " ".join(f"{spread(values, 2):>14}" for values in (*scores, *gains))
        told = " ".join(f"{statistics.fmean(values):>10.3f}" for values in (omega, instances))
        print(f"{name:22} {spread(losses, 4):>16} {cells} {told} {seconds:5.0f}", flush=True)


def twins_of(pairs: str, names: list[str], device: torch.device) -> Tensor | None:
    """The position of each class's twin, -1 for none; `None` without any."""
    if not pairs:
        return None
    twins = torch.full((len(names),), -1, device=device)
    for first, second in (map(names.index, pair.split("=")) for pair in pairs.split(",")):
        twins[first], twins[second] = second, first
    return twins


def spread(values: list[float], digits: int) -> str:
    """Mean ± standard deviation."""
    told = len(values) > 1 and not any(map(math.isnan, values))  # twins are not, where none are named
    deviation = f" ± {statistics.stdev(values):.{digits}f}" if told else ""
    return f"{statistics.fmean(values):.{digits}f}{deviation}"


if __name__ == "__main__":
    main()
