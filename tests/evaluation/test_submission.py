import copy
import json
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from cityscapesscripts.evaluation import evalInstanceLevelSemanticLabeling as official_instances
from cityscapesscripts.evaluation import evalPanopticSemanticLabeling as official_panoptic
from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as official_pixels
from cityscapesscripts.helpers.csHelpers import getCoreImageFileName
from cityscapesscripts.preparation.createPanopticImgs import convert2panoptic
from PIL import Image

from pisr_core.data.categories import known_categories
from pisr_core.data.coco.files import CocoPanopticWriter
from pisr_core.errors import ConfigError
from pisr_core.evaluation.submission import open_submission
from pisr_core.metrics.files import evaluate_files
from pisr_core.structures import IGNORE_INDEX, PanopticResult, PanopticSegmentation, Sample, Segment

SIZE = (80, 120)


def panoptic(generator, categories, background, things):
    """A map of one stuff class under boxes of thing classes, with void in a corner."""
    ids = np.full(SIZE, 7, np.int32)
    segments = [Segment(7, background, 0, score=0.9)]
    for number, category in enumerate(things):
        top, left = generator.integers(0, 50), 5 + 38 * number
        ids[top : top + 28, left : left + 30] = 20 + number
        segments.append(Segment(20 + number, category, 0, score=float(generator.random())))
    ids[:6, :6] = 0
    return PanopticSegmentation(ids, tuple(segments))


def moved(truth, shift):
    """The same with everything moved, and a listed segment without a pixel."""
    ids = np.roll(truth.ids, (shift, 2 * shift), axis=(0, 1))
    return PanopticSegmentation(ids, (*truth.segments, Segment(999, 0, 0)))


def results(categories, background, things, ids):
    """Samples with their annotations, and results that differ from them."""
    generator = np.random.default_rng(0)
    for shift, image_id in enumerate(ids, start=1):
        truth = panoptic(generator, categories, background, things)
        prediction = moved(truth, shift)
        name = f"{image_id:012}.jpg" if isinstance(image_id, int) else f"{image_id}_gtFine_leftImg8bit.png"
        sample = Sample(torch.zeros(3, *SIZE, dtype=torch.uint8), truth, image_id, name)
        yield sample, PanopticResult(prediction, prediction.semantic())


@pytest.fixture
def cityscapes():
    categories = known_categories("cityscapes")
    position = {category.name: index for index, category in enumerate(categories)}
    names = ["ulm_000000_000019", "ulm_000001_000019", "ulm_000002_000019"]
    return categories, list(
        results(categories, position["road"], [position[n] for n in ("car", "person", "car")], names)
    )


def upload(folder, dataset, categories, pairs):
    """Writes the archives and unpacks each one into a folder of its own."""
    with open_submission(folder, dataset, "val", "my model/1", categories) as archives:
        for sample, result in pairs:
            for archive in archives.values():
                archive.add(sample, result)
        assert not any(path.exists() for path in archives)
    unpacked = []
    for path in archives:
        with ZipFile(path) as file:
            assert file.testzip() is None
            file.extractall(path.with_suffix(""))
        unpacked.append(path.with_suffix(""))
    return unpacked


def ours(tmp_path, categories, pairs):
    """Our scores of the same predictions; the writer leaves the empty segment out too."""
    for kind in ("truth", "predicted"):
        with CocoPanopticWriter(tmp_path / f"{kind}.json", tmp_path / kind, categories) as writer:
            for sample, result in pairs:
                panoptic = sample.panoptic if kind == "truth" else result.panoptic
                writer.add(sample.image_id, sample.file_name, panoptic)
    return evaluate_files(tmp_path / "predicted.json", tmp_path / "truth.json")


def official_pq(truth_json, predicted_json):
    truths, predictions = (json.loads(path.read_text()) for path in (truth_json, predicted_json))
    predicted = {entry["image_id"]: entry for entry in predictions["annotations"]}
    pairs = [(entry, predicted[entry["image_id"]]) for entry in truths["annotations"]]
    categories = {entry["id"]: entry for entry in truths["categories"]}
    folders = (str(path.with_suffix("")) for path in (truth_json, predicted_json))
    sums = official_panoptic.pq_compute_single_core(0, pairs, *folders, categories)
    return official_panoptic.average_pq(sums, categories)["All"]["pq"]


def gt_fine(root, categories, pairs):
    """The annotations as Cityscapes stores them."""
    folder = root / "gtFine" / "val" / "ulm"
    folder.mkdir(parents=True)
    for sample, _ in pairs:
        ids = np.zeros(SIZE, np.uint16)
        for number, segment in enumerate(sample.panoptic.segments):
            category = categories[segment.category]
            value = 1000 * category.id + number if category.isthing else category.id
            ids[sample.panoptic.ids == segment.id] = value
        Image.fromarray(ids).save(folder / f"{sample.image_id}_gtFine_instanceIds.png")
        labels = np.where(ids < 1000, ids, ids // 1000).astype(np.uint8)
        Image.fromarray(labels).save(folder / f"{sample.image_id}_gtFine_labelIds.png")
    return folder


def official_scores(module, truths, results_folder, **settings):
    """A tool of cityscapesscripts, which looks for the predictions itself, as on the server."""
    args = copy.copy(module.args)
    args.quiet, args.JSONOutput, args.predictionPath, args.predictionWalk = True, False, str(results_folder), None
    for name, value in settings.items():
        setattr(args, name, value)
    find = module.getPrediction
    paths = [find(t, args) if module is official_instances else find(args, t) for t in truths]
    assert [getCoreImageFileName(path) for path in truths] == [path.split("/")[-1][:17] for path in paths]
    return module.evaluateImgLists(paths, truths, args)


def test_the_official_tools_score_cityscapes_archives_as_we_do(tmp_path, cityscapes, monkeypatch):
    monkeypatch.setattr(np, "in1d", np.isin, raising=False)  # NumPy 2.4 has it no more
    monkeypatch.setattr(official_instances, "writeDict2JSON", lambda content, path: None)
    categories, pairs = cityscapes
    panoptic_folder, instance_folder, pixel_folder = upload(tmp_path / "up", "cityscapes", *cityscapes)
    folder, expected = gt_fine(tmp_path, categories, pairs), ours(tmp_path, categories, pairs)
    convert2panoptic(str(tmp_path / "gtFine"), setNames=["val"])

    (predicted_json,) = panoptic_folder.glob("*.json")
    found = official_pq(tmp_path / "gtFine" / "cityscapes_panoptic_val.json", predicted_json)
    assert 0.1 < found < 0.99
    assert 100 * found == pytest.approx(expected.panoptic.all.pq)

    truths = {kind: sorted(map(str, folder.glob(f"*_{kind}.png"))) for kind in ("instanceIds", "labelIds")}
    cache = str(tmp_path / "gtInstances.json")
    found = official_scores(official_instances, truths["instanceIds"], instance_folder, gtInstancesFile=cache)
    assert 0.1 < found["averages"]["allAp"] < 0.99
    assert 100 * found["averages"]["allAp"] == pytest.approx(expected.instance.ap)
    assert 100 * found["averages"]["allAp50%"] == pytest.approx(expected.instance.ap50)

    found = official_scores(official_pixels, truths["labelIds"], pixel_folder)
    assert 100 * found["averageScoreClasses"] == pytest.approx(expected.semantic.miou)


def test_a_coco_archive_scores_as_the_predictions(tmp_path):
    categories = known_categories("coco")
    things = [index for index, category in enumerate(categories) if category.isthing][:3]
    stuff = next(index for index, category in enumerate(categories) if not category.isthing)
    pairs = list(results(categories, stuff, things, [139, 285]))
    (folder,) = upload(tmp_path / "up", "coco", categories, pairs)
    name = "panoptic_val2017_my-model-1_results"
    assert folder.name == name
    assert sorted(path.name for path in folder.iterdir()) == [name, f"{name}.json"]
    assert sorted(path.name for path in (folder / name).iterdir()) == ["000000000139.png", "000000000285.png"]
    expected = ours(tmp_path, categories, pairs).panoptic.all.pq
    found = official_pq(tmp_path / "truth.json", folder / f"{name}.json")
    assert 0.1 < found < 0.99 and 100 * found == pytest.approx(expected)


def test_label_ids_are_cityscapes_own_and_void_is_unlabelled(tmp_path, cityscapes):
    categories, pairs = cityscapes
    *_, folder = upload(tmp_path, "cityscapes", categories, pairs)
    sample, result = pairs[0]
    found = np.asarray(Image.open(folder / f"{sample.image_id}_labelIds.png"))
    assert (result.semantic == IGNORE_INDEX).any()
    assert set(np.unique(found)) == {0, 7, 24, 26}
    assert ((found == 0) == (result.semantic == IGNORE_INDEX)).all()


def test_an_interrupted_submission_leaves_no_archive(tmp_path, cityscapes):
    categories, pairs = cityscapes
    with (
        pytest.raises(ConfigError, match="stop"),
        open_submission(tmp_path, "cityscapes", "test", "m", categories) as archives,
    ):
        for archive in archives.values():
            archive.add(*pairs[0])
        raise ConfigError("stop")
    assert not list(tmp_path.glob("*.zip"))


def test_datasets_without_a_server_are_refused(tmp_path):
    with (
        pytest.raises(ConfigError, match="coco, cityscapes"),
        open_submission(tmp_path, "scenes", "val", "m", known_categories("scenes")),
    ):
        pass
    assert not list(tmp_path.iterdir())
