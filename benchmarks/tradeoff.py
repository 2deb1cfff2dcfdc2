"""What a study's variants cost and bring: PQ against latency and against multiply-accumulates.

python benchmarks/tradeoff.py studies/lean --size 512x512 --out docs/images

Reads `study.csv` and the configs of `pisr study`. Latency is that of models with random weights over that of the base
(the variant `none`), measured in turn in this run, medians; multiply-accumulates are counted at the same size in the
order in which the models run. Prints a table and draws `tradeoff-latency.png` and `tradeoff-macs.png`.
"""

from __future__ import annotations

import argparse
import statistics
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import torch
from relation_cost import gmacs, latencies

from pisr_core import presets
from pisr_core.data.categories import known_categories
from pisr_core.models import PanopticModel, build_model
from pisr_core.results.plot import Series, draw_plot
from pisr_core.results.table import ResultsTable
from pisr_core.runtime.devices.device import choose_device

BASE = "none"


def main() -> None:
    """Prints a row for each variant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="folder of a study that has the variant `none`")
    parser.add_argument("--size", default="512x512", help="height x width, pixels")
    parser.add_argument("--device")
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--out", type=Path, default=Path("."))
    arguments = parser.parse_args()
    height, width = map(int, arguments.size.split("x"))
    device = choose_device(arguments.device)
    images = torch.rand(1, 3, height, width, device=device) * 255
    qualities: dict[str, list[float]] = defaultdict(list)
    seeds: dict[str, str] = {}
    for row in ResultsTable.read_csv(arguments.study / "study.csv").rows:
        qualities[str(row["variant"])].append(float(row["pq"] or 0))
        seeds[str(row["variant"])] = str(row["seed"])
    models = {name: build(arguments.study / "configs" / f"{name}-seed{seeds[name]}.toml", device) for name in qualities}
    base_macs = gmacs(models[BASE], images)
    print(f"{'variant':14} {'PQ':>14} {'latency':>8} {'MACs':>6}   ({arguments.size}, {device}; the base is 1)")
    points: list[tuple[str, float, float, float, float]] = []
    for name, pqs in qualities.items():
        own, base = latencies(models[name], models[BASE], images, arguments.runs)
        latency = own / base
        macs = gmacs(models[name], images) / base_macs
        deviation = statistics.stdev(pqs) if len(pqs) > 1 else 0.0
        points.append((name, statistics.fmean(pqs), deviation, latency, macs))
        print(f"{name:14} {statistics.fmean(pqs):7.2f} ± {deviation:4.2f} {latency:8.2f} {macs:6.2f}")
    for column, file, label in ((3, "latency", "latency"), (4, "macs", "multiply-accumulates")):
        # Equal seeds make the differences smaller than the spread, which is that of the bases.
        series = [Series(point[0], (float(point[column]),), (point[1],), joined=False) for point in points]
        draw_plot(
            arguments.out / f"tradeoff-{file}.png", series, f"PQ over {label}", f"{label}, that of the base = 1", "PQ"
        )


def build(path: Path, device: torch.device) -> PanopticModel:
    """A run's model with random weights."""
    config = presets.load(str(path))
    config = replace(config, backbone=replace(config.backbone, pretrained=False))
    model = build_model(config, known_categories(config.data.dataset))
    return model.to(device).eval().requires_grad_(False)


if __name__ == "__main__":
    main()
