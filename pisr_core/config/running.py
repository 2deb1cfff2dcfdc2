"""Settings of the data and of a training run."""

from __future__ import annotations

from dataclasses import dataclass

from pisr_core.config.checks import check, check_choice, check_counts


@dataclass(frozen=True)
class ScenesConfig:
    """The built-in dataset.

    Attributes:
        difficulty: a name of `pisr_core.data.scenes.DIFFICULTIES`.
        size: (height, width) of an image in pixels.
        train_images: number of different training scenes.
        val_images: number of held-out scenes.
    """

    difficulty: str = "default"
    size: tuple[int, int] = (128, 128)
    train_images: int = 100_000
    val_images: int = 200


@dataclass(frozen=True)
class DataConfig:
    """What is read and how it is augmented.

    Attributes:
        dataset: a name of `pisr_core.data.DATASETS`.
        scenes: settings of the built-in dataset.
        crop: (height, width) of a training crop, pixels.
        short_side: lengths in pixels to which the short side of a training image is scaled, one by chance;
            empty for the image's own size.
        max_long_side: limit of the long side after scaling, pixels; 0 for none.
        scale: (low, high), a factor by chance on top of that.
        flip: probability of a mirror image.
        color: strength of the brightness, contrast, saturation and hue jitter, 0 for none.
        eval_short_side: length of the short side at evaluation, 0 for the image's own size.
        eval_max_long_side: limit of the long side at evaluation, 0 for none.
        workers: loading processes, -1 for one less than the cores.
    """

    dataset: str = "custom"
    scenes: ScenesConfig = ScenesConfig()
    crop: tuple[int, int] = (512, 512)
    short_side: tuple[int, ...] = ()
    max_long_side: int = 0
    scale: tuple[float, float] = (1.0, 1.0)
    flip: float = 0.5
    color: float = 0.0
    eval_short_side: int = 0
    eval_max_long_side: int = 0
    workers: int = -1

    def __post_init__(self) -> None:
        check_counts(self, "data", ("crop", "short_side"), least=16, most=65_536)
        check(0 < self.scale[0] <= self.scale[1], "data.scale", self.scale, "[low, high], 0 < low <= high")
        check(0 <= self.flip <= 1, "data.flip", self.flip, "a probability")
        check(self.color >= 0, "data.color", self.color, "at least 0")
        check(self.workers >= -1, "data.workers", self.workers, "at least 0, or -1 for one less than the cores")


@dataclass(frozen=True)
class TrainConfig:
    """The run.

    Attributes:
        steps: optimiser steps.
        batch_size: images a step, over all processes and accumulated micro-batches together.
        accumulate: micro-batches a step.
        optimizer: `adam`, `adamw` or `sgd`.
        momentum: of `sgd`.
        lr: peak learning rate.
        backbone_lr_factor: factor on it for the backbone.
        weight_decay: of weights, not of biases and norms.
        schedule: `poly`, `cosine`, `multistep` or `constant`.
        poly_power: exponent of `poly`.
        milestones: steps at which `multistep` divides the rate by ten.
        warmup_steps: linear warm-up from zero.
        clip_norm: limit of the gradients' norm, 0 for none.
        precision: `no`, `fp16` or `bf16` autocast.
        checkpointing: compute activations once more in the backward pass, in place of keeping them: less memory, more
            time, the same numbers up to rounding.
        compile: pass the forward pass of the steps through `torch.compile`; the first step then takes minutes.
        ema: decay of the averaged weights, 0 for none; they are what is evaluated and saved as best.
        eval_every: steps between evaluations, 0 for the end only.
        eval_images: images of the validation split used during training, 0 for all.
        save_every: steps between resumable states.
        log_every: steps between lines of the log.
        seed: of the initial weights, the data order and the augmentation.
    """

    steps: int = 90_000
    batch_size: int = 32
    accumulate: int = 1
    optimizer: str = "adam"
    momentum: float = 0.9
    lr: float = 1e-3
    backbone_lr_factor: float = 1.0
    weight_decay: float = 0.0
    schedule: str = "poly"
    poly_power: float = 0.9
    milestones: tuple[int, ...] = ()
    warmup_steps: int = 1000
    clip_norm: float = 0.0
    precision: str = "no"
    checkpointing: bool = False
    compile: bool = False
    ema: float = 0.0
    eval_every: int = 5000
    eval_images: int = 0
    save_every: int = 1000
    log_every: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice("train.optimizer", self.optimizer, ("adam", "adamw", "sgd"))
        check_choice("train.schedule", self.schedule, ("poly", "cosine", "multistep", "constant"))
        check_choice("train.precision", self.precision, ("no", "fp16", "bf16"))
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
        check(0 <= self.ema < 1, "train.ema", self.ema, "within [0, 1)")
