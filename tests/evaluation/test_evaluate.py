import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import distributed

from pisr_core import presets
from pisr_core.data import build_dataset
from pisr_core.errors import DataError
from pisr_core.evaluation.evaluate import evaluate
from pisr_core.models import PanopticModel, build_model
from pisr_core.runtime.processes.parallel import Process
from pisr_core.structures import PanopticResult

CPU = torch.device("cpu")


class Oracle(PanopticModel):
    """Answers with the annotations, in order."""

    size_divisor = 16
    network = None

    def __init__(self, config, dataset):
        super().__init__(config, dataset.categories)
        self.answers = iter([dataset[index].panoptic for index in range(len(dataset))])

    def forward(self, images):
        assert not self.training and torch.is_inference_mode_enabled()
        assert images.shape[2] % 16 == 0 and images.shape[3] % 16 == 0
        return images

    def target_generator(self):
        raise AssertionError("evaluation needs no targets")

    def losses(self, output, targets):
        raise AssertionError("evaluation needs no losses")

    def panoptic(self, output, input_sizes, output_sizes):
        answers = [next(self.answers) for _ in output_sizes]
        assert [answer.ids.shape for answer in answers] == list(output_sizes)
        return [PanopticResult(answer, answer.semantic()) for answer in answers]


@pytest.fixture
def scenes(tiny_config):
    return build_dataset(tiny_config.data, "val")


@pytest.mark.parametrize("batch_size", [1, 2])
def test_the_annotation_itself_scores_100(tiny_config, scenes, batch_size):
    calls = []
    model = Oracle(tiny_config, scenes).train()
    result = evaluate(
        model,
        scenes,
        tiny_config.data,
        CPU,
        batch_size,
        0,
        progress=lambda done, total: calls.append((done, total)),
    )
    scores = result.to_json()
    assert scores["panoptic"]["all"]["pq"] == pytest.approx(100)
    assert scores["semantic"]["miou"] == pytest.approx(100)
    assert scores["instance"]["ap"] == pytest.approx(100)
    assert result.worst == ()
    assert set(scores["panoptic"]["per_class"]) == {str(c.id) for c in scenes.categories}
    assert scores["images"] == 5 and calls[-1] == (5, 5)
    assert model.training


def test_scores_do_not_depend_on_the_batch_size_and_modes_are_restored(tiny_config, tiny_model, scenes):
    tiny_model.train()
    tiny_model.backbone.eval()
    one, two = (
        evaluate(tiny_model, scenes, tiny_config.data, CPU, batch_size, 0, limit=3).to_json() for batch_size in (1, 2)
    )
    assert one["images"] == two["images"] == 3
    assert one["panoptic"] == two["panoptic"]
    assert one["semantic"] == two["semantic"]
    assert one["instance"] == two["instance"]
    assert tiny_model.training and not tiny_model.backbone.training


def test_other_classes_are_refused(tiny_config, tiny_model, scenes):
    scenes.categories = (replace(scenes.categories[0], name="lava"), *scenes.categories[1:])
    with pytest.raises(DataError, match="lava"):
        evaluate(tiny_model, scenes, tiny_config.data, CPU, workers=0)


class Bare:
    """Scenes without annotations."""

    def __init__(self, dataset):
        self.dataset, self.categories, self.size = dataset, dataset.categories, dataset.size
        self.file_name = dataset.file_name

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return replace(self.dataset[index], panoptic=None)


def test_images_without_annotation_are_named(tiny_config, tiny_model, scenes):
    with pytest.raises(DataError, match="scene_000000.png"):
        evaluate(tiny_model, Bare(scenes), tiny_config.data, CPU, workers=0)


def test_ap_can_be_left_out(tiny_config, tiny_model, scenes):
    result = evaluate(tiny_model, scenes, tiny_config.data, CPU, workers=0, limit=1, instances=False)
    assert result.instance is None and result.images == 1


def score(rank, world_size):
    """Scores of a random model, as one of `world_size` processes."""
    settings = ["backbone.pretrained=false", "data.scenes.size=[64, 96]", "data.scenes.val_images=5"]
    config = presets.load("scenes-pdl-r18", settings)
    dataset = build_dataset(config.data, "val")
    torch.manual_seed(0)
    model = build_model(config, dataset.categories)
    result = evaluate(model, dataset, config.data, CPU, 1, 0, process=Process(rank, world_size))
    scores = result.to_json() | {
        "confusion": sorted([*cell, count] for cell, count in result.confusion.counts.items()),
        "worst": [s.mistaken_pixels for s in result.worst],
    }
    del scores["seconds"]
    return json.loads(json.dumps(scores))


def score_as_one_of_two(rank, folder):
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    try:
        return score(rank, 2)
    finally:
        distributed.destroy_process_group()


def test_two_processes_score_as_one(tmp_path):
    other = subprocess.Popen([sys.executable, __file__, str(tmp_path)])
    first = score_as_one_of_two(0, tmp_path)
    assert other.wait(timeout=300) == 0
    assert json.loads((tmp_path / "1.json").read_text()) == first
    alone = score(0, 1)
    assert first.keys() == alone.keys() and first["images"] == 5
    for part in alone:
        assert flat(first[part]) == pytest.approx(flat(alone[part]), rel=1e-12, nan_ok=True)


def flat(value):
    """All values in a nest of objects and lists, by their place; NaN for none."""
    if isinstance(value, (dict, list)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {f"{key}.{k}": v for key, inner in items for k, v in flat(inner).items()}
    return {"": float("nan") if value is None else value}


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    (folder / "1.json").write_text(json.dumps(score_as_one_of_two(1, folder)))
