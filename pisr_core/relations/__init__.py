"""The relations between first and final predictions: the paper's PISR and its alternatives (Table 5).

Every relation is one call, `(features, semantic, instances) → features`, so that a preset changes one word.
"""

from __future__ import annotations

from collections.abc import Callable

from pisr_core.config import RelationConfig, check_choice
from pisr_core.relations.base import IdentityRelation, Relation
from pisr_core.relations.concatenation import Concatenation
from pisr_core.relations.convolutions import Convolutions
from pisr_core.relations.ocr import OCR
from pisr_core.relations.pisr import PISR
from pisr_core.relations.product import ElementwiseProduct

RELATIONS: dict[str, Callable[[int, int, RelationConfig], Relation]] = {
    "heads": lambda channels, num_classes, config: IdentityRelation(),
    "convolutions": lambda channels, num_classes, config: Convolutions(
        channels, config.channels, config.kernel, config.start
    ),
    "concat": lambda channels, num_classes, config: Concatenation(channels, num_classes, config.top_k),
    "product": lambda channels, num_classes, config: ElementwiseProduct(channels, num_classes, config.top_k),
    "ocr": lambda channels, num_classes, config: OCR(channels, config.channels),
    "pisr": PISR,
}
"""Builders by the name in a preset, from c, n and the relation's settings: second heads on F itself (the control of
deep supervision), the same behind as many layers as PISR has (that of depth), the alternatives of Table 5, and the
paper's module. `none` builds nothing."""


def build_relation(channels: int, num_classes: int, config: RelationConfig) -> Relation | None:
    """The relation of a config, `None` for a base model.

    Args:
        channels: c of the features.
        num_classes: n.
        config: which one, and its settings.

    Raises:
        ConfigError: an unknown name.
    """
    check_choice("relation.name", config.name, ("none", *RELATIONS))
    return None if config.name == "none" else RELATIONS[config.name](channels, num_classes, config)


__all__ = [
    "OCR",
    "PISR",
    "RELATIONS",
    "Concatenation",
    "Convolutions",
    "ElementwiseProduct",
    "IdentityRelation",
    "Relation",
    "build_relation",
]
