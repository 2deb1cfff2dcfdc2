"""What ends a training run before its time leaves whole files, and a state that continues it exactly."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_training import CONFIG, TRAIN, Boxes, Pixels, assert_same_run, fake_evaluate, metrics, run, tiny_parts

from pisr_core.errors import DataError, DeviceError, OutputError, TrainingError
from pisr_core.runtime.devices.device import device_error
from pisr_core.training import loop
from pisr_core.training import train as trainer
from pisr_core.training.listeners import TrainListener
from pisr_core.training.state import read_state

WITH_WORKER = replace(CONFIG, data=replace(CONFIG.data, workers=1))
HOLDS_THE_LOCK = """
import fcntl, sys
file = open(sys.argv[1], "a+")
fcntl.lockf(file, fcntl.LOCK_EX)
file.write("process 1 on elsewhere")
file.flush()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True, scope="module")
def parts():
    with tiny_parts():
        yield


@pytest.fixture(scope="module")
def whole(parts, tmp_path_factory):
    """An uninterrupted run."""
    out = tmp_path_factory.mktemp("whole")
    run(out)
    return out


def saved(out):
    return read_state(out / "state" / "training.pt").progress


def fail_in_step(monkeypatch, step, error):
    """The network fails in the second micro-batch of a step."""
    calls, real = [], Pixels.losses

    def losses(self, output, targets):
        calls.append(1)
        if len(calls) == 2 * step:
            error()
        return real(self, output, targets)

    monkeypatch.setattr(Pixels, "losses", losses)


def raising(error):
    def fail():
        raise error

    return fail


class Interrupt(TrainListener):
    """Presses Ctrl-C some times, in a step or in the evaluation after it."""

    def __init__(self, step, times=1, in_evaluation=False):
        self.step, self.times, self.in_evaluation, self.now = step, times, in_evaluation, 0

    def on_step(self, record):
        self.now = record.step
        self._press(not self.in_evaluation)

    def on_evaluating(self, done, total):
        self._press(self.in_evaluation)

    def _press(self, here):
        for _ in range(self.times if here and self.now == self.step else 0):
            signal.raise_signal(signal.SIGINT)


def test_the_second_ctrl_c_stops_at_once(whole, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, listeners=[Interrupt(5, times=2)])
    assert saved(tmp_path).step == 4
    run(tmp_path, resume=True)
    assert_same_run(whole, tmp_path)


@pytest.mark.parametrize("step", [3, 8])
def test_ctrl_c_in_an_evaluation_does_not_wait_for_its_end(whole, tmp_path, step):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, listeners=[Interrupt(step, in_evaluation=True)])
    assert (saved(tmp_path).step, saved(tmp_path).evaluated_step) == (step, {3: 0, 8: 6}[step])
    assert [line["step"] for line in metrics(tmp_path) if "evaluation" in line] == {3: [], 8: [3, 6]}[step]
    run(tmp_path, resume=True)
    assert_same_run(whole, tmp_path)


def test_an_evaluation_that_was_logged_but_not_saved_is_not_logged_twice(whole, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, listeners=[Interrupt(3, in_evaluation=True)])
    logged = [
        line for line in (whole / "metrics.jsonl").open() if "evaluation" in line and json.loads(line)["step"] == 3
    ]
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.writelines(logged)
    run(tmp_path, resume=True)
    assert_same_run(whole, tmp_path)


class DyingBoxes(Boxes):
    """The worker that reads an image is killed once the file exists that `reads` counts in."""

    def __init__(self, reads, deadly):
        self.reads, self.deadly = Path(reads), deadly

    def __getitem__(self, index):
        with self.reads.open("a") as file:
            file.write(".")
        if self.reads.stat().st_size == self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)


def test_a_dead_worker_loses_no_step(whole, tmp_path, monkeypatch):
    dying = DyingBoxes(tmp_path / "reads", deadly=15)  # an image of the fourth step
    monkeypatch.setattr(trainer, "build_dataset", lambda config, split, root: dying)
    with pytest.raises(DataError, match=r"working process died \(SIGKILL\) at \d.png.*--set data\.workers"):
        run(tmp_path, WITH_WORKER)
    assert saved(tmp_path).step == 3
    run(tmp_path, resume=True)  # without workers, which changes no number
    assert_same_run(whole, tmp_path)


@pytest.mark.parametrize("workers", [0, 1])
def test_ctrl_c_is_obeyed_while_an_image_is_waited_for(whole, tmp_path, monkeypatch, workers):
    class Slow(Boxes):
        reads = 0

        def __getitem__(self, index):
            self.reads += 1
            if self.reads == 15:  # of the fourth step
                os.kill(main, signal.SIGINT)
                time.sleep(60)
            return super().__getitem__(index)

    main, start = os.getpid(), time.monotonic()
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "build_dataset", lambda config, split, root: Slow())
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, replace(CONFIG, data=replace(CONFIG.data, workers=workers)))
    # A process that reads ahead may be at the fourth step's images before the third is done.
    assert time.monotonic() - start < 20 and saved(tmp_path).step in ((3,) if workers == 0 else (1, 2, 3))
    run(tmp_path, resume=True)
    assert_same_run(whole, tmp_path)


IN_A_SMALL_MACHINE = (
    *("unshare", "-Urm", "sh", "-c"),
    "mount -t tmpfs -o size=64k tmpfs /dev/shm && ulimit -n 48 && $0 $@",
)
"""Runs a command where /dev/shm is as small as in a container, and few files may be open."""


def test_training_in_a_small_machine(tmp_path):
    if subprocess.run([*IN_A_SMALL_MACHINE, "true"], capture_output=True).returncode:
        pytest.skip("this kernel lets nobody have file systems of their own")
    script = Path(__file__).parents[1] / "shared" / "large_batches.py"
    command = [*IN_A_SMALL_MACHINE, sys.executable, script, tmp_path]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stdout) == (0, "8\n"), result.stderr
    assert saved(tmp_path).step == 8


def test_workers_change_no_number(whole, tmp_path):
    run(tmp_path, WITH_WORKER)
    assert_same_run(whole, tmp_path)


def test_a_broken_image_loses_no_step(whole, tmp_path, monkeypatch):
    class Broken(Boxes):
        reads = 0

        def __getitem__(self, index):
            self.reads += 1
            if self.reads == 22:  # of the sixth step
                raise DataError(f"{index}.png: cannot be read")
            return super().__getitem__(index)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "build_dataset", lambda config, split, root: Broken())
        with pytest.raises(DataError, match="cannot be read"):
            run(tmp_path)
    assert saved(tmp_path).step == 5
    run(tmp_path, resume=True)
    assert_same_run(whole, tmp_path)


@pytest.mark.parametrize(
    "error",
    [
        raising(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")),
        raising(MemoryError()),
        lambda: torch.empty(10**15),
    ],
    ids=["gpu", "python", "cpu"],
)
def test_out_of_memory_says_what_to_change(whole, tmp_path, monkeypatch, error):
    with monkeypatch.context() as patch:
        fail_in_step(patch, 6, error)
        wanted = (
            r"out of memory \(.*batch_size = 4.*accumulate = 2.*crop = \[16, 16\].*precision = 'no'.*step 4 is kept"
        )
        with pytest.raises(DeviceError, match=wanted):
            run(tmp_path)
    result = run(tmp_path, replace(CONFIG, train=replace(TRAIN, accumulate=4)), resume=True)
    assert result.progress.step == 8
    assert metrics(tmp_path)[:5] == metrics(whole)[:5] and metrics(tmp_path)[-1]["step"] == 8


def test_out_of_memory_in_an_evaluation_keeps_the_step(whole, tmp_path, monkeypatch):
    def greedy(*args, **options):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(loop, "evaluate", greedy)
    with pytest.raises(DeviceError, match="step 3 is kept"):
        run(tmp_path)
    monkeypatch.setattr(loop, "evaluate", fake_evaluate)
    run(tmp_path, resume=True)
    assert_same_run(whole, tmp_path)


class Overflow(torch.autograd.Function):
    """A term of the loss that is zero and has no finite gradient."""

    @staticmethod
    def forward(context, value):
        return value.new_zeros(())

    @staticmethod
    def backward(context, gradient):
        return gradient.expand(4, 3, 3, 3) * torch.inf


@pytest.mark.parametrize("step", [4, 8])  # after both a state is saved, before the second one weights too
def test_a_gradient_that_is_not_finite_spoils_no_state(whole, tmp_path, monkeypatch, step):
    calls, real = [], Pixels.losses

    def losses(self, output, targets):
        calls.append(1)
        spoiled = Overflow.apply(self.backbone[0].weight) if len(calls) == 2 * step else 0
        return {name: loss + spoiled for name, loss in real(self, output, targets).items()}

    with monkeypatch.context() as patch:
        patch.setattr(Pixels, "losses", losses)
        wanted = rf"step {step}: .* not finite \(the gradient's norm = inf\) on the images \d\.png.* step {step - 2} is"
        with pytest.raises(TrainingError, match=wanted):
            run(tmp_path)
    state = read_state(tmp_path / "state" / "training.pt")
    assert state.progress.step == step - 2
    assert all(value.isfinite().all() for value in state.learner["model"].values())
    run(tmp_path, resume=True)
    assert_same_run(whole, tmp_path)


def test_a_lost_gpu_keeps_the_state(whole, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        fail_in_step(patch, 7, raising(RuntimeError("CUDA error: unspecified launch failure\nCUDA kernel errors …")))
        with pytest.raises(DeviceError, match=r"GPU failed \(CUDA error: unspecified launch failure\).*step 6 is kept"):
            run(tmp_path)
    run(tmp_path, resume=True)
    assert_same_run(whole, tmp_path)


def test_a_gpu_that_is_lost_while_saving_does_not_look_like_a_full_disk(tmp_path, monkeypatch):
    def state_dict(self):
        raise RuntimeError("CUDA error: device unavailable")

    monkeypatch.setattr(loop.Learner, "state_dict", state_dict)
    with pytest.raises(RuntimeError, match="CUDA error"):
        run(tmp_path)
    assert not (tmp_path / "state" / "training.pt").exists()


@pytest.mark.parametrize(
    "error",
    [RuntimeError("shapes do not match"), RuntimeError("CUDA error: device-side assert triggered"), KeyError(1)],
)
def test_bugs_are_no_device_faults(error):
    assert device_error(error, "cure") is None


@pytest.mark.parametrize("write", range(1, 13))
def test_the_disk_is_full_at_some_write(whole, tmp_path, monkeypatch, write):
    calls, real = [], os.fsync

    def fsync_or_fail(file):
        calls.append(file)
        if len(calls) == write:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(file)

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", fsync_or_fail)
        with pytest.raises(OutputError, match="cannot be written.*No space left.*Free some space"):
            run(tmp_path)
    assert not list(tmp_path.rglob("*.part"))
    run(tmp_path, resume=(tmp_path / "state" / "training.pt").exists())
    assert_same_run(whole, tmp_path)


def test_no_file_may_grow_beyond_a_size():
    """The system's own errors, in every library that writes; see the script."""
    script = Path(__file__).parents[1] / "shared" / "small_files.py"
    result = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    wanted = ["config.toml", "training.pt", "metrics.jsonl", "last.safetensors", "best.safetensors", "training.pt"]
    assert json.loads(result.stdout) == wanted


@pytest.fixture
def holder(tmp_path):
    """Another process that trains in the folder."""
    lock = tmp_path / "state" / "lock"
    lock.parent.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS_THE_LOCK, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize("resume", [False, True])
def test_two_processes_do_not_train_into_one_folder(whole, tmp_path, holder, resume):
    if resume:
        (tmp_path / "state" / "training.pt").write_bytes((whole / "state" / "training.pt").read_bytes())
    with pytest.raises(TrainingError, match=r"another process \(process 1 on elsewhere\) is training there"):
        run(tmp_path, resume=resume)
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} <= {"lock", "training.pt"}


def test_the_lock_of_a_killed_process_and_its_half_files_are_gone(whole, tmp_path, holder):
    half = tmp_path / "state" / ".training.pt.1.part"
    half.write_text("half")
    holder.kill()
    holder.wait()
    run(tmp_path)
    assert not half.exists()
    assert (tmp_path / "state" / "lock").read_text().startswith(f"process {os.getpid()} on ")
    assert_same_run(whole, tmp_path)


def test_a_state_that_moved_on_after_it_was_read_is_refused(whole, tmp_path):
    run(tmp_path, replace(CONFIG, train=replace(TRAIN, eval_every=0)), listeners=[])
    late = trainer.build_trainer(
        replace(CONFIG, train=replace(TRAIN, eval_every=0)), None, tmp_path, resume=True, device="cpu"
    )
    late.progress = replace(late.progress, step=4)
    with pytest.raises(TrainingError, match="another process trained there meanwhile"):
        late.run()


def test_a_metrics_file_with_a_broken_line_is_cut_there(whole, tmp_path):
    run(tmp_path)
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(path.read_bytes() + b"\0\0\0\n")
    run(tmp_path, resume=True)
    assert metrics(tmp_path) == metrics(whole)
