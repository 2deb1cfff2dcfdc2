import json

import pytest
import torch
from typer.testing import CliRunner

from pisr_cli.app import app
from pisr_core import presets
from pisr_core.data.scenes import SCENE_CATEGORIES
from pisr_core.errors import CheckpointError, ConfigError
from pisr_core.models import build_model
from pisr_core.results.table import ResultsTable
from pisr_core.weights.files.checkpoint import save_checkpoint

SMALL = (
    *("backbone.pretrained=false", "data.scenes.size=[64, 64]", "data.scenes.val_images=2", "data.workers=0"),
    *("data.crop=[64, 64]", "train.batch_size=2"),
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a run that has seen up to 6 instances."""
    monkeypatch.chdir(tmp_path)
    config = presets.load("scenes-pdl-r18", [*SMALL, "relation.top_k=6"])
    torch.manual_seed(0)
    path = tmp_path / "runs" / "first" / "best.safetensors"
    save_checkpoint(path, build_model(config, SCENE_CATEGORIES).state_dict(), config, SCENE_CATEGORIES, {})
    return tmp_path


def pisr(*arguments):
    return CliRunner().invoke(app, ["ablate-k", "--device", "cpu", *arguments])


def test_alone_it_takes_the_newest_run(folder):
    result = pisr("--range", "2..6:2", "--json")
    assert result.exit_code == 0, result.exception
    rows = json.loads(result.stdout)["rows"]
    assert [(row["k"], row["trained_k"], row["images"], row["split"]) for row in rows] == [
        (k, 6, 2, "val") for k in (2, 4, 6)
    ]
    assert rows[0]["checkpoint"] == "runs/first/best.safetensors" and rows[0]["filled_max"] <= 2
    assert ResultsTable.read_csv(folder / "ablate-k" / "ablate_k.csv").rows == rows
    assert (folder / "ablate-k" / "ablate_k.png").stat().st_size > 1000


def test_the_table_says_how_many_maps_are_filled(folder):
    result = pisr("--range", "2", "--limit", "1", "--checkpoint", "runs/first/best.safetensors")
    assert result.exit_code == 0, result.exception
    assert "with reweighting" in result.stdout and "maps filled" in result.stdout
    assert "1 of 1 values of K to do" in result.stderr


def test_a_model_for_each_k(folder):
    settings = [argument for setting in SMALL for argument in ("--set", setting)]
    retrain = ("--preset", "scenes-pdl-r18", "--retrain", "--reweighting", "without", "--steps", "1", "--parallel", "1")
    result = pisr("--range", "3", *retrain, *settings, "--out", "k", "--json")
    assert result.exit_code == 0, (result.exception, result.stderr)
    (row,) = json.loads(result.stdout)["rows"]
    assert (row["k"], row["trained_k"]) == (3, 3)
    assert row["model"] == "scenes-pdl-r18, without reweighting, trained for each K"
    assert row["checkpoint"] == "k/trained/runs/k3-noreweight-seed0/last.safetensors"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--range", "10..200"), "trained with 6 instances"),
        (("--preset", "scenes-pdl-r18"), "--retrain"),
        (("--retrain",), "--preset NAME"),
        (("--preset", "scenes-pdl-r18", "--retrain", "--reweighting", "no"), "both, with, without"),
    ],
)
def test_mistakes_are_named(folder, arguments, message):
    error = pisr(*arguments).exception
    assert isinstance(error, ConfigError) and message in str(error)


def test_without_a_run_it_says_how_to_get_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    error = pisr().exception
    assert isinstance(error, CheckpointError) and "pisr train" in str(error)
