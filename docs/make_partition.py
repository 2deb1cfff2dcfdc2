"""Draws a model's instance maps without and with a partition: `python docs/make_partition.py CHECKPOINT [SCENE]`.

The checkpoint is Panoptic-DeepLab's with PISR, trained on scenes; written is images/partition.png.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import torch

from pisr_core.data import build_dataset
from pisr_core.figures.heatmaps import gather_maps
from pisr_core.inference.load import load_model
from pisr_core.visualization.grid import Panel, draw_grid
from pisr_core.visualization.heatmaps import partition_panels
from pisr_core.visualization.overlay import overlay

CHOICES = {"as in footnote 2": ("none", 0.0), "partition, score of 0.1": ("hard", 0.1)}


def main(checkpoint: str, scene: str = "0") -> None:
    """Writes the picture."""
    device = torch.device("cpu")
    model = load_model(checkpoint, device)
    sample = build_dataset(model.config.data, "val", None)[int(scene)]
    panels = []
    for name, (partition, score) in CHOICES.items():
        relation = replace(model.config.relation, partition=partition, instance_score=score)
        model.config = replace(model.config, relation=relation)
        maps = gather_maps(model, sample, device)
        panels.append(Panel(name, overlay(maps.image, sample.panoptic, model.categories)))
        panels += partition_panels(maps)
    path = Path(__file__).parent / "images" / "partition.png"
    draw_grid(path, panels, "annotation, whom a cell goes to, and how many maps it lies in", columns=3)


if __name__ == "__main__":
    main(*sys.argv[1:])
