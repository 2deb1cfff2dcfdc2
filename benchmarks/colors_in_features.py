"""Whether F still holds what a thing looks like: its mean colour, read from the mean of F over it by a linear map.

python benchmarks/colors_in_features.py runs/base/last.safetensors --limit 400

The map is fitted to annotated things of training images, which the network sees at their own size, as it does scenes,
and tried on those of the validation split. For red, green and blue, within 0 to 1: the colours' own standard deviation,
that of the error, and the share of the variance explained. The error is what `comparing_instances.py --noise` takes,
which says how well a relation could then tell look-alikes apart.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from pisr_core.data import build_dataset
from pisr_core.data.loading import evaluation_batch
from pisr_core.inference.load import load_model
from pisr_core.models import TwoStageModel
from pisr_core.relations.encodings import panoptic_encodings
from pisr_core.runtime.devices.device import choose_device
from pisr_core.structures import PanopticDataset

RIDGE = 1.0


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", type=Path, help="folder of the datasets")
    parser.add_argument("--limit", type=int, default=400, help="training images; half as many of validation")
    parser.add_argument("--device")
    arguments = parser.parse_args()
    device = choose_device(arguments.device)
    model: TwoStageModel = load_model(arguments.checkpoint, device)
    splits = [build_dataset(model.config.data, split, arguments.data) for split in ("train", "val")]
    limits = arguments.limit, max(1, arguments.limit // 2)
    (features, colors), (unseen, truth) = (things(model, device, *pair) for pair in zip(splits, limits, strict=True))
    mean, spread = features.mean(dim=0), features.std(dim=0).clamp(min=1e-6)
    features, unseen = (F.pad((rows - mean) / spread, (0, 1), value=1.0) for rows in (features, unseen))
    solved = torch.linalg.solve(features.T @ features + RIDGE * torch.eye(features.shape[1]), features.T @ colors)
    error = (unseen @ solved - truth).square().mean(dim=0)
    variance = truth.var(dim=0, correction=0)
    print(f"{len(features)} things to fit to, {len(unseen)} to try; rank of F over them {rank(features)}")
    for name, values in {
        "spread of the colours": variance.sqrt(),
        "error": error.sqrt(),
        "explained": 1 - error / variance,
    }.items():
        print(f"{name:22}", *(f"{value:6.3f}" for value in values.tolist()))


@torch.no_grad()
def things(model: TwoStageModel, device: torch.device, dataset: PanopticDataset, limit: int) -> tuple[Tensor, Tensor]:
    """The mean of F, and the mean colour, over each annotated thing that covers a cell at least."""
    features, colors = [], []
    for index in range(min(limit, len(dataset))):
        sample = dataset[index]
        assert sample.panoptic is not None
        batch = evaluation_batch([sample], model.config.data, model.size_divisor)
        maps = model.first_stage(batch.images.to(device))[0].cpu()
        ids = [s.id for s in sample.panoptic.segments if s.category in model.thing_ids and not s.iscrowd]
        masks = (torch.from_numpy(sample.panoptic.ids) == torch.tensor(ids)[:, None, None]).float()[None]
        padding = [0, batch.images.shape[3] - masks.shape[3], 0, batch.images.shape[2] - masks.shape[2]]
        cells = F.interpolate(F.pad(masks, padding), size=tuple(maps.shape[2:]), mode="area")
        pixels = sample.image[None].float() / 255
        seen = cells.sum(dim=(0, 2, 3)) >= 1
        features.append(panoptic_encodings(cells[:, :0], cells, maps)[0][0, seen])
        colors.append(panoptic_encodings(masks[:, :0], masks, pixels)[0][0, seen])
    return torch.cat(features), torch.cat(colors)


def rank(rows: Tensor) -> int:
    """How many directions hold 99 % of the variance."""
    variances = torch.linalg.svdvals(rows - rows.mean(dim=0)).square()
    return int((variances.cumsum(0) / variances.sum() < 0.99).sum()) + 1


if __name__ == "__main__":
    main()
