import copy
from collections import Counter

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from pisr_core import presets
from pisr_core.data.scenes import SCENE_CATEGORIES
from pisr_core.models import build_model
from pisr_core.training.checkpointing import checkpoint_activations, stages

PRESETS = {
    "panoptic_deeplab": ("scenes-pdl-r18", "deeplab.aspp_dropout=0.5"),
    "panoptic_fpn": ("custom-pfpn-r18",),
    "maskformer": ("custom-maskformer-r18", "maskformer.dropout=0.1"),
    "upernet": ("custom-upernet-r18",),
}


def build(preset, *settings):
    torch.manual_seed(0)
    config = presets.load(preset, ["backbone.pretrained=false", *settings])
    return build_model(config, SCENE_CATEGORIES).train()


def everything(output):
    """A number that all of an output's tensors of one stage have a share in."""
    final = output.final
    maps = final.semantic.logits if hasattr(final, "semantic") else final.mask_logits
    return maps.square().mean()


def gradients(model, images):
    """Of a forward and a backward pass, with the same random numbers each time."""
    torch.manual_seed(1)
    loss = everything(model(images))
    loss.backward()
    return loss, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def assert_same_step(model, what="all"):
    images = torch.rand(2, 3, 64, 64) * 255
    thrifty = copy.deepcopy(model)
    checkpoint_activations(thrifty, what)
    loss, expected = gradients(model, images)
    ours, found = gradients(thrifty, images)
    assert ours.item() == pytest.approx(loss.item(), rel=1e-6) and found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6 * float(gradient.abs().max() + 1))
    before, after = model.state_dict(), thrifty.state_dict()
    assert before.keys() == after.keys()
    counters = [name for name in before if name.endswith("num_batches_tracked")]
    assert all(after[name] == 1 for name in counters)
    for name in before:
        torch.testing.assert_close(after[name], before[name], rtol=1e-6, atol=1e-7)
    return counters


@pytest.mark.parametrize("what", ["norms", "all"])
@pytest.mark.parametrize("settings", PRESETS.values(), ids=PRESETS.keys())
def test_gradients_and_statistics_are_those_without(settings, what):
    assert assert_same_step(build(*settings), what)


@pytest.mark.parametrize(("name", "what"), [("swin_tiny_patch4_window7_224", "all"), ("resnet50s", "norms")])
def test_other_backbones(name, what):
    preset = "custom-upernet-r18" if "swin" in name else "scenes-pdl-r18"
    assert_same_step(build(preset, f'backbone.name="{name}"'), what)


def test_convolutions_are_computed_once_where_only_norms_are_computed_again():
    model, calls = build("scenes-pdl-r18"), Counter()
    block = model.backbone.body.layer4[0]
    checkpoint_activations(model, "norms")

    class Count(TorchDispatchMode):
        def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
            calls[operation.overloadpacket] += 1
            return operation(*args, **(kwargs or {}))

    images = torch.rand(2, 3, 64, 64) * 255
    with Count():
        loss = everything(model(images))
        forward = calls.copy()
        loss.backward()
    again = calls - forward
    assert again[torch.ops.aten.convolution] == 0 and forward[torch.ops.aten.convolution] > 30
    assert again[torch.ops.aten.native_batch_norm] + again[torch.ops.aten._native_batch_norm_legit] > 20
    assert not block.act1.inplace


def test_results_that_are_kept_are_not_written_into():
    """As an activation in place would, right behind a convolution."""
    model = build("scenes-pdl-r18")
    model.backbone = nn.Module()
    model.backbone.body = nn.ModuleDict({"stage": nn.Sequential(nn.Conv2d(3, 4, 1), nn.SiLU(inplace=True))})
    stage = model.backbone.body["stage"]
    expected = copy.deepcopy(stage)
    checkpoint_activations(model, "norms")
    images = torch.rand(1, 3, 4, 4)
    for each in (stage, expected):
        each(images).square().sum().backward()
    assert torch.equal(stage[0].weight.grad, expected[0].weight.grad)


def test_a_stage_may_write_into_the_list_that_it_gets():
    """As HRNet's do."""

    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.branches = nn.ModuleList([nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)])

        def forward(self, maps):
            for index, branch in enumerate(self.branches):
                maps[index] = branch(maps[index]).relu()
            return maps[0] + maps[1]

    class Body(nn.Module):
        def __init__(self):
            super().__init__()
            self.stage = Branches()

        def forward(self, images):
            return self.stage([images, 2 * images])

    model = build("scenes-pdl-r18")
    model.backbone = nn.Module()
    model.backbone.body = Body()
    expected = copy.deepcopy(model.backbone.body)
    checkpoint_activations(model, "all")
    assert model.backbone.body.stage in stages(model)
    images = torch.rand(1, 3, 4, 4)
    for body in (model.backbone.body, expected):
        body(images).sum().backward()
    for ours, theirs in zip(model.backbone.body.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_less_is_kept_for_the_backward_pass():
    model, images = build("scenes-pdl-r18"), torch.rand(2, 3, 64, 64) * 255

    def kept():
        sizes = {}

        def note(tensor):
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            loss = everything(model(images))
        weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
        assert loss.requires_grad
        return sum(size for pointer, size in sizes.items() if pointer not in weights)

    before = kept()
    checkpoint_activations(model, "all")
    assert kept() < 0.4 * before


def test_the_copy_that_is_evaluated_computes_once():
    model = build("scenes-pdl-r18")
    checkpoint_activations(model, "all")
    calls = []
    model.backbone.body.layer4.register_forward_hook(lambda *_: calls.append(1))
    images = torch.rand(2, 3, 64, 64) * 255
    with torch.no_grad():
        model.eval()(images)
    assert len(calls) == 1


def test_every_architecture_is_known():
    for settings in PRESETS.values():
        assert len(stages(build(*settings))) >= 7
    base = build("scenes-pdl-r18", 'relation.name="none"')
    assert base.initial_heads in stages(base) and len(stages(base)) == 7


def test_a_plain_transformers_blocks_are_computed_twice():
    """timm takes its maps without calling what holds the blocks."""
    model = build("custom-upernet-r18", 'backbone.name="test_vit"')
    blocks = list(model.backbone.body.model.blocks)
    assert len(blocks) > 1 and all(block in stages(model) for block in blocks)
    calls = []
    blocks[0].attn.register_forward_hook(lambda *_: calls.append(1))
    checkpoint_activations(model.train(), "all")
    model(torch.rand(1, 3, 64, 64) * 255).final.semantic.logits.sum().backward()
    assert len(calls) == 2
