"""What runs and studies leave and commands read again, and films."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from specimen import SIZE, Specimen, csv_bytes, pixels

from pisr_core.config import Config, DataConfig, TrainConfig
from pisr_core.data.pictures.video import written_video
from pisr_core.errors import DataError
from pisr_core.inference.inputs import Inputs, prepare
from pisr_core.profiling.tradeoff import read_results
from pisr_core.results.table import ResultsTable
from pisr_core.structures import Category
from pisr_core.studies.ablation import COLUMNS, NUMBERS
from pisr_core.studies.study import Run, _read, _scores
from pisr_core.studies.study_report import study_report, summary_table
from pisr_core.training.listeners import JsonLinesListener, StartRecord
from pisr_core.training.state import RunFolder


def runs() -> dict[str, Specimen]:
    """What a run and a study leave and commands read again."""
    config = Config(name="r", train=TrainConfig(steps=2))
    run = Run("pisr", 0, config)
    quality = {"pq": 1.5, "sq": 50.0, "rq": None, "tp": 1, "fp": 2, "fn": 3}
    panoptic = {**dict.fromkeys(("all", "things", "stuff"), quality), "per_class": {"1": quality}}
    evaluation = {"step": 2, "evaluation": {"panoptic": panoptic, "semantic": {"miou": 10.0}}}
    first = {"step": 1, "lr": 0.1, "loss": 0.5, "losses": {"semantic": 0.5}, "images_per_second": 2.0}
    lines = f"{json.dumps(first)}\n{json.dumps(evaluation)}\n".encode()
    columns = ("variant", "seed", "steps", "pq", "sq", "rq", "pq_things", "pq_stuff", "miou", "pq road")
    rows = [[variant, seed, 2, *([1.5 + seed] * 7)] for variant in ("none", "pisr") for seed in (0, 1)]
    k_rows = [["r", 0, k, *([1.5] * 6), 5, 4, "val", "abc", "c.safetensors"] for k in (1, 5)]
    settings = {"a.csv": csv_bytes(["preset", "pq", "settings"], [["scenes-pdl-r18", 1.5, "relation.top_k=5"]])}
    mine = {"study.csv": csv_bytes(list(columns), rows), "configs/none-seed0.toml": b"extends = 'scenes-pdl-r18'"}
    of_study = {**mine, **{f"configs/{v}-seed{s}.toml": mine["configs/none-seed0.toml"] for v, s, *_ in rows}}

    def resume(folder: Path) -> Any:
        listener = JsonLinesListener(folder / "metrics.jsonl")
        listener.on_start(StartRecord(config, folder, 2, "cpu", 1, 2))
        listener.on_end()

    def scores(folder: Path) -> Any:
        return _scores(run, RunFolder(folder), (Category(1, "road", False),))

    def report(folder: Path) -> Any:
        table = _read(folder / "study.csv", columns)
        names = [str(row["variant"]) for row in table.rows]
        return names and summary_table(study_report(table, names[0], ["road"]))

    def ablation(folder: Path) -> Any:
        return ResultsTable.read_csv(folder / "k.csv", NUMBERS)

    return {
        "metrics of a run": Specimen("metrics.jsonl", {"metrics.jsonl": lines}, resume),
        "metrics of a study": Specimen("metrics.jsonl", {"metrics.jsonl": lines}, scores),
        "evaluation": Specimen("metrics.jsonl", {"metrics.jsonl": json.dumps(evaluation).encode()}, scores, "json"),
        "study CSV": Specimen("study.csv", mine, report),
        "ablation CSV": Specimen("k.csv", {"k.csv": csv_bytes(list(COLUMNS), k_rows)}, ablation),
        "models to plot": Specimen("a.csv", settings, lambda folder: read_results(folder / "a.csv")),
        "study to plot": Specimen("study.csv", of_study, lambda folder: read_results(folder / "study.csv")),
    }


def films(folder: Path) -> dict[str, Specimen]:
    """Films as `pisr predict` reads, prepares and draws them, in small."""
    frames = [np.roll(pixels(), index, axis=1) for index in range(4)]
    found = {}
    for name, code in {"mp4v.mp4": "mp4v", "mjpg.avi": "MJPG", "mp4v.mkv": "mp4v"}.items():
        writer = cv2.VideoWriter(str(folder / name), cv2.VideoWriter.fourcc(*code), 10, SIZE[::-1])
        for frame in frames:
            writer.write(frame)
        writer.release()
        content = (folder / name).read_bytes()
        found[f"film {name}"] = Specimen(name, {name: content}, partial(_play, name=name))
    return found


def _play(folder: Path, name: str) -> None:
    read = [prepare(item, DataConfig(), 32) for item in Inputs([folder / name], [name])]
    whole = [each.sample.image.permute(1, 2, 0).contiguous().numpy() for each in read if each.batch is not None]
    film = next((each.input.film for each in read if each.input.film), None)
    if film is not None:
        with written_video(folder / "out" / name, film.fps) as add:
            for frame in whole:
                add(frame)
    errors = [each.error for each in read if each.error]
    if errors:
        raise DataError(errors[0])
