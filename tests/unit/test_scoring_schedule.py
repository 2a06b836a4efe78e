"""When a round wants models evaluated, against the points of published v1.0 and v1.1 results."""

import pytest

from octathlon.scoring.rules import load_round


@pytest.mark.parametrize(
    ("benchmark", "batch_size", "points"),
    [
        ("resnet", 3264, [3, 7, 11, 15]),
        ("resnet", 13056, [1, 5, 9]),
        ("ssd", 912, [5, 10, 15]),
        ("maskrcnn", 96, [1, 2, 3]),
        ("rnnt", 2048, [1, 2, 3]),
        ("dlrm", 55296, [1.0499947, 1.0999894, 1.1499841]),
        ("bert", 6144, [202752, 405504, 608256]),
        ("bert", 4096, [176128, 352256]),
        ("unet3d", 56, [1000, 1020, 1040]),
        ("unet3d", 80, [700, 714, 728]),
        ("unet3d", 32, [875, 893, 911]),
        ("minigo", None, [50, 51, 52]),
    ],
)
def test_published_evaluations_keep_the_schedule(benchmark, batch_size, points):
    assert kept(benchmark, batch_size, points)
    assert not kept(benchmark, batch_size, [points[0], *(2 * point for point in points[1:])])


@pytest.mark.parametrize(
    ("benchmark", "batch_size", "points"),
    [("resnet", 4096, [5, 9]), ("resnet", 4096, [1, 2]), ("ssd", 912, [10, 15]), ("bert", 4096, [0, 176128])],
)
def test_other_points_do_not(benchmark, batch_size, points):
    assert not kept(benchmark, batch_size, points)


def kept(benchmark, batch_size, points):
    task = load_round("v1.1").task(benchmark)
    return task.evaluations.at(batch_size).kept(points, batch_size if task.progress == "samples" else 0)
