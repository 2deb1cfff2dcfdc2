import time

import cv2
import numpy as np
import pytest

from pisr_core.data.pictures.video import Video, written_video
from pisr_core.errors import DataError


def frames(count=6, height=48, width=64):
    return [np.full((height, width, 3), (40 * index, 90, 200), np.uint8) for index in range(count)]


def write(path, images, fps=10.0):
    with written_video(path, fps) as add:
        for image in images:
            add(image)


def test_what_is_written_can_be_read(tmp_path):
    path = tmp_path / "films" / "clip.mp4"
    write(path, frames())
    video = Video(path)
    assert (video.frames, video.fps) == (6, 10.0)
    read = list(video)
    for ours, theirs in zip(read, frames(), strict=True):
        assert np.abs(ours.astype(int) - theirs).mean() < 6  # RGB, after a lossy codec
    assert [entry.name for entry in path.parent.iterdir()] == ["clip.mp4"]


def test_a_film_given_up_while_a_frame_is_encoded_leaves_nothing(tmp_path, monkeypatch):
    slow = cv2.cvtColor

    def encode(*arguments):
        time.sleep(0.3)
        return slow(*arguments)

    monkeypatch.setattr(cv2, "cvtColor", encode)
    with pytest.raises(KeyboardInterrupt), written_video(tmp_path / "clip.mp4", 10.0) as add:
        add(frames(1)[0])
        raise KeyboardInterrupt
    time.sleep(0.4)
    assert list(tmp_path.iterdir()) == []


def test_frames_of_another_size_are_scaled_to_the_first(tmp_path):
    write(tmp_path / "clip.mp4", [*frames(2), *frames(2, 24, 32)])
    assert [frame.shape for frame in Video(tmp_path / "clip.mp4")] == [(48, 64, 3)] * 4


@pytest.mark.parametrize(("told", "fps", "count"), [(0.0, 25.0, 0), (float("nan"), 25.0, 0), (-5.0, 25.0, 0)])
def test_what_a_damaged_container_tells_is_not_believed(tmp_path, monkeypatch, told, fps, count):
    class Capture:
        def __init__(self, path):
            self.left = 3

        def read(self):
            self.left -= 1
            return (True, frames(1)[0]) if self.left >= 0 else (False, None)

        def get(self, name):
            return told

        def release(self):
            pass

    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    video = Video(tmp_path / "clip.mp4")
    assert (video.fps, video.frames) == (fps, count) and len(list(video)) == 3


def test_odd_sides_lose_a_line(tmp_path):
    write(tmp_path / "clip.mp4", frames(2, 47, 65))
    assert [frame.shape for frame in Video(tmp_path / "clip.mp4")] == [(46, 64, 3)] * 2


def test_a_film_that_is_given_up_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), written_video(tmp_path / "clip.mp4", 10.0) as add:
        add(frames()[0])
        add(frames()[1])
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_broken_films_are_named(tmp_path):
    path = tmp_path / "clip.mp4"
    for content in (b"", b"no film"):
        path.write_bytes(content)
        with pytest.raises(DataError, match="clip.mp4: cannot be read as a video"):
            Video(path)
    with pytest.raises(DataError, match="missing.mp4"):
        Video(tmp_path / "missing.mp4")


def test_a_film_that_breaks_off_is_named_after_its_last_frame(tmp_path):
    path, generator = tmp_path / "clip.avi", np.random.default_rng(0)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for _ in range(20):
        writer.write(generator.integers(0, 256, (48, 64, 3)).astype(np.uint8))
    writer.release()
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    read = []
    with pytest.raises(DataError, match=r"breaks off after \d+ of 20 frames"):
        for frame in Video(path):
            read.append(frame)
    assert 5 < len(read) < 15


def test_a_film_that_changes_its_size_is_named_after_what_could_be_read(tmp_path, monkeypatch):
    write(tmp_path / "clip.mp4", frames(2))
    video = Video(tmp_path / "clip.mp4")
    more = iter([*frames(1), *frames(3, 24, 32)])
    monkeypatch.setattr(video, "_read", lambda: next(more))
    read = []
    with pytest.raises(DataError, match=r"clip.mp4: after 2 frames the size changes from 48×64 to 24×32 pixels"):
        for frame in video:
            read.append(frame.shape)
    assert read == [(48, 64, 3)] * 2
