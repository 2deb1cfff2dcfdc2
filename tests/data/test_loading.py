import os
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from pisr_core.config import DataConfig, ScenesConfig, TargetConfig
from pisr_core.data import build_dataset, loading
from pisr_core.data.augmentation import MEAN_COLOR, Augmentation
from pisr_core.data.datasets import training_repeats
from pisr_core.data.loading import (
    StepSampler,
    TrainingDataset,
    evaluation_loader,
    same_size_batches,
    training_loader,
    worker_count,
)
from pisr_core.errors import ConfigError, DataError
from pisr_core.models.center_offset.targets import CenterOffsetTargetGenerator
from pisr_core.runtime.processes.parallel import Process

CPU = torch.device("cpu")
CONFIG = DataConfig(crop=(16, 16), scale=(0.5, 2.0), eval_short_side=30)


def views(root, seed=0):
    dataset = build_dataset(CONFIG, "train", root)
    return TrainingDataset(dataset, Augmentation(CONFIG), CenterOffsetTargetGenerator(TargetConfig(), (1,)), seed)


def test_each_epoch_is_a_new_permutation_and_batches_span_epochs():
    keys = [key for batch in StepSampler(size=5, batch_size=4, steps=5, seed=3) for key in batch]
    epochs = [[index for epoch, index in keys if epoch == number] for number in range(4)]
    assert [sorted(epoch) for epoch in epochs] == [[0, 1, 2, 3, 4]] * 4
    assert len({tuple(epoch) for epoch in epochs}) > 1
    assert [epoch for epoch, _ in keys] == [0] * 5 + [1] * 5 + [2] * 5 + [3] * 5


def test_resuming_goes_on_where_the_whole_run_would_be():
    whole = list(StepSampler(7, 4, steps=9, seed=1, accumulate=2))
    rest = StepSampler(7, 4, steps=9, seed=1, accumulate=2, start_step=5)
    assert list(rest) == whole[10:] and len(rest) == 8
    assert len(StepSampler(7, 4, steps=9, seed=1, start_step=9)) == 0


@pytest.mark.parametrize("world_size, accumulate", [(1, 1), (2, 1), (1, 4), (2, 2)])
def test_a_step_reads_the_same_images_however_they_are_shared(world_size, accumulate):
    steps = [[] for _ in range(6)]
    for rank in range(world_size):
        sampler = StepSampler(10, 8, 6, 0, process=Process(rank, world_size), accumulate=accumulate)
        for number, batch in enumerate(sampler):
            assert len(batch) == 8 // (world_size * accumulate)
            steps[number // accumulate] += batch
    expected = [sorted(batch) for batch in StepSampler(10, 8, 6, 0)]
    assert [sorted(step) for step in steps] == expected


REPEATS = np.array([1.0, 2.5, 1.25, 1.0, 3.0])
"""Together 8.75 images an epoch."""


def test_images_come_as_often_as_their_factors_say_each_time_as_another_view():
    keys = [key for batch in StepSampler(5, 25, steps=35, seed=3, repeats=REPEATS) for key in batch]
    assert len(keys) == 875 == len(set(keys))  # 100 epochs, in which no view comes twice
    views = [[index for view, index in keys if view // 3 == epoch] for epoch in range(100)]
    counts = np.array([np.bincount(epoch, minlength=5) for epoch in views])
    assert counts.min(axis=0).tolist() == [1, 2, 1, 1, 3] and counts.max(axis=0).tolist() == [1, 3, 2, 1, 3]
    assert counts.mean(axis=0) == pytest.approx(REPEATS, abs=0.1)
    assert [len(epoch) for epoch in views[:10]] == [8, 9, 9, 9, 8, 9, 9, 9, 8, 9]  # the floors of 8.75, 17.5, 26.25, …
    assert len({tuple(epoch) for epoch in views}) == 100


@pytest.mark.parametrize("world_size, accumulate", [(2, 1), (2, 2)])
def test_repeated_images_are_shared_and_resumed_too(world_size, accumulate):
    whole = [sorted(batch) for batch in StepSampler(5, 8, 20, 0, repeats=REPEATS)]
    steps = [[] for _ in range(13)]
    for rank in range(world_size):
        process = Process(rank, world_size)
        sampler = StepSampler(5, 8, 20, 0, start_step=7, process=process, accumulate=accumulate, repeats=REPEATS)
        for number, batch in enumerate(sampler):
            steps[number // accumulate] += batch
    assert [sorted(step) for step in steps] == whole[7:]


def test_factors_of_one_change_nothing():
    plain, ones = (list(StepSampler(5, 4, 9, 1, repeats=repeats)) for repeats in (None, np.ones(5)))
    assert plain == ones


def test_repeats_need_annotations_in_files(custom_root):
    config = DataConfig(repeat_threshold=0.5)
    assert training_repeats(config, build_dataset(config, "train", custom_root)).tolist() == [1.0] * 5
    assert training_repeats(CONFIG, build_dataset(CONFIG, "train", custom_root)) is None
    scenes = replace(config, dataset="scenes", scenes=ScenesConfig(train_images=3))
    with pytest.raises(ConfigError, match="data.repeat_threshold = 0.5.*pisr data prepare scenes"):
        training_repeats(scenes, build_dataset(scenes, "train"))


def test_batches_that_cannot_be_shared():
    with pytest.raises(ConfigError, match="train.batch_size = 4 .* multiple of 3"):
        StepSampler(10, 4, 1, 0, process=Process(0, 3))


def test_empty_training_split():
    with pytest.raises(DataError, match="has no images"):
        StepSampler(0, 4, 1, 0)


def test_a_view_depends_on_seed_epoch_and_index_alone(custom_root):
    image, targets, key = views(custom_root)[(2, 1)]
    again, _, _ = views(custom_root)[(2, 1)]
    assert key == (2, 1) and (image == again).all()
    assert targets.semantic.shape == (16, 16)
    semantics = [views(custom_root, seed)[(epoch, 1)][1].center for seed in (0, 1) for epoch in range(4)]
    assert any(not torch.equal(semantics[0], other) for other in semantics[1:4])
    assert any(not torch.equal(first, other) for first, other in zip(semantics[:4], semantics[4:], strict=True))


def test_workers_do_not_change_the_batches(custom_root):
    def batches(workers):
        return list(training_loader(views(custom_root), StepSampler(5, 2, 3, 0), workers, CPU))

    for single, parallel in zip(batches(0), batches(2), strict=True):
        assert single.keys == parallel.keys and single.images.shape == (2, 3, 16, 16)
        assert torch.equal(single.images, parallel.images)
        assert torch.equal(single.targets.offset, parallel.targets.offset)


def test_workers_start_after_the_main_process_has_drawn_scenes():
    config = DataConfig(dataset="scenes", crop=(64, 64))
    scenes = build_dataset(config, "train")
    assert scenes[0].image.shape[0] == 3  # starts OpenCV's threads, which a fork does not copy
    dataset = TrainingDataset(scenes, Augmentation(config), CenterOffsetTargetGenerator(TargetConfig(), (1,)), seed=0)
    assert len(list(training_loader(dataset, StepSampler(len(scenes), 2, 2, 0), 1, CPU))) == 2


def test_what_workers_get_can_be_pickled(custom_root):
    dataset = build_dataset(CONFIG, "val", custom_root)
    evaluation = evaluation_loader(dataset, CONFIG, 1, workers=0)
    training = training_loader(views(custom_root), StepSampler(5, 2, 3, 0), 0, CPU)
    for loader in (evaluation, training):
        assert pickle.loads(pickle.dumps(loader.work)).result(0)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_worker_s_error_arrives_as_it_was_raised(custom_root, workers):
    for path in (custom_root / "train").iterdir():
        path.write_bytes(b"broken")
    loader = training_loader(views(custom_root), StepSampler(5, 2, 3, 0), workers, CPU)
    with pytest.raises(DataError) as caught:
        list(loader)
    assert str(caught.value).startswith(str(custom_root / "train"))
    assert "Traceback" not in str(caught.value)


def test_evaluation_batches(custom_root):
    dataset = build_dataset(CONFIG, "val", custom_root)
    batches = list(evaluation_loader(dataset, CONFIG, batch_size=2, workers=0, size_divisor=32))
    assert [len(batch.samples) for batch in batches] == [2, 1]
    first = batches[0]
    assert first.images.shape == (2, 3, 32, 64)  # 24×32 with a short side of 30 is 30×40
    assert first.input_sizes == [(30, 40), (30, 40)]
    assert (first.images[1, :, :30, :40] == 1).all()
    assert first.images[0, :, 31, 50].tolist() == list(MEAN_COLOR)
    assert first.samples[1].image.shape == (3, 24, 32) and first.samples[1].panoptic is not None


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_ranks_share_the_images(custom_root, world_size):
    dataset = build_dataset(CONFIG, "val", custom_root)
    ids = [
        sample.image_id
        for rank in range(world_size)
        for batch in evaluation_loader(dataset, CONFIG, 1, Process(rank, world_size), workers=0)
        for sample in batch.samples
    ]
    assert sorted(ids) == [0, 1, 2]


def test_evaluation_of_the_first_few(custom_root):
    dataset = build_dataset(CONFIG, "val", custom_root)
    batches = evaluation_loader(dataset, CONFIG, batch_size=8, workers=0, limit=2)
    assert [sample.image_id for batch in batches for sample in batch.samples] == [0, 1]


def test_only_neighbours_of_one_size_share_a_batch():
    sizes = [(1, 1), (1, 1), (1, 1), (2, 1), (1, 1)]
    assert same_size_batches(sizes, 2) == [[0, 1], [2], [3], [4]]


def test_worker_count(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert [worker_count(workers) for workers in (-1, 0, 3)] == [7, 0, 3]
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert worker_count(-1) == 1
    monkeypatch.setattr(loading.os, "sched_getaffinity", lambda process: {0})
    assert worker_count(-1) == 0
    with pytest.raises(ConfigError, match="data.workers = -2"):
        worker_count(-2)


def test_a_batch_beyond_the_memory_is_refused_before_anything_is_read(custom_root):
    wanted = r"train.batch_size = 1000000000, data.crop = \[16, 16\]: .* take 715\.3 GiB, and .* are free"
    with pytest.raises(ConfigError, match=wanted):
        training_loader(views(custom_root), StepSampler(5, 10**9, 1, 0), 0, CPU)
    dataset = build_dataset(CONFIG, "val", custom_root)
    with pytest.raises(ConfigError, match=r"evaluating 2 images at once: .* GiB"):
        evaluation_loader(dataset, replace(CONFIG, eval_short_side=10**6), 2)


def test_a_scale_that_makes_huge_images_is_refused(custom_root):
    config = replace(CONFIG, scale=(1000.0, 1000.0))
    sample = build_dataset(config, "train", custom_root)[0]
    with pytest.raises(ConfigError, match=r"data.scale = .*would be scaled to \d{5}×\d{5} pixels, more than 178 mega"):
        Augmentation(config)(sample, seed=0)


@pytest.mark.parametrize(
    "slip", [{"size": (128_000, 128)}, {"size": (0, 128)}, {"train_images": 10**12}, {"val_images": 0}]
)
def test_scenes_of_no_or_any_size_are_refused(slip):
    with pytest.raises(ConfigError, match=f"data.scenes.{next(iter(slip))} = .*at least 1, at most"):
        ScenesConfig(**slip)
