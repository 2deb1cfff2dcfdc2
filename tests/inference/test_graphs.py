import logging
from dataclasses import dataclass

import torch

from pisr_core.inference.graphs import EAGER_CALLS, MOST_GRAPHS, GraphedForward, Recording, map_tensors


@dataclass
class Output:
    doubled: torch.Tensor
    others: dict[str, tuple[torch.Tensor | None, ...]]


def forward(images):
    return Output(2 * images, {"both": (images + 1, None)})


class Recorder:
    """Replays as a graph does: into the same tensors."""

    def __init__(self):
        self.recorded, self.replayed = [], 0

    def __call__(self, forward, images):
        self.recorded.append(tuple(images.shape))
        images = images.clone()
        output = forward(images)

        def replay():
            self.replayed += 1
            output.doubled.copy_(2 * images)
            output.others["both"][0].copy_(images + 1)

        return Recording((images,), output, replay)


def test_sizes_that_come_again_are_replayed_with_the_images_of_each_call():
    recorder = Recorder()
    graphed = GraphedForward(forward, recorder)
    outputs = [(value, graphed(torch.full((1, 3, 4, 4), value))) for value in map(float, range(6))]
    graphed(torch.zeros(1, 3, 8, 8))
    assert recorder.recorded == [(1, 3, 4, 4)] and recorder.replayed == 6 - EAGER_CALLS
    for value, output in outputs:  # none of them was overwritten by those that followed
        assert (output.doubled == 2 * value).all() and (output.others["both"][0] == value + 1).all()
        assert output.others["both"][1] is None


def test_each_input_of_a_replay_is_that_of_its_call():
    def add(images, memory):
        return images + memory

    def record(forward, *inputs):
        inputs = tuple(map(torch.clone, inputs))
        output = forward(*inputs)
        return Recording(inputs, output, lambda: output.copy_(forward(*inputs)))

    graphed = GraphedForward(add, record)
    for value in range(EAGER_CALLS + 3):
        assert graphed(torch.full((1, 3, 4, 4), value), torch.tensor(10 * value)).eq(11 * value).all()


def test_only_so_many_sizes_are_recorded():
    recorder = Recorder()
    graphed = GraphedForward(forward, recorder)
    for size in range(4, 4 + 2 * MOST_GRAPHS):
        for _ in range(EAGER_CALLS + 1):
            assert graphed(torch.ones(1, 3, size, size)).doubled.shape[-1] == size
    assert len(recorder.recorded) == MOST_GRAPHS


def test_where_recording_fails_the_eager_way_goes_on(caplog):
    def fails(forward, images):
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    graphed = GraphedForward(forward, fails)
    with caplog.at_level(logging.WARNING, "pisr_core"):
        for _ in range(EAGER_CALLS + 3):
            assert (graphed(torch.ones(1, 3, 4, 4)).doubled == 2).all()
    (record,) = caplog.records
    assert "CUDA graphs do not work here (operation not permitted when stream is capturing)" in record.message


def test_tensors_are_mapped_wherever_they_lie():
    one = torch.ones(2)
    mapped = map_tensors(Output(one, {"a": (one, None)}), lambda tensor: tensor + 1)
    assert (mapped.doubled == 2).all() and (mapped.others["a"][0] == 2).all() and mapped.others["a"][1] is None
