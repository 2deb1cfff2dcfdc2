import copy
import json
import math

import numpy as np
import pytest
from cityscapesscripts.evaluation import evalInstanceLevelSemanticLabeling as official_instances
from cityscapesscripts.evaluation import evalPanopticSemanticLabeling as official_panoptic
from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as official_pixels
from cityscapesscripts.helpers.labels import labels
from cityscapesscripts.preparation.createPanopticImgs import convert2panoptic
from PIL import Image

from pisr_core.data.categories import is_cityscapes, known_categories
from pisr_core.data.coco.files import CocoPanopticWriter
from pisr_core.errors import DataError
from pisr_core.metrics.cityscapes import CityscapesAP, InstanceIoU, average_precision
from pisr_core.metrics.files import evaluate_files
from pisr_core.metrics.overlaps import class_overlaps, segment_overlaps
from pisr_core.metrics.semantic import MeanIoU
from pisr_core.structures import Category, PanopticSegmentation, Segment, SegmentArrays

CATEGORIES = known_categories("cityscapes")
POSITIONS = {category.name: index for index, category in enumerate(CATEGORIES)}
PERSON, CAR, ROAD = POSITIONS["person"], POSITIONS["car"], POSITIONS["road"]
SIZE = (96, 160)


@pytest.fixture(autouse=True)
def _official_tools_run_with_this_numpy(monkeypatch):
    monkeypatch.setattr(np, "in1d", np.isin, raising=False)  # NumPy 2.4 has it no more
    # Its files of intermediate results, which nothing reads again, fail on NumPy's integers.
    monkeypatch.setattr(official_instances, "writeDict2JSON", lambda content, path: None)


def instance_ids(truth, caravans):
    """A map as `instanceIds.png` holds it: void of several labels, groups, and (by choice) caravans."""
    values = np.where(np.arange(SIZE[1]) < 80, 0, 4) + np.zeros(SIZE, int)
    for number, segment in enumerate(truth.segments):
        category = CATEGORIES[segment.category]
        value = category.id if segment.iscrowd or not category.isthing else category.id * 1000 + number
        values[truth.ids == segment.id] = value
    if caravans:
        values[20:60, 90:140] = 29001
    return values.astype(np.uint16)


class Tree:
    """A gtFine tree with annotations and predictions of both kinds, made once for all official tools."""

    def __init__(self, root, random_pair, caravans=False, count=10, seed=0):
        self.gt_fine, self.results = root / "gtFine" / "val", root / "results"
        (self.gt_fine / "ulm").mkdir(parents=True)
        self.results.mkdir()
        self.names, self.predictions = [], []
        generator = np.random.default_rng(seed)
        for index in range(count):
            prediction, truth = random_pair(generator, CATEGORIES, SIZE, 30 if index % 2 else 12)
            self._write(f"ulm_{index:06}_000019", prediction, instance_ids(truth, caravans))
        convert2panoptic(str(root / "gtFine"), setNames=["val"])
        self.annotations_json = root / "gtFine" / "cityscapes_panoptic_val.json"
        self.predictions_json = root / "predicted.json"
        with CocoPanopticWriter(self.predictions_json, root / "predicted", CATEGORIES) as writer:
            for name, prediction in zip(self.names, self.predictions, strict=True):
                writer.add(name, f"{name}.png", prediction)

    def _write(self, name, prediction, ids):
        stem = self.gt_fine / "ulm" / name
        Image.fromarray(ids).save(f"{stem}_gtFine_instanceIds.png")
        Image.fromarray(np.where(ids < 1000, ids, ids // 1000).astype(np.uint8)).save(f"{stem}_gtFine_labelIds.png")
        label_ids = np.array([*(category.id for category in CATEGORIES), 0], np.uint8)
        semantic = label_ids[np.minimum(prediction.semantic(), len(CATEGORIES))]
        Image.fromarray(semantic).save(self.results / f"{name}.png")
        lines = []
        for segment in prediction.segments:
            mask_name = f"{name}_{segment.id}.png"
            Image.fromarray((prediction.ids == segment.id).astype(np.uint8) * 255).save(self.results / mask_name)
            lines.append(f"{mask_name} {CATEGORIES[segment.category].id} {segment.score}")
        (self.results / f"{name}.txt").write_text("\n".join(lines))
        self.names.append(name)
        self.predictions.append(prediction)

    def truths(self, kind):
        return [str(self.gt_fine / "ulm" / f"{name}_gtFine_{kind}.png") for name in self.names]

    def ours(self, **options):
        return evaluate_files(self.predictions_json, self.annotations_json, **options)

    def instance_scores(self):
        args = copy.copy(official_instances.args)
        args.quiet, args.JSONOutput = True, False
        args.gtInstancesFile = str(self.results / "instances.json")
        args.predictionPath = str(self.results)
        predictions = [str(self.results / f"{name}.txt") for name in self.names]
        return official_instances.evaluateImgLists(predictions, self.truths("instanceIds"), args)["averages"]

    def pixel_scores(self):
        args = copy.copy(official_pixels.args)
        args.quiet, args.JSONOutput = True, False
        predictions = [str(self.results / f"{name}.png") for name in self.names]
        return official_pixels.evaluateImgLists(predictions, self.truths("labelIds"), args)

    def panoptic_scores(self):
        truths, predictions = (json.loads(p.read_text()) for p in (self.annotations_json, self.predictions_json))
        predicted = {entry["image_id"]: entry for entry in predictions["annotations"]}
        pairs = [(entry, predicted[entry["image_id"]]) for entry in truths["annotations"]]
        categories = {entry["id"]: entry for entry in truths["categories"]}
        folders = (str(path.with_suffix("")) for path in (self.annotations_json, self.predictions_json))
        return official_panoptic.average_pq(
            official_panoptic.pq_compute_single_core(0, pairs, *folders, categories), categories
        )


@pytest.fixture
def tree(tmp_path, random_pair):
    return Tree(tmp_path, random_pair)


def largest_difference(ours, theirs):
    """Ours are of 0–100 with None, theirs of 0–1 with NaN."""
    theirs = [float(value) for value in theirs]
    assert [value is None for value in ours] == [math.isnan(value) for value in theirs]
    return max(abs(a - 100 * b) for a, b in zip(ours, theirs, strict=True) if a is not None)


def test_ap_equals_cityscapesscripts(tree, record_property):
    ours, theirs = tree.ours().instance, tree.instance_scores()
    things = [(index, c.name) for index, c in enumerate(CATEGORIES) if c.isthing]
    difference = largest_difference(
        [ours.ap, ours.ap50, *(s[i] for s in (ours.per_class, ours.per_class_ap50) for i, _ in things)],
        [theirs["allAp"], theirs["allAp50%"]]
        + [theirs["classes"][name][key] for key in ("ap", "ap50%") for _, name in things],
    )
    assert 5 < ours.ap < 95 and ours.ap75 is None
    record_property("Cityscapes AP of 0-100, absolute", difference)
    assert difference < 1e-9


def test_iiou_and_miou_equal_cityscapesscripts(tree, record_property):
    ours, theirs = tree.ours().semantic, tree.pixel_scores()
    names = [category.name for category in CATEGORIES]
    difference = largest_difference(
        [ours.miou, *ours.per_class], [theirs["averageScoreClasses"], *(theirs["classScores"][n] for n in names)]
    )
    record_property("Cityscapes mIoU of 0-100, absolute", difference)
    assert difference < 1e-9
    difference = largest_difference(
        [ours.iiou, ours.iiou_categories, *ours.iiou_per_class],
        [theirs["averageScoreInstClasses"], theirs["averageScoreInstCategories"]]
        + [theirs["classInstScores"][n] for n in names],
    )
    record_property("Cityscapes iIoU of 0-100, absolute", difference)
    assert 5 < ours.iiou < ours.iiou_categories < 95
    assert difference < 1e-9


def test_pq_equals_cityscapesscripts(tree, record_property):
    ours, theirs = tree.ours().panoptic, tree.panoptic_scores()
    groups = [("all", "All"), ("things", "Things"), ("stuff", "Stuff")]
    difference = largest_difference(
        [getattr(getattr(ours, group), key) for group, _ in groups for key in ("pq", "sq", "rq")]
        + [quality.pq for quality in ours.per_class],
        [theirs[group][key] for _, group in groups for key in ("pq", "sq", "rq")]
        + [theirs["per_class"][category.id]["pq"] for category in CATEGORIES],
    )
    assert ours.all.n == theirs["All"]["n"]
    record_property("Cityscapes PQ of 0-100, absolute", difference)
    assert difference < 1e-9


def test_caravans_are_mistakes_only_where_the_official_annotation_is_read(tmp_path, random_pair):
    tree = Tree(tmp_path, random_pair, caravans=True, count=4)
    lenient, exact = tree.ours().instance, tree.ours(official_instances=tree.gt_fine).instance
    assert lenient.ap > exact.ap
    assert exact.ap == pytest.approx(100 * tree.instance_scores()["allAp"], abs=1e-9)


def test_official_annotations_that_cannot_be_read_are_named(tree):
    with pytest.raises(DataError, match="ulm_000000_000019_gtFine_instanceIds.png: no such file"):
        tree.ours(official_instances=tree.results)
    (tree.gt_fine / "ulm" / "ulm_000000_000019_gtFine_instanceIds.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="ulm_000000_000019_gtFine_instanceIds.png: cannot be read"):
        tree.ours(official_instances=tree.gt_fine)


def test_the_precision_of_one_class_equals_cityscapesscripts():
    """Random outcomes with equal scores, and more annotated instances than are found."""
    generator = np.random.default_rng(0)
    for _ in range(20):
        truths, found = 8, int(generator.integers(1, 6))
        scores = generator.integers(0, 5, 20) / 4
        outcomes = np.where(np.arange(20) < found, 1, np.where(np.arange(20) < 15, 0, 2)).astype(np.uint8)
        matches = {"image": official_matches(scores, outcomes, truths)}
        args = copy.copy(official_instances.args)
        args.overlaps, args.instLabels = [0.5], ["car"]
        expected = official_instances.evaluateMatches(matches, args)[0, 0, 0]
        assert average_precision(scores, outcomes, truths) == pytest.approx(expected, abs=1e-12)


def official_matches(scores, outcomes, truths):
    """What the official tool knows of an image in which detections come out so."""
    instances = [
        {"instID": 26000 + i, "pixelCount": 500, "medDist": -1, "distConf": 0.0, "matchedPred": []}
        for i in range(truths)
    ]
    predictions = []
    for index, (score, outcome) in enumerate(zip(scores, outcomes, strict=True)):
        detection = {"pixelCount": 500, "confidence": score, "voidIntersection": 500 * (outcome == 2), "matchedGt": []}
        if outcome == 1:
            instances[index]["matchedPred"].append({**detection, "intersection": 500})
            detection["matchedGt"].append({**instances[index], "intersection": 500})
        predictions.append(detection)
    return {"groundTruth": {"car": instances}, "prediction": {"car": predictions}}


def panoptic(ids, *segments):
    return PanopticSegmentation(np.asarray(ids, np.int32), tuple(Segment(*segment) for segment in segments))


def row(*runs):
    """A map of one row from (id, pixels)."""
    return np.concatenate([np.full((1, pixels), segment_id) for segment_id, pixels in runs], axis=1)


def ap(prediction, truth):
    metric = CityscapesAP(CATEGORIES)
    metric.update("a", segment_overlaps(truth, prediction))
    return metric.result()


def test_hand_computed_ap():
    truth = panoptic(row((1, 200), (2, 200)), (1, CAR, 0), (2, CAR, 0))
    guess = panoptic(row((3, 200), (0, 60), (4, 140)), (3, CAR, 0, False, 0.5), (4, CAR, 0, False, 0.9))
    result = ap(guess, truth)
    # Centred steps at thresholds below 0.7: precision 1 at recall 0, 1/2, 1 with widths 1/4, 1/2, 1/4.
    assert result.ap50 == pytest.approx(100)
    # From 0.7 on: precision 1, 0, 1/2 at recall 0, 0, 1/2 with widths 0, 1/4, 1/4.
    assert result.ap == pytest.approx((4 * 100 + 6 * 12.5) / 10)
    assert result.per_class[PERSON] is None


@pytest.mark.parametrize(
    ("truth", "expected"),
    [
        (panoptic(row((1, 200), (0, 200)), (1, CAR, 0)), 100),  # on void
        (panoptic(row((1, 200), (2, 200)), (1, CAR, 0), (2, CAR, 0, True)), 100),  # on a group of its class
        (panoptic(row((1, 200), (2, 200)), (1, CAR, 0), (2, PERSON, 0, True)), 75),  # on a group of another class
        (panoptic(row((1, 200), (2, 99), (0, 101)), (1, CAR, 0), (2, CAR, 0)), 100),  # half on an instance too small
        (panoptic(row((1, 200), (2, 200)), (1, CAR, 0), (2, ROAD, 0)), 75),  # on something else
    ],
)
def test_what_excuses_a_detection(truth, expected):
    guess = panoptic(row((3, 200), (4, 200)), (3, CAR, 0, False, 0.5), (4, CAR, 0, False, 0.9))
    assert ap(guess, truth).ap == pytest.approx(expected * (1 if expected == 100 else 1 / 3))


def test_classes_whose_detections_are_all_ignored_score_zero():
    truth = panoptic(row((1, 200), (0, 200)), (1, CAR, 0))
    assert ap(panoptic(row((0, 200), (2, 200)), (2, CAR, 0)), truth).ap == 0
    assert ap(panoptic(row((0, 400))), truth).ap == 0
    assert ap(truth, panoptic(row((0, 400)))).ap is None
    assert CityscapesAP(CATEGORIES).result().ap is None


def test_ap_of_parts_merges_to_the_whole(random_pair):
    generator = np.random.default_rng(0)
    whole, first, second = (CityscapesAP(CATEGORIES) for _ in range(3))
    for index in range(6):
        prediction, truth = random_pair(generator, CATEGORIES, SIZE)
        overlaps = segment_overlaps(truth, prediction)
        for metric in (whole, first if index % 2 else second):
            metric.update(f"city_{index}", overlaps)
    first.merge(second.state)
    assert first.result() == whole.result()


def test_hand_computed_iiou():
    truth = panoptic(row((1, 10), (2, 40), (3, 50)), (1, CAR, 0), (2, CAR, 0), (3, PERSON, 0, True))
    truck = POSITIONS["truck"]
    semantic = np.concatenate([np.full((1, 30), CAR), np.full((1, 20), truck), np.full((1, 50), CAR)], axis=1)
    pixels = class_overlaps(truth, semantic.astype(np.uint8), len(CATEGORIES))
    iou, iiou = MeanIoU(len(CATEGORIES)), InstanceIoU(CATEGORIES)
    segments = SegmentArrays.of(truth.segments)
    iou.update(segments.classes, pixels)
    iiou.update(segments, pixels)
    result = iiou.result(iou.result(), iou.state)
    size = official_pixels.args.avgClassSize["car"]
    # The small car is whole, half of the other is missed; the group's 50 pixels are false positives.
    assert result.iiou_per_class[CAR] == pytest.approx(100 * 1.5 * size / (2 * size + 50))
    assert result.iiou_per_class[truck] == 0 and result.iiou_per_class[PERSON] is None
    # A truck is a vehicle too, so both cars are whole.
    assert result.iiou_categories == pytest.approx(100 * 2 * size / (2 * size + 50))
    assert result.iiou == pytest.approx(result.iiou_per_class[CAR] / 2)


def test_cityscapes_is_known_by_its_classes():
    train_ids = {label.name: label.trainId for label in labels}
    assert is_cityscapes(CATEGORIES)
    assert is_cityscapes([Category(train_ids[c.name], c.name, c.isthing) for c in CATEGORIES])
    assert not is_cityscapes(CATEGORIES[1:])
