import os

import pytest
import torch

from pisr_core.data.scenes import SCENE_CATEGORIES
from pisr_core.engine.device import choose_device
from pisr_core.engine.inference import load_model, newest_checkpoint
from pisr_core.errors import CheckpointError, ConfigError
from pisr_core.weights.checkpoint import save_checkpoint


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
