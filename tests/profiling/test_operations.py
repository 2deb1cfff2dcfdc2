import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from pisr_core.data.scenes import SCENE_CATEGORIES
from pisr_core.models import build_model
from pisr_core.presets import load
from pisr_core.profiling.operations import Operations, count_operations


class Network(nn.Module):
    """One operation of each kind, in modules that have the names of a model's parts."""

    decoders = ("decoder",)

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.decoder = nn.Sequential(
            nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False),
            nn.GroupNorm(2, 8),
            nn.Upsample(scale_factor=2, mode="bilinear"),
            nn.Upsample(scale_factor=2, mode="nearest"),
        )
        self.relation = Relation()
        self.final_heads = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 5))

    def forward(self, images):
        features = self.decoder(self.backbone(images))
        tokens = self.relation(features).flatten(2).transpose(1, 2)
        return self.final_heads(tokens) @ torch.ones(5, 4, device=images.device)


class Relation(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.Conv2d(8, 8, 1)

    def forward(self, features):
        queries = F.adaptive_avg_pool2d(features, 2).flatten(2).transpose(1, 2)
        context = F.scaled_dot_product_attention(queries, queries, queries)
        return self.attention(features) + context.mean(dim=1)[:, :, None, None]


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("batch", [1, 2])
def test_every_kind_of_operation_by_hand(device, batch):
    with torch.device(device):
        count = count_operations(Network().requires_grad_(False), torch.rand(batch, 3, 10, 12))
    cells = batch * 10 * 12
    large = 16 * cells  # after two doublings
    assert count.parts == {
        "backbone": Operations(macs=8 * 3 * 9 * cells, others=2 * 8 * cells),
        "decoder": Operations(macs=8 * 9 * cells, others=5 * 8 * cells + 4 * 8 * 4 * cells + 8 * large),
        # Queries by keys, and weights by values: 4×4 pairs of 8 channels each.
        "relation": Operations(macs=batch * 2 * 4 * 4 * 8, others=8 * large),
        "attention": Operations(macs=8 * 8 * large),
        "final heads": Operations(macs=8 * 5 * large, others=5 * 8 * large),
        "initial heads": Operations(macs=5 * 4 * large),  # what the network itself does
    }
    assert count.all == sum(count.parts.values(), Operations())
    assert count.uncounted["relu"] == 8 * cells
    assert count.uncounted["add"] == 8 * large


def test_pooling_counts_its_input_and_parts_may_be_missing():
    network = nn.Module()
    network.forward = lambda images: F.adaptive_avg_pool2d(images, 1)
    count = count_operations(network, torch.rand(1, 3, 4, 5))
    assert count.all == Operations(0, 3 * 4 * 5) and set(count.parts) == {"initial heads"}


class Predicting(nn.Module):
    """A backbone that has the heads predict between its blocks."""

    def __init__(self, between):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Conv2d(3, 3, 1) for _ in range(2))
        self.between = between

    def forward(self, images):
        return self.blocks[1](self.between(self.blocks[0](images)))


def test_what_the_heads_do_within_the_backbone_is_theirs_alone():
    network = nn.Module()
    network.initial_heads = nn.Conv2d(3, 3, 3, padding=1)
    network.backbone = Predicting(lambda maps: network.initial_heads(maps))
    network.forward = lambda images: network.initial_heads(network.backbone(images))
    count = count_operations(network.requires_grad_(False), torch.rand(1, 3, 4, 5))
    assert count.parts == {"backbone": Operations(2 * 3 * 3 * 20), "initial heads": Operations(2 * 3 * 3 * 9 * 20)}


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_attention_counts_on_every_device(device):
    network = nn.Module()
    network.forward = lambda tokens: F.scaled_dot_product_attention(tokens, tokens, tokens)
    count = count_operations(network, torch.rand(1, 3, 20, 16, device=device))
    assert count.all == Operations(macs=3 * 2 * 20 * 20 * 16)


@pytest.mark.parametrize("relation", ["none", "ocr", "pisr"])
def test_the_meta_device_counts_what_the_cpu_does_and_torch_agrees(relation):
    config = load("scenes-pdl-r18", ["backbone.pretrained=false", f"relation.name={relation}"])
    counts = {}
    for device in ("cpu", "meta"):
        with torch.device(device):
            model = build_model(config, SCENE_CATEGORIES).eval().requires_grad_(False)
            images = torch.rand(1, 3, 64, 64)
            counts[device] = count_operations(model, images)
    assert counts["cpu"].parts == counts["meta"].parts
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model(images)
    assert counts["meta"].all.macs == counter.get_total_flops() / 2
    relations = {"none": set(), "pisr": {"encodings", "attention"}}.get(relation, {"relation"})
    heads = set() if relation == "none" else {"final heads"}
    assert set(counts["meta"].parts) == {"backbone", "decoder", "initial heads"} | relations | heads


def test_modes_of_the_model_stay():
    model = Network().requires_grad_(False).train()
    count_operations(model, torch.rand(1, 3, 8, 8))
    assert all(module.training for module in model.modules())
