import json

import numpy as np
import pytest
import torch

from pisr_core.errors import CheckpointError, ConfigError, ExportError
from pisr_core.exporting import ExportRequest, default_size, export_model
from pisr_core.exporting.formats import METADATA_KEY
from pisr_core.exporting.networks import network_kind

ARCHITECTURES = ["panoptic_deeplab", "upernet", "maskformer", "panoptic_fpn"]
ort = pytest.importorskip("onnxruntime")


@pytest.mark.parametrize("merging", [False, True])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_graph_gives_what_the_model_gives(tiny_model, architecture, merging):
    """Before any tracing: its own proposals, detections and mergings, on two images."""
    model = tiny_model(architecture)
    network = network_kind(model)(model, merging)
    images = torch.randint(0, 256, (2, 3, 128, 160), dtype=torch.uint8)
    with torch.no_grad():
        actual = network(images)
    expected = network.reference(images)
    assert list(actual) == list(expected) == list(network.outputs)
    for name, values in expected.items():
        torch.testing.assert_close(actual[name], values, msg=name)
    if merging:
        assert len(expected["category"].unique()) > 1 and expected["instance"].max() > 1


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_onnx(tiny_model, unchecked_shapes, architecture, tmp_path, record_property):
    model = tiny_model(architecture)
    report = export_model(model, tmp_path / "m.onnx", ExportRequest("onnx", (128, 96), merging=False))
    assert len(report.sizes) == 3
    for found in report.deviations:
        record_property(f"{architecture} {found.output}, relative", found.relative)
        assert found.relative < 1e-4
    session = ort.InferenceSession(report.path)
    assert json.loads(session.get_modelmeta().custom_metadata_map[METADATA_KEY]) == report.metadata
    assert [output.name for output in session.get_outputs()] == list(report.metadata["outputs"])
    assert report.metadata["thing_ids"] == [1, 3] and report.metadata["categories"][0]["color"] == [10, 20, 30]
