"""Crops and augmentation: the reference's rules and constants."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from octathlon.datasets.kits19.augment import augment, foreground_crop, random_crop

DRAWS = 4000


@given(st.tuples(*[st.integers(16, 40)] * 3), st.integers(0, 9))
def test_a_random_crop_lies_inside(shape: tuple[int, ...], seed: int) -> None:
    corner = random_crop(shape, 16, np.random.default_rng(seed))
    assert all(0 <= first <= length - 16 for first, length in zip(corner, shape, strict=True))


def test_random_crops_start_anywhere_but_at_the_last_place() -> None:
    rng = np.random.default_rng(0)
    corners = np.array([random_crop((16, 17, 20), 16, rng) for _ in range(500)])
    assert [sorted(set(column.tolist())) for column in corners.T] == [[0], [0], [0, 1, 2, 3]]


BOX = st.tuples(st.integers(0, 35), st.integers(1, 30)).map(lambda at: [at[0], at[0] + at[1]])


@given(st.lists(BOX, min_size=3, max_size=3), st.integers(0, 9))
def test_a_foreground_crop_holds_its_box_or_is_held_by_it(box: list[list[int]], seed: int) -> None:
    shape = [max(16, end + 3) for _, end in box]
    corner = foreground_crop(shape, 16, {"kidney": [box]}, np.random.default_rng(seed))
    for first, length, (low, high) in zip(corner, shape, box, strict=True):
        assert 0 <= first <= length - 16
        if high - low <= 16:
            assert first <= low and high <= first + 16
        else:
            assert low <= first and first + 16 <= high


def test_the_place_of_a_box_in_its_crop_is_uniform() -> None:
    rng = np.random.default_rng(0)
    small = {"tumour": [[[50, 54], [50, 66], [50, 80]]]}
    corners = np.array([foreground_crop((100, 100, 100), 16, small, rng) for _ in range(DRAWS)])
    counts = [np.bincount(column)[np.bincount(column) > 0] for column in corners.T]
    assert [len(count) for count in counts] == [12, 1, 14]
    assert corners.min(0).tolist() == [39, 50, 50] and corners.max(0).tolist() == [50, 50, 63]
    for count in counts:
        assert count.min() > 0.7 * DRAWS / len(count)


def test_classes_are_drawn_first_then_one_of_their_boxes() -> None:
    boxes = {
        "kidney": [[[0, 16]] * 3, [[20, 36]] * 3],
        "tumour": [[[60, 76]] * 3],
    }
    rng = np.random.default_rng(0)
    firsts = [foreground_crop((100, 100, 100), 16, boxes, rng)[0] for _ in range(DRAWS)]
    shares = [firsts.count(first) / DRAWS for first in (0, 20, 60)]
    assert shares == pytest.approx([0.25, 0.25, 0.5], abs=0.03)


def test_without_foreground_a_crop_is_random() -> None:
    corners = {foreground_crop((18, 16, 16), 16, {}, np.random.default_rng(n))[0] for n in range(50)}
    assert corners == {0, 1}


def augmented(seed: int, slices: int = 3) -> tuple[np.ndarray, np.ndarray]:
    image = np.arange(1, 9 * slices + 1, dtype=np.float32).reshape(slices, 3, 3)
    label, new = image.astype(np.uint8), (np.empty_like(image), np.empty(image.shape, np.uint8))
    augment(*map(torch.from_numpy, (image, label)), np.random.default_rng(seed), *map(torch.from_numpy, new))
    return new


def test_image_and_label_are_flipped_together_each_axis_a_third_of_the_time() -> None:
    flips = np.zeros(3)
    plain = np.arange(1, 28).reshape(3, 3, 3)
    for seed in range(DRAWS):
        image, label = augmented(seed)
        found = [label[0, 0, 0] not in plain.take(0, axis) for axis in range(3)]
        flips += found
        expected = np.flip(plain, [axis for axis in range(3) if found[axis]])
        assert np.array_equal(label, expected)
        assert np.argmax(image) == np.argmax(label)
    assert flips / DRAWS == pytest.approx([1 / 3] * 3, abs=0.03)


def test_a_crop_of_several_slabs_is_flipped_as_a_whole() -> None:
    plain = np.arange(1, 9 * 19 + 1).reshape(19, 3, 3)
    seen = set()
    for seed in range(200):
        label = augmented(seed, slices=19)[1]
        axes = tuple(axis for axis in range(3) if label[0, 0, 0] not in plain.take(0, axis))
        assert np.array_equal(label, np.flip(plain, axes))
        seen.add(axes)
    assert len(seen) == 8


def test_brightness_and_noise_have_the_references_size_and_frequency() -> None:
    factors, noises = [], []
    for seed in range(DRAWS):
        image, label = augmented(seed)
        ratio = image / label
        if np.ptp(ratio) < 1e-5:
            factors += [ratio.mean()] if abs(ratio.mean() - 1) > 1e-4 else []
        else:
            difference = image - label
            noises += [difference.std()] if abs(difference.mean()) < 0.1 else []
            assert difference.std(0).mean() > 0.3 * difference.std()  # drawn for each slice anew
    assert len(factors) / DRAWS == pytest.approx(0.1 * 0.9, abs=0.02)
    assert 1.7 <= min(factors) < 1.72 and 2.28 < max(factors) <= 2.3
    assert np.mean(factors) == pytest.approx(2.0, abs=0.05)
    assert len(noises) / DRAWS == pytest.approx(0.1 * 0.9, abs=0.02)
    assert np.mean(noises) == pytest.approx(0.05, abs=0.01) and max(noises) < 0.15
