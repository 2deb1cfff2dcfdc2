"""Mean, spread and paired comparison of the scores of a few seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import ttest_rel


@dataclass(frozen=True)
class Summary:
    """Several runs of the same thing.

    Attributes:
        n: how many.
        mean: of their scores; `None` without any.
        std: sample standard deviation (n − 1 in the divisor); `None` below two.
    """

    n: int
    mean: float | None
    std: float | None


@dataclass(frozen=True)
class PairedTest:
    """Whether one thing scores higher than another on the same seeds.

    Attributes:
        n: number of pairs.
        difference: mean of first − second; `None` without any pair.
        low: lower end of the difference's 95 % confidence interval.
        high: its upper end.
        p: two-sided p value of Student's paired t-test. It and the interval are `None` below two pairs, and
            where all differences are equal, for then nothing tells how far they would scatter.
    """

    n: int
    difference: float | None
    low: float | None = None
    high: float | None = None
    p: float | None = None


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values, corrected for their number (Holm, 1979): each times how many are not smaller, in rising order.

    The chance that any of the comparisons found is false stays below what the corrected values are held against.
    """
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(np.argsort(p_values, kind="stable").tolist()):
        largest = max(largest, min(1.0, p_values[index] * (len(p_values) - rank)))
        corrected[index] = largest
    return corrected


def summarize(scores: Sequence[float]) -> Summary:
    """Number, mean and sample standard deviation."""
    mean = float(np.mean(scores)) if scores else None
    return Summary(len(scores), mean, float(np.std(scores, ddof=1)) if len(scores) > 1 else None)


def paired_test(first: Sequence[float], second: Sequence[float]) -> PairedTest:
    """Compares scores of the same seeds, in the same order.

    The test assumes differences that scatter normally.
    """
    differences = np.subtract(first, second)
    n = len(differences)
    if n == 0:
        return PairedTest(0, None)
    if np.ptp(differences) < 1e-9:
        return PairedTest(n, float(differences.mean()))
    test = ttest_rel(first, second)
    low, high = test.confidence_interval(0.95)
    return PairedTest(n, float(differences.mean()), float(low), float(high), float(test.pvalue))
