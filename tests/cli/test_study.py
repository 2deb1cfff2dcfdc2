import json

import pytest
from typer.testing import CliRunner

from pisr_cli.app import app
from pisr_cli.study import parse_seeds
from pisr_core.errors import ConfigError
from pisr_core.weights.files.checkpoint import read_checkpoint

SMALL = (
    *("--preset", "scenes-pdl-r18", "--device", "cpu", "--parallel", "1", "--seeds", "3", "--steps", "1"),
    *("--set", "backbone.pretrained=false", "--set", "train.batch_size=2", "--set", "data.crop=[64,64]"),
    *("--set", "data.scenes.size=[64,64]", "--set", "data.scenes.val_images=1", "--set", "data.workers=0"),
)


def pisr(*arguments):
    return CliRunner().invoke(app, ["study", *arguments])


def test_trains_reports_and_continues(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = (*SMALL, "--variants", "", "--variant", "narrow:relation.channels=8", "--against", "narrow", "--json")
    result = pisr(*arguments)
    assert result.exit_code == 0, (result.exception, result.stderr)
    document = json.loads(result.stdout)
    (row,) = document["runs"]
    assert (row["variant"], row["seed"], row["steps"], document["out"]) == ("narrow", 3, 1, "studies/scenes-pdl-r18")
    assert "narrow-seed3: PQ" in result.stderr
    folder = tmp_path / "studies" / "scenes-pdl-r18"
    assert {"study.csv", "summary.csv", "study.png", "study.html"} <= {path.name for path in folder.iterdir()}
    checkpoint = read_checkpoint(folder / "runs" / "narrow-seed3" / "last.safetensors")
    assert (checkpoint.config.relation.channels, checkpoint.info["step"]) == (8, 1)

    monkeypatch.setattr("pisr_cli.study.TRAIN", ("false",))
    again = pisr(*arguments)
    assert json.loads(again.stdout) == document
    text = pisr(*arguments[:-1]).stdout
    assert "narrow" in text and "One seed" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--variants", "none,ocr"), "--against pisr"),
        (("--variants", "pisr,psir"), "psir"),
        (("--seeds", "1;2"), "--seeds 1;2"),
        (("--set", "relation.chanels=3"), "did you mean relation.channels"),
    ],
)
def test_mistakes_are_named_before_anything_is_trained(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    error = pisr(*SMALL, *arguments).exception
    assert isinstance(error, ConfigError) and message in str(error)
    assert list(tmp_path.iterdir()) == []


def test_seeds():
    assert parse_seeds("0,1, 7") == (0, 1, 7)
