"""Proposals and detections, whose numbers depend on values, in ONNX Runtime."""

import pytest

from pisr_core.exporting import ExportRequest, export_model

pytest.importorskip("onnxruntime")


def test_detections(tiny_model, unchecked_shapes, tmp_path, record_property):
    request = ExportRequest("onnx", (96, 128), dynamic=False, merging=False)
    report = export_model(tiny_model("panoptic_fpn", "none"), tmp_path / "model.onnx", request)
    assert [found.output for found in report.deviations] == ["semantic_logits", "boxes", "scores", "labels", "masks"]
    for found in report.deviations:
        record_property(f"{found.output}, relative", found.relative)
        assert found.relative < 1e-4
