"""Whole files of every kind that is read, and how each is read."""

import io
import json
import os
import pickle
import resource
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import tomli_w
import torch
from PIL import Image
from pycocotools import mask as coco_mask
from run_specimens import films, runs
from safetensors.torch import save
from specimen import SIZE, Specimen, csv_bytes, pixels

from pisr_core import presets
from pisr_core.data.categories import read_categories
from pisr_core.data.checking.check import check_data
from pisr_core.data.checking.reading.splits import SplitSource
from pisr_core.data.coco.files import id_to_rgb, read_panoptic_json, read_panoptic_png
from pisr_core.data.coco.instances_json import read_coco_file
from pisr_core.data.layouts import SplitPaths
from pisr_core.data.pictures.image_tensors import read_image
from pisr_core.data.pictures.images import image_size
from pisr_core.data.prepare.archives import unpack
from pisr_core.data.prepare.cityscapes import draw_instances
from pisr_core.data.prepare.coco_instances import CocoInstancesImages
from pisr_core.data.prepare.raw import read_label_map
from pisr_core.data.prepare.record import SplitRecord
from pisr_core.data.scenes import SCENE_CATEGORIES
from pisr_core.metrics.files import evaluate_files
from pisr_core.results.table import ResultsTable
from pisr_core.training.state import Progress, TrainingState, read_state, save_state
from pisr_core.weights.files.checkpoint import read_checkpoint, save_checkpoint
from pisr_core.weights.files.tensor_files import read_tensors
from pisr_core.weights.public.layouts import detect_layout, rename_tensors

MEMORY = 3 << 30
"""Bytes that reading may claim beyond what the process has."""


class Payload:
    """A pickle of it makes a folder named `canary` where it is loaded."""

    def __reduce__(self):
        return os.mkdir, ("canary",)


@pytest.fixture(autouse=True)
def _memory_limit():
    """A file that claims to be huge ends in `MemoryError` here, not in the machine's last page."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@cache
def specimens() -> dict[str, Specimen]:
    """Every specimen by a name for it."""
    with TemporaryDirectory() as folder:
        folder = Path(folder)
        return {**_images(), **_maps(), **_annotations(), **_tables(), **runs(), **_weights(folder), **films(folder)}


def pytest_generate_tests(metafunc):
    """`specimen` stands for every one of them."""
    if "specimen" in metafunc.fixturenames:
        metafunc.parametrize("specimen", specimens().values(), ids=specimens().keys())


def _encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _images() -> dict[str, Specimen]:
    photo, grey = Image.fromarray(pixels()), np.arange(768, dtype=np.uint16).reshape(SIZE) * 85
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    frames = [photo.convert("P"), photo.rotate(180).convert("P")]
    files = {
        "grey16.png": _encoded(Image.fromarray(grey), "PNG"),
        "palette.png": _encoded(photo.convert("P"), "PNG", transparency=3),
        "alpha.png": _encoded(photo.convert("RGBA"), "PNG"),
        "turned.jpg": _encoded(photo, "JPEG", exif=exif),
        "progressive.jpg": _encoded(photo, "JPEG", progressive=True),
        "cmyk.jpg": _encoded(photo.convert("CMYK"), "JPEG"),
        "deflate.tif": _encoded(photo, "TIFF", compression="tiff_adobe_deflate"),
        "plain.tif": _encoded(photo, "TIFF", exif=exif),
        "animated.gif": _encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "animated.webp": _encoded(photo, "WEBP", save_all=True, append_images=[photo.rotate(180)]),
        "plain.bmp": _encoded(photo, "BMP"),
        "plain.ppm": _encoded(photo, "PPM"),
        "plain.jp2": _encoded(photo, "JPEG2000"),
    }

    def read(name: str) -> Callable[[Path], Any]:
        return lambda folder: (image_size(folder / name), read_image(folder / name))

    return {f"image {name}": Specimen(name, {name: content}, read(name)) for name, content in files.items()}


def _map() -> np.ndarray:
    ids = np.full(SIZE, 10, np.int32)
    ids[:, SIZE[1] // 2 :] = 70_000
    return ids


def _maps() -> dict[str, Specimen]:
    panoptic = _encoded(Image.fromarray(id_to_rgb(_map())), "PNG")
    labels = _encoded(Image.fromarray(_map().astype(np.uint16)), "PNG")
    return {
        "panoptic PNG": Specimen("p.png", {"p.png": panoptic}, lambda folder: read_panoptic_png(folder / "p.png")),
        "label map": Specimen("l.png", {"l.png": labels}, lambda folder: read_label_map(folder / "l.png")),
    }


def _panoptic_json() -> dict[str, Any]:
    infos = [
        {"id": 10, "category_id": 1, "area": 384, "bbox": [0, 0, 16, 24], "iscrowd": 0, "score": 0.5},
        {"id": 70_000, "category_id": 5, "area": 384, "bbox": [16, 0, 16, 24], "iscrowd": 0, "score": 0.75},
    ]
    return {
        "info": {"settings": {"void": [0]}},
        "categories": [
            {"id": 1, "name": "road", "isthing": 0, "color": [1, 2, 3], "supercategory": "ground"},
            {"id": 5, "name": "car", "isthing": 1},
        ],
        "images": [{"id": 7, "file_name": "a.png", "height": SIZE[0], "width": SIZE[1]}],
        "annotations": [{"image_id": 7, "file_name": "a.png", "segments_info": infos}],
    }


def _annotations() -> dict[str, Specimen]:
    png = _encoded(Image.fromarray(id_to_rgb(_map())), "PNG")
    content = json.dumps(_panoptic_json()).encode()
    split = {"t.json": content, "t/a.png": png, "images/a.png": _encoded(Image.fromarray(pixels()), "PNG")}
    compressed = coco_mask.encode(np.asfortranarray(_map() == 10).view(np.uint8))
    instances = {
        "categories": [{"id": 5, "name": "car", "supercategory": "vehicle"}],
        "images": [{"id": 7, "file_name": "a.png", "height": SIZE[0], "width": SIZE[1]}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 5, "iscrowd": 0, "segmentation": [[1, 1, 9, 1, 9, 9]]},
            {"id": 2, "image_id": 7, "category_id": 5, "iscrowd": 1, "segmentation": _rle([0, 100, 668])},
            {"id": 3, "image_id": 7, "category_id": 5, "segmentation": _rle(compressed["counts"].decode())},
        ],
    }
    polygons = {
        "imgHeight": SIZE[0],
        "imgWidth": SIZE[1],
        "objects": [
            {"label": "road", "polygon": [[0, 0], [31, 0], [31, 23], [0, 23]]},
            {"label": "car", "polygon": [[2, 2], [9, 2], [9, 9]]},
            {"label": "cargroup", "polygon": [[12, 2], [19, 2], [19, 9]]},
        ],
    }
    line = {"settings": None, "image": {"id": 7}, "annotation": {"image_id": 7}}

    def check(folder: Path) -> Any:
        return check_data(
            [SplitSource("t", SplitPaths(folder / "t.json", folder / "t", folder / "images"))], 1
        ).to_json()

    def evaluate(folder: Path) -> Any:
        return evaluate_files(folder / "p.json", folder / "t.json", folder / "t")

    def convert(folder: Path) -> Any:
        file = read_coco_file(folder / "i.json", isthing=True)
        for image in CocoInstancesImages(file, None, frozenset(), "smaller-on-top"):
            image.read()

    def record(folder: Path) -> Any:
        return dict(SplitRecord(folder / "r.json", {"void": [0]}).read())

    def lines(folder: Path) -> Any:
        return dict(SplitRecord(folder / "r.json").read())

    return {
        "panoptic JSON": Specimen("t.json", split, lambda folder: read_panoptic_json(folder / "t.json"), "json"),
        "panoptic JSON, bytes": Specimen("t.json", split, lambda folder: read_panoptic_json(folder / "t.json")),
        "check of a JSON": Specimen("t.json", split, check, "json"),
        "check of a PNG": Specimen("t/a.png", split, check),
        "check of an image": Specimen("images/a.png", split, check),
        "evaluated predictions": Specimen("p.json", {**split, "p.json": content}, evaluate, "json"),
        "evaluated truth": Specimen("t.json", {**split, "p.json": content}, evaluate, "json"),
        "instances JSON": Specimen("i.json", {"i.json": json.dumps(instances).encode()}, convert, "json"),
        "polygons": Specimen(
            "g.json",
            {"g.json": json.dumps(polygons).encode()},
            lambda folder: draw_instances(folder / "g.json", folder / "out" / "ids.png"),
            "json",
        ),
        "written split": Specimen("r.json", {"r.json": content}, record, "json"),
        "unfinished split": Specimen(
            "r.partial.jsonl", {"r.partial.jsonl": f"\n{json.dumps(line)}".encode()}, lines, "json"
        ),
        "unfinished split, bytes": Specimen(
            "r.partial.jsonl", {"r.partial.jsonl": f"\n{json.dumps(line)}\n{json.dumps(line)}".encode()}, lines
        ),
    }


def _rle(counts: str | list[int]) -> dict[str, Any]:
    return {"size": list(SIZE), "counts": counts}


def _tables() -> dict[str, Specimen]:
    categories = csv_bytes(
        ["id", "name", "isthing", "red", "green", "blue"], [[1, "road", 0, 1, 2, 3], [5, "car", 1, 4, 5, 6]]
    )
    results = csv_bytes(["preset", "pq", "settings"], [["a", 1.5, ""], ["b", 2, "relation.top_k=5"]])
    preset = presets.to_toml(presets.load("scenes-pdl-r18"))
    chain = {
        "p.toml": tomli_w.dumps({"extends": ["q.toml", "scenes-pdl-r18"], "train": {"lr": 0.5}}).encode(),
        "q.toml": tomli_w.dumps({"extends": "scenes-pdl-r18", "relation": {"top_k": 5}}).encode(),
    }
    return {
        "classes CSV": Specimen("c.csv", {"c.csv": categories}, lambda folder: read_categories(folder / "c.csv")),
        "classes JSON": Specimen(
            "c.json",
            {"c.json": json.dumps(_panoptic_json()["categories"]).encode()},
            lambda folder: read_categories(folder / "c.json"),
            "json",
        ),
        "results CSV": Specimen("r.csv", {"r.csv": results}, lambda folder: ResultsTable.read_csv(folder / "r.csv")),
        "preset": Specimen("p.toml", {"p.toml": preset.encode()}, lambda folder: _load_preset(folder), "toml"),
        "preset, bytes": Specimen("p.toml", {"p.toml": preset.encode()}, lambda folder: _load_preset(folder)),
        "preset that extends": Specimen("q.toml", chain, lambda folder: _load_preset(folder), "toml"),
        "zip archive": Specimen("a.zip", {"a.zip": _zip()}, lambda folder: _unpack(folder / "a.zip")),
        "tar archive": Specimen("a.tar.gz", {"a.tar.gz": _tar("w:gz")}, lambda folder: _unpack(folder / "a.tar.gz")),
        "plain tar archive": Specimen("a.tar", {"a.tar": _tar("w")}, lambda folder: _unpack(folder / "a.tar")),
    }


def _load_preset(folder: Path) -> Any:
    return presets.to_toml(presets.load(str(folder / "p.toml")))


def _unpack(archive: Path) -> Any:
    return unpack(archive, archive.parent / "out", "top/")


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("top/a.txt", "top/sub/b.txt"):
            archive.writestr(name, name * 20)
    return buffer.getvalue()


def _tar(mode: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name in ("top/a.txt", "top/sub/b.txt"):
            member = tarfile.TarInfo(name)
            member.size = 3
            archive.addfile(member, io.BytesIO(b"abc"))
    return buffer.getvalue()


def _weights(folder: Path) -> dict[str, Specimen]:
    state = {"backbone.weight": torch.ones(2, 3), "initial_heads.bias": torch.zeros(4, dtype=torch.int64)}
    config = presets.load("scenes-pdl-r18")
    save_checkpoint(folder / "c.safetensors", state, config, SCENE_CATEGORIES, {"step": 3, "pq": 1.5})
    save_state(folder / "t.pt", TrainingState(Progress(3), {"config": {"a": 1}}, {"model": state}))
    torch.save({"model": state}, folder / "zip.pth")
    torch.save({"model": state}, folder / "old.pth", _use_new_zipfile_serialization=False)
    torch.save({"model": state, "code": Payload()}, folder / "code.pth")
    arrays = OrderedDict((name, tensor.numpy()) for name, tensor in state.items())
    detectors = {
        "roi_heads.mask_predictor.mask_fcn_logits.weight": torch.ones(91, 2, 1, 1),
        "roi_heads.box_predictor.cls_score.bias": torch.ones(91),
        "roi_heads.box_predictor.bbox_pred.weight": torch.ones(364, 2),
    }
    fpn = {
        "backbone.bottom_up.stem.conv1.weight": torch.ones(4, 3, 3, 3),
        "sem_seg_head.p2.0.weight": torch.ones(2),
        "roi_heads.mask_head.predictor.weight": torch.ones(80, 2, 1, 1),
        "roi_heads.box_predictor.bbox_pred.bias": torch.ones(320),
    }
    files = {path.name: path.read_bytes() for path in folder.iterdir()} | {
        "2.pkl": pickle.dumps({"model": arrays, "__author__": "someone"}, protocol=2),
        "4.pkl": pickle.dumps({"model": arrays, "__author__": "someone"}, protocol=4),
        "code.pkl": pickle.dumps({"model": {**arrays, "code": Payload()}}),
        "rcnn.safetensors": save(detectors),
        "fpn.safetensors": save(fpn),
        "fpn.pkl": pickle.dumps({"model": {name: tensor.numpy() for name, tensor in fpn.items()}}),
    }

    def read(name: str) -> Callable[[Path], Any]:
        return lambda folder: _renamed(folder / name)

    found = {}
    for name, content in files.items():
        reader = {
            "c.safetensors": lambda folder: read_checkpoint(folder / "c.safetensors"),
            "t.pt": lambda folder: read_state(folder / "t.pt"),
        }.get(name, read(name))
        form = "safetensors" if name.endswith(".safetensors") else "bytes"
        found[f"weights {name}"] = Specimen(name, {name: content}, reader, form)
    return found


def _renamed(path: Path) -> Any:
    return rename_tensors(path, detect_layout(path, read_tensors(path)))
