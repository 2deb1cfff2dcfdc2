import pytest

from pisr_core.data.scenes import SCENE_CATEGORIES
from pisr_core.errors import ConfigError
from pisr_core.presets import load
from pisr_core.profiling.cost import categories_of, config_operations, model_cost, padded_size, usual_size

SMALL_FPN = (
    "data.dataset=scenes fpn.channels=32 fpn.semantic_channels=32 fpn.box_channels=16 fpn.mask_channels=8 "
    "fpn.proposals=40 relation.top_k=4 relation.channels=16"
).split()


def test_fused_order_saves_what_the_algebra_says():
    cost = model_cost(load("cityscapes-pdl-r50"), categories_of(load("cityscapes-pdl-r50")))
    c, d, m, cells = 384, 192, 19 + 200, 256 * 512
    literal = cells * (m * d + m * m + m * c)
    fused = cells * c * d + m * m * d + c * m * d
    saved = cost.operations.all - cost.fused.all
    assert (saved.macs, saved.others) == (literal - fused, 0)
    # The rest of the attention: h, and g_s and g_q of the encodings; and the norms of h and F_pan.
    rest = cells * 9 * c * d + m * c * d + m * c * c
    attention = cost.operations.parts["attention"]
    assert (attention.macs, attention.others) == (literal + rest, 2 * (d + c) * cells)
    assert cost.fused.parts["encodings"] == cost.operations.parts["encodings"]


def test_encodings_are_one_product_and_the_reweighting():
    config = load("scenes-pdl-r18", ["relation.top_k=5", "relation.encoding_norm=false"])
    n, c = len(SCENE_CATEGORIES), config.deeplab.semantic.channels + config.deeplab.instance.channels
    m, cells = n + 5, 32 * 32
    plain, weighted = (config_operations(config, SCENE_CATEGORIES, reweight=each) for each in (False, True))
    assert plain.parts["encodings"].macs == m * c * cells
    assert weighted.parts["encodings"].macs == m * c * cells + m * (64 * (c + 1) + 64)


def test_a_base_adds_nothing_and_a_relation_is_compared_with_it():
    base = model_cost(load("scenes-pdl-r18-baseline"), SCENE_CATEGORIES)
    whole = model_cost(load("scenes-pdl-r18-ocr"), SCENE_CATEGORIES)
    assert base.added is None and base.fused is None and whole.fused is None
    assert whole.base == base.operations
    extra = whole.operations.parts["relation"] + whole.operations.parts["final heads"]
    assert whole.added == pytest.approx(100 * extra.total / base.operations.all.total)


@pytest.mark.parametrize(
    ("preset", "size"),
    [
        ("cityscapes-pdl-r50-baseline", (1024, 2048)),
        ("ade20k-maskformer-r50-baseline", (640, 854)),
        ("coco-maskformer-r50", (800, 1067)),
        ("coco-pdl-r50-baseline", (480, 640)),
        ("scenes-pdl-r18", (128, 128)),
    ],
)
def test_usual_sizes(preset, size):
    assert usual_size(load(preset)) == size


def test_sizes_are_padded_to_what_the_model_takes():
    assert padded_size((640, 854), 32) == (640, 864)
    assert padded_size((480, 640), 640) == (640, 640)
    cost = model_cost(load("scenes-pdl-r18-baseline"), SCENE_CATEGORIES, (60, 65))
    assert cost.size == (64, 80)
    assert cost.operations == model_cost(load("scenes-pdl-r18-baseline"), SCENE_CATEGORIES, (64, 80)).operations


def test_a_datasets_own_classes_are_not_guessed():
    config = load("custom-pdl-r18")
    assert usual_size(config) == config.data.crop
    with pytest.raises(ConfigError, match="--checkpoint"):
        categories_of(config)


def test_parameters_are_those_of_the_public_model():
    config = load("ade20k-maskformer-r50-baseline")
    millions = model_cost(config, categories_of(config), (64, 64)).parameters / 1e6
    assert millions == pytest.approx(45.0, abs=0.05)  # frozen norms hold none, although they are counted like others


def test_the_bases_parameters_are_those_of_its_preset():
    with_pisr, base = (
        model_cost(load(name), SCENE_CATEGORIES) for name in ("scenes-pdl-r18", "scenes-pdl-r18-baseline")
    )
    assert with_pisr.base_parameters == base.parameters < with_pisr.parameters and base.base_parameters is None


def test_panoptic_fpn_is_counted_with_all_the_detections_that_it_may_have():
    few, many = (
        config_operations(load("custom-pfpn-r18", [*SMALL_FPN, f"fpn.detections={most}"]), SCENE_CATEGORIES, (64, 64))
        for most in (3, 7)
    )
    things = sum(category.isthing for category in SCENE_CATEGORIES)
    # Four 3×3 convolutions on 14×14 cells (the first from 32 channels), the doubling, and a mask for each class.
    a_mask = 14 * 14 * 9 * 8 * (32 + 3 * 8) + 14 * 14 * 8 * 8 * 4 + 28 * 28 * 8 * (things + 1)
    extra = many.parts["final heads"] - few.parts["final heads"]
    assert extra.macs == 4 * a_mask
    assert few.parts["proposals"].macs > 0
