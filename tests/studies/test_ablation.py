from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from pisr_core import presets
from pisr_core.data import build_dataset
from pisr_core.errors import ConfigError, DataError
from pisr_core.evaluation.evaluate import evaluate
from pisr_core.models import build_model
from pisr_core.results.table import ResultsTable
from pisr_core.studies import ablation
from pisr_core.studies.ablation import (
    COLUMNS,
    Split,
    Subject,
    ablate,
    check_ks,
    count_filled,
    curve,
    draw_curves,
    parse_range,
    retraining,
    scores_by_k,
)
from pisr_core.studies.study import Study
from pisr_core.weights.files.checkpoint import save_checkpoint

CPU = torch.device("cpu")


def small(preset, *settings):
    return presets.load(
        preset,
        [
            "backbone.pretrained=false",
            "data.dataset=scenes",
            "data.workers=0",
            "data.scenes.size=[64, 64]",
            "data.scenes.val_images=2",
            "relation.top_k=6",
            *settings,
        ],
    )


def images(config):
    return Split(build_dataset(config.data, "val"))


def sensitive_model(config, seed=0):
    """A model whose answers depend on K, as a trained one's do."""
    torch.manual_seed(seed)
    model = build_model(config, build_dataset(config.data, "val").categories).eval()
    with torch.no_grad():
        for module in (model.relation.attention.g_q, model.relation.attention.g_s):
            module.weight.normal_(std=0.5)
        model.relation.feature_norm.weight.fill_(1.0)
    return model


def saved(path, config, seed=0):
    model = sensitive_model(config, seed)
    save_checkpoint(path, model.state_dict(), config, model.categories, {})
    return path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10..40:10", (10, 20, 30, 40)),
        ("10..35:10", (10, 20, 30)),
        ("0..3", (0, 1, 2, 3)),
        ("50", (50,)),
        ("20,5,20", (5, 20)),
        ("10..200", tuple(range(10, 201, 10))),
    ],
)
def test_ranges(text, expected):
    assert parse_range(text) == expected


@pytest.mark.parametrize("text", ["", "a..b", "20..10", "10..20:0", "-1", "1..2..3"])
def test_a_wrong_range_is_named(text):
    with pytest.raises(ConfigError, match="write 10..200"):
        parse_range(text)


def test_filled_maps_are_counted_by_hand():
    maps = torch.zeros(2, 3, 2, 2)
    maps[0, 0, 1, 1], maps[0, 2, 0, 0], maps[1, 1] = 0.1, 1.0, 0.5
    assert count_filled(maps).tolist() == [2, 1]
    assert count_filled(maps[:, :0]).tolist() == [0, 0]


def test_a_smaller_k_takes_the_first_rows_of_g_p():
    config = small("scenes-pdl-r18")
    model = sensitive_model(config)
    state = model.state_dict()
    n = len(model.categories)
    state["relation.attention.g_p.weight"] = state["relation.attention.g_p.weight"][: n + 2, : n + 2]
    smaller = build_model(replace(config, relation=replace(config.relation, top_k=2)), model.categories).eval()
    smaller.load_state_dict(state)
    pixels = torch.stack([images(config).dataset[0].image])
    with torch.inference_mode():
        first = model.first_stage(pixels)
        whole, expected = model.second_stage(first).final.semantic.logits, smaller(pixels).final.semantic.logits
        with ablation._instances_limited(model, 2):
            limited = model.second_stage(first).final.semantic.logits
    assert torch.equal(model(pixels).final.semantic.logits, whole)
    assert torch.allclose(limited, expected, atol=1e-7) and not torch.allclose(whole, expected, atol=1e-5)
    assert model.config.relation.top_k == 6


@pytest.mark.parametrize("preset", ["scenes-pdl-r18", "custom-pfpn-r18", "custom-maskformer-r18", "custom-upernet-r18"])
def test_one_pass_scores_as_an_evaluation_for_each_k(preset):
    config = small(preset)
    model = sensitive_model(config)
    split = images(config)
    calls = []
    found = scores_by_k(model, (0, 4), split, CPU, lambda done, total: calls.append((done, total)))
    for scores in found:
        model.config = replace(config, relation=replace(config.relation, top_k=scores.k))
        alone = evaluate(model, split.dataset, config.data, CPU, 1, 0, instances=False)
        assert scores.miou == alone.semantic.miou and scores.pq == alone.panoptic.all.pq
        assert scores.filled_mean <= scores.filled_max <= scores.k
    assert [scores.k for scores in found] == [0, 4] and calls == [(1, 2), (2, 2)]


def test_k_matters_in_these_tests():
    config = small("scenes-pdl-r18", "relation.thing_mask=probability")
    none, some = scores_by_k(sensitive_model(config), (0, 6), images(config), CPU)
    assert none.filled_max == 0 < some.filled_max and none.miou != some.miou


def test_a_k_above_the_trained_one_is_refused_with_the_cure():
    config = small("scenes-pdl-r18")
    model = sensitive_model(config)
    assert check_ks(model, (0, 6)) == 6
    with pytest.raises(ConfigError, match=r"K = 7: .* trained with 6 instances .*--range up to 6.*--retrain"):
        check_ks(model, (2, 7))


@pytest.mark.parametrize("relation", ["none", "heads", "ocr"])
def test_a_relation_without_instances_is_refused(relation):
    config = small("scenes-pdl-r18", f"relation.name={relation}")
    with pytest.raises(ConfigError, match="reads no instances"):
        check_ks(build_model(config, images(config).dataset.categories), (1,))


def test_a_killed_run_continues(tmp_path, monkeypatch):
    config = small("scenes-pdl-r18")
    subject = Subject(saved(tmp_path / "a.safetensors", config), (1, 2, 3))
    asked, score = [], ablation.scores_by_k

    def until_killed(model, ks, *others):
        asked.append(list(ks))
        if len(asked) == 2:
            raise KeyboardInterrupt
        return score(model, ks, *others)

    monkeypatch.setattr(ablation, "KS_A_PASS", 1)
    monkeypatch.setattr(ablation, "scores_by_k", until_killed)
    path = tmp_path / "out" / "k.csv"
    with pytest.raises(KeyboardInterrupt):
        ablate([subject], images, path, CPU)
    assert [row["k"] for row in ResultsTable.read_csv(path).rows] == [1]
    table = ablate([subject], images, path, CPU)
    assert asked == [[1], [2], [2], [3]]
    assert [(row["k"], row["trained_k"], row["seed"], row["images"]) for row in table.rows] == [
        (k, 6, 0, 2) for k in (1, 2, 3)
    ]
    assert table.rows[0]["model"] == "scenes-pdl-r18, with reweighting"
    assert ResultsTable.read_csv(path) == table


def test_other_weights_and_other_images_are_other_rows(tmp_path):
    config = small("scenes-pdl-r18")
    path = tmp_path / "k.csv"
    checkpoint = tmp_path / "a.safetensors"
    one = Subject(saved(checkpoint, config), (1,))
    ablate([one], images, path, CPU)
    saved(checkpoint, config, seed=1)
    two = Subject(saved(tmp_path / "b.safetensors", replace(config, name="b")), (1,))
    table = ablate([one, two], images, path, CPU)
    assert [row["model"] for row in table.rows] == ["scenes-pdl-r18, with reweighting", "b, with reweighting"]
    ablate([one], lambda c: replace(images(c), limit=1), path, CPU)
    assert [row["images"] for row in ResultsTable.read_csv(path).rows] == [2, 2, 2, 1]


def test_a_foreign_table_is_refused(tmp_path):
    (tmp_path / "k.csv").write_text("name\n")
    with pytest.raises(DataError, match="ablate-k"):
        ablate([], images, tmp_path / "k.csv", CPU)


def test_curves_average_the_seeds_by_hand(tmp_path):
    table = ResultsTable(COLUMNS)
    for seed, k, pq in ((0, 20, 50.0), (0, 10, 40.0), (1, 10, 44.0), (1, 20, None)):
        table.add({"model": "with", "seed": seed, "k": k, "pq": pq})
    table.add({"model": "without", "seed": 0, "k": 10, "pq": 0.0})
    (ten, first), (twenty, second) = curve(table, "with")
    assert (ten, twenty) == (10, 20)
    assert (first.n, first.mean, second.n, second.mean) == (2, 42.0, 1, 50.0)
    assert first.std == pytest.approx(8**0.5)
    draw_curves(table, tmp_path / "k.png")
    colours = {tuple(c) for c in np.asarray(Image.open(tmp_path / "k.png").convert("RGB")).reshape(-1, 3)}
    assert {(0x0B, 0x6E, 0x99), (0xD9, 0x73, 0x0D)} <= colours


def test_more_instances_than_queries_are_refused_before_training(tmp_path):
    study = Study("custom-maskformer-r18", (), (0,), tmp_path, ("maskformer.queries=20",))
    retraining(study, (20,), (True,))
    with pytest.raises(ConfigError, match="K = 21: .* 20 instances .*maskformer.queries=N"):
        retraining(study, (21,), (True,))


def test_a_model_for_each_k(tmp_path):
    study, subjects = retraining(Study("scenes-pdl-r18", (), (0, 1), tmp_path), (10, 20), (True, False))
    relations = {run.name: run.config.relation for run in study.runs()}
    assert len(relations) == 8
    assert (relations["k20-seed1"].top_k, relations["k20-seed1"].reweight) == (20, True)
    assert (relations["k10-noreweight-seed0"].top_k, relations["k10-noreweight-seed0"].reweight) == (10, False)
    assert [subject.ks for subject in subjects] == [(10,), (10,), (20,), (20,)] * 2
    assert {subject.path.parent.name for subject in subjects} == set(relations)
    assert {subject.name for subject in subjects} == {
        f"scenes-pdl-r18, {w} reweighting, trained for each K" for w in ("with", "without")
    }
