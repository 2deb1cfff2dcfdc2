"""Starting from other weights."""

from __future__ import annotations

from pathlib import Path

from pisr_core.models import TwoStageModel
from pisr_core.weights.find import find_weights, load_checkpoint
from pisr_core.weights.fitting import FitReport, load_fitting
from pisr_core.weights.public.importing import checkpoint_weights, load_public_weights


def load_fitting_weights(model: TwoStageModel, path: Path) -> FitReport:
    """Loads every tensor that fits of a checkpoint, or of public weights by name.

    Args:
        model: keeps its own values where the weights have none that fit, as in the outputs for classes that they do
            not know.
        path: see `find_weights`; of a file that holds a backbone alone this is started.

    Raises:
        CheckpointError: the file cannot be read, or holds another network than the model.
    """
    found = find_weights(path)
    if found.source is not None and found.source.use == "backbone":
        return load_public_weights(model, found.path)
    return load_fitting(model, checkpoint_weights(path, load_checkpoint(path, to_predict=False)))
