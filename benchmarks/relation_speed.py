"""PISR's share of a model's latency beside its share of the multiply-accumulates, part by part.

python benchmarks/relation_speed.py --size 512x1024
python benchmarks/relation_speed.py --size 1024x2048 --precision bf16 --device cuda
python benchmarks/relation_speed.py --preset cityscapes-pdl-r50-lean --set relation.channels=64

Random weights, one image, the second stage's parts called one after another as the model calls them; medians.
`benchmarks/relation_cost.py` compares whole models with their bases, of all architectures.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import torch

from pisr_core import presets
from pisr_core.data.categories import known_categories
from pisr_core.inference.fast_model import FastModel
from pisr_core.inference.mode import inference
from pisr_core.models import build_model
from pisr_core.models.center_offset.model import CenterOffsetModel
from pisr_core.profiling.operations import count_operations
from pisr_core.profiling.speed import timed
from pisr_core.runtime.devices.device import choose_device

BASE = ("backbone", "decoder", "initial heads")


def main() -> None:
    """Prints a row for each part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="cityscapes-pdl-r50")
    parser.add_argument("--set", action="append", default=[], dest="settings", help="as in `pisr train`")
    parser.add_argument("--size", default="512x1024", help="height x width, pixels")
    parser.add_argument("--precision", default="no", help="no, bf16, fp16")
    parser.add_argument("--device")
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    height, width = map(int, arguments.size.split("x"))
    device = choose_device(arguments.device)
    config = presets.load(arguments.preset, ["backbone.pretrained=false", *arguments.settings])
    plain = build_model(config, known_categories(config.data.dataset)).to(device).eval().requires_grad_(False)
    images = torch.rand(1, 3, height, width, device=device) * 255
    macs = {name: part.macs / 1e9 for name, part in count_operations(plain, images).parts.items()}
    fast = FastModel(plain, arguments.precision)
    with inference(fast), torch.autocast(device.type, dtype=fast.dtype, enabled=fast.dtype is not None):
        times = latencies(fast.model, images, arguments.runs)
    macs = {
        "base": sum(macs[name] for name in BASE),
        "instance maps": 0.0,
        "encodings and ω": macs["encodings"],
        "attention": macs["attention"],
        "final heads": macs["final heads"],
    }
    print(f"{arguments.preset}, {arguments.size}, {arguments.precision}, {device}, {torch.get_num_threads()} threads")
    print(f"{'part':18} {'ms':>9} {'share':>7} {'GMAC':>8} {'share':>7}")
    rows = {**{name: (times[name], macs[name]) for name in times}}
    added = rows["added to the base"] = tuple(sum(column) for column in zip(*list(rows.values())[1:], strict=True))
    for name, (milliseconds, gmacs) in rows.items():
        shares = milliseconds / sum(times.values()), gmacs / sum(macs.values())
        print(f"{name:18} {milliseconds:9.1f} {shares[0]:7.1%} {gmacs:8.1f} {shares[1]:7.1%}")
    print(f"of the base's own: latency {added[0] / rows['base'][0]:.1%}, MACs {added[1] / rows['base'][1]:.1%}")


def latencies(model: CenterOffsetModel, images: torch.Tensor, runs: int) -> dict[str, float]:
    """Median milliseconds of the parts of a forward pass."""
    images = images.contiguous(memory_format=torch.channels_last)
    times: dict[str, list[float]] = {}

    def part(name: str, work: Callable[[], Any]) -> Any:
        milliseconds, result = timed(work, images.device)
        times.setdefault(name, []).append(milliseconds)
        return result

    relation = model.relation
    for _ in range(runs + 1):
        features, initial = part("base", lambda: model.first_stage(images))
        maps = part("instance maps", lambda i=initial: model.instances(i))
        inputs = features, initial.semantic, maps
        encodings, _ = part("encodings and ω", lambda x=inputs: relation.weighted_encodings(*x))
        relational = part(
            "attention", lambda f=features, e=encodings: f + relation.feature_norm(relation.attention(e, f))
        )
        part("final heads", lambda r=relational, i=initial: model.final_heads(r, i))
    return {name: statistics.median(values[1:]) for name, values in times.items()}


if __name__ == "__main__":
    main()
