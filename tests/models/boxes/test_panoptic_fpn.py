import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from pisr_core.config import BackboneConfig, Config, FPNConfig, LossConfig, RelationConfig
from pisr_core.errors import ConfigError
from pisr_core.models import build_model
from pisr_core.models.boxes.structures import FPNTargets
from pisr_core.structures import Category, PanopticSegmentation, Segment

CATEGORIES = [
    Category(1, "sky", False),
    Category(2, "car", True),
    Category(5, "road", False),
    Category(7, "dog", True),
]
SMALL = Config(
    architecture="panoptic_fpn",
    backbone=BackboneConfig("resnet18", pretrained=False, output_stride=32, multi_grid=()),
    fpn=FPNConfig(
        channels=16,
        semantic_channels=32,
        box_channels=16,
        mask_channels=8,
        anchor_sizes=(8, 16, 32, 64, 128),
        anchor_samples=32,
        proposals=40,
        box_samples=16,
        detections=8,
    ),
    relation=RelationConfig(channels=8, top_k=6),
    loss=LossConfig(semantic=0.5),
)
BASE_TERMS = {"semantic", "class", "box", "mask", "objectness", "proposal"}
RELATIONS = ["none", "heads", "concat", "product", "ocr", "pisr"]


def model_with(relation: str, categories=CATEGORIES, **changes):
    config = replace(SMALL, relation=replace(SMALL.relation, name=relation, **changes))
    return build_model(config, categories)


def images(batch=2, size=64):
    return torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8)


def targets(model, things=(2, 0), size=64) -> FPNTargets:
    """For each image so many squares on a ground of two stuff classes."""
    generator, items = model.target_generator(), []
    for count in things:
        ids = np.ones((size, size), np.int32)
        ids[size // 2 :] = 2
        segments = [Segment(1, 0, 0), Segment(2, 2, 0)]
        for index in range(count):
            ids[20:44, 8 + 28 * index : 28 + 28 * index] = 3 + index
            segments.append(Segment(3 + index, (1, 3)[index % 2], 0))
        items.append(generator(PanopticSegmentation(ids, tuple(segments))))
    return FPNTargets.stack(items)


@pytest.mark.parametrize("relation", RELATIONS)
def test_a_step_lowers_the_loss_and_predictions_fit_the_image(relation):
    model = model_with(relation)
    views, truth = images(), targets(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(4):
        terms = model.losses(model(views), truth)
        losses.append(sum(terms.values()).item())
        optimizer.zero_grad()
        sum(terms.values()).backward()
        assert all(p.grad is not None for p in model.parameters())  # as distributed training needs it
        optimizer.step()
    assert losses[-1] < losses[0]
    initial = set() if relation == "none" else {f"initial_{name}" for name in ("semantic", "class", "box", "mask")}
    assert set(terms) == BASE_TERMS | initial
    model.eval()
    results = model.panoptic(model(views), [(64, 64), (40, 50)], [(64, 64), (80, 100)])
    assert [r.panoptic.ids.shape for r in results] == [(64, 64), (80, 100)]


def test_equation_1():
    model = model_with("heads").eval()
    model.final_heads.load_state_dict(model.initial_heads.state_dict())
    model.config = replace(model.config, loss=LossConfig(gamma=0.25))
    terms = model.losses(model(images()), targets(model))
    torch.testing.assert_close(terms["initial_semantic"], 0.25 * terms["semantic"])
    assert terms["initial_mask"] > 0


def test_untrained_pisr_with_equal_heads_is_its_base():
    base, model = model_with("none").eval(), model_with("pisr").eval()
    model.load_state_dict(base.state_dict(), strict=False)
    model.final_heads.load_state_dict(base.initial_heads.state_dict())
    views = torch.randint(0, 256, (1, 3, 64, 96), dtype=torch.uint8)
    with torch.no_grad():
        ours, theirs = model(views), base(views)
    torch.testing.assert_close(ours.final.semantic.logits, theirs.final.semantic.logits)
    for name in ("boxes", "scores", "labels", "masks"):
        torch.testing.assert_close(getattr(ours.final.detections[0], name), getattr(theirs.final.detections[0], name))
    assert len(theirs.final.detections[0].scores) > 0
    assert theirs.initial is None and ours.instances.shape == (1, 6, 16, 24)


def test_the_relation_reaches_every_level():
    model = model_with("pisr").eval()
    torch.nn.init.constant_(model.relation.feature_norm.weight, 0.1)
    with torch.no_grad():
        output = model(images(1))
    for name, maps in output.initial.pyramid.items():
        assert not torch.allclose(maps, output.final.pyramid[name])
        assert maps.shape == output.final.pyramid[name].shape


def test_instances_are_the_first_detections_by_score():
    model = model_with("pisr", top_k=30).eval()
    with torch.no_grad():
        output = model(images())
    for maps, found in zip(output.instances, output.initial.detections, strict=True):
        assert 0 < len(found.scores) <= 30
        assert (found.scores.diff() <= 0).all()
        assert maps.shape == (30, 16, 16) and maps.min() >= 0
        assert (maps.amax(dim=(1, 2))[: len(found.scores)] <= found.scores).all()
        assert (maps[len(found.scores) :] == 0).all()


def test_batched_is_single():
    model = model_with("pisr").eval()
    torch.nn.init.constant_(model.relation.feature_norm.weight, 0.1)
    views = images()
    with torch.no_grad():
        both, second = model(views), model(views[1:])
    torch.testing.assert_close(both.final.semantic.logits[1:], second.final.semantic.logits, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(both.final.detections[1].boxes, second.final.detections[0].boxes, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("detach", [False, True])
def test_detach_stops_the_gradient_through_first_predictions(detach):
    model = model_with("pisr", detach=detach)
    torch.nn.init.constant_(model.relation.feature_norm.weight, 0.1)
    output = model(images())
    output.final.semantic.logits.square().sum().backward()
    for weight in (model.initial_heads.semantic.weight, model.initial_heads.regions.heads.mask_head[0][0].weight):
        assert (weight.grad is not None) is not detach
    assert model.initial_heads.regions.heads.box_head.fc6.weight.grad is None  # boxes are chosen


@pytest.mark.parametrize("relation", ["none", "pisr"])
def test_images_without_any_instance_or_label(relation):
    model = model_with(relation)
    truth = targets(model, things=(0, 0))
    truth = replace(truth, semantic=torch.full_like(truth.semantic, 255))
    total = sum(model.losses(model(torch.zeros(2, 3, 64, 64)), truth).values())
    total.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("things", [True, False])
def test_datasets_with_only_things_or_only_stuff(things):
    categories = [Category(i, str(i), things) for i in range(1, 3)]
    model = model_with("pisr", categories)
    panoptic = PanopticSegmentation(np.ones((64, 64), np.int32), (Segment(1, 0, 4096),))
    truth = FPNTargets.stack([model.target_generator()(panoptic)])
    total = sum(model.losses(model(images(1)), truth).values())
    total.backward()
    assert total.isfinite()
    model.eval()
    (result,) = model.panoptic(model(images(1)), [(64, 64)], [(64, 64)])
    assert all(segment.category in (0, 1) for segment in result.panoptic.segments)


def test_autocast_gives_finite_losses_and_exact_boxes():
    model = model_with("pisr")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(images())
        total = sum(model.losses(output, targets(model)).values())
    total.backward()
    assert total.isfinite() and all(p.grad is not None for p in model.parameters())
    assert output.proposals.boxes[0].dtype == output.proposals.deltas.dtype == torch.float32


def gradients(model, rank: int, network=None) -> list[torch.Tensor]:
    """Of one training step, on images and sampling that follow from the rank."""
    torch.manual_seed(rank)
    output = (network or model)(images())
    sum(model.losses(output, targets(model, things=(rank, 1))).values()).backward()
    return [parameter.grad.clone() for parameter in model.parameters()]


def distributed_step(rank: int, folder: str) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    torch.manual_seed(0)
    model = model_with("pisr")
    torch.save(gradients(model, rank, DistributedDataParallel(model)), f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


def test_processes_average_the_gradients_of_losses_that_sample(tmp_path):
    """`losses` uses parameters outside the wrapped forward; they are synchronised all the same."""
    torch.manual_seed(0)
    model = model_with("pisr")
    alone = []
    for rank in range(2):
        model.zero_grad()
        alone.append(gradients(model, rank))
    # Each process runs this file: to unpickle a function, it would have to find this module by name.
    processes = [subprocess.Popen([sys.executable, __file__, str(rank), str(tmp_path)]) for rank in range(2)]
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    for of_first, of_second, *each in zip(first, second, *alone, strict=True):
        assert torch.equal(of_first, of_second)
        torch.testing.assert_close(of_first, (each[0] + each[1]) / 2, rtol=1e-3, atol=1e-4)


def test_the_public_widths_build_without_memory():
    with torch.device("meta"):
        config = replace(
            SMALL,
            backbone=replace(SMALL.backbone, name="resnet50"),
            fpn=FPNConfig(),
            relation=RelationConfig(name="none"),
        )
        model = build_model(config, [Category(i, str(i), i <= 80) for i in range(1, 134)])
    assert sum(parameter.numel() for parameter in model.parameters()) == 46_031_467


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match="backbone.output_stride = 16"):
        build_model(replace(SMALL, backbone=BackboneConfig("resnet18", False, 16, ())), CATEGORIES)
    with pytest.raises(ConfigError, match="fpn.semantic_channels = 100"):
        FPNConfig(semantic_channels=100)
    with pytest.raises(ConfigError, match="fpn.anchor_sizes"):
        FPNConfig(anchor_sizes=(8,))


if __name__ == "__main__":
    distributed_step(int(sys.argv[1]), sys.argv[2])
