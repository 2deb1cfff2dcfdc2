"""What travels between the parts: categories, panoptic maps, samples, batches and predictions."""

from typing import TYPE_CHECKING

from pisr_core.runtime.lazy import lazy_names
from pisr_core.structures.panoptic import (
    IGNORE_INDEX,
    MOST_CLASSES,
    VOID_ID,
    Category,
    PanopticResult,
    PanopticSegmentation,
    Segment,
    SegmentArrays,
    ignore_index,
    thing_ids,
)

if TYPE_CHECKING:
    from pisr_core.structures.tensors import (
        PanopticDataset,
        Sample,
        SemanticPrediction,
        TargetGenerator,
        TensorStruct,
        TrainingBatch,
        class_dtype,
    )

__all__ = [
    "class_dtype",
    "ignore_index",
    "MOST_CLASSES",
    "Category",
    "IGNORE_INDEX",
    "PanopticDataset",
    "PanopticResult",
    "PanopticSegmentation",
    "Sample",
    "Segment",
    "SegmentArrays",
    "SemanticPrediction",
    "TargetGenerator",
    "TensorStruct",
    "TrainingBatch",
    "VOID_ID",
    "thing_ids",
]

_NEED_TORCH = (
    "class_dtype",
    "PanopticDataset",
    "Sample",
    "SemanticPrediction",
    "TargetGenerator",
    "TensorStruct",
    "TrainingBatch",
)

__getattr__ = lazy_names(__name__, dict.fromkeys(_NEED_TORCH, "pisr_core.structures.tensors"))
