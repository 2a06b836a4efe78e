"""BERT's checkpoint: every weight as it was, no optimizer slot; damaged files are named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bert_tensors import ALL, DATA, INDEX, WEIGHTS
from safetensors.numpy import load_file

from octathlon.datasets.wikipedia.checkpoint import convert
from octathlon.errors import OctathlonError
from octathlon.miniatures import tensor_bundle


def write(folder: Path, index: bytes = INDEX, data: bytes = DATA) -> tuple[Path, Path, Path]:
    paths = folder / "model.index", folder / "model.data", folder / "out.safetensors"
    paths[0].write_bytes(index)
    paths[1].write_bytes(data)
    return paths


def test_weights_come_through_and_slots_do_not(tmp_path: Path) -> None:
    *files, out = write(tmp_path)
    shapes = convert(*files, out)
    assert shapes == {name: list(value.shape) for name, value in sorted(WEIGHTS.items())}
    converted = load_file(out)
    assert set(converted) == set(WEIGHTS)
    assert all((converted[name] == value).all() for name, value in WEIGHTS.items())


def test_size_of_the_data_is_weights_slots_and_three_numbers() -> None:
    """The identity that the reference's file fulfils: 3 x 336,226,108 x 4 + 16 = 4,034,713,312."""
    assert len(DATA) == 3 * 4 * sum(value.size for value in WEIGHTS.values()) + 16
    assert 3 * 336_226_108 * 4 + 16 == 4_034_713_312


def refused(paths: tuple[Path, Path, Path], match: str) -> None:
    with pytest.raises(OctathlonError, match=match):
        convert(*paths)
    assert not paths[2].exists()


def test_damaged_files_are_named(tmp_path: Path) -> None:
    refused(
        write(tmp_path, index=b"x" * 100), r"model\.index: cannot read the index of a TensorFlow checkpoint"
    )
    refused(write(tmp_path, index=INDEX[:-9] + b"x" * 9), r"model\.index: .*last bytes")
    refused(write(tmp_path, index=INDEX[:20]), r"model\.index")
    refused(write(tmp_path, index=b""), r"model\.index: cannot read it")
    refused(write(tmp_path, data=b""), r"model\.data: cannot read it")
    refused(write(tmp_path, data=DATA[:-500]), r"model\.data: .*ends before")
    name = "bert/encoder/layer_3/output/dense/bias"
    bad = ALL | {name: np.full(5, np.nan, "<f4")}
    refused(write(tmp_path, data=tensor_bundle.data_file(bad)), rf"model\.data: .*{name} is damaged")
    both = tensor_bundle.index_file(bad), tensor_bundle.data_file(bad)
    refused(write(tmp_path, *both), rf"model\.data: .*{name} has values that are no numbers")
    other = {"bert/x": np.zeros(3, "<i8")}
    refused(write(tmp_path, tensor_bundle.index_file(other)), r"bert/x is not an array of 32-bit numbers")
