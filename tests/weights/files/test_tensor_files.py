import pickle

import numpy as np
import pytest
import torch

from pisr_core.errors import CheckpointError
from pisr_core.weights.files.tensor_files import read_tensors
from pisr_core.weights.public.layouts import detect_layout, rename_tensors


def save(path, content):
    if path.suffix == ".pkl":
        path.write_bytes(pickle.dumps({"model": content}))
    else:
        torch.save(content, path)
    return path


def renamed(path):
    return rename_tensors(path, detect_layout(path, read_tensors(path)))


@pytest.mark.parametrize(
    "tensor",
    [
        torch.empty(3, device="meta"),
        torch.zeros(3, 3).to_sparse(),
        torch.quantize_per_tensor(torch.zeros(3), 0.1, 0, torch.qint8),
    ],
    ids=["without values", "sparse", "quantised"],
)
def test_only_plain_tensors(tmp_path, tensor):
    with pytest.raises(CheckpointError, match="a.pth: no tensors were found"):
        read_tensors(save(tmp_path / "a.pth", {"weight": tensor}))


def test_names_are_text(tmp_path):
    with pytest.raises(CheckpointError, match="a.pth: no tensors were found"):
        read_tensors(save(tmp_path / "a.pth", {5: torch.zeros(3)}))
    with pytest.raises(CheckpointError, match=r"a.pkl: no tensors were found in it, but model \(a table of 1\)"):
        read_tensors(save(tmp_path / "a.pkl", {5: np.zeros(3)}))


@pytest.mark.parametrize("array", [np.array(["a"]), np.array([None]), np.zeros(3, complex), np.zeros(3, np.longdouble)])
def test_only_numbers_that_torch_has_a_type_for(tmp_path, array):
    with pytest.raises(CheckpointError, match="a.pkl"):
        read_tensors(save(tmp_path / "a.pkl", {"weight": array}))


def test_the_order_of_bytes_does_not_matter(tmp_path):
    tensors = read_tensors(save(tmp_path / "a.pkl", {"weight": np.arange(3, dtype=">f4"), "step": np.int64(7)}))
    assert tensors["model.weight"].tolist() == [0, 1, 2] and tensors["model.step"].item() == 7


class HugeArray:
    """A pickle of a few bytes that makes NumPy reserve eight gigabytes."""

    def __reduce__(self):
        return np.ndarray, ((10**9,), np.dtype("f8"))


def test_tensors_larger_than_their_file(tmp_path):
    with pytest.raises(CheckpointError, match="a.pth: a tensor claims to be larger than the whole file"):
        read_tensors(save(tmp_path / "a.pth", {"weight": torch.zeros(1).expand(10**9)}))
    with pytest.raises(CheckpointError, match="a.pkl: no tensors were found"):
        read_tensors(save(tmp_path / "a.pkl", {"weight": HugeArray()}))


@pytest.mark.parametrize("shape", [(), (5,)])
def test_shapes_that_a_kind_of_file_cannot_have(tmp_path, shape):
    names = ("sem_seg_head.p2.0.weight", "roi_heads.mask_head.predictor.weight", "backbone.bottom_up.stem.conv1.weight")
    path = save(tmp_path / "a.pth", {name: torch.zeros(shape) for name in names})
    with pytest.raises(CheckpointError, match="a.pth: it is named as detectron2's Panoptic FPN, but"):
        renamed(path)


def test_two_names_for_one_tensor(tmp_path):
    names = ("layer1.0.conv1.weight", "layer1.0.conv1.bias")
    path = save(tmp_path / "a.pth", {name: torch.zeros(1) for name in names})
    assert len(renamed(path)) == 2
    twice = {"rpn.head.conv.weight": torch.zeros(1), "rpn.head.conv.0.0.weight": torch.zeros(1)}
    mask = {"roi_heads.mask_predictor.conv5_mask.weight": torch.zeros(1)}
    path = save(tmp_path / "b.pth", twice | mask)
    with pytest.raises(CheckpointError, match="b.pth: .* holds tensors twice"):
        renamed(path)
