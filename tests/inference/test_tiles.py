"""Tiles of large images, by a network that sees without error: colours are ids."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from pisr_core.data.coco.files import read_panoptic_json, read_panoptic_png, read_segmentation, rgb_to_id
from pisr_core.errors import ConfigError
from pisr_core.inference import stitching, tiles
from pisr_core.inference.predict import predict
from pisr_core.inference.stitching import Stitcher
from pisr_core.inference.tiles import TiledImage, TilePredictor, Tiling
from pisr_core.structures import PanopticSegmentation, Segment

CPU = torch.device("cpu")
THING, OTHER, STUFF, MORE_STUFF = range(4)
ISTHING = (True, True, False, False)


def segmentation(ids, classes):
    """A map whose ids are of the classes named; areas counted."""
    segments = (Segment(i, c, int((ids == i).sum()), score=0.5) for i, c in classes.items() if (ids == i).any())
    return PanopticSegmentation(ids, tuple(segments))


def stitched(truth, classes, tiling, see=lambda ids, top, left: ids):
    """What is put together of a map of which each tile is seen as it is, with numbers of the tile's own."""
    stitcher = Stitcher(truth.shape, ISTHING)
    for top, bottom in tiling.spans(truth.shape[0]):
        row = []
        for left, right in tiling.spans(truth.shape[1]):
            ids = see(truth[top:bottom, left:right].copy(), top, left)
            present = [i for i in np.unique(ids).tolist() if i]
            own = np.zeros(int(ids.max()) + 1, np.int32)
            own[present] = np.arange(len(present), 0, -1)
            row.append((left, segmentation(own[ids], {int(own[i]): classes[i] for i in present})))
        stitcher.add_row(top, row)
    return stitcher.packed()


def scene(size=(70, 100), seed=0):
    """Two stuff classes, void, and things of two classes that lie all over, touch and cross the borders of tiles."""
    rng = np.random.default_rng(seed)
    ids = np.full(size, 1, np.int32)
    ids[:, size[1] // 2 :] = 2
    ids[size[0] // 3 : size[0] // 2, ::9] = 0
    classes = {1: STUFF, 2: MORE_STUFF}
    for number in range(3, 15):
        y, x = rng.integers(0, size[0] - 12), rng.integers(0, size[1] - 14)
        ids[y : y + rng.integers(6, 20), x : x + rng.integers(6, 24)] = number
        classes[number] = THING if number % 2 else OTHER
    return ids, classes


def same_partition(first, second):
    """Whether two maps differ by the numbers of their segments only."""
    pairs = np.unique(np.stack([first.ravel(), second.ravel()]), axis=1)
    return len(pairs[0]) == len(np.unique(pairs[0])) == len(np.unique(pairs[1]))


@pytest.mark.parametrize(("side", "overlap"), [(40, 16), (33, 10), (64, 32), (100, 0), (41, 20)])
@pytest.mark.parametrize("seed", range(3))
def test_what_tiles_see_alike_is_the_whole(side, overlap, seed):
    """Whatever the tiles: things that cross many of them, stuff in pieces, and void."""
    truth, classes = scene(seed=seed)
    packed = stitched(truth, classes, Tiling(side, overlap))
    ids = np.concatenate(list(packed.rows()))
    if overlap:
        assert same_partition(ids, truth)
    found = {segment.id: segment for segment in packed.segments}
    assert set(found) == set(np.unique(ids).tolist()) - {0}
    for number, segment in found.items():
        mask = ids == number
        assert segment.area == mask.sum() and segment.score == 0.5
        assert {classes[i] for i in np.unique(truth[mask]).tolist()} == {segment.category}
    assert (packed.at(truth.shape).ids == ids).all()
    assert (packed.at((35, 50)).ids == ids[::2, ::2]).all()


def test_no_more_is_unpacked_at_once_than_is_allowed(monkeypatch):
    truth, classes = scene()
    whole = list(stitched(truth, classes, Tiling(40, 16)).rows())
    monkeypatch.setattr(stitching, "PIXELS_AT_ONCE", 750)
    parts = list(stitched(truth, classes, Tiling(40, 16)).rows())
    assert len(whole) < 5 and max(map(len, parts)) == 7
    assert (np.concatenate(parts) == np.concatenate(whole)).all()


def test_without_overlap_things_are_cut_and_stuff_is_not():
    truth = np.full((8, 20), 1, np.int32)
    truth[2:6, 5:15] = 2
    packed = stitched(truth, {1: STUFF, 2: THING}, Tiling(10, 0))
    assert sorted((segment.category, segment.area) for segment in packed.segments) == [
        (THING, 20),
        (THING, 20),
        (STUFF, 120),
    ]


@pytest.mark.parametrize(("seen", "parts"), [(6, 1), (4, 2), (3, 2)])
def test_things_are_one_when_they_share_more_than_half(seen, parts):
    """The right tile sees `seen` of the eight rows that the left one sees; at half they are two."""
    truth = np.full((10, 16), 1, np.int32)
    truth[1:9, 4:14] = 2

    def see(ids, top, left):
        if left:
            ids[1 + seen : 9][ids[1 + seen : 9] == 2] = 1
        return ids

    packed = stitched(truth, {1: STUFF, 2: THING}, Tiling(10, 4), see)
    assert sum(segment.category == THING for segment in packed.segments) == parts


def test_things_of_two_classes_stay_two():
    truth = np.full((10, 16), 1, np.int32)
    truth[1:9, 4:14] = 2

    def see(ids, top, left):
        return np.where(ids == 2, 3, ids) if left else ids

    packed = stitched(truth, {1: STUFF, 2: THING, 3: OTHER}, Tiling(10, 4), see)
    ids = np.concatenate(list(packed.rows()))
    assert [s.category for s in packed.segments].count(THING) == 1
    assert ids[5, 7] != ids[5, 8]  # the overlap, columns 6 to 9, is cut in its middle


def test_scores_are_the_means_of_the_parts_by_their_pixels():
    stitcher = Stitcher((4, 12), ISTHING)
    ids = np.ones((4, 8), np.int32)
    first = PanopticSegmentation(ids, (Segment(1, STUFF, 30, score=0.9),))
    second = PanopticSegmentation(ids, (Segment(1, STUFF, 10, score=0.5),))
    stitcher.add_row(0, [(0, first), (4, second)])
    [segment] = stitcher.packed().segments
    assert segment.score == pytest.approx(0.8) and segment.area == 48


def test_spans_cover_a_side():
    assert Tiling(10, 2).spans(10) == [(0, 10)] and Tiling(10, 2).spans(7) == [(0, 7)]
    assert Tiling(10, 2).spans(18) == [(0, 10), (8, 18)]
    assert Tiling(10, 2).spans(19) == [(0, 10), (4, 14), (9, 19)]
    assert Tiling(10, 5).spans(25) == [(0, 10), (5, 15), (10, 20), (15, 25)]


@pytest.mark.parametrize(("side", "overlap"), [(10, 6), (10, -1), (1, 1)])
def test_an_overlap_of_more_than_half_is_refused(side, overlap):
    with pytest.raises(ConfigError, match=rf"--overlap {overlap}: from 0 to half of a tile"):
        Tiling(side, overlap)


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    pixels = np.random.default_rng(0).integers(0, 256, (12, 20, 3)).astype(np.uint8)
    Image.fromarray(pixels).resize((200, 120), Image.Resampling.BICUBIC).save(path)
    return path


def test_images_that_fit_are_predicted_as_without_tiles(tmp_path, tiny_model, photo):
    for name, tiling in (("whole", None), ("tiles", Tiling(200, 100))):
        predict(tiny_model, [str(photo)], tmp_path / name, CPU, tiling=tiling)
    for file in ("panoptic.json", "panoptic/photo.png", "overlay/photo.jpg"):
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "tiles" / file).read_bytes()


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_larger_images_are_put_together(tmp_path, tiny_model, photo, suffix):
    """By what the network sees of each tile; the JSON, PNG and picture agree."""
    path = photo.with_suffix(f".{suffix}")
    Image.open(photo).save(path)
    report = predict(tiny_model, [str(path)], tmp_path / "out", CPU, tiling=Tiling(64, 16), batch_size=3)
    file = read_panoptic_json(tmp_path / "out/panoptic.json")
    record = file.annotations[1]
    panoptic = read_segmentation(tmp_path / "out/panoptic" / record.file_name, record)
    assert panoptic.ids.shape == (120, 200) and len(panoptic.segments) == report.written[0].segments
    infos = json.loads((tmp_path / "out/panoptic.json").read_text())["annotations"][0]["segments_info"]
    for info in infos:
        rows, columns = np.nonzero(panoptic.ids == info["id"])
        assert info["area"] == len(rows)
        assert info["bbox"] == [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
    stuff = [info["category_id"] for info in infos if not info["isthing"]]
    assert len(stuff) == len(set(stuff))
    with Image.open(tmp_path / "out/overlay/photo.jpg") as picture:
        assert picture.size == (200, 120)
        assert rgb_to_id(np.array(Image.open(tmp_path / "out/panoptic/photo.png"))).any()
    assert (read_panoptic_png(tmp_path / "out/panoptic/photo.png") == panoptic.ids).all()


def test_a_picture_of_a_huge_image_is_smaller_and_rows_are_read_once_more_only_in_overlaps(tiny_model, monkeypatch):
    monkeypatch.setattr(tiles, "MAP_PIXELS", 40 * 50)
    pixels = np.random.default_rng(0).integers(0, 256, (160, 200, 3)).astype(np.uint8)
    read = []

    def rows(top, bottom):
        read.append((top, bottom))
        return pixels[top:bottom]

    predictor = TilePredictor(tiny_model.eval(), Tiling(96, 32), tiny_model.config.data, CPU)
    with torch.inference_mode():
        seen = predictor.predict(TiledImage("huge", (160, 200), rows))
    assert read == [(0, 96), (64, 160)]
    assert seen.picture.shape == (40, 50, 3) and seen.map.at((40, 50)).ids.shape == (40, 50)
    assert np.abs(seen.picture.mean((0, 1)) - pixels.mean((0, 1))).max() < 1


def test_a_tile_below_the_stride_and_a_damaged_file_are_told(tmp_path, tiny_model, photo):
    with pytest.raises(ConfigError, match="--tile 8: smaller than the network's stride"):
        predict(tiny_model, [str(photo)], tmp_path / "out", CPU, tiling=Tiling(8, 2))
    path = tmp_path / "cut.tif"
    Image.open(photo).save(path, compression="tiff_adobe_deflate", tiffinfo={278: 20})
    path.write_bytes(path.read_bytes()[:-9000])
    report = predict(tiny_model, [str(path), str(photo)], tmp_path / "out", CPU, tiling=Tiling(64, 16))
    assert len(report.written) == 1 and len(report.failed) == 1 and "cut.tif" in report.failed[0]
