import json

import cv2
import numpy as np
import pytest

from pisr_core.config import ScenesConfig
from pisr_core.data.coco.dataset import CocoPanopticDataset
from pisr_core.data.pictures.video import Video
from pisr_core.data.prepare.scenes import prepare_scenes
from pisr_core.data.scenes import SCENE_CATEGORIES, SceneDataset
from pisr_core.data.scenes.films import SceneFilm
from pisr_core.metrics.films import FilmScores

CONFIG = ScenesConfig(size=(64, 96), train_images=1, val_images=2)


@pytest.fixture(scope="module")
def frames():
    return list(SceneFilm(CONFIG, "val", 1).frames(40))


def test_it_begins_as_the_scene_of_its_number(frames):
    scene = SceneDataset(CONFIG, "val")[1]
    areas = [sorted((s.category, s.area) for s in sample.panoptic.segments) for sample in (frames[0], scene)]
    assert areas[0] == areas[1]
    assert (frames[0].image == scene.image).all()


def test_things_move_and_keep_their_ids_and_classes(frames):
    classes, centers = {}, {}
    for time, sample in enumerate(frames):
        for segment in sample.panoptic.segments:
            assert classes.setdefault(segment.id, segment.category) == segment.category
            assert (segment.id <= len(SCENE_CATEGORIES)) != SCENE_CATEGORIES[segment.category].isthing
            centers.setdefault(segment.id, {})[time] = np.nonzero(sample.panoptic.ids == segment.id)[1].mean()
    things = {i: seen for i, seen in centers.items() if i > len(SCENE_CATEGORIES)}
    assert len(things) > 2 and any(max(seen.values()) - min(seen.values()) > 5 for seen in things.values())
    assert any(len(seen) < len(frames) for seen in things.values())  # one is hidden for a while, or comes late


def test_frames_are_the_same_each_time_and_the_ground_stands_still(frames):
    again = next(iter(SceneFilm(CONFIG, "val", 1).frames(1)))
    assert (again.image == frames[0].image).all()
    sky = [(frame.panoptic.ids == 1).sum() for frame in frames]
    assert np.ptp(sky) < 0.2 * max(sky)


def test_prepared_films_can_be_read_as_images_and_as_films(tmp_path):
    prepare_scenes(tmp_path, CONFIG, frames=3)
    dataset = CocoPanopticDataset(tmp_path / "val", tmp_path / "annotations/panoptic_val.json")
    assert [dataset.file_name(i) for i in (0, 3)] == ["film_000000_000001.png", "film_000001_000001.png"]
    assert [dataset[i].image_id for i in range(6)] == [1, 2, 3, 4, 5, 6]
    video = list(Video(tmp_path / "films/val/film_000001.mp4"))
    image = cv2.imread(str(tmp_path / "val/film_000001_000003.png"))[..., ::-1]
    assert len(video) == 3 and np.abs(video[2].astype(int) - image).mean() < 12
    scores = FilmScores(dataset.categories)
    for i in range(6):
        if i % 3 == 0:
            scores.begin_film()
        scores.update(dataset[i].panoptic, dataset[i].panoptic)
    assert (scores.result().vpq, scores.result().stq) == (100, 100)
    assert len(json.loads((tmp_path / "annotations/panoptic_train.json").read_text())["images"]) == 3
