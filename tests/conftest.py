import os
import signal
from dataclasses import replace
from pathlib import Path

# One thread where several processes test side by side, and in those that they start; before torch starts any.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from fake_hub import FakeHub, point_to, running
from huggingface_hub import constants

from pisr_core import presets
from pisr_core.data.scenes import SCENE_CATEGORIES
from pisr_core.models import build_model

# Shells start background jobs deaf to Ctrl-C, which some tests send to themselves and to the processes they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

ORACLES = Path(os.environ.get("PISR_ORACLES", Path(__file__).parent / "golden"))


def pytest_generate_tests(metafunc):
    """`panoptic_deeplab_case`, `maskformer_case` and `parts_case` stand for every reference case of their kind."""
    for kind in ("panoptic_deeplab", "maskformer", "parts"):
        fixture = f"{kind}_case"
        if fixture in metafunc.fixturenames:
            cases = sorted(path for path in (ORACLES / kind).iterdir() if path.is_dir())
            assert cases, f"no reference cases under {ORACLES / kind}"
            metafunc.parametrize(fixture, cases, ids=[case.name for case in cases])


def pytest_runtest_setup(item):
    if item.get_closest_marker("cuda") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")


@pytest.fixture
def record_property(record_property):
    """pytest's own, for numbers of NumPy and torch too, which cannot be sent between processes."""
    return lambda name, value: record_property(name, float(value))


@pytest.fixture(autouse=True)
def _same_random_numbers_in_every_test():
    torch.manual_seed(0)


@pytest.fixture
def tiny_config():
    config = presets.load(
        "scenes-pdl-r18",
        ["backbone.pretrained=false", "data.scenes.size=[64, 96]", "data.scenes.val_images=5"],
    )
    return replace(config, data=replace(config.data, workers=0))


@pytest.fixture
def tiny_model(tiny_config):
    torch.manual_seed(0)
    return build_model(tiny_config, SCENE_CATEGORIES)


def pytest_terminal_summary(terminalreporter):
    """Shows how far each tensor of a reference case is from ours, as the tests recorded it."""
    rows = [
        (report.nodeid.split("[")[-1].rstrip("]"), name, value)
        for report in terminalreporter.stats.get("passed", []) + terminalreporter.stats.get("failed", [])
        if report.when == "call"
        for name, value in report.user_properties
    ]
    if rows:
        terminalreporter.section("largest deviation from the reference cases")
        for case, name, value in rows:
            terminalreporter.write_line(f"{case:24} {name:40} {value:.1e}")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A fake hub that the real client talks to, with caches of its own."""
    with running(FakeHub()) as fake:
        point_to(fake.url, monkeypatch)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("PISR_CACHE", str(tmp_path / "pisr-cache"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield fake
