"""Checkpoints as people have them, and pickles that would harm a reader that trusts them."""

import argparse
import os
import pickle
from collections import OrderedDict, defaultdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from pisr_core.errors import CheckpointError
from pisr_core.weights.files.tensor_files import read_network, read_tensors
from pisr_core.weights.public.layouts import detect_layout


def small_network():
    """Named like the beginning of a ResNet."""
    torch.manual_seed(0)
    block = nn.Sequential(OrderedDict(conv1=nn.Conv2d(2, 3, 1), bn1=nn.BatchNorm2d(3)))
    return nn.Sequential(OrderedDict(conv1=nn.Conv2d(3, 2, 1), layer1=nn.Sequential(block)))


def optimizer_of(network):
    optimizer = torch.optim.Adam(network.parameters())
    sum(parameter.sum() for parameter in network.parameters()).backward()
    optimizer.step()
    return optimizer


NETWORK = small_network()
OPTIMIZER = optimizer_of(NETWORK)
STATE = NETWORK.state_dict()
OTHER = {name: tensor + 1 for name, tensor in STATE.items()}
ARGUMENTS = argparse.Namespace(lr=0.1, data=Path("/data"), nested=argparse.Namespace(a=1))


def behind(prefix, state=STATE):
    return OrderedDict((prefix + name, tensor) for name, tensor in state.items())


AS_PEOPLE_HAVE_THEM = {
    "distributed": (behind("module."), "module."),
    "compiled": (behind("_orig_mod."), "_orig_mod."),
    "wrapped": (behind("model."), "model."),
    "averaged": (behind("ema."), "ema."),
    "of a detector": (behind("backbone."), "backbone."),
    "several": (behind("module._orig_mod.model.backbone."), "module._orig_mod.model.backbone."),
    "model_ema": ({"model_ema": STATE, "model": OTHER, "epoch": 3}, "model_ema."),
    "ema": ({"model": OTHER, "ema": {"module": STATE, "updates": 7}}, "ema.module."),
    "ema_state_dict": ({"state_dict": OTHER, "ema_state_dict": STATE}, "ema_state_dict."),
    "teacher": ({"student": behind("module.", OTHER), "teacher": behind("backbone.")}, "teacher.backbone."),
    "network": ({"network": STATE}, "network."),
    "arguments": ({"model": STATE, "args": ARGUMENTS, "epoch": 3}, "model."),
    "optimiser": ({"state_dict": STATE, "optimizer": OPTIMIZER.state_dict()}, "state_dict."),
    "optimiser by name": ({"optim": {"state": behind("", OTHER)}, "net": STATE}, "net."),
    "optimiser object": ({"model": STATE, "optimizer": OPTIMIZER}, "model."),
    "numpy": ({"model": STATE, "best": np.float64(0.5), "when": np.str_("now"), "x": np.arange(3)}, "model."),
    "lightning": ({"state_dict": behind("model."), "hyper_parameters": ARGUMENTS}, "state_dict.model."),
    "whole module": ({"ema": NETWORK, "date": "today"}, "ema."),
    "other dictionaries": (defaultdict(list, model=dict(STATE), log=SimpleNamespace(a={1, 2})), "model."),
    "parameters": ({name: nn.Parameter(t, False) for name, t in STATE.items() if "num" not in name}, ""),
}


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("name", AS_PEOPLE_HAVE_THEM)
def test_weights_are_found_wherever_they_lie(tmp_path, name, legacy):
    content, prefix = AS_PEOPLE_HAVE_THEM[name]
    path = tmp_path / "w.ckpt"
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    found = detect_layout(path, read_tensors(path))
    assert found.prefix == prefix and found.source == "torchvision's or timm's ImageNet ResNet"
    wanted = {n: t for n, t in STATE.items() if name != "parameters" or "num" not in n}
    assert found.tensors.keys() == wanted.keys()
    assert all(torch.equal(found.tensors[n], t) and found.tensors[n].dtype == t.dtype for n, t in wanted.items())
    assert not any(n.startswith(prefix) for n in found.elsewhere) or not prefix


@pytest.mark.parametrize("name", sorted(AS_PEOPLE_HAVE_THEM.keys() - {"network", "optimiser by name"}))
def test_a_network_of_any_kind_is_unwrapped_too(tmp_path, name):
    content, _ = AS_PEOPLE_HAVE_THEM[name]
    torch.save(content, tmp_path / "w.pth")
    read = read_network(tmp_path / "w.pth")
    assert all(torch.equal(read[n], t) for n, t in STATE.items() if name != "parameters" or "num" not in n)


TENSORS = {
    "transposed": torch.arange(6.0).view(2, 3).T,
    "part of a larger one": torch.arange(10)[3:7:2],
    "half": torch.randn(3).half(),
    "bfloat16": torch.randn(3).bfloat16(),
    "float8": torch.randn(4).to(torch.float8_e4m3fn),
    "uint16": torch.tensor([1, 65535], dtype=torch.uint16),
    "truth": torch.tensor([True, False]),
    "a number": torch.tensor(3.5),
    "nothing": torch.zeros(0, 3),
}


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_every_kind_of_tensor_is_the_same_as_with_torch(tmp_path, legacy):
    shared = torch.randn(5)
    tensors = TENSORS | {"shared": shared, "again": shared[1:]}
    torch.save(tensors, tmp_path / "w.pth", _use_new_zipfile_serialization=not legacy)
    read = read_tensors(tmp_path / "w.pth")
    assert list(read) == list(tensors)
    for name, tensor in tensors.items():
        assert read[name].dtype == tensor.dtype and torch.equal(read[name].float(), tensor.float()), name


def test_arrays_come_back_whatever_the_protocol(tmp_path):
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.array(7), "s": np.float64(0.5)}
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        path = tmp_path / "model.pkl"
        path.write_bytes(pickle.dumps({"model": arrays, "args": ARGUMENTS}, protocol=protocol))
        tensors = read_tensors(path)
        assert {k: v.tolist() for k, v in tensors.items()} == {f"model.{k}": v.tolist() for k, v in arrays.items()}
        assert tensors["model.a"].dtype == torch.float32


def test_what_is_found_in_place_of_tensors_is_named(tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"args": ARGUMENTS, "scores": [1.0], "log": {"a": 1, "b": 2}}, path)
    with pytest.raises(CheckpointError) as error:
        read_tensors(path)
    assert str(error.value) == (
        f"{path}: no tensors were found in it, but args (argparse.Namespace), scores (list), log (a table of 2); "
        "objects that are not read: argparse.Namespace, pathlib.PosixPath. Save the model's state_dict()."
    )


class Call:
    """Calls what it is told to when a trusting reader loads it."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_nothing_is_executed(tmp_path, protocol):
    owned = str(tmp_path / "owned")
    attacks = (
        Call(os.mkdir, owned),
        Call(exec, f"import os; os.mkdir({owned!r})"),
        Call(getattr, Call(__import__, "os"), "mkdir"),
        Call(Call, Call(os.mkdir, owned)),
    )
    path = tmp_path / "w.pkl"
    path.write_bytes(pickle.dumps({"a": attacks, "model": {"w": np.ones(1)}}, protocol=protocol))
    assert list(read_tensors(path)) == ["model.w"]
    assert not Path(owned).exists()


def test_tables_within_themselves_end(tmp_path):
    table = {"w": torch.ones(1)}
    table["again"] = table
    for _ in range(60):
        table = {"one": table, "two": table}
    torch.save(table, tmp_path / "w.pth")
    assert [name.rpartition(".")[2] for name in read_tensors(tmp_path / "w.pth")] == ["w"]


def test_a_tensor_beyond_its_storage_is_refused(tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"w": torch.arange(4.0)}, path)
    content = path.read_bytes()
    claim = content.replace(b"K\x00K\x04\x85", b"K\x01K\x04\x85")  # begins at the second of four numbers
    assert claim != content
    path.write_bytes(claim)
    with pytest.raises(CheckpointError, match=r"w\.pth: not a readable file"):
        read_tensors(path)


def test_truncated_files(tmp_path):
    path = tmp_path / "w.pth"
    for legacy in (False, True):
        torch.save({"w": torch.arange(1000.0)}, path, _use_new_zipfile_serialization=not legacy)
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(CheckpointError, match=r"w\.pth: not a readable file"):
            read_tensors(path)
