"""A tiny VidEoMT of `transformers` with random weights in the hub's layout, and what `transformers` says of a film."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tiny_networks import LABELS, QUERIES, SIDE, VIT

from pisr_core.structures import Category

transformers = pytest.importorskip("transformers", "5.4", "an older one has no VidEoMT")

CLASSES = tuple(Category(index, name, name in ("person", "car")) for index, name in sorted(LABELS["id2label"].items()))
STUFF = {index for index, category in enumerate(CLASSES) if not category.isthing}
OVERLAP = 0.05
"""Random networks are not so sure that any mask keeps the usual 80 %."""


def videomt() -> torch.nn.Module:
    """With queries that differ and are sure of something, and that what was seen before changes."""
    network = transformers.VideomtForUniversalSegmentation(transformers.VideomtConfig(**VIT, **LABELS)).eval()
    torch.nn.init.normal_(network.class_predictor.weight, std=2.0)
    for name, parameter in network.named_parameters():
        if len(parameter) == QUERIES or ("mask_" in name and "weight" in name):
            torch.nn.init.normal_(parameter, std=1.0)
    return network


def save(network: torch.nn.Module, folder: Path) -> Path:
    """The network beside its video processor."""
    network.save_pretrained(folder)
    transformers.VideomtVideoProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    return folder


def frames(count: int, height: int = 90, width: int = 132) -> list[np.ndarray]:
    """RGB of something that moves on."""
    noise = np.random.default_rng(0).integers(0, 256, (12, 17, 3), dtype=np.uint8)
    picture = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return [np.ascontiguousarray(np.roll(picture, 9 * number, axis=1)) for number in range(count)]


def seen_by_transformers(folder: Path, film: list[np.ndarray]) -> tuple[torch.Tensor, object, list[dict]]:
    """Pixels, outputs and panoptic maps of a film, all of whose frames it sees at once."""
    network = transformers.AutoModelForUniversalSegmentation.from_pretrained(folder).eval()
    processor = transformers.AutoVideoProcessor.from_pretrained(folder)
    pixels = processor(videos=[film], return_tensors="pt")["pixel_values_videos"]
    with torch.no_grad():
        output = network(pixels)
    maps = processor.post_process_panoptic_segmentation(
        output,
        target_sizes=[frame.shape[:2] for frame in film],
        overlap_mask_area_threshold=OVERLAP,
        label_ids_to_fuse=STUFF,
    )
    return pixels[0], output, maps
