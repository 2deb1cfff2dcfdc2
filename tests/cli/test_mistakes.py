"""Every command and option with nonsense: exit code 2, one message, no traceback, no file."""

import json
import os
import struct
import zlib

import numpy as np
import pytest
import torch
import typer
from PIL import Image

from pisr_cli.app import app, main
from pisr_core import presets
from pisr_core.data.coco.files import read_panoptic_json
from pisr_core.data.scenes import SCENE_CATEGORIES
from pisr_core.models import build_model
from pisr_core.weights.files.checkpoint import save_checkpoint

NONSENSE = "no/such.thing"

SKIPPED = {"help", "version", "verbose", "quiet", "install_completion", "show_completion"}


def commands(command=None, path=()):
    """Every command that is no group of others, with the words that call it."""
    command = command or typer.main.get_command(app)
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from commands(inner, (*path, name))
    else:
        yield path, command


def takes_value(parameter):
    return parameter.param_type_name == "option" and not parameter.is_flag and parameter.name not in SKIPPED


def spelled(parameter, value):
    """An option with a value for each of its places."""
    return [max(parameter.opts, key=len), *[value] * max(parameter.nargs, 1)]


def required(command):
    """Nonsense for everything that a command cannot do without, and for what it would else choose itself."""
    words = []
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            words.append(NONSENSE)
        elif parameter.required:
            words += spelled(parameter, NONSENSE)
    return words


COMMANDS = dict(commands())
OPTIONS = [
    pytest.param(path, parameter, id=" ".join((*path, max(parameter.opts, key=len))))
    for path, command in COMMANDS.items()
    for parameter in command.params
    if takes_value(parameter) and path != ("env",)  # which tells what is missing, and goes on
]


@pytest.fixture
def pisr(capfd, tmp_path, monkeypatch):
    """Runs a command in an empty folder; gives its exit code and what it said on stderr."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for name in ("PISR_DATASETS", "DETECTRON2_DATASETS"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments):
        with pytest.raises(SystemExit) as exit_:
            main([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return exit_.value.code or 0, captured.out, captured.err

    return run


def check_refusal(outcome, folder):
    code, out, err = outcome
    assert code == 2, err
    assert out == "" and err.strip() and "Traceback" not in err
    assert err.lower().count("error") >= 1 and len(err) < 3000
    assert list(folder.rglob("*")) == [], "files where none should be"


@pytest.mark.parametrize(("path", "option"), OPTIONS)
def test_options_with_nonsense(pisr, tmp_path, path, option):
    command = COMMANDS[path]
    words = required(command)
    if option.required:
        position = words.index(max(option.opts, key=len))
        del words[position : position + 1 + max(option.nargs, 1)]
    check_refusal(pisr(*path, *words, *spelled(option, NONSENSE)), tmp_path / "here")


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_unknown_options(pisr, tmp_path, path):
    outcome = pisr(*path, "--no-such-option", "1")
    check_refusal(outcome, tmp_path / "here")
    assert "no-such-option" in outcome[2]


def test_commands_are_found():
    assert {("train",), ("eval",), ("predict",), ("weights", "import"), ("data", "convert", "masks")} <= COMMANDS.keys()
    assert len(OPTIONS) > 100


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    settings = ["backbone.pretrained=false", "data.scenes.size=[64, 64]", "data.scenes.val_images=2", "data.workers=0"]
    config = presets.load("scenes-pdl-r18", settings)
    path = tmp_path_factory.mktemp("model") / "best.safetensors"
    torch.manual_seed(0)
    save_checkpoint(path, build_model(config, SCENE_CATEGORIES).state_dict(), config, SCENE_CATEGORIES, {})
    return path


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train --preset scenes-pdl-r18 --seed -1", "train.seed"),
        ("train --preset scenes-pdl-r18 --max-steps 0", "train.steps"),
        ("train --preset scenes-pdl-r18 --max-steps 99999999999999999999", "train.steps"),
        ("train --preset scenes-pdl-r18 --set train.lr", "key=value"),
        ("train --preset scenes-pdl-r18 --set train.lr=nan", "train.lr"),
        ("train --preset scenes-pdl-r18 --set train=1", "train"),
        ("train --preset scenes-pdl-r18 --set =1", "key=value"),
        ("train --preset scenes-pdl-r18 --set relation.channels=1000000000", "at most"),
        ("train --preset scenes-pdl-r18 --set backbone.name=resnet9000", "resnet9000"),
        ("train --preset scenes-pdl-r18 --set data.scenes.size=[0,0]", "data.scenes.size"),
        ("train --preset scenes-pdl-r18 --set data.scenes.difficulty=no", "difficulty"),
        ("train --preset scenes-pdl-r18 --set name=../../up", "name"),
        ("train --preset {long}", "does not exist"),
        ("train --preset {long}.toml", "no such preset file"),
        ("train --preset custom-pdl-r50 --data {file}", "panoptic_"),
        ("eval --checkpoint {checkpoint} --multi-scale 0", "multi-scale"),
        ("eval --checkpoint {checkpoint} --multi-scale nan", "multi-scale"),
        ("eval --checkpoint {checkpoint} --multi-scale 1e9", "multi-scale"),
        ("eval --checkpoint {checkpoint} --split no", "no"),
        ("eval --checkpoint {checkpoint} --dataset no", "no"),
        ("eval --checkpoint {checkpoint} --batch-size 0", "batch-size"),
        ("eval --checkpoint {folder}", "{folder}"),
        ("eval --checkpoint {file}", "{file}"),
        ("predict {file} --out out --checkpoint {file}", "{file}"),
        ("predict {long} --out out --checkpoint {checkpoint}", "no image"),
        ("presets --table 99", "table"),
        ("presets --table -1", "table"),
        ("presets {long}", "does not exist"),
        ("flops scenes-pdl-r18 --size 0x0", "size"),
        ("flops scenes-pdl-r18 --size 64x64 --device no", "device"),
        ("flops scenes-pdl-r18 --size 64x64 --speed --dtype no", "dtype"),
        ("ablate-k --range 200..10 --checkpoint {checkpoint}", "range"),
        ("ablate-k --range 10..200:0 --checkpoint {checkpoint}", "range"),
        ("ablate-k --range 1..99999999999 --checkpoint {checkpoint}", "range"),
        ("ablate-k --range 5..5 --checkpoint {checkpoint} --split no", "no"),
        ("study --preset scenes-pdl-r18 --seeds x", "seeds"),
        ("study --preset scenes-pdl-r18 --seeds -1", "seed"),
        ("study --preset scenes-pdl-r18 --variants no", "no"),
        ("study --preset scenes-pdl-r18 --variant x:y", "x"),
        ("export --checkpoint {checkpoint} --out model.xyz", "model.xyz"),
        ("export --checkpoint {checkpoint} --out model.onnx --size 0x0", "size"),
        ("data prepare scenes --out {file} --size 64x64", "{file}"),
        ("data prepare scenes --out out --size 0x0", "size"),
        ("data prepare scenes --out out --size 99999999x1", "size"),
        ("data prepare scenes --out out --difficulty no", "difficulty"),
        ("data prepare cityscapes {file}", "{file}"),
        ("data check {file}", "{file}"),
        ("data convert instances {file} --out out.json", "{file}"),
        ("weights download no", "no"),
        ("weights import {file} --preset scenes-pdl-r18", "{file}"),
        ("weights import {folder}/none.pkl --preset scenes-pdl-r18", "none.pkl"),
        ("visualize-heatmaps {file} --out out --checkpoint {checkpoint} --class no", "no"),
    ],
)
def test_values_that_cannot_be(pisr, tmp_path, checkpoint, line, message):
    file = tmp_path / "file.bin"
    file.write_bytes(b"nothing that any reader knows")
    words = {"long": "x" * 600, "file": file, "folder": tmp_path, "checkpoint": checkpoint}
    outcome = pisr(*(word.format(**words) for word in line.split()))
    check_refusal(outcome, tmp_path / "here")
    assert message.format(**words) in outcome[2]


def test_predict_goes_on_after_bad_files_and_names_them(pisr, tmp_path, checkpoint):
    photos = tmp_path / "photos"
    photos.mkdir()
    good, whole = [], Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8))

    def save(image, name, **options):
        image.save(photos / name, **options)
        good.append(name)

    save(whole, "rgb.jpg")
    save(whole.convert("RGBA"), "alpha.png")
    save(whole.convert("P"), "palette.png")
    save(whole.convert("CMYK"), "cmyk.jpg")
    save(whole.convert("L"), "grey.png")
    save(Image.fromarray(np.full((48, 64), 40_000, np.uint16)), "sixteen.png")
    save(whole, "png-in-truth.jpeg", format="PNG")
    save(whole.resize((1, 1)), "pixel.png")
    save(whole.resize((300, 1)), "line.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    save(whole, "turned.jpg", exif=exif)
    save(whole, "animated.webp", save_all=True, append_images=[whole.rotate(180)])
    bad = {
        "empty.png": b"",
        "text.jpg": b"no image",
        "cut.jpg": (photos / "rgb.jpg").read_bytes()[:700],
        "cut.png": (photos / "alpha.png").read_bytes()[:-200],
        "bomb.png": bomb(),
    }
    for name, content in bad.items():
        (photos / name).write_bytes(content)
    (photos / "folder.png").mkdir()
    code, _, err = pisr("predict", photos, "--out", "out", "--checkpoint", checkpoint, "--device", "cpu")
    assert code == 2 and "Traceback" not in err
    end = err[err.index(f"{len(bad)} inputs were skipped") :]
    assert all(name in end for name in bad) and not any(f"{name}:" in end for name in good)
    out = tmp_path / "here" / "out"
    assert len(read_panoptic_json(out / "panoptic.json").annotations) == len(good)
    with Image.open(out / "overlay" / "turned.jpg") as picture:
        assert picture.size == (48, 64)
    assert {path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*")} == {"here", "photos"}
    assert sorted(path.name for path in out.iterdir()) == ["overlay", "panoptic", "panoptic.json"]


def test_names_of_files_need_not_be_text(pisr, tmp_path, checkpoint):
    name = os.fsdecode(b"caf\xe9.png")
    Image.new("RGB", (64, 48)).save(tmp_path / name)
    line = ("predict", tmp_path / name, "--out", "out", "--checkpoint", checkpoint, "--device", "cpu", "--json")
    code, out, _ = pisr(*line)
    assert code == 0 and json.loads(out)["images"][0]["image"] == str(tmp_path / name)
    assert read_panoptic_json(tmp_path / "here/out/panoptic.json").images[0].file_name == name


def bomb():
    """A PNG of 20,000×20,000 black pixels in a few hundred kilobytes."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(2501 * 20_000), 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
