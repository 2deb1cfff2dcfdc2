import pytest
import torch

from pisr_core.data.scenes import SCENE_CATEGORIES
from pisr_core.errors import ConfigError
from pisr_core.models import build_model
from pisr_core.presets import load
from pisr_core.profiling.speed import Speed, Timing, measure_speed, timed


def test_median_and_quartiles():
    assert Timing.of([5.0, 1.0, 2.0, 4.0, 3.0]) == Timing(median=3.0, low=2.0, high=4.0)
    assert Timing.of([1.0, 2.0]) == Timing(1.5, 1.25, 1.75)
    assert Timing(3.0, 2.0, 4.5).spread == 1.25


def test_images_a_second():
    forward, merging, total = (Timing(ms, ms, ms) for ms in (20.0, 5.0, 25.0))
    speed = Speed("cpu", "fp32", 4, 10, forward, merging, total, 0.0, None)
    assert (speed.fps, speed.forward_fps) == (160, 200)


@pytest.mark.parametrize(("dtype", "channels_last"), [("fp32", False), ("bf16", True)])
def test_a_model_is_timed_in_the_type_that_was_asked_for(dtype, channels_last):
    model = build_model(load("scenes-pdl-r18", ["backbone.pretrained=false"]), SCENE_CATEGORIES).train()
    seen, steps = [], []
    model.initial_heads.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    images = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8)
    speed = measure_speed(
        model, images, dtype, channels_last=channels_last, runs=3, warmup=1, progress=lambda *s: steps.append(s)
    )
    assert len(seen) == 4 and steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert seen[0].dtype == {"fp32": torch.float32, "bf16": torch.bfloat16}[dtype]
    assert seen[0].is_contiguous(memory_format=torch.channels_last) == channels_last
    assert (speed.device, speed.dtype, speed.batch, speed.runs) == ("cpu", dtype, 2, 3)
    assert 0 < speed.forward.low <= speed.forward.median <= speed.forward.high < speed.total.high
    assert 0 < speed.merging.median < speed.total.median
    assert speed.fps == pytest.approx(2000 / speed.total.median)
    assert model.training


def test_segments_of_a_model_that_finds_one_everywhere():
    model = build_model(load("scenes-pdl-r18", ["backbone.pretrained=false"]), SCENE_CATEGORIES)
    stuff = next(index for index, category in enumerate(SCENE_CATEGORIES) if not category.isthing)
    torch.nn.init.zeros_(model.final_heads.semantic[-1].weight)
    torch.nn.init.constant_(model.final_heads.semantic[-1].bias[stuff : stuff + 1], 9.0)
    images = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    assert measure_speed(model, images, runs=2, warmup=0).segments == 1


@pytest.mark.parametrize(("dtype", "message"), [("fp16", "bf16"), ("int8", "choose one of fp32, fp16, bf16")])
def test_types_that_the_device_lacks(dtype, message):
    model = build_model(load("scenes-pdl-r18", ["backbone.pretrained=false"]), SCENE_CATEGORIES)
    with pytest.raises(ConfigError, match=message):
        measure_speed(model, torch.zeros(1, 3, 64, 64), dtype)


def test_a_gpu_is_timed_by_events_on_its_own_stream(monkeypatch):
    happened = []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def synchronize(self):
            happened.append("wait")

        def elapsed_time(self, end):
            assert end is not self
            return 12.5

    class Stream:
        def record_event(self, event):
            happened.append("record")
            return event

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: happened.append(device) or Stream())
    device = torch.device("cuda:1")
    assert timed(lambda: happened.append("work") or "result", device) == (12.5, "result")
    assert happened == [device, "record", "work", "record", "wait"]
