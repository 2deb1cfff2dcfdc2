"""What only a GPU can show: recorded graphs, and merging that waits once."""

import warnings

import numpy as np
import pytest
import torch

from pisr_core.config import MergeConfig
from pisr_core.inference.fast_model import FastModel
from pisr_core.inference.graphs import GraphedForward
from pisr_core.inference.mode import inference
from pisr_core.models.center_offset.merging.panoptic import center_offset_panoptic
from pisr_core.models.center_offset.structures import CenterOffsetPrediction
from pisr_core.runtime.devices.transfer import to_host
from pisr_core.structures import SemanticPrediction

pytestmark = pytest.mark.cuda
CUDA = torch.device("cuda")


def test_replayed_forward_passes_are_the_eager_ones(tiny_model):
    model = FastModel(tiny_model.to(CUDA).eval())
    with inference(model):
        for seed in range(5):
            torch.manual_seed(seed)
            images = torch.rand(1, 3, 64, 96, device=CUDA) * 255
            ours, expected = model(images).final, model._plain_forward(images).final
            torch.testing.assert_close(ours.semantic.logits, expected.semantic.logits, rtol=1e-3, atol=1e-3)
    assert isinstance(model._run, GraphedForward) and len(model._run._recordings) == 1


def test_the_map_of_an_image_is_the_cpus_and_waits_once():
    logits, heatmap, offset = 5 * torch.randn(1, 5, 32, 48), torch.rand(1, 1, 32, 48), torch.randn(1, 2, 32, 48)
    sizes = ((128, 192), (100, 150))

    def merged(device):
        parts = (SemanticPrediction.from_logits(logits.to(device)), heatmap.to(device), offset.to(device))
        torch.cuda.synchronize()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            result = center_offset_panoptic(CenterOffsetPrediction(*parts), 0, *sizes, (2, 3, 4), config)
            torch.cuda.set_sync_debug_mode("default")
        return result.panoptic, sum("synchronizing" in str(one.message) for one in caught)

    config = MergeConfig(center_threshold=0.9)
    (there, waits), (here, _) = merged(CUDA), merged(torch.device("cpu"))
    assert waits == 1
    assert (there.ids == here.ids).mean() > 0.999
    assert np.allclose([s.score for s in there.segments], [s.score for s in here.segments], atol=1e-3)


def test_tensors_of_all_kinds_reach_the_host():
    tensors = [torch.arange(5), torch.tensor(True), torch.rand(3, 2), torch.zeros(0), torch.ones(3, dtype=torch.uint8)]
    arrived = to_host(*(tensor.to(CUDA) for tensor in tensors))
    assert all(map(torch.equal, tensors, arrived)) and arrived[0].is_pinned()
