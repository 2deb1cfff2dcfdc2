"""`pisr ablate-k`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pisr_cli.study import parse_seeds, train_study
from pisr_cli.terminal.checkpoints import fetched
from pisr_cli.terminal.console import print_json, progress_bar, results, say, score, score_table
from pisr_cli.terminal.imports import quick_imports
from pisr_cli.terminal.options import (
    MODEL_NAMES,
    BatchSize,
    Data,
    Device,
    Json,
    Limit,
    Parallel,
    Settings,
    Split,
    Steps,
    grouped,
    to_write,
    with_steps,
)
from pisr_core.errors import ConfigError

if TYPE_CHECKING:
    from pisr_core.config import Config
    from pisr_core.results.table import ResultsTable
    from pisr_core.studies.ablation import Subject

REWEIGHTING = {"both": (True, False), "with": (True,), "without": (False,)}


@dataclass(frozen=True)
class RetrainOptions:
    """What to train for each K."""

    preset: Annotated[str | None, typer.Option(help="With --retrain: the preset.", metavar="NAME")] = None
    retrain: Annotated[bool, typer.Option("--retrain", help="Train a model for each K.")] = False
    reweighting: Annotated[str, typer.Option(help="both, with, without.", metavar="WHICH")] = "both"
    seeds: Annotated[str, typer.Option(help="Train with each.", metavar="N,N…")] = "0"
    steps: Steps = None
    settings: Settings = None
    parallel: Parallel = None


@dataclass(frozen=True)
class ImageOptions:
    """What the models are scored on."""

    data: Data = None
    split: Split = "val"
    limit: Limit = 0
    batch_size: BatchSize = 1


@grouped(retraining="A model for each K")
def ablate_k(
    values: Annotated[
        str,
        typer.Option("--range", help="Values of K: 10..200 for about twenty, 10..200:5, or 10,50,200."),
    ] = "10..200",
    checkpoints: Annotated[
        list[Path] | None,
        typer.Option(
            "--checkpoint",
            help=f"Vary K of this model: {MODEL_NAMES}; else of the newest run in ./runs. Repeatable: a model without "
            "reweighting, other seeds …",
            metavar="MODEL",
        ),
    ] = None,
    *,
    retraining: RetrainOptions,
    images: ImageOptions,
    device: Device = None,
    out: Annotated[Path, to_write("Folder of ablate_k.csv and ablate_k.png.")] = Path("ablate-k"),
    as_json: Json = False,
) -> None:
    """PQ over K, the number of instances that the relation sees (Fig. 9).

    K is varied when a trained model predicts, or --retrain trains a model for each K, with and without
    reweighting. Rows that DIR holds already are kept: the same command continues one that was stopped.

    Example: pisr ablate-k --range 10..200 --checkpoint runs/pisr/last.safetensors

    Example: pisr ablate-k --range 10..200:50 --preset scenes-pdl-r18 --retrain --seeds 0,1,2 --out k
    """
    with quick_imports():
        from pisr_core.studies import ablation
    from pisr_core.data import build_dataset
    from pisr_core.runtime.devices.device import choose_device

    ks = ablation.parse_range(values)
    chosen_device = choose_device(device)
    if retraining.retrain:
        if retraining.preset is None or checkpoints:
            raise ConfigError("--retrain: name what to train with --preset NAME, and no --checkpoint.")
        subjects = _trained(retraining.preset, ks, retraining, images.data, device, out)
    elif retraining.preset is not None:
        raise ConfigError("--preset: add --retrain to train a model for each K, or name a --checkpoint.")
    else:
        named: Sequence[Path | None] = checkpoints or [None]
        subjects = [ablation.Subject(fetched(name), ks) for name in named]

    def scored(config: Config) -> ablation.Split:
        dataset = build_dataset(config.data, images.split, images.data)
        return ablation.Split(dataset, images.split, images.limit, images.batch_size)

    with progress_bar("evaluating") as progress:
        table = ablation.ablate(subjects, scored, out / "ablate_k.csv", chosen_device, say, progress)
    ablation.draw_curves(table, out / "ablate_k.png")
    if as_json:
        print_json({"out": str(out), "rows": table.rows})
    else:
        _show(table)
    say(f"written: {out / 'ablate_k.csv'}, {out / 'ablate_k.png'}")


def _trained(
    preset: str, ks: tuple[int, ...], options: RetrainOptions, data: Path | None, device: str | None, out: Path
) -> list[Subject]:
    """Trains what is not trained yet."""
    from pisr_core.studies.ablation import retraining
    from pisr_core.studies.study import Study

    if options.reweighting not in REWEIGHTING:
        raise ConfigError(f"--reweighting {options.reweighting}: choose one of {', '.join(REWEIGHTING)}.")
    overrides = tuple(with_steps(options.settings, options.steps))
    study = Study(preset, (), parse_seeds(options.seeds), out / "trained", overrides, data)
    planned, subjects = retraining(study, ks, REWEIGHTING[options.reweighting])
    train_study(planned, options.parallel, device)
    return subjects


def _show(table: ResultsTable) -> None:
    from pisr_core.studies.ablation import curve

    columns = {"pq": "PQ", "pq_things": "things", "pq_stuff": "stuff", "miou": "mIoU", "filled_mean": "maps filled"}
    for name in dict.fromkeys(str(row["model"]) for row in table.rows):
        curves = {heading: dict(curve(table, name, column)) for column, heading in columns.items()}
        shown = score_table(name, ("K", *columns.values(), "at most"))
        for k, quality in curves["PQ"].items():
            most = max(int(row["filled_max"] or 0) for row in table.rows if row["model"] == name and row["k"] == k)
            spread = "" if quality.std is None else f" ± {quality.std:.1f}"
            means = [score(curves[heading][k].mean) for heading in list(columns.values())[1:]]
            shown.add_row(str(k), score(quality.mean) + spread, *means, str(most))
        results.print(shown)
    results.print("maps filled: an image's instance maps that hold anything; there may be fewer peaks than K")
