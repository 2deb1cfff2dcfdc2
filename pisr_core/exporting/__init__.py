"""Models for other runtimes: `torch.export` and ONNX."""

from pisr_core.exporting.export import ExportReport, ExportRequest, default_size, export_model

__all__ = ["ExportReport", "ExportRequest", "default_size", "export_model"]
