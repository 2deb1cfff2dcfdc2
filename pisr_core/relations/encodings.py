"""Initial panoptic encodings (Sec. 3.2, Fig. 3a): one vector for each semantic class and each instance."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from jaxtyping import Float
from torch import Tensor


def panoptic_encodings(
    semantic: Float[Tensor, "b n h w"],
    instances: Float[Tensor, "b k h w"],
    features: Float[Tensor, "b c h w"],
    normalization: str = "mass",
) -> tuple[Float[Tensor, "b n+k c"], Float[Tensor, "b n+k"]]:
    """E_pan, the rows of E_sem = S Fᵀ above those of E_ins = I Fᵀ, and each map's mass.

    The sums run over up to hundreds of thousands of cells, so they are taken in float32 outside autocast.

    Args:
        semantic: S, probabilities.
        instances: I in [0, 1]; an absent instance's map is zero and so is its encoding.
        features: F.
        normalization: what the sums are divided by: `mass`, each map's sum but at least one cell, which gives
            mean features and leaves maps that are nearly empty small; or `area`, h·w.

    Returns:
        The encodings, and the masses in cells.
    """
    accurate = torch.promote_types(semantic.dtype, torch.float32)
    with _outside_autocast(features.device.type):
        maps = torch.cat((semantic.to(accurate), instances.to(accurate)), dim=1).flatten(2)
        sums = maps @ features.to(maps.dtype).flatten(2).transpose(1, 2)
        mass = maps.sum(dim=2)
        divisor = mass.clamp(min=1).unsqueeze(2) if normalization == "mass" else float(maps.shape[2])
        return sums / divisor, mass


def _outside_autocast(device: str) -> AbstractContextManager[None]:
    """Switches autocast off; the meta device has none."""
    # Not `torch.amp.is_autocast_available`, which breaks compiled graphs (seen with torch 2.11).
    return nullcontext() if device == "meta" else torch.autocast(device, enabled=False)
