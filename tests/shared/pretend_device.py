"""A device that only pretends to be one: its tensors hold their values on the CPU, but may not meet the CPU's own.

A tensor made on the wrong device does no harm until there is a GPU, and no GPU runs these tests. Torch's own fake
tensors would tell too, but have no values, which matching, merging and detections need. Importing this module changes
torch for the whole process.
"""

import traceback
from collections import Counter
from pathlib import Path

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only


class _Backend(backend_registration._DummyBackendModule):
    def get_amp_supported_dtype(self):
        return [torch.float16, torch.bfloat16]


backend_registration._setup_privateuseone_for_python_backend("pretend", _Backend())
DEVICE = torch.device("pretend:0")

aten = torch.ops.aten
BETWEEN_DEVICES = (aten._to_copy.default, aten.copy_.default)
INDEXING = (aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default)
"""They take indices from the CPU, as they do on a GPU."""

WAITING = (
    aten._local_scalar_dense.default,
    aten.nonzero.default,
    aten.masked_select.default,
    aten.bincount.default,
    aten._unique2.default,
    aten.equal.default,
)
waits: Counter[str] = Counter()
"""How often a GPU would have had to finish its work first, for numbers or sizes were asked for, or for the CPU's memory
was read, by the lines of the project that asked."""


class PretendTensor(Tensor):
    """`held` has its values."""

    @staticmethod
    def __new__(cls, held):
        layout = {"strides": held.stride(), "storage_offset": held.storage_offset(), "dtype": held.dtype}
        tensor = Tensor._make_wrapper_subclass(cls, held.size(), **layout, device=DEVICE)
        tensor.held = held
        return tensor

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return computed(function, args, kwargs or {})

    def tolist(self):
        return self.cpu().tolist()

    def numpy(self, **kwargs):
        raise TypeError("a tensor of another device: .cpu() comes first")


class PretendDevice(TorchDispatchMode):
    """While it is on, `DEVICE` works."""

    def __enter__(self):
        self._constructors = _Constructors()
        self._constructors.__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self._constructors.__exit__(*error)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return computed(function, args, kwargs or {})


class _Constructors(TorchFunctionMode):
    """Makes tensors from Python's numbers and lists, which torch does without asking a `TorchDispatchMode`."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if function in (torch.tensor, torch.as_tensor) and kwargs.get("device") is not None:
            device = kwargs.pop("device")
            return function(*args, **kwargs).to(device)
        if function is Tensor.new_tensor:
            tensor, values = args
            return torch.tensor(values, dtype=tensor.dtype).to(tensor.device)
        if function in (Tensor.__getitem__, Tensor.__setitem__):
            tensor, index, *value = args
            index = tuple(map(listless, index)) if isinstance(index, tuple) else listless(index)
            if value and not isinstance(value[0], Tensor):
                value = [torch.tensor(value[0], dtype=tensor.dtype).to(tensor.device, non_blocking=True)]
            args = tensor, index, *value
        return function(*args, **kwargs)


def listless(index):
    return torch.tensor(index, dtype=None if index else torch.long) if isinstance(index, list) else index


def count_wait(function, args, kwargs):
    if not args or not isinstance(args[0], Tensor):
        return
    there = isinstance(args[0], PretendTensor)
    goal = None if kwargs.get("device") is None else torch.device(kwargs["device"]).type
    indices = args[1] if there and function in INDEXING else ()
    if (
        (there and (function in WAITING or goal == "cpu"))
        or (not there and goal == DEVICE.type and not kwargs.get("non_blocking"))
        or any(isinstance(i, Tensor) and (i.dtype == torch.bool or not isinstance(i, PretendTensor)) for i in indices)
    ):
        waits[caller()] += 1


def caller():
    """The innermost line of the project that is at work."""
    lines = [frame for frame in traceback.extract_stack() if "pisr_core" in frame.filename]
    return f"{Path(lines[-1].filename).name}:{lines[-1].lineno}" if lines else "elsewhere"


def computed(function, args, kwargs):
    """The result, on the device of the arguments; raises `AssertionError` where they are on several."""
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    count_wait(function, args, kwargs)
    there = {id(tensor.held): tensor for tensor in tensors if isinstance(tensor, PretendTensor)}
    if there and function not in BETWEEN_DEVICES:
        indexed = function in INDEXING and isinstance(args[0], PretendTensor)
        strangers = [tensor for tensor in tensors if not isinstance(tensor, PretendTensor) and tensor.dim()]
        strangers = [tensor for tensor in strangers if tensor.is_floating_point() or not indexed]
        assert not strangers, f"{function}: {[tuple(s.shape) for s in strangers]} on the CPU, the rest is not"
    on_device = bool(there)
    if kwargs.get("device") is not None:
        on_device = torch.device(kwargs["device"]).type == DEVICE.type
        kwargs = {**kwargs, "device": torch.device("cpu")}
    elif function is aten.copy_.default:
        on_device = isinstance(args[0], PretendTensor)
    args, kwargs = tree_map_only(PretendTensor, lambda tensor: tensor.held, (args, kwargs))
    result = function(*args, **kwargs)
    if not on_device:
        return result
    # What works in place gives back the tensor itself.
    return tree_map_only(Tensor, lambda held: there[id(held)] if id(held) in there else PretendTensor(held), result)
