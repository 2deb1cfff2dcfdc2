from pisr_core.metrics.worst import ImageScore, WorstImages


def image(image_id, mistaken):
    return ImageScore(image_id, f"{image_id}.jpg", 50.0, mistaken, 100)


def test_the_worst_come_first_and_perfect_images_never():
    worst = WorstImages(limit=3)
    for image_id, mistaken in enumerate([5, 0, 9, 7, 9, 1]):
        worst.update(image(image_id, mistaken))
    assert [score.image_id for score in worst.result()] == [2, 4, 3]


def test_halves_merge_to_the_whole_whatever_their_order():
    images = [image(f"city_{index}", index * 7 % 5) for index in range(20)]
    whole, first, second = WorstImages(4), WorstImages(4), WorstImages(4)
    for index, score in enumerate(images):
        whole.update(score)
        (first if index % 3 else second).update(score)
    second.merge(first.state)
    assert second.result() == whole.result()
    assert len(whole.result()) == 4
