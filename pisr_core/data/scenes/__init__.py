"""The built-in dataset: streets, coasts and parks drawn on the fly, where context decides the class."""

from typing import TYPE_CHECKING

from pisr_core.data.scenes.categories import SCENE_CATEGORIES
from pisr_core.data.scenes.difficulty import DIFFICULTIES, Difficulty
from pisr_core.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from pisr_core.data.scenes.dataset import SceneDataset

__all__ = ["DIFFICULTIES", "SCENE_CATEGORIES", "Difficulty", "SceneDataset"]

__getattr__ = lazy_names(__name__, {"SceneDataset": "pisr_core.data.scenes.dataset"})
