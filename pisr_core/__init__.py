"""PISR: a relational context encoder for panoptic segmentation, and the models, data and training around it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

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


def __getattr__(name: str) -> Any:
    """The public names, imported when first used: `pisr --help` should not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
