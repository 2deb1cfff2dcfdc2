import pytest

from pisr_core.results.statistics import PairedTest, Summary, holm, paired_test, summarize


def test_summaries_by_hand():
    assert summarize([]) == Summary(0, None, None)
    assert summarize([7.0]) == Summary(1, 7.0, None)
    summary = summarize([1.0, 2.0, 6.0])
    assert (summary.n, summary.mean) == (3, 3.0)
    assert summary.std == pytest.approx(7**0.5)  # (4 + 1 + 9) / 2


def test_a_paired_test_by_hand():
    test = paired_test([3.0, 4.0, 5.0], [1.0, 3.0, 2.0])
    # Differences 2, 1, 3: mean 2, deviation 1, t = 2√3. With two degrees of freedom p = 1 − t / √(2 + t²).
    assert (test.n, test.difference) == (3, 2.0)
    assert test.p == pytest.approx(1 - 12**0.5 / 14**0.5)
    half = 4.302653 / 3**0.5  # the 97.5 % quantile of Student's t with two degrees of freedom
    assert (test.low, test.high) == pytest.approx((2 - half, 2 + half), abs=1e-5)


def test_pairs_matter_not_the_spread_between_seeds():
    steady = paired_test([10.0, 50.0, 90.0], [9.0, 48.9, 89.1])
    assert steady.p is not None and steady.p < 0.01


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([], [], PairedTest(0, None)),
        ([5.0], [3.0], PairedTest(1, 2.0)),
        ([5.0, 6.0], [3.0, 4.0], PairedTest(2, 2.0)),
        ([1.0, 1.0], [1.0, 1.0], PairedTest(2, 0.0)),
    ],
)
def test_no_test_where_nothing_scatters(first, second, expected):
    assert paired_test(first, second) == expected


def test_holm_by_hand():
    # Sorted: 0.01 x 4, 0.02 x 3, 0.03 x 2 = 0.06, 0.9; none below the one before it.
    assert holm([0.03, 0.9, 0.01, 0.02]) == pytest.approx([0.06, 0.9, 0.04, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []
