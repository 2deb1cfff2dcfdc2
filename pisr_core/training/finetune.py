"""Starting from other weights."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from pisr_core.errors import CheckpointError
from pisr_core.models import PanopticModel
from pisr_core.weights.find import find_weights, load_checkpoint
from pisr_core.weights.importing import load_public_weights

logger = logging.getLogger(__name__)


def load_fitting_weights(model: PanopticModel, path: Path) -> tuple[str, ...]:
    """Loads every tensor of a checkpoint whose name and shape fit the model.

    The heads of a base model start both stages: with a residual relation the first and the final predictions are then
    those of the base.

    Args:
        model: keeps its own values where the checkpoint has none that fit, as in the classifiers of a
            dataset with other classes.
        path: a checkpoint, or public weights by name, see `find_weights`; of a file that holds a backbone alone this
            is started.

    Returns:
        Names of the model's tensors that kept their initial values.

    Raises:
        CheckpointError: the file cannot be read, or nothing in it fits.
    """
    found = find_weights(path)
    if found.source is not None and found.source.use == "backbone":
        loaded = load_public_weights(model, found.path).loaded
        return tuple(name for name in model.state_dict() if name not in loaded)
    state = _both_stages(load_checkpoint(path, to_predict=False).state)
    own = model.state_dict()
    fitting = {name: state[name] for name in own if name in state and state[name].shape == own[name].shape}
    if not fitting:
        raise CheckpointError(
            f"{path}: none of its {len(state)} tensors fits this model. Choose a preset of the same architecture."
        )
    model.load_state_dict(fitting, strict=False)
    kept = tuple(name for name in own if name not in fitting)
    logger.info("%s: %d of %d tensors loaded", path, len(fitting), len(own))
    if kept:
        logger.info("re-initialised: %s", ", ".join(kept))
    return kept


def _both_stages(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, with the initial heads' once more as final heads where there are none."""
    initial, final = "initial_heads.", "final_heads."
    if any(name.startswith(final) for name in state):
        return dict(state)
    heads = {final + name.removeprefix(initial): state[name] for name in state if name.startswith(initial)}
    return {**state, **heads}
