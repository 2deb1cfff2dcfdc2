from dataclasses import replace

import pytest
import torch
from tiny_films import CLASSES, videomt
from tiny_networks import QUERIES, SIDE

from pisr_core.adapters.transformers import PISRUniversalSegmentation
from pisr_core.config import BackboneConfig, Config, RelationConfig
from pisr_core.errors import ConfigError, ExportError
from pisr_core.models import build_model
from pisr_core.models.queries.universal.videomt import VidEoMT

CONFIG = Config(architecture="videomt", backbone=BackboneConfig(pretrained=False), relation=RelationConfig(name="none"))


@pytest.fixture
def network():
    return videomt()


@pytest.fixture
def model(network):
    config = replace(CONFIG, transformers=VidEoMT.settings_of(network))
    return VidEoMT(config, CLASSES, network).eval()


def test_frame_by_frame_it_sees_what_transformers_sees_in_whole_films(model, network):
    films = torch.randint(0, 256, (2, 4, 3, SIDE, SIDE), dtype=torch.uint8)  # two films of four frames
    with torch.no_grad():
        expected = network(torch.stack([model.normalize(film) for film in films]))
        memory, outputs = model.film_memory().expand(2, -1, -1), []
        for position in range(4):
            outputs.append(model(films[:, position], memory))
            memory = outputs[-1].memory
        alone = model(films[:, 3])
    for name, theirs in (("class_logits", "class_queries_logits"), ("mask_logits", "masks_queries_logits")):
        ours = torch.cat([getattr(output.final, name) for output in outputs])
        torch.testing.assert_close(ours, expected[theirs], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(getattr(model(films[:, 0]).final, name), ours[:2])
        assert not torch.allclose(getattr(alone.final, name), ours[-2:], atol=0.1)


def test_a_thing_has_the_number_of_its_query_and_stuff_that_of_its_class(model):
    with torch.no_grad():
        output = model(torch.randint(0, 256, (1, 3, SIDE, SIDE), dtype=torch.uint8))
    output.final.class_logits[0, :, -1] = -10  # all queries see something
    every = replace(model.config.transformers, object_mask_threshold=0.0, overlap_threshold=0.0)
    model.config = replace(model.config, transformers=every)
    (result,) = model.panoptic(output, [(SIDE, SIDE)], [(SIDE, SIDE)])
    scores, classes = output.final.class_logits[0].softmax(1).max(1)
    seen = {segment.id: segment for segment in result.panoptic.segments}
    assert len(seen) > 1 and set(seen) == set(result.panoptic.ids.flat) - {0}
    for own, segment in seen.items():
        query = own - 1 - len(CLASSES)
        assert segment.area == (result.panoptic.ids == own).sum()
        if CLASSES[segment.category].isthing:
            assert segment.category == classes[query] and segment.score == pytest.approx(float(scores[query]))
        else:
            assert own == 1 + segment.category


def test_it_is_built_anew_from_its_settings(model):
    again = build_model(model.config, CLASSES)
    assert {name: value.shape for name, value in again.state_dict().items()} == {
        name: value.shape for name, value in model.state_dict().items()
    }
    assert again.instance_limit(model.config) == (QUERIES, "transformers.network.num_queries")


def test_what_it_cannot_do_is_refused_with_what_to_do_instead(model, network):
    with pytest.raises(ConfigError, match="not trained here: transformers has no loss for films. Train a preset of eo"):
        model.target_generator()
    with pytest.raises(ExportError, match="not exported: .* or export an eomt"):
        model.exportable(merging=True)
    with pytest.raises(ConfigError, match=r"relation\.name = 'pisr': none alone, .*; PISR goes with eomt"):
        build_model(replace(model.config, relation=RelationConfig()), CLASSES)
    with pytest.raises(ConfigError, match=r"relation\.name = 'pisr'"):
        PISRUniversalSegmentation(network, RelationConfig())
    with pytest.raises(ConfigError, match="64×64 pixels alone, not 64×96"):
        model(torch.zeros(1, 3, 64, 96))
