"""The loader: features, reads across files, damage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from click_logs_archives import draw, prepare_all, read_rows, settings

from octathlon.datasets.click_logs.loader import Batches, features
from octathlon.errors import OctathlonError
from octathlon.nn.loading import load


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


def test_any_run_of_rows_across_files(prepared) -> None:
    out, manifest = prepared
    batches, expected = Batches(out, manifest, "train"), read_rows(out, manifest, "train")
    assert len(manifest["splits"]["train"]) == 5
    for first, count in [(0, 1), (2290, 30), (0, len(expected)), (len(expected) - 7, 7), (1000, 9000)]:
        assert batches[first, count].tolist() == expected[first : first + count].tolist()


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_keep_the_order(prepared, workers: int) -> None:
    out, manifest = prepared
    keys = [(start, 100) for start in range(0, 1000, 100)]
    loaded = list(load(Batches(out, manifest, "eval"), keys, workers=workers, pin_memory=False))
    assert torch.cat(loaded).tolist() == read_rows(out, manifest, "eval")[:1000].tolist()


def test_a_file_that_is_cut_short_or_gone_is_named(prepared, tmp_path: Path) -> None:
    out, manifest = prepared
    batches = Batches(tmp_path, manifest, "eval")
    with pytest.raises(OctathlonError, match=r"eval\.bin: cannot read it"):
        batches[0, 1]
    content = (out / "eval.bin").read_bytes()
    (tmp_path / "eval.bin").write_bytes(content[:-160])
    assert len(batches[0, 1000]) == 1000
    with pytest.raises(OctathlonError, match="too short"):
        batches[1000, 1]
