"""Datasets by name, in the places where their layouts put them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from pisr_core.config import DataConfig, check_choice
from pisr_core.data.categories import known_categories
from pisr_core.data.coco.dataset import CityscapesDataset, CocoPanopticDataset
from pisr_core.data.layouts import (
    SplitPaths,
    ade20k_paths,
    ade20k_test_paths,
    cityscapes_paths,
    cityscapes_test_paths,
    coco_paths,
    coco_test_paths,
    custom_paths,
    dataset_root,
    first_complete,
    nuclei_paths,
)
from pisr_core.data.sampling import repeat_factors
from pisr_core.data.scenes.dataset import SceneDataset
from pisr_core.data.unannotated import ImageFolderDataset, ImageListDataset
from pisr_core.errors import ConfigError
from pisr_core.structures import PanopticDataset


def build_dataset(config: DataConfig, split: str, root: Path | None = None) -> PanopticDataset:
    """The split of the dataset that a preset names.

    Args:
        config: the preset's data section.
        split: `train` or `val`; without annotations COCO's `test` and `test-dev` and the `test` of Cityscapes and
            ADE20K; or another split that the annotations name.
        root: the folder of the datasets, see `dataset_root`.

    Raises:
        ConfigError: no such dataset.
        DataError: files are missing or broken, or a training image has no annotation.
    """
    check_choice("data.dataset", config.dataset, tuple(DATASETS))
    return DATASETS[config.dataset](config, split, root)


def settled(config: DataConfig, dataset: PanopticDataset) -> DataConfig:
    """The settings with what a dataset built from them has found out: the range of its images' values."""
    return replace(config, value_range=dataset.value_range) if isinstance(dataset, CocoPanopticDataset) else config


def training_repeats(config: DataConfig, dataset: PanopticDataset) -> Float[np.ndarray, " images"] | None:
    """How often each training image comes in an epoch, by `data.repeat_threshold`; `None` for all alike.

    Raises:
        ConfigError: what an image holds is known only when it is painted.
    """
    if not config.repeat_threshold:
        return None
    if not isinstance(dataset, CocoPanopticDataset):
        raise ConfigError(
            f"data.repeat_threshold = {config.repeat_threshold}: it needs annotations in files, but these images are "
            "painted as they are read. Write them with `pisr data prepare scenes`, and name that folder with --data."
        )
    return repeat_factors([dataset.classes(index).tolist() for index in range(len(dataset))], config.repeat_threshold)


Builder = Callable[[DataConfig, str, Path | None], PanopticDataset]
Layout = Callable[[Path, str], list[SplitPaths]]


def _on_disk(layout: Layout, kind: type[CocoPanopticDataset] = CocoPanopticDataset) -> Builder:
    """A builder of the datasets that lie as `layout` says."""

    def build(config: DataConfig, split: str, root: Path | None) -> PanopticDataset:
        paths = first_complete(layout(dataset_root(root), split), split)
        dataset = kind(paths.images_dir, paths.json_path, paths.png_dir, config.value_range)
        if split == "train":
            dataset.check_annotated()
        return dataset

    return build


_custom = _on_disk(custom_paths)


def _scenes(config: DataConfig, split: str, root: Path | None) -> PanopticDataset:
    """Painted on the fly, or read from a folder (as `pisr data prepare scenes` writes it) where one is given."""
    return SceneDataset(config.scenes, split) if root is None else _custom(config, split, root)


_coco_train_val = _on_disk(coco_paths)
_cityscapes_train_val = _on_disk(cityscapes_paths, CityscapesDataset)
_ade20k_train_val = _on_disk(ade20k_paths)


def _coco(config: DataConfig, split: str, root: Path | None) -> PanopticDataset:
    """Its test splits are lists of images, numbered as the evaluation server wants them."""
    if split not in ("test", "test-dev"):
        return _coco_train_val(config, split, root)
    paths = first_complete(coco_test_paths(dataset_root(root), split), split)
    return ImageListDataset(paths.images_dir, paths.json_path, known_categories("coco"), config.value_range)


def _cityscapes(config: DataConfig, split: str, root: Path | None) -> PanopticDataset:
    """The annotations that come with its test images are dummies, so they are not read."""
    if split != "test":
        return _cityscapes_train_val(config, split, root)
    paths = first_complete(cityscapes_test_paths(dataset_root(root), split), split)
    categories = known_categories("cityscapes")
    return ImageFolderDataset(paths.images_dir, categories, "_leftImg8bit", config.value_range)


def _ade20k(config: DataConfig, split: str, root: Path | None) -> PanopticDataset:
    if split != "test":
        return _ade20k_train_val(config, split, root)
    paths = first_complete(ade20k_test_paths(dataset_root(root), split), split)
    return ImageFolderDataset(paths.images_dir, known_categories("ade20k"), value_range=config.value_range)


DATASETS: dict[str, Builder] = {
    "scenes": _scenes,
    "custom": _custom,
    "coco": _coco,
    "cityscapes": _cityscapes,
    "ade20k": _ade20k,
    "nuclei": _on_disk(nuclei_paths),
}
"""How each dataset is built from its settings, a split and the folder of the datasets."""
