from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from tiny_training import CONFIG, TRAIN, Boxes, assert_same_run, metrics, run, tiny_parts

from pisr_core.errors import ConfigError, TrainingError
from pisr_core.structures import Category
from pisr_core.training import loop
from pisr_core.training import train as trainer
from pisr_core.training.listeners import TrainListener
from pisr_core.training.state import Progress, newest_unfinished, read_state
from pisr_core.weights.files.checkpoint import read_checkpoint

SCORES = {"pq": [10.0, 30.0, 30.0, 20.0, 40.0], "pq_th": [None, 5.0, 4.0, 6.0, 2.0], "miou": [9.0, 8.0, 7.0, 6.0, 5.0]}
"""Of the evaluations after steps 1, 2, 3 …"""


@pytest.fixture(autouse=True)
def scored():
    """Evaluations that give `SCORES` in turn, by the step that `config` remembers."""
    with tiny_parts(), pytest.MonkeyPatch.context() as patch:
        made = []

        def evaluate(*arguments, **options):
            number = len(made)
            made.append(number)
            groups = {"all": SCORES["pq"][number], "things": SCORES["pq_th"][number], "stuff": None}
            panoptic = {name: {"pq": pq, "sq": None, "rq": None, "n": 2} for name, pq in groups.items()}
            return SimpleNamespace(to_json=lambda: {"panoptic": panoptic, "semantic": {"miou": SCORES["miou"][number]}})

        patch.setattr(loop, "evaluate", evaluate)
        yield made


def config(**changes):
    return replace(CONFIG, train=replace(TRAIN, steps=5, eval_every=1, **changes))


@pytest.mark.parametrize(("best", "step", "pq", "score"), [("pq", 5, 40, 40), ("pq_th", 4, 20, 6), ("miou", 1, 10, 9)])
def test_best_is_chosen_by_what_is_named(tmp_path, best, step, pq, score):
    progress = run(tmp_path, config(best=best)).progress
    assert (progress.best_step, progress.best_pq, progress.best_score) == (step, pq, score)
    assert read_checkpoint(tmp_path / "best.safetensors").info["step"] == step


@pytest.mark.parametrize(("best", "patience", "end"), [("pq", 1, 3), ("pq", 2, 4), ("pq", 3, 5), ("miou", 2, 3)])
def test_patience_counts_evaluations_that_are_not_better(tmp_path, best, patience, end):
    class Listen(TrainListener):
        def on_message(self, text):
            said.append(text)

    said = []
    progress = run(tmp_path, config(best=best, patience=patience), listeners=[Listen()]).progress
    assert progress.step == end == read_state(tmp_path / "state/training.pt").progress.step
    assert read_checkpoint(tmp_path / "last.safetensors").info["step"] == end
    stopped = end < 5
    assert [f"stopped at step {end}: no better {best} in {patience} evaluations" in text for text in said] == (
        [True] if stopped else []
    )


def test_a_stopped_run_is_finished_until_patience_grows(tmp_path, scored):
    run(tmp_path / "run", config(patience=1))
    with pytest.raises(TrainingError, match="no unfinished run"):
        newest_unfinished(tmp_path)
    assert run(tmp_path / "run", config(patience=1), resume=True).progress.step == 3 == len(scored)
    assert run(tmp_path / "run", config(patience=3), resume=True).progress.step == 5 == len(scored)
    assert [line["step"] for line in metrics(tmp_path / "run") if "evaluation" in line] == [1, 2, 3, 4, 5]


def test_patience_survives_a_kill(tmp_path, scored):
    class Killed(BaseException):
        pass

    class Kill(TrainListener):
        def on_step(self, record):
            if record.step == 4:
                raise Killed

    whole = config(patience=2, save_every=1)
    run(tmp_path / "whole", whole)
    scored.clear()
    with pytest.raises(Killed):
        run(tmp_path / "killed", whole, listeners=[Kill()])
    assert read_state(tmp_path / "killed/state/training.pt").progress.worse_evaluations == 1
    run(tmp_path / "killed", whole, resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


def test_a_state_of_a_former_version_knows_its_best_score(tmp_path):
    progress = {"step": 3, "pq": 40.0, "best_pq": 41.0, "best_step": 2, "evaluated_step": 3}
    torch.save({"progress": progress, "identity": "{}", "learner": {}}, tmp_path / "training.pt")
    read = read_state(tmp_path / "training.pt").progress
    assert read == Progress(3, 40.0, 41.0, 2, 3, best_score=41.0)
    assert read.evaluated(pq=40.5, score=40.5).worse_evaluations == 1


def test_things_are_needed_for_their_quality(tmp_path, monkeypatch):
    stuff = type("Stuff", (Boxes,), {"categories": (Category(1, "ground", False), Category(2, "box", False))})
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "build_dataset", lambda config, split, root: stuff())
        with pytest.raises(ConfigError, match="train.best = 'pq_th': the dataset has no thing class"):
            run(tmp_path, config(best="pq_th"))


def test_balanced_weights_are_numbers_from_the_start(tmp_path):
    """Each of the six images has 336 pixels of ground and 64 of a box."""
    balanced = replace(config(), loss=replace(CONFIG.loss, class_weights="balanced"))
    run(tmp_path, balanced)
    weights = {"ground": 0.5952, "box": 3.125}
    assert read_checkpoint(tmp_path / "last.safetensors").config.loss.class_weights == weights
    assert "balanced" not in (tmp_path / "config.toml").read_text()
    for again in (balanced, replace(balanced, loss=replace(CONFIG.loss, class_weights=weights))):
        assert run(tmp_path, again, resume=True).progress.step == 5
