import json

import numpy as np
import pytest
import torch
from PIL import Image

from pisr_core.data.coco_files import read_panoptic_json, read_segmentation
from pisr_core.engine.prediction import find_images, predict
from pisr_core.errors import DataError

CPU = torch.device("cpu")


@pytest.fixture
def photos(tmp_path):
    """Three readable images, two of one name and different sizes, a broken one and a text file."""
    generator = np.random.default_rng(0)
    folder = tmp_path / "photos"
    for name, size in (("a.png", (50, 70)), ("sub/a.jpg", (64, 40)), ("b.PNG", (33, 65))):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (*size, 3)).astype(np.uint8)).save(path)
    (folder / "broken.png").write_bytes(b"no image")
    (folder / "notes.txt").write_text("no image")
    return folder


def test_good_images_are_written_and_bad_ones_reported(tmp_path, tiny_model, photos):
    out, calls = tmp_path / "out", []
    before = sorted(photos.rglob("*"))
    report = predict(
        tiny_model, [str(photos), "missing.jpg"], out, CPU, lambda done, total: calls.append((done, total))
    )
    assert len(report.written) == 3 and calls[-1] == (4, 4)
    assert len(report.failed) == 2
    assert any("broken.png" in message for message in report.failed)
    assert any("missing.jpg" in message for message in report.failed)

    file = read_panoptic_json(out / "panoptic.json")
    assert [(image.file_name, image.size) for image in file.images] == [
        ("a.png", (50, 70)),
        ("b.PNG", (33, 65)),
        ("a-2.jpg", (64, 40)),
    ]
    for image, written in zip(file.images, report.written, strict=True):
        panoptic = read_segmentation(out / "panoptic", file.annotations[image.id])
        assert panoptic.ids.shape == image.size
        assert len(panoptic.segments) == written.segments
        with Image.open(written.overlay) as picture:
            assert (picture.height, picture.width) == image.size
    infos = json.loads((out / "panoptic.json").read_text())["annotations"]
    assert all(0 <= info["score"] <= 1 for entry in infos for info in entry["segments_info"])
    assert sorted(path.name for path in out.iterdir()) == ["overlay", "panoptic", "panoptic.json"]
    assert len(list((out / "overlay").iterdir())) == len(list((out / "panoptic").iterdir())) == 3
    assert sorted(photos.rglob("*")) == before


def test_an_input_comes_once_and_results_are_not_inputs(photos):
    out = photos / "sub"
    images, failed = find_images([str(photos / "a.png"), str(photos), f"{photos}/*.png"], exclude=out)
    assert [path.name for path in images] == ["a.png", "b.PNG", "broken.png"]
    assert not failed


def test_names_that_look_like_patterns_are_files_first(tmp_path):
    path = tmp_path / "a[1].png"
    path.touch()
    assert find_images([str(path)], exclude=tmp_path / "out")[0] == [path]


def test_no_image_at_all_is_an_error(tmp_path, tiny_model):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: no image there"):
        predict(tiny_model, [str(tmp_path / "empty")], tmp_path / "out", CPU)
    assert not (tmp_path / "out").exists()
