"""What else tells of a GPU's speed: its driver, its clock, and who shares it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

DRIVER = Path("/sys/module/nvidia/version")

LEAST_CLOCK = 0.8
"""Share of the highest clock below which a busy card is taken for throttled."""


@dataclass(frozen=True)
class Card:
    """A GPU at the end of a measurement.

    Attributes:
        driver: its version, `None` where nobody tells.
        torch: the version, with that of CUDA.
        warnings: why the measurement may not be what the card can do.
    """

    driver: str | None
    torch: str
    warnings: tuple[str, ...]


def look_at_card(device: torch.device, own_process: int) -> Card | None:
    """What can be known of a GPU while it is still warm from work; `None` of other devices.

    Args:
        device: that was measured.
        own_process: the id of the process that measured.
    """
    if device.type != "cuda":
        return None
    driver = DRIVER.read_text().strip() if DRIVER.is_file() else None
    found = (_throttled(device), _shared(device, own_process))
    return Card(driver, f"{torch.__version__} (CUDA {torch.version.cuda})", tuple(filter(None, found)))


def _throttled(device: torch.device) -> str | None:
    highest = getattr(torch.cuda.get_device_properties(device), "clock_rate", 0) / 1000
    try:
        clock = torch.cuda.clock_rate(device)
    except Exception:  # without pynvml, or where the system hides it: nothing is known, and nothing said
        return None
    if not highest or clock >= LEAST_CLOCK * highest:
        return None
    return f"the card's clock is at {clock} of {highest:.0f} MHz: it is throttled (heat, power or a limit that was set)"


def _shared(device: torch.device, own_process: int) -> str | None:
    try:
        lines = torch.cuda.list_gpu_processes(device).splitlines()
    except Exception:  # as above
        return None
    others = [line.split()[1] for line in lines if line.split()[:1] == ["process"]]
    others = [process for process in others if process != str(own_process)]
    return f"other processes use the card: {', '.join(others)}" if others else None
