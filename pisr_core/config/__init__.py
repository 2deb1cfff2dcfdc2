"""The schema of a preset: frozen dataclasses with units and checks. TOML is read by `pisr_core.presets`."""

from __future__ import annotations

from dataclasses import dataclass, field

from pisr_core.config.architectures import (
    BackboneConfig,
    BranchConfig,
    DeepLabConfig,
    FPNConfig,
    MaskFormerConfig,
    UPerNetConfig,
)
from pisr_core.config.checks import check, check_choice
from pisr_core.config.relation import LossConfig, MergeConfig, RelationConfig, TargetConfig
from pisr_core.config.running import DataConfig, ScenesConfig, TrainConfig

__all__ = [
    "BackboneConfig",
    "BranchConfig",
    "Config",
    "DataConfig",
    "DeepLabConfig",
    "FPNConfig",
    "LossConfig",
    "MaskFormerConfig",
    "MergeConfig",
    "PaperRow",
    "RelationConfig",
    "ScenesConfig",
    "TargetConfig",
    "TrainConfig",
    "UPerNetConfig",
    "check",
    "check_choice",
]


@dataclass(frozen=True)
class PaperRow:
    """A printed row of the paper; a preset may stand for several.

    Attributes:
        table: its table's number.
        row: the method as printed there.
        backbone: the backbone as printed there.
        split: the dataset's split.
        scores: the printed numbers by column.
    """

    table: int = 0
    row: str = ""
    backbone: str = ""
    split: str = ""
    scores: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Config:
    """A whole preset.

    Attributes:
        name: the preset's name.
        description: one line for `pisr presets`.
        architecture: a name of `pisr_core.models.MODELS`.
        paper: the rows that it stands for, none when it is not in the paper.
    """

    name: str = ""
    description: str = ""
    architecture: str = "panoptic_deeplab"
    backbone: BackboneConfig = BackboneConfig()
    deeplab: DeepLabConfig = DeepLabConfig()
    fpn: FPNConfig = FPNConfig()
    upernet: UPerNetConfig = UPerNetConfig()
    maskformer: MaskFormerConfig = MaskFormerConfig()
    relation: RelationConfig = RelationConfig()
    loss: LossConfig = LossConfig()
    targets: TargetConfig = TargetConfig()
    merge: MergeConfig = MergeConfig()
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()
    paper: tuple[PaperRow, ...] = ()

    def __post_init__(self) -> None:
        is_name = self.name not in (".", "..") and not set(self.name) & set("/\\\0") and len(self.name) <= 100
        check(is_name, "name", self.name, "a name for files: at most 100 characters without / and \\")
