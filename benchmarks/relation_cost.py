"""What PISR adds to each architecture: parameters, multiply-accumulates and latency, as ratios to the base.

python benchmarks/relation_cost.py --size 512x512 --device cpu

Real widths, random weights, one image; forward alone, without merging. Base and PISR are timed in turn, and medians
compared; --processor counts processor time, for a CPU that is busy with other work. Multiply-accumulates leave out
norms and resizing; `pisr flops` has them, and the parts.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import torch
from timing import milliseconds

from pisr_core import presets
from pisr_core.data.categories import known_categories
from pisr_core.inference.mode import inference
from pisr_core.models import PanopticModel, build_model
from pisr_core.profiling.operations import count_operations
from pisr_core.runtime.devices.device import choose_device

PRESETS = ("coco-pdl-r50", "coco-pfpn-r50", "coco-maskformer-r50", "coco-upernet-swinl")


def main() -> None:
    """Prints a row for each architecture and order of the attention's products."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("presets", nargs="*", default=PRESETS)
    parser.add_argument("--size", default="512x512", help="height x width, pixels")
    parser.add_argument("--device")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--processor", action="store_true")
    arguments = parser.parse_args()
    height, width = map(int, arguments.size.split("x"))
    device = choose_device(arguments.device)
    images = torch.rand(1, 3, height, width, device=device) * 255
    print(f"{'preset':24} {'order':8} {'parameters':>18} {'GMAC':>16} {'latency ms':>16} {'ratio':>6}")
    for name in arguments.presets:
        base = build(name, device, name="none")
        for order in ("fused", "literal"):
            model = build(name, device, fused=order == "fused")
            own, added = millions(base), millions(model) - millions(base)
            macs, more = gmacs(base, images), gmacs(model, images) - gmacs(base, images)
            ours, theirs = latencies(model, base, images, arguments.runs, arguments.processor)
            parameters, work = f"{own:.2f} + {added:.2f} M", f"{macs:.1f} + {more:.1f}"
            times = f"{theirs:.0f} + {ours - theirs:.0f}"
            print(f"{name:24} {order:8} {parameters:>18} {work:>16} {times:>16} {ours / theirs:6.2f}", flush=True)


def build(preset: str, device: torch.device, **relation: object) -> PanopticModel:
    """A preset's model with random weights and some settings of its relation changed."""
    config = presets.load(preset)
    config = replace(
        config,
        backbone=replace(config.backbone, pretrained=False),
        relation=replace(config.relation, **relation),  # type: ignore[arg-type]
    )
    model = build_model(config, known_categories(config.data.dataset)).to(device).eval()
    return model.requires_grad_(False)  # the counter follows gradients where there are any


def millions(model: PanopticModel) -> float:
    """Parameters / 10⁶."""
    return sum(parameter.numel() for parameter in model.parameters()) / 1e6


def gmacs(model: PanopticModel, images: torch.Tensor) -> float:
    """Multiply-accumulates of a forward pass / 10⁹."""
    return count_operations(model, images).all.macs / 1e9


def latencies(
    model: PanopticModel, base: PanopticModel, images: torch.Tensor, runs: int, processor: bool = False
) -> list[float]:
    """Median milliseconds of `model` and of `base`, measured in turn after a warm-up of each."""
    works = (lambda: model(images)), (lambda: base(images))
    with inference(model), inference(base):
        return milliseconds(images.device, runs, *works, processor=processor)


if __name__ == "__main__":
    main()
