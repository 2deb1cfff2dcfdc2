"""How fast a run goes, and what it says when it waits for images."""

import json
import re
import time
from dataclasses import replace
from itertools import islice

import pytest
from tiny_training import CONFIG, run, tiny_parts

import pisr_core.training.pace as pace_module
from pisr_core.training import loop
from pisr_core.training.listeners import TrainListener
from pisr_core.training.pace import WINDOW, Pace, waiting_advice


def test_images_are_counted_over_reading_and_computing():
    pace = Pace(images=8)
    pace.add(waited=1.0, computed=1.0)
    pace.add(waited=0.0, computed=2.0)
    assert pace.images_per_second == 4.0 and pace.waiting == 0.25


def test_only_the_last_steps_count():
    pace = Pace(images=1)
    pace.add(100.0, 0.0)
    for _ in range(WINDOW):
        pace.add(0.0, 0.5)
    assert pace.images_per_second == 2.0 and pace.waiting == 0.0


@pytest.mark.parametrize(("waited", "told"), [(0.2, False), (0.5, True)])
def test_long_waits_are_told_once_and_the_first_step_is_not_judged(waited, told):
    pace = Pace(images=1)
    said = []
    for step in range(3 * WINDOW):
        pace.add(100.0 if step == 0 else waited, 1.0)
        said.append(pace.waits_too_long())
    assert said.index(True) == WINDOW if told else True not in said
    assert sum(said) == told


def test_the_advice_names_the_cores_that_are_left():
    assert re.search(r"40% .*data.workers = 2.*cores for 7.*data.workers=7 --resume", waiting_advice(0.4, 2, 7))
    assert re.search(r"No core is left", waiting_advice(0.4, 7, 7))


def test_a_run_that_waits_for_its_images_says_so(tmp_path, monkeypatch):
    said = []

    class Listener(TrainListener):
        def on_message(self, text):
            said.append(text)

    def slowly(batches, count):
        time.sleep(0.5)
        return islice(batches, count)

    monkeypatch.setattr(loop, "islice", slowly)
    monkeypatch.setattr(pace_module, "WINDOW", 1)
    with tiny_parts():
        run(tmp_path / "run", replace(CONFIG, train=replace(CONFIG.train, steps=3)), listeners=[Listener()])
    assert len([text for text in said if "of the time is spent waiting for images" in text]) == 1
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "waiting" in line]
    assert steps and all(line["waiting"] > 0.25 and line["images_per_second"] < 8 for line in steps)
