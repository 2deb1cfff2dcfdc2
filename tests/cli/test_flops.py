import json

import pytest
from typer.testing import CliRunner

from pisr_cli.app import app, main
from pisr_core.data.scenes import SCENE_CATEGORIES
from pisr_core.models import build_model
from pisr_core.presets import load
from pisr_core.weights.files.checkpoint import save_checkpoint

PUBLIC = {
    "ade20k-maskformer-r50-baseline": 109.2,
    "ade20k-maskformer-r101-baseline": 150.2,
    "cityscapes-pdl-r50-baseline": 419.3,
    "cityscapes-pdl-r101-baseline": 574.9,
}
"""GFLOP of the public models at the same sizes, by their own tools."""


@pytest.fixture
def pisr(capsys, tmp_path, monkeypatch):
    """Runs a command in an empty folder and gives its (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        with pytest.raises(SystemExit) as exit_:
            main(["flops", *map(str, arguments)])
        captured = capsys.readouterr()
        return exit_.value.code or 0, captured.out, captured.err

    return run


@pytest.fixture(scope="module")
def table4():
    """What the command says without arguments, by model."""
    done = CliRunner().invoke(app, ["flops", "--no-speed", "--json"])
    assert done.exit_code == 0, done.output
    return {model["name"]: model for model in json.loads(done.stdout)["models"]}


def test_the_rows_of_table_4_with_the_printed_numbers(table4):
    assert {name: (model["paper"]["GFLOP"], model["paper"]["FPS"]) for name, model in table4.items()} == {
        "ade20k-maskformer-r50-baseline": (116.6, 21.1),
        "ade20k-maskformer-r50": (136.0, 20.4),
        "ade20k-maskformer-r101-baseline": (159.3, 19.6),
        "cityscapes-pdl-r50-baseline": (419.5, 7.6),
        "cityscapes-pdl-r50": (575.0, 6.8),
        "cityscapes-pdl-r101-baseline": (575.5, 6.5),
    }


@pytest.mark.parametrize("name", PUBLIC)
def test_bases_count_as_the_public_models_do(table4, name):
    # Ours pools windows of 32×64 of its 64×128 cells by matrix products: 2048 channels in each of two decoders.
    pooling = 2 * 2048 * (33 * 64 * 128 + 33 * 128 * 65) / 1e9 if "pdl" in name else 0
    assert table4[name]["gflop"] == pytest.approx(PUBLIC[name] + pooling, rel=0.001)
    assert table4[name]["fused"] is None and table4[name]["added_percent"] is None


def test_panoptic_deeplab_lands_where_the_paper_does(table4):
    assert table4["cityscapes-pdl-r50-baseline"]["gflop"] == pytest.approx(419.5, rel=0.01)
    assert table4["cityscapes-pdl-r101-baseline"]["gflop"] == pytest.approx(575.5, rel=0.01)
    assert table4["cityscapes-pdl-r50"]["gflop"] == pytest.approx(575.0, rel=0.02)


def test_what_pisr_adds_is_what_the_paper_says(table4):
    for name, printed in (("ade20k-maskformer-r50", 16.6), ("cityscapes-pdl-r50", 37.1)):
        assert table4[name]["paper"]["added"] == pytest.approx(printed, abs=0.05)
        assert table4[name]["added_percent"] == pytest.approx(printed, abs=2.5)
        assert table4[name]["base"]["gflop"] == table4[f"{name}-baseline"]["gflop"]


def test_parts_add_up(table4):
    for model in table4.values():
        for count in filter(None, (model, model["fused"], model["base"])):
            for unit in ("gmac", "gflop"):
                assert sum(part[unit] for part in count["parts"].values()) == pytest.approx(count[unit])
        assert model["gmac"] < model["gflop"] < 1.01 * model["gmac"]
        assert list(model["uncounted_elements"])[:2] == ["relu", "add"]


def test_settings_and_size_change_the_count(pisr):
    options = ("scenes-pdl-r18", "--no-speed", "--json")
    code, usual, err = pisr(*options)
    _, other, _ = pisr(*options, "--set", "relation.channels=128", "--size", "200x256")
    usual, other = (json.loads(text)["models"][0] for text in (usual, other))
    assert code == 0 and "counting" in err
    assert set(usual) == {
        *("name", "checkpoint", "size", "parameters", "base_parameters", "gmac", "gflop", "parts"),
        *("uncounted_elements", "fused", "base"),
        *("added_percent", "speed", "paper"),
    }
    assert usual["size"] == [128, 128] and usual["speed"] is None and usual["paper"] is None
    assert other["size"] == [208, 256]
    growth = {name: part["gmac"] / usual["parts"][name]["gmac"] for name, part in other["parts"].items()}
    assert growth["backbone"] == pytest.approx(208 * 256 / 128**2)
    assert growth["attention"] > 1.2 * growth["backbone"]


def test_no_comparison_with_numbers_of_another_size(pisr):
    _, out, _ = pisr("ade20k-maskformer-r50-baseline", "--no-speed", "--size", "64x64")
    assert "116.6" not in out and "21.1" not in out


def test_speed_of_a_checkpoint(pisr, tmp_path):
    config = load("scenes-pdl-r18-baseline", ["backbone.pretrained=false"])
    path = tmp_path / "runs" / "first" / "best.safetensors"
    save_checkpoint(path, build_model(config, SCENE_CATEGORIES).state_dict(), config, SCENE_CATEGORIES, {})
    options = ("--checkpoint", path, "--speed", "--device", "cpu", "--runs", 2, "--batch", 2, "--size", "64x64")
    code, out, _ = pisr(*options, "--json")
    (model,) = json.loads(out)["models"]
    assert code == 0 and model["checkpoint"] == str(path) and model["name"] == "first/best.safetensors"
    assert {"forward", "merging", "total", "fps", "forward_fps", "peak_memory", "batch", "dtype"} <= set(model["speed"])
    assert model["speed"]["batch"] == 2 and model["speed"]["fps"] > 0
    code, out, err = pisr(*options)
    assert code == 0 and "not measured" not in err
    assert all(word in out for word in ("first/best.safetensors", "backbone", "not counted", "cpu, fp32, batches of 2"))


def test_a_plot_of_own_results(pisr, tmp_path):
    (tmp_path / "mine.csv").write_text("preset,pq\nscenes-pdl-r18-ocr,59\n")
    code, _, err = pisr("scenes-pdl-r18-baseline", "--no-speed", "--plot", "fig8.png", "--results", "mine.csv")
    assert code == 0 and "fig8.png: drawn" in err
    assert (tmp_path / "fig8.png").read_bytes().startswith(b"\x89PNG")


def test_help_has_an_example(pisr):
    code, out, _ = pisr("--help")
    assert code == 0 and "Example: pisr flops" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["coco-pdl-r51"], "coco-pdl-r50"),
        (["custom-pdl-r18"], "--checkpoint"),
        (["--size", "big"], "512x1024"),
        (["--size", "0x8"], "512x1024"),
        (["scenes-pdl-r18", "--speed", "--device", "cpu", "--dtype", "fp16"], "bf16"),
        (["scenes-pdl-r18", "--plot", "a.png"], "--results"),
        (["--results", "a.csv"], "--plot"),
        (["--checkpoint", "none.safetensors"], "none.safetensors"),
    ],
)
def test_a_mistake_is_one_message(pisr, arguments, message):
    code, out, err = pisr(*arguments)
    assert code == 2 and not out and message in err and "Traceback" not in err


@pytest.mark.cuda
def test_speed_on_a_gpu_is_measured_unasked(pisr):
    code, out, _ = pisr("scenes-pdl-r18", "--dtype", "fp16", "--runs", 3, "--json")
    (model,) = json.loads(out)["models"]
    assert code == 0 and model["speed"]["peak_memory"] > 4 * model["parameters"] and model["speed"]["fps"] > 0
