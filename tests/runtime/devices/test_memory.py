import pytest
import torch

from pisr_core.runtime.devices import memory as module
from pisr_core.runtime.devices.memory import PeakMemory, TrainingMemory, TrainingMeter

CPU = torch.device("cpu")


def test_peak_memory_sees_what_was_freed_again():
    memory = PeakMemory(CPU)
    if memory.bytes() is None:
        pytest.skip("only Linux tells the peak of a process")
    torch.ones(64 * 2**20, dtype=torch.uint8)
    assert 60 * 2**20 < memory.bytes() < 200 * 2**20
    assert memory.now() < 30 * 2**20
    kept = torch.ones(64 * 2**20, dtype=torch.uint8)
    assert memory.now() > 60 * 2**20 and kept.sum() == 64 * 2**20


class Scripted:
    """Stands for `PeakMemory`, with numbers of its own."""

    peaks, held = [500, 900, 950, 1000], [100, 150, 160]

    def __init__(self, _):
        self._peaks, self._held = iter(self.peaks), iter(self.held)

    def bytes(self):
        return next(self._peaks)

    def now(self):
        return next(self._held)


def test_an_image_takes_what_the_second_step_adds(monkeypatch):
    monkeypatch.setattr(module, "PeakMemory", Scripted)
    meter = TrainingMeter(CPU, images=4)
    meter.step_done()
    meter.step_done()
    meter.step_done()  # an evaluation may have raised the peak: it no longer counts
    assert meter.result() == TrainingMemory(peak=1000, image=(900 - 100) // 4)
    one = TrainingMeter(CPU, images=4)
    assert one.result() is None
    one = TrainingMeter(CPU, images=4)
    one.step_done()
    assert one.result() == TrainingMemory(peak=900, image=None)


def test_nobody_knows(monkeypatch):
    monkeypatch.setattr(Scripted, "peaks", [None] * 4)
    monkeypatch.setattr(module, "PeakMemory", Scripted)
    meter = TrainingMeter(CPU, images=4)
    meter.step_done()
    meter.step_done()
    assert meter.result() is None


def test_memory_is_what_the_machine_and_the_container_leave(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CONTROL_GROUPS", [(tmp_path, "max", "used")])
    machine = module.available_memory()
    (tmp_path / "used").write_text("300\n")
    (tmp_path / "max").write_text("max\n")
    assert machine is None or 0.5 * machine < module.available_memory() < 2 * machine
    (tmp_path / "max").write_text("1000\n")
    assert module.available_memory() == 700
