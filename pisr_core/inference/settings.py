"""The settings of a trained model that belong to prediction, and so may be changed; the others made its weights."""

from __future__ import annotations

from collections.abc import Sequence

from pisr_core import presets
from pisr_core.config import Config
from pisr_core.errors import ConfigError

OF_PREDICTION = (
    "merge.center_threshold",
    "merge.nms_kernel",
    "merge.top_k",
    "merge.stuff_area",
    "fpn.detections",
    "fpn.detection_threshold",
    "fpn.merge_threshold",
    "fpn.merge_overlap",
    "maskformer.object_mask_threshold",
    "maskformer.overlap_threshold",
    "transformers.object_mask_threshold",
    "transformers.overlap_threshold",
    "transformers.enlarge",
    "transformers.mask_grid",
    "data.eval_short_side",
    "data.eval_max_long_side",
    "data.eval_size",
    "data.eval_multiple",
    "data.eval_rounding",
    "data.eval_resizer",
    "data.padding",
    "data.value_range",
    "data.workers",
    "data.timeout",
)


def for_prediction(config: Config, settings: Sequence[str]) -> Config:
    """A trained model's config with settings changed.

    Args:
        config: of the model.
        settings: `a.b=value` each, see `presets.load`.

    Raises:
        ConfigError: an unknown key, a value of the wrong type or range, or a key that belongs to training.
    """
    values = presets.values(settings)
    changed = presets.changed(config, values)
    fixed = sorted(values.keys() - set(OF_PREDICTION))
    if fixed:
        raise ConfigError(
            f"--set {fixed[0]}: belongs to training, and the model's weights were made with it. Prediction has "
            f"{', '.join(OF_PREDICTION)}."
        )
    return changed
