from dataclasses import replace

import pytest
import torch

from pisr_core.data import build_dataset
from pisr_core.engine.evaluation import evaluate
from pisr_core.errors import DataError
from pisr_core.models import PanopticModel
from pisr_core.structures import PanopticResult

CPU = torch.device("cpu")


class Oracle(PanopticModel):
    """Answers with the annotations, in order."""

    size_divisor = 16

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
    assert tiny_model.training and not tiny_model.backbone.training


def test_other_classes_are_refused(tiny_config, tiny_model, scenes):
    scenes.categories = (replace(scenes.categories[0], name="lava"), *scenes.categories[1:])
    with pytest.raises(DataError, match="lava"):
        evaluate(tiny_model, scenes, tiny_config.data, CPU, workers=0)


class Bare:
    """Scenes without annotations."""

    def __init__(self, dataset):
        self.dataset, self.categories, self.size = dataset, dataset.categories, dataset.size

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return replace(self.dataset[index], panoptic=None)


def test_images_without_annotation_are_named(tiny_config, tiny_model, scenes):
    with pytest.raises(DataError, match="scene_000000.png"):
        evaluate(tiny_model, Bare(scenes), tiny_config.data, CPU, workers=0)
