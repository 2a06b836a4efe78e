"""Published weights without pickle's code: equal to what torch and numpy load, and deaf to orders."""

from __future__ import annotations

import os
import pickle
import tracemalloc
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from coco_run import draw
from safetensors.numpy import load_file

from octathlon.datasets.coco.backbones import (
    R50,
    RESNET34,
    convert,
    torchvision_names,
)
from octathlon.errors import OctathlonError
from octathlon.formats.blobs import read_blobs
from octathlon.formats.state_dicts import read_state_dict


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("archives"))


def saved(value: object, path: Path) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=False)
    return path


def test_a_state_dict_is_what_torch_loads(archives: Path, tmp_path: Path) -> None:
    shapes = convert(archives / RESNET34, tmp_path / "out.safetensors")
    expected = torch.load(archives / RESNET34, weights_only=True)
    found = load_file(tmp_path / "out.safetensors")
    assert sorted(found) == sorted(expected) == list(shapes)
    for name, value in expected.items():
        assert np.array_equal(found[name], value.numpy()) and found[name].dtype == value.numpy().dtype


def test_views_strides_and_shared_storages_are_followed(tmp_path: Path) -> None:
    base = torch.arange(24.0)
    state = OrderedDict(a=base.view(4, 6).t(), b=base[3:9], c=base.view(4, 6)[1:, ::2], d=torch.tensor(5))
    found = read_state_dict(saved(state, tmp_path / "w.pth"))
    assert {name: value.tolist() for name, value in found.items()} == {
        name: value.tolist() for name, value in state.items()
    }


def test_parameters_of_old_files_are_read(tmp_path: Path) -> None:
    found = read_state_dict(saved(OrderedDict(w=torch.nn.Parameter(torch.ones(2, 3))), tmp_path / "w.pth"))
    assert found["w"].tolist() == [[1] * 3] * 2


class Python2:
    """Pickles to what Python 2 makes of an OrderedDict: a call with its items."""

    def __reduce__(self) -> tuple:
        return OrderedDict, ([["w", torch.ones(2, 3)], ["b", torch.zeros(2)]],)


def test_state_dicts_of_python_2_are_read(tmp_path: Path) -> None:
    found = read_state_dict(saved(Python2(), tmp_path / "w.pth"))
    assert {name: value.tolist() for name, value in found.items()} == {"w": [[1] * 3] * 2, "b": [0, 0]}


def test_a_caffe2_pickle_gets_torchvisions_names(archives: Path, tmp_path: Path) -> None:
    convert(archives / R50, tmp_path / "out.safetensors")
    found = load_file(tmp_path / "out.safetensors")
    blobs = pickle.loads((archives / R50).read_bytes())["blobs"]
    assert not any("fc" in name or "momentum" in name for name in found)
    assert len(found) == 3 * (1 + 4 * 4)  # the stem, and four blocks of three convolutions and a shortcut
    for theirs, ours in {
        "conv1_w": "conv1.weight",
        "res_conv1_bn_s": "bn1.weight",
        "res2_0_branch1_w": "layer1.0.downsample.0.weight",
        "res2_0_branch1_bn_b": "layer1.0.downsample.1.bias",
        "res5_0_branch2b_w": "layer4.0.conv2.weight",
        "res4_0_branch2c_bn_s": "layer3.0.bn3.weight",
    }.items():
        assert np.array_equal(found[ours], blobs[theirs])


def test_all_names_of_a_resnet50_are_known() -> None:
    blocks = {2: 3, 3: 4, 4: 6, 5: 3}
    names = ["conv1_w", "res_conv1_bn_s", "res_conv1_bn_b", "fc1000_w", "fc1000_b", "conv1_w_momentum"]
    for stage, count in blocks.items():
        for block in range(count):
            branches = ["2a", "2b", "2c"] + (["1"] if block == 0 else [])
            names += [f"res{stage}_{block}_branch{b}_{k}" for b in branches for k in ("w", "bn_s", "bn_b")]
    found = torchvision_names({name: np.zeros(1) for name in names})
    from torchvision.models import resnet50

    expected = {name for name, _ in resnet50().named_parameters() if not name.startswith("fc.")}
    assert set(found) == expected


def test_pickles_of_python_2_are_read(tmp_path: Path) -> None:
    """Protocol 2 with byte strings, as Python 2 wrote it, and NumPy's module under its old name."""
    array = np.arange(6, dtype=">f4").reshape(2, 3)
    content = (
        b"\x80\x02}U\x07conv1_wcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02K\x03\x86cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01>NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U\x18" + array.tobytes() + b"tbs."
    )
    assert np.array_equal(pickle.loads(content, encoding="latin1")["conv1_w"], array)
    (tmp_path / R50).write_bytes(content)
    found = read_blobs(tmp_path / R50)
    assert found["conv1_w"].tolist() == array.tolist() and found["conv1_w"].dtype == np.float32


class Order:
    """Pickles to a call of os.system."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("name", [R50, RESNET34])
def test_orders_in_a_pickle_are_not_obeyed(tmp_path: Path, name: str) -> None:
    path, proof = tmp_path / name, tmp_path / "proof"
    value = {"blobs": {"conv1_w": Order(proof)}}
    if name == R50:
        path.write_bytes(pickle.dumps(value, 2))
    else:
        torch.save(value, path, _use_new_zipfile_serialization=False)
    with pytest.raises(
        OctathlonError, match=f"{name}: not the published weights .*system, which no weights need"
    ):
        convert(path, tmp_path / "out.safetensors")
    assert not proof.exists() and not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize(
    "reached", ["numpy.f2py.crackfortran.myeval", "builtins.eval", "torch.serialization.load"]
)
def test_only_the_few_names_of_weights_are_known(tmp_path: Path, reached: str) -> None:
    module, _, function = reached.rpartition(".")
    (tmp_path / R50).write_bytes(f"c{module}\n{function}\n(S'1'\ntR.".encode())
    with pytest.raises(OctathlonError, match=f"it asks for {reached}"):
        convert(tmp_path / R50, tmp_path / "out")


@pytest.mark.parametrize("name", [R50, RESNET34])
@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.999])
def test_truncated_files_end_in_a_sentence(archives: Path, tmp_path: Path, name: str, keep: float) -> None:
    content = (archives / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(keep if keep >= 1 or not keep else keep * len(content))])
    with pytest.raises(
        OctathlonError, match=f"{name}: not the published weights .*; fetch the archive again"
    ):
        convert(tmp_path / name, tmp_path / "out")


def test_a_tensor_may_not_reach_beyond_its_storage(tmp_path: Path) -> None:
    path = saved(OrderedDict(w=torch.ones(4)), tmp_path / RESNET34)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"K\x04\x85q", b"K\x40\x85q", 1))
    assert path.read_bytes() != content
    with pytest.raises(OctathlonError, match="beyond its storage"):
        read_state_dict(path)


@pytest.mark.parametrize("name", [R50, RESNET34])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused(tmp_path: Path, name: str, value: float) -> None:
    array = np.full((2, 3), value, np.float32)
    if name == R50:
        (tmp_path / name).write_bytes(pickle.dumps({"blobs": {"conv1_w": array}}, 2))
    else:
        saved({"conv1.weight": torch.from_numpy(array)}, tmp_path / name)
    with pytest.raises(OctathlonError, match="conv1.weight has values that are no numbers"):
        convert(tmp_path / name, tmp_path / "out")


EXPANDED = torch.ones(1).expand(1 << 30)
"""A gigabyte times four, by a stride of zero, in a file of some hundred bytes."""
SHARED = np.ones(20_000, np.float32)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (R50, b"\x80\x02r\xff\xff\xff\x7f.", "not the published weights"),  # a memo of 2^31 places
        (R50, b"\x80\x02" + b"N0" * 60_000 + b"N.", "an instruction that no weights need"),
        (R50, b"\x80\x02" + b")" * 100_001 + b".", "more than 100,000 instructions"),
        (R50, b"\x80\x02}" + b")" + b"q\0h\0\x86" * 60 + b"Ns.", "a key that is no name"),  # 2^60 to hash
        (
            R50,
            b"\x80\x02X" + (70_004).to_bytes(4, "little") + b"a" * 70_000 + "🎲".encode() + b".",
            "than any name",
        ),
        (R50, pickle.dumps({f"conv{n}_w": SHARED for n in range(9)}, 2), "more bytes than the file"),
        (RESNET34, {"w": EXPANDED}, "more bytes than the file"),
        (RESNET34, {str(n): EXPANDED[:200] for n in range(9)}, "more bytes than the file"),
    ],
)
def test_a_few_bytes_take_no_memory_and_no_time(
    tmp_path: Path, name: str, content: bytes | dict[str, torch.Tensor], words: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content) if isinstance(content, bytes) else saved(content, path)
    tracemalloc.start()
    with pytest.raises(OctathlonError, match=words):
        convert(path, tmp_path / "out")
    assert tracemalloc.get_traced_memory()[1] < 30_000_000
    tracemalloc.stop()
