"""A network that carries its queries from frame to frame, from film files to panoptic maps."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_films import CLASSES, OVERLAP, frames, save, seen_by_transformers, videomt

from pisr_core.data.coco.files import rgb_to_id
from pisr_core.data.loading import evaluation_batch
from pisr_core.data.pictures.video import Video, written_video
from pisr_core.errors import CheckpointError
from pisr_core.inference.fast_model import FastModel
from pisr_core.inference.film_model import FilmModel
from pisr_core.inference.load import build_trained
from pisr_core.inference.predict import predict
from pisr_core.structures import Sample
from pisr_core.weights.hub.folder import read_hub_folder

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    return save(videomt(), tmp_path_factory.mktemp("videomt"))


@pytest.fixture
def model(folder):
    checkpoint = read_hub_folder(folder, CLASSES)
    settings = replace(checkpoint.config.transformers, overlap_threshold=OVERLAP)
    return build_trained(replace(checkpoint, config=replace(checkpoint.config, transformers=settings)), "tiny", CPU)


@pytest.fixture
def media(tmp_path):
    """Two films of five frames and an image, in this order by name."""
    for name, film in (("a.mp4", frames(5)), ("c.mp4", frames(5)[::-1])):
        with written_video(tmp_path / "media" / name, 10.0) as add:
            for frame in film:
                add(frame)
    Image.fromarray(frames(3)[2]).save(tmp_path / "media" / "b.png")
    return tmp_path / "media"


def test_pixels_and_logits_of_each_frame_are_those_of_transformers(folder, model):
    film = frames(3)
    pixels, expected, _ = seen_by_transformers(folder, film)
    seeing = FilmModel(model)
    for position, frame in enumerate(film):
        sample = Sample(torch.from_numpy(frame).permute(2, 0, 1).contiguous(), None, 0, "frame")
        batch = evaluation_batch([sample], model.config.data, model.size_divisor)
        torch.testing.assert_close(model.normalize(batch.images)[0], pixels[position], atol=1e-6, rtol=0)
        with torch.no_grad():
            final = seeing(batch.images).final
        torch.testing.assert_close(final.class_logits[0], expected.class_queries_logits[position], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(final.mask_logits[0], expected.masks_queries_logits[position], atol=1e-5, rtol=1e-5)


def test_a_processor_of_another_size_gives_way_to_the_network(folder, tmp_path, caplog):
    for path in folder.iterdir():
        text = path.read_bytes()
        if path.name == "video_preprocessor_config.json":
            text = json.dumps(json.loads(text) | {"size": {"height": 32, "width": 32}}).encode()
        (tmp_path / path.name).write_bytes(text)
    data = read_hub_folder(folder, CLASSES).config.data
    assert data.eval_size == (64, 64) and not caplog.records
    assert read_hub_folder(tmp_path, CLASSES).config.data == data
    assert "makes images of 32×32 pixels, but its network takes 64×64 alone" in caplog.text
    (tmp_path / "video_preprocessor_config.json").unlink()
    with pytest.raises(CheckpointError, match="has no video_preprocessor_config.json.* Save the video processor"):
        read_hub_folder(tmp_path, CLASSES)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_the_maps_of_films_and_images_are_those_of_transformers(folder, model, media, tmp_path, batch_size):
    report = predict(FastModel(model), [str(media)], tmp_path / "out", CPU, batch_size=batch_size)
    assert not report.failed
    films = {stem: list(Video(media / f"{stem}.mp4")) for stem in "ac"}
    films["b"] = [np.asarray(Image.open(media / "b.png"))]
    expected = {}
    for stem, film in films.items():
        _, output, their_maps = seen_by_transformers(folder, film)
        names = [f"{stem}_{number:06d}.png" for number in range(1, len(film) + 1)] if stem != "b" else ["b.png"]
        expected |= dict(zip(names, zip(their_maps, output.class_queries_logits.softmax(2), strict=True), strict=True))
    annotations = json.loads((tmp_path / "out" / "panoptic.json").read_text())["annotations"]
    assert [entry["file_name"] for entry in annotations] == sorted(expected)
    kept = []
    for entry in annotations:
        (their, probabilities), ours = expected[entry["file_name"]], entry["segments_info"]
        ids = rgb_to_id(np.asarray(Image.open(tmp_path / "out" / "panoptic" / entry["file_name"])))
        same = (their["segmentation"].numpy() == -1) & (ids == 0)
        for segment, own in zip(their["segments_info"], ours, strict=True):
            label = segment["label_id"]
            assert own["category_id"] == CLASSES[label].id
            if CLASSES[label].isthing:  # of stuff ours is the highest score, theirs the first
                query = own["id"] - 1 - len(CLASSES)
                assert own["score"] == pytest.approx(segment["score"], abs=1e-5)
                assert own["score"] == pytest.approx(float(probabilities[query, label]), abs=1e-5)
            same |= (their["segmentation"].numpy() == segment["id"]) & (ids == own["id"])
        assert same.mean() >= 0.999
        kept.append({own["id"]: own["category_id"] for own in ours if own["id"] > len(CLASSES)})
    assert sum(len(kept[0].keys() & later.keys()) for later in kept[1:5]) >= 4  # things are there again


def test_each_film_begins_with_nothing_seen(model, tmp_path):
    for name in ("a.mp4", "b.mp4"):
        with written_video(tmp_path / "films" / name, 10.0) as add:
            for frame in frames(3):
                add(frame)
    predict(model, [str(tmp_path / "films")], tmp_path / "out", CPU)
    first, second = (
        [np.asarray(Image.open(tmp_path / "out/panoptic" / f"{name}_{number:06d}.png")) for number in (1, 2, 3)]
        for name in "ab"
    )
    np.testing.assert_array_equal(first, second)


def test_low_precision_carries_its_memory_too(model):
    frame = torch.from_numpy(frames(1, 64, 64)[0]).permute(2, 0, 1)[None].contiguous()
    plain, fast = FilmModel(model), FilmModel(FastModel(model, "bf16"))
    with torch.inference_mode():
        for _ in range(3):
            expected, actual = plain(frame), fast(frame)
    assert actual.memory.dtype == torch.float32
    torch.testing.assert_close(actual.memory, expected.memory, atol=0.2, rtol=0.1)
