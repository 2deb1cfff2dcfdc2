import os
from importlib.metadata import version

import pytest
from fake_hub import TOKEN, point_to
from huggingface_hub import constants

from pisr_core.errors import CheckpointError
from pisr_core.models.queries.universal.videomt import VidEoMT
from pisr_core.weights.hub.fetching import HubName, fetch_model, needed_files, parse_hub_name
from pisr_core.weights.hub.folder import check_kind

CONFIG, PROCESSOR = b'{"model_type": "eomt"}', b"{}"
WEIGHTS = os.urandom(300_000)
FILES = {"config.json": CONFIG, "preprocessor_config.json": PROCESSOR, "model.safetensors": WEIGHTS}


def ignore(done, total):
    pass


def kept(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def downloads(fake):
    return [request.rpartition("/")[2] for request in fake.requests if request.startswith("GET /a/")]


def test_names_of_the_hub():
    assert parse_hub_name("a/b") == HubName("a/b") and parse_hub_name("a/b@v1") == HubName("a/b", "v1")
    assert str(HubName("a/b", "v1")) == "a/b@v1"
    for text in ("eomt-s-coco", "a/b/c", "/a/b", "a/b@", "./a", "a b/c", ""):
        assert parse_hub_name(text) is None


def test_fetches_what_is_needed_once_and_reports_progress(hub):
    hub.add("a/b", FILES | {"pytorch_model.bin": b"x", "README.md": b"x", "flax_model.msgpack": b"x"})
    calls = []
    folder = fetch_model(HubName("a/b"), lambda *call: calls.append(call))
    assert kept(folder) == FILES
    total = sum(map(len, FILES.values()))
    assert calls[-1] == (total, total) and calls == sorted(calls)
    assert {done for _, done in calls} == {total}
    assert fetch_model(HubName("a/b"), ignore) == folder
    assert sorted(downloads(hub)) == sorted(FILES)


def test_a_network_that_is_not_supported_is_refused_before_its_weights_are_fetched(hub):
    hub.add("a/b", FILES | {"config.json": b'{"model_type": "oneformer"}'})
    with pytest.raises(CheckpointError, match="config.json: describes a 'oneformer'; supported are"):
        fetch_model(HubName("a/b"), ignore, check_kind)
    assert downloads(hub) == ["config.json"]


def test_a_network_that_the_installed_transformers_lacks_is_refused_before_its_weights_are_fetched(hub, monkeypatch):
    monkeypatch.setattr(VidEoMT, "kinds", {"videomt": "NotThereYet"})
    hub.add("a/b", FILES | {"config.json": b'{"model_type": "videomt"}'})
    with pytest.raises(CheckpointError, match=r"config.json: transformers [\d.]+ has no NotThereYet: .* 5.4 or newer"):
        fetch_model(HubName("a/b"), ignore, check_kind)
    assert downloads(hub) == ["config.json"]


def test_revisions_are_models_of_their_own(hub):
    hub.add("a/b", FILES)
    hub.add("a/b", {"pytorch_model.bin": b"older"}, "v1")
    assert kept(fetch_model(HubName("a/b", "v1"), ignore)) == {"pytorch_model.bin": b"older"}
    assert kept(fetch_model(HubName("a/b"), ignore)) == FILES
    assert kept(fetch_model(HubName("a/b", hub.sha("a/b", "v1")), ignore)) == {"pytorch_model.bin": b"older"}
    with pytest.raises(CheckpointError, match="a/b@v2: the model has no such branch, tag or commit"):
        fetch_model(HubName("a/b", "v2"), ignore)


def test_a_broken_connection_continues_where_it_was(hub, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 50_000)
    hub.add("a/b", FILES)
    hub.breaks_after = 100_000
    if tuple(map(int, version("huggingface_hub").split(".")[:2])) < (1, 20):  # such a client goes on when called again
        with pytest.raises(CheckpointError, match="call again, which continues"):
            fetch_model(HubName("a/b"), ignore)
    folder = fetch_model(HubName("a/b"), ignore)
    assert kept(folder) == FILES
    assert hub.ranges == ["bytes=100000-"]


def test_a_server_that_goes_away_leaves_no_final_name(hub, monkeypatch):
    hub.add("a/b", FILES)
    hub.dies_after = 100_000
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    with pytest.raises(CheckpointError, match="a/b: cannot be fetched from .*call again, which continues"):
        fetch_model(HubName("a/b"), ignore)
    snapshots = os.path.join(constants.HF_HUB_CACHE, "models--a--b", "snapshots")
    assert not any("model.safetensors" in names for _, _, names in os.walk(snapshots))


def test_without_a_network_the_cache_is_taken(hub, monkeypatch):
    hub.add("a/b", FILES)
    folder = fetch_model(HubName("a/b"), ignore)
    point_to("http://127.0.0.1:9", monkeypatch)
    assert fetch_model(HubName("a/b"), ignore) == folder
    with pytest.raises(CheckpointError, match=r"a/c: cannot be fetched from http://127.0.0.1:9 \(.*refused.*the cache"):
        fetch_model(HubName("a/c"), ignore)


def test_offline_nothing_is_asked(hub, monkeypatch):
    hub.add("a/b", FILES)
    folder = fetch_model(HubName("a/b"), ignore)
    hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetch_model(HubName("a/b"), ignore) == folder
    with pytest.raises(CheckpointError, match=r"a/c: not in the cache \(.*HF_HUB_OFFLINE is set"):
        fetch_model(HubName("a/c"), ignore)
    assert hub.requests == []


def test_a_gated_model_says_where_the_licence_is(hub, monkeypatch):
    hub.add("meta/base", FILES)
    hub.gated.add("meta/base")
    with pytest.raises(CheckpointError, match=f"meta/base: the licence.*{hub.url}/meta/base.*hf auth login"):
        fetch_model(HubName("meta/base"), ignore)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert kept(fetch_model(HubName("meta/base"), ignore)) == FILES


def test_a_model_that_does_not_exist(hub):
    with pytest.raises(CheckpointError, match="no/such: no such file or folder here, and no such model on"):
        fetch_model(HubName("no/such"), ignore)


def test_which_files_are_needed():
    name = HubName("a/b")
    assert needed_files(name, ["pytorch_model.bin", "config.json", "README.md"]) == ["config.json", "pytorch_model.bin"]
    parts = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    sharded = ["config.json", "model.safetensors.index.json", *parts]
    assert needed_files(name, [*sharded, "pytorch_model.bin"]) == sharded
    film = ["config.json", "video_preprocessor_config.json", "model.safetensors"]
    assert needed_files(name, sorted(film)) == film
    with pytest.raises(CheckpointError, match="a/b has neither model.safetensors nor pytorch_model.bin"):
        needed_files(name, ["tf_model.h5"])
