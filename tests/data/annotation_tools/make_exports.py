"""Writes `exports/` with the tools' own packages; each wants an environment of its own, in which it is installed.

    python make_exports.py labelme        # labelme 6.3.1
    python make_exports.py datumaro       # datumaro 1.13.12: its own format, CVAT's XML, COCO as CVAT has it
    python make_exports.py label_studio   # label-studio-sdk 2.1.2, which packs the brush strokes
    python make_exports.py supervisely    # supervisely 6.74.51

One image of 12 x 16 pixels: a road below, a car in two parts, a person with a hole, and a point and a line.
"""

import json
import sys
from pathlib import Path

import numpy as np

OUT = Path(__file__).parent / "exports"
SIZE = (12, 16)
PERSON = np.zeros(SIZE, bool)
PERSON[2:6, 2:8] = True
PERSON[3, 3:5] = False
ROAD = [[0, 6], [16, 6], [16, 12], [0, 12]]
CAR = [[4, 4], [10, 4], [10, 10], [4, 10]]
PART = [[11, 4], [13, 4], [13, 6], [11, 6]]


def labelme():
    import base64
    import io

    from labelme._label_file import write_label_file
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(PERSON[2:6, 2:8]).save(file, format="PNG")
    mask = base64.b64encode(file.getvalue()).decode()

    def shape(label, points, kind="polygon", group=None, mask=None):
        known = {"label": label, "points": points, "group_id": group, "description": "", "shape_type": kind}
        return {**known, "flags": {}, "mask": mask}

    shapes = [
        shape("person", [[2, 2], [7, 5]], "mask", mask=mask),
        shape("road", [[0, 6], [16, 12]], "rectangle"),
        shape("car", CAR, group=3),
        shape("car", PART, group=3),
        shape("car", [[1, 1]], "point"),
        shape("car", [[1, 1], [2, 2]], "line"),
    ]
    (OUT / "labelme").mkdir(parents=True, exist_ok=True)
    write_label_file(
        str(OUT / "labelme/a.json"), shapes=shapes, image_path="..\\images\\a.png", image_height=12, image_width=16
    )


def datumaro():
    import shutil

    from datumaro.components.annotation import Mask, Points, Polygon, PolyLine
    from datumaro.components.dataset import Dataset
    from datumaro.components.dataset_base import DatasetItem
    from datumaro.components.media import Image

    annotations = [
        Mask(PERSON, label=2, z_order=1),
        Polygon(np.ravel(ROAD).tolist(), label=1),
        Polygon(np.ravel(CAR).tolist(), label=0, group=3),
        Polygon(np.ravel(PART).tolist(), label=0, group=3),
        Points([1, 1], label=0),
        PolyLine([1, 1, 2, 2], label=0),
    ]
    image = Image.from_numpy(data=np.zeros((*SIZE, 3), np.uint8), ext=".png")
    items = [DatasetItem("a", media=image, annotations=annotations)]
    dataset = Dataset.from_iterable(items, categories=["car", "road", "person"])
    for folder, name in (("datumaro", "datumaro"), ("cvat", "cvat"), ("coco", "coco_instances")):
        shutil.rmtree(OUT / folder, ignore_errors=True)
        dataset.export(str(OUT / folder), name, save_media=False)


def label_studio():
    from label_studio_sdk.converter.brush import mask2rle

    def percent(points):
        return [[100 * x / SIZE[1], 100 * y / SIZE[0]] for x, y in points]

    def result(number, kind, value):
        size = {"original_width": SIZE[1], "original_height": SIZE[0], "image_rotation": 0}
        return {"id": str(number), "type": kind, "from_name": "tag", "to_name": "image", **size, "value": value}

    (left, top), (right, bottom) = percent([ROAD[0], ROAD[2]])
    box = {"x": left, "y": top, "width": right - left, "height": bottom - top, "rotation": 0}
    person = mask2rle(PERSON.astype(np.uint8) * 255)
    results = [
        result(1, "brushlabels", {"format": "rle", "rle": person, "brushlabels": ["person"]}),
        result(2, "rectanglelabels", {**box, "rectanglelabels": ["road"]}),
        result(3, "polygonlabels", {"points": percent(CAR), "closed": True, "polygonlabels": ["car"]}),
        result(4, "polygonlabels", {"points": percent(PART), "closed": True, "polygonlabels": ["car"]}),
        result(5, "keypointlabels", {"x": 1, "y": 1, "width": 0.2, "keypointlabels": ["car"]}),
        result(6, "vectorlabels", {"points": percent(PART[:2]), "closed": False, "vectorlabels": ["car"]}),
        {"id": "7", "type": "choices", "from_name": "c", "to_name": "image", "value": {"choices": ["day"]}},
    ]
    annotations = [
        {"id": 1, "was_cancelled": True, "result": []},
        {"id": 2, "was_cancelled": False, "created_at": "2026-01-02", "result": results},
        {"id": 3, "was_cancelled": False, "created_at": "2026-01-01", "result": results[:1]},
    ]
    tasks = [{"id": 1, "data": {"image": "/data/upload/1/0a1b2c3d-a.png"}, "annotations": annotations}]
    tasks.append({"id": 2, "data": {"image": "/data/upload/1/0a1b2c3d-b.png"}, "annotations": []})
    (OUT / "label_studio").mkdir(parents=True, exist_ok=True)
    (OUT / "label_studio/project.json").write_text(json.dumps(tasks))


def supervisely():
    import supervisely as sly

    def points(ring):  # pixels, whose outline belongs
        return [sly.PointLocation(y - (y > ring[0][1]), x - (x > ring[0][0])) for x, y in ring]

    classes = {
        name: sly.ObjClass(name, kind)
        for name, kind in (("car", sly.AnyGeometry), ("road", sly.Rectangle), ("person", sly.Bitmap))
    }
    labels = [
        sly.Label(sly.Bitmap(PERSON), classes["person"]),
        sly.Label(sly.Rectangle(6, 0, 11, 15), classes["road"]),
        sly.Label(sly.Polygon(points(CAR), []), classes["car"]),
        sly.Label(sly.Polygon(points(PART), []), classes["car"]),
        sly.Label(sly.Point(1, 1), classes["car"]),
        sly.Label(sly.Polyline([sly.PointLocation(1, 1), sly.PointLocation(2, 2)]), classes["car"]),
    ]
    folder = OUT / "supervisely"
    (folder / "ds/ann").mkdir(parents=True, exist_ok=True)
    meta = sly.ProjectMeta(list(classes.values()))
    (folder / "meta.json").write_text(json.dumps(meta.to_json()))
    (folder / "ds/ann/a.png.json").write_text(json.dumps(sly.Annotation(SIZE, labels).to_json()))


if __name__ == "__main__":
    {"labelme": labelme, "datumaro": datumaro, "label_studio": label_studio, "supervisely": supervisely}[sys.argv[1]]()
