"""`pisr eval`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pisr_cli.eval.films import show_films
from pisr_cli.eval.outcome import Outcome, deliver
from pisr_cli.eval.subject import SubjectOptions, evaluate_model, load_subject
from pisr_cli.terminal.console import progress_bar
from pisr_cli.terminal.imports import quick_imports
from pisr_cli.terminal.options import Json, NetworkOptions, grouped, to_write
from pisr_core.config import check_choice
from pisr_core.errors import ConfigError

if TYPE_CHECKING:
    from pisr_core.results.against import AgainstResult, OtherScores

METRICS = ("pq", "miou", "ap")


@dataclass(frozen=True)
class FileOptions:
    """Predictions of any model, and what they are scored against."""

    predictions: Annotated[
        Path | None, typer.Option(help="Score this JSON in COCO panoptic format.", metavar="JSON")
    ] = None
    annotations: Annotated[Path | None, typer.Option(help="The ground truth.", metavar="JSON")] = None
    predictions_dir: Annotated[
        Path | None, typer.Option(help="PNGs of the predictions; else the JSON's name without .json.", metavar="DIR")
    ] = None
    annotations_dir: Annotated[
        Path | None, typer.Option(help="PNGs of the ground truth; else the JSON's name without .json.", metavar="DIR")
    ] = None
    images: Annotated[Path | None, typer.Option(help="The images, to see them in the report.", metavar="DIR")] = None
    metrics: Annotated[
        str, typer.Option(help="What to count, with commas; pq alone is the fastest.", metavar="NAMES")
    ] = ",".join(METRICS)
    film: Annotated[
        bool, typer.Option("--film", help="The images are frames of films: count VPQ, STQ and changes of ids.")
    ] = False


@dataclass(frozen=True)
class ResultOptions:
    """What is counted, shown and written."""

    instances: Annotated[
        Path | None,
        typer.Option(
            help="Count AP against the official instances: COCO's instances JSON, or Cityscapes' gtFine/SPLIT.",
            metavar="PATH",
        ),
    ] = None
    out: Annotated[Path | None, to_write("Write scores.json, per_class.csv and report.html there.")] = None
    against: Annotated[
        Path | None,
        typer.Option(help="Compare with the scores.json of another model on the same images.", metavar="JSON"),
    ] = None
    compare: Annotated[bool, typer.Option("--compare", help="Show the paper's rows beside.")] = False
    submission: Annotated[
        Path | None,
        typer.Option(
            help="Write the archives for COCO's or Cityscapes' servers there; without annotations only these.",
            metavar="DIR",
        ),
    ] = None
    as_json: Json = False

    @property
    def details(self) -> bool:
        """Whether more than scores is wanted."""
        return self.out is not None or self.against is not None


@grouped(network="A model", subject="A model", files="Predictions on disk", results="Results")
def evaluate(network: NetworkOptions, subject: SubjectOptions, files: FileOptions, results: ResultOptions) -> None:
    """Score a model, or predictions of any model: PQ, AP and mIoU, 0–100.

    Example: pisr eval --checkpoint runs/first/best.safetensors --data datasets --out scores

    Example: pisr eval --set merge.center_threshold=0.2 --set data.eval_short_side=512

    Example: pisr eval --predictions predicted.json --annotations panoptic_val2017.json

    Example: pisr eval --checkpoint second.safetensors --out second --against first/scores.json

    Example: pisr eval --predictions predictions/panoptic.json --annotations panoptic_val.json --film

    Example: pisr eval --split test-dev --submission upload
    """
    other = None if results.against is None else _scores_of(results.against)  # mistakes shall show before the work
    if files.predictions is None and files.annotations is None:
        if files.metrics != FileOptions.metrics:
            raise ConfigError("--metrics needs predictions on disk; a model's scores are all counted as it predicts.")
        if files.film:
            raise ConfigError("--film: predict the films first, then give --predictions and --annotations.")
        chosen = load_subject(network, subject)
        wanted = (results.instances, results.compare, results.submission, results.details)
        outcome = evaluate_model(chosen, *wanted)
    else:
        _refuse_mixtures(network, files, results)
        if files.film:
            _evaluate_films(files, results)
            return
        outcome = _evaluate_files(files, results)
    if other is not None:
        outcome.against = _compared(outcome, other)
    deliver(outcome, results.out, results.as_json)


def _scores_of(path: Path) -> OtherScores:
    from pisr_core.results.against import read_scores

    return read_scores(path)


def _compared(outcome: Outcome, other: OtherScores) -> AgainstResult:
    from pisr_core.results.against import compare_with

    if outcome.result is None:
        raise ConfigError("--against compares scores, and this split has no annotations. Choose one that has them.")
    return compare_with(other, outcome.result)


def _refuse_mixtures(network: NetworkOptions, files: FileOptions, results: ResultOptions) -> None:
    """Raises `ConfigError` where both a model and files are given, or too few files."""
    if network.checkpoint is not None or files.predictions is None or files.annotations is None:
        raise ConfigError("what to score? Give either --checkpoint, or --predictions with --annotations.")
    if results.compare or results.submission or replace(network, device=None) != NetworkOptions():
        raise ConfigError(
            "--compare, --submission, --set, --multi-scale, --flip, --precision and --compile need a model: give "
            "--checkpoint."
        )


def _evaluate_files(files: FileOptions, results: ResultOptions) -> Outcome:
    with quick_imports():
        from pisr_core.metrics.files import evaluate_files

    assert files.predictions is not None and files.annotations is not None
    metrics, instances = _metrics(files.metrics), results.instances
    if instances is not None and "ap" not in metrics:
        raise ConfigError("--instances is for AP: add ap to --metrics, or leave --instances out.")
    jsons, folders = (files.predictions, files.annotations), (files.predictions_dir, files.annotations_dir)
    with progress_bar("comparing") as progress:
        result = evaluate_files(
            *jsons, *folders, progress, "ap" in metrics, instances, "miou" in metrics, results.details
        )
    facts = {"predictions": str(files.predictions), "annotations": str(files.annotations), "images": result.images}
    if results.out is None:
        return Outcome(result, facts)
    from pisr_core.evaluation.examples import FileExamples

    return Outcome(result, facts, examples_of=FileExamples(*jsons, *folders, files.images))


def _evaluate_films(files: FileOptions, results: ResultOptions) -> None:
    from pisr_core.metrics.film_files import evaluate_films

    assert files.predictions is not None and files.annotations is not None
    if results.details or results.instances is not None or files.metrics != FileOptions.metrics:
        raise ConfigError("--film counts VPQ and STQ alone: leave --out, --against, --instances and --metrics out.")
    jsons, folders = (files.predictions, files.annotations), (files.predictions_dir, files.annotations_dir)
    with progress_bar("comparing") as progress:
        result = evaluate_films(*jsons, *folders, progress)
    show_films(result, results.as_json)


def _metrics(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        check_choice("--metrics", name, METRICS)
    if "pq" not in names:
        raise ConfigError(f"--metrics {text}: leave pq in, beside which the others are counted.")
    return names
