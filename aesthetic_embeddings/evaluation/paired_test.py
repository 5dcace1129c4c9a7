"""Tests whether one variant scores higher than another. Paired by prompt, since pictures of one prompt are alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

_RESAMPLES = 99_999


@dataclass(frozen=True)
class Comparison:
    """The paired difference of a score between two variants.

    mean: of the differences. low, high: the 95 % bootstrap interval of the mean (bias-corrected and accelerated).
    p: of a two-sided permutation test that swaps the variants within each prompt; at least 1e-5.
    effect: the mean difference divided by the standard deviation of the differences (Cohen's d_z).
    prompts: the number of pairs.
    """

    mean: float
    low: float
    high: float
    p: float
    effect: float
    prompts: int


def compare(before: Sequence[float], after: Sequence[float]) -> Comparison | None:
    """Compare two variants. Returns None for fewer than three pairs.

    before, after: one number per prompt, in the same order.
    """
    difference = np.asarray(after, float) - np.asarray(before, float)
    if len(difference) < 3:
        return None
    mean, deviation = float(difference.mean()), float(difference.std(ddof=1))
    if deviation == 0:
        return Comparison(mean, mean, mean, 1.0 if mean == 0 else 2.0 ** (1 - len(difference)), 0.0, len(difference))
    test = stats.permutation_test(
        (difference,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=_RESAMPLES,
        rng=np.random.default_rng(0),
    )
    interval = stats.bootstrap(
        (difference,), np.mean, vectorized=True, n_resamples=9_999, rng=np.random.default_rng(0)
    ).confidence_interval
    low, high = float(interval.low), float(interval.high)
    return Comparison(mean, low, high, float(test.pvalue), mean / deviation, len(difference))
