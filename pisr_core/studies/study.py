"""Studies: variants of a preset trained with several seeds, equal in all but what is studied (Table 5)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from pisr_core import presets
from pisr_core.config import Config
from pisr_core.data import build_dataset
from pisr_core.errors import ConfigError, DataError, TrainingError
from pisr_core.models import build_model
from pisr_core.results.table import Cell, ResultsTable
from pisr_core.runtime.atomic import written_whole
from pisr_core.structures import Category
from pisr_core.studies.processes import Slot, Training, train_all
from pisr_core.training.finetune import load_fitting_weights
from pisr_core.training.state import RunFolder, changed_settings, metrics_record
from pisr_core.weights.backbone import load_backbone_weights
from pisr_core.weights.files.checkpoint import read_checkpoint, save_checkpoint

EVALUATION = ("train.eval_every=0", "train.eval_images=0")
"""One evaluation, of the last weights on the whole split: nothing is selected by the images that it is judged on."""

SCORES = ("pq", "pq_things", "pq_stuff", "sq", "rq", "miou")
"""Columns of every run, beside the PQ of each class."""


@dataclass(frozen=True)
class Variant:
    """What is studied.

    Attributes:
        name: of its runs.
        settings: `a.b=value` each, on top of the preset's.
    """

    name: str
    settings: tuple[str, ...] = ()


TABLE_5 = (
    Variant("none", ("relation.name=none",)),
    Variant("heads", ("relation.name=heads",)),
    Variant("convolutions", ("relation.name=convolutions",)),
    Variant("concat", ("relation.name=concat",)),
    Variant("product", ("relation.name=product",)),
    Variant("ocr", ("relation.name=ocr",)),
    Variant("noreweight", ("relation.name=pisr", "relation.reweight=false")),
    Variant("pisr", ("relation.name=pisr", "relation.reweight=true")),
)
"""The rows of Table 5, and two controls: `heads`, second heads without a relation, of deep supervision, and
`convolutions`, the same behind as many layers as PISR has, of depth."""


def parse_variant(text: str) -> Variant:
    """`NAME:a.b=c,d.e=f`, or `NAME` alone for one of Table 5.

    Raises:
        ConfigError: it is written otherwise.
    """
    known = {variant.name: variant for variant in TABLE_5}
    name, colon, settings = text.partition(":")
    if not colon and name in known:
        return known[name]
    if not re.fullmatch(r"[A-Za-z][\w.-]*", name) or not colon:
        raise ConfigError(
            f"variant {text!r}: take one of {', '.join(known)}, or write NAME:key=value,key=value "
            "(letters, digits, - and _ in the name)."
        )
    # A comma inside a list is not followed by a key.
    return Variant(name, tuple(re.split(r",(?=[\w.]+=)", settings)) if settings else ())


@dataclass(frozen=True)
class Run:
    """One variant with one seed."""

    variant: str
    seed: int
    config: Config

    @property
    def name(self) -> str:
        """Of its files."""
        return run_name(self.variant, self.seed)


def run_name(variant: str, seed: int) -> str:
    """Of a run's files."""
    return f"{variant}-seed{seed}"


@dataclass(frozen=True)
class Study:
    """What to train, and where.

    Attributes:
        preset: the preset that all variants change.
        variants: at least one.
        seeds: of the initial weights, the order of the data and the augmentation.
        out: folder of `study.csv` and, by run, of `configs/`, `initial/` and `runs/`.
        settings: for all runs, `a.b=value` each.
        root: of the datasets.
        weights: a trained checkpoint that all runs start from; `{seed}` in it stands for the seed. Else random ones.
    """

    preset: str
    variants: tuple[Variant, ...]
    seeds: tuple[int, ...]
    out: Path
    settings: tuple[str, ...] = ()
    root: Path | None = None
    weights: Path | None = None

    @property
    def table(self) -> Path:
        """One row for each finished run."""
        return self.out / "study.csv"

    def run_folder(self, variant: str, seed: int) -> RunFolder:
        """Where a run lies."""
        return RunFolder(self.out / "runs" / run_name(variant, seed))

    def config(self, settings: Sequence[str], seed: int) -> Config:
        """The preset with settings.

        Raises:
            ConfigError: a setting is wrong, or one of `EVALUATION`.
        """
        fixed = [setting.partition("=")[0] for setting in EVALUATION]
        if changed := [name for name in fixed if any(s.startswith(f"{name}=") for s in (*self.settings, *settings))]:
            raise ConfigError(
                f"{changed[0]}: a study judges each run once, in the end, on the whole split; leave it out."
            )
        return presets.load(self.preset, [*EVALUATION, *self.settings, *settings, f"train.seed={seed}"])

    def runs(self) -> list[Run]:
        """All runs; the variants of a seed follow each other.

        Raises:
            ConfigError: a setting is wrong, or a variant or seed comes twice.
        """
        for what in ([variant.name for variant in self.variants], list(self.seeds)):
            if len(set(what)) < len(what) or not what:
                raise ConfigError(f"study of {', '.join(map(str, what)) or 'nothing'}: name each one once.")
        return [
            # The paper's row is that of the preset, not of its variants.
            Run(v.name, seed, replace(config, name=f"{config.name}-{v.name}", paper=()))
            for seed in self.seeds
            for v in self.variants
            for config in [self.config(v.settings, seed)]
        ]


def run_study(
    study: Study,
    command: Sequence[str],
    slots: Sequence[Slot],
    on_start: Callable[[int], None] = lambda waiting: None,
    on_progress: Callable[[Training, int], None] = lambda training, step: None,
    on_done: Callable[[Mapping[str, Cell]], None] = lambda row: None,
) -> ResultsTable:
    """Trains what is not trained yet, and gives the scores of all runs. A second call continues the first.

    Every run of a seed starts from the same backbone, decoder and heads, see `write_initial_weights`.

    Args:
        study: what to train.
        command: what runs `pisr train`.
        slots: shares of the machine, see `machine_slots`.
        on_start: hears how many runs are left.
        on_progress: hears of each running training's steps.
        on_done: hears of each new row.

    Returns:
        A row for each run, in the order of `Study.runs`.

    Raises:
        ConfigError: wrong settings, or others than those with which this study was begun.
        TrainingError: runs failed; the others are done.
        KeyboardInterrupt: Ctrl-C, after the states were saved.
    """
    runs = study.runs()
    categories = build_dataset(runs[0].config.data, "val", study.root).categories
    columns = ("variant", "seed", "steps", *SCORES, *(class_column(category.name) for category in categories))
    table = _read(study.table, columns)
    waiting = [run for run in runs if not (_is_begun(study, run) and _row(table, run))]
    on_start(len(waiting))
    for run in waiting:
        _prepare(study, run, categories)

    by_name = {run.name: run for run in waiting}

    def add_row(training: Training) -> None:
        run = by_name[training.name]
        # A row whose config was removed is of another study.
        table.rows = [row for row in table.rows if (row["variant"], row["seed"]) != (run.variant, run.seed)]
        table.add(_scores(run, training.folder, categories))
        table.write_csv(study.table)
        on_done(table.rows[-1])

    failures = train_all(command, [_training(study, run) for run in waiting], slots, on_progress, add_row)
    if failures:
        listed = "\n".join(f"{study.out / 'runs' / name}: {words}" for name, words in failures.items())
        raise TrainingError(
            f"{len(failures)} of {len(runs)} runs failed, see their train.log:\n{listed}\n"
            "Mend the cause and give the same command again: what is done is kept."
        )
    return ResultsTable(columns, [row for run in runs if (row := _row(table, run))])


def class_column(name: str) -> str:
    """The column of a class's PQ."""
    return f"pq {name}"


def write_initial_weights(
    path: Path, config: Config, categories: Sequence[Category], weights: Path | None = None
) -> None:
    """Writes what all variants of a seed start from: backbone, decoder, initial and final heads.

    A relation's own weights are drawn by each run: they have no counterpart in the others, except that PISR with
    and without reweighting draw the same attention.

    Args:
        path: the checkpoint to write.
        config: a run's; its relation does not matter.
        categories: the dataset's.
        weights: a checkpoint whose tensors are taken as far as they fit, see `load_fitting_weights`.

    Raises:
        CheckpointError: `weights` cannot be read, or is another network's.
    """
    config = replace(config, relation=replace(config.relation, name="heads"))
    torch.manual_seed(config.train.seed)
    model = build_model(config, categories)
    load_backbone_weights(model, config.backbone)
    if weights:
        load_fitting_weights(model, weights)
    save_checkpoint(path, model.state_dict(), config, categories, {"step": 0, "weights": _name(weights)})


def _config_file(study: Study, run: Run) -> Path:
    return study.out / "configs" / f"{run.name}.toml"


def _initial_weights(study: Study, seed: int) -> Path:
    return study.out / "initial" / f"seed{seed}.safetensors"


def _is_begun(study: Study, run: Run) -> bool:
    """Whether this run was begun, with these settings.

    Raises:
        ConfigError: it was begun with others.
    """
    path = _config_file(study, run)
    if not path.is_file():
        return False
    changed = changed_settings(presets.to_dict(presets.load(str(path))), presets.to_dict(run.config))
    if changed:
        raise ConfigError(
            f"{path}: this run was begun with other settings ({'; '.join(changed.values())}). "
            "Give the same ones to continue, or another --out for another study."
        )
    return True


def _prepare(study: Study, run: Run, categories: Sequence[Category]) -> None:
    initial = _initial_weights(study, run.seed)
    weights = study.weights and Path(str(study.weights).replace("{seed}", str(run.seed)))
    if not initial.is_file():
        write_initial_weights(initial, study.config((), run.seed), categories, weights)
    elif (begun := read_checkpoint(initial).info.get("weights")) != _name(weights):
        raise ConfigError(
            f"{initial}: this study was begun from {begun or 'random weights'}, not from {_name(weights) or 'such'}. "
            "Give the same --weights to continue, or another --out for another study."
        )
    with written_whole(_config_file(study, run)) as part:
        part.write_text(presets.to_toml(run.config), encoding="utf-8")


def _name(weights: Path | None) -> str | None:
    return None if weights is None else str(weights)


def _training(study: Study, run: Run) -> Training:
    folder = study.run_folder(run.variant, run.seed)
    data = ("--data", str(study.root)) if study.root else ()
    shared = ("--preset", str(_config_file(study, run)), "--out", str(folder.path), *data)
    start = (*shared, "--weights", str(_initial_weights(study, run.seed)))
    return Training(run.name, folder, run.config.train.steps, start, (*shared, "--resume"))


def _read(path: Path, columns: tuple[str, ...]) -> ResultsTable:
    if not path.exists():
        return ResultsTable(columns)
    table = ResultsTable.read_csv(path, numbers=columns[1:])
    if table.columns != columns:
        raise DataError(f"{path}: has the columns of another dataset or version. Choose another --out.")
    return table


def _row(table: ResultsTable, run: Run) -> dict[str, Cell] | None:
    return table.find(variant=run.variant, seed=run.seed)


def _scores(run: Run, folder: RunFolder, categories: Sequence[Category]) -> dict[str, Cell]:
    """The row of a run, from its last evaluation.

    Raises:
        DataError: the file of its metrics is damaged.
    """
    try:
        return _row_of(run, _last_evaluation(folder.metrics), categories)
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DataError(
            f"{folder.metrics}: holds no whole evaluation ({str(error)[:100]}). Remove {folder.path} and call again, "
            "which trains it anew."
        ) from error


def _row_of(run: Run, scores: Mapping[str, Any], categories: Sequence[Category]) -> dict[str, Cell]:
    panoptic = scores["panoptic"]
    row: dict[str, Cell] = {"variant": run.variant, "seed": run.seed, "steps": run.config.train.steps}
    row |= {"pq": panoptic["all"]["pq"], "sq": panoptic["all"]["sq"], "rq": panoptic["all"]["rq"]}
    row |= {"pq_things": panoptic["things"]["pq"], "pq_stuff": panoptic["stuff"]["pq"]}
    row["miou"] = scores["semantic"]["miou"]
    for category in categories:
        quality = panoptic["per_class"][str(category.id)]
        occurs = quality["tp"] + quality["fp"] + quality["fn"] > 0
        row[class_column(category.name)] = quality["pq"] if occurs else None
    return row


def _last_evaluation(metrics: Path) -> dict[str, Any]:
    records = [metrics_record(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    evaluations = [record["evaluation"] for record in records if record and "evaluation" in record]
    return evaluations[-1]
