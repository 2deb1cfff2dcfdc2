"""Training, evaluation, norms and losses on a whole batch, or on a process's part of it."""

import torch
from timm.layers import BatchNormAct2d
from torch import nn

from pisr_core import presets
from pisr_core.config import MaskFormerConfig
from pisr_core.data import build_dataset
from pisr_core.models import build_model
from pisr_core.models.boxes.losses import semantic_cross_entropy
from pisr_core.models.center_offset.losses import center_mse, offset_l1
from pisr_core.models.queries.maskformer.losses import mask_losses
from pisr_core.models.queries.structures import MaskPrediction, MaskTargets
from pisr_core.training.train import train as run_training

SETTINGS = (
    "data.scenes.size=[64,64]",
    "data.scenes.val_images=7",  # three batches of two and one: two processes cannot share them evenly
    "data.crop=[64,64]",
    "data.workers=0",
    "loss.hard_pixel_share=1.0",  # else each process mines in its own part of the batch
    "train.steps=3",
    "train.batch_size=4",
    "train.optimizer=sgd",  # Adam's first steps turn rounding errors into whole steps
    "train.lr=0.001",
    "train.warmup_steps=0",
    "train.log_every=1",
)


def model_and_set():
    config = presets.load("scenes-pdl-r18", [*SETTINGS])
    torch.manual_seed(1)
    dataset = build_dataset(config.data, "val", None)
    return build_model(config, dataset.categories), dataset, config


def train(out):
    run_training(presets.load("scenes-pdl-r18", [*SETTINGS]), None, out, device="cpu")


def norm_results(synchronize=lambda module: module, part=0, parts=1):
    """Of a norm and a norm with activation: what belongs to images, what parts add up to, what all have alike."""
    torch.manual_seed(2)
    images, wanted = 3 * torch.randn(4, 6, 5, 5) + 1, torch.randn(4, 6, 5, 5)
    share = slice(part * 4 // parts, (part + 1) * 4 // parts)
    results = []
    for kind in (nn.BatchNorm2d, BatchNormAct2d):
        module = synchronize(nn.Sequential(nn.Conv2d(6, 6, 1), kind(6)))
        own, norm = images[share].clone().requires_grad_(), module[1]
        output = module(own)
        (output * wanted[share]).sum().backward()
        of_images = [output.detach(), own.grad, module.eval()(own).detach()]
        alike = [norm.running_mean, norm.running_var, norm.num_batches_tracked]
        results.append({"images": of_images, "sums": [norm.weight.grad, norm.bias.grad], "alike": alike})
    return results


def losses(part=0, parts=1):
    """The losses of a part of a batch whose images differ in what counts in them."""
    torch.manual_seed(3)
    share = slice(part * 2 // parts, (part + 1) * 2 // parts)
    weight = torch.zeros(2, 1, 8, 8)
    weight[0, :, :6], weight[1, :, 0, :3] = 1, 1
    heatmap, offset, logits = torch.rand(2, 1, 8, 8), torch.randn(2, 2, 8, 8), torch.randn(2, 3, 2, 2)
    labels = torch.randint(0, 3, (2, 8, 8)).masked_fill(weight[:, 0] == 0, 255)
    zero = torch.zeros(2, 2, 8, 8)
    prediction = MaskPrediction(torch.randn(2, 5, 4)[share], torch.randn(2, 5, 8, 8)[share])
    masks = (torch.rand(3, 8, 8) > 0.5, torch.rand(1, 8, 8) > 0.5)
    targets = MaskTargets((torch.tensor([0, 1, 2]), torch.tensor([1]))[share], masks[share])
    (matched,) = mask_losses([prediction], targets, MaskFormerConfig())
    return {
        "center": center_mse(heatmap[share], zero[share, :1], weight[share]),
        "offset": offset_l1(offset[share], zero[share], weight[share]),
        "semantic": semantic_cross_entropy(logits[share], labels[share]),
        **matched,
    }
