import json

import pytest
import torch
import torchvision

from pisr_cli.app import main
from pisr_core import presets
from pisr_core.data.scenes import SCENE_CATEGORIES
from pisr_core.models import build_model
from pisr_core.weights.files.checkpoint import read_checkpoint
from pisr_core.weights.public.sources import SOURCES, WeightsSource


@pytest.fixture
def pisr(capsys, tmp_path, monkeypatch):
    """Runs `pisr weights` in an empty folder and gives its (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        with pytest.raises(SystemExit) as exit_:
            main(["weights", *map(str, arguments)])
        captured = capsys.readouterr()
        return exit_.value.code or 0, captured.out, captured.err

    return run


@pytest.fixture
def base(tmp_path):
    model = build_model(presets.load("scenes-pdl-r18-baseline"), SCENE_CATEGORIES)
    state = model.state_dict() | {
        "initial_heads.semantic.1.weight": torch.zeros(7, 64, 1, 1),
        "initial_heads.semantic.1.bias": torch.zeros(7),
        "extra": torch.zeros(2),
    }
    torch.save({"model": state}, tmp_path / "base.pth")
    return tmp_path / "base.pth"


@pytest.mark.parametrize("command", ["list", "download", "import"])
def test_help_has_an_example(pisr, command):
    code, out, _ = pisr(command, "--help")
    assert code == 0 and f"Example: pisr weights {command}" in " ".join(out.split())


def test_list(pisr):
    code, out, _ = pisr("list")
    assert code == 0 and all(name in out for name in SOURCES)
    code, out, _ = pisr("list", "--json")
    entries = {entry["name"]: entry for entry in json.loads(out)}
    assert code == 0 and entries["pdl-r50-coco"]["url"].endswith("model_final_5e6da2.pkl")


def test_import_lists_every_tensor_that_does_not_fit(pisr, base):
    code, out, err = pisr("import", base, "--preset", "scenes-pdl-r18", "--out", "start.safetensors")
    assert code == 0 and "next: pisr train --preset scenes-pdl-r18 --weights start.safetensors" in err
    text = "".join(out.split())
    for shown in ("extra", "initial_heads.semantic.1.weight", "othershape", "notused", "7×64×1×1", "15×64×1×1"):
        assert shown in text


def test_import_as_json(pisr, base, tmp_path):
    code, out, _ = pisr("import", base, "--preset", "scenes-pdl-r18", "--json", "--set", "relation.name=ocr")
    document = json.loads(out)
    assert code == 0 and document["out"] == "scenes-pdl-r18.safetensors"
    assert document["unused"] == [{"name": "extra", "file_shape": [2], "model_shape": None}]
    assert document["missing"] == [] and len(document["reinitialised"]) == 2
    assert read_checkpoint(tmp_path / "scenes-pdl-r18.safetensors").config.relation.name == "ocr"


def test_a_backbone_into_a_preset_for_other_data(pisr, tmp_path):
    torch.save(torchvision.models.resnet18().state_dict(), "resnet18.pth")
    code, _, err = pisr("import", "resnet18.pth", "--preset", "custom-pdl-r18")
    assert code == 2 and "--data" in err
    options = ("--set", "data.dataset=coco", "--out", "o.safetensors")
    code, _, _ = pisr("import", "resnet18.pth", "--preset", "custom-pdl-r18", *options)
    assert code == 0 and len(read_checkpoint(tmp_path / "o.safetensors").categories) == 133


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["import", "none.pkl", "--preset", "scenes-pdl-r18"], "none.pkl"),
        (["import", "none.pkl", "--preset", "nonsense"], "nonsense"),
        (["download", "pdl-r50-cocoa"], "Did you mean pdl-r50-coco"),
    ],
)
def test_mistakes_exit_with_2_and_one_message(pisr, arguments, message):
    code, out, err = pisr(*arguments)
    assert code == 2 and out == "" and message in err and "Traceback" not in err


def test_without_a_network_the_address_is_named(pisr, monkeypatch):
    nowhere = WeightsSource("http://127.0.0.1:9/w.pkl", "", "coco-pdl-r50", "", "", "")
    monkeypatch.setitem(SOURCES, "pdl-r50-coco", nowhere)
    code, out, err = pisr("download", "pdl-r50-coco")
    assert code == 2 and out == "" and "http://127.0.0.1:9/w.pkl cannot be fetched" in err
