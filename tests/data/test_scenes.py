import dataclasses
from collections import Counter

import cv2
import numpy as np
import pytest
import torch

from pisr_core.config import ScenesConfig
from pisr_core.data.scenes import DIFFICULTIES, SCENE_CATEGORIES, SceneDataset
from pisr_core.data.scenes.ground import lay_ground
from pisr_core.data.scenes.painting import draw_map, draw_things
from pisr_core.data.scenes.shapes import SHAPES, TWINS
from pisr_core.data.scenes.things import FAR, NEAR, Thing, category_of, place_things
from pisr_core.errors import ConfigError
from pisr_core.structures import PanopticSegmentation, Sample

NAMES = [category.name for category in SCENE_CATEGORIES]
LEVELS = list(DIFFICULTIES)


def scenes(level: str, count: int, split: str = "val") -> list[Sample]:
    dataset = SceneDataset(ScenesConfig(difficulty=level, val_images=count, train_images=count), split)
    return [dataset[i] for i in range(count)]


def masks(panoptic: PanopticSegmentation, *names: str) -> list[np.ndarray]:
    chosen = [s.id for s in panoptic.segments if NAMES[s.category] in names]
    return [panoptic.ids == segment_id for segment_id in chosen]


def distance_to(mask: np.ndarray) -> np.ndarray:
    return cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


def thing(shape: str = "hulled", ground: str = "plaza", x: float = 50.0, y: float = 60.0) -> Thing:
    return Thing(shape, ground, x, y, height=20.0, facing=1, body=(200, 50, 50), trim=(240, 240, 240))


@pytest.mark.parametrize("level", LEVELS)
def test_a_scene_is_the_same_each_time(level):
    dataset = SceneDataset(ScenesConfig(difficulty=level), "train")
    dataset[4]
    first, second = dataset[7], SceneDataset(ScenesConfig(difficulty=level), "train")[7]
    assert torch.equal(first.image, second.image)
    assert np.array_equal(first.panoptic.ids, second.panoptic.ids)
    assert first.panoptic.segments == second.panoptic.segments


def test_no_two_scenes_are_equal():
    images = [s.image.numpy().tobytes() for split in ("train", "val") for s in scenes("default", 30, split)]
    images += [s.image.numpy().tobytes() for s in scenes("hard", 30)]
    assert len(set(images)) == 90


@pytest.mark.parametrize("level", LEVELS)
def test_segments_describe_the_map(level):
    for index, sample in enumerate(scenes(level, 40)):
        panoptic = sample.panoptic
        ids, areas = np.unique(panoptic.ids[panoptic.ids > 0], return_counts=True)
        assert {s.id: s.area for s in panoptic.segments} == dict(zip(ids.tolist(), areas.tolist(), strict=True))
        assert [s.id for s in panoptic.segments] == list(range(1, len(panoptic.segments) + 1))
        stuff = [s.category for s in panoptic.segments if not SCENE_CATEGORIES[s.category].isthing]
        assert len(stuff) == len(set(stuff))
        assert min(areas) >= 20
        assert np.mean(panoptic.ids == 0) < 0.05
        assert (sample.image_id, sample.file_name) == (index, f"scene_{index:06d}.png")


@pytest.mark.parametrize("level", LEVELS)
def test_every_class_occurs(level):
    seen = Counter(NAMES[s.category] for scene in scenes(level, 200) for s in scene.panoptic.segments)
    assert min(seen[name] for name in NAMES) >= 20


@pytest.mark.parametrize("size", [(64, 64), (64, 200), (131, 97), (256, 512)])
def test_every_size_works(size):
    dataset = SceneDataset(ScenesConfig(difficulty="hard", size=size), "train")
    for index in range(5):
        sample = dataset[index]
        assert sample.image.shape == (3, *size) and sample.image.dtype == torch.uint8
        assert sample.panoptic.ids.shape == size == dataset.size(index)
        assert sum(SCENE_CATEGORIES[s.category].isthing for s in sample.panoptic.segments) > 0


def test_things_grow_with_the_image():
    def median_area(size: tuple[int, int]) -> float:
        dataset = SceneDataset(ScenesConfig(size=size), "val")
        segments = [s for i in range(30) for s in dataset[i].panoptic.segments]
        return float(np.median([s.area for s in segments if SCENE_CATEGORIES[s.category].isthing]))

    assert median_area((192, 192)) / median_area((96, 96)) == pytest.approx(4, rel=0.35)


def test_length_and_bounds():
    config = ScenesConfig(train_images=5, val_images=3)
    assert (len(SceneDataset(config, "train")), len(SceneDataset(config, "val"))) == (5, 3)
    assert len(list(SceneDataset(config, "val"))) == 3
    with pytest.raises(IndexError, match="Scene 5"):
        SceneDataset(config, "train")[5]


@pytest.mark.parametrize("shape", list(SHAPES))
def test_picture_and_map_agree_to_the_pixel(shape):
    things = [thing(shape, x=40.3, y=50.7), dataclasses.replace(thing(shape, x=47.9, y=55.2), facing=-1)]
    empty = (1, 254, 3)
    picture = np.full((80, 90, 3), empty, np.uint8)
    draw_things(picture, things)
    painted = np.any(picture != empty, axis=2)
    assert np.array_equal(painted, draw_map(things, (80, 90)) > 0)


def test_nearer_things_cover_farther_ones():
    far, near = thing(y=60.0), thing(y=64.0)
    alone, both = draw_map([near], (80, 90)), draw_map([far, near], (80, 90))
    assert np.array_equal(both == 2, alone == 1)


def test_ground_decides_hulled_and_round_things():
    for shape, wet, dry, dry_ground in (
        ("hulled", "boat", "car", "road"),
        ("round", "buoy", "ball", "grass"),
    ):
        for water in (False, True):
            assert NAMES[category_of(thing(shape, "water"), (), water)] == wet
            assert NAMES[category_of(thing(shape, dry_ground), (), water)] == dry
        assert NAMES[category_of(thing(shape, "plaza"), (), True)] == wet
        assert NAMES[category_of(thing(shape, "plaza"), (), False)] == dry


def test_a_person_nearby_decides_four_legged_things():
    animal, person = thing("four-legged", "grass"), thing("person", "grass")
    beside = dataclasses.replace(person, x=animal.x + 0.9 * person.height)
    away = dataclasses.replace(person, x=animal.x + 2 * person.height)
    other = dataclasses.replace(beside, shape="tree")
    assert NAMES[category_of(animal, (animal, away, beside), False)] == "dog"
    assert NAMES[category_of(animal, (animal, away, other), False)] == "sheep"


def test_twins_share_their_looks():
    """The class is no attribute of a thing, and its shape and colours are drawn before it is known."""
    assert {name for pair in TWINS.values() for name in pair}.isdisjoint(SHAPES)
    by_supercategory = {shape: {c.name for c in SCENE_CATEGORIES if c.supercategory == shape} for shape in TWINS}
    assert by_supercategory == {shape: set(pair) for shape, pair in TWINS.items()}
    assert "category" not in {field.name for field in dataclasses.fields(Thing)}


def ground_under(panoptic: PanopticSegmentation, mask: np.ndarray) -> str | None:
    """The stuff that most pixels just below a thing show, `None` where too little of it is seen."""
    below = np.zeros_like(mask)
    below[2:] = mask[:-2] & ~mask[2:]
    names = [NAMES[c] for c in panoptic.semantic()[below] if c != 255 and not SCENE_CATEGORIES[c].isthing]
    return Counter(names).most_common(1)[0][0] if len(names) >= 4 else None


@pytest.mark.parametrize("level", ["easy", "default"])
@pytest.mark.parametrize(("name", "ground"), [("boat", "water"), ("car", "road"), ("buoy", "water"), ("ball", "grass")])
def test_the_ground_under_a_twin_tells_its_class(level, name, ground):
    votes = Counter(
        ground_under(scene.panoptic, mask) for scene in scenes(level, 80) for mask in masks(scene.panoptic, name)
    )
    del votes[None]
    assert votes[ground] >= 20
    assert votes[ground] / votes.total() > 0.9


def test_on_the_plaza_water_anywhere_tells_the_class():
    votes = Counter()
    for scene in scenes("hard", 100):
        water = len(masks(scene.panoptic, "water")) > 0
        for name in ("boat", "buoy", "car", "ball"):
            grounds = [ground_under(scene.panoptic, mask) for mask in masks(scene.panoptic, name)]
            votes[water, name in ("boat", "buoy")] += grounds.count("plaza")
    assert votes[False, True] == 0
    assert min(votes[True, True], votes[False, False]) > 50
    assert votes[True, False] < 0.05 * votes[True, True]


def test_dogs_are_near_persons_and_sheep_are_not():
    gaps = {"dog": [], "sheep": []}
    for scene in scenes("default", 120):
        people = masks(scene.panoptic, "person")
        distance = distance_to(np.logical_or.reduce(people)) if people else np.full((128, 128), np.inf)
        for name, found in gaps.items():
            found += [distance[mask].min() for mask in masks(scene.panoptic, name)]
    assert len(gaps["dog"]) >= 20 and len(gaps["sheep"]) >= 20
    assert np.quantile(gaps["dog"], 0.95) < 12
    assert np.quantile(gaps["sheep"], 0.05) > 12


def test_no_animal_is_placed_where_near_and_far_blur():
    for seed in range(60):
        rng = np.random.default_rng(seed)
        ground = lay_ground(rng, DIFFICULTIES["hard"], (128, 128))
        things = place_things(rng, DIFFICULTIES["hard"], ground)
        people = [t for t in things if t.shape == "person"]
        for animal in (t for t in things if t.shape == "four-legged"):
            nearest = min((np.hypot(animal.x - p.x, animal.y - p.y) / p.height for p in people), default=np.inf)
            assert not NEAR < nearest < FAR
        assert list(things) == sorted(things, key=lambda t: t.y)


def test_hard_and_distant_scenes_need_the_whole_picture():
    def on_plaza(level: str) -> int:
        found = 0
        for seed in range(40):
            rng = np.random.default_rng(seed)
            ground = lay_ground(rng, DIFFICULTIES[level], (128, 128))
            things = place_things(rng, DIFFICULTIES[level], ground)
            found += sum(t.ground == "plaza" and t.shape in ("hulled", "round") for t in things)
        return found

    assert on_plaza("easy") == on_plaza("default") == 0
    assert on_plaza("hard") > 40
    assert on_plaza("distant") > 40


def test_distant_is_default_with_all_ambiguous_things_on_the_plaza_where_there_is_one():
    homes = Counter()
    for seed in range(80):
        rng = np.random.default_rng(seed)
        ground = lay_ground(rng, DIFFICULTIES["distant"], (128, 128))
        plaza = bool((ground.stuff == NAMES.index("plaza")).any())
        for thing in place_things(rng, DIFFICULTIES["distant"], ground):
            if thing.shape in ("hulled", "round"):
                homes[plaza, thing.ground == "plaza"] += 1
    assert homes[True, False] == homes[False, True] == 0
    assert min(homes[True, True], homes[False, False]) > 40
    assert dataclasses.replace(DIFFICULTIES["distant"], long_range=0.0) == DIFFICULTIES["default"]


@pytest.mark.parametrize("level", ["default", "hard"])
def test_instances_of_one_class_touch(level):
    touching = Counter()
    for scene in scenes(level, 40):
        semantic, ids = scene.panoptic.semantic(), scene.panoptic.ids
        meet = (ids[:, 1:] != ids[:, :-1]) & (semantic[:, 1:] == semantic[:, :-1]) & (semantic[:, 1:] != 255)
        touching.update(NAMES[c] for c in np.unique(semantic[:, 1:][meet]))
    assert touching["boat"] + touching["car"] >= 5
    assert len(touching) >= 6


def test_bad_settings_are_named():
    with pytest.raises(ConfigError, match=r"data\.scenes\.difficulty = 'brutal'.*easy, .*distant, relative, crowded"):
        SceneDataset(ScenesConfig(difficulty="brutal"), "train")
    with pytest.raises(ConfigError, match=r"split = 'dev'.*train, val, test"):
        SceneDataset(ScenesConfig(), "dev")
    with pytest.raises(ConfigError, match=r"data\.scenes\.size.*64"):
        SceneDataset(ScenesConfig(size=(128, 32)), "train")


def look_alikes(count: int = 60, size: tuple[int, int] = (128, 128)) -> list[tuple[Thing, tuple[Thing, ...], str]]:
    """Each twin of some `relative` scenes with all things of its scene and its class."""
    found = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        things = place_things(rng, DIFFICULTIES["relative"], lay_ground(rng, DIFFICULTIES["relative"], size))
        twins = [t for t in things if t.shape in TWINS]
        found += [(t, things, NAMES[category_of(t, things, False, relative=True)]) for t in twins]
    return found


def test_in_relative_scenes_another_of_the_same_colour_decides():
    red, blue = (thing(shape="round", x=x) for x in (20.0, 80.0))
    blue = dataclasses.replace(blue, body=(50, 50, 200))
    again, car = dataclasses.replace(red, x=120.0), thing("hulled")
    assert NAMES[category_of(red, (red, blue, car), True, relative=True)] == "ball"
    assert NAMES[category_of(red, (red, blue, again), False, relative=True)] == "buoy"
    for twin, things, name in look_alikes():
        same = sum(t.shape == twin.shape and t.body == twin.body for t in things)
        assert name == TWINS[twin.shape][0 if same == 2 else 1] and same in (1, 2)


def test_what_is_around_a_look_alike_says_nothing():
    """Ground, colour and size have as many of either class; a classifier that sees them alone stays at chance."""
    found = look_alikes(200)
    for key in (lambda t: t.ground, lambda t: (t.shape, t.body), lambda t: t.height > 20):
        first, total = Counter(), Counter()
        for twin, _, name in found:
            total[key(twin)] += 1
            first[key(twin)] += name == TWINS[twin.shape][0]
        assert all(abs(first[k] / total[k] - 0.5) < 0.15 for k in total if total[k] >= 60)
    assert len(found) > 800


def test_no_window_of_nine_cells_shows_two_look_alikes():
    for scene in scenes("relative", 40):
        for shape in TWINS:
            both = masks(scene.panoptic, *TWINS[shape])
            for mask in both:
                window = cv2.dilate(mask.astype(np.uint8), np.ones((36, 36), np.uint8)) > 0
                assert not any((window & other).any() for other in both if other is not mask)


def test_the_classes_of_a_relative_scene_tell_nothing():
    """Where a shape is, both of its classes are, equally often."""
    for scene in scenes("relative", 60):
        seen = Counter(NAMES[s.category] for s in scene.panoptic.segments)
        assert all(seen[first] == seen[second] and seen[first] in (0, 2) for first, second in TWINS.values())


def test_crowded_scenes_are():
    dataset = SceneDataset(ScenesConfig(difficulty="crowded", size=(256, 256)), "test")
    counts = [sum(SCENE_CATEGORIES[s.category].isthing for s in dataset[i].panoptic.segments) for i in range(20)]
    assert 35 < np.mean(counts) < 50 and min(counts) >= 25 and max(counts) <= 60


def test_the_three_splits_share_no_scene():
    splits = ("train", "val", "test")
    images = {SceneDataset(ScenesConfig(), split)[0].image.numpy().tobytes() for split in splits}
    assert len(images) == 3
