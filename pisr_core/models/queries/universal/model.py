"""What the networks share that are built of the classes of `transformers`."""

from __future__ import annotations

import difflib
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from timm.utils.model import freeze_batch_norm_2d
from torch import Tensor, nn

from pisr_core.class_axes import ClassAxes, predictor_axes
from pisr_core.config import Config, TransformersConfig, check
from pisr_core.errors import ConfigError
from pisr_core.models.base import Losses
from pisr_core.models.denominators import shared_denominator
from pisr_core.models.queries.merging import MergingRule
from pisr_core.models.queries.model import QueryModel
from pisr_core.models.queries.structures import MaskPrediction, MaskTargets
from pisr_core.models.queries.universal.exporting import UniversalNetwork, at_grid
from pisr_core.models.queries.universal.pretrained import load_pyramid
from pisr_core.models.resizing import resized_bands
from pisr_core.relations import build_relation
from pisr_core.structures import Category

NONE = "none"
"""What stands for null in settings."""

NOT_SETTINGS = frozenset(
    "_name_or_path architectures dtype torch_dtype id2label label2id transformers_version return_dict "
    "output_hidden_states output_attentions problem_type chunk_size_feed_forward is_encoder_decoder".split()
)
"""Entries of a `config.json` that say nothing about the network."""

TERMS = {"class": "loss_cross_entropy", "mask": "loss_mask", "dice": "loss_dice"}
"""The losses' names here and in `transformers`."""


class QueryHeads(nn.Module):
    """One prediction stage: each query's class and, by its product with the features, its mask.

    Args:
        class_predictor: from a query to the logits of its class, the last for no object.
        mask_embedder: from a query to what it is multiplied with.
    """

    def __init__(self, class_predictor: nn.Module, mask_embedder: nn.Module) -> None:
        super().__init__()
        self.class_predictor = class_predictor
        self.mask_embedder = mask_embedder

    def forward(
        self, queries: Float[Tensor, "l b q d"], features: Float[Tensor, "b c h w"]
    ) -> tuple[MaskPrediction, ...]:
        """A prediction for the queries of each layer, logits in float32 whatever the autocast type."""
        return tuple(
            MaskPrediction(
                self.class_predictor(layer).float(),
                torch.einsum("bqc,bchw->bqhw", self.embed(layer), features).float(),
            )
            for layer in queries
        )

    def embed(self, queries: Float[Tensor, "*b q d"]) -> Float[Tensor, "*b q c"]:
        """What each query is multiplied with the features by."""
        return self.mask_embedder(queries)

    def class_axes(self, classes: Sequence[str]) -> ClassAxes:
        """Those of the queries' classes, behind which no object stands."""
        return predictor_axes("class_predictor", classes)


class UniversalSegmentation(QueryModel):
    """A network of `transformers`, taken apart into the parts of Fig. 2, with a relation between two stages.

    Those who inherit take the parts: `take_apart`. Weights and names within the parts are those of `transformers`.

    Args:
        config: the preset; `relation.name = "none"` gives the base model, whose only heads are the initial ones.
        categories: the dataset's.
        network: one of your own in place of the config's; its parts become parts of this model.

    Attributes:
        kinds: the network's class by the `model_type` of its settings, the first where they say none.
        prefixes: what the names of its tensors begin with in `transformers`, and here.
        own_pixels: see `MergingRule`, where masks are enlarged as the network's authors do.
        since: the version of `transformers` from which on it has the network.
    """

    kinds: ClassVar[Mapping[str, str]]
    prefixes: ClassVar[Mapping[str, str]]
    own_pixels: ClassVar[bool] = True
    since: ClassVar[str] = "5.1"

    backbone: nn.Module
    initial_heads: QueryHeads
    final_heads: QueryHeads | None

    def __init__(self, config: Config, categories: Sequence[Category], network: Any = None) -> None:
        super().__init__(config, categories)
        settings = config.transformers
        for name in ("pixel_mean", "pixel_std"):
            self.register_buffer(name, torch.tensor(getattr(settings, name)).view(3, 1, 1), persistent=False)
        fresh = network is None
        network = network or self.build_network(config, len(categories))
        self.loss_weights: Mapping[str, float] = network.weight_dict
        self.criterion = _own_criterion(network.criterion, self.class_weights)
        self.take_apart(network)
        if fresh and config.backbone.pretrained:
            self.load_pretrained(config.backbone.name)
        if config.backbone.frozen_norms:
            freeze_batch_norm_2d(self.backbone)
        relation = replace(config.relation, top_k=min(config.relation.top_k, self.queries(network.config)))
        self.relation = build_relation(self.channels(network.config), len(categories), relation)
        self.final_heads = None if self.relation is None else deepcopy(self.initial_heads)

    @classmethod
    def build_network(cls, config: Config, num_classes: int) -> Any:
        """The network of `transformers` with random weights; nothing is downloaded, no code of others is executed.

        Raises:
            ConfigError: settings that its class does not take, or a version that lacks it.
        """
        settings = network_settings(config.transformers.network)
        kind = settings.pop("model_type", next(iter(cls.kinds)))
        choices = f"{config.architecture} has {', '.join(cls.kinds)}"
        check(kind in cls.kinds, "transformers.network.model_type", kind, choices)
        network_class = cls.network_class(kind)
        known = _known_settings(network_class)
        for key in settings.keys() - known:
            close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f"did you mean {close[0]}?" if close else "its class has no such setting."
            raise ConfigError(f"unknown setting transformers.network.{key}: {hint}")
        labels = {index: str(index) for index in range(num_classes)}
        try:
            with quiet():
                network = network_class(network_class.config_class(**settings, id2label=labels))
        # Whatever the class and the backbone of its settings make of wrong ones.
        except Exception as error:
            reason = " ".join(str(error).split())[:300]
            raise ConfigError(f"transformers.network: {type(error).__name__}: {reason}.") from error
        # A parameter of Mask2Former is made in a way that does not look at the default device.
        return network.to(torch.empty(0).device)

    @classmethod
    def network_class(cls, kind: str) -> Any:
        """The network's class, by the `model_type` of its settings.

        Raises:
            ConfigError: the version of `transformers` that is installed lacks it.
        """
        import transformers  # takes seconds, which other architectures need not wait for

        name = cls.kinds[kind]
        if not hasattr(transformers, name):
            raise ConfigError(
                f"transformers {transformers.__version__} has no {name}: it needs version {cls.since} or newer. "
                f"pip install --upgrade 'transformers>={cls.since}'"
            )
        return getattr(transformers, name)

    @classmethod
    def settings_of(cls, network: Any) -> TransformersConfig:
        """The settings that build a network anew."""
        known = _known_settings(type(network))
        settings = {key: value for key, value in network.config.to_dict().items() if key in known}
        return TransformersConfig(network=_plain(settings))

    @abstractmethod
    def take_apart(self, network: Any) -> None:
        """Gives this model the network's backbone, decoders and heads."""

    def load_pretrained(self, name: str) -> None:
        """Starts the backbone from the hub's weights of that name."""
        load_pyramid(self.backbone, name)

    @staticmethod
    @abstractmethod
    def queries(settings: Any) -> int:
        """Their number, from the network's settings."""

    @staticmethod
    @abstractmethod
    def channels(settings: Any) -> int:
        """C of F, from the network's settings."""

    @classmethod
    def our_names(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A network's tensors under the names that they have here; those of the losses are left out."""
        return {
            new + name.removeprefix(old): tensor
            for name, tensor in state.items()
            if not name.startswith("criterion.")
            for old, new in [next((pair for pair in cls.prefixes.items() if name.startswith(pair[0])), ("", ""))]
            if new
        }

    @classmethod
    def instance_limit(cls, config: Config) -> tuple[int, str]:
        """One instance a query."""
        with torch.device("meta"):
            network = cls.build_network(config, num_classes=1)
        return cls.queries(network.config), "transformers.network.num_queries"

    @property
    def size_divisor(self) -> int:
        """Image sides are multiples of this many pixels."""
        return 32

    @property
    def merging_rule(self) -> MergingRule:
        """As the network's authors have it, or `transformers`."""
        config = self.config.transformers
        thresholds = config.object_mask_threshold, config.overlap_threshold
        if config.enlarge == "probabilities":
            return MergingRule(*thresholds, weighted_masks=True)
        return MergingRule(*thresholds, own_pixels=self.own_pixels)

    def mask_bands(
        self, mask_logits: Float[Tensor, "q h w"], input_size: tuple[int, int], output_size: tuple[int, int]
    ) -> Iterable[Float[Tensor, "q rows W"]]:
        """P(in the mask) at the output's size, some rows at a time."""
        settings = self.config.transformers
        if settings.enlarge == "logits":
            return super().mask_bands(mask_logits, input_size, output_size)
        rows, columns = (-(-side // self.stride) for side in input_size)
        mask_logits = mask_logits[:, :rows, :columns]
        if settings.enlarge == "direct":
            return (band.sigmoid() for band in resized_bands(mask_logits, output_size))
        return resized_bands(at_grid(mask_logits[None], settings.mask_grid)[0].sigmoid(), output_size)

    def stage_losses(self, predictions: Sequence[MaskPrediction], targets: MaskTargets) -> list[Losses]:
        """The network's own losses of each prediction: its matcher, its sampled points, its weights; in float32."""
        masks = [each.float() for each in targets.masks]
        with torch.autocast(masks[0].device.type, enabled=False):
            return [self._stage_losses(prediction, masks, targets.labels) for prediction in predictions]

    def _stage_losses(
        self, prediction: MaskPrediction, masks: list[Float[Tensor, "_ H W"]], labels: Sequence[Int[Tensor, " _"]]
    ) -> Losses:
        losses = self.criterion(prediction.mask_logits, prediction.class_logits, masks, list(labels))
        return {name: self.loss_weights[key] * losses[key] for name, key in TERMS.items()}

    def exportable(self, merging: bool) -> UniversalNetwork:
        """Classes and masks of the queries, or the panoptic map."""
        return UniversalNetwork(self, merging)


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps `transformers` from its warnings and progress bars: what matters is said by our own messages."""
    from transformers import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


def network_settings(settings: Any) -> Any:
    """Settings as `transformers` takes them: null for `NONE`, and no weights of a backbone fetched on the way."""
    if isinstance(settings, Mapping):
        plain = {key: network_settings(value) for key, value in settings.items()}
        return plain | ({"use_pretrained_backbone": False} if "use_pretrained_backbone" in plain else {})
    if isinstance(settings, list | tuple):
        return [network_settings(value) for value in settings]
    return None if settings == NONE else settings


def _known_settings(network_class: Any) -> frozenset[str]:
    """Names of a network's own settings."""
    return frozenset(network_class.config_class().to_dict()) | {"model_type"}


def _plain(settings: Any) -> Any:
    """Settings of `transformers` as TOML can hold them."""
    if isinstance(settings, Mapping):
        return {str(key): _plain(value) for key, value in settings.items() if key not in NOT_SETTINGS}
    if isinstance(settings, list | tuple):
        return [_plain(value) for value in settings]
    return NONE if settings is None else settings


def _own_criterion(criterion: Any, class_weights: Float[Tensor, " n"] | None) -> nn.Module:
    """The losses without tensors in checkpoints, and divided by the masks of all processes as ours are.

    Their weights are those of the classes, 1 without any, and that of no object.
    """
    weight = criterion.empty_weight
    if class_weights is not None:
        weight[:-1] = class_weights
    del criterion.empty_weight
    criterion.register_buffer("empty_weight", weight, persistent=False)
    criterion.get_num_masks = _num_masks
    return criterion


def _num_masks(class_labels: Sequence[Int[Tensor, " _"]], device: torch.device) -> Float[Tensor, ""]:
    count = torch.tensor(float(sum(map(len, class_labels))), device=device)
    return shared_denominator(count, at_least=1)
