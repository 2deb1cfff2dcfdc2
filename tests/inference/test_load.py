import os
import resource
from dataclasses import replace

import pytest
import torch

from pisr_core.config import DeepLabConfig
from pisr_core.data.scenes import SCENE_CATEGORIES
from pisr_core.errors import CheckpointError, ConfigError
from pisr_core.inference.load import load_model, newest_checkpoint
from pisr_core.runtime.devices.device import choose_device, warn_of_emulation
from pisr_core.weights.files.checkpoint import save_checkpoint


def test_a_loaded_model_predicts_the_same(tmp_path, tiny_config, tiny_model):
    path = tmp_path / "best.safetensors"
    save_checkpoint(path, tiny_model.state_dict(), tiny_config, SCENE_CATEGORIES, {})
    loaded = load_model(path, torch.device("cpu"))
    image = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    with torch.inference_mode():
        expected, found = tiny_model.eval()(image).final, loaded(image).final
    torch.testing.assert_close(found.semantic.logits, expected.semantic.logits, rtol=0, atol=0)
    torch.testing.assert_close(found.offset, expected.offset, rtol=0, atol=0)
    assert loaded.categories == SCENE_CATEGORIES and not loaded.training


def test_weights_that_do_not_fit_are_refused(tmp_path, tiny_config, tiny_model):
    path = tmp_path / "best.safetensors"
    state = dict(list(tiny_model.state_dict().items())[1:])
    save_checkpoint(path, state, tiny_config, SCENE_CATEGORIES, {})
    with pytest.raises(CheckpointError, match="best.safetensors.*do not fit"):
        load_model(path, torch.device("cpu"))


def test_weights_that_are_no_numbers_are_refused(tmp_path, tiny_config, tiny_model):
    state = tiny_model.state_dict()
    name = "backbone.body.conv1.weight"
    state[name] = torch.full_like(state[name], float("nan"))
    save_checkpoint(tmp_path / "a.safetensors", state, tiny_config, SCENE_CATEGORIES, {})
    with pytest.raises(CheckpointError, match=f"a.safetensors: 1 of its tensors hold .*{name}"):
        load_model(tmp_path / "a.safetensors", torch.device("cpu"))


def test_a_file_that_describes_a_huge_model_is_refused_before_it_is_built(tmp_path, tiny_config, tiny_model):
    """Its widest convolution alone would take 340 GB."""
    huge = replace(tiny_config, deeplab=DeepLabConfig(aspp_channels=4096, depthwise_separable=False))
    save_checkpoint(tmp_path / "a.safetensors", tiny_model.state_dict(), huge, SCENE_CATEGORIES, {})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match="a.safetensors: its weights do not fit its config: .* of another shape"):
        load_model(tmp_path / "a.safetensors", torch.device("cpu"))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kB


def touch(path, seconds):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.utime(path, (seconds, seconds))
    return path


def test_the_newest_run_is_found_and_its_best_preferred(tmp_path):
    touch(tmp_path / "a/best.safetensors", 100)
    best = touch(tmp_path / "b/best.safetensors", 200)
    touch(tmp_path / "b/last.safetensors", 300)
    assert newest_checkpoint(tmp_path) == best
    last = touch(tmp_path / "c/last.safetensors", 250)
    assert newest_checkpoint(tmp_path) == last


def test_no_run_is_an_error_with_a_cure(tmp_path):
    with pytest.raises(CheckpointError, match="--checkpoint"):
        newest_checkpoint(tmp_path)


def test_devices():
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device().type in ("cpu", "cuda", "mps")
    for name in ("cuda:99", "gpu", ""):
        with pytest.raises(ConfigError, match="choose one of .*cpu"):
            choose_device(name)


@pytest.mark.parametrize(
    ("device", "precision", "capability", "warned"),
    [
        ("cpu", "bf16", "AVX2", True),
        ("cpu", "bf16", "AVX512", False),
        ("cpu", "no", "AVX2", False),
        ("cuda", "bf16", "AVX2", False),
    ],
)
def test_low_precision_that_is_slow_is_warned_of(device, precision, capability, warned, monkeypatch, caplog):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    warn_of_emulation(torch.device(device), precision)
    assert ("precision 'no'" in caplog.text) == warned
