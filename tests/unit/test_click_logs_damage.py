"""Damaged click logs: each time one sentence that names the file and, where it can, the row."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from click_logs_archives import prepare_all

from octathlon.datasets.click_logs.prepare import prepare
from octathlon.datasets.click_logs.settings import Settings
from octathlon.datasets.click_logs.text import PIECE, read_day
from octathlon.errors import OctathlonError
from octathlon.receipts import read_json

FIELDS = [*map(str, range(13)), *(f"{number:08x}" for number in range(26))]


def lines(rows: int = 6, **changes: dict[int, str]) -> bytes:
    """Good rows, every second one a click, but for `row<n>={column: field}`, both counted from 1."""
    texts = []
    for number in range(1, rows + 1):
        fields = dict(enumerate([str(number % 2), *FIELDS], start=1)) | changes.get(f"row{number}", {})
        texts.append("\t".join(field for field in fields.values() if field is not None) + "\n")
    return "".join(texts).encode("utf-8", "surrogateescape")


def read(folder: Path, content: bytes, piece: int = 1 << 20) -> list[list[int]]:
    path = folder / "day_0.gz"
    path.write_bytes(gzip.compress(content))
    return [row for rows in read_day(path, 40_000_000, piece) for row in rows.tolist()]


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({40: None}, "39 columns instead of 40"),
        ({40: "0\t0"}, "41 columns instead of 40"),
        ({1: "2"}, "the label '2'"),
        ({1: "-1"}, "the label '-1'"),
        ({1: ""}, "the label ''"),
        ({2: "1.5"}, "'1.5' in column 2"),
        ({14: "x"}, "'x' in column 14"),
        ({3: "+1"}, "'+1' in column 3"),
        ({3: " 1"}, "' 1' in column 3"),
        ({3: "2147483648"}, "'2147483648' in column 3"),
        ({15: "0000000g"}, "'0000000g' in column 15"),
        ({40: "-0000001"}, "'-0000001' in column 40"),
        ({40: "+0000001"}, "'+0000001' in column 40"),
        ({40: "0x000001"}, "'0x000001' in column 40"),
        ({40: "00000001\r"}, "in column 40"),
        ({16: "123456789"}, "'123456789' in column 16"),
        ({16: '"0000001'}, "in column 16"),
        ({16: "\udce9"}, "in column 16"),
    ],
)
@pytest.mark.parametrize("piece", [1 << 20, 600])
def test_a_bad_row_is_named(tmp_path, fields, complaint, piece):
    """Also where the text is read in pieces of two rows."""
    with pytest.raises(OctathlonError) as error:
        read(tmp_path, lines(row5=fields), piece)
    assert "day_0.gz: row 5 has" in str(error.value)
    assert complaint in str(error.value)


def test_a_short_and_a_long_row_do_not_make_up_for_each_other(tmp_path):
    with pytest.raises(OctathlonError, match="row 2 has 39 columns"):
        read(tmp_path, lines(row2={40: None}, row4={40: "0\t0"}))


def test_an_empty_line_is_no_row(tmp_path):
    with pytest.raises(OctathlonError, match="row 4 has 1 columns"):
        read(tmp_path, lines(3) + b"\n" + lines(3))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"\t" * (16 << 20), "row 1 has 16,777,217 columns"),
        (b"\n" * 99 + b"\t" * 3900 + b"\n", "row 1 has 1 columns"),  # 100 rows and the tabs of 100
        (lines(3) + lines(1, row1={40: "0" * 10**7}), "row 4 has '0000"),
        (b"x" * (40 << 20), "not lines of text"),
    ],
)
def test_rows_that_explode_are_refused(tmp_path, content, complaint):
    with pytest.raises(OctathlonError, match=complaint):
        read(tmp_path, content, PIECE)


def test_extremes_are_read(tmp_path):
    """The last line without its line feed, the largest numbers, all fields empty."""
    first = {2: "-2147483648", 3: "2147483647", 15: "ffffffff", 16: "FFFFFFFF", 17: "5"}
    last = {column: "" for column in range(2, 41)}
    rows = read(tmp_path, lines(2, row1=first, row2=last).removesuffix(b"\n"))
    assert rows[0][1:3] == [0, 2**31 - 1]
    assert rows[0][14:17] == [0xFFFFFFFF % 40_000_000] * 2 + [5]
    assert rows[1] == [0] * 40


def test_pieces_change_nothing(tmp_path):
    content = lines(50, row7={2: ""}, row50={40: ""})
    assert all(read(tmp_path, content, piece) == read(tmp_path, content) for piece in (200, 1000, 12_000))


@pytest.mark.parametrize("damage", ["truncated", "bit", "empty", "text", "binary"])
def test_a_damaged_file_is_named(tmp_path, damage):
    content = gzip.compress(lines(2000))
    flipped = content[:300] + bytes([content[300] ^ 1]) + content[301:]
    (tmp_path / "day_0.gz").write_bytes(
        {
            "truncated": content[:-20],
            "bit": flipped,
            "empty": b"",
            "text": lines(),
            "binary": gzip.compress(bytes(3 << 20)),
        }[damage]
    )
    with pytest.raises(OctathlonError, match=r"day_0\.gz: "):
        list(read_day(tmp_path / "day_0.gz", 40_000_000, 1 << 20))


def settings(**changes) -> Settings:
    keys = {
        "source": "miniature",
        "days": 2,
        "day_jobs": 2,
        "max_ind_range": 1000,
        "buckets": 1,
        "shuffle_seed": 1,
    }
    return Settings(**keys | changes)


def test_a_failed_step_leaves_no_receipt(tmp_path):
    (tmp_path / "day_0.gz").write_bytes(gzip.compress(lines(row5={1: "2"})))
    with pytest.raises(OctathlonError, match="row 5"):
        prepare("scan-0", tmp_path, tmp_path / "out", settings())
    assert not list(tmp_path.rglob("*.json"))


def test_dictionaries_that_are_older_than_a_scan_are_noticed(tmp_path):
    for day in range(2):
        (tmp_path / f"day_{day}.gz").write_bytes(gzip.compress(lines()))
    for step in ("scan-0", "scan-1", "dictionaries"):
        prepare(step, tmp_path, tmp_path / "out", settings())
    (tmp_path / "day_0.gz").write_bytes(gzip.compress(lines(row3={40: "000003e7"})))
    prepare("scan-0", tmp_path, tmp_path / "out", settings())
    with pytest.raises(OctathlonError, match=r"dictionaries\.npy: older than a scan"):
        prepare("bucket-0", tmp_path, tmp_path / "out", settings())


@pytest.mark.parametrize(
    "step", ["scan-2", "scan-", "scan-01", "shuffle", "bucket-1", "half-2", "half", "../scan-0"]
)
def test_an_unknown_step_is_refused(tmp_path, step):
    with pytest.raises(OctathlonError, match=r"no step .* choose scan-0 to scan-1"):
        prepare(step, tmp_path, tmp_path, settings())


def test_a_step_before_its_time_says_so(tmp_path):
    with pytest.raises(OctathlonError, match=r"dictionaries\.json: not there"):
        prepare("half-0", tmp_path, tmp_path / "out", settings())


def prepare_days(folder: Path, *days: bytes) -> None:
    for number, content in enumerate(days):
        (folder / f"day_{number}.gz").write_bytes(gzip.compress(content))
    prepare_all(folder, folder / "out", settings(days=len(days), day_jobs=1))


@pytest.mark.parametrize("empty", [0, 1, 2])
def test_a_day_without_rows_is_named(tmp_path, empty):
    days = [b"" if day == empty else lines() for day in range(3)]
    with pytest.raises(OctathlonError, match=rf"day_{empty}\.gz: not a single row"):
        prepare_days(tmp_path, *days)


@pytest.mark.parametrize(
    ("last_day", "complaint"),
    [
        (lines(1), "the 1 rows of the evaluation set, 1 are clicks"),
        (lines(2), "the 1 rows of the evaluation set, 1 are clicks"),
        (lines(8, row1={1: "0"}, row3={1: "0"}), "the 4 rows of the evaluation set, 0 are clicks"),
        (lines(5, row2={1: "1"}), "the 3 rows of the evaluation set, 3 are clicks"),
    ],
)
def test_an_evaluation_set_without_an_auc_is_refused(tmp_path, last_day, complaint):
    """Its rows are all clicks or all none, whatever the rest of the last day is."""
    with pytest.raises(OctathlonError, match=rf"day_1\.gz: of its first half, {complaint}"):
        prepare_days(tmp_path, lines(), last_day)
    assert not (tmp_path / "out/receipts/half-0.json").exists()


def test_the_smallest_evaluation_set(tmp_path):
    prepare_days(tmp_path, lines(1), lines(3))
    assert read_json(tmp_path / "out/manifest.json")["counts"] == {"train": 1, "eval": 2, "val": 1}


def test_a_bucket_without_the_days_rows_says_which_step_makes_them(tmp_path):
    for day in range(2):
        (tmp_path / f"day_{day}.gz").write_bytes(gzip.compress(lines()))
    for step in ("scan-0", "scan-1", "dictionaries", "bucket-0"):
        prepare(step, tmp_path, tmp_path / "out", settings())
    (tmp_path / "out/work/day-0.bin").unlink()
    with pytest.raises(OctathlonError, match=r"day-0\.bin: cannot be read .* scans this day again"):
        prepare("bucket-0", tmp_path, tmp_path / "out", settings())
