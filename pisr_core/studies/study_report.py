"""What a study says: means, spreads and paired tests as table, plot and page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pisr_core.errors import ConfigError
from pisr_core.results.page import Page
from pisr_core.results.plot import Interval, Series, draw_forest, draw_plot
from pisr_core.results.statistics import PairedTest, Summary, holm, paired_test, summarize
from pisr_core.results.table import Cell, ResultsTable

METRICS = {"pq": "PQ", "pq_things": "things", "pq_stuff": "stuff", "miou": "mIoU"}
"""Columns that are always reported, and their headings."""


@dataclass(frozen=True)
class VariantReport:
    """One variant over its seeds.

    Attributes:
        name: the variant.
        scores: by column.
        gain: what the reference scores above it on the same seeds, by column; empty for the reference.
        corrected: p of `gain`, corrected over the variants, by column, where there is a p.
    """

    name: str
    scores: dict[str, Summary]
    gain: dict[str, PairedTest]
    corrected: dict[str, float]


@dataclass(frozen=True)
class StudyReport:
    """All variants.

    Attributes:
        reference: the variant that the others are compared with.
        metrics: headings by column.
        variants: in the order of their rows.
        rows: those of all runs.
    """

    reference: str
    metrics: dict[str, str]
    variants: tuple[VariantReport, ...]
    rows: tuple[dict[str, Cell], ...]

    @property
    def caution(self) -> str:
        """How far the tests can be trusted."""
        pairs = max((test.n for v in self.variants for test in v.gain.values()), default=0)
        if pairs < 2:
            return "One seed: the differences may be chance; no test is possible."
        return (
            f"Paired t-tests, {pairs} seeds ({pairs - 1} degrees of freedom), and p corrected for the number of "
            "variants (Holm). With few seeds they find only large and even differences: a large p does not mean that "
            "there is none, and the interval says more."
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "reference": self.reference,
            "variants": [asdict(variant) for variant in self.variants],
            "runs": list(self.rows),
        }


def study_report(table: ResultsTable, reference: str, classes: Sequence[str] = ()) -> StudyReport:
    """Summarises the runs of a study.

    Args:
        table: of `run_study`.
        reference: the variant whose gain over each other one is tested.
        classes: names of classes to report beside all, things and stuff.

    Raises:
        ConfigError: no such variant or class.
    """
    names = list(dict.fromkeys(str(row["variant"]) for row in table.rows))
    if reference not in names:
        raise ConfigError(f"--against {reference}: is not studied; choose one of {', '.join(names)}.")
    known = [column.removeprefix("pq ") for column in table.columns if column.startswith("pq ")]
    for name in classes:
        if name not in known:
            raise ConfigError(f"--class {name}: the dataset has {', '.join(known)}.")
    metrics = METRICS | {f"pq {name}": name for name in classes}
    scores = {name: {column: _by_seed(table, name, column) for column in metrics} for name in names}
    gains = {
        name: {column: _gain(scores[reference][column], scores[name][column]) for column in metrics}
        for name in names
        if name != reference
    }
    corrected = _corrected(gains, tuple(metrics))
    variants = tuple(
        VariantReport(
            name,
            {column: summarize(list(scores[name][column].values())) for column in metrics},
            gains.get(name, {}),
            corrected.get(name, {}),
        )
        for name in names
    )
    return StudyReport(reference, metrics, variants, tuple(table.rows))


def write_report(report: StudyReport, folder: Path, title: str) -> None:
    """Writes `summary.csv`, `study.png`, `forest.png` and `study.html`."""
    summary_table(report).write_csv(folder / "summary.csv")
    draw_study(report, folder / "study.png")
    rows = forest_rows(report)
    page = Page(title)
    page.paragraph(
        "Every run of a seed starts from the same backbone, decoder and heads, sees the same images in the same "
        "order, and makes as many steps. Scores are those of the last weights on the whole split."
    )
    page.heading("Mean and standard deviation over the seeds")
    page.table(("variant", "seeds", *report.metrics.values()), score_rows(report))
    page.picture_file(folder / "study.png", "dots: seeds; bars: one standard deviation about the mean")
    page.heading(f"What {report.reference} gains")
    page.table(gain_heading(report), gain_rows(report))
    if rows:
        draw_forest(folder / "forest.png", rows, f"What {report.reference} gains over …", "PQ")
        page.picture_file(
            folder / "forest.png", "squares: mean difference; lines: its 95 % interval; ticks: seeds; right: p (Holm)"
        )
    page.paragraph(report.caution)
    page.heading("Runs")
    page.table(tuple(report.rows[0]), [tuple(row.values()) for row in report.rows])
    page.write(folder / "study.html")


def summary_table(report: StudyReport) -> ResultsTable:
    """A row for each variant and metric."""
    table = ResultsTable(("variant", "metric", "n", "mean", "std", "pairs", "gain", "low", "high", "p", "p_holm"))
    for variant in report.variants:
        for column, summary in variant.scores.items():
            row: dict[str, Cell] = {"variant": variant.name, "metric": column, **asdict(summary)}
            if column in variant.gain:
                test = variant.gain[column]
                row |= {"pairs": test.n, "gain": test.difference, "low": test.low, "high": test.high, "p": test.p}
                row["p_holm"] = variant.corrected.get(column)
            table.add(row)
    return table


def score_rows(report: StudyReport) -> list[tuple[str, ...]]:
    """Name, number of seeds and `mean±standard deviation` of each metric, as text."""
    return [(v.name, str(v.scores["pq"].n), *map(_spread, v.scores.values())) for v in report.variants]


def gain_heading(report: StudyReport) -> tuple[str, ...]:
    """Of `gain_rows`."""
    return ("over", "PQ", "95 % interval", "p", "p (Holm)", *list(report.metrics.values())[1:])


def gain_rows(report: StudyReport) -> list[tuple[str, ...]]:
    """Of each variant but the reference: name, gain in PQ, interval, p twice, and the gains in the other metrics."""
    return [
        (
            variant.name,
            _signed(pq.difference),
            _interval(pq),
            _chance(pq.p),
            _chance(variant.corrected.get("pq")),
            *others,
        )
        for variant in report.variants
        if variant.gain
        for pq in [variant.gain["pq"]]
        for others in [[_signed(test.difference) for name, test in variant.gain.items() if name != "pq"]]
    ]


def forest_rows(report: StudyReport) -> list[Interval]:
    """The gain in PQ over each variant that shares a seed with the reference."""
    runs = {(str(row["variant"]), row["seed"]): row["pq"] for row in report.rows if row["pq"] is not None}
    rows = []
    for variant in report.variants:
        gain = variant.gain.get("pq")
        if gain is None or gain.difference is None:
            continue
        seeds = [seed for name, seed in runs if name == variant.name and (report.reference, seed) in runs]
        points = [float(runs[report.reference, seed]) - float(runs[variant.name, seed]) for seed in seeds]
        corrected = _chance(variant.corrected.get("pq"))
        rows.append(Interval(variant.name, gain.difference, gain.low, gain.high, points, corrected))
    return rows


def draw_study(report: StudyReport, path: Path) -> None:
    """PQ of each variant: every seed, and mean and standard deviation."""
    names = [variant.name for variant in report.variants]
    points = [(names.index(str(row["variant"])), row["pq"]) for row in report.rows if row["pq"] is not None]
    scored = [(i, v.scores["pq"]) for i, v in enumerate(report.variants) if v.scores["pq"].mean is not None]
    seeds = Series("seeds", [i - 0.15 for i, _ in points], [float(pq) for _, pq in points], joined=False)
    means = Series(
        "mean",
        [float(i) for i, _ in scored],
        [summary.mean or 0.0 for _, summary in scored],
        spread=[summary.std or 0.0 for _, summary in scored],
        joined=False,
    )
    draw_plot(path, [means, seeds], "PQ by variant", "", "PQ", x_ticks=names)


def _by_seed(table: ResultsTable, variant: str, column: str) -> dict[int, float]:
    rows = [row for row in table.rows if row["variant"] == variant]
    return {int(row["seed"] or 0): float(row[column]) for row in rows if row[column] is not None}  # type: ignore[arg-type]


def _corrected(gains: dict[str, dict[str, PairedTest]], columns: Sequence[str]) -> dict[str, dict[str, float]]:
    """Of each variant and column, over the variants that have a p there."""
    corrected: dict[str, dict[str, float]] = {name: {} for name in gains}
    for column in columns:
        found = [(name, test.p) for name, tests in gains.items() if (test := tests[column]).p is not None]
        for (name, _), p in zip(found, holm([float(p) for _, p in found if p is not None]), strict=True):
            corrected[name][column] = p
    return corrected


def _chance(p: float | None) -> str:
    return "–" if p is None else f"{p:.3f}"


def _gain(reference: dict[int, float], other: dict[int, float]) -> PairedTest:
    seeds = sorted(reference.keys() & other.keys())
    return paired_test([reference[seed] for seed in seeds], [other[seed] for seed in seeds])


def _spread(summary: Summary) -> str:
    if summary.mean is None:
        return "–"
    return f"{summary.mean:.1f}" if summary.std is None else f"{summary.mean:.1f}±{summary.std:.1f}"


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+z.1f}"


def _interval(test: PairedTest) -> str:
    return "–" if test.low is None or test.high is None else f"{test.low:+z.1f} to {test.high:+z.1f}"
