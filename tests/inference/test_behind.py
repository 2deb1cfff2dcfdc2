import threading

import pytest
import torch

from pisr_core.inference import behind
from pisr_core.inference.behind import finished_behind


class Work:
    """Begins and finishes numbers, and notes when, and in which thread, each was."""

    def __init__(self, fails_at=None):
        self.fails_at, self.log, self.threads, self.may_finish = fails_at, [], set(), threading.Event()
        self.may_finish.set()

    def begun(self, count):
        for number in range(count):
            self.log.append(("begin", number))
            yield lambda number=number: self.finish(number)

    def finish(self, number):
        assert self.may_finish.wait(10)
        assert torch.is_inference_mode_enabled()
        if number == self.fails_at:
            raise ValueError("broken")
        self.log.append(("finish", number))
        self.threads.add(threading.current_thread())
        return 10 * number


class FakeStream:
    """In place of a GPU's stream, for which nothing has to wait."""

    def __init__(self, device):
        self.device = device

    def after_all_so_far(self, function):
        return function


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(behind, "SideStream", FakeStream)
    return torch.device("cuda")


def test_on_the_cpu_one_after_another():
    work = Work()
    assert list(finished_behind(work.begun(3), torch.device("cpu"))) == [0, 10, 20]
    assert work.log == [(what, number) for number in range(3) for what in ("begin", "finish")]
    assert work.threads == {threading.current_thread()}
    assert not torch.is_inference_mode_enabled()


def test_on_a_gpu_the_next_is_begun_while_one_is_finished(gpu):
    work = Work()
    work.may_finish.clear()
    results = finished_behind(work.begun(4), gpu)
    first = []
    taking = threading.Thread(target=lambda: first.append(next(results)))
    taking.start()
    while len(work.log) < 2:
        taking.join(0.01)
    assert work.log == [("begin", 0), ("begin", 1)]  # and no more: the outputs of two are held
    work.may_finish.set()
    taking.join()
    assert first + list(results) == [0, 10, 20, 30]
    assert [number for what, number in work.log if what == "finish"] == [0, 1, 2, 3]
    assert len(work.threads) == 1
    assert threading.current_thread() not in work.threads


def test_an_error_comes_when_its_result_is_due(gpu):
    results = finished_behind(Work(fails_at=1).begun(3), gpu)
    assert next(results) == 0
    with pytest.raises(ValueError, match="broken"):
        next(results)


@pytest.mark.cuda
def test_on_a_real_gpu_a_call_sees_what_was_begun():
    device = torch.device("cuda")

    def begun():
        for number in range(20):
            values = torch.full((512, 512), 1e-3 * number, device=device)
            for _ in range(30):
                values = values @ values.new_ones(512, 512) / 512
            yield lambda values=values: values.mean().cpu().item()

    results = list(finished_behind(begun(), device))
    assert results == pytest.approx([1e-3 * number for number in range(20)], rel=1e-3)
