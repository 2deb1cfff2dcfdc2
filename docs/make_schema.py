"""Writes schema/*.json beside this file, what `--json` prints of each command: `python docs/make_schema.py`.

The documents stand in json_documents/; what they take over from `pisr` as it is comes from there, with its words.
"""

import inspect
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from json_documents.data import Check, DrawnScenes, PreparedSplit
from json_documents.fields import with_fields
from json_documents.training_and_scores import Evaluation, Training
from json_documents.work import Ablation, Costs, Export, ExportedFolder, Heatmaps, Prediction, Pushed, Study

from pisr_core.backbones.listing import BackboneDescription
from pisr_core.config import Config
from pisr_core.environment import Environment
from pisr_core.metrics.films import FilmResult
from pisr_core.metrics.panoptic_quality import GroupQuality
from pisr_core.paper import Table
from pisr_core.profiling.dry_run import DryRun
from pisr_core.serving.uploads import Limits
from pisr_core.weights.fitting import FitReport
from pisr_core.weights.public.sources import WeightsSource

FOLDER = Path(__file__).with_name("schema")
DIALECT = "https://json-schema.org/draft/2020-12/schema"

DOCUMENTS: dict[str, tuple[Any, ...]] = {
    "ablate-k": (Ablation,),
    "data check": (Check,),
    "data convert": (dict[str, PreparedSplit],),
    "data prepare": (DrawnScenes, dict[str, PreparedSplit]),
    "env": (Environment,),
    "eval": (Evaluation, with_fields(FilmResult, windows=dict[str, GroupQuality])),
    "export": (Export,),
    "flops": (Costs,),
    "predict": (Prediction,),
    "presets": (Config, Table, list[Config], list[BackboneDescription]),
    "serve": (with_fields(Limits, url=str, checkpoint=str, device=str),),
    "study": (Study,),
    "train": (Training, with_fields(DryRun, preset=str, out=str)),
    "visualize-heatmaps": (Heatmaps,),
    "weights download": (with_fields(WeightsSource, path=str, name=str), dict[str, str]),
    "weights export": (ExportedFolder,),
    "weights import": (with_fields(FitReport, out=str), dict[str, Any]),
    "weights list": (list[with_fields(WeightsSource, name=str)],),
    "weights push": (Pushed,),
    "weights show": (with_fields(WeightsSource, name=str),),
}
"""What each command may print, by its words; a group's stands for all of its commands."""


def schemas() -> dict[str, dict[str, Any]]:
    """The schema of each command's document."""
    return {command: schema(command, kinds) for command, kinds in DOCUMENTS.items()}


def schema(command: str, kinds: tuple[Any, ...]) -> dict[str, Any]:
    """One schema; objects have no other keys than those that it lists."""
    found, parts = msgspec.json.schema_components(kinds, ref_template="#/$defs/{name}")
    described = {name: _strict(part) for name, part in sorted(parts.items())}
    whole = found[0] if len(found) == 1 else {"anyOf": list(found)}
    return {"$schema": DIALECT, "title": f"pisr {command} --json", **whole, "$defs": described}


def _strict(part: dict[str, Any]) -> dict[str, Any]:
    """A part whose properties say what they are, in the words of its docstring, and which has no others."""
    text = inspect.cleandoc(part.get("description", ""))
    summary, _, attributes = text.partition("\n\nAttributes:\n")
    words = dict(re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", attributes, flags=re.MULTILINE))
    for name, own in part.get("properties", {}).items():
        own.pop("default", None)
        if name in words:
            own["description"] = " ".join(words[name].split())
    if "properties" in part:
        part["additionalProperties"] = False
    return part | ({"description": " ".join(summary.split())} if summary else {})


def files(found: Mapping[str, Any]) -> dict[Path, str]:
    """What is written, by file."""
    return {
        FOLDER / f"{command.replace(' ', '-')}.json": json.dumps(document, indent=1, ensure_ascii=False) + "\n"
        for command, document in found.items()
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for path, text in files(schemas()).items():
        path.write_text(text, encoding="utf-8")
