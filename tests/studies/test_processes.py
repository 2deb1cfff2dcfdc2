import fcntl
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from pisr_core.errors import TrainingError
from pisr_core.studies import processes
from pisr_core.studies.processes import Slot, Training, last_step, machine_slots, train_all
from pisr_core.training.state import RunFolder

WAITS_FOR_SIGTERM = """
import pathlib, signal, sys, time
def stop(number, frame):
    (folder / "stopped").write_text("")
    sys.exit(143)
folder = pathlib.Path(sys.argv[1])
signal.signal(signal.SIGTERM, stop)
(folder / "metrics.jsonl").write_text('{"step": 3}\\n')
time.sleep(60)
"""
STUDIES = """
import pathlib, sys
from pisr_core.studies.processes import Slot, Training, train_all
from pisr_core.training.state import RunFolder
command = [sys.executable, "-c", sys.argv[2]]
folder = pathlib.Path(sys.argv[1])
train_all(command, [Training("a", RunFolder(folder), 5, (sys.argv[1],), ())], [Slot((0,))], print, print)
"""
ENDS_WITH_STUDY = """
import pathlib, signal, sys, time
from pisr_core.runtime.processes.parents import end_with_named
end_with_named(signal.SIGTERM)
"""
SLOTS = [Slot((next(iter(os.sched_getaffinity(0))),))]


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(processes, "POLL_SECONDS", 0.01)


def training(folder, *start, resume=()):
    return Training(folder.name, RunFolder(folder), 5, tuple(map(str, start)), tuple(resume))


def run(trainings, script, slots=SLOTS, on_progress=lambda training, step: None):
    done = []
    command = [sys.executable, "-c", script]
    failures = train_all(command, trainings, slots, on_progress, lambda t: done.append(t.name))
    return failures, done


def wait_until(condition, seconds=5):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_more_runs_than_slots_and_one_that_fails(tmp_path):
    trainings = [training(tmp_path / name, name) for name in ("a", "b", "c")]
    script = "import sys; print('error: no luck') or sys.exit(2) if sys.argv[1] == 'b' else print('fine')"
    failures, done = run(trainings, script)
    assert failures == {"b": "error: no luck"} and done == ["a", "c"]
    assert (tmp_path / "a" / "train.log").read_text() == "fine\n"


def test_a_run_with_a_state_is_resumed_on_its_device_and_cores(tmp_path):
    fresh, begun = tmp_path / "fresh", RunFolder(tmp_path / "begun")
    begun.state.parent.mkdir(parents=True)
    begun.state.touch()
    trainings = [training(fresh, "start"), training(begun.path, "start", resume=("--resume",))]
    slot = Slot(SLOTS[0].cores, "cuda:1")
    run(trainings, "import os, sys; print(*sys.argv[1:], os.environ['OMP_NUM_THREADS'])", [slot])
    threads = os.environ.get("OMP_NUM_THREADS", "1")
    assert (fresh / "train.log").read_text() == f"start --device cuda:1 {threads}\n"
    assert (begun.path / "train.log").read_text() == f"--resume --device cuda:1 {threads}\n"


def test_interruption_lets_the_runs_save_and_starts_no_more(tmp_path):
    def interrupt(training, step):
        if step == 3:
            signal.raise_signal(signal.SIGINT)

    trainings = [training(tmp_path / name, tmp_path / name) for name in ("first", "second")]
    with pytest.raises(KeyboardInterrupt):
        run(trainings, WAITS_FOR_SIGTERM, on_progress=interrupt)
    assert (tmp_path / "first" / "stopped").exists()
    assert not (tmp_path / "second").exists()


def test_a_run_does_not_outlive_a_study_that_is_killed(tmp_path):
    script = ENDS_WITH_STUDY + WAITS_FOR_SIGTERM
    study = subprocess.Popen([sys.executable, "-c", STUDIES, tmp_path, script])
    wait_until((tmp_path / "metrics.jsonl").exists, 60)
    study.kill()
    study.wait()
    wait_until((tmp_path / "stopped").exists)


def test_a_run_that_another_process_trains_is_left_alone(tmp_path):
    (tmp_path / "a").mkdir()
    with (tmp_path / "a" / "train.log").open("a") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        with pytest.raises(TrainingError, match="another process"):
            run([training(tmp_path / "a")], "print('never')")
    assert run([training(tmp_path / "a")], "print('now')") == ({}, ["a"])


def test_the_last_step_is_that_of_the_last_whole_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert last_step(path) == 0
    path.write_text('{"step": 10}\n{"step": 20, "evaluation": {}}\n{"step": 3')
    assert last_step(path) == 20
    path.write_bytes(b'{"step": 10}\n[1]\n{"step": "x"}\n\xff\n')
    assert last_step(path) == 10


def test_the_machine_is_shared_out(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {4, 5, 6, 7, 8})
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert machine_slots() == [Slot((4, 5)), Slot((6, 7, 8))]
    assert machine_slots(1, "cpu") == [Slot((4, 5, 6, 7, 8), "cpu")]
    assert {slot.cores for slot in machine_slots(6)} == {(4,), (5,), (6,), (7,), (8,)}
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert machine_slots() == [Slot((4, 5), "cuda:0"), Slot((6, 7, 8), "cuda:1")]
    assert [slot.device for slot in machine_slots(3)] == ["cuda:0", "cuda:1", "cuda:0"]
