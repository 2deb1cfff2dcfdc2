"""Draws whom the instances of some scenes ask: `python docs/make_asking.py CHECKPOINT SCENE SCENE …`.

The checkpoint has `relation.attention = "categories"` and was trained on scenes; written is images/asking.png.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from pisr_core.data import build_dataset
from pisr_core.figures.heatmaps import gather_maps
from pisr_core.inference.load import load_model
from pisr_core.visualization.grid import Panel, draw_grid
from pisr_core.visualization.heatmaps import question_panels
from pisr_core.visualization.overlay import overlay


def main(checkpoint: str, *scenes: str) -> None:
    """Writes the picture."""
    device = torch.device("cpu")
    model = load_model(checkpoint, device)
    dataset = build_dataset(model.config.data, "val", None)
    asking, found = [], []
    for scene in scenes:
        maps = gather_maps(model, dataset[int(scene)], device)
        asking += question_panels(maps, len(model.categories))
        found.append(Panel("predicted", overlay(maps.image, maps.panoptic, model.categories)))
    title = "an arrow leads from each instance to the one that it takes most from, the clearer the more"
    draw_grid(Path(__file__).parent / "images" / "asking.png", [*asking, *found], title, columns=len(scenes))


if __name__ == "__main__":
    main(*sys.argv[1:])
