import runpy
from pathlib import Path

import pytest

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "comparing_instances.py"))


def test_instances_alone_do_not_tell_and_a_relation_does():
    assert SCRIPT["learned"]("alone", 0, 0.0, [100]) == [pytest.approx(0.5, abs=0.05)]
    assert SCRIPT["learned"]("softmax", 0, 0.0, [200])[0] > 0.65


def test_look_alikes_decide_by_shape_and_colour():
    pictures = SCRIPT["Pictures"](0.0)
    encodings, shapes, answers = pictures.draw(50)
    deciding = shapes < SCRIPT["SHAPES"]
    for rows, answer, decides in zip(encodings, answers, deciding, strict=True):
        equal = ((rows[:, None] - rows).abs().amax(dim=2) < 1e-5).sum(dim=1) > 1
        assert decides.sum() == 8 and answer.sum() == 4
        assert (equal == (answer > 0))[decides].all()
