from dataclasses import replace

import numpy as np
import pytest
import torch

from pisr_core.config import DataConfig
from pisr_core.errors import ConfigError, ExportError
from pisr_core.exporting import ExportRequest, default_size, export, export_model
from pisr_core.exporting.checking import check_batches, compare, deviation
from pisr_core.exporting.export import check_size
from pisr_core.exporting.formats import FORMATS


def test_deviation_of_numbers_is_relative_to_the_largest():
    found = deviation("x", np.array([1.0, -19.5], np.float32), np.array([1.0, -20.0], np.float32))
    assert (found.largest, found.relative, found.acceptable) == (0.5, 0.025, False)
    assert deviation("x", np.zeros(2, np.float32), np.zeros(2, np.float32)).acceptable


def test_deviation_of_labels_is_a_share():
    expected = np.zeros((10, 20), np.int32)
    actual = expected.copy()
    actual[0, 0] = 7
    found = deviation("x", actual, expected)
    assert found.relative == 1 / 200 and found.acceptable
    actual[0] = 7
    assert not deviation("x", actual, expected).acceptable


@pytest.mark.parametrize("actual", [np.zeros((2, 3), np.float32), np.array([np.nan, 0, 0, 0], np.float32)])
def test_other_shapes_and_nan_are_never_acceptable(actual):
    assert not deviation("x", actual, np.zeros(4, np.float32)).acceptable


def test_batches_are_noise_and_every_picture_at_each_size():
    picture = torch.full((3, 50, 40), 200, dtype=torch.uint8)
    batches = check_batches([picture] * 3, [(32, 64), (64, 32)], (2, 1))
    assert [tuple(batch.shape) for batch in batches] == [(2, 3, 32, 64)] * 3 + [(1, 3, 64, 32)] * 4
    assert (batches[1] == 200).all() and batches[0].unique().numel() > 200


def test_the_worst_batch_counts(tiny_model):
    model = tiny_model("maskformer", "none")
    network = model.exportable(merging=False)
    batches = [torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8) for _ in range(3)]
    errors = iter((0.0, 0.5, 0.1))

    def run(images):
        error = next(errors)
        return [values.numpy() + error for values in network.reference(torch.from_numpy(images)).values()]

    assert [found.largest for found in compare(network, run, batches)] == pytest.approx([0.5, 0.5], rel=1e-5)


def test_a_file_that_deviates_is_not_written(tiny_model, tmp_path, monkeypatch):
    class Wrong(FORMATS["torch"]):
        def runner(self, content):
            run = super().runner(content)
            return lambda images: [values * 1.01 for values in run(images)]

    monkeypatch.setitem(export.FORMATS, "torch", Wrong)
    path = tmp_path / "model.pt2"
    path.write_text("earlier")
    request = ExportRequest("torch", (64, 64), batch=1, dynamic=False, merging=False)
    with pytest.raises(ExportError, match="class_logits deviates"):
        export_model(tiny_model("maskformer", "none"), path, request)
    assert path.read_text() == "earlier" and [p.name for p in tmp_path.iterdir()] == ["model.pt2"]


def test_sizes(tiny_model):
    check_size((64, 96), 32, 2)
    with pytest.raises(ConfigError, match="--size 64x96"):
        check_size((33, 70), 32, 2)
    with pytest.raises(ConfigError, match="at least 96"):
        check_size((64, 96), 32, 3)
    model = tiny_model("panoptic_fpn")
    assert default_size(model) == (512, 512)
    model.config = replace(model.config, data=DataConfig(crop=(40, 513)))
    assert default_size(model) == (96, 544)


def test_sides_hold_as_many_cells_as_there_are_instances(tiny_model):
    model = tiny_model("panoptic_deeplab")
    divisor = model.size_divisor
    for top_k in (0, 6, 200, 300):
        model.config = replace(model.config, relation=replace(model.config.relation, top_k=top_k))
        smallest = model.exportable(merging=False).smallest
        cells = smallest * divisor // 4
        assert cells**2 >= top_k and smallest >= 2
        assert smallest == 2 or (cells - divisor // 4) ** 2 < top_k
