"""What all parts of `on_gpu.py` share: the device, how small to stay, and rows that are written at once."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from pisr_core import presets
from pisr_core.data.categories import known_categories
from pisr_core.models import PanopticModel, build_model
from pisr_core.profiling.card import look_at_card
from pisr_core.profiling.speed import timed
from pisr_core.runtime.atomic import written_whole
from pisr_core.runtime.devices.device import choose_device


@dataclass
class Part:
    """One part while it runs.

    Attributes:
        name: of its files.
        out: the folder of all results.
        rehearse: stay small: the numbers mean nothing.
        device: that is measured.
        rows: so far.
    """

    name: str
    out: Path
    rehearse: bool
    device: torch.device = field(default_factory=choose_device)
    rows: list[dict[str, object]] = field(default_factory=list)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of Cityscapes' images, or of a rehearsal's."""
        return (64, 128) if self.rehearse else (1024, 2048)

    def row(self, **values: object) -> None:
        """Adds a row to the table, prints it and writes what there is so far."""
        self.rows.append(values)
        print("  ".join(f"{name} {_text(value)}" for name, value in values.items()), flush=True)
        document = {"part": self.name, **hardware(self.device), "rehearsal": self.rehearse, "rows": self.rows}
        with written_whole(self.out / f"{self.name}.json") as path:
            path.write_text(json.dumps(document, indent=1) + "\n")
        with written_whole(self.out / f"{self.name}.md") as path:
            path.write_text(table(self.rows))

    def milliseconds(self, work: Callable[[], object], runs: int = 20, warmup: int = 5) -> float:
        """The median of some runs, by the device's clock."""
        if self.rehearse:
            runs, warmup = 2, 1
        return statistics.median([timed(work, self.device)[0] for _ in range(warmup + runs)][warmup:])

    def megabytes(self, work: Callable[[], object]) -> float | None:
        """Most memory in use beyond that before, of a GPU."""
        if self.device.type != "cuda":
            return None
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / 1e6

    def images(self, count: int = 1) -> torch.Tensor:
        """Noise, on the device."""
        return torch.rand(count, 3, *self.size, device=self.device) * 255

    def model(self, preset: str, *settings: str) -> PanopticModel:
        """A preset's model with random weights, which only predicts; with other settings on request."""
        config = presets.load(preset, ["backbone.pretrained=false", *settings])
        torch.manual_seed(0)
        model = build_model(config, known_categories(config.data.dataset))
        return model.to(self.device).eval().requires_grad_(False)


def hardware(device: torch.device) -> dict[str, object]:
    """What the numbers were measured on."""
    card = look_at_card(device, own_process=-1)
    if card is None:
        return {"device": device.type, "torch": torch.__version__}
    name = torch.cuda.get_device_name(device)
    return {"device": name, "driver": card.driver, "torch": card.torch}


def table(rows: list[dict[str, object]]) -> str:
    """Rows as a table in Markdown; they may differ in their columns."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [columns, ["---"] * len(columns), *([_text(row.get(name)) for name in columns] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    return "" if value is None else str(value)


def complain(message: str) -> None:
    """Ends a part that cannot run here, with the reason."""
    print(message, file=sys.stderr)
    raise SystemExit(3)
