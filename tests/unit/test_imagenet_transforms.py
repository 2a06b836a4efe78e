"""Crops and resizing against numbers that the reference's own TensorFlow functions gave."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from octathlon.datasets.imagenet.loader import MEAN_RGB
from octathlon.datasets.imagenet.transforms import (
    eval_transform,
    random_crop,
    random_view,
    resize,
    train_transform,
)


def pattern(height: int, width: int, channels: int = 3) -> torch.Tensor:
    """uint8 of shape (channels, height, width): (3x + 5y + 40c + floor(xy / 64)) mod 256."""
    c, y, x = np.ogrid[:channels, :height, :width]
    return torch.from_numpy(((3 * x + 5 * y + 40 * c + x * y // 64) % 256).astype(np.uint8))


def test_resize_uses_the_legacy_bilinear_rule() -> None:
    """Source coordinate = destination index * ratio; a half-pixel rule would start with 2.79167."""
    resized = resize(pattern(5, 7, channels=1).float(), 3, 4)
    expected = [
        [0, 5.25, 10.5, 15.75],
        [8.33333, 13.58333, 18.83333, 24.08333],
        [16.66667, 21.91667, 27.16667, 32.41667],
    ]
    torch.testing.assert_close(resized[0], torch.tensor(expected), atol=2e-5, rtol=0)


@pytest.mark.parametrize(("height", "width"), [(375, 500), (101, 90), (224, 448), (3, 1)])
def test_bytes_are_resized_to_within_a_level_of_the_exact_pixels(height: int, width: int) -> None:
    """Rounded once per direction, never cut off: no farther away, and not darker or brighter on the whole."""
    image = torch.randint(256, (3, height, width), dtype=torch.uint8, generator=torch.manual_seed(1))
    exact, found = resize(image.float(), 224, 224), resize(image, 224, 224)
    assert found.dtype == torch.uint8
    assert (found - exact.round()).abs().max() <= 1
    assert (found - exact).mean().item() == pytest.approx(0, abs=0.02)


EVALUATION = [  # height, width, sum of uint8, sum, mean, std, then three pixels, all after subtracting the mean
    (375, 500, 71_708_589, 1_899_650.27, 12.619913, 70.709558)
    + ((23.096214, 69.996216, 122.836212),)
    + ((10.296318, 57.196320, 110.036316), (-3.415749, 43.484253, 96.324249)),
    (500, 333, 63_685_368, 1_911_954.98, 12.701657, 70.874293)
    + ((-18.784142, 28.115860, 80.955856),)
    + ((-18.793251, 28.106751, 80.946747), (89.612968, 15.919220, -66.647034)),
    (224, 224, 19_222_904, 1_902_953.84, 12.641860, 71.647086)
    + ((-8.68, 38.22, 91.06),)
    + ((-33.555, 13.345, 66.185), (-71.914375, -25.014374, 27.825623)),
    (100, 150, 5_746_557, 1_960_508.52, 13.024212, 71.642966)
    + ((3.757500, 50.657501, 103.497498),)
    + ((70.038750, 116.938751, -86.221252), (102.273125, -106.826874, -53.986877)),
]


@pytest.mark.parametrize(
    ("height", "width", "raw", "total", "mean", "std", "first", "middle", "last"), EVALUATION
)
def test_the_evaluation_transform_gives_the_reference_pixels(
    height: int, width: int, raw: int, total: float, mean: float, std: float, first, middle, last
) -> None:
    image = pattern(height, width)
    assert image.sum(dtype=torch.int64) == raw
    result = eval_transform(image, 224, 256).double() - torch.tensor(MEAN_RGB).double().view(3, 1, 1)
    assert result.shape == (3, 224, 224)
    assert result.sum().item() == pytest.approx(total, abs=2)
    assert result.mean().item() == pytest.approx(mean, abs=2e-5)
    assert result.std(correction=0).item() == pytest.approx(std, abs=2e-5)
    for (y, x), pixel in {(0, 0): first, (111, 57): middle, (223, 223): last}.items():
        assert result[:, y, x].tolist() == pytest.approx(pixel, abs=1e-3)


@pytest.mark.parametrize(
    ("height", "width", "mean", "q10", "q50", "q90"),
    [(375, 500, 0.389, 0.139, 0.355, 0.697), (500, 375, 0.372, 0.136, 0.341, 0.650)]
    + [(256, 256, 0.424, 0.143, 0.390, 0.759)],
)
def test_random_crops_are_distributed_as_the_references(
    height: int, width: int, mean: float, q10: float, q50: float, q90: float
) -> None:
    rng = np.random.default_rng(1)
    crops = np.array([random_crop(height, width, rng) for _ in range(20_000)])
    top, left, crop_height, crop_width = crops.T
    assert (top >= 0).all() and (top + crop_height <= height).all()
    assert (left >= 0).all() and (left + crop_width <= width).all()
    areas = crop_height * crop_width / (height * width)
    assert areas.min() >= 0.1  # torchvision's RandomResizedCrop has 6 % below
    assert areas.mean() == pytest.approx(mean, abs=0.005)
    assert np.quantile(areas, [0.1, 0.5, 0.9]) == pytest.approx([q10, q50, q90], abs=0.008)
    ratios = crop_width / crop_height
    assert ratios.mean() == pytest.approx(1.04, abs=0.01)
    assert 0.73 < ratios.min() < 0.76 < 1.32 < ratios.max() < 1.36


def test_a_crop_starts_anywhere_but_at_the_excluded_end() -> None:
    """Offsets are uniform in [0, free): a crop that is not of full size never touches the far edge."""
    rng = np.random.default_rng(2)
    crops = [random_crop(40, 40, rng) for _ in range(5000)]
    free = [(crop.top, 40 - crop.height) for crop in crops if crop.height < 40]
    assert max(top - room for top, room in free) == -1
    assert np.mean([top / room for top, room in free]) == pytest.approx(0.5 - 0.5 / 17, abs=0.03)


@given(height=st.integers(1, 300), width=st.integers(1, 300), seed=st.integers(0, 1000))
def test_any_image_can_be_cropped(height: int, width: int, seed: int) -> None:
    crop = random_crop(height, width, np.random.default_rng(seed))
    assert 0 <= crop.top <= height - crop.height < height
    assert 0 <= crop.left <= width - crop.width < width


def test_an_image_that_no_crop_fits_into_is_taken_whole() -> None:
    assert random_crop(4, 400, np.random.default_rng(0)) == (0, 0, 4, 400)


def test_training_images_are_flipped_half_of_the_time() -> None:
    """The pattern rises to the right in its first row, so a flipped crop falls."""
    ramp = torch.arange(200, dtype=torch.uint8).expand(3, 200, 200)
    flips = [
        bool(
            (
                train_transform(ramp, 32, random_view(200, 200, np.random.default_rng(seed)))[0, 0]
                .int()
                .diff()
                < 0
            ).any()
        )
        for seed in range(400)
    ]
    assert 160 < sum(flips) < 240


def test_training_pixels_stay_between_0_and_255_and_aspect_is_not_kept() -> None:
    result = train_transform(pattern(90, 120), 48, random_view(90, 120, np.random.default_rng(3)))
    assert result.shape == (3, 48, 48) and result.dtype == torch.uint8
    assert result.max() > 200
