"""The two kinds of files: how a graph becomes bytes, and how the bytes run."""

from __future__ import annotations

import io
import json
import logging
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped, UInt8
from torch.export import ExportedProgram

from pisr_core.errors import ConfigError, ExportError
from pisr_core.exporting.tracing import INPUT, for_onnx

METADATA_KEY = "pisr"
"""Where the metadata lies: an entry of ONNX's `metadata_props`, an extra file of `torch.export`'s archive."""

Runner = Callable[[UInt8[np.ndarray, "b 3 H W"]], list[Shaped[np.ndarray, "*_"]]]


class Format(ABC):
    """A kind of file."""

    suffix: str

    @abstractmethod
    def serialize(self, program: ExportedProgram, outputs: tuple[str, ...], metadata: Mapping[str, Any]) -> bytes:
        """The file's content."""

    @abstractmethod
    def runner(self, content: bytes) -> Runner:
        """Runs a file's content on images and gives its outputs."""


class OnnxFormat(Format):
    """ONNX, checked in ONNX Runtime."""

    suffix = ".onnx"

    def __init__(self) -> None:
        try:
            import onnx  # noqa: F401
            import onnxruntime
            import onnxscript  # noqa: F401
        except ModuleNotFoundError as error:
            raise ConfigError(f"ONNX needs {error.name}, which is not installed: pip install '.[export]'") from None
        self.runtime = onnxruntime

    def serialize(self, program: ExportedProgram, outputs: tuple[str, ...], metadata: Mapping[str, Any]) -> bytes:
        """The file's content.

        Raises:
            ExportError: ONNX lacks an operation, or the model is beyond the 2 GB that one file can hold.
        """
        try:
            with _quiet():
                exported = torch.onnx.export(
                    for_onnx(program), (), dynamo=True, verbose=False, input_names=[INPUT], output_names=list(outputs)
                )
        except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
            raise ExportError(f"not all of this model can be expressed in ONNX: {error}") from error
        assert exported is not None  # only the older exporter gives None
        exported.model.metadata_props[METADATA_KEY] = json.dumps(metadata)
        try:
            return exported.model_proto.SerializeToString()
        except ValueError as error:
            raise ExportError(f"{error}: one ONNX file holds 2 GB. Use --format torch.") from error

    def runner(self, content: bytes) -> Runner:
        """A session of ONNX Runtime on the CPU."""
        session = self.runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
        return lambda images: session.run(None, {INPUT: images})


class TorchFormat(Format):
    """The archive of `torch.export`."""

    suffix = ".pt2"

    def serialize(self, program: ExportedProgram, outputs: tuple[str, ...], metadata: Mapping[str, Any]) -> bytes:
        """The file's content; the graph's result is a dictionary, so the outputs have their names."""
        buffer = io.BytesIO()
        torch.export.save(program, buffer, extra_files={METADATA_KEY: json.dumps(metadata)})
        return buffer.getvalue()

    def runner(self, content: bytes) -> Runner:
        """The archive's own module."""
        module = torch.export.load(io.BytesIO(content)).module()

        @torch.no_grad()
        def run(images: UInt8[np.ndarray, "b 3 H W"]) -> list[Shaped[np.ndarray, "*_"]]:
            return [values.numpy() for values in module(torch.from_numpy(images)).values()]

        return run


FORMATS: dict[str, type[Format]] = {"onnx": OnnxFormat, "torch": TorchFormat}
"""By the name on the command line."""


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences what the exporter says to its own developers."""
    loggers = [logging.getLogger(name) for name in ("onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
