import hashlib
import io
import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from file_server import serving
from PIL import Image

from pisr_core.config import DataConfig
from pisr_core.data import build_dataset
from pisr_core.data.prepare import datasets
from pisr_core.data.prepare.datasets import prepare_dataset
from pisr_core.data.prepare.nuclei import find_images, split_of
from pisr_core.errors import ConfigError, DataError, DownloadError

NAMES = {"train": "a", "val": "d", "test": "g"}
"""Images whose names put them into these splits."""


def png(array):
    file = io.BytesIO()
    Image.fromarray(array).save(file, format="PNG")
    return file.getvalue()


def squares(*corners):
    """A mask for each 3×3 square, as it is downloaded: 255 on 0."""
    masks = []
    for y, x in corners:
        mask = np.zeros((12, 16), np.uint8)
        mask[y : y + 3, x : x + 3] = 255
        masks.append(mask)
    return masks


@pytest.fixture
def archive():
    """`stage1_train.zip`, tiny: an image a split, RGBA as there, with two nuclei that share a corner."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        for name in NAMES.values():
            zipped.writestr(f"{name}/images/{name}.png", png(np.full((12, 16, 4), 255, np.uint8)))
            for number, mask in enumerate(squares((1, 1), (3, 3))):
                zipped.writestr(f"{name}/masks/{number}.png", png(mask))
        zipped.writestr("__MACOSX/a/images/._a.png", b"what a Mac leaves")
    return file.getvalue()


@pytest.fixture
def root(tmp_path, archive):
    (tmp_path / "nuclei").mkdir()
    (tmp_path / "nuclei/stage1_train.zip").write_bytes(archive)
    return tmp_path


def test_is_read_as_the_dataset(root):
    assert {split: split_of(name) for split, name in NAMES.items()} == {split: split for split in NAMES}
    reports = prepare_dataset("nuclei", root, workers=1)
    counts = {split: (report.images, report.segments) for split, report in reports.items()}
    assert counts == dict.fromkeys(NAMES, (1, 3))
    for split, name in NAMES.items():
        dataset = build_dataset(DataConfig(dataset="nuclei"), split, root)
        sample = dataset[0]
        assert len(dataset) == 1 and sample.file_name == f"{name}/images/{name}.png"
        assert sample.image.shape == (3, 12, 16) and (sample.image == 255).all()
        assert [(each.name, each.isthing) for each in dataset.categories] == [("nucleus", True), ("background", False)]
        areas = {(segment.category, segment.area) for segment in sample.panoptic.segments}
        # Of two masks of one size the later keeps the pixel that they share.
        assert areas == {(1, 12 * 16 - 17), (0, 8), (0, 9)}


def test_an_unpacked_folder_will_do_and_a_second_call_makes_nothing(root, archive):
    (root / "nuclei/stage1_train.zip").unlink()
    with zipfile.ZipFile(io.BytesIO(archive)) as zipped:
        zipped.extractall(root / "nuclei/stage1_train/stage1_train")  # as some tools unpack it
    reports = prepare_dataset("nuclei", root / "nuclei", workers=1)
    assert [report.made for report in reports.values()] == [1, 1, 1]
    assert [report.made for report in prepare_dataset("nuclei", root, workers=1).values()] == [0, 0, 0]


def test_splits_do_not_depend_on_what_else_is_there(root):
    prepare_dataset("nuclei", root, workers=1)
    assert [image.image_id for image in find_images(root / "nuclei", "val")] == ["d"]
    shares = [split_of(str(number)) for number in range(20_000)]
    assert [round(shares.count(split) / 1000) for split in NAMES] == [14, 3, 3]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: folder.joinpath("masks/0.png").write_bytes(b"\x89PNG"), r"masks/0\.png: cannot be read"),
        (lambda folder: folder.joinpath("masks/0.png").write_bytes(png(np.ones((9, 9), np.uint8))), "has 9×9 pixels"),
        (lambda folder: [mask.unlink() for mask in folder.joinpath("masks").iterdir()], "no masks"),
    ],
)
def test_what_is_broken_is_named_and_the_other_splits_are_done(root, spoil, message):
    prepare_dataset("nuclei", root, workers=1)
    (root / "nuclei/stage1_train.zip").unlink()
    (root / "nuclei/nuclei_panoptic_val.json").unlink()
    spoil(root / "nuclei/stage1_train/d")
    with pytest.raises(DataError, match=f"1 of 1 images could not be prepared:\n.*d.*{message}"):
        prepare_dataset("nuclei", root, workers=1)
    assert not (root / "nuclei/nuclei_panoptic_val.json").exists()


@pytest.fixture
def server(archive, monkeypatch):
    """Gives the archive, whose digest the table then holds."""
    with serving("stage1_train.zip", archive) as server:
        known = datasets.DOWNLOADS["nuclei"]
        file = replace(known.file, url=server.url(), digest=f"sha256:{hashlib.sha256(archive).hexdigest()}")
        monkeypatch.setitem(datasets.DOWNLOADS, "nuclei", replace(known, file=file))
        yield server


def test_download_continues_and_happens_once(server, tmp_path, archive):
    server.breaks_after = 100
    with pytest.raises(DownloadError, match="broke after 100 of .*put it into the dataset's folder"):
        prepare_dataset("nuclei", tmp_path / "new", workers=1, fetch=True)
    server.breaks_after = len(archive)
    for _ in range(2):
        assert list(prepare_dataset("nuclei", tmp_path / "new", workers=1, fetch=True)) == list(NAMES)
    assert server.asked == [None, "bytes=100-"]
    assert (tmp_path / "new/nuclei/stage1_train.zip").read_bytes() == archive


def test_another_archive_than_the_published_one_is_refused(server, tmp_path, archive):
    server.content = archive[:-1] + b"!"
    with pytest.raises(DownloadError, match="its sha256 is"):
        prepare_dataset("nuclei", tmp_path, workers=1, fetch=True)
    assert list((tmp_path / "nuclei").iterdir()) == []


def test_what_needs_an_account_is_not_fetched(tmp_path):
    with pytest.raises(ConfigError, match=r"coco needs an account.*Free: nuclei"):
        prepare_dataset("coco", tmp_path, fetch=True)


def test_without_a_network_the_message_says_how_to_go_on(tmp_path):
    (tmp_path / "nuclei").mkdir()
    with pytest.raises(DataError, match="stage1_train.zip there, or the contents, or let --download fetch it"):
        prepare_dataset("nuclei", tmp_path)


def test_the_table_holds_a_whole_digest():
    algorithm, _, digest = datasets.DOWNLOADS["nuclei"].file.digest.partition(":")
    assert algorithm == "sha256" and len(bytes.fromhex(digest)) == 32


def test_annotations_name_what_they_are_of(root):
    prepare_dataset("nuclei", root, workers=1)
    content = json.loads((root / "nuclei/nuclei_panoptic_train.json").read_text())
    assert content["images"] == [{"id": "a", "file_name": "a/images/a.png", "width": 16, "height": 12}]
    assert content["annotations"][0]["file_name"] == "a.png"
