import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from pisr_core import presets
from pisr_core.data.scenes import SCENE_CATEGORIES
from pisr_core.inference import fast_model
from pisr_core.inference.fast_model import FastModel
from pisr_core.models import build_model


class Casts(TorchDispatchMode):
    """Counts the weights that are cast."""

    def __init__(self, model):
        super().__init__()
        self.weights, self.count = {id(weight) for weight in model.parameters()}, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function is torch.ops.aten._to_copy.default and id(args[0]) in self.weights
        return function(*args, **(kwargs or {}))


def second_call(model, images):
    """The number of weights that it casts, and the tensors of the final prediction."""
    fast = FastModel(model, "bf16").eval()
    with torch.no_grad():
        fast(images)
        with Casts(fast) as casts:
            final = fast(images).final
    if hasattr(final, "semantic"):
        return casts.count, [
            final.semantic.logits,
            final.center_heatmap if hasattr(final, "offset") else final.pyramid["p2"],
        ]
    return casts.count, [final.class_logits, final.mask_logits]


@pytest.mark.parametrize(
    "preset", ["scenes-pdl-r18", "scenes-pdl-r18-lean", "custom-maskformer-r18", "custom-pfpn-r18"]
)
def test_weights_are_cast_once_and_nothing_else_changes(monkeypatch, preset):
    torch.manual_seed(0)
    model = build_model(presets.load(preset, ["backbone.pretrained=false"]), SCENE_CATEGORIES).eval()
    images = torch.rand(1, 3, 64, 64) * 255
    casts, ours = second_call(model, images)
    monkeypatch.setattr(fast_model, "cast_weights", lambda *_: None)
    before, expected = second_call(model, images)
    assert (casts, before > 20) == (0, True), (casts, before)
    assert all(map(torch.equal, ours, expected))
