"""Axes hold every value, in order, with a handful of round marks."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octathlon.report.axes import elapsed_axis, quality_axis, time_axis

MINUTES = st.lists(st.floats(0, 1e100), min_size=1, max_size=20)
QUALITIES = st.lists(st.floats(-1e100, 1e100), min_size=1, max_size=20)


def check(axis, values):
    places = [axis.place(value) for value in sorted(values)]
    assert places == sorted(places)
    assert all(0 <= place <= 1 for place in places)
    rounding = (axis.high - axis.low) * 1e-6
    assert all(axis.low - rounding <= tick <= axis.high + rounding for tick in axis.ticks)
    assert len(axis.ticks) <= 12
    assert len(axis.labels()) == len(axis.ticks)


@given(MINUTES)
def test_time(minutes):
    check(time_axis(minutes), minutes)
    check(elapsed_axis(minutes), minutes)


@given(QUALITIES, st.booleans())
def test_quality(values, rises):
    axis = quality_axis(values, rises)
    check(axis, values)
    assert axis.low < min(values) or math.isclose(axis.low, min(values))


@pytest.mark.parametrize(
    ("minutes", "labels"),
    [
        ([28, 33], ["25", "30", "35"]),
        ([0.1, 0.9], ["0.1", "0.2", "0.5", "1"]),
        ([2, 60], ["2", "5", "10", "20", "50"]),
        ([0.2, 600], ["1", "10", "100"]),
    ],
)
def test_marks_of_time(minutes, labels):
    axis = time_axis(minutes)
    assert axis.log
    assert axis.labels() == labels


def test_equal_marks_have_equally_many_decimals():
    assert quality_axis([0.0, 0.2], True).labels() == ["0.00", "0.05", "0.10", "0.15", "0.20"]
    assert elapsed_axis([1000.0]).labels() == ["0", "200", "400", "600", "800", "1,000"]


def test_an_error_rate_that_falls_far_is_drawn_logarithmically():
    assert quality_axis([11.4, 1.0, 0.057], rises=False).log
    assert not quality_axis([0.4, 0.2], rises=False).log
    assert not quality_axis([0.01, 0.9], rises=True).log
    assert not quality_axis([1.0, 0.0], rises=False).log


def test_equal_runs_stand_together():
    axis = time_axis([30.0, 30.001])
    assert axis.place(30.001) - axis.place(30.0) < 0.001
