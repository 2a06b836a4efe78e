"""Preparing the click logs: published values, a plain transcription of the algorithm, damaged input."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import numpy as np
import pytest
from click_logs_archives import prepare_all, read_rows, settings, write_day
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from octathlon.receipts import describe


def md5(rows: np.ndarray) -> str:
    return hashlib.md5(rows.astype("<i4").tobytes()).hexdigest()


# Published values --------------------------------------------------------------------------------------
# Computed with the reference's own functions (facebookresearch/dlrm, branch mlperf, commit 6d75c84,
# data_utils.py) from three generated days of 1,000 rows.


def golden_day(day: int) -> bytes:
    rows, columns = 1000, np.arange(26)
    rng = np.random.default_rng([20211201, day])
    labels = (rng.random(rows) < 0.25).astype(int)
    integers = np.floor(np.exp(rng.normal(1.5, 1.5, (rows, 13)))).astype(int) - 2
    integer_missing = rng.random((rows, 13)) < 0.10
    categories = np.stack([rng.integers(0, 4 * (column + 1) ** 2, rows) for column in columns], axis=1)
    category_missing = rng.random((rows, 26)) < 0.05
    hashes = (categories * 2654435761 + columns * 40503 + 12345) % 2**32
    lines = []
    for row in range(rows):
        fields = [str(labels[row])]
        fields += [
            "" if gone else str(i) for i, gone in zip(integers[row], integer_missing[row], strict=True)
        ]
        fields += [
            "" if gone else f"{h:08x}" for h, gone in zip(hashes[row], category_missing[row], strict=True)
        ]
        lines.append("\t".join(fields) + "\n")
    return "".join(lines).encode()


@pytest.fixture(scope="module")
def golden(tmp_path_factory):
    folder = tmp_path_factory.mktemp("golden")
    texts = [golden_day(day) for day in range(3)]
    assert [hashlib.md5(content).hexdigest() for content in texts] == [
        "7544d1677dd3062a4d6334abd16667c7",
        "62d38ce8bd6d38e045fded1f7a26daab",
        "c0adb573fce1cea0ca8ab4b1491bf8af",
    ]
    for day, content in enumerate(texts):
        write_day(folder / "archives", day, content)
    return folder, prepare_all(folder / "archives", folder / "out", settings())


def test_table_sizes(golden):
    assert golden[1]["table_sizes"] == [
        *(5, 17, 37, 65, 101, 145, 197, 257, 325, 400, 483, 576, 661),
        *(767, 860, 961, 1054, 1135, 1243, 1319, 1405, 1501, 1584, 1652, 1706, 1758),
    ]


def test_dictionaries_are_in_order_of_appearance(golden):
    values = np.load(golden[0] / "out/work/dictionaries.npy")
    first, *_, last = np.split(values, np.cumsum(golden[1]["table_sizes"])[:-1])
    assert first[:4].tolist() == [0, 13916571, 14448106, 28352332]
    assert last[:5].tolist() == [10927076, 0, 10494334, 3538210, 16058078]


def test_evaluation_and_val_are_the_halves_of_the_last_day(golden):
    evaluation, val = (read_rows(golden[0] / "out", golden[1], split) for split in ("eval", "val"))
    assert md5(evaluation) == "6c7cfe3ccfbafbf9876bab45c9efc0cc"
    assert md5(val) == "fdb83ce441e0efa1046197d0fc2210ad"
    both = np.concatenate([evaluation, val])
    assert hashlib.sha256(both.tobytes()).hexdigest()[:16] == "393f9122de673fdc"


def test_training_rows(golden):
    train = read_rows(golden[0] / "out", golden[1], "train")
    assert (len(train), train[:, 0].sum(), train[:, 1:14].sum(), train[:, 14:].sum(dtype=np.int64)) == (
        *(2000, 519, 274620, 14800805),
    )
    assert md5(train[np.lexsort(train.T[::-1])]) == "57fe9d5d82ec0d7ad45c13a115c90c8e"


@pytest.mark.parametrize(
    ("day", "label_sum", "integer_sum", "index_sum", "digest"),
    [
        (0, 250, 140574, 5269228, "12ba04a55bec40a0"),
        (1, 269, 134046, 9531577, "44ccc683213bcccc"),
        (2, 286, 141841, 10913996, "393f9122de673fdc"),
    ],
)
def test_each_day_in_its_own_order(golden, tmp_path, day, label_sum, integer_sum, index_sum, digest):
    """Days 0 to 2, then day `day` once more as a last day, which keeps its order."""
    for number in range(4):
        write_day(tmp_path / "archives", number, golden_day(number if number < 3 else day))
    manifest = prepare_all(tmp_path / "archives", tmp_path / "out", settings(days=4))
    rows = np.concatenate([read_rows(tmp_path / "out", manifest, split) for split in ("eval", "val")])
    assert (rows[:, 0].sum(), rows[:, 1:14].sum(), rows[:, 14:].sum(dtype=np.int64)) == (
        *(label_sum, integer_sum, index_sum),
    )
    assert hashlib.sha256(rows.tobytes()).hexdigest()[:16] == digest
    if day == 0:
        assert not rows[0, 14:].any()


def test_counts_rates_and_digests(golden):
    folder, manifest = golden
    assert manifest["counts"] == {"train": 2000, "eval": 500, "val": 500}
    assert manifest["click_rates"] == {"train": 519 / 2000, "eval": 147 / 500, "val": 139 / 500}
    assert manifest["max_ind_range"] == 40_000_000
    assert set(manifest["shards"]) == {"train-000.bin", "train-001.bin", "eval.bin", "val.bin"}
    for name, facts in manifest["shards"].items():
        assert facts == describe(folder / "out" / name)


# The algorithm, transcribed ----------------------------------------------------------------------------


def transcription(days: list[list[list[str]]], max_ind_range: int) -> tuple[list[list[list[int]]], list[int]]:
    """Rows of fields -> rows of numbers, and the table sizes; one value at a time."""
    dictionaries = [{} for _ in range(26)]
    prepared = []
    for day in days:
        rows = []
        for fields in day:
            values = [field or "0" for field in fields]
            row = [int(values[0])] + [max(int(value), 0) for value in values[1:14]]
            for dictionary, value in zip(dictionaries, values[14:], strict=True):
                row.append(dictionary.setdefault(int(value, 16) % max_ind_range, len(dictionary)))
            rows.append(row)
        prepared.append(rows)
    return prepared, [len(dictionary) for dictionary in dictionaries]


hashes = st.one_of(
    st.just(""), st.integers(0, 30).map("{:08x}".format), st.integers(0, 2**32 - 1).map("{:08x}".format)
)
integers = st.one_of(st.just(""), st.integers(-(2**31), 2**31 - 1).map(str))
row = st.tuples(
    st.sampled_from("01"),
    st.lists(integers, min_size=13, max_size=13),
    st.lists(hashes, min_size=26, max_size=26),
).map(lambda parts: [parts[0], *parts[1], *parts[2]])


@given(
    days=st.lists(st.lists(row, min_size=1, max_size=6), max_size=3),
    last_day=st.lists(row, min_size=3, max_size=6),
    max_ind_range=st.sampled_from([1, 7, 1000, 40_000_000, 2**31 - 1]),
    buckets=st.integers(1, 3),
    day_jobs=st.integers(1, 5),
)
@hypothesis_settings(max_examples=25, deadline=None)
def test_equals_the_transcription(days, last_day, max_ind_range, buckets, day_jobs):
    last_day[0][0], last_day[1][0] = "01"  # an evaluation set has both
    days = [*days, last_day]
    expected, sizes = transcription(days, max_ind_range)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for day, rows in enumerate(days):
            write_day(folder, day, "".join("\t".join(fields) + "\n" for fields in rows).encode())
        chosen = settings(days=len(days), day_jobs=day_jobs, max_ind_range=max_ind_range, buckets=buckets)
        manifest = prepare_all(folder, folder / "out", chosen)
        train, evaluation, val = (
            read_rows(folder / "out", manifest, s).tolist() for s in ("train", "eval", "val")
        )
    assert manifest["table_sizes"] == sizes
    half = (len(expected[-1]) + 1) // 2
    assert (evaluation, val) == (expected[-1][:half], expected[-1][half:])
    assert sorted(train) == sorted(sum(expected[:-1], []))


# The shuffle -------------------------------------------------------------------------------------------


def numbered_days(folder: Path, days: int, rows: int) -> None:
    """Days whose rows carry their number, over all days, as first integer; every second one is a click."""
    for day in range(days):
        numbers = range(day * rows, (day + 1) * rows)
        write_day(
            folder, day, "".join(f"{number % 2}\t{number}{38 * chr(9)}\n" for number in numbers).encode()
        )


def shuffled_numbers(folder: Path, out: str, **changes: int) -> np.ndarray:
    manifest = prepare_all(folder, folder / out, settings(days=5, **changes))
    return read_rows(folder / out, manifest, "train")[:, 1]


@pytest.mark.parametrize("buckets", [1, 3, 40])
def test_training_rows_of_all_days_are_mixed(tmp_path, buckets):
    """No row is lost; each day is spread evenly over the set; neighbours were no neighbours."""
    numbered_days(tmp_path, days=5, rows=1000)
    numbers = shuffled_numbers(tmp_path, "out", buckets=buckets)
    assert sorted(numbers) == list(range(4000))
    mean_positions = [np.flatnonzero(numbers // 1000 == day).mean() for day in range(4)]
    assert np.allclose(mean_positions, 2000, atol=200)  # sigma is 32
    assert abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 0.1  # sigma is 0.016
    assert (np.diff(numbers) == 1).sum() < 10  # 1 is expected


def test_the_shuffle_depends_on_its_seed_alone(tmp_path):
    numbered_days(tmp_path, days=5, rows=200)
    first = shuffled_numbers(tmp_path, "first", day_jobs=1)
    assert first.tolist() == shuffled_numbers(tmp_path, "again", day_jobs=5).tolist()
    assert first.tolist() != shuffled_numbers(tmp_path, "other", shuffle_seed=124).tolist()


def test_a_rerun_changes_no_byte(golden, tmp_path):
    again = prepare_all(golden[0] / "archives", tmp_path / "out", settings())
    assert again == golden[1]
