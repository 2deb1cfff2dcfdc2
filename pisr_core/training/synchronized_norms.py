"""Batch norms whose statistics are those of all processes together, on the GPU and on the CPU."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from timm.layers import BatchNormAct2d, convert_sync_batchnorm
from torch import Tensor, distributed, nn


def synchronize_norms(model: nn.Module, device: torch.device) -> nn.Module:
    """The model with its batch norms replaced by synchronised ones; parameters, buffers and names stay.

    Frozen norms stay what they are.
    """
    if device.type != "cpu":
        return convert_sync_batchnorm(model)  # timm's; torch's would drop the activations of timm's fused norms
    for module in model.modules():
        if type(module) in ON_CPU:
            module.__class__ = ON_CPU[type(module)]
    return model


class _SumOverProcesses(torch.autograd.Function):
    """The sum of a tensor over all processes. Its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total


class SyncBatchNormOnCPU(nn.BatchNorm2d):
    """Written by hand, for torch's has no kernels for the CPU."""

    def forward(self, input: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Normalised by the statistics of all processes in training, by the running ones else."""
        if not self.training:
            return nn.BatchNorm2d.forward(self, input)
        x = input.float()
        count = x.new_tensor([x.numel() / x.shape[1]])
        sums = _SumOverProcesses.apply(torch.cat((x.sum(dim=(0, 2, 3)), count)))
        total = sums[-1].detach()
        mean = sums[:-1] / total
        centered = x - mean[:, None, None]
        variance = _SumOverProcesses.apply(centered.square().sum(dim=(0, 2, 3))) / total
        self._track(mean.detach(), variance.detach() * total / (total - 1))
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centered * scale[:, None, None] + self.bias[:, None, None]).to(input.dtype)

    def _track(self, mean: Float[Tensor, " c"], unbiased_variance: Float[Tensor, " c"]) -> None:
        """Moves the running statistics on."""
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        assert self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(unbiased_variance, self.momentum)
        self.num_batches_tracked.add_(1)


class SyncBatchNormActOnCPU(SyncBatchNormOnCPU, BatchNormAct2d):
    """Timm's fused norm and activation."""

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """The activation of what is normalised."""
        return self.act(self.drop(super().forward(x)))


ON_CPU: dict[type[nn.Module], type[nn.Module]] = {
    nn.BatchNorm2d: SyncBatchNormOnCPU,
    BatchNormAct2d: SyncBatchNormActOnCPU,
}
