"""Public datasets, from what is downloaded to what training reads."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pisr_core.config import check_choice
from pisr_core.data.categories import known_categories
from pisr_core.data.coco.panoptic_json import read_panoptic_json
from pisr_core.data.prepare import ade20k, cityscapes, nuclei
from pisr_core.data.prepare.archives import unpack
from pisr_core.data.prepare.split import NAMED_ERRORS, Progress, SplitReport, write_split
from pisr_core.errors import ConfigError, DataError
from pisr_core.runtime.download import PublicFile, download

log = logging.getLogger(__name__)

Bar = Callable[[str, bool], AbstractContextManager[Progress]]
"""Opens a progress bar of this name, of files or (`True`) of bytes."""


@dataclass(frozen=True)
class Archive:
    """An archive of a download.

    Attributes:
        name: its file name, as it is downloaded.
        prefix: the folder in it that is unpacked.
        folder: where that goes in the dataset's folder.
    """

    name: str
    prefix: str
    folder: str


@dataclass(frozen=True)
class Download:
    """How a dataset comes.

    Attributes:
        folder: its usual name below the folder of the datasets.
        contents: what its folder is known by.
        archives: what is unpacked.
        images: of each split, when it is complete.
        file: its one archive where anyone may fetch it, without an account.
    """

    folder: str
    contents: tuple[str, ...]
    archives: tuple[Archive, ...]
    images: dict[str, int]
    file: PublicFile | None = None


DOWNLOADS = {
    "cityscapes": Download(
        "cityscapes",
        ("gtFine", "leftImg8bit"),
        (
            Archive("gtFine_trainvaltest.zip", "gtFine/", "gtFine"),
            Archive("leftImg8bit_trainvaltest.zip", "leftImg8bit/", "leftImg8bit"),
        ),
        {"train": 2975, "val": 500},
    ),
    "ade20k": Download(
        "ADEChallengeData2016",
        ("images", "annotations_instance"),
        (
            Archive("ADEChallengeData2016.zip", "ADEChallengeData2016/", ""),
            Archive("annotations_instance.tar", "annotations_instance/", "annotations_instance"),
            Archive("release_test.zip", "release_test/", "release_test"),
        ),
        {"train": 20_210, "val": 2000},
    ),
    "coco": Download(
        "coco",
        ("annotations", "train2017", "val2017"),
        (
            Archive("panoptic_annotations_trainval2017.zip", "annotations/", "annotations"),
            Archive("image_info_test2017.zip", "annotations/", "annotations"),
            *(Archive(f"{split}2017.zip", f"{split}2017/", f"{split}2017") for split in ("train", "val", "test")),
        ),
        {"train": 118_287, "val": 5000},
    ),
    "nuclei": Download(
        "nuclei",
        ("stage1_train",),
        (Archive("stage1_train.zip", "", "stage1_train"),),
        {"train": 466, "val": 91, "test": 113},
        PublicFile(
            "https://data.broadinstitute.org/bbbc/BBBC038/stage1_train.zip",
            # BBBC prints none; this is what others have recorded of the file (CAOS_FrothSeg's manifest on GitHub).
            "sha256:dcb6edc2690f137406638b2309581a71522c4dff19157d118453b448dcddcb68",
            "put it into the dataset's folder",
        ),
    ),
}


@contextmanager
def _silent(description: str, in_bytes: bool) -> Iterator[Progress]:
    yield lambda done, total: None


def prepare_dataset(
    name: str, root: Path, workers: int = 0, bar: Bar = _silent, fetch: bool = False
) -> dict[str, SplitReport]:
    """Makes a download readable: unpacks what is still packed, then writes panoptic PNGs and JSONs.

    What is done already is kept, so that the same call goes on after an interruption.

    Args:
        name: of `DOWNLOADS`.
        root: the folder of the datasets, or the dataset's own.
        workers: processes, 0 for one a core.
        bar: shows the progress of each step.
        fetch: fetch the archive first, where it is not there.

    Returns:
        A report of each split that is there.

    Raises:
        ConfigError: another name, or one that cannot be fetched without an account.
        DataError: no split is there, or files are missing or broken.
        DownloadError: the archive cannot be fetched, or is another one than published.
    """
    check_choice("dataset", name, tuple(DOWNLOADS))
    known = DOWNLOADS[name]
    if fetch:
        _fetch(name, known, root, bar)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder. Name the folder of the datasets, or that of {name}.")
    base = _dataset_folder(root, known)
    for archive in known.archives:
        for path in {root / archive.name, base / archive.name}:
            if path.is_file():
                with bar(f"unpacking {archive.name}", False) as progress:
                    unpack(path, base / archive.folder, archive.prefix, progress)
    reports = {}
    for split, expected in known.images.items():
        with bar(f"{name} {split}", False) as progress:
            report = PREPARE[name](base, split, workers, progress)
        if report is None:
            log.warning("%s has no split '%s'; it is left out.", base, split)
            continue
        if report.images != expected:
            log.warning("%s: %d images; the whole split has %d.", report.json_path, report.images, expected)
        reports[split] = report
    if not reports:
        archives = ", ".join(archive.name for archive in known.archives)
        fetched = ", or let --download fetch it" if known.file else ""
        raise DataError(f"{base}: neither train nor val is there. Put {archives} there, or the contents{fetched}.")
    return reports


def _fetch(name: str, known: Download, root: Path, bar: Bar) -> None:
    """Fetches the archive of a dataset, unless it or what it holds is there already."""
    if known.file is None:
        free = ", ".join(other for other, its in DOWNLOADS.items() if its.file)
        raise ConfigError(f"--download: {name} needs an account or consent to its terms; docs/data.md. Free: {free}.")
    base = _dataset_folder(root, known)
    if not any((folder / entry).exists() for folder in (root, base) for entry in (known.file.name, *known.contents)):
        with bar(f"fetching {known.file.name}", True) as progress:
            download(known.file, base, progress)


def _dataset_folder(root: Path, known: Download) -> Path:
    """`root` itself when it is called as the dataset or holds its contents, else a folder of the dataset's name."""
    inner = root / known.folder
    own = root.resolve().name == known.folder or any((root / name).exists() for name in known.contents)
    return root if own and not inner.is_dir() else inner


def _cityscapes(base: Path, split: str, workers: int, progress: Progress) -> SplitReport | None:
    images = cityscapes.find_images(base, split)
    if not images:
        return None
    _check_folder(base / "leftImg8bit" / split, "leftImg8bit_trainvaltest.zip")
    json_path = base / "gtFine" / f"cityscapes_panoptic_{split}.json"
    return write_split(images, known_categories("cityscapes"), json_path, workers, progress)


def _ade20k(base: Path, split: str, workers: int, progress: Progress) -> SplitReport | None:
    images = ade20k.find_images(base, split)
    if not images:
        return None
    _check_folder(images[0].semantic.parent, "ADEChallengeData2016.zip")
    _check_folder(images[0].instances.parent, "annotations_instance.tar")
    json_path = base / f"ade20k_panoptic_{split}.json"
    return write_split(images, known_categories("ade20k"), json_path, workers, progress)


def _coco(base: Path, split: str, workers: int, progress: Progress) -> SplitReport | None:
    """COCO's panoptic PNGs come ready, in an archive within the archive."""
    json_path = base / "annotations" / f"panoptic_{split}2017.json"
    if not json_path.is_file():
        return None
    file = read_panoptic_json(json_path)
    beside = base / json_path.stem
    png_dir = beside if beside.is_dir() else json_path.with_suffix("")
    pngs = set(file.annotations.file_names)
    archive, made = json_path.with_suffix(".zip"), 0
    if archive.is_file() and _missing(pngs, png_dir):
        made = unpack(archive, png_dir, f"{json_path.stem}/", progress)
    _check_complete(pngs, png_dir, archive.name)
    _check_complete(set(file.images.file_names), base / f"{split}2017", f"{split}2017.zip")
    return SplitReport(json_path, len(file.images), made, file.annotations.segment_count())


def _nuclei(base: Path, split: str, workers: int, progress: Progress) -> SplitReport | None:
    images = nuclei.find_images(base, split)
    if not images:
        return None
    json_path = base / f"nuclei_panoptic_{split}.json"
    return write_split(images, known_categories("nuclei"), json_path, workers, progress)


def _check_folder(folder: Path, archive: str) -> None:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder. Unpack {archive}, or put it beside and run this again.")


def _check_complete(names: set[str], folder: Path, archive: str) -> None:
    _check_folder(folder, archive)
    missing = sorted(_missing(names, folder))
    if missing:
        raise DataError(
            f"{folder}: {len(missing)} of {len(names)} files are missing: {', '.join(missing[:NAMED_ERRORS])}. "
            f"Unpack {archive} again."
        )


def _missing(names: set[str], folder: Path) -> set[str]:
    return names - set(os.listdir(folder)) if folder.is_dir() else names


PREPARE: dict[str, Callable[[Path, str, int, Progress], SplitReport | None]] = {
    "cityscapes": _cityscapes,
    "ade20k": _ade20k,
    "coco": _coco,
    "nuclei": _nuclei,
}
"""How a split of each dataset is prepared; `None` when it is not there."""
