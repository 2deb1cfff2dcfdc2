import json

import pytest
import torch

from pisr_core import presets
from pisr_core.data.scenes import SCENE_CATEGORIES
from pisr_core.models import build_model
from pisr_core.weights.files.checkpoint import save_checkpoint


@pytest.fixture
def checkpoint(tmp_path):
    config = presets.load("scenes-pdl-r18-baseline", ["backbone.pretrained=false"])
    path = tmp_path / "runs" / "first" / "best.safetensors"
    save_checkpoint(path, build_model(config, SCENE_CATEGORIES).state_dict(), config, SCENE_CATEGORIES, {})
    return path


def test_an_archive_of_the_newest_run(pisr, checkpoint, tmp_path):
    arguments = ("--out", "out/model.pt2", "--fixed", "--size", "64x96", "--batch", 1, "--no-merging", "--json")
    code, out, err = pisr("export", *arguments)
    document = json.loads(out)
    assert code == 0 and "runs/first/best.safetensors" in err
    assert document["out"] == "out/model.pt2" and document["checked_sizes"] == [[64, 96]]
    assert list(document["deviations"]) == ["semantic_logits", "center_heatmap", "offset"]
    assert all(found["relative"] <= found["tolerance"] for found in document["deviations"].values())
    assert document["metadata"]["preset"] == "scenes-pdl-r18-baseline"
    outputs = torch.export.load("out/model.pt2").module()(torch.zeros(1, 3, 64, 96, dtype=torch.uint8))
    assert outputs["semantic_logits"].shape == (1, len(SCENE_CATEGORIES), 16, 24)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "model.bin"], "onnx or torch"),
        (["--out", "model.onnx", "--format", "tflite"], "--format tflite"),
        (["--out", "model.onnx", "--size", "big"], "512x1024"),
        (["--out", "model.onnx", "--size", "65x128"], "--size 80x128"),
        (["--out", "model.onnx", "--checkpoint", "none.safetensors"], "none.safetensors"),
        (["--out", "model.onnx", "--check-images", "nowhere"], "nowhere"),
    ],
)
def test_mistakes(pisr, checkpoint, arguments, message):
    code, out, err = pisr("export", *arguments)
    assert code == 2 and out == ""
    assert message in err and "Traceback" not in err


def test_help_has_an_example(pisr):
    code, out, _ = pisr("export", "--help")
    assert code == 0 and "Example: pisr export" in " ".join(out.split())
