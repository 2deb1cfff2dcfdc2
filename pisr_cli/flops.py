"""`pisr flops`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from pisr_cli.terminal.checkpoints import fetched
from pisr_cli.terminal.console import messages, print_json, progress_bar, results, say, score, score_table
from pisr_cli.terminal.options import MODEL_NAMES, Categories, Device, Json, Settings, grouped
from pisr_cli.terminal.sizes import parse_size
from pisr_core.config import Config
from pisr_core.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from pisr_core.profiling.cost import ModelCost
    from pisr_core.profiling.operations import OperationCount, Operations
    from pisr_core.profiling.speed import Speed
    from pisr_core.profiling.tradeoff import Result
    from pisr_core.structures import Category
    from pisr_core.weights.files.checkpoint import Checkpoint

CONVENTION = (
    "GFLOP: 10⁹ multiply-accumulates of one image, with norms and resizing as public counters weigh them (GMAC: "
    "without); PISR in the paper's literal order, fused: in the order that it runs in"
)

PAPERS_PQ = "PQ as the paper prints it, over our count of operations"


@dataclass(frozen=True)
class _Subject:
    """A model to count: from a preset, or from a checkpoint with its weights; and what the paper prints of it."""

    name: str
    config: Config
    categories: tuple[Category, ...]
    checkpoint: Path | None = None
    trained: Checkpoint | None = None
    printed: dict[str, float] = field(default_factory=dict)


_Row = tuple[_Subject, "ModelCost", "Speed | None"]
"""A model, its operations and, where it was measured, its speed."""


@dataclass(frozen=True)
class SpeedOptions:
    """Whether and how the speed is measured."""

    speed: Annotated[bool | None, typer.Option("--speed/--no-speed", help="Measure the speed; else on a GPU only.")] = (
        None
    )
    device: Device = None
    dtype: Annotated[str, typer.Option(help="fp32, fp16 or bf16 (autocast).")] = "fp32"
    tf32: Annotated[
        str, typer.Option(help="What fp32 computes in TF32 on a GPU: none, convolutions or all.", metavar="NAME")
    ] = "convolutions"
    batch: Annotated[int, typer.Option(min=1, help="Images at once.", metavar="N")] = 1
    runs: Annotated[int, typer.Option(min=2, help="Measured runs after the warm-up.", metavar="N")] = 20
    compiled: Annotated[bool, typer.Option("--compile", help="Compile the forward pass before it is timed.")] = False
    channels_last: Annotated[bool, typer.Option("--channels-last", help="Time with channels last.")] = False


@dataclass(frozen=True)
class PlotOptions:
    """Fig. 8."""

    plot: Annotated[
        Path | None,
        typer.Option(help="Draw Fig. 8, PQ over GFLOP, into this PNG, SVG or PDF.", metavar="FILE"),
    ] = None
    results_csv: Annotated[
        Path | None,
        typer.Option(
            "--results", help="Your PQ for the plot: columns preset, pq, settings; else the paper's.", metavar="CSV"
        ),
    ] = None


@grouped(timing="Speed", figure="Plot")
def flops(
    presets: Annotated[
        list[str] | None, typer.Argument(help="Presets, or paths of TOML files; else the rows of Table 4.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help=f"Count this trained model: {MODEL_NAMES}.", metavar="MODEL")
    ] = None,
    categories: Categories = None,
    settings: Settings = None,
    size: Annotated[
        str | None, typer.Option(help="Of the image; else a usual one of the dataset.", metavar="HxW")
    ] = None,
    *,
    timing: SpeedOptions,
    figure: PlotOptions,
    as_json: Json = False,
) -> None:
    """Count a model's operations by part, and measure its speed and memory.

    Without presets: Table 4, ours beside the paper's numbers. Nothing is downloaded, and weights are not needed.

    Example: pisr flops coco-pdl-r50 coco-pdl-r50-ocr --size 640x640

    Example: pisr flops --checkpoint runs/first/best.safetensors --speed --device cpu
    """
    wanted = None if size is None else parse_size(size)
    subjects = _subjects(presets, checkpoint, categories, settings or [], compared=wanted is None and not settings)
    qualities = _qualities(figure, presets)
    device = _device_to_time(timing)
    costs = _costs(subjects, wanted)
    speeds = [
        None if device is None else _measure(subject, cost.size, device, timing)
        for subject, cost in zip(subjects, costs, strict=True)
    ]
    if figure.plot is not None:
        from pisr_core.profiling.tradeoff import draw_tradeoff

        title = "PQ over operations" if figure.results_csv else PAPERS_PQ
        draw_tradeoff(figure.plot, qualities, wanted, title)
        say(f"{figure.plot}: drawn")
    rows = list(zip(subjects, costs, speeds, strict=True))
    if as_json:
        print_json({"convention": CONVENTION, "models": [_as_json(*row) for row in rows]})
    else:
        _show(rows)


def _device_to_time(timing: SpeedOptions) -> torch.device | None:
    """Where the speed is measured; `None` where it is not."""
    from pisr_core.profiling.speed import check_dtype
    from pisr_core.runtime.devices.device import choose_device

    device = choose_device(timing.device)
    if not (device.type == "cuda" if timing.speed is None else timing.speed):
        return None
    check_dtype(device, timing.dtype, timing.tf32)
    return device


def _costs(subjects: list[_Subject], size: tuple[int, int] | None) -> list[ModelCost]:
    from pisr_core.profiling.cost import model_cost

    costs = []
    with progress_bar("counting") as progress:
        for done, subject in enumerate(subjects):
            progress(done, len(subjects))
            costs.append(model_cost(subject.config, subject.categories, size))
        progress(len(subjects), len(subjects))
    return costs


def _subjects(
    names: list[str] | None, checkpoint: Path | None, categories: Path | None, settings: list[str], compared: bool
) -> list[_Subject]:
    """What to count; beside the paper's numbers, if these are of the same model and size."""
    from pisr_core import presets
    from pisr_core.paper import load_table
    from pisr_core.profiling.cost import categories_of
    from pisr_core.weights.find import load_checkpoint

    subjects = []
    if checkpoint is not None:
        if settings and not names:
            raise ConfigError(f"--set {settings[0]}: --checkpoint {checkpoint} has its own settings; count a preset.")
        trained = load_checkpoint(fetched(checkpoint), categories)
        name = "/".join(checkpoint.parts[-2:])
        subjects.append(_Subject(name, trained.config, trained.categories, checkpoint, trained))
    elif not names:
        names = [row.preset for row in load_table(4).rows]
    for name in names or []:
        config = presets.load(name, settings)
        printed = _printed(config) if compared else {}
        subjects.append(_Subject(config.name, config, categories_of(config), printed=printed))
    return subjects


def _measure(subject: _Subject, size: tuple[int, int], device: torch.device, timing: SpeedOptions) -> Speed:
    """Times a model on noise: with random weights unless it comes from a checkpoint."""
    from dataclasses import replace

    import torch

    from pisr_core.inference.load import build_trained
    from pisr_core.models import build_model
    from pisr_core.profiling.speed import measure_speed

    torch.manual_seed(0)
    if subject.trained is not None:
        model = build_trained(subject.trained, subject.name, device)
    else:
        backbone = replace(subject.config.backbone, pretrained=False)
        model = build_model(replace(subject.config, backbone=backbone), subject.categories).to(device)
    images = torch.randint(0, 256, (timing.batch, 3, *size), dtype=torch.uint8, device=device)
    with progress_bar(subject.name) as progress:
        return measure_speed(
            model,
            images,
            timing.dtype,
            timing.compiled,
            timing.channels_last,
            timing.runs,
            progress=progress,
            tf32=timing.tf32,
        )


def _qualities(figure: PlotOptions, names: list[str] | None) -> list[Result]:
    """PQ of the models to draw: from a CSV, else what the paper prints of the presets; none without a plot."""
    from pisr_core.profiling.tradeoff import FIGURE_8, printed_results, read_results

    plot, csv = figure.plot, figure.results_csv
    if plot is None:
        if csv is not None:
            raise ConfigError(f"--results {csv}: name the picture too, for example --plot quality.png")
        return []
    found = printed_results(names or FIGURE_8) if csv is None else read_results(csv)
    if not found:
        raise ConfigError(f"--plot {plot}: the paper prints no PQ for these presets; give yours with --results.")
    return found


def _printed(config: Config) -> dict[str, float]:
    """The numbers of the paper's row that prints the config's operations, with what they add to the base's."""
    from pisr_core import presets

    scores = next((row.scores for row in config.paper if "GFLOP" in row.scores), {})
    base = f"{config.name}-baseline"
    if not scores or base not in presets.names():
        return scores
    base_scores = _printed(presets.load(base))
    return scores | ({"added": 100 * (scores["GFLOP"] / base_scores["GFLOP"] - 1)} if base_scores else {})


def _as_json(subject: _Subject, cost: ModelCost, speed: Speed | None) -> dict[str, Any]:
    measured = None if speed is None else asdict(speed) | {"fps": speed.fps, "forward_fps": speed.forward_fps}
    return {
        "name": subject.name,
        "checkpoint": None if subject.checkpoint is None else str(subject.checkpoint),
        "size": cost.size,
        "parameters": cost.parameters,
        "base_parameters": cost.base_parameters,
        **_count_as_json(cost.operations),
        "uncounted_elements": dict(cost.operations.uncounted),
        "fused": None if cost.fused is None else _count_as_json(cost.fused),
        "base": None if cost.base is None else _count_as_json(cost.base),
        "added_percent": cost.added,
        "speed": measured,
        "paper": subject.printed or None,
    }


def _count_as_json(count: OperationCount) -> dict[str, Any]:
    parts = {name: {"gmac": part.macs / 1e9, "gflop": part.total / 1e9} for name, part in count.parts.items()}
    return {"gmac": count.all.macs / 1e9, "gflop": count.all.total / 1e9, "parts": parts}


def _show(rows: list[_Row]) -> None:
    for subject, cost, _ in rows:
        results.print(_parts_table(subject, cost))
        results.print(_parameters(cost), soft_wrap=True)
        results.print(f"not counted, 10⁶ output elements: {_uncounted(cost)}\n", soft_wrap=True)
    _show_operations(rows)
    _show_speed(rows)


def _parameters(cost: ModelCost) -> str:
    base = "" if cost.base_parameters is None else f", {cost.base_parameters / 1e6:.1f} M of them its base's"
    return f"{cost.parameters / 1e6:.1f} M parameters{base}"


def _show_operations(rows: list[_Row]) -> None:
    table = score_table("Operations", ("model", "GFLOP", "paper", "fused", "added %", "paper"))
    for subject, cost, _ in rows:
        table.add_row(
            subject.name,
            _giga(cost.operations.all),
            score(subject.printed.get("GFLOP")),
            _giga(cost.fused.all if cost.fused else None),
            score(cost.added),
            score(subject.printed.get("added")),
        )
    results.print(table)
    results.print(CONVENTION, soft_wrap=True)
    if any(subject.config.data.dataset == "ade20k" and subject.printed for subject, *_ in rows):
        results.print("The paper's numbers on ADE20K are means over images of many sizes.")


def _show_speed(rows: list[_Row]) -> None:
    table = score_table("Speed", ("model", "forward ms", "merging ms", "memory MiB", "FPS", "paper"))
    for subject, _, speed in rows:
        table.add_row(subject.name, *_speed_cells(speed), score(subject.printed.get("FPS")))
    measured = next((speed for *_, speed in rows if speed is not None), None)
    if measured or any(subject.printed for subject, *_ in rows):
        results.print(table)
    if measured is None:
        messages.print("The speed was not measured: --speed does, on --device.")
        return
    results.print(
        f"{_hardware(measured)}, {measured.arithmetic}, batches of {measured.batch}, {measured.runs} runs on noise: "
        "median ± half of the distance between the quartiles; random weights (no checkpoint) find hardly any instance",
        soft_wrap=True,
    )
    found = {text: None for *_, speed in rows if speed is not None and speed.card for text in speed.card.warnings}
    for text in found:
        messages.print(f"warning: {text}; these speeds may not be what it can do.")


def _hardware(speed: Speed) -> str:
    """The device, and of a GPU its driver and torch."""
    if speed.card is None:
        return speed.device
    return f"{speed.device}, driver {speed.card.driver or 'unknown'}, torch {speed.card.torch}"


def _giga(operations: Operations | None) -> str:
    """10⁹ operations; small models get more decimals."""
    if operations is None:
        return "–"
    value = operations.total / 1e9
    return f"{value:.1f}" if value >= 10 else f"{value:.3f}"


def _parts_table(subject: _Subject, cost: ModelCost) -> Table:
    from pisr_core.profiling.operations import Operations

    height, width = cost.size
    fused = {} if cost.fused is None else {**cost.fused.parts, "all": cost.fused.all}
    columns = ("part", "GMAC", "GFLOP", "share %", *(("fused GFLOP",) if fused else ()))
    table = score_table(f"{subject.name}, {height}×{width}", columns)
    total = cost.operations.all
    for name, part in {**cost.operations.parts, "all": total}.items():
        cells = [_giga(Operations(part.macs)), _giga(part), score(100 * part.total / total.total)]
        table.add_row(name, *cells, *((_giga(fused[name]),) if fused else ()), style="bold" if name == "all" else None)
    return table


def _speed_cells(speed: Speed | None) -> tuple[str, ...]:
    if speed is None:
        return ("–",) * 4
    times = (f"{t.median:.1f}\n±{t.spread:.1f}" for t in (speed.forward, speed.merging))
    memory = "–" if speed.peak_memory is None else f"{speed.peak_memory / 2**20:.0f}"
    return (*times, memory, score(speed.fps))


def _uncounted(cost: ModelCost, most: int = 8) -> str:
    """The operations with the most elements."""
    elements = list(cost.operations.uncounted.items())
    named = ", ".join(f"{name} {count / 1e6:.1f}" for name, count in elements[:most])
    rest = sum(count for _, count in elements[most:])
    return f"{named}, {len(elements) - most} others {rest / 1e6:.1f}" if elements[most:] else named
