"""`pisr data check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pisr_cli.terminal.console import messages, print_json, progress_bar, results, say, score_table, text_table
from pisr_cli.terminal.options import Json, Workers
from pisr_core.errors import ConfigError

if TYPE_CHECKING:
    from pisr_core.data.checking.check import CheckReport
    from pisr_core.data.checking.reading.splits import SplitSource
    from pisr_core.data.checking.statistics import DatasetStatistics

EXAMPLES = 3
"""Findings of a kind that the table shows; --json has them all."""

COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}


def check(
    root: Annotated[
        Path | None,
        typer.Argument(help="Folder of the dataset; else $PISR_DATASETS, else ./datasets.", metavar="[ROOT]"),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(help="Its layout: custom, coco, cityscapes or ade20k; else the first that fits.", metavar="NAME"),
    ] = None,
    split: Annotated[
        list[str] | None, typer.Option(help="Check this split; may be repeated. Else train and val.", metavar="NAME")
    ] = None,
    annotations: Annotated[
        Path | None, typer.Option(help="Instead of ROOT: a JSON in COCO panoptic format.", metavar="JSON")
    ] = None,
    images: Annotated[Path | None, typer.Option(help="Its folder of images.", metavar="DIR")] = None,
    pngs: Annotated[
        Path | None, typer.Option(help="Its folder of PNGs; else the JSON's name without .json.", metavar="DIR")
    ] = None,
    fix: Annotated[
        Path | None,
        typer.Option(
            help="Write a new JSON, and PNGs beside it where theirs are wrong, with all mended that needs no decision; "
            "one split.",
            metavar="OUT.json",
        ),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Read the headers only: sizes, no pixels.")] = False,
    limit: Annotated[int, typer.Option(min=0, help="Files of the first N images of a split; 0 for all.")] = 0,
    workers: Workers = 0,
    as_json: Json = False,
) -> None:
    """Find what is wrong with a dataset, and the settings that suit it.

    Looks at every image, PNG and JSON entry, and goes on after each fault. Ends with code 2 when training or
    evaluation would fail.

    Example: pisr data check datasets/mine

    Example: pisr data check datasets/mine --split train --fix mended.json

    Example: pisr data check --annotations panoptic_val.json --images val
    """
    from pisr_core.data.checking.check import check_data

    sources = _sources(root, dataset, split or [], annotations, images, pngs)
    for source in sources:
        say(f"{source.name}: {source.paths.json_path}")
    with progress_bar("checking") as progress:
        report = check_data(sources, workers, limit, quick, fix, progress)
    if as_json:
        print_json(report.to_json())
    else:
        _show(report)
    if report.changes is not None:
        _show_changes(report, fix)
    if report.errors:
        raise typer.Exit(2)


def _sources(
    root: Path | None,
    dataset: str | None,
    splits: list[str],
    annotations: Path | None,
    images: Path | None,
    pngs: Path | None,
) -> list[SplitSource]:
    from pisr_core.data import dataset_root
    from pisr_core.data.checking.reading.splits import SplitSource, find_splits
    from pisr_core.data.layouts import SplitPaths

    if annotations is None and images is None and pngs is None:
        return find_splits(dataset_root(root), dataset, splits)
    if annotations is None or images is None or root or dataset or splits:
        raise ConfigError("what to check? Give either ROOT, or --annotations with --images (and --pngs).")
    paths = SplitPaths(json_path=annotations, png_dir=pngs or annotations.with_suffix(""), images_dir=images)
    return [SplitSource(annotations.stem, paths)]


def _show(report: CheckReport) -> None:
    _show_findings(report)
    if report.statistics is not None:
        _show_statistics(report.statistics)
    if report.settings:
        table = text_table("Settings that it suggests, for --set", ("setting", "why"))
        for suggestion in report.settings:
            table.add_row(f"{suggestion.key}={suggestion.value}", suggestion.reason)
        results.print(table)
    results.print(
        f"{report.images} images in {report.seconds:.1f} s: "
        f"{report.errors} errors, {report.warnings} warnings, {report.notes} notes"
    )


def _show_findings(report: CheckReport) -> None:
    from rich.text import Text

    if not report.findings:
        return
    table = text_table("What was found", ("kind", "count", "what, and where", "cure"))
    for kind, found in report.by_kind().items():
        lines = [f"{Path(f.file).parent.name}/{Path(f.file).name} {f.detail}".rstrip() for f in found[:EXAMPLES]]
        lines += [f"… and {len(found) - EXAMPLES} more"] if len(found) > EXAMPLES else []
        name = Text(kind.label, style=COLOURS[kind.severity])
        table.add_row(name, str(len(found)), Text("\n".join([f"{kind.meaning}:", *lines])), kind.cure, end_section=True)
    results.print(table)


def _show_statistics(statistics: DatasetStatistics) -> None:
    table = score_table("Classes", ("class", "", "images", "segments", "crowds", "pixels %"))
    for category, counts in zip(statistics.categories.values(), statistics.classes.values(), strict=True):
        share = 100 * counts.pixels / statistics.pixels if statistics.pixels else 0.0
        kind = "thing" if category.isthing else "stuff"
        numbers = (counts.images, counts.segments, counts.crowds)
        table.add_row(category.name, kind, *map(str, numbers), f"{share:.2f}")
    results.print(table)
    numbers = statistics.to_json()["instances"]
    results.print(
        f"{numbers['count']} instances, at most {numbers['most_in_an_image']} in an image; {numbers['tiny']} are "
        f"tiny (below 16 pixels) and {numbers['small']} small (below 32×32); "
        f"{numbers['touching_pairs_of_one_class']} pairs of one class touch"
    )


def _show_changes(report: CheckReport, out: Path | None) -> None:
    say(f"{out}:" if report.changes else f"{out}: nothing to mend, a copy")
    for change, count in (report.changes or {}).items():
        say(f"  {count} × {change}")
    source = report.sources[0].paths
    messages.print(
        f"Check it: pisr data check --annotations {out} --images {source.images_dir} "
        f"--pngs {report.mended_pngs or source.png_dir}",
        soft_wrap=True,
    )
