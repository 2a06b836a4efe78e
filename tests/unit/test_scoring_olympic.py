"""The olympic mean, against the examples of the rules and its properties."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octathlon.scoring.olympic import EVERY, needed_runs, score_runs

FAILED = math.inf


def test_a_failed_run_takes_the_slow_place():
    """Not (4 + 4.5 + 5) / 3, which a failed run with the clock 3.9 would give."""
    score = score_runs([5, 4, 6, FAILED, 4.5], 5, 1)
    assert score.minutes == pytest.approx((4.5 + 5 + 6) / 3, abs=1e-15)
    assert (score.low, score.high, set(score.kept)) == ((1,), (3,), {0, 2, 4})


def test_unet3d_drops_four_at_each_end():
    runs = [float(minute) for minute in range(36)] + [FAILED] * 4
    assert score_runs(runs, 40, 4).minutes == sum(range(4, 36)) / 32
    assert score_runs([*runs[:35], *[FAILED] * 5], 40, 4).minutes is None


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        ([], "0 of 5 runs"),
        ([1, 2, 3, 4], "4 of 5 runs"),
        ([1, 2, 3, FAILED, FAILED], "2 of 5 runs failed, at most 1 may"),
        ([FAILED] * 5, "5 of 5 runs failed"),
    ],
)
def test_no_number_without_a_valid_result(runs, words):
    score = score_runs(runs, 5, 1)
    assert score.minutes is None
    assert words in score.reason
    assert score.low == score.high == score.kept == ()


def test_too_few_runs_to_drop_any():
    score = score_runs([1.0, 2.0], 2, 1)
    assert (score.minutes, score.reason) == (None, "too few runs (2) to drop 1 at each end")


@pytest.mark.parametrize(
    ("drop", "runs", "needed", "expected"),
    [(1, 5, 3, 1), (1, 10, 3, 1), (4, 40, 10, 1), (4, 40, 20, 2), (4, 40, 3, 1)],
)
def test_drops_in_proportion_to_the_runs(drop, runs, needed, expected):
    assert needed_runs({EVERY: needed}, "resnet", runs, drop) == (needed, expected)


def test_the_number_of_runs_is_that_of_the_benchmark_of_all_or_of_the_round():
    chosen = {"resnet": 3, EVERY: 20}
    assert needed_runs(chosen, "resnet", 5, 1) == (3, 1)
    assert needed_runs(chosen, "unet3d", 40, 4) == (20, 2)
    assert needed_runs({"resnet": 3}, "unet3d", 40, 4) == needed_runs({EVERY: 40}, "unet3d", 40, 4) == (40, 4)


def test_more_runs_than_needed_take_the_window_with_the_median_score():
    """Windows of three: 1-2-9 -> 2, 2-9-8 -> 8, 9-8-7 -> 8, 8-7-1 -> 7; the slower middle one of 2, 7, 8, 8
    is 8."""
    score = score_runs([1, 2, 9, 8, 7, 1], 3, 1)
    assert score.minutes == 8
    odd = score_runs([1, 2, 9, 8, 7], 3, 1)
    assert odd.minutes == 8
    assert score_runs([1, 2, 3, 9, 4, 5, 6], 3, 1).minutes == 4  # 2, 3, 4, 5, 5


def test_an_invalid_median_window_is_an_invalid_result():
    runs = [1, 2, 3, FAILED, FAILED, 4]
    assert score_runs(runs, 3, 1).minutes is None  # windows: 2, 3, none, none


MINUTES = st.floats(0.01, 1e4)


@given(st.lists(MINUTES | st.just(FAILED), min_size=5, max_size=5), st.randoms())
def test_the_order_of_the_runs_does_not_matter(runs, random):
    shuffled = random.sample(runs, len(runs))
    assert score_runs(runs, 5, 1).minutes == score_runs(shuffled, 5, 1).minutes


@given(st.lists(MINUTES, min_size=10, max_size=10), st.integers(0, 9), MINUTES)
def test_slower_is_never_better(runs, which, more):
    slower = [each + more if index == which else each for index, each in enumerate(runs)]
    assert score_runs(slower, 10, 1).minutes >= score_runs(runs, 10, 1).minutes - 1e-9


@given(st.lists(MINUTES, min_size=40, max_size=40))
def test_the_score_lies_between_the_kept_runs(runs):
    score = score_runs(runs, 40, 4)
    kept = [runs[index] for index in score.kept]
    assert len(kept) == 32
    assert min(kept) - 1e-9 <= score.minutes <= max(kept) + 1e-9
    assert max(runs[index] for index in score.low) <= min(kept)
    assert min(runs[index] for index in score.high) >= max(kept)
    assert sorted(score.low + score.high + score.kept) == list(range(40))
