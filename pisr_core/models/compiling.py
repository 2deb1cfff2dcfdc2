"""`torch.compile` for models, and what is done where it does not work."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Literal, TypeVar

import torch
from torch import nn

log = logging.getLogger(__name__)

Result = TypeVar("Result")


class Compilation:
    """Compiles modules in place when they are first called in `run`, anew for each size of images.

    Args:
        parts: the names of their parameters stay.
        mode: see `torch.compile`.
    """

    def __init__(self, parts: Iterable[nn.Module], mode: str = "default") -> None:
        self._stance: Literal["default", "force_eager"] = "default"
        for part in parts:
            part.compile(dynamic=False, mode=mode)

    def run(self, work: Callable[[], Result]) -> Result:
        """Some work with them. If compiling fails, it is done again without, and so is all that follows.

        The first failure is logged.
        """
        try:
            with torch.compiler.set_stance(self._stance):
                return work()
        except Exception as error:
            if self._stance == "force_eager" or not _of_compiler(error):
                raise
            reason = " ".join(str(error).split("\n\n")[0].split())
            log.warning("torch.compile does not work here (%s); going on without it.", reason)
            self._stance = "force_eager"
        with torch.compiler.set_stance(self._stance):
            return work()


def _of_compiler(error: Exception) -> bool:
    return type(error).__module__.startswith(("torch._dynamo", "torch._inductor"))
