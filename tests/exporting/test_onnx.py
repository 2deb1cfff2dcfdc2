"""What ONNX Runtime says; each part of the models once, for tracing takes seconds."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pisr_core.errors import ConfigError
from pisr_core.exporting import ExportRequest, export_model
from pisr_core.exporting.formats import METADATA_KEY

ort = pytest.importorskip("onnxruntime")
EXPORT_PAGE = Path(__file__).parents[2] / "docs" / "export.md"
pytestmark = pytest.mark.usefixtures("unchecked_shapes")


def largest(report):
    return max(found.relative for found in report.deviations)


def test_free_sizes_and_what_the_file_says_of_itself(tiny_model, tmp_path, record_property):
    model = tiny_model("maskformer")
    report = export_model(model, tmp_path / "model.onnx", ExportRequest("onnx", (64, 96), merging=False))
    for found in report.deviations:
        record_property(f"{found.output}, relative", found.relative)
    assert largest(report) < 1e-5
    assert report.sizes == ((64, 96), (96, 64), (96, 160))
    session = ort.InferenceSession(report.path)
    metadata = json.loads(session.get_modelmeta().custom_metadata_map[METADATA_KEY])
    assert metadata == report.metadata
    assert metadata["thing_ids"] == [1, 3] and metadata["categories"][0]["color"] == [10, 20, 30]
    assert [output.name for output in session.get_outputs()] == list(metadata["outputs"])
    # A size and a number of images that the check has not seen.
    images = torch.randint(0, 256, (3, 3, 160, 64), dtype=torch.uint8)
    expected = model.exportable(merging=False).reference(images)
    for actual, values in zip(session.run(None, {"images": images.numpy()}), expected.values(), strict=True):
        np.testing.assert_allclose(actual, values, rtol=1e-3, atol=1e-4)


def test_panoptic_maps_and_the_example_of_the_documentation(tiny_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    report = export_model(tiny_model("upernet"), Path("model.onnx"), ExportRequest("onnx", (64, 96)))
    assert largest(report) < 1e-3
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (70, 130, 3), dtype=np.uint8)).save("photo.jpg")
    (code,) = re.findall(r"```py\n(.*?)```", EXPORT_PAGE.read_text(), flags=re.DOTALL)
    names = {}
    exec(compile(code, EXPORT_PAGE.name, "exec"), names)
    category, instance = names["category"], names["instance"]
    assert category.shape == instance.shape == (1, 64, 128) and category.dtype == instance.dtype == np.int32
    colors = np.array([entry["color"] for entry in report.metadata["categories"]] + [(0, 0, 0)])
    np.testing.assert_array_equal(np.asarray(Image.open("classes.png")), colors[category[0]])


def test_onnx_missing(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ConfigError, match=r"onnxscript.*pip install '\.\[export\]'"):
        export_model(tiny_model("upernet"), tmp_path / "model.onnx", ExportRequest("onnx", (64, 96)))
