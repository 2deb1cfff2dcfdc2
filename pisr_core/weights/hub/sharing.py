"""Checkpoints as folders in the hub's layout, and their way to the hub."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pisr_core.errors import CheckpointError
from pisr_core.models import MODELS
from pisr_core.runtime.atomic import written_whole
from pisr_core.weights.files.checkpoint import Checkpoint, is_checkpoint, save_checkpoint
from pisr_core.weights.hub import fetching as hub
from pisr_core.weights.hub.fetching import CONFIG, OUR_KIND, PROCESSOR, SAFETENSORS, parse_hub_name

CARD = "README.md"


def write_folder(checkpoint: Checkpoint, folder: Path, card: str) -> list[Path]:
    """Writes a checkpoint in the hub's layout; `load_checkpoint` reads it back equal to the bit.

    `model.safetensors` is a checkpoint of ours with all that is needed to use it. `config.json` and
    `preprocessor_config.json` say the same to people and to the hub.

    Args:
        checkpoint: the model.
        folder: where to; files of these names are overwritten.
        card: see `model_card`.

    Returns:
        The files.

    Raises:
        OutputError: a file cannot be written.
    """
    weights = folder / SAFETENSORS
    save_checkpoint(weights, checkpoint.state, checkpoint.config, checkpoint.categories, checkpoint.info)
    texts = {CONFIG: _json(_config(checkpoint)), PROCESSOR: _json(_processor(checkpoint)), CARD: card}
    for name, text in texts.items():
        with written_whole(folder / name) as part:
            part.write_text(text, encoding="utf-8")
    return [weights, *(folder / name for name in texts)]


def upload_folder(folder: Path, name: str, private: bool = False) -> str:
    """Uploads a folder that `write_folder` wrote, as one commit; the model is made where there is none.

    Args:
        folder: what to upload, all of it.
        name: `USER/NAME`.
        private: whether a new model is seen by its owner only.

    Returns:
        The model's page.

    Raises:
        CheckpointError: no such folder, or the hub cannot be reached or refuses.
    """
    hub_name = parse_hub_name(name)
    if hub_name is None or hub_name.revision:
        raise CheckpointError(f"{name}: a model on the hub is called USER/NAME.")
    if not is_checkpoint(folder / SAFETENSORS):
        raise CheckpointError(f"{folder}: holds no {SAFETENSORS} of ours. `pisr weights export` makes such a folder.")
    hub.push_folder(folder, hub_name, private)
    return hub_name.page


def _config(checkpoint: Checkpoint) -> dict[str, Any]:
    names = [category.name for category in checkpoint.categories]
    return {
        "model_type": OUR_KIND,
        "architectures": [MODELS[checkpoint.config.architecture].__name__],
        "id2label": dict(enumerate(names)),
        "label2id": {name: index for index, name in enumerate(names)},
        "categories": [asdict(category) for category in checkpoint.categories],
        "preset": checkpoint.config.name,
        "settings": asdict(checkpoint.config),
    }


def _processor(checkpoint: Checkpoint) -> dict[str, Any]:
    """How the network takes its images."""
    data, network = checkpoint.config.data, checkpoint.config.transformers  # whose values others share
    return {
        "do_normalize": True,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "image_mean": [value / 255 for value in network.pixel_mean],
        "image_std": [value / 255 for value in network.pixel_std],
        "do_resize": bool(data.eval_short_side),
        "size": {"shortest_edge": data.eval_short_side, "longest_edge": data.eval_max_long_side},
    }


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
