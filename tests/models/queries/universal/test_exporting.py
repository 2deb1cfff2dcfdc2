"""Networks of `transformers` as graphs, of one size."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_networks import CATEGORIES, SIDE, config_of

from pisr_core.exporting.tracing import trace
from pisr_core.models import build_model


@pytest.mark.parametrize(
    "settings", [{"enlarge": "logits"}, {"enlarge": "probabilities"}, {"enlarge": "probabilities", "mask_grid": (9, 7)}]
)
def test_masks_become_as_large_as_they_do_otherwise(settings):
    model = build_model(config_of("mask2former", **settings), CATEGORIES)
    mask_logits, size = 3 * torch.randn(3, 12, 16), (48, 64)
    expected = torch.cat(list(model.mask_bands(mask_logits, size, size)), dim=1)
    torch.testing.assert_close(model.exportable(merging=True).full_masks(mask_logits[None])[0], expected)


def test_the_graph_of_eomt_takes_its_one_size_and_merges():
    config = config_of("eomt")
    sure = replace(config.transformers, object_mask_threshold=0.0, overlap_threshold=0.0)
    model = build_model(replace(config, transformers=sure), CATEGORIES).eval()
    network = model.exportable(merging=True)
    assert network.smallest == 1 and network.free_range((SIDE, SIDE)) == ((SIDE, SIDE), (SIDE, SIDE))
    graph = trace(network, (SIDE, SIDE), 1, dynamic=True).module()
    images = torch.randint(0, 256, (1, 3, SIDE, SIDE), dtype=torch.uint8)
    expected, answer = network.reference(images), graph(images)
    for name, values in expected.items():
        assert np.mean(values.numpy() != answer[name].numpy()) < 1e-3
