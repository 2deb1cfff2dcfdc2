"""What each of two processes does in `test_distributed.py`: trains, evaluates, and computes norms and losses."""

import sys
from dataclasses import asdict
from pathlib import Path

import torch
from one_process import losses, model_and_set, norm_results, train
from torch import distributed

from pisr_core.evaluation.evaluate import evaluate
from pisr_core.metrics.panoptic_quality import PanopticQuality
from pisr_core.runtime.processes.gathering import end_process_group
from pisr_core.runtime.processes.parallel import Process
from pisr_core.training.synchronized_norms import synchronize_norms


def main(out):
    train(out / "run")  # it also starts torch's process group
    rank, world = distributed.get_rank(), distributed.get_world_size()
    model, dataset, config = model_and_set()
    seen, quality = [], PanopticQuality(dataset.categories)

    def observe(sample, prediction):
        seen.append(sample.image_id)
        quality.update(prediction.panoptic, sample.panoptic)

    result = evaluate(
        model,
        dataset,
        config.data,
        torch.device("cpu"),
        batch_size=2,
        workers=0,
        process=Process(rank, world),
        instances=False,
        observe=observe,
    )
    norms = norm_results(lambda module: synchronize_norms(module, torch.device("cpu")), part=rank, parts=world)
    done = {
        "seen": seen,
        "scores": result.to_json(),
        "quality": asdict(quality.compute().all),
        "norms": norms,
        "losses": losses(part=rank, parts=world),
        "threads": group_threads(),
    }
    end_process_group()
    torch.save({**done, "threads left": group_threads()}, out / f"rank{rank}.pt")


def group_threads():
    """How many threads of this process work for torch's process group."""
    names = [path.read_text() for path in Path("/proc/self/task").glob("*/comm")]
    return sum("gloo" in name for name in names)


main(Path(sys.argv[1]))
