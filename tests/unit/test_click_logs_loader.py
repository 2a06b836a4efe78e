"""The loader: features, reads across files, damage."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import count, repeat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click_logs_archives import draw, prepare_all, read_rows, settings

from octathlon.datasets.click_logs import loader
from octathlon.datasets.click_logs.loader import Key, Rows, Stream, features
from octathlon.datasets.shards import Shards
from octathlon.errors import OctathlonError


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("click_logs")
    manifest = prepare_all(draw(folder / "archives"), folder / "out", settings(days=24, buckets=5))
    return folder / "out", manifest


def test_features() -> None:
    """Natural logarithms of the integers, once, in 32 bits."""
    rows = torch.arange(80, dtype=torch.int32).reshape(2, 40)
    rows[:, 0] = torch.tensor([1, 0])
    integers, indices, labels = features(rows)
    assert (integers.dtype, indices.dtype, labels.dtype) == (torch.float32, torch.int32, torch.float32)
    assert labels.tolist() == [1, 0]
    assert indices.tolist() == rows[:, 14:].tolist()
    np.testing.assert_allclose(integers, np.log(rows[:, 1:14].numpy() + 1.0), rtol=1e-6)
    assert rows[0, 1] == 1  # the rows stay as they are


@pytest.fixture(params=[1, 1 << 14, 1 << 24])
def item_bytes(request, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch at a time, some, all."""
    monkeypatch.setattr(loader, "ITEM_BYTES", request.param)


def read(
    out: Path, manifest: dict[str, Any], split: str, keys: Iterable[Key], *, thread: bool = True
) -> Stream:
    return Stream(Rows(out, manifest, split), keys, torch.device("cpu"), thread=thread)


@pytest.mark.parametrize("thread", [True, False])
def test_any_run_of_rows_across_files(prepared, item_bytes, thread: bool) -> None:
    """In the order of the keys, and each batch stays as it is when others follow; a second time, too."""
    out, manifest = prepared
    expected = read_rows(out, manifest, "train")
    assert len(manifest["splits"]["train"]) == 5
    keys = [(0, 1), (2290, 30), (0, len(expected)), (len(expected) - 7, 7), (1000, 9000), (5, 0)]
    stream = read(out, manifest, "train", keys, thread=thread)
    for _ in range(2):
        for (first, rows), batch in zip(keys, list(stream), strict=True):
            assert batch.tolist() == expected[first : first + rows].tolist()


def test_keys_may_come_from_a_generator(prepared, item_bytes) -> None:
    """Of which no more are taken than are read ahead, so it may be without end."""
    out, manifest = prepared
    taken = count()
    keys = ((100 * (next(taken) % 10), 100) for _ in repeat(None))
    first = [batch for batch, _ in zip(read(out, manifest, "eval", keys), range(25), strict=False)]
    expected = read_rows(out, manifest, "eval")[:1000].reshape(10, 100, 40)
    assert torch.stack(first[10:20]).tolist() == expected.tolist()
    assert next(taken) < 25 + 4 * (1 << 24) // 16_000


def threads() -> int:
    return threading.active_count()


def test_the_thread_ends_with_the_iterator(prepared) -> None:
    out, manifest = prepared
    before = threads()
    keys = [(0, 100)] * 10
    stream = read(out, manifest, "eval", keys)
    iterator = iter(stream)
    next(iterator)
    assert threads() == before + 1
    iterator.close()
    assert threads() == before
    assert len(list(stream)) == 10 and threads() == before


def test_a_file_that_is_cut_short_or_gone_is_named(prepared, tmp_path: Path, item_bytes) -> None:
    """The rows before the cut are still read; each time the thread has ended."""
    out, manifest = prepared
    before = threads()
    with pytest.raises(OctathlonError, match=r"eval\.bin: cannot read it"):
        list(read(tmp_path, manifest, "eval", [(0, 1)] * 100))
    content = (out / "eval.bin").read_bytes()
    (tmp_path / "eval.bin").write_bytes(content[:-160])
    assert len(next(iter(read(tmp_path, manifest, "eval", [(0, 1000)])))) == 1000
    with pytest.raises(OctathlonError, match=r"eval\.bin: cannot read it \(the file is too short\)"):
        list(read(tmp_path, manifest, "eval", [(0, 1000), (1000, 1)]))
    with pytest.raises(OctathlonError, match="too short"):
        list(read(tmp_path, manifest, "eval", [(0, 1000), (1000, 1)], thread=False))
    assert threads() == before


def test_threads_open_a_file_once(tmp_path: Path) -> None:
    """All at the same time, over and over: a file that one of them had replaced would be closed while another reads."""
    numbers = np.arange(4000, dtype=np.int32)
    numbers.tofile(tmp_path / "numbers")
    together = threading.Barrier(8)

    def wrong(_: int) -> int:
        found = 0
        for round_ in range(50):
            if together.wait() == 0:
                shared[round_] = Shards([tmp_path / "numbers"])
            together.wait()
            buffer = np.zeros_like(numbers)
            shared[round_].fill(0, 0, buffer)
            found += not np.array_equal(buffer, numbers)
        return found

    shared: dict[int, Shards] = {}
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(wrong, range(8))) == 0
    assert all(len(each._files) == 1 for each in shared.values())
