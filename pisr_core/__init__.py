"""PISR: a relational context encoder for panoptic segmentation, and the models, data and training around it."""

from typing import TYPE_CHECKING

from pisr_core.runtime.lazy import lazy_names
from pisr_core.runtime.user import settle_user

if TYPE_CHECKING:
    from pisr_core.api import Prediction, Predictor, load_model
    from pisr_core.config import PISRConfig
    from pisr_core.relations.pisr import PISR
    from pisr_core.structures import SemanticPrediction

__all__ = ["PISR", "PISRConfig", "Prediction", "Predictor", "SemanticPrediction", "load_model"]

_HOMES = {
    "PISR": "pisr_core.relations.pisr",
    "PISRConfig": "pisr_core.config",
    "Prediction": "pisr_core.api",
    "Predictor": "pisr_core.api",
    "SemanticPrediction": "pisr_core.structures",
    "load_model": "pisr_core.api",
}


settle_user()  # before torch is imported

__getattr__ = lazy_names(__name__, _HOMES)
