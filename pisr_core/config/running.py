"""Settings of the data and of a training run."""

from __future__ import annotations

from dataclasses import dataclass

from pisr_core.config.checks import check, check_choice, check_counts


@dataclass(frozen=True)
class ScenesConfig:
    """The built-in dataset."""

    difficulty: str = "default"
    """A name of `pisr_core.data.scenes.DIFFICULTIES`."""
    size: tuple[int, int] = (128, 128)
    """(height, width) of an image in pixels."""
    train_images: int = 100_000
    """Number of different training scenes."""
    val_images: int = 200
    """Number of held-out scenes, to choose by."""
    test_images: int = 200
    """Number of further scenes, to report on."""

    def __post_init__(self) -> None:
        check_counts(self, "data.scenes", ("size",), most=8192)
        check_counts(self, "data.scenes", ("train_images", "val_images", "test_images"), most=100_000_000)


@dataclass(frozen=True)
class DataConfig:
    """What is read and how it is augmented."""

    dataset: str = "custom"
    """A name of `pisr_core.data.DATASETS`."""
    scenes: ScenesConfig = ScenesConfig()
    """Settings of the built-in dataset."""
    crop: tuple[int, int] = (512, 512)
    """(height, width) of a training crop, pixels."""
    short_side: tuple[int, ...] = ()
    """Lengths in pixels to which the short side of a training image is scaled, one by chance; empty for the image's own
    size."""
    max_long_side: int = 0
    """Limit of the long side after scaling, pixels; 0 for none."""
    scale: tuple[float, float] = (1.0, 1.0)
    """(low, high), a factor by chance on top of that."""
    flip: float = 0.5
    """Probability of a mirror image."""
    color: float = 0.0
    """Strength of the brightness, contrast, saturation and hue jitter, 0 for none."""
    padding: str = "mean"
    """Colour of what an image leaves free: `mean`, about zero once the model has normalised it, or `black`."""
    eval_short_side: int = 0
    """Length of the short side at evaluation, 0 for the image's own size."""
    eval_max_long_side: int = 0
    """Limit of the long side at evaluation, 0 for none."""
    eval_size: tuple[int, ...] = ()
    """(height, width) to which images are stretched at evaluation instead; empty for none."""
    eval_multiple: int = 1
    """Both sides are stretched up to a multiple of so many pixels at evaluation."""
    eval_rounding: str = "nearest"
    """Of the sides at evaluation: `nearest`, or `down` as `transformers` has it."""
    eval_resizer: str = "torchvision"
    """What scales images at evaluation: `torchvision` or `pillow`, which differ by rounding."""
    value_range: tuple[float, ...] = ()
    """[low, high], the stored values that become 0 and 255 in images of more than 8 bits a channel; empty for what the
    training images use."""
    workers: int = -1
    """Loading processes, -1 for one less than the cores."""
    repeat_threshold: float = 0.0
    """Training images with a class that fewer than this share of all images have come more often, as LVIS's repeat
    factors say; 0 for all alike."""
    timeout: int = 30
    """Seconds that an image may take to be read by one of them, 0 for ever; then its disk counts as dead."""

    def __post_init__(self) -> None:
        check_counts(self, "data", ("crop", "short_side"), least=16, most=65_536)
        check(0 < self.scale[0] <= self.scale[1], "data.scale", self.scale, "[low, high], 0 < low <= high")
        check(0 <= self.flip <= 1, "data.flip", self.flip, "a probability")
        check(self.color >= 0, "data.color", self.color, "at least 0")
        check_choice("data.padding", self.padding, ("mean", "black"))
        check_choice("data.eval_rounding", self.eval_rounding, ("nearest", "down"))
        check_choice("data.eval_resizer", self.eval_resizer, ("torchvision", "pillow"))
        check_counts(self, "data", ("eval_size", "eval_multiple"), most=65_536)
        check(len(self.eval_size) in (0, 2), "data.eval_size", self.eval_size, "[] or [height, width]")
        is_range = len(self.value_range) == 2 and self.value_range[0] < self.value_range[1]
        check(not self.value_range or is_range, "data.value_range", self.value_range, "[low, high], low < high")
        check(0 <= self.repeat_threshold <= 1, "data.repeat_threshold", self.repeat_threshold, "a share within [0, 1]")
        check(self.workers >= -1, "data.workers", self.workers, "at least 0, or -1 for one less than the cores")
        check(self.timeout >= 0, "data.timeout", self.timeout, "seconds, or 0 to wait for ever")


@dataclass(frozen=True)
class TrainConfig:
    """The run."""

    steps: int = 90_000
    """Optimiser steps."""
    batch_size: int = 32
    """Images a step, over all processes and accumulated micro-batches together."""
    accumulate: int = 1
    """Micro-batches a step."""
    optimizer: str = "adam"
    """`adam`, `adamw` or `sgd`."""
    momentum: float = 0.9
    """Of `sgd`."""
    lr: float = 1e-3
    """Peak learning rate."""
    backbone_lr_factor: float = 1.0
    """Factor on it for the backbone."""
    weight_decay: float = 0.0
    """Of weights, not of biases and norms."""
    schedule: str = "poly"
    """`poly`, `cosine`, `multistep` or `constant`."""
    poly_power: float = 0.9
    """Exponent of `poly`."""
    milestones: tuple[int, ...] = ()
    """Steps at which `multistep` divides the rate by ten."""
    warmup_steps: int = 1000
    """Linear warm-up from zero."""
    backbone_warmup_steps: int = 0
    """The backbone waits for the others' warm-up, and warms up itself in so many steps; 0 for both together."""
    layer_decay: float = 1.0
    """Factor on the learning rate of a vision transformer's block for each block above it."""
    clip_norm: float = 0.0
    """Limit of the gradients' norm, 0 for none."""
    freeze: str | tuple[str, ...] = "none"
    """What training leaves as it is, for less memory and time: `none`, `backbone`, `base` (all but the relation and the
    final heads), or a list of the model's parts by name."""
    precision: str = "no"
    """`no`, `fp16` or `bf16` autocast."""
    tf32: str = "convolutions"
    """What a GPU computes in TF32 where it would in float32: `none`, `convolutions` or `all`, matrix products too."""
    deterministic: bool = False
    """Take algorithms that give the same bits each time, so that a resumed run is exact on a GPU too; slower."""
    checkpointing: str = "none"
    """What is computed once more in the backward pass, in place of being kept: `none`, `norms` (with activations and
    resizing: some memory for little time) or `all` (the least memory, the most time). Numbers are the same up to
    rounding."""
    compile: bool = False
    """Pass the forward pass of the steps through `torch.compile`; the first step then takes minutes."""
    ema: float = 0.0
    """Decay of the averaged weights, 0 for none; they are what is evaluated and saved as best."""
    eval_every: int = 5000
    """Steps between evaluations, 0 for the end only."""
    eval_images: int = 0
    """Images of the split to evaluate used during training, 0 for all."""
    eval_split: str = "val"
    """What is evaluated during and after training. What is reported should be measured where nothing was chosen."""
    best: str = "pq"
    """By what the weights that are kept as best are chosen: `pq`, `pq_th` (of things) or `miou`."""
    patience: int = 0
    """Stop after so many evaluations without a better one, 0 for never."""
    save_every: int = 1000
    """Steps between resumable states."""
    log_every: int = 20
    """Steps between lines of the log."""
    seed: int = 0
    """Of the initial weights, the data order and the augmentation."""

    def __post_init__(self) -> None:
        check_choice("train.optimizer", self.optimizer, ("adam", "adamw", "sgd"))
        check_choice("train.schedule", self.schedule, ("poly", "cosine", "multistep", "constant"))
        check_choice("train.best", self.best, ("pq", "pq_th", "miou"))
        check(self.patience >= 0, "train.patience", self.patience, "zero or more evaluations")
        check_choice("train.precision", self.precision, ("no", "fp16", "bf16"))
        check_choice("train.checkpointing", self.checkpointing, ("none", "norms", "all"))
        check_choice("train.tf32", self.tf32, ("none", "convolutions", "all"))
        check(self.seed >= 0, "train.seed", self.seed, "zero or more")
        for name in ("steps", "batch_size", "accumulate", "save_every", "log_every"):
            check(getattr(self, name) >= 1, f"train.{name}", getattr(self, name), "at least 1")
        check(
            self.batch_size % self.accumulate == 0,
            "train.accumulate",
            self.accumulate,
            "a divisor of train.batch_size",
        )
        check(self.lr > 0, "train.lr", self.lr, "above 0")
        check(0 <= self.momentum < 1, "train.momentum", self.momentum, "within [0, 1)")
        check(
            list(self.milestones) == sorted(self.milestones), "train.milestones", self.milestones, "in ascending order"
        )
        check(0 < self.layer_decay <= 1, "train.layer_decay", self.layer_decay, "within (0, 1]")
        check(0 <= self.ema < 1, "train.ema", self.ema, "within [0, 1)")
