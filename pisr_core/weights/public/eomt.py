"""EoMT as its authors publish it: names behind `network.`, on DINOv3 a difference to Meta's weights."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pisr_core.config import BackboneConfig, Config, DataConfig, RelationConfig, TransformersConfig
from pisr_core.errors import CheckpointError
from pisr_core.models import build_model
from pisr_core.models.queries.universal.eomt import EoMT
from pisr_core.models.queries.universal.eomt_names import from_dinov3, from_timm
from pisr_core.structures import Category
from pisr_core.weights.files.checkpoint import Checkpoint
from pisr_core.weights.files.damage import MALFORMED, first_line
from pisr_core.weights.files.tensor_files import read_tensors
from pisr_core.weights.hub.labels import categories_by_number

logger = logging.getLogger(__name__)

FILE = "pytorch_model.bin"

ENCODER = "network.encoder.backbone."

HEAD_WIDTH = 64
"""Of DINOv2's attention."""

GATED_SINCE = (5, 18)
"""The version of `transformers` that names gated layers as `from_timm` does."""

DINOV3_BASES = {
    384: "facebook/dinov3-vits16-pretrain-lvd1689m",
    768: "facebook/dinov3-vitb16-pretrain-lvd1689m",
    1024: "facebook/dinov3-vitl16-pretrain-lvd1689m",
    1280: "facebook/dinov3-vith16plus-pretrain-lvd1689m",
    4096: "facebook/dinov3-vit7b16-pretrain-lvd1689m",
}
"""What the public differences are to, by the width of the network."""

PRETRAINING_SIDE, USUAL_SIDE = 224, 640
"""Pixels: what Meta's own config.json says, and what most of the authors' networks see."""

_HEADS = (
    (r"^q\.", "query."),
    (r"^class_head\.", "class_predictor."),
    (r"^mask_head\.0\.", "mask_head.fc1."),
    (r"^mask_head\.2\.", "mask_head.fc2."),
    (r"^mask_head\.4\.", "mask_head.fc3."),
    (r"^upscale\.(\d+)\.norm\.", r"upscale_block.block.\1.layernorm2d."),
    (r"^upscale\.", "upscale_block.block."),
)
"""What follows the vision transformer: the authors' names, and those of `transformers`."""


def read_eomt_folder(
    folder: Path, categories: Sequence[Category] | None, base: Path | None, to_predict: bool
) -> Checkpoint:
    """`read_eomt_file` of the only file that the authors' repositories hold."""
    if not (folder / FILE).is_file():
        raise CheckpointError(
            f"{folder}: has no config.json, and no {FILE} of EoMT's authors either. Name a folder in the hub's layout."
        )
    return read_eomt_file(folder / FILE, categories, base, to_predict)


def read_eomt_file(
    path: Path, categories: Sequence[Category] | None = None, base: Path | None = None, to_predict: bool = True
) -> Checkpoint:
    """The authors' network as one of our checkpoints: a base model that predicts what theirs does.

    Nothing that the file holds is executed. It is used without masked attention, as they do.

    Args:
        path: `pytorch_model.bin`.
        categories: the classes, in the order of the network's outputs; else the public dataset's of that number.
        base: for a difference: the folder with DINOv3's weights in the hub's layout.
        to_predict: see `read_hub_folder`.

    Raises:
        CheckpointError: the file is broken or another network, the base is missing or another one, or the classes are
            not known.
    """
    tensors = read_tensors(path)
    try:
        return _checkpoint(path, tensors, categories, base, to_predict)
    except MALFORMED as error:
        raise CheckpointError(
            f"{path}: is not EoMT as its authors save it ({type(error).__name__}: {first_line(error)}). "
            "Download it again."
        ) from error


def _checkpoint(
    path: Path,
    tensors: Mapping[str, Tensor],
    categories: Sequence[Category] | None,
    base: Path | None,
    to_predict: bool,
) -> Checkpoint:
    encoder = {k.removeprefix(ENCODER): v for k, v in tensors.items() if k.startswith(ENCODER)}
    heads = {k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")}
    if not encoder or "class_head.weight" not in heads:
        raise CheckpointError(f"{path}: its tensors are not named as EoMT's authors name them (network.encoder. …).")
    count = len(heads["class_head.weight"]) - 1
    if categories is not None and len(categories) != count:
        raise CheckpointError(f"{path}: it knows {count} classes, but {len(categories)} categories are given.")
    classes = categories_by_number(path, count, to_predict) if categories is None else tuple(categories)
    settings = _shared_settings(heads)
    if "pos_embed" in encoder:
        backbone, own = from_timm(encoder), _dinov2_settings(path, encoder)
    else:
        backbone, own = _dinov3(path, from_dinov3(encoder), heads, base)
    for pattern, new in _HEADS:
        heads = {re.sub(pattern, new, name): tensor for name, tensor in heads.items()}
    state = EoMT.our_names(backbone | {k: v for k, v in heads.items() if not k.startswith(("encoder.", "attn_mask"))})
    config = _config(path, settings | own)
    _check_fit(path, config, classes, state)
    return Checkpoint(config, classes, state, {"imported": path.name, "source": "EoMT's authors"})


def _shared_settings(heads: Mapping[str, Tensor]) -> dict[str, Any]:
    return {
        "num_queries": len(heads["q.weight"]),
        "hidden_size": heads["q.weight"].shape[1],
        "num_blocks": len(heads["attn_mask_probs"]),
        "num_upscale_blocks": len({name.split(".")[1] for name in heads if name.startswith("upscale.")}),
    }


def _dinov2_settings(path: Path, encoder: Mapping[str, Tensor]) -> dict[str, Any]:
    patch = encoder["patch_embed.proj.weight"].shape[-1]
    width = encoder["cls_token"].shape[-1]
    gated = len(encoder["blocks.0.mlp.fc1.weight"]) != encoder["blocks.0.mlp.fc2.weight"].shape[1]
    installed = version("transformers")
    if gated and tuple(map(int, installed.split(".")[:2])) < GATED_SINCE:
        needed = ".".join(map(str, GATED_SINCE))
        raise CheckpointError(
            f"{path}: transformers {installed} names the gated layers of such a DINOv2 otherwise: it needs {needed} or "
            f"newer. pip install --upgrade 'transformers>={needed}'"
        )
    return {
        "model_type": "eomt",
        "num_hidden_layers": _depth(encoder),
        "num_attention_heads": width // HEAD_WIDTH,
        "num_register_tokens": encoder["reg_token"].shape[1] if "reg_token" in encoder else 0,
        "patch_size": patch,
        "image_size": math.isqrt(encoder["pos_embed"].shape[1]) * patch,
        "use_swiglu_ffn": gated,
    }


def _depth(encoder: Mapping[str, Tensor]) -> int:
    return 1 + max(int(name.split(".")[1]) for name in encoder if name.startswith("blocks."))


def _dinov3(
    path: Path, own: Mapping[str, Tensor], heads: Mapping[str, Tensor], base: Path | None
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The backbone with its base added, and the settings that the base's config.json gives."""
    width = heads["q.weight"].shape[1]
    name = DINOV3_BASES.get(width, "a DINOv3 of its width")
    # Their mean and standard deviation are part of the difference, and so are zero.
    is_difference = not heads["encoder.pixel_std"].any()
    if base is None:
        held = "the difference to" if is_difference else "a network on"
        raise CheckpointError(
            f"{path}: holds {held} DINOv3, whose weights are gated: accept the licence at "
            f"https://huggingface.co/{name}, log in with `hf auth login`, and add both: "
            f"`pisr weights import {path} --base {name}` (or a folder with it)."
        )
    config, weights = _read_base(base)
    if is_difference:
        unfit = [key for key, tensor in own.items() if key not in weights or weights[key].shape != tensor.shape]
        if unfit:
            raise CheckpointError(
                f"{base}: is not what {path} holds the difference to: {len(unfit)} tensors are missing or of another "
                f"shape, {unfit[0]} first. It needs {name}."
            )
        own = {key: tensor + weights[key] for key, tensor in own.items()}
    patch = own["embeddings.patch_embeddings.weight"].shape[-1]
    return dict(own), {
        "model_type": "eomt_dinov3",
        "patch_size": patch,
        "image_size": _image_side(path, int(config.get("image_size", PRETRAINING_SIDE))),
        "rope_parameters": {"rope_type": "default", "rope_theta": float(config.get("rope_theta", 100.0))},
        **{key: config[key] for key in _FROM_BASE if key in config},
    }


_FROM_BASE = (
    "num_hidden_layers num_attention_heads num_register_tokens intermediate_size layer_norm_eps hidden_act "
    "use_gated_mlp query_bias key_bias value_bias proj_bias mlp_bias"
).split()


def _read_base(base: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Settings and weights of a DINOv3 in the hub's layout, under the names of EoMT."""
    file = next((base / name for name in ("model.safetensors", FILE) if (base / name).is_file()), None)
    if file is None or not (base / "config.json").is_file():
        raise CheckpointError(
            f"{base}: a folder with DINOv3's config.json and model.safetensors is needed as the base."
        )
    try:
        config = dict(json.loads((base / "config.json").read_text(encoding="utf-8")))
    except (ValueError, TypeError, OSError) as error:
        raise CheckpointError(
            f"{base / 'config.json'}: cannot be read ({first_line(error)}). Download it again."
        ) from error
    return config, from_dinov3(read_tensors(file))


def _image_side(path: Path, of_base: int) -> int:
    """What a network without position embeddings sees: as its name says, else as its base does, else as most do."""
    named = [found[1] for part in reversed(path.resolve().parts) for found in re.finditer(r"eomt_[a-z]+_(\d+)", part)]
    side = int(named[0]) if named else USUAL_SIDE if of_base == PRETRAINING_SIDE else of_base
    logger.info("%s: taken to see images of %d×%d pixels", path, side, side)
    return side


def _config(path: Path, network: dict[str, Any]) -> Config:
    side = network["image_size"]
    return Config(
        name="eomt",
        description=f"EoMT from its authors' {path.name}",
        architecture="eomt",
        backbone=BackboneConfig(network["model_type"], pretrained=False, output_stride=32, multi_grid=()),
        transformers=TransformersConfig(network=network),
        relation=RelationConfig(name="none"),
        data=DataConfig(
            crop=(side, side),
            padding="black",
            eval_short_side=side,
            eval_max_long_side=side,
            eval_resizer="pillow",
        ),
    )


def _check_fit(path: Path, config: Config, categories: Sequence[Category], state: Mapping[str, Tensor]) -> None:
    with torch.device("meta"):
        wanted = build_model(config, categories).state_dict()
    expected, found = ({n: tuple(t.shape) for n, t in tensors.items()} for tensors in (wanted, state))
    unfit = sorted({name for name, _ in expected.items() ^ found.items()})
    if unfit:
        raise CheckpointError(
            f"{path}: {len(unfit)} of its tensors are missing, unknown or of another shape, {unfit[0]} first. "
            "Download it again."
        )
