import json

import numpy as np
import pytest
from PIL import Image

from pisr_cli.app import main
from pisr_core import presets
from pisr_core.data.scenes import SCENE_CATEGORIES
from pisr_core.models import build_model
from pisr_core.weights.files.checkpoint import save_checkpoint

RUN = "runs/first/best.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a photo and a run."""
    path = tmp_path_factory.mktemp("work")
    Image.fromarray(np.zeros((40, 56, 3), np.uint8)).save(path / "photo.png")
    config = presets.load("scenes-pdl-r18", ["backbone.pretrained=false", "relation.top_k=4"])
    state = build_model(config, SCENE_CATEGORIES).state_dict()
    save_checkpoint(path / RUN, state, config, SCENE_CATEGORIES, {})
    return path


@pytest.fixture
def pisr(capsys, folder, monkeypatch):
    """Runs `visualize-heatmaps` there and gives its (exit code, stdout, stderr)."""
    monkeypatch.chdir(folder)

    def run(*arguments):
        with pytest.raises(SystemExit) as exit_:
            main(["visualize-heatmaps", *map(str, arguments)])
        captured = capsys.readouterr()
        return exit_.value.code or 0, captured.out, captured.err

    return run


@pytest.fixture
def no_drawing(monkeypatch):
    """Writes empty pictures, for tests that look at names only."""
    for place in ("picture_pages.draw_grid", "heatmaps.draw_weights"):
        monkeypatch.setattr(f"pisr_core.figures.{place}", _write_empty)


def _write_empty(path, *_):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def test_help_has_an_example(pisr):
    code, out, _ = pisr("--help")
    assert code == 0 and "Example: pisr visualize-heatmaps" in " ".join(out.split())


def test_the_newest_run_is_drawn(pisr, folder):
    arguments = ("--out", "out", "--class", "car", "--class", "sky", "--device", "cpu", "--json")
    code, out, err = pisr("photo.png", *arguments)
    document = json.loads(out)
    assert code == 0 and RUN in err
    assert document["images"] == ["photo.png"] and document["failed"] == []
    assert document["pictures"][:3] == [
        "out/scenes-pdl-r18/classes/photo-car.png",
        "out/scenes-pdl-r18/classes/photo-sky.png",
        "out/scenes-pdl-r18/weights/photo.png",
    ]
    assert all((folder / path).is_file() for path in (*document["pictures"], document["page"]))


def test_two_models_of_one_preset_get_their_own_folders(pisr, no_drawing):
    both = ("--checkpoint", RUN, "--checkpoint", RUN)
    code, out, _ = pisr("photo.png", *both, "--class", "car", "--out", "out", "--device", "cpu", "--json")
    pictures = json.loads(out)["pictures"]
    assert code == 0 and len(set(pictures)) == len(pictures)
    assert {"out/scenes-pdl-r18-2/weights/photo.png", "out/centers/photo-car.png"} <= set(pictures)


def test_a_model_does_not_differ_from_itself(pisr, folder):
    code, out, _ = pisr("photo.png", "--compare", RUN, RUN, "--out", "out", "--device", "cpu", "--json")
    assert code == 0 and json.loads(out)["pictures"] == ["out/compare/photo.png"]
    assert "0.0 % of the pixels differ" in (folder / "out/index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--class", "cart"], "did you mean car"),
        (["--compare", "a", "b", "--class", "car"], "--compare draws results only"),
        (["--annotations-dir", "x"], "needs --annotations"),
        (["--annotations", "none.json"], "none.json"),
    ],
)
def test_mistakes_exit_with_2_and_one_message(pisr, arguments, message):
    code, out, err = pisr("photo.png", "--out", "out", "--device", "cpu", *arguments)
    assert code == 2 and out == ""
    assert message in err and "Traceback" not in err
