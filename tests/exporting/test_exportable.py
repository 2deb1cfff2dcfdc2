"""Before any tracing: the graphs' own proposals, detections and mergings."""

import numpy as np
import pytest
import torch

from pisr_core.errors import ExportError
from pisr_core.exporting import ExportRequest, export_model
from pisr_core.exporting.checking import LABEL_TOLERANCE
from pisr_core.exporting.pooling import decompose_adaptive_pooling
from pisr_core.models import TwoStageModel

ARCHITECTURES = ["panoptic_deeplab", "upernet", "maskformer", "panoptic_fpn"]


@pytest.mark.parametrize("merging", [False, True])
@pytest.mark.parametrize("relation", ["none", "heads", "ocr", "concat", "product", "pisr"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_network_gives_what_the_model_gives(tiny_model, architecture, relation, merging):
    model = tiny_model(architecture, relation)
    network = model.exportable(merging)
    images = torch.randint(0, 256, (2, 3, 128, 160), dtype=torch.uint8)
    with torch.no_grad():
        actual = network(images)
    expected = network.reference(images)
    assert list(actual) == list(expected) == list(network.outputs)
    for name, values in expected.items():
        if merging:
            assert actual[name].dtype == torch.int32
            assert (actual[name] != values).float().mean() <= LABEL_TOLERANCE / 10
        else:
            torch.testing.assert_close(actual[name], values, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_there_is_something_to_compare(tiny_model, architecture):
    """Else the equality above would say nothing."""
    found = [
        model.exportable(merging=True).reference(torch.randint(0, 256, (2, 3, 128, 160), dtype=torch.uint8))
        for model in (tiny_model(architecture) for _ in range(4))
    ]
    assert any(len(maps["category"].unique()) > 2 for maps in found)
    assert any(maps["instance"].max() > 1 for maps in found)


def test_detections_are_compared_in_any_order(tiny_model):
    model = tiny_model("panoptic_fpn", "none")
    network = model.exportable(merging=False)
    expected = network.reference(torch.randint(0, 256, (2, 3, 128, 160), dtype=torch.uint8))
    shuffled = {name: v if name == "semantic_logits" else v[:, [2, 0, 3, 1]] for name, v in expected.items()}
    assert not torch.equal(shuffled["boxes"], expected["boxes"])
    aligned = network.aligned({name: values.numpy() for name, values in shuffled.items()}, expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(aligned[name], values)


def test_architectures_without_a_graph_are_refused(tiny_model, monkeypatch, tmp_path):
    model = tiny_model("upernet")
    monkeypatch.setattr(type(model), "exportable", TwoStageModel.exportable)
    with pytest.raises(ExportError, match="upernet cannot be exported"):
        export_model(model, tmp_path / "model.onnx", ExportRequest("onnx", (64, 64)))
    assert not (tmp_path / "model.onnx").exists()


@pytest.mark.parametrize("size", [(4, 6), (7, 5), (3, 13)])
@pytest.mark.parametrize("cells", [(1, 1), (3, 2), (3, 5)])
def test_adaptive_pooling(size, cells):
    maps = torch.rand(2, 3, *size)
    expected = torch.nn.functional.adaptive_avg_pool2d(maps, cells)
    torch.testing.assert_close(decompose_adaptive_pooling(maps, cells), expected)
