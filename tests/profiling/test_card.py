from types import SimpleNamespace

import pytest
import torch

from pisr_core.profiling import card
from pisr_core.profiling.card import look_at_card

CUDA = torch.device("cuda:0")


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    """Torch's words about a GPU: its highest clock, and whatever a test sets."""
    monkeypatch.setattr(card, "DRIVER", tmp_path / "version")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(clock_rate=1_980_000))

    def set_up(clock, processes):
        monkeypatch.setattr(torch.cuda, "clock_rate", clock)
        monkeypatch.setattr(torch.cuda, "list_gpu_processes", processes)

    return set_up


def listed(*processes):
    lines = [f"process {process:>10} uses     1234.000 MB GPU memory" for process in processes]
    return "\n".join(["GPU:0", *(lines or ["no processes are running"])])


def test_a_card_of_its_own_at_full_clock_gives_no_warning(gpu):
    gpu(lambda device: 1755, lambda device: listed(77))
    card.DRIVER.write_text("580.95.05\n")
    found = look_at_card(CUDA, own_process=77)
    assert found.driver == "580.95.05" and torch.__version__ in found.torch and found.warnings == ()


def test_throttled_and_shared_cards_are_named(gpu):
    gpu(lambda device: 900, lambda device: listed(77, 78, 4000))
    throttled, shared = look_at_card(CUDA, own_process=77).warnings
    assert "900 of 1980 MHz" in throttled and shared.endswith("78, 4000")


def test_nothing_is_said_where_nothing_is_known(gpu):
    def missing(device):
        raise ModuleNotFoundError("pynvml")

    gpu(missing, missing)
    found = look_at_card(CUDA, own_process=77)
    assert found.warnings == () and found.driver is None
    gpu(missing, lambda device: "pynvml module not found, please install nvidia-ml-py")
    assert look_at_card(CUDA, own_process=77).warnings == ()
    assert look_at_card(torch.device("cpu"), own_process=77) is None
