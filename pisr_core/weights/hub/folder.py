"""Networks of `transformers` in the hub's layout: `config.json`, weights, and how their images are made."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from pisr_core.config import BackboneConfig, Config, DataConfig, RelationConfig
from pisr_core.errors import CheckpointError, ConfigError
from pisr_core.models import MODELS
from pisr_core.models.queries.universal.eomt import EoMT
from pisr_core.models.queries.universal.model import UniversalSegmentation, quiet
from pisr_core.structures import Category
from pisr_core.weights.files.checkpoint import Checkpoint
from pisr_core.weights.files.damage import first_line
from pisr_core.weights.fitting import shape_text
from pisr_core.weights.hub.fetching import OUR_KIND, PROCESSOR, VIDEO_PROCESSOR
from pisr_core.weights.hub.labels import categories_of_labels
from pisr_core.weights.public.eomt import read_eomt_folder

log = logging.getLogger(__name__)

ARCHITECTURES: dict[str, tuple[str, type[UniversalSegmentation]]] = {
    kind: (name, model)
    for name, model in MODELS.items()
    if issubclass(model, UniversalSegmentation)
    for kind in model.kinds
}
"""Our names and classes by the `model_type` of a `config.json`."""

POST_PROCESSING: dict[str, dict[str, Any]] = {
    "mask2former": {"object_mask_threshold": 0.5, "enlarge": "probabilities", "mask_grid": (384, 384)},
    "maskformer": {"object_mask_threshold": 0.5, "enlarge": "probabilities"},
    "eomt": {},
    "eomt_dinov3": {},
    "videomt": {"enlarge": "direct"},
}
"""What `post_process_panoptic_segmentation` of each `model_type` does unasked."""

FRAMES = "pixel_values_videos"
"""The input's name of a network for films."""

BILINEAR = 2
"""Pillow's number."""


def check_kind(config: Path) -> None:
    """Looks at a `config.json` whose weights are not here yet.

    Raises:
        CheckpointError: it is damaged, or it names a kind of network that is neither supported here nor ours.
    """
    if _json(config).get("model_type") not in (None, OUR_KIND):
        supported_kind(config)


def supported_kind(config: Path) -> str:
    """The kind of network of `transformers` that a `config.json` describes.

    Raises:
        CheckpointError: it is damaged, or the kind is not supported, here or by the `transformers` that is installed.
    """
    kind = _json(config).get("model_type")
    if kind not in ARCHITECTURES:
        raise CheckpointError(f"{config}: describes a {kind!r}; supported are {', '.join(ARCHITECTURES)}.")
    try:
        ARCHITECTURES[kind][1].network_class(kind)
    except ConfigError as error:
        raise CheckpointError(f"{config}: {error}") from None
    return str(kind)


def read_hub_folder(
    folder: Path, categories: Sequence[Category] | None = None, base: Path | None = None, to_predict: bool = True
) -> Checkpoint:
    """The network of a folder as one of our checkpoints: a base model that predicts what `transformers` does.

    Nothing that the folder holds is executed.

    Args:
        folder: `config.json`, `model.safetensors` or `pytorch_model.bin`, and `preprocessor_config.json`, of a network
            for films `video_preprocessor_config.json`; or a `pytorch_model.bin` of EoMT's authors alone.
        categories: the classes, in the order of the network's outputs; else those that the folder's labels name.
        base: for EoMT's authors' files on DINOv3: the folder with the weights that the file holds the difference to.
        to_predict: what is a thing must be known; else the names of the classes suffice.

    Raises:
        CheckpointError: a part is missing or broken, the network is of a kind that is not supported, or its classes
            are not known.
    """
    if not folder.is_dir():
        raise CheckpointError(
            f"{folder}: no such folder. Name one with config.json, weights and preprocessor_config.json."
        )
    if not (folder / "config.json").is_file():
        return read_eomt_folder(folder, categories, base, to_predict)
    kind = supported_kind(folder / "config.json")
    architecture, model_class = ARCHITECTURES[kind]
    network = _load(folder, model_class.network_class(kind))
    processor = _processor(folder, network.main_input_name)
    mean, std = _statistics(processor)
    transformers = replace(model_class.settings_of(network), pixel_mean=mean, pixel_std=std, **POST_PROCESSING[kind])
    config = Config(
        name=f"{architecture}-{folder.resolve().name}"[:100],
        description=f"{model_class.kinds[kind]} of {folder.resolve().name}",
        architecture=architecture,
        backbone=BackboneConfig(kind, pretrained=False, output_stride=32, multi_grid=()),
        transformers=transformers,
        relation=RelationConfig(name="none"),
        data=_data(folder, processor, pads=issubclass(model_class, EoMT)),
    )
    if issubclass(model_class, EoMT):
        config = replace(config, data=_of_one_size(folder, config.data, int(network.config.image_size)))
    return Checkpoint(
        config,
        _classes(folder, network.config, categories, to_predict),
        model_class.our_names(network.state_dict()),
        {"imported": folder.resolve().name, "source": model_class.kinds[kind]},
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: cannot be read as JSON ({first_line(error)}). Download it again.") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: holds no table of settings. Download it again.")
    return content


def _load(folder: Path, network_class: Any) -> Any:
    """The network with its weights; every tensor must be there and fit."""
    if not any((folder / name).is_file() for name in _WEIGHTS):
        raise CheckpointError(f"{folder}: has no weights. It needs one of {', '.join(_WEIGHTS)}.")
    try:
        with quiet():
            network, found = network_class.from_pretrained(
                folder,
                local_files_only=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # which are then listed
                dtype=torch.float32,
            )
    except UnpicklingError as error:
        raise CheckpointError(
            f"{folder}: its pytorch_model.bin holds more than tensors, or is damaged; nothing in it was executed. "
            "Download it again, or ask its authors for model.safetensors."
        ) from error
    # What its readers, its strict settings and the backbone's library raise has no common class.
    except Exception as error:
        raise CheckpointError(
            f"{folder}: transformers cannot read it ({type(error).__name__}: {first_line(error)}). Nothing in it was "
            "executed; download it again, or save it with save_pretrained."
        ) from error
    others = [each for each in found["mismatched_keys"] if each[0] not in _DERIVED]
    if others:
        name, in_file, by_config = min(others)
        raise CheckpointError(
            f"{folder}: its weights do not fit its config.json: {name} is {shape_text(in_file)} in the file and "
            f"{shape_text(by_config)} by the config ({_hint(name)}). Correct config.json, or download both again."
        )
    unfit = sorted({*found["missing_keys"], *found["unexpected_keys"]} - _DERIVED)
    if unfit:
        raise CheckpointError(
            f"{folder}: its weights do not fit its config.json: {len(unfit)} tensors are missing or unknown, "
            f"{unfit[0]} first. Download it again."
        )
    return network


def _hint(name: str) -> str:
    """Which settings the shape of a tensor follows from."""
    if name.startswith("class_predictor"):
        return "id2label names as many classes as the head has rows, but for the last"
    return "image_size and patch_size" if "position_embeddings" in name else "widths and numbers of layers and queries"


_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)

_DERIVED = frozenset({"criterion.empty_weight", "attn_mask_probs"})
"""Buffers that older files lack, or newer ones leave out."""


def _processor(folder: Path, network_input: str) -> Any:
    """What makes the images, or the frames, of a network that calls its input so."""
    import transformers

    kind, name = "image", PROCESSOR
    if network_input == FRAMES:
        kind, name = "video", VIDEO_PROCESSOR
    if not any((folder / each).is_file() for each in (name, "processor_config.json")):
        raise CheckpointError(
            f"{folder}: has no {name}, which says how the network takes its images. Save the {kind} processor beside "
            "it."
        )
    reader = transformers.AutoVideoProcessor if kind == "video" else transformers.AutoImageProcessor
    try:
        return reader.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # as in `_load`
        raise CheckpointError(
            f"{folder}: transformers cannot read its {kind} processor ({type(error).__name__}: {first_line(error)}). "
            "Download it again."
        ) from error


def _statistics(processor: Any) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and standard deviation of RGB values in 0–255, in the arithmetic of the image processor."""
    scale = 1 / processor.rescale_factor if processor.do_rescale else 1.0
    mean, std = ((0.0,) * 3, (1.0,) * 3) if not processor.do_normalize else (processor.image_mean, processor.image_std)
    rows = [(torch.tensor(values, dtype=torch.float32) * scale).tolist() for values in (mean, std)]
    return (rows[0][0], rows[0][1], rows[0][2]), (rows[1][0], rows[1][1], rows[1][2])


def _data(folder: Path, processor: Any, pads: bool) -> DataConfig:
    """The size at which the image processor makes its images.

    Args:
        folder: for messages.
        processor: that of the folder.
        pads: whether it pads with zeros before it normalises.
    """
    config = DataConfig(eval_rounding="down", padding="black" if pads else "mean")
    if not processor.do_resize:
        return config
    if processor.resample not in (BILINEAR, None):
        raise CheckpointError(
            f"{folder}: its images are resized by method {processor.resample}; 2 (bilinear) alone is known."
        )
    size = {name: value for name, value in dict(processor.size).items() if value}
    config = replace(config, eval_multiple=getattr(processor, "size_divisor", 0) or 1)
    if "height" in size and "width" in size:
        return replace(config, eval_size=(size["height"], size["width"]))
    if "shortest_edge" not in size:
        raise CheckpointError(
            f"{folder}: its images have a size {size}; shortest_edge, or height and width, are known."
        )
    return replace(config, eval_short_side=size["shortest_edge"], eval_max_long_side=size.get("longest_edge", 0))


def _of_one_size(folder: Path, config: DataConfig, side: int) -> DataConfig:
    """The same for a network that takes square images of one size alone."""
    own = (side, side)
    if config.eval_size in ((), own):
        return replace(config, crop=own)
    log.warning(
        "%s: its processor makes images of %d×%d pixels, but its network takes %d×%d alone. These are made.",
        folder,
        *config.eval_size,
        *own,
    )
    return replace(config, crop=own, eval_size=own)


def _classes(
    folder: Path, settings: Any, categories: Sequence[Category] | None, to_predict: bool
) -> tuple[Category, ...]:
    count = int(settings.num_labels)
    if categories is None:
        return categories_of_labels(folder, [settings.id2label[index] for index in range(count)], to_predict)
    if len(categories) != count:
        raise CheckpointError(f"{folder}: it knows {count} classes, but {len(categories)} categories are given.")
    return tuple(categories)
