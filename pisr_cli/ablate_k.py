"""`pisr ablate-k`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pisr_cli.console import RUNS, messages, print_json, progress_bar, results, score, score_table
from pisr_cli.study import parse_seeds, train_study
from pisr_core.errors import ConfigError

if TYPE_CHECKING:
    from pisr_core.config import Config
    from pisr_core.results.table import ResultsTable
    from pisr_core.studies.ablation import Split, Subject

REWEIGHTING = {"both": (True, False), "with": (True,), "without": (False,)}


def ablate_k(
    values: Annotated[
        str,
        typer.Option("--range", help="Values of K: 10..200 for about twenty, 10..200:5, or 10,50,200."),
    ] = "10..200",
    checkpoints: Annotated[
        list[Path] | None,
        typer.Option(
            "--checkpoint",
            help="Vary K of this model; else of the newest run in ./runs. Repeatable: a model without reweighting, "
            "other seeds …",
            metavar="FILE",
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="With --retrain: the preset.", metavar="NAME", rich_help_panel="A model for each K"),
    ] = None,
    retrain: Annotated[
        bool, typer.Option("--retrain", help="Train a model for each K.", rich_help_panel="A model for each K")
    ] = False,
    reweighting: Annotated[
        str, typer.Option(help="both, with, without.", metavar="WHICH", rich_help_panel="A model for each K")
    ] = "both",
    seeds: Annotated[
        str, typer.Option(help="Train with each.", metavar="N,N…", rich_help_panel="A model for each K")
    ] = "0",
    steps: Annotated[
        int | None,
        typer.Option(help="The same as --set train.steps=N.", metavar="N", rich_help_panel="A model for each K"),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Change a setting in all runs. Repeatable.",
            metavar="KEY=VALUE",
            rich_help_panel="A model for each K",
        ),
    ] = None,
    parallel: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Runs at once; else one for each GPU, or for every two cores.",
            metavar="N",
            rich_help_panel="A model for each K",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of the datasets; else $PISR_DATASETS, else ./datasets.", metavar="ROOT"),
    ] = None,
    split: Annotated[str, typer.Option(help="Part of the dataset.")] = "val",
    limit: Annotated[int, typer.Option(min=0, help="Score the first N images only; 0 for all.")] = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="Images at once; changes the speed only.")] = 1,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps; else the fastest here.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of ablate_k.csv and ablate_k.png.", metavar="DIR")] = Path(
        "ablate-k"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print the rows as JSON on stdout.")] = False,
) -> None:
    """PQ over K, the number of instances that the relation sees (Fig. 9).

    K is varied when a trained model predicts, or --retrain trains a model for each K, with and without
    reweighting. Rows that DIR holds already are kept: the same command continues one that was stopped.

    Example: pisr ablate-k --range 10..200 --checkpoint runs/pisr/last.safetensors

    Example: pisr ablate-k --range 10..200:50 --preset scenes-pdl-r18 --retrain --seeds 0,1,2 --out k
    """
    from pisr_core.data import build_dataset
    from pisr_core.inference.load import newest_checkpoint
    from pisr_core.runtime.device import choose_device
    from pisr_core.studies.ablation import Split, Subject, ablate, draw_curves, parse_range

    ks = parse_range(values)
    chosen_device = choose_device(device)
    if retrain:
        if preset is None or checkpoints:
            raise ConfigError("--retrain: name what to train with --preset NAME, and no --checkpoint.")
        overrides = [*(settings or []), *([f"train.steps={steps}"] if steps is not None else [])]
        subjects = _trained(preset, ks, reweighting, parse_seeds(seeds), overrides, data, parallel, device, out)
    elif preset is not None:
        raise ConfigError("--preset: add --retrain to train a model for each K, or name a --checkpoint.")
    else:
        subjects = [Subject(path, ks) for path in checkpoints or [newest_checkpoint(RUNS)]]

    def images(config: Config) -> Split:
        return Split(build_dataset(config.data, split, data), split, limit, batch_size)

    with progress_bar("evaluating") as progress:
        table = ablate(subjects, images, out / "ablate_k.csv", chosen_device, _say, progress)
    draw_curves(table, out / "ablate_k.png")
    if as_json:
        print_json({"out": str(out), "rows": table.rows})
    else:
        _show(table)
    messages.print(f"written: {out / 'ablate_k.csv'}, {out / 'ablate_k.png'}", markup=False, soft_wrap=True)


def _trained(
    preset: str,
    ks: tuple[int, ...],
    reweighting: str,
    seeds: tuple[int, ...],
    settings: list[str],
    data: Path | None,
    parallel: int | None,
    device: str | None,
    out: Path,
) -> list[Subject]:
    """Trains what is not trained yet."""
    from pisr_core.studies.ablation import retraining
    from pisr_core.studies.study import Study

    if reweighting not in REWEIGHTING:
        raise ConfigError(f"--reweighting {reweighting}: choose one of {', '.join(REWEIGHTING)}.")
    study = Study(preset, (), seeds, out / "trained", tuple(settings), data)
    planned, subjects = retraining(study, ks, REWEIGHTING[reweighting])
    train_study(planned, parallel, device)
    return subjects


def _say(text: str) -> None:
    messages.print(text, markup=False, soft_wrap=True)


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
