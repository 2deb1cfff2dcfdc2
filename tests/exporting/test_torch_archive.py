import json

import torch

from pisr_core.exporting import ExportRequest, export_model
from pisr_core.exporting.formats import METADATA_KEY


def test_free_sizes_with_merging(tiny_model, unchecked_shapes, tmp_path):
    model = tiny_model("panoptic_deeplab")
    report = export_model(model, tmp_path / "model.pt2", ExportRequest("torch", (64, 96)))
    assert all(found.relative == 0 for found in report.deviations)
    extra = {METADATA_KEY: ""}
    graph = torch.export.load(report.path, extra_files=extra).module()
    assert json.loads(extra[METADATA_KEY]) == report.metadata
    assert report.metadata["input"]["height"] == [64, 96] and report.metadata["input"]["width"] == [64, 160]
    images = torch.randint(0, 256, (3, 3, 96, 160), dtype=torch.uint8)  # the largest
    expected = model.exportable(merging=True).reference(images)
    actual = graph(images)
    assert list(actual) == list(expected) == ["category", "instance"]
    assert all(torch.equal(actual[name], values) for name, values in expected.items())


def test_ranges_around_the_pooling_window(tiny_model):
    model = tiny_model("panoptic_deeplab")  # its window is 96×170
    network = model.exportable(merging=False)
    assert network.free_range((64, 96)) == ((64, 96), (64, 160))
    assert network.free_range((96, 192)) == ((64, 96), (192, 1 << 14))
    assert network.free_range((128, 64)) == ((128, 1 << 14), (64, 160))
    model = tiny_model("upernet")
    assert model.exportable(merging=False).free_range((64, 96)) == ((64, 1 << 14), (64, 1 << 14))


def test_the_relation_between_fixed_detections(tiny_model, unchecked_shapes, tmp_path):
    request = ExportRequest("torch", (96, 128), batch=2, dynamic=False, merging=False)
    report = export_model(tiny_model("panoptic_fpn"), tmp_path / "model.pt2", request)
    assert len(report.deviations) == 5 and all(found.relative < 1e-5 for found in report.deviations)
