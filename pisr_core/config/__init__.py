"""The schema of a preset: frozen dataclasses with units and checks. TOML is read by `pisr_core.presets`."""

from __future__ import annotations

from dataclasses import dataclass, field

from pisr_core.config.backbone import BackboneConfig
from pisr_core.config.boxes import FPNConfig
from pisr_core.config.center_offset import BranchConfig, DeepLabConfig, MergeConfig, TargetConfig, UPerNetConfig
from pisr_core.config.checks import check, check_choice
from pisr_core.config.queries import MaskFormerConfig, TransformersConfig
from pisr_core.config.relation import BALANCED, LossConfig, PISRConfig, RelationConfig
from pisr_core.config.running import DataConfig, ScenesConfig, TrainConfig

__all__ = [
    "BALANCED",
    "BackboneConfig",
    "BranchConfig",
    "Config",
    "DataConfig",
    "DeepLabConfig",
    "FPNConfig",
    "LossConfig",
    "MaskFormerConfig",
    "MergeConfig",
    "PISRConfig",
    "PaperRow",
    "RelationConfig",
    "ScenesConfig",
    "TargetConfig",
    "TrainConfig",
    "TransformersConfig",
    "UPerNetConfig",
    "check",
    "check_choice",
]


@dataclass(frozen=True)
class PaperRow:
    """A printed row of the paper; a preset may stand for several."""

    table: int = 0
    """Its table's number."""
    row: str = ""
    """The method as printed there."""
    backbone: str = ""
    """The backbone as printed there."""
    split: str = ""
    """The dataset's split."""
    scores: dict[str, float] = field(default_factory=dict)
    """The printed numbers by column."""


@dataclass(frozen=True)
class Config:
    """A whole preset."""

    name: str = ""
    """The preset's name."""
    description: str = ""
    """One line for `pisr presets`."""
    architecture: str = "panoptic_deeplab"
    """A name of `pisr_core.models.MODELS`."""
    backbone: BackboneConfig = BackboneConfig()
    deeplab: DeepLabConfig = DeepLabConfig()
    fpn: FPNConfig = FPNConfig()
    upernet: UPerNetConfig = UPerNetConfig()
    maskformer: MaskFormerConfig = MaskFormerConfig()
    transformers: TransformersConfig = TransformersConfig()
    relation: RelationConfig = RelationConfig()
    loss: LossConfig = LossConfig()
    targets: TargetConfig = TargetConfig()
    merge: MergeConfig = MergeConfig()
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()
    paper: tuple[PaperRow, ...] = ()
    """The rows that it stands for, none when it is not in the paper."""

    def __post_init__(self) -> None:
        is_name = self.name not in (".", "..") and not set(self.name) & set("/\\\0") and len(self.name) <= 100
        check(is_name, "name", self.name, "a name for files: at most 100 characters without / and \\")
