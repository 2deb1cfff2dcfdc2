import json
import threading
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from pisr_core.data.coco.files import read_panoptic_json, read_segmentation, rgb_to_id
from pisr_core.data.pictures.image_tensors import read_image
from pisr_core.data.pictures.video import Video, written_video
from pisr_core.errors import DataError
from pisr_core.inference import inputs
from pisr_core.inference.fast_model import FastModel
from pisr_core.inference.mode import inference
from pisr_core.inference.predict import find_images, predict, predict_sample
from pisr_core.runtime import patience
from pisr_core.structures import Sample

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
        panoptic = read_segmentation(
            out / "panoptic" / file.annotations[image.id].file_name, file.annotations[image.id]
        )
        assert panoptic.ids.shape == image.size
        assert len(panoptic.segments) == written.segments
        with Image.open(written.overlay) as picture:
            assert (picture.height, picture.width) == image.size
    infos = json.loads((out / "panoptic.json").read_text())["annotations"]
    assert all(0 <= info["score"] <= 1 for entry in infos for info in entry["segments_info"])
    assert sorted(path.name for path in out.iterdir()) == ["overlay", "panoptic", "panoptic.json"]
    assert len(list((out / "overlay").iterdir())) == len(list((out / "panoptic").iterdir())) == 3
    assert sorted(photos.rglob("*")) == before


@pytest.mark.parametrize("step", ["read_image", "image_size"])
def test_a_file_that_hangs_ends_prediction_in_one_message(tmp_path, tiny_model, photos, monkeypatch, step):
    """Whether its header is read or all of it."""
    over, read = threading.Event(), getattr(inputs, step)

    def hanging(path, **options):
        return over.wait() if path.name == "b.PNG" else read(path, **options)

    monkeypatch.setattr(inputs, step, hanging)
    monkeypatch.setattr(patience, "SECONDS_TO_END", 0.1)
    limited = replace(tiny_model.config, data=replace(tiny_model.config.data, timeout=1))
    monkeypatch.setattr(tiny_model, "config", limited)
    with pytest.raises(DataError, match=r"b.PNG: not read after 1 s: .*data.timeout"):
        predict(tiny_model, [str(photos)], tmp_path / "out", CPU)
    over.set()


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


def maps(out):
    """Each PNG's pixels, and what the JSON says of their segments."""
    infos = json.loads((out / "panoptic.json").read_text())["annotations"]
    pixels = {path.name: np.asarray(Image.open(path)) for path in (out / "panoptic").iterdir()}
    return pixels, {info["file_name"]: info["segments_info"] for info in infos}


@pytest.fixture
def album(tmp_path):
    """Images of three sizes, neighbours of one size and others."""
    generator, folder = np.random.default_rng(0), tmp_path / "album"
    folder.mkdir()
    for index, size in enumerate([(64, 96)] * 3 + [(60, 90)] * 2 + [(64, 96)] + [(96, 64)] * 4):
        image = Image.fromarray(generator.integers(0, 256, (6, 9, 3)).astype(np.uint8)).resize(size[::-1])
        image.save(folder / f"{index}.png")
    (folder / "3a.png").write_bytes(b"no image")
    return folder


def settled(model):
    """Norms with statistics of images, and predictors that answer to them, so that maps hold several segments."""
    for head in (model.final_heads.semantic, model.final_heads.center, model.final_heads.offset):
        torch.nn.init.normal_(head[-1].weight)
    with torch.no_grad():
        for _ in range(10):
            model.train()(torch.rand(4, 3, 8, 12).mul(255).repeat_interleave(8, 2).repeat_interleave(8, 3))
    return model.eval()


@pytest.mark.parametrize("batch_size", [1, 3])
def test_the_fast_path_gives_the_plain_one_s_maps(tmp_path, tiny_model, album, batch_size):
    model, out = settled(tiny_model), tmp_path / "out"
    report = predict(FastModel(model), [str(album)], out, CPU, batch_size=batch_size)
    assert len(report.written) == 10 and len(report.failed) == 1
    pixels, infos = maps(out)
    for path in sorted(album.glob("?.png")):
        sample = Sample(read_image(path), None, 1, path.name)
        with inference(model):
            expected = predict_sample(model, sample, CPU)
        np.testing.assert_array_equal(rgb_to_id(pixels[path.name]), expected.ids)
        scores = {segment.id: segment.score for segment in expected.segments}
        assert {info["id"]: info["score"] for info in infos[path.name]} == pytest.approx(scores, abs=1e-5)
    assert sum(map(len, infos.values())) > 20


def test_each_frame_of_a_film_is_predicted(tmp_path, tiny_model, photos):
    images = [cv2.resize(read_image(photos / "a.png").permute(1, 2, 0).numpy(), (96, 64))] * 5
    with written_video(tmp_path / "clip.mp4", 10.0) as add:
        for image in images:
            add(image)
    (tmp_path / "broken.mp4").write_bytes(b"no film")
    out, calls = tmp_path / "out", []
    inputs = [str(tmp_path / name) for name in ("clip.mp4", "broken.mp4", "photos/a.png")]
    report = predict(tiny_model, inputs, out, CPU, lambda *call: calls.append(call), batch_size=2)
    assert [path.panoptic.name for path in report.written] == [f"clip_00000{n}.png" for n in range(1, 6)] + ["a.png"]
    assert len(report.failed) == 1 and "broken.mp4" in report.failed[0]
    assert calls[-1] == (7, 7) and calls == sorted(calls)
    video = Video(out / "overlay" / "clip.mp4")
    assert (len(list(video)), video.fps) == (5, 10.0)
    assert sorted(path.name for path in (out / "overlay").iterdir()) == ["a.jpg", "clip.mp4"]
    file = read_panoptic_json(out / "panoptic.json")
    assert [image.file_name for image in file.images][4] == "clip_000005.png"
    # The frames are alike: so are the segments, with the ids of a film, which begin above those of stuff.
    ids = [{segment.id for segment in file.annotations[number].segments} for number in range(1, 6)]
    assert ids[0] and ids == [ids[0]] * 5
    stuff = {1 + i for i, category in enumerate(tiny_model.categories) if not category.isthing}
    assert all(i in stuff or i > len(tiny_model.categories) for i in ids[0])


def test_an_interruption_leaves_whole_files_only(tmp_path, tiny_model, album):
    with written_video(album / "7a.mp4", 10.0) as add:
        for _ in range(9):
            add(np.zeros((64, 96, 3), np.uint8))
    out, before = tmp_path / "out", threading.active_count()

    def interrupt(done, total):
        if done == 13:  # in the middle of the film
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict(tiny_model, [str(album)], out, CPU, interrupt)
    left = [path for path in out.rglob("*") if path.is_file()]
    assert len(left) > 10 and {path.suffix for path in left} == {".png", ".jpg"}
    for path in left:
        Image.open(path).load()
    assert threading.active_count() == before
