from dataclasses import replace

import pytest
import torch

from pisr_core import presets
from pisr_core.config import Config
from pisr_core.data.scenes import SCENE_CATEGORIES
from pisr_core.errors import ConfigError
from pisr_core.models import build_model
from pisr_core.structures import Category


@pytest.mark.parametrize("name", presets.names())
def test_every_preset_builds_and_survives_the_round_trip(name, tmp_path):
    config = presets.load(name)
    assert config.name == name and config.description
    path = tmp_path / "config.toml"
    path.write_text(presets.to_toml(config))
    assert presets.load(str(path)) == config
    assert presets.from_dict(presets.to_dict(config), "test") == config
    offline = replace(config, backbone=replace(config.backbone, pretrained=False))
    with torch.device("meta"):
        eight = [Category(i + 1, str(i), i > 3) for i in range(8)]
        model = build_model(offline, SCENE_CATEGORIES if config.data.dataset == "scenes" else eight)
        if config.transformers.network:
            model.eval()  # in training, transformers looks whether values are finite
        side = max(128, model.size_divisor)
        images = torch.empty(2, 3, side, side)
        # How many proposals Panoptic FPN keeps depends on their values, which this device does not have.
        if config.architecture == "panoptic_fpn":
            model.pyramid(model.backbone(images))
        else:
            model(images)


def test_variants_differ_in_the_relation_alone():
    full = presets.load("cityscapes-pdl-r50")
    for variant, relation in (
        ("baseline", "none"),
        ("concat", "concat"),
        ("product", "product"),
        ("ocr", "ocr"),
    ):
        other = presets.load(f"cityscapes-pdl-r50-{variant}")
        assert other.relation.name == relation
        assert replace(other, relation=full.relation, name="", description="", paper=full.paper) == replace(
            full, name="", description=""
        )
    assert not presets.load("cityscapes-pdl-r50-noreweight").relation.reweight


def test_one_printed_row_is_a_table_and_several_a_list(tmp_path):
    rows = presets.load("coco-pdl-r50").paper
    assert [(row.table, row.row, row.scores["PQ"]) for row in rows] == [(2, "Panoptic-DL + PISR", 38.8)]
    assert [row.table for row in presets.load("cityscapes-pdl-r50").paper] == [1, 4, 5]
    with pytest.raises(ConfigError, match=r"paper\[0\].tables"):
        presets.from_dict({"paper": [{"tables": 1}]}, "test")


def test_settings_of_the_public_configurations():
    city = presets.load("cityscapes-pdl-hr48").deeplab
    assert city.semantic.project_channels == city.instance.project_channels == (32, 64, 128)
    assert (city.semantic.channels, city.instance.channels, city.aspp_dilations) == (256, 128, (3, 6, 9))
    fpn = presets.load("coco-pfpn-r50").train
    assert (fpn.optimizer, fpn.lr, fpn.steps, fpn.milestones) == ("sgd", 0.02, 270_000, (210_000, 250_000))
    mask = presets.load("ade20k-maskformer-r50").train
    assert (mask.optimizer, mask.lr, mask.backbone_lr_factor, mask.clip_norm) == ("adamw", 1e-4, 0.1, 0.01)
    upernet = presets.load("coco-upernet-swinl")
    assert (upernet.train.optimizer, upernet.train.lr, upernet.data.dataset) == ("adamw", 6e-5, "coco")


def test_overrides_have_toml_types_and_bare_words():
    config = presets.load(
        "scenes-pdl-r18",
        [
            "train.lr=1e-4",
            "data.crop=[64, 96]",
            "relation.name=ocr",
            "train.clip_norm=1",
            "backbone.pretrained=false",
        ],
    )
    assert config.train.lr == 1e-4 and config.data.crop == (64, 96) and config.relation.name == "ocr"
    assert config.train.clip_norm == 1.0 and config.backbone.pretrained is False


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.lrr=1", "unknown setting train.lrr: did you mean train.lr"),
        ("train.lr=fast", "train.lr = 'fast': a number is needed, not text"),
        ("train.steps=1.5", "train.steps = 1.5: a whole number is needed"),
        ("train=3", "train = 3: a table of settings is needed"),
        ("data.crop=[1]", "data.crop = \\[1\\]: 2 values are needed"),
        ("train.lr=-1", "train.lr = -1.0: above 0"),
        ("loss.gamma=0", "loss.gamma = 0.0: above 0"),
        ("train.lr", "write it as key=value"),
    ],
)
def test_mistakes_are_named_by_their_key(override, message):
    with pytest.raises(ConfigError, match=message):
        presets.load("scenes-pdl-r18", [override])


@pytest.mark.parametrize(("former", "now"), [("true", "all"), ("false", "none"), ("norms", "norms")])
def test_settings_of_earlier_versions_are_read(former, now):
    assert presets.load("scenes-pdl-r18", [f"train.checkpointing={former}"]).train.checkpointing == now


def test_unknown_preset_suggests_close_ones():
    with pytest.raises(ConfigError, match="did you mean .*scenes-pdl-r18"):
        presets.load("scene-pdl-r18")
    with pytest.raises(ConfigError, match="no such preset file"):
        presets.load("nowhere.toml")


def test_own_files_extend_presets_and_each_other(tmp_path):
    (tmp_path / "a.toml").write_text('extends = "scenes-pdl-r18"\n[train]\nsteps = 7\nlr = 0.5\n')
    (tmp_path / "b.toml").write_text('extends = ["a.toml"]\n[train]\nlr = 0.25\n')
    config = presets.load(str(tmp_path / "b.toml"))
    assert (config.name, config.train.steps, config.train.lr) == ("b", 7, 0.25)
    assert config.paper == Config().paper
    (tmp_path / "a.toml").write_text('extends = "b.toml"\n')
    with pytest.raises(ConfigError, match="extends itself"):
        presets.load(str(tmp_path / "b.toml"))
    (tmp_path / "a.toml").write_text("steps = = 3")
    with pytest.raises(ConfigError, match="a.toml: not valid TOML"):
        presets.load(str(tmp_path / "a.toml"))


def write(folder, **files):
    for name, text in files.items():
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    return str(folder / f"{next(iter(files))}.toml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = ", "a.toml: not valid TOML"),
        ("a = " + "[" * 5000 + "]" * 5000, "a.toml: not valid TOML"),
        ("extends = 5", "a.toml: extends = 5: a name or a list of names"),
        ("extends = [5]", "a name or a list of names"),
        ('extends = "no-such"', "a.toml: extends: preset 'no-such' does not exist"),
        ('extends = "../here/a.toml"', "a.toml: extends itself"),
        ('name = "../outside"', "a name for files"),
        ("train.lr = nan", "train.lr = nan: a number from"),
        ("train.lr = inf", "train.lr = inf: a number from"),
        (f"train.steps = {'9' * 400}", "train.steps = 99+...9+: a number from"),
        (f"train.steps = {'9' * 5000}", "a.toml: not valid TOML"),
        ("train.lr = true", "train.lr = True: a number is needed"),
        ("train.seed = -1", "train.seed = -1: zero or more"),
        ("relation.channels = 1000000", "relation.channels = 1000000: at least 1, at most 4096"),
        ("maskformer.heads = 0", "maskformer.heads = 0: at least 1"),
        ("data = [1]", "data = .1.: a table of settings is needed"),
        (f"{'k' * 5000} = 1", "unknown setting kkk"),
    ],
)
def test_broken_files_are_named_with_what_is_wrong(tmp_path, text, message):
    folder = tmp_path / "here"
    folder.mkdir()
    with pytest.raises(ConfigError, match=message) as error:
        presets.load(write(folder, a=text))
    assert len(str(error.value)) < 1500


def test_a_file_that_many_extend_is_read_once(tmp_path):
    """Else each level would double the work: 2⁶⁰ readings."""
    levels = {f"level{i}": f'extends = ["level{i + 1}.toml", "level{i + 1}.toml"]' for i in range(60)}
    path = write(tmp_path, **levels, level60="train.steps = 7")
    assert presets.load(path).train.steps == 7


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    path = write(tmp_path, a="\ufefftrain.steps = 7")
    assert presets.load(path).train.steps == 7
