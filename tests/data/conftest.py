import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pisr_core.data.coco_files import id_to_rgb

CATEGORIES = [{"id": 1, "name": "road", "isthing": 0}, {"id": 5, "name": "car", "isthing": 1}]
SIZE = (24, 32)


def _write_split(images_dir: Path, json_path: Path, png_dir: Path, names, png_names=None, ids=None):
    """A split whose left half is road (segment 10) and whose right half is a car (segment 20)."""
    panoptic = np.full(SIZE, 10, dtype=np.int32)
    panoptic[:, SIZE[1] // 2 :] = 20
    content = {"images": [], "annotations": [], "categories": CATEGORIES}
    png_names = png_names or [Path(name).with_suffix(".png").name for name in names]
    png_dir.mkdir(parents=True)
    for number, (name, png_name) in enumerate(zip(names, png_names, strict=True)):
        image_id = ids[number] if ids else number
        pixels = np.full((*SIZE, 3), number, dtype=np.uint8)
        (images_dir / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(images_dir / name)
        Image.fromarray(id_to_rgb(panoptic)).save(png_dir / png_name)
        content["images"].append({"id": image_id, "file_name": name, "height": SIZE[0], "width": SIZE[1]})
        segments = [{"id": 10, "category_id": 1}, {"id": 20, "category_id": 5}]
        content["annotations"].append({"image_id": image_id, "file_name": png_name, "segments_info": segments})
    json_path.parent.mkdir(parents=True, exist_ok=True)
    json_path.write_text(json.dumps(content))


@pytest.fixture
def write_split():
    return _write_split


@pytest.fixture
def custom_root(tmp_path):
    """A user's own dataset: five training and three validation images, the colour of each is its number."""
    for split, count in (("train", 5), ("val", 3)):
        folder = tmp_path / "annotations"
        names = [f"{i}.png" for i in range(count)]
        _write_split(tmp_path / split, folder / f"panoptic_{split}.json", folder / f"panoptic_{split}", names)
    return tmp_path
