"""Two processes on the CPU do what one does with the whole batch."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import one_process
import pytest
import torch

from pisr_core.evaluation.evaluate import evaluate
from pisr_core.weights.files.checkpoint import read_checkpoint


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The folder of a run that two processes shared, and what each of them saw and computed."""
    out = tmp_path_factory.mktemp("two")
    script = Path(__file__).parents[1] / "shared" / "two_processes.py"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", script, out]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, capture_output=True, text=True, timeout=180, env=environment)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "strides do not match" not in result.stderr  # gradients are sent as they are, without a copy
    return out / "run", [torch.load(out / f"rank{rank}.pt") for rank in (0, 1)]


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """The folder of the same run in one process."""
    out = tmp_path_factory.mktemp("one") / "run"
    one_process.train(out)
    return out


def metrics(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def rounded(scores):
    """Without what the clock said, and without the last digits, which differ with the order of sums."""
    return json.loads(json.dumps({**scores, "seconds": 0}), parse_float=lambda text: round(float(text), 9))


def test_training_is_the_same(one, two):
    """Up to float32 rounding, which differs with the order of sums."""
    for single, shared in zip(metrics(one)[:3], metrics(two[0])[:3], strict=True):
        assert shared["losses"] == pytest.approx(single["losses"], rel=2e-5)
    single, shared = (read_checkpoint(out / "last.safetensors").state for out in (one, two[0]))
    assert single.keys() == shared.keys()
    for name, value in single.items():
        torch.testing.assert_close(
            shared[name], value, rtol=1e-3, atol=2e-5, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_every_image_is_evaluated_once(two):
    model, dataset, config = one_process.model_and_set()
    seen = [rank["seen"] for rank in two[1]]
    assert sorted(seen[0] + seen[1]) == [dataset[index].image_id for index in range(7)]
    assert sorted(map(len, seen)) == [3, 4]
    result = evaluate(model, dataset, config.data, torch.device("cpu"), batch_size=2, workers=0, instances=False)
    assert result.images == 7
    for rank in two[1]:
        assert rounded(rank["scores"]) == rounded(result.to_json())
        assert rank["quality"] == pytest.approx(result.to_json()["panoptic"]["all"])  # `compute` sums over processes


def test_norms_are_those_of_the_whole_batch(two):
    first, second = (rank["norms"] for rank in two[1])
    for a, b, whole in zip(first, second, one_process.norm_results(), strict=True):
        close = partial(torch.testing.assert_close, rtol=1e-4, atol=1e-5)
        close(list(map(torch.cat, zip(a["images"], b["images"], strict=True))), whole["images"])
        close([x + y for x, y in zip(a["sums"], b["sums"], strict=True)], whole["sums"])
        close(a["alike"], whole["alike"])
        assert all(map(torch.equal, a["alike"], b["alike"]))


def test_losses_average_to_those_of_the_whole_batch(two):
    first, second = (rank["losses"] for rank in two[1])
    for name, whole in one_process.losses().items():
        assert ((first[name] + second[name]) / 2).item() == pytest.approx(whole.item(), rel=1e-5), name


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are listed by Linux")
def test_no_thread_of_the_group_is_left_at_the_end(two):
    """Where one is, Python's end may abort the process."""
    for rank in two[1]:
        assert rank["threads"] > 0
        assert rank["threads left"] == 0
