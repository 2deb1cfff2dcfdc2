"""`pisr eval`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from pisr_cli.eval.outcome import Outcome, deliver
from pisr_cli.eval.subject import SubjectOptions, evaluate_model, load_subject
from pisr_cli.terminal.console import progress_bar
from pisr_cli.terminal.options import Json, NetworkOptions, grouped, to_write
from pisr_core.config import check_choice
from pisr_core.errors import ConfigError

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
    compare: Annotated[bool, typer.Option("--compare", help="Show the paper's rows beside.")] = False
    submission: Annotated[
        Path | None,
        typer.Option(
            help="Write the archives for COCO's or Cityscapes' servers there; without annotations only these.",
            metavar="DIR",
        ),
    ] = None
    as_json: Json = False


@grouped(network="A model", subject="A model", files="Predictions on disk", results="Results")
def evaluate(network: NetworkOptions, subject: SubjectOptions, files: FileOptions, results: ResultOptions) -> None:
    """Score a model, or predictions of any model: PQ, AP and mIoU, 0–100.

    Example: pisr eval --checkpoint runs/first/best.safetensors --data datasets --out scores

    Example: pisr eval --predictions predicted.json --annotations panoptic_val2017.json

    Example: pisr eval --split test-dev --submission upload
    """
    if files.predictions is None and files.annotations is None:
        if files.metrics != FileOptions.metrics:
            raise ConfigError("--metrics needs predictions on disk; a model's scores are all counted as it predicts.")
        chosen = load_subject(network, subject)
        outcome = evaluate_model(chosen, results.instances, results.compare, results.submission)
    else:
        _refuse_mixtures(network, subject, files, results)
        outcome = _evaluate_files(files, results.instances)
    deliver(outcome, results.out, results.as_json)


def _refuse_mixtures(
    network: NetworkOptions, subject: SubjectOptions, files: FileOptions, results: ResultOptions
) -> None:
    """Raises `ConfigError` where both a model and files are given, or too few files."""
    if network.checkpoint is not None or files.predictions is None or files.annotations is None:
        raise ConfigError("what to score? Give either --checkpoint, or --predictions with --annotations.")
    if (
        results.compare
        or results.submission
        or replace(network, device=None) != NetworkOptions()
        or subject.views is not None
    ):
        raise ConfigError(
            "--compare, --submission, --multi-scale, --flip, --precision and --compile need a model: give --checkpoint."
        )


def _evaluate_files(files: FileOptions, instances: Path | None) -> Outcome:
    from pisr_core.evaluation.examples import examples_of_files
    from pisr_core.metrics.files import evaluate_files

    assert files.predictions is not None and files.annotations is not None
    metrics = _metrics(files.metrics)
    if instances is not None and "ap" not in metrics:
        raise ConfigError("--instances is for AP: add ap to --metrics, or leave --instances out.")
    jsons, folders = (files.predictions, files.annotations), (files.predictions_dir, files.annotations_dir)
    with progress_bar("comparing") as progress:
        result = evaluate_files(*jsons, *folders, progress, "ap" in metrics, instances, "miou" in metrics)
    facts = {"predictions": str(files.predictions), "annotations": str(files.annotations), "images": result.images}
    examples = examples_of_files(result.worst, *jsons, *folders, files.images)
    return Outcome(result, facts, examples=examples)


def _metrics(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        check_choice("--metrics", name, METRICS)
    if "pq" not in names:
        raise ConfigError(f"--metrics {text}: leave pq in, beside which the others are counted.")
    return names
