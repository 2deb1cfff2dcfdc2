import numpy as np
import pytest
from PIL import ExifTags, Image

from pisr_core.data.pictures.image_tensors import read_image
from pisr_core.data.pictures.images import image_size
from pisr_core.data.unannotated import ImageFolderDataset
from pisr_core.errors import DataError
from pisr_core.structures import Category, PanopticDataset

CATEGORIES = (Category(1, "road", False),)


def test_images_of_a_folder_by_path(tmp_path, save_png):
    for name in ("b/2_x.png", "a/3_x.jpg", "1_x.png", "a/4.png"):
        save_png(tmp_path / name, np.zeros((4, 6, 3), np.uint8))
    dataset = ImageFolderDataset(tmp_path, CATEGORIES, suffix="_x")
    assert isinstance(dataset, PanopticDataset) and dataset.categories == CATEGORIES
    samples = [dataset[i] for i in range(len(dataset))]
    assert [(s.image_id, s.file_name) for s in samples] == [("1", "1_x.png"), ("3", "a/3_x.jpg"), ("2", "b/2_x.png")]
    assert dataset.size(1) == (4, 6) and all(s.panoptic is None for s in samples)


def test_an_empty_folder(tmp_path):
    with pytest.raises(DataError, match=r"holds no image of the kind \*_x.png"):
        ImageFolderDataset(tmp_path, CATEGORIES, suffix="_x")


@pytest.mark.parametrize(("orientation", "upright"), [(1, (4, 6)), (3, (4, 6)), (6, (6, 4)), (8, (6, 4))])
def test_size_follows_the_exif_orientation(tmp_path, orientation, upright):
    path = tmp_path / "a.jpg"
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.new("RGB", (6, 4)).save(path, exif=exif)
    assert image_size(path) == upright == tuple(read_image(path).shape[1:])
    assert image_size(path, upright=False) == (4, 6)


def test_size_of_no_image(tmp_path):
    (tmp_path / "a.png").write_text("nothing")
    with pytest.raises(DataError, match="a.png: cannot be read as an image"):
        image_size(tmp_path / "a.png")
    with pytest.raises(DataError, match="b.png: no such image"):
        image_size(tmp_path / "b.png")
