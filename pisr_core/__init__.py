"""PISR: a relational context encoder for panoptic segmentation, and the models, data and training around it."""

from typing import TYPE_CHECKING

from pisr_core.runtime.lazy import lazy_names
from pisr_core.runtime.user import settle_user

if TYPE_CHECKING:
    from pisr_core.api.evaluation import evaluate, panoptic_quality
    from pisr_core.api.prediction import Prediction
    from pisr_core.api.predictor import Predictor, load_model
    from pisr_core.api.training import train
    from pisr_core.config import PISRConfig
    from pisr_core.relations.pisr import PISR
    from pisr_core.structures import Category, PanopticSegmentation, Segment, SemanticPrediction

__all__ = [
    "Category",
    "PISR",
    "PISRConfig",
    "PanopticSegmentation",
    "Prediction",
    "Predictor",
    "Segment",
    "SemanticPrediction",
    "evaluate",
    "load_model",
    "panoptic_quality",
    "train",
]

_HOMES = {
    "Category": "pisr_core.structures",
    "PISR": "pisr_core.relations.pisr",
    "PISRConfig": "pisr_core.config",
    "PanopticSegmentation": "pisr_core.structures",
    "Prediction": "pisr_core.api.prediction",
    "Predictor": "pisr_core.api.predictor",
    "Segment": "pisr_core.structures",
    "SemanticPrediction": "pisr_core.structures",
    "evaluate": "pisr_core.api.evaluation",
    "load_model": "pisr_core.api.predictor",
    "panoptic_quality": "pisr_core.api.evaluation",
    "train": "pisr_core.api.training",
}


settle_user()  # before torch is imported

__getattr__ = lazy_names(__name__, _HOMES)
