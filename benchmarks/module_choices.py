"""Decides PISR's open choices: each changed alone, on the frozen features of a trained base.

python benchmarks/module_choices.py runs/scenes-pdl-r18-baseline/last.safetensors
python benchmarks/module_choices.py BASE.safetensors --only default,heads --seeds 5

The base's F, S, M and O are kept for some training scenes and all validation scenes. A relation and one more semantic
head, which starts as the base's, then learn from these alone, so that a run takes seconds and all runs of a seed see
the same scenes. What needs the whole network to learn (the gradient through S and I, γ) is left to `pisr study`.
Printed: the validation scenes' cross entropy and mIoU, mean and standard deviation over the seeds, and the mean
difference from `default` on equal seeds with its standard deviation.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pisr_core.config import RelationConfig
from pisr_core.data import build_dataset
from pisr_core.data.targets import DeepLabTargetGenerator
from pisr_core.engine.device import choose_device
from pisr_core.engine.inference import load_model
from pisr_core.instances import deeplab_instances
from pisr_core.losses.deeplab import hard_pixel_cross_entropy
from pisr_core.models.panoptic_deeplab import PanopticDeepLab
from pisr_core.relations import PISR, Relation, build_relation
from pisr_core.relations.reweighting import Reweighting
from pisr_core.structures import IGNORE_INDEX, DeepLabPrediction, SemanticPrediction

BATCH = 8

Change = Mapping[str, object] | Callable[[PISR], object]
"""Settings that replace those of the relation, or what is done to the module once it is built."""


def random_mixing(relation: PISR) -> None:
    """g_p as convolutions usually start."""
    relation.attention.g_p.reset_parameters()


def unscaled(relation: PISR) -> None:
    """F_sp without its division by the square root of d."""
    relation.attention.g_s.out_features = 1


def rectified_encodings(relation: PISR) -> None:
    """A ReLU after g_s."""
    relation.attention.g_s = nn.Sequential(relation.attention.g_s, nn.ReLU())


def linear_features(relation: PISR) -> None:
    """No ReLU in h."""
    relation.attention.h[2] = nn.Identity()


def omega(hidden: int) -> Callable[[PISR], None]:
    """Another width of the network of ω."""

    def change(relation: PISR) -> None:
        relation.reweighting = Reweighting(relation.attention.g_q.in_features, hidden)

    return change


CHOICES: dict[str, Change] = {
    "default": {},
    "heads": {"name": "heads"},
    "concat": {"name": "concat"},
    "product": {"name": "product"},
    "ocr": {"name": "ocr"},
    "without reweighting": {"reweight": False},
    "area": {"normalization": "area"},
    "no LayerNorm": {"encoding_norm": False},
    "area without LayerNorm": {"normalization": "area", "encoding_norm": False},
    "no residual": {"residual": False},
    "C = 4": {"instance_radius": 4.0},
    "C = 16": {"instance_radius": 16.0},
    "P(thing)": {"thing_mask": "probability"},
    "K = 0": {"top_k": 0},
    "K = 10": {"top_k": 10},
    "d / 2": {"channels": 32},
    "h of 1x1": {"kernel": 1},
    "every second cell": {"encoding_stride": 2},
    "random g_p": random_mixing,
    "F_sp not over √d": unscaled,
    "ReLU after g_s": rectified_encodings,
    "h without ReLU": linear_features,
    "ω of 16": omega(16),
    "ω of 256": omega(256),
}
"""What is tried, by name."""


@dataclass(frozen=True)
class Scenes:
    """What a base says of some scenes, and their classes.

    Attributes:
        features: F in half precision, the bulk of the memory.
        logits: S.
        centers: M.
        offsets: O.
        classes: of each pixel.
    """

    features: Tensor
    logits: Tensor
    centers: Tensor
    offsets: Tensor
    classes: Tensor

    def batch(self, index: Tensor, flip: bool = False) -> tuple[Tensor, DeepLabPrediction, Tensor]:
        """F, the base's predictions and the classes of some scenes, mirrored on request."""
        tensors = (self.features, self.logits, self.centers, self.offsets, self.classes)
        features, logits, centers, offsets, classes = (
            chosen.flip(-1) if flip else chosen for chosen in (tensor[index] for tensor in tensors)
        )
        if flip:
            offsets = offsets * offsets.new_tensor([1, -1])[:, None, None]
        semantic = SemanticPrediction.from_logits(logits.float())
        return features.float(), DeepLabPrediction(semantic, centers, offsets), classes.long()


def look_at(model: PanopticDeepLab, split: str, count: int) -> Scenes:
    """Runs the base once over the first scenes of a split."""
    dataset = build_dataset(model.config.data, split)
    device = model.pixel_mean.device
    targets = DeepLabTargetGenerator(model.config.targets, model.thing_ids)
    parts = []
    with torch.inference_mode():
        for indices in torch.arange(min(count, len(dataset))).split(BATCH):
            samples = [dataset[index] for index in indices.tolist()]
            features, first = model.first_stage(torch.stack([sample.image for sample in samples]).to(device))
            classes = torch.stack([targets(sample.panoptic).semantic for sample in samples]).to(device)
            logits = first.semantic.logits
            parts.append((features.half(), logits.half(), first.center_heatmap, first.offset, classes.byte()))
    return Scenes(*(torch.cat(part) for part in zip(*parts, strict=True)))


def build(model: PanopticDeepLab, change: Change) -> tuple[Relation, RelationConfig]:
    """A relation with one thing changed."""
    shipped = replace(model.config.relation, name="pisr", top_k=64)
    config = shipped if callable(change) else replace(shipped, **change)  # type: ignore[arg-type]
    channels = model.config.deeplab.semantic.channels + model.config.deeplab.instance.channels
    relation = build_relation(channels, len(model.categories), config)
    assert relation is not None
    if callable(change):
        assert isinstance(relation, PISR)
        change(relation)
    return relation, config


def learn(
    model: PanopticDeepLab, train: Scenes, val: Scenes, change: Change, seed: int, steps: int, lr: float
) -> tuple[float, float]:
    """Cross entropy and mIoU after training one choice with one seed."""
    torch.manual_seed(seed)
    relation, config = build(model, change)
    head, share = copy.deepcopy(model.initial_heads.semantic), model.initial_heads.shares[0]

    def logits(features: Tensor, first: DeepLabPrediction, classes: Tensor) -> Tensor:
        k = config.top_k if relation.uses_instances else 0
        maps = deeplab_instances(first, model.thing_ids, k, config.instance_radius, config.thing_mask)
        related = relation(features, first.semantic, maps)
        return F.interpolate(head(related[:, share]), size=classes.shape[-2:], mode="bilinear")

    parts = nn.ModuleList((relation, head)).to(model.pixel_mean.device).requires_grad_(True).train()
    optimizer = torch.optim.AdamW(parts.parameters(), lr=lr, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=0.05)
    order = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        index = torch.randint(len(train.classes), (BATCH,), generator=order)
        features, first, classes = train.batch(index, flip=bool(torch.rand(1, generator=order) < 0.5))
        predicted = logits(features, first, classes)
        hard = model.config.loss.hard_pixel_share
        loss = hard_pixel_cross_entropy(predicted, classes, torch.ones_like(predicted[:, 0]), hard)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parts.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    parts.eval()
    with torch.inference_mode():
        batches = [val.batch(index) for index in torch.arange(len(val.classes)).split(BATCH)]
        return score([(logits(*batch), batch[2]) for batch in batches])


def score(predicted: list[tuple[Tensor, Tensor]]) -> tuple[float, float]:
    """Cross entropy over all labelled pixels, and mIoU, 0-100."""
    logits, classes = (torch.cat(part) for part in zip(*predicted, strict=True))
    loss = F.cross_entropy(logits, classes, ignore_index=IGNORE_INDEX).item()
    labelled, n = classes != IGNORE_INDEX, logits.shape[1]
    pairs = classes[labelled] * n + logits.argmax(dim=1)[labelled]
    table = torch.bincount(pairs, minlength=n * n).view(n, n).double()
    union = table.sum(0) + table.sum(1) - table.diag()
    return loss, 100 * (table.diag() / union)[union > 0].mean().item()


def main() -> None:
    """Prints a row for each choice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path, help="a trained Panoptic-DeepLab without a relation, on the scenes")
    parser.add_argument("--only", help="names of choices with commas between; all without it")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--scenes", type=int, default=2400, help="to learn from")
    parser.add_argument("--lr", type=float, default=0.001)
    parser.add_argument("--device")
    arguments = parser.parse_args()
    names = ["default", *(name for name in (arguments.only or ",".join(CHOICES)).split(",") if name != "default")]
    model = load_model(arguments.base, choose_device(arguments.device))
    assert isinstance(model, PanopticDeepLab), "a Panoptic-DeepLab is needed"
    model.requires_grad_(False)
    train, val = look_at(model, "train", arguments.scenes), look_at(model, "val", 10**9)
    print(f"{len(train.classes)} scenes, {arguments.steps} steps of {BATCH}, seeds 0 to {arguments.seeds - 1}")
    print(f"{'choice':22} {'cross entropy':>16} {'mIoU':>14} {'ΔmIoU':>14} {'s':>5}")
    default: list[float] = []
    for name in names:
        start = time.perf_counter()
        results = [
            learn(model, train, val, CHOICES[name], seed, arguments.steps, arguments.lr)
            for seed in range(arguments.seeds)
        ]
        losses, mious = (list(column) for column in zip(*results, strict=True))
        default = default or mious
        gains = [own - other for own, other in zip(mious, default, strict=True)]
        seconds = (time.perf_counter() - start) / arguments.seeds
        cells = f"{spread(losses, 4):>16} {spread(mious, 2):>14} {spread(gains, 2):>14} {seconds:5.0f}"
        print(f"{name:22} {cells}", flush=True)


def spread(values: list[float], digits: int) -> str:
    """Mean ± standard deviation."""
    deviation = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.{digits}f}{deviation}"


if __name__ == "__main__":
    main()
