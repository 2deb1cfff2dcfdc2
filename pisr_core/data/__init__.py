"""Datasets by name, in the places where their layouts put them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from pisr_core.config import DataConfig, check_choice
from pisr_core.data.coco_panoptic import (
    CityscapesDataset,
    CocoPanopticDataset,
    SplitPaths,
    cityscapes_paths,
    coco_paths,
    custom_paths,
    first_complete,
)
from pisr_core.data.scenes import SceneDataset
from pisr_core.structures import PanopticDataset

__all__ = ["DATASETS", "build_dataset", "dataset_root"]

ROOT_VARIABLES = ("PISR_DATASETS", "DETECTRON2_DATASETS")


def dataset_root(root: Path | None) -> Path:
    """The given folder, else `$PISR_DATASETS`, else `$DETECTRON2_DATASETS`, else `./datasets`."""
    named = (os.environ[variable] for variable in ROOT_VARIABLES if os.environ.get(variable))
    return (root or Path(next(named, "datasets"))).expanduser()


def build_dataset(config: DataConfig, split: str, root: Path | None = None) -> PanopticDataset:
    """The split of the dataset that a preset names.

    Args:
        config: the preset's data section.
        split: `train` or `val`, or another split that the annotations name.
        root: the folder of the datasets, see `dataset_root`.

    Raises:
        ConfigError: no such dataset.
        DataError: files are missing or broken, or a training image has no annotation.
    """
    check_choice("data.dataset", config.dataset, tuple(DATASETS))
    return DATASETS[config.dataset](config, split, root)


Builder = Callable[[DataConfig, str, Path | None], PanopticDataset]
Layout = Callable[[Path, str], list[SplitPaths]]


def _on_disk(layout: Layout, kind: type[CocoPanopticDataset] = CocoPanopticDataset) -> Builder:
    """A builder of the datasets that lie as `layout` says."""

    def build(config: DataConfig, split: str, root: Path | None) -> PanopticDataset:
        paths = first_complete(layout(dataset_root(root), split), split)
        dataset = kind(paths.images_dir, paths.json_path, paths.png_dir)
        if split == "train":
            dataset.check_annotated()
        return dataset

    return build


_custom = _on_disk(custom_paths)


def _scenes(config: DataConfig, split: str, root: Path | None) -> PanopticDataset:
    """Painted on the fly, or read from a folder (as `pisr data prepare scenes` writes it) where one is given."""
    return SceneDataset(config.scenes, split) if root is None else _custom(config, split, root)


DATASETS: dict[str, Builder] = {
    "scenes": _scenes,
    "custom": _custom,
    "coco": _on_disk(coco_paths),
    "cityscapes": _on_disk(cityscapes_paths, CityscapesDataset),
}
"""How each dataset is built from its settings, a split and the folder of the datasets."""
