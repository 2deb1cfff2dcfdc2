import base64
import io
import json
import re
import sys

import numpy as np
import pytest
from PIL import Image

from pisr_core import Category, PanopticSegmentation, Prediction, Segment
from pisr_core.api.notebook import MOST_ROWS
from pisr_core.errors import ConfigError
from pisr_core.metrics.files import evaluate_files


def small():
    """A car of three pixels on a road, and two pixels of void."""
    ids = np.array([[0, 7, 7, 1], [0, 7, 1, 1]], np.int32)
    segments = (Segment(7, category=0, area=3, score=0.5), Segment(1, category=1, area=3, score=0.25))
    categories = (Category(10, "car", True, (255, 0, 0)), Category(20, "road", False, (0, 0, 255)))
    return Prediction("photo.jpg", np.full((2, 4, 3), 100, np.uint8), PanopticSegmentation(ids, segments), categories)


def test_segments_by_hand():
    car, road = small().segments
    assert (car.label, car.isthing, car.score, car.area, car.category_id, car.id) == ("car", True, 0.5, 3, 10, 7)
    assert (road.label, road.isthing, road.score, road.area, road.category_id) == ("road", False, 0.25, 3, 20)
    assert car.bbox == (1, 0, 2, 2) and road.bbox == (2, 0, 2, 2)
    assert car.mask.tolist() == [[False, True, True, False], [False, True, False, False]]
    assert "_ids" not in repr(car)


def test_overlay_is_a_picture_that_leaves_void_alone():
    picture = small().overlay()
    assert isinstance(picture, Image.Image) and picture.size == (4, 2)
    assert picture.getpixel((0, 0)) == (100, 100, 100) and picture.getpixel((3, 1)) != (100, 100, 100)


def test_save_writes_what_eval_reads(tmp_path):
    json_path, png, picture = small().save(tmp_path / "out")
    assert [path.relative_to(tmp_path).as_posix() for path in (json_path, png, picture)] == [
        "out/panoptic/photo.json",
        "out/panoptic/photo.png",
        "out/overlay/photo.jpg",
    ]
    document = json.loads(json_path.read_text())
    assert [entry["score"] for entry in document["annotations"][0]["segments_info"]] == [0.5, 0.25]
    assert Image.open(picture).size == (4, 2)
    result = evaluate_files(json_path, json_path, png.parent, png.parent)
    assert result.panoptic.all.pq == 100 and result.panoptic.all.n == 2


def test_save_under_another_name(tmp_path):
    small().save(tmp_path, name="second")
    written = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*"))
    assert written == ["overlay/second.jpg", "panoptic/second.json", "panoptic/second.png"]


def test_arrays_by_hand():
    prediction = small()
    assert prediction.masks.astype(int).tolist() == [[[0, 1, 1, 0], [0, 1, 0, 0]], [[0, 0, 0, 1], [0, 0, 1, 1]]]
    assert prediction.boxes.tolist() == [[1, 0, 3, 2], [2, 0, 4, 2]]
    assert prediction.scores.tolist() == [0.5, 0.25]
    assert prediction.class_names == ["car", "road"] and prediction.class_ids.tolist() == [10, 20]


def test_a_line_of_text_stands_for_the_whole():
    assert repr(small()) == "<Prediction of photo.jpg: 2 segments, 2×4 pixels>"


def nothing():
    empty = PanopticSegmentation(np.zeros((2, 4), np.int32), ())
    return Prediction("none.jpg", np.zeros((2, 4, 3), np.uint8), empty, small().categories)


def test_an_empty_map_has_empty_arrays():
    prediction = nothing()
    assert prediction.masks.shape == (0, 2, 4) and prediction.boxes.shape == (0, 4)
    assert prediction.scores.shape == (0,) and prediction.class_names == []
    assert prediction.to_coco()["annotations"][0]["segments_info"] == []
    assert "<tbody></tbody>" in prediction._repr_html_()


def test_coco_values_are_those_of_the_file(tmp_path):
    written, _, _ = small().save(tmp_path)
    assert small().to_coco() == json.loads(written.read_text())
    document = small().to_coco(image_id="a")
    assert document["images"][0]["id"] == document["annotations"][0]["image_id"] == "a"


def test_supervision_gets_every_segment():
    pytest.importorskip("supervision", reason="needs the extra [supervision]")
    detections = small().to_supervision()
    assert len(detections) == 2 and detections.xyxy.tolist() == [[1, 0, 3, 2], [2, 0, 4, 2]]
    things = detections[detections.data["isthing"]]
    assert things.data["class_name"].tolist() == ["car"] and things.class_id.tolist() == [10]
    assert things.confidence.tolist() == [0.5] and things.area.tolist() == [3]
    assert len(nothing().to_supervision()) == 0


def test_without_supervision_the_message_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ConfigError, match=r"pip install 'pisr\[supervision\]'"):
        small().to_supervision()


def test_a_notebook_shows_picture_legend_and_table():
    html = small()._repr_html_()
    data = re.search(r'src="data:image/jpeg;base64,([^"]+)"', html)[1]
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (4, 2)
    legend = re.search(r'<div class="legend">(.*?)</div>', html)[1]
    assert "rgb(255, 0, 0)" in legend and "car" in legend and "road" in legend
    rows = re.findall(r"<tr><td>(.*?)</tr>", html)
    assert re.findall(r"</i>(.*?)</td>.*?<td>([\d.]+)</td><td>3</td><td>37.5 %</td><td>(.*?)</td>", rows[0]) == [
        ("car", "0.50", "1, 0, 2, 2")
    ]
    assert len(rows) == 2
    assert Image.open(io.BytesIO(small()._repr_png_())).size == (4, 2)


def test_names_in_a_notebook_are_text_and_long_tables_are_cut():
    count = MOST_ROWS + 3
    ids = np.arange(1, count + 1, dtype=np.int32)[None].repeat(2, axis=0)
    segments = tuple(Segment(int(i), category=0, area=2) for i in ids[0])
    categories = (Category(1, "<b>box</b>", True, (9, 9, 9)),)
    picture = np.zeros((2, count, 3), np.uint8)
    html = Prediction("a.jpg", picture, PanopticSegmentation(ids, segments), categories)._repr_html_()
    assert "<b>box" not in html and f"&lt;b&gt;box&lt;/b&gt; × {count}" in html
    assert html.count("<tr><td>") == MOST_ROWS and "and 3 smaller segments" in html


def test_a_large_picture_is_shown_smaller():
    ids = np.ones((30, 3000), np.int32)
    panoptic = PanopticSegmentation(ids, (Segment(1, category=1, area=ids.size),))
    prediction = Prediction("wide.jpg", np.zeros((30, 3000, 3), np.uint8), panoptic, small().categories)
    assert Image.open(io.BytesIO(prediction._repr_png_())).size == (1024, 10)
    assert prediction.overlay().size == (3000, 30)
