"""How the public programs name their weights, and what each kind of file is recognised by."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from pisr_core.errors import CheckpointError
from pisr_core.weights.files.damage import MALFORMED, first_line
from pisr_core.weights.files.tensor_files import is_averaged
from pisr_core.weights.public.detectron2 import from_detectron2_deeplab, from_detectron2_maskformer
from pisr_core.weights.public.efficientnet import from_efficientnet_lite0
from pisr_core.weights.public.panoptic_fpn import from_detectron2_panoptic_fpn, from_torchvision_mask_rcnn
from pisr_core.weights.public.swin import from_original_swin

Renaming = Callable[[dict[str, Tensor]], dict[str, Tensor]]
"""Gives each tensor its name here (and the form that we need), one for one and in the file's order."""


@dataclass(frozen=True)
class Layout:
    """One program's names.

    Attributes:
        marks: patterns of the names' beginnings; a file of this layout has a name for each of them.
        architecture: of `pisr_core.models.MODELS`, empty where the names fit any.
        rename: to the names of our models.
        backbone_only: the files hold nothing but a backbone.
    """

    marks: tuple[str, ...]
    architecture: str
    rename: Renaming
    backbone_only: bool = False


@dataclass(frozen=True)
class Found:
    """The weights in a file.

    Attributes:
        source: their kind, a key of `LAYOUTS`.
        layout: how they are named.
        prefix: what stands before each name, such as `model_ema.module.`: the tables that they lie in, and what
            programs put in front for several GPUs, compiling or averaging.
        tensors: by name without the prefix.
        elsewhere: names of the file's other tensors.
    """

    source: str
    layout: Layout
    prefix: str
    tensors: dict[str, Tensor]
    elsewhere: tuple[str, ...]


def detect_layout(path: Path, tensors: Mapping[str, Tensor]) -> Found:
    """The weights of the first layout of `LAYOUTS` whose marks are all found, behind whatever prefix.

    Of several copies the averaged one is taken, else the first.

    Raises:
        CheckpointError: there is none; the message shows some of the file's names.
    """
    for source, layout in LAYOUTS.items():
        first, *others = (_prefixes(tensors, mark) for mark in layout.marks)
        prefixes = [prefix for prefix in first if all(prefix in other for other in others)]
        if prefixes:
            prefix = min(prefixes, key=lambda prefix: ("optim" in prefix, not is_averaged(prefix)))
            inside = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
            elsewhere = tuple(name for name in tensors if not name.startswith(prefix))
            return Found(source, layout, prefix, inside, elsewhere)
    shown = ", ".join(name[:80] for name in list(tensors)[:5])
    raise CheckpointError(
        f"{path}: its tensors ({shown}, …) are named as in none of the known kinds: {'; '.join(LAYOUTS)}."
    )


def _prefixes(names: Iterable[str], mark: str) -> list[str]:
    """What stands before a mark, in the file's order."""
    pattern = re.compile(rf"((?:.*\.)?){mark}")
    return list(dict.fromkeys(match[1] for match in map(pattern.match, names) if match))


def rename_tensors(path: Path, found: Found) -> dict[str, Tensor]:
    """The weights of a file under the names of our models.

    Raises:
        CheckpointError: shapes or names that no file of this kind has.
    """
    try:
        renamed = found.layout.rename(found.tensors)
    except MALFORMED as error:
        raise CheckpointError(
            f"{path}: it is named as {found.source}, but its tensors have other shapes ({first_line(error)}). "
            "Download it again."
        ) from error
    if len(renamed) < len(found.tensors):
        raise CheckpointError(f"{path}: it is named as {found.source}, but holds tensors twice. Download it again.")
    return renamed


def _as_they_are(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return tensors


def _from_detectron2_resnet(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A classification network: the names of detectron2's detectors without `backbone.`."""
    return from_detectron2_deeplab({f"backbone.{name}": tensor for name, tensor in tensors.items()})


def _from_torchvision_resnet(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names of torchvision, which timm shares."""
    return {f"backbone.body.{name}": tensor for name, tensor in tensors.items()}


def _from_maskformer(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """MaskFormer with either kind of backbone."""
    return from_original_swin(from_detectron2_maskformer(tensors))


LAYOUTS: dict[str, Layout] = {
    "a checkpoint of pisr": Layout((r"initial_heads\.",), "", _as_they_are),
    "detectron2's Panoptic-DeepLab": Layout((r"ins_embed_head\.",), "panoptic_deeplab", from_detectron2_deeplab),
    "MaskFormer": Layout((r"sem_seg_head\.predictor\.transformer\.",), "maskformer", _from_maskformer),
    "detectron2's Panoptic FPN": Layout(
        (r"sem_seg_head\.p2\.", r"roi_heads\.mask_head\."), "panoptic_fpn", from_detectron2_panoptic_fpn
    ),
    "torchvision's Mask R-CNN": Layout((r"roi_heads\.mask_predictor\.",), "panoptic_fpn", from_torchvision_mask_rcnn),
    "detectron2's ImageNet ResNet": Layout((r"stem\.conv1\.", r"res2\.0\."), "", _from_detectron2_resnet, True),
    "efficientnet-pytorch's ImageNet EfficientNet-Lite0": Layout(
        (r"_conv_stem\.", r"_blocks\.0\."), "", from_efficientnet_lite0, True
    ),
    "torchvision's or timm's ImageNet ResNet": Layout((r"layer1\.0\.conv1\.",), "", _from_torchvision_resnet, True),
}
"""Known layouts by what they are; the first that matches is taken."""
