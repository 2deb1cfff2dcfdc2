"""Pickles read as data: containers, numbers, arrays and tensors. Of any other object nothing but its name is kept.

A pickle is a small program that calls what it names. Here every name stands for a harmless part of this file, so that
no code of torch, NumPy or of a file's own classes runs, whatever the file holds.
"""

from __future__ import annotations

import pickle
import re
from io import BufferedIOBase
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor


class Foreign:
    """Stands for an object of any class that is not read: its name, and what the pickle says of its inside.

    Attributes:
        kind: the class or function by its full name.
        state: its attributes, where the pickle lists them.
    """

    kind: ClassVar[str] = "object"
    state: Any = None

    def __new__(cls, *_: Any, **__: Any) -> Foreign:
        """Takes any arguments, which are dropped."""
        return super().__new__(cls)

    def __call__(self, *_: Any, **__: Any) -> Foreign:
        """Stands for its own result."""
        return self

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None: ...

    def append(self, item: Any) -> None:
        """Of a list's child: dropped."""

    add = extend = append


class Table(dict[Any, Any]):
    """Stands for the standard library's dictionaries."""

    __slots__ = ()

    def __init__(self, pairs: Any = (), *_: Any) -> None:
        super().__init__(pairs if isinstance(pairs, list | tuple) else ())

    def __setstate__(self, state: Any) -> None:
        """Drops the attributes, such as the version numbers that a `state_dict` has."""


class Storage:
    """The numbers of one or several tensors of torch.

    Attributes:
        dtype: of the numbers.
        buffer: their bytes, as soon as the file's reader has found them.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.buffer = memoryview(b"")


class StoredTensor:
    """A tensor of torch: where in a storage its numbers are."""

    def __init__(self, storage: Storage, dtype: torch.dtype, offset: int, shape: Any, strides: Any) -> None:
        self.storage = storage
        self.dtype = dtype
        self.offset, self.shape, self.strides = offset, tuple(shape), tuple(strides)

    def tensor(self) -> Tensor:
        """The tensor, in the file's own memory where it lies so that it can be read fast."""
        if 0 in self.shape:
            return torch.empty(self.shape, dtype=self.dtype)
        count = len(self.storage.buffer) // self.dtype.itemsize
        numbers = torch.frombuffer(self.storage.buffer, dtype=self.dtype, count=count)
        tensor = numbers.as_strided(self.shape, self.strides, self.offset)
        return tensor if tensor.data_ptr() % self.dtype.itemsize == 0 else tensor.clone()


class Array:
    """An array of NumPy. Its own class would believe whatever shape and type a file claims for some bytes.

    Attributes:
        values: `None` where there are none, or no numbers.
    """

    def __init__(self, *_: Any) -> None:
        self.values: np.ndarray | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, number, is_fortran, raw = state
        self.values = _array(raw, number, shape, "F" if is_fortran else "C").values

    def tensor(self) -> Tensor | None:
        """A copy, which may be written to, in this machine's order of bytes."""
        values = self.values
        return None if values is None else torch.from_numpy(np.array(values, values.dtype.newbyteorder("=")))


class _Number:
    """A type of NumPy."""

    def __init__(self, code: Any = "", *_: Any) -> None:
        self.code = code
        self.order = "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]

    def resolve(self) -> np.dtype[Any] | None:
        """NumPy's own type of a number; of all others none."""
        is_number = isinstance(self.code, str) and re.fullmatch("[biuf][1248]", self.code) and self.order in ("<>=|")
        return np.dtype(self.order + self.code) if is_number else None


def _array(raw: Any, number: Any, shape: Any, order: Literal["C", "F"]) -> Array:
    array = Array()
    dtype = number.resolve() if isinstance(number, _Number) else None
    if isinstance(raw, str):
        raw = raw.encode("latin1")  # Python 2's bytes
    if dtype is not None and isinstance(raw, bytes | bytearray):
        array.values = np.frombuffer(bytes(raw), dtype).reshape(shape, order=order)
    return array


def _scalar(number: Any, raw: Any = b"") -> Array:
    return _array(raw, number, (), "C")


def _tensor(storage: Any, offset: int, shape: Any, strides: Any, *_: Any) -> StoredTensor | Foreign:
    return _typed_tensor(storage, offset, shape, strides, False, None, getattr(storage, "dtype", None))


def _typed_tensor(
    storage: Any, offset: int, shape: Any, strides: Any, _grad: Any, _hooks: Any, dtype: Any, *_: Any
) -> StoredTensor | Foreign:
    known = isinstance(storage, Storage) and isinstance(dtype, torch.dtype)
    return StoredTensor(storage, dtype, offset, shape, strides) if known else Foreign()


def _parameter(tensor: Any, *_: Any) -> Any:
    return tensor


def _tensor_with_attributes(rebuild: Any, _kind: Any, arguments: Any, _attributes: Any) -> Any:
    return rebuild(*arguments) if rebuild in (_tensor, _typed_tensor) else Foreign()


def _reconstructed(kind: Any, *_: Any) -> Any:
    """An object as the oldest protocols write it."""
    return kind() if isinstance(kind, type) and issubclass(kind, Foreign) else Foreign()


def _latin1_bytes(text: str, encoding: str) -> bytes:
    """What protocol 2 writes for the bytes of an array."""
    return text.encode("latin1")


_STORED = {
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
    "ComplexFloat": torch.complex64,
    "ComplexDouble": torch.complex128,
    "QInt8": torch.qint8,
    "QUInt8": torch.quint8,
    "QInt32": torch.qint32,
}
"""What torch's kinds of storages hold."""

_TYPES = ("float8_e4m3fn", "float8_e5m2", "uint16", "uint32", "uint64", *(str(t)[6:] for t in _STORED.values()))

_KNOWN: dict[str, Any] = {
    "collections.OrderedDict": Table,
    "collections.defaultdict": Table,
    "copyreg._reconstructor": _reconstructed,
    "copy_reg._reconstructor": _reconstructed,
    "_codecs.encode": _latin1_bytes,
    "numpy.ndarray": Array,
    "numpy.dtype": _Number,
    "numpy.core.multiarray._reconstruct": Array,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy.core.numeric._frombuffer": _array,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _typed_tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _tensor_with_attributes,
    "torch.storage.UntypedStorage": torch.uint8,
    **{f"torch.{name}Storage": dtype for name, dtype in _STORED.items()},
    **{f"torch.{name}": getattr(torch, name) for name in _TYPES},
}
"""All that a pickle can name and get more than a `Foreign` for."""


class DataUnpickler(pickle.Unpickler):
    """Reads a pickle of torch, NumPy or Python as data.

    Args:
        file: at the pickle's beginning; afterwards behind its end.

    Attributes:
        storages: those that its tensors lie in, by the file's keys; whoever reads the file fills them.
        foreign: names of the classes and functions that were not read.
    """

    def __init__(self, file: BufferedIOBase) -> None:
        super().__init__(file, encoding="latin1")  # for Python 2's arrays
        self.storages: dict[str, Storage] = {}
        self.foreign: set[str] = set()

    def find_class(self, module: str, name: str) -> Any:
        """What stands for a class or a function."""
        full = f"{module}.{name}".replace("numpy._core.", "numpy.core.")  # NumPy 2 renamed it; files have either name
        if full in _KNOWN:
            return _KNOWN[full]
        self.foreign.add(full)
        return type("Foreign", (Foreign,), {"kind": full})

    def persistent_load(self, pid: Any) -> Any:
        """What stands for a storage, or for a module's class with its source: torch keeps both outside the pickle."""
        kind, dtype, key, *views = pid
        if kind == "module":
            return dtype  # the class
        _, _, *views = views  # where it was, and how many numbers
        if not isinstance(dtype, torch.dtype):
            return Foreign()
        storage = self.storages.setdefault(key, Storage(dtype))
        return Foreign() if any(views) else storage
