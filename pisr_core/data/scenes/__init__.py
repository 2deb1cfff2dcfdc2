"""The built-in dataset: streets, coasts and parks drawn on the fly, where context decides the class."""

from pisr_core.data.scenes.categories import SCENE_CATEGORIES
from pisr_core.data.scenes.dataset import SceneDataset
from pisr_core.data.scenes.difficulty import DIFFICULTIES, Difficulty

__all__ = ["DIFFICULTIES", "SCENE_CATEGORIES", "Difficulty", "SceneDataset"]
