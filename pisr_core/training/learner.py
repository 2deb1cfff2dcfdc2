"""A model with its optimiser, schedule and averaged weights, moved on one step at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import compress
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from pisr_core.config import TrainConfig
from pisr_core.models.compiling import Compilation
from pisr_core.structures import TrainingBatch
from pisr_core.training.checkpointing import checkpoint_activations
from pisr_core.training.optimization import build_optimizer, build_scheduler
from pisr_core.training.synchronized_norms import synchronize_norms


class Learner:
    """Everything that a training step changes.

    Args:
        model: has `losses(output, targets)` and `begin_step(progress)`; it is moved to the accelerator's device.
        config: the run.
        accelerator: brings device, precision and processes.

    Attributes:
        model: the model itself, without the wrappers of several processes.
        average: the exponential moving average of its weights and buffers, `None` when `ema` is 0.
        gradient_norm: of the last step, before it was clipped. Zero in fp16, where the scaler leaves out a step whose
            gradient is not finite.
    """

    def __init__(self, model: nn.Module, config: TrainConfig, accelerator: Accelerator) -> None:
        if accelerator.num_processes > 1:
            model = synchronize_norms(model, accelerator.device)
        self.config = config
        self.accelerator = accelerator
        # Convolutions are fastest in this layout, on the CPU as on the GPU.
        self.model = model.to(accelerator.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if accelerator.num_processes > 1:
            _match_strides(self.model)
        # Before the model is changed in place: its copy is evaluated only.
        self.average = _average(self.model) if config.ema else None
        if config.checkpointing != "none":
            checkpoint_activations(self.model, config.checkpointing)
        self._compilation = Compilation(self.model.parts_to_compile()) if config.compile else None
        self.optimizer = build_optimizer(self.model, config)
        self.scheduler = build_scheduler(self.optimizer, config)
        self._forward, self._update = accelerator.prepare(self.model, self.optimizer)
        self.gradient_norm = 0.0

    @property
    def evaluated(self) -> Any:
        """The model to evaluate and keep: the averaged one where there is one."""
        return self.average.module if self.average else self.model

    @property
    def lr(self) -> float:
        """Learning rate of the next step, the highest of all groups."""
        return max(float(lr) for lr in self.scheduler.get_last_lr())

    def step(self, step: int, batches: Sequence[TrainingBatch]) -> dict[str, float]:
        """One optimiser step.

        All its randomness follows from the seed, the step, the micro-batch and the process, so that a
        resumed run draws the same numbers as an uninterrupted one.

        Args:
            step: its number, from 1.
            batches: its micro-batches, `accumulate` of them.

        Returns:
            The weighted loss terms of this process, averaged over the micro-batches. Where one of them or
            `gradient_norm` is not finite, neither are the weights from now on.
        """
        self.model.begin_step((step - 1) / self.config.steps)
        if self._compilation is None:
            losses = self._gradients(step, batches)
        else:
            losses = self._compilation.run(lambda: self._gradients(step, batches))
        norm = self._descend()
        *means, self.gradient_norm = torch.stack(
            [*losses.values(), norm]
        ).tolist()  # the step's only wait for the device
        return dict(zip(losses, means, strict=True))

    def _gradients(self, step: int, batches: Sequence[TrainingBatch]) -> dict[str, Tensor]:
        """Sets the gradients to those of all micro-batches. Returns the means of the loss terms."""
        self._update.zero_grad()  # there are some only where compiling failed on the way
        all_losses = []
        for number, batch in enumerate(batches, start=1):
            torch.manual_seed(random_seed(self.config.seed, step, number, self.accelerator.process_index))
            all_losses.append(self._backward(batch.to(self.accelerator.device), last=number == self.config.accumulate))
        return {name: torch.stack([losses[name].detach() for losses in all_losses]).mean() for name in all_losses[0]}

    def _backward(self, batch: TrainingBatch, last: bool) -> Mapping[str, Tensor]:
        """Adds a micro-batch's gradients; processes exchange them with the last one of the step."""
        with nullcontext() if last else self.accelerator.no_sync(self._forward):
            images = batch.images.contiguous(memory_format=torch.channels_last)
            with self.accelerator.autocast():
                losses = self.model.losses(self._forward(images), batch.targets)
            loss = torch.stack(list(losses.values())).sum()
            self.accelerator.backward(loss / self.config.accumulate)
        return losses

    def _descend(self) -> Tensor:
        """Moves the weights along the gradients, and the schedule and the average after them.

        Returns:
            `gradient_norm`.
        """
        if self.config.clip_norm:
            norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        else:
            norm = nn.utils.get_total_norm([p.grad for p in self.model.parameters() if p.grad is not None])
        self._update.step()
        self._update.zero_grad()
        self.scheduler.step()
        if self.average:
            move_average(self.average, self.model, self.config.ema)
        return torch.zeros_like(norm) if self.accelerator.scaler else norm

    def evaluating(self) -> AbstractContextManager[Any]:
        """For evaluations while training: `train.compile` is for its steps, else each of their sizes was compiled."""
        return nullcontext() if self._compilation is None else torch.compiler.set_stance("force_eager")

    def state_dict(self) -> dict[str, Any]:
        """All that the next steps depend on."""
        scaler = self.accelerator.scaler
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "average": self.average.state_dict() if self.average else None,
            "scaler": scaler.state_dict() if scaler else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from what `state_dict` of a learner with the same config gave."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        if self.average:
            self.average.load_state_dict(state["average"])
        if self.accelerator.scaler and state["scaler"]:
            self.accelerator.scaler.load_state_dict(state["scaler"])


def random_seed(*key: int) -> int:
    """A seed within 64 bits that follows from several numbers."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])


def _match_strides(model: nn.Module) -> None:
    """Has gradients of 1x1 kernels take the strides of their weights, of which two layouts are the same in memory.

    Torch's distributed training else warns, and copies each of them in every step.
    """
    for weight in model.parameters():
        if weight.requires_grad and weight.ndim == 4 and weight.shape[2:] == (1, 1):
            weight.register_hook(partial(_strided_as, weight))


def _strided_as(weight: Tensor, gradient: Tensor) -> Tensor:
    alike = gradient.stride()[:2] == weight.stride()[:2]
    return gradient.as_strided(weight.shape, weight.stride()) if alike else gradient


def _average(model: nn.Module) -> AveragedModel:
    return AveragedModel(model, use_buffers=True).eval()


@torch.no_grad()
def move_average(average: AveragedModel, model: nn.Module, decay: float) -> None:
    """One step of the exponential moving average; the first one takes the model's weights as they are.

    Torch's own step sends its count to the device, and waits for it; and it rounds what is no floating-point number.

    Args:
        average: weights and buffers of the model, and the count of the steps.
        model: the model after its step.
        decay: what stays of the average.
    """
    ours, theirs = ([*part.parameters(), *part.buffers()] for part in (average.module, model))
    continuous = [tensor.is_floating_point() for tensor in ours]
    if average.n_averaged:
        torch._foreach_lerp_(list(compress(ours, continuous)), list(compress(theirs, continuous)), 1 - decay)
    for own, new, averaged in zip(ours, theirs, continuous, strict=True):
        if not (averaged and average.n_averaged):
            own.copy_(new)
    average.n_averaged += 1
