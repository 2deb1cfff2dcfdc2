"""PISR's open choices by name, which `module_choices.py` tries one at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import nn

from pisr_core.relations import PISR
from pisr_core.relations.reweighting import Reweighting

Change = Mapping[str, object] | Callable[[PISR], object]
"""Settings that replace those of the relation, or behind `loss.` of the losses; or what is done to the built module,
which in a mapping is called `then`."""


def random_mixing(relation: PISR) -> None:
    """g_p as convolutions usually start."""
    relation.attention.g_p.reset_parameters()


def unscaled(relation: PISR) -> None:
    """F_sp without its division by the square root of d."""
    relation.attention.g_s.out_features = 1


def rectified_encodings(relation: PISR) -> None:
    """A ReLU after g_s."""
    relation.attention.g_s.register_forward_hook(lambda layer, inputs, output: output.relu())


def linear_features(relation: PISR) -> None:
    """No ReLU in h."""
    relation.attention.h[2] = nn.Identity()


def omega(hidden: int) -> Callable[[PISR], None]:
    """Another width of the network of ω."""

    def change(relation: PISR) -> None:
        relation.reweighting = Reweighting(relation.attention.g_q.in_features, hidden)

    return change


def open_omega(relation: PISR) -> None:
    """Every category counts in full at first: ω = sigmoid(3)."""
    assert relation.reweighting is not None
    last = relation.reweighting.layers[-1]
    nn.init.zeros_(last.weight)
    nn.init.constant_(last.bias, 3.0 / relation.reweighting.scale)


def unrelated(relation: PISR) -> None:
    """The weights of h and g_s in `categories` as those of layers usually start."""
    relation.attention.h.reset_parameters()
    relation.attention.g_s.reset_parameters()


def omega_once(relation: PISR) -> None:
    """√ω on the encodings, which enter F_pan twice."""
    assert relation.reweighting is not None
    relation.reweighting.register_forward_hook(lambda layer, inputs, output: output.sqrt())


APART: dict[str, object] = {"partition": "hard", "instance_score": 0.1}
CATEGORIES: dict[str, object] = {**APART, "attention": "categories", "start": 0.5}
TAUGHT: dict[str, object] = {"loss.reweighting": 1.0, "confidence": True}

CHOICES: dict[str, Change] = {
    "default": {},
    "heads": {"name": "heads"},
    "convolutions": {"name": "convolutions"},
    "concat": {"name": "concat"},
    "product": {"name": "product"},
    "ocr": {"name": "ocr"},
    "without reweighting": {"reweight": False},
    "area": {"normalization": "area"},
    "no LayerNorm": {"encoding_norm": False},
    "area without LayerNorm": {"normalization": "area", "encoding_norm": False},
    "presence": {"presence": 4.0},
    "presence + no ω": {"presence": 4.0, "reweight": False},
    "no norm on F_pan": {"feature_norm": False},
    "no residual": {"residual": False},
    "hard": {"partition": "hard"},
    "soft": {"partition": "soft"},
    "score": {"instance_score": 0.1},
    "hard + score": APART,
    "soft + score": {**APART, "partition": "soft"},
    "hard + score + extent": {**APART, "radius_unit": "extent", "instance_radius": 2.0},
    "hard + score + presence": {**APART, "presence": 4.0},
    "hard + score + no ω": {**APART, "reweight": False},
    "hard + score + K = 0": {**APART, "top_k": 0},
    "hard + score + softmax": {**APART, "attention": "softmax"},
    "taught": {"loss.reweighting": 1.0},
    "taught + sure": TAUGHT,
    "hard + score + taught": {**APART, **TAUGHT},
    "softmax": {"attention": "softmax"},
    "softmax + F_pan at 0.5": {"attention": "softmax", "start": 0.5},
    "categories": {"attention": "categories"},
    "categories + F_pan at 0.5": {"attention": "categories", "start": 0.5},
    "hard + score + categories": CATEGORIES,
    "hard + score + categories + taught": {**CATEGORIES, **TAUGHT},
    "hard + score + categories + K = 0": {**CATEGORIES, "top_k": 0},
    "hard + score + categories + unrelated": {**CATEGORIES, "then": unrelated},
    "C = 4": {"instance_radius": 4.0},
    "C = 16": {"instance_radius": 16.0},
    "P(thing)": {"thing_mask": "probability"},
    "K = 0": {"top_k": 0},
    "K = 10": {"top_k": 10},
    "d / 2": {"channels": 32},
    "lean": {"kernel": 1, "encoding_stride": 2, "channels": 32},
    "h of 1x1": {"kernel": 1},
    "every second cell": {"encoding_stride": 2},
    "random g_p": random_mixing,
    "F_sp not over √d": unscaled,
    "ReLU after g_s": rectified_encodings,
    "h without ReLU": linear_features,
    "ω of 16": omega(16),
    "ω of 256": omega(256),
    "ω = 0.95 at first": open_omega,
    "ω once": omega_once,
}
"""What is tried, by name."""
