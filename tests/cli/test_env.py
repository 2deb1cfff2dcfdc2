import json
import re
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pisr_cli.app import app
from pisr_core import environment
from pisr_core.environment import EXTRAS, PACKAGES, Device


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder without variables that name another."""
    monkeypatch.chdir(tmp_path)
    for variable in ("PISR_DATASETS", "DETECTRON2_DATASETS"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


def env(*arguments):
    result = CliRunner().invoke(app, ["env", *map(str, arguments)])
    assert result.exit_code == 0, result.exception
    return result.stdout


def place(root, *splits):
    """Panoptic JSONs of Cityscapes, as far as `env` looks."""
    for split in splits:
        path = root / "cityscapes" / "gtFine" / f"cityscapes_panoptic_{split}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")


def test_names_what_is_installed_and_what_is_not(folder, monkeypatch):
    monkeypatch.setitem(environment.EXTRAS, "export", ("onnx", "no-such-package"))
    document = json.loads(env("--json"))
    assert re.match(r"\d+\.\d+", document["packages"]["torch"])
    assert document["extras"]["export"]["no-such-package"] is None
    assert "missing: no-such-package; pip install '.[export]'" in " ".join(env().replace("│", " ").split())


def test_a_checkout_that_is_not_installed_has_a_version(folder, monkeypatch):
    project = Path(__file__).parents[2]
    monkeypatch.setattr(environment, "_version", lambda package: None)
    monkeypatch.setattr(environment, "__file__", str(project / "pisr_core" / "environment.py"))
    version = tomllib.loads((project / "pyproject.toml").read_text())["project"]["version"]
    assert json.loads(env("--json"))["packages"]["pisr"] == f"{version}, not installed: the checkout in {project}"


def test_lists_what_pyproject_lists():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    names = [re.match(r"[\w-]+", line)[0] for line in project["dependencies"]]
    assert list(PACKAGES) == names
    for extra, packages in EXTRAS.items():
        needed = [re.match(r"[\w-]+", line)[0] for line in project["optional-dependencies"][extra]]
        assert list(packages) == [name for name in needed if name not in PACKAGES]  # of torch a newer one


def test_finds_datasets_where_they_are_looked_for(folder, monkeypatch):
    assert json.loads(env("--json"))["datasets"] == {}
    assert "datasets: none there" in " ".join(env().split())
    place(folder / "datasets", "val")
    found = json.loads(env("--json"))
    assert found["datasets_root"] == "datasets" and found["datasets_root_from"] is None
    assert found["datasets"] == {"cityscapes": {"val": "datasets/cityscapes/gtFine/cityscapes_panoptic_val.json"}}
    place(folder / "there", "train", "val")
    monkeypatch.setenv("DETECTRON2_DATASETS", "there")
    found = json.loads(env("--json"))
    assert found["datasets_root_from"] == "DETECTRON2_DATASETS" and list(found["datasets"]["cityscapes"]) == [
        "train",
        "val",
    ]
    assert json.loads(env("--json", "--data", "datasets"))["datasets_root_from"] is None


def test_shows_devices_with_their_memory(folder, monkeypatch):
    devices = [Device("cpu", "[x86]", 8 * 2**30), Device("mps", "Apple GPU", None)]
    monkeypatch.setattr(environment, "_devices", lambda: iter(devices))
    shown = " ".join(env().split())
    assert "device: cpu │ [x86], 8.0 GiB" in shown and "device: mps │ Apple GPU │" in shown


def test_writes_nothing(folder):
    env("--json")
    assert list(folder.iterdir()) == []
