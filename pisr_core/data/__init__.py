"""Datasets by name, what they are read from, and how they become batches."""

from typing import TYPE_CHECKING

from pisr_core.data.layouts import dataset_root
from pisr_core.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from pisr_core.data.datasets import DATASETS, build_dataset, settled

__all__ = ["DATASETS", "build_dataset", "dataset_root", "settled"]

__getattr__ = lazy_names(__name__, dict.fromkeys(("DATASETS", "build_dataset", "settled"), "pisr_core.data.datasets"))
