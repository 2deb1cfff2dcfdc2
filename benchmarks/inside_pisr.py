"""What a trained PISR does inside: which categories ω keeps (Sec. 3.3), how much F_pan changes, what it mends.

python benchmarks/inside_pisr.py studies/table5/runs/pisr-seed*/last.safetensors --data ROOT --limit 100

One row for each checkpoint, over the validation images, all on the stride-4 grid:

ω of classes      mean over the classes that the annotation of an image has, and over those that it has not
ω of instances    mean over the maps that match an annotated thing, over the others that hold anything (false and
                  double centres), and over empty maps. A map matches the thing that it overlaps by more than half
                  (IoU, the map taken where it is at least 0.5), if no more confident map has matched it
F_pan / F         standard deviation of what the relation adds over that of F
right             share of annotated cells whose class is right after the first and after the final stage
P                 mean probability of the annotated class after the first and after the final stage: whether the class
                  heatmaps sharpen (Fig. 4)
maps, overlap     instance maps that hold anything, an image; and in how many of them (more than a quarter) a cell lies
                  that lies in any
cosines           mean between the encodings of two instances whose maps hold something, and of two classes
changed, mended   share of cells whose class the final stage changes, and how many of these were wrong and become right

After each mean, in brackets: the chance that a present category has the larger weight than an absent one (0.5: ω does
not tell them apart), likewise for matching against false maps. Any relation with final heads can be given to compare;
what only PISR has stays empty.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor, nn
from torch.nn import functional as F

from pisr_core.data import build_dataset
from pisr_core.figures.heatmaps import gather_maps
from pisr_core.inference.load import load_model
from pisr_core.models import TwoStageModel
from pisr_core.relations import PISR
from pisr_core.runtime.devices.device import choose_device
from pisr_core.structures import IGNORE_INDEX, PanopticDataset, PanopticSegmentation
from pisr_core.visualization.presence import Presence, on_grid, presence
from pisr_core.visualization.stages import ImageMaps

ROW = "{:20} {:>12} {:>6} {:>12} {:>6} {:>6} {:>7} {:>7} {:>7} {:>6} {:>6} {:>7} {:>7} {:>5} {:>7} {:>6} {:>6}"
"""The columns."""


def main() -> None:
    """Prints a row for each checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", type=Path, nargs="+", help="trained models")
    parser.add_argument("--data", type=Path, help="folder of the datasets")
    parser.add_argument("--limit", type=int, default=0, help="images; 0 for all of the validation split")
    parser.add_argument("--device")
    arguments = parser.parse_args()
    device = choose_device(arguments.device)
    columns = "ω: present|absent|match|false|empty|F_pan/F|right|finally|P|P'|changed|mended|maps|overlap|cos I|cos S"
    print(ROW.format("", *columns.split("|")))
    for path in arguments.checkpoints:
        model = load_model(path, device)
        dataset = build_dataset(model.config.data, "val", arguments.data)
        print(ROW.format(path.parent.name, *inside(model, dataset, arguments.limit, device)), flush=True)


def inside(model: TwoStageModel, dataset: PanopticDataset, limit: int, device: torch.device) -> list[str]:
    """The columns of a model."""
    relation = model.relation
    assert relation is not None, "relation.name = 'none': a model with final heads is needed"
    weights: dict[str, list[float]] = defaultdict(list)
    spreads: list[float] = []
    apart = Apart()
    cells: Counter[str] = Counter()

    def record(module: nn.Module, inputs: Sequence[Tensor], output: Tensor) -> None:
        if isinstance(module, PISR):
            features = inputs[0]
            added = output - features if module.config.residual else output
            spreads.append((added.std() / features.std()).item())
            apart.add(module.weighted_encodings(*inputs)[0][0], inputs[2][0])

    handle = relation.register_forward_hook(record)
    for index in range(min(limit or len(dataset), len(dataset))):
        sample = dataset[index]
        assert sample.panoptic is not None
        maps = gather_maps(model, sample, device)
        truth = on_grid(maps, sample.panoptic)
        if maps.weights is not None:
            there = presence(maps, model.categories, sample.panoptic, dataset.categories)
            sort_weights(maps.weights, there, weights)
        cells.update(count_cells(maps, truth, sample.panoptic))
    handle.remove()
    present, absent = weights["present"], weights["absent"]
    match, false = weights["match"], weights["false"]
    return [
        f"{mean(present)} ({larger(present, absent)})",
        mean(absent),
        f"{mean(match)} ({larger(match, false)})",
        mean(false),
        mean(weights["empty"]),
        f"{np.mean(spreads):.2f}" if spreads else "–",
        *(f"{cells[name] / cells['annotated']:.2%}" for name in ("right at first", "right in the end")),
        *(f"{cells[name] / cells['annotated']:.3f}" for name in ("P", "P'")),
        f"{cells['changed'] / cells['annotated']:.2%}",
        f"{cells['mended'] / max(cells['changed'], 1):.2%}",
        *apart.columns(),
    ]


class Apart:
    """Whether instances are told apart: their maps, and what is encoded of them."""

    def __init__(self) -> None:
        self.maps: list[float] = []
        self.overlaps: list[float] = []
        self.cosines: dict[str, list[float]] = {"instances": [], "classes": []}

    def add(self, encodings: Tensor, instances: Tensor) -> None:
        """An image's Ẽ, whose positive weights no cosine sees, and I."""
        n = len(encodings) - len(instances)
        held = instances.flatten(1).amax(dim=1) > 0
        self.maps.append(float(held.sum()))
        inside = (instances > 0.25).sum(dim=0)
        self.overlaps += inside[inside > 0].flatten().tolist()
        for name, rows in {"instances": encodings[n:][held], "classes": encodings[:n]}.items():
            unit = F.normalize(rows, dim=1)
            above = torch.triu(torch.ones(len(unit), len(unit)), diagonal=1).bool()
            self.cosines[name] += (unit @ unit.T).cpu()[above].tolist()

    def columns(self) -> list[str]:
        """For the table."""
        if not self.maps:
            return ["–"] * 4
        means = (f"{np.mean(values):.2f}" if values else "–" for values in (self.overlaps, *self.cosines.values()))
        return [f"{np.mean(self.maps):.1f}", *means]


def sort_weights(omega: Tensor, there: Presence, weights: dict[str, list[float]]) -> None:
    """Adds an image's ω to the group of each category."""
    kinds = ["present" if present else "absent" for present in there.classes]
    for kind, weight in zip([*kinds, *there.instances], omega.tolist(), strict=True):
        weights[kind].append(weight)


def count_cells(maps: ImageMaps, truth: Tensor, panoptic: PanopticSegmentation) -> dict[str, float]:
    """How many cells are annotated, right, changed and mended, and the sums of the annotated class's probability."""
    classes = torch.full((max((s.id for s in panoptic.segments), default=0) + 1,), IGNORE_INDEX)
    for segment in panoptic.segments:
        classes[segment.id] = segment.category
    wanted = F.pad(classes, (0, 1), value=IGNORE_INDEX)[truth]  # -1 is the last place
    known = wanted != IGNORE_INDEX
    rows = torch.where(known, wanted, 0)[None]
    before, after = (stage.classes.cpu() for stage in (maps.encoded, maps.final))
    first, final = before.argmax(dim=0), after.argmax(dim=0)
    groups = {
        "annotated": known,
        "right at first": (first == wanted) & known,
        "right in the end": (final == wanted) & known,
        "P": before.gather(0, rows)[0] * known,
        "P'": after.gather(0, rows)[0] * known,
        "changed": (first != final) & known,
        "mended": (first != final) & (final == wanted) & known,
    }
    return {name: float(group.sum()) for name, group in groups.items()}


def mean(values: Sequence[float]) -> str:
    """For the table."""
    return f"{np.mean(values):.3f}" if values else "–"


def larger(high: Sequence[float], low: Sequence[float]) -> str:
    """The chance that one of the first is larger than one of the second, ties counting half (Mann and Whitney's U)."""
    if not high or not low:
        return "–"
    ranks = rankdata([*high, *low])[: len(high)].sum()
    return f"{(ranks - len(high) * (len(high) + 1) / 2) / (len(high) * len(low)):.2f}"


if __name__ == "__main__":
    main()
