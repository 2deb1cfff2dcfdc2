"""W&B's part of a run, with a stand-in for its package."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import tiny_training

from pisr_core.errors import ConfigError
from pisr_core.training.listeners import TrainListener
from pisr_core.training.wandb_listener import RUN_ID, WandbListener


class Killed(Exception):
    """Ends a run between two saves."""


class KilledAt(TrainListener):
    def __init__(self, step):
        self.step = step

    def on_step(self, record):
        if record.step == self.step:
            raise Killed


class Package:
    """Notes what W&B is told."""

    Error = type("Error", (Exception,), {})
    Settings = SimpleNamespace

    def __init__(self):
        self.runs = []

    def init(self, **options):
        run = SimpleNamespace(options=options, logged=[], metrics={}, exit_code=None)
        run.log = run.logged.append
        run.define_metric = lambda name, **how: run.metrics.update({name: how})
        run.finish = lambda exit_code: setattr(run, "exit_code", exit_code)
        self.runs.append(run)
        return run


@pytest.fixture
def wandb(monkeypatch):
    package = Package()
    monkeypatch.setitem(sys.modules, "wandb", package)
    return package


@pytest.fixture(autouse=True)
def parts():
    with tiny_training.tiny_parts():
        yield


def test_a_run_and_its_continuation_are_one_run_of_wandb(wandb, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(Killed):
        tiny_training.run(out, listeners=[WandbListener("cells"), KilledAt(6)])
    tiny_training.run(out, resume=True, listeners=[WandbListener("cells", silent=True)])
    first, second = wandb.runs
    assert first.options["id"] == second.options["id"] and first.options["resume"] == "allow"
    assert first.options["project"] == "cells" and first.options["name"] == "run"
    assert first.options["dir"] == str(out) and first.options["config"]["train"]["steps"] == 8
    assert (first.options["settings"].silent, second.options["settings"].silent) == (False, True)
    assert (first.exit_code, second.exit_code) == (1, 0)
    assert first.metrics == {"step": {}, "*": {"step_metric": "step"}}
    steps = [[values["step"] for values in run.logged if "loss" in values] for run in wandb.runs]
    assert steps == [[1, 2, 3, 4, 5, 6], [5, 6, 7, 8]]  # saved at 4, so that 5 and 6 are made again
    assert [values["step"] for values in second.logged if "panoptic/all/pq" in values] == [6, 8]
    lines = {line["step"]: line for line in tiny_training.metrics(out) if "loss" in line}
    for values in second.logged:
        if "loss" in values:
            assert values["loss"] == lines[values["step"]]["loss"]
            assert values["loss"] == pytest.approx(sum(v for k, v in values.items() if k.startswith("loss/")))


def test_log_every_is_kept_and_another_run_has_another_id(wandb, tmp_path):
    config = replace(tiny_training.CONFIG, train=replace(tiny_training.TRAIN, log_every=3))
    for name in ("a", "b"):
        tiny_training.run(tmp_path / name, config, listeners=[WandbListener("cells")])
    first, second = wandb.runs
    assert first.options["id"] != second.options["id"]
    assert [values["step"] for values in first.logged if "loss" in values] == [3, 6]


def test_a_refusal_of_wandb_is_one_message(wandb, tmp_path, monkeypatch):
    def refuse(**_):
        raise wandb.Error("No API key configured.")

    monkeypatch.setattr(wandb, "init", refuse)
    with pytest.raises(ConfigError, match=r"--wandb: No API key configured\..*WANDB_MODE=offline"):
        tiny_training.run(tmp_path / "run", listeners=[WandbListener("cells")])


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match="the package wandb is missing.*pip install '..wandb.'"):
        WandbListener("cells")


def test_a_damaged_id_is_replaced(wandb, tmp_path):
    out = tmp_path / "run"
    tiny_training.run(out, listeners=[WandbListener("cells")])
    (out / RUN_ID).write_bytes(b"\xff../x")
    tiny_training.run(out, resume=True, listeners=[WandbListener("cells")])
    ids = [run.options["id"] for run in wandb.runs]
    assert len(set(ids)) == 2 and all(len(each) == 8 for each in ids) and (out / RUN_ID).read_text() == ids[1]
