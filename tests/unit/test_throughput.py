"""Samples per second: stated, in which unit, or over time."""

import pytest
from training_logs import line, log_lines

from octathlon.scoring.entries import score_paths
from octathlon.scoring.throughput import rate_places, rates_at

IMAGENET = 1_281_167
OVER_TIME = 2 * IMAGENET / 1800
"""Two epochs in the thirty minutes of a log."""


@pytest.mark.parametrize(
    ("text", "rates"),
    [
        (line("throughput", 0, 199.5), [199.5]),
        (line("tracked_stats", 0, {"loss": 2.5, "throughput": 12}), [12]),
        (line("tracked_stats", 0, {"imgs_sec": 4.5e5}), [450000]),
        ("7: " + line("throughput", 0, 3) + "\r\n" + line("throughput", 0, 4), [3, 4]),
        ('DLL {"throughput": 5}\n', []),  # not an event
        (line("throughput", 0, None) + line("throughput", 0, 0) + line("throughput", 0, "fast"), []),
    ],
)
def test_what_events_state(text, rates):
    assert list(rates_at(rate_places(text.encode()), text.encode())) == rates


def entry(tmp_path, stated=(), round_name="v1.1", accelerators=4, **options):
    folder = tmp_path / "Us/results/box" / options.get("benchmark", "resnet")
    folder.mkdir(parents=True)
    for number in range(5):
        lines = log_lines(start=number * 1e5, **options)
        lines[-1:-1] = [line("tracked_stats", 1, {"throughput": rate}) for rate in stated]
        (folder / f"result_{number}.txt").write_text("\n".join(lines))
    systems = tmp_path / "Us/systems"
    systems.mkdir()
    (systems / "box.json").write_text(
        f'{{"number_of_nodes": "1", "accelerators_per_node": "{accelerators}"}}'
    )
    return score_paths([tmp_path], round_name)[0][0]


def test_without_events_it_is_samples_over_time_evaluation_included(tmp_path):
    found = entry(tmp_path)
    assert found.samples_per_second == pytest.approx(OVER_TIME)
    assert found.samples_per_second_and_accelerator == pytest.approx(OVER_TIME / 4)


@pytest.mark.parametrize("share", [1, 1 / 4])
def test_the_median_event_counts_of_all_accelerators_or_of_one(tmp_path, share):
    found = entry(tmp_path, [share * OVER_TIME * each for each in (0.1, 1.2, 1.3)])
    assert found.samples_per_second == pytest.approx(1.2 * OVER_TIME)


def test_what_is_stated_in_another_unit_does_not_count(tmp_path):
    assert entry(tmp_path, [2048 * OVER_TIME]).samples_per_second == pytest.approx(OVER_TIME)


def test_the_size_of_the_data_set_is_known_where_logs_give_another(tmp_path):
    masks = ({"BBOX": 0.38, "SEGM": 0.34},)
    found = entry(tmp_path, benchmark="maskrcnn", quality=masks, train_samples=40_000)
    assert found.samples_per_second == pytest.approx(117_266 / 1800)


def test_a_benchmark_without_samples_has_none(tmp_path):
    assert (
        entry(tmp_path, [0.016], benchmark="minigo", quality=[0.6], accelerators=0).samples_per_second is None
    )
