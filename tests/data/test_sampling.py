from pisr_core.data.sampling import spread_over


def test_first_and_last_are_among_them():
    assert spread_over(range(5), 16) == [0, 1, 2, 3, 4]
    assert spread_over(range(100), 4) == [0, 33, 66, 99]
