"""Fig. 8: panoptic quality over operations, for ways to spend more of them."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pisr_core import presets
from pisr_core.config import Config
from pisr_core.errors import ConfigError, DataError
from pisr_core.profiling.cost import categories_of, config_operations
from pisr_core.results.plot import Series, draw_plot
from pisr_core.results.table import Cell, ResultsTable

FIGURE_8 = (
    "cityscapes-pdl-r50-baseline",
    "cityscapes-pdl-r101-baseline",
    "cityscapes-pdl-x71-baseline",
    "cityscapes-pdl-hr48-baseline",
    "cityscapes-pdl-r50-ocr",
    "cityscapes-pdl-r50-noreweight",
    "cityscapes-pdl-r50",
)
"""Presets of the models in Fig. 8 whose PQ some table prints; the widths d of its red curve are printed nowhere."""

_TABLES = (4, 5, 1)
"""Tables that print PQ on Cityscapes. They differ for the base: Fig. 8 goes with the first."""


_BACKBONES = "backbones"


@dataclass(frozen=True)
class Result:
    """The quality of a model.

    Attributes:
        config: of the model.
        pq: 0–100, one value for each run.
    """

    config: Config
    pq: tuple[float, ...]


def printed_results(names: Sequence[str] = FIGURE_8) -> list[Result]:
    """What the paper prints of the presets on validation images; presets without a printed PQ are left out."""
    results = []
    for name in names:
        config = presets.load(name)
        printed = {row.table: row.scores["PQ"] for row in config.paper if row.split == "val" and "PQ" in row.scores}
        order = sorted(printed, key=lambda table: _TABLES.index(table) if table in _TABLES else len(_TABLES))
        if order:
            results.append(Result(config, (printed[order[0]],)))
    return results


def read_results(path: Path) -> list[Result]:
    """Models and their PQ from a CSV; rows of equal models are runs of one.

    Its columns are `preset`, `pq` (0–100) and, where models differ from their preset, `settings`: `key=value` as
    `--set` takes them, several with `;` between them. Others are not read. Or it is a study's table, in the study's
    folder: its `variant` and `seed` name the config of a run.

    Raises:
        DataError: the file is missing, or lacks a column or a value.
        ConfigError: a preset or a setting that does not exist.
    """
    table = ResultsTable.read_csv(path, numbers=("pq",))
    naming = next((names for names in (("preset",), ("variant", "seed")) if {*names, "pq"} <= set(table.columns)), None)
    if naming is None:
        raise DataError(f"{path}: its columns are {', '.join(table.columns)[:200]}; name two of them preset and pq.")
    configs: dict[tuple[Cell, ...], Config] = {}
    qualities: dict[tuple[Cell, ...], list[float]] = defaultdict(list)
    for number, row in enumerate(table.rows, start=2):
        pq, model = row["pq"], (row[naming[0]], row.get("settings"))
        if row[naming[0]] is None or isinstance(pq, bool) or not isinstance(pq, int | float):
            raise DataError(f"{path}, line {number}: needs a {naming[0]} and a number as its pq.")
        if model not in configs:
            try:
                configs[model] = _config(row, path.parent)
            except ConfigError as error:
                raise ConfigError(f"{path}, line {number}: {error}") from error
        qualities[model].append(float(pq))
    return [Result(config, tuple(qualities[model])) for model, config in configs.items()]


def _config(row: Mapping[str, Cell], folder: Path) -> Config:
    """A row's preset with its settings, or what the study in this folder trained."""
    if "preset" not in row:
        return presets.load(str(folder / "configs" / f"{row['variant']}-seed{row['seed']}.toml"))
    settings = str(row.get("settings") or "").split(";")
    return presets.load(str(row["preset"]), [each.strip() for each in settings if each.strip()])


def draw_tradeoff(
    path: Path, results: Sequence[Result], size: tuple[int, int] | None = None, title: str = "PQ over operations"
) -> None:
    """Draws mean PQ (with its standard deviation, where there are several runs) over GFLOP as Table 4 counts them.

    Args:
        path: PNG, SVG or PDF.
        results: the models.
        size: (H, W) in pixels of the image whose operations are counted; else a usual one.
        title: of the plot.
    """
    points: dict[str, list[tuple[float, float, float, str]]] = defaultdict(list)
    for result in results:
        literal = config_operations(result.config, categories_of(result.config), size, fused=False)
        deviation = statistics.stdev(result.pq) if len(result.pq) > 1 else 0.0
        point = (literal.all.total / 1e9, statistics.fmean(result.pq), deviation, _label(result.config))
        points[_family(result.config)].append(point)
    series = []
    for family, members in points.items():
        x, y, spread, labels = zip(*sorted(members), strict=True)
        # Backbones of several kinds are no curve.
        series.append(Series(family, x, y, spread if any(spread) else (), labels, joined=family != _BACKBONES))
    draw_plot(path, series, title, "GFLOP (10⁹ multiply-accumulates an image)", "PQ")


def _family(config: Config) -> str:
    """The series of the plot that a model belongs to."""
    relation = config.relation
    if relation.name == "none":
        return _BACKBONES
    name = {"ocr": "OCR", "pisr": "PISR" if relation.reweight else "PISR without reweighting"}
    return f"{name.get(relation.name, relation.name)}, {config.backbone.name}"


def _label(config: Config) -> str:
    """What sets a model apart from others of its line."""
    relation = config.relation
    return {"none": config.backbone.name, "pisr": f"d = {relation.channels}"}.get(relation.name, "")
