import json
import resource
import struct
from contextlib import contextmanager

import pytest
import torch
from flipped_bits import flip_bit
from safetensors import safe_open
from safetensors.torch import save_file

from pisr_core.config import Config, DataConfig, TrainConfig
from pisr_core.errors import CheckpointError, OutputError
from pisr_core.structures import Category
from pisr_core.weights.files.checkpoint import read_checkpoint, save_checkpoint

CONFIG = Config(name="own", data=DataConfig(crop=(32, 48), short_side=(40, 50)), train=TrainConfig(lr=0.5))
CATEGORIES = (Category(3, "sky", False, (1, 2, 3)), Category(7, "Pferd · 馬", True, (9, 8, 7), "animal"))


def save(path, **tensors):
    state = tensors or {"a.weight": torch.arange(6.0).view(2, 3), "n": torch.tensor(5)}
    save_checkpoint(path, state, CONFIG, CATEGORIES, {"step": 12, "pq": 33.25})


@contextmanager
def small_files(limit):
    """No file may grow beyond `limit` bytes, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_round_trip(tmp_path):
    path = tmp_path / "run" / "best.safetensors"
    save(path)
    checkpoint = read_checkpoint(path)
    assert checkpoint.config == CONFIG
    assert checkpoint.categories == CATEGORIES
    assert checkpoint.info == {"step": 12, "pq": 33.25}
    assert torch.equal(checkpoint.state["a.weight"], torch.arange(6.0).view(2, 3))
    assert checkpoint.state["n"].dtype == torch.int64 and checkpoint.state["n"].item() == 5


def test_whole_config_travels_in_the_metadata(tmp_path):
    save(tmp_path / "w.safetensors")
    with safe_open(tmp_path / "w.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["pisr"])["config"]["train"]["lr"] == 0.5


def test_shared_transposed_and_half_tensors(tmp_path):
    weight = torch.randn(3, 4)
    save(tmp_path / "w.safetensors", a=weight, b=weight, t=weight.T, h=weight.half())
    state = read_checkpoint(tmp_path / "w.safetensors").state
    assert torch.equal(state["a"], weight) and torch.equal(state["b"], weight)
    assert torch.equal(state["t"], weight.T) and torch.equal(state["h"], weight.half())


def test_full_disk_leaves_the_old_file(tmp_path):
    path = tmp_path / "w.safetensors"
    save(path)
    before = path.read_bytes()
    with (
        small_files(100_000),
        pytest.raises(OutputError, match=r"w\.safetensors: cannot be written.*Let files grow larger"),
    ):
        save(path, big=torch.zeros(100_000))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        save(tmp_path / "file" / "w.safetensors")


def test_missing(tmp_path):
    with pytest.raises(CheckpointError, match=r"none\.safetensors: no such file"):
        read_checkpoint(tmp_path / "none.safetensors")


def test_folder(tmp_path):
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_truncated(tmp_path, kept):
    path = tmp_path / "w.safetensors"
    save(path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=r"w\.safetensors: not a whole safetensors file.*copy it again"):
        read_checkpoint(path)


def test_pickle_is_not_read(tmp_path):
    torch.save({"a": torch.zeros(3)}, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match=r"a file of another program .*`pisr weights import .*w\.safetensors"):
        read_checkpoint(tmp_path / "w.safetensors")


@pytest.mark.parametrize("legacy", [False, True])
def test_a_foreign_file_is_told_from_a_damaged_one(tmp_path, legacy):
    torch.save({"a": torch.zeros(3)}, tmp_path / "w.pth", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match=r"another program .*`pisr weights import .*w\.pth --preset"):
        read_checkpoint(tmp_path / "w.pth")


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"pisr": "[]"}, {"pisr": '{"format": 999}'}])
def test_foreign(tmp_path, metadata):
    save_file({"a": torch.zeros(3)}, tmp_path / "w.safetensors", metadata=metadata)
    with pytest.raises(CheckpointError, match="did not write"):
        read_checkpoint(tmp_path / "w.safetensors")


GOOD = {"format": 1, "config": {}, "categories": [], "info": {}}


def save_header(path, text):
    save_file({"a": torch.zeros(3)}, path, metadata={"pisr": text})


@pytest.mark.parametrize("damage", [{"categories": [{}]}, {"categories": None}, {"info": "no"}])
def test_damaged_metadata(tmp_path, damage):
    save_header(tmp_path / "w.safetensors", json.dumps({**GOOD, **damage}))
    with pytest.raises(CheckpointError, match="metadata is damaged"):
        read_checkpoint(tmp_path / "w.safetensors")


def test_broken_json(tmp_path):
    save_header(tmp_path / "w.safetensors", json.dumps(GOOD)[:-3])
    with pytest.raises(CheckpointError, match="metadata is damaged"):
        read_checkpoint(tmp_path / "w.safetensors")


def test_no_flipped_bit_goes_unnoticed(tmp_path):
    path = tmp_path / "w.safetensors"
    save(path)
    written, content = read_checkpoint(path), path.read_bytes()
    for place in range(0, len(content), 61):
        path.write_bytes(content)
        flip_bit(path, place, bit=place % 8)
        try:
            read = read_checkpoint(path)
        except CheckpointError:
            continue
        assert (read.config, read.categories, read.info) == (written.config, written.categories, written.info), place
        assert all(torch.equal(read.state[name], tensor) for name, tensor in written.state.items()), place


def test_a_changed_number_is_named_with_its_cure(tmp_path):
    path = tmp_path / "w.safetensors"
    save(path)
    flip_bit(path, len(path.read_bytes()) - 3)
    with pytest.raises(CheckpointError, match=r"w\.safetensors: its content is not what was written.*Copy it again"):
        read_checkpoint(path)


def test_a_former_file_without_a_digest_is_read(tmp_path):
    save_header(tmp_path / "w.safetensors", json.dumps(GOOD))
    assert read_checkpoint(tmp_path / "w.safetensors").state["a"].tolist() == [0, 0, 0]


def test_config_of_another_version(tmp_path):
    save_header(tmp_path / "w.safetensors", json.dumps({**GOOD, "config": {"future": 1}}))
    with pytest.raises(CheckpointError, match=r"w\.safetensors: unknown setting future"):
        read_checkpoint(tmp_path / "w.safetensors")


def test_equal_contents_make_equal_files(tmp_path):
    save(tmp_path / "a.safetensors")
    save(tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


@pytest.mark.parametrize(
    "category",
    [
        {"id": "1"},
        {"id": 1, "name": 5, "isthing": 1, "color": [0, 0, 0], "supercategory": ""},
        {"id": 1, "name": "car", "isthing": "yes", "color": [0, 0, 0], "supercategory": ""},
        {"id": 1, "name": "car", "isthing": 1, "color": [0, 0, 999], "supercategory": ""},
        [],
    ],
)
def test_classes_are_checked_as_those_of_a_dataset(tmp_path, category):
    path = tmp_path / "a.safetensors"
    save(path)
    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()["pisr"])
    del header["digest"]
    save_header(path, json.dumps(header | {"categories": [category]}))
    with pytest.raises(CheckpointError, match="a.safetensors: its metadata is damaged"):
        read_checkpoint(path)


def test_deep_metadata(tmp_path):
    save_header(tmp_path / "a.safetensors", "[" * 100_000 + "]" * 100_000)
    with pytest.raises(CheckpointError, match="a.safetensors: its metadata is damaged"):
        read_checkpoint(tmp_path / "a.safetensors")


def test_a_header_that_claims_more_than_the_file_holds(tmp_path):
    path = tmp_path / "a.safetensors"
    for length in (2**63, 10**8 + 1, 1000):
        path.write_bytes(struct.pack("<Q", length) + b"{}")
        with pytest.raises(CheckpointError, match="a.safetensors: not a whole safetensors file"):
            read_checkpoint(path)
    header = json.dumps({"a": {"dtype": "F32", "shape": [10**6, 10**6], "data_offsets": [0, 4 * 10**12]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(64))
    with pytest.raises(CheckpointError, match="a.safetensors: not a whole safetensors file"):
        read_checkpoint(path)
