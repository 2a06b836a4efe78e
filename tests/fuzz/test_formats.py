"""The one room for untrusted bytes: a target for each format."""

from __future__ import annotations

import base64
import gzip
import io
import json
import pickle
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mutations import fuzz

from octathlon import registry
from octathlon.formats.blobs import read_blobs
from octathlon.formats.gzips import open_gzip
from octathlon.formats.json import read_records
from octathlon.formats.matlab import read_structs
from octathlon.formats.nifti import read_volume
from octathlon.formats.records import read_examples
from octathlon.formats.state_dicts import read_state_dict
from octathlon.formats.tars import index_tar, read_targz, stream_targz
from octathlon.formats.tensor_bundles import mapped, read_index, read_tensors
from octathlon.formats.zips import ZipReader

Read = Callable[[Path], object]
LIMIT = 1 << 20
DATA = "data-00000-of-00001"


def tar_of(files: dict[str, bytes]) -> bytes:
    """A tar with names of every kind."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def zip_of(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


FILES = {"a/b.txt": b"text" * 50, "a/" + "\N{SNOWMAN}" * 60: b"", "c": bytes(600)}

STATE_DICT = (
    "c-n1HJx>Bb5WP>(RS-WKJIkXXCn`u~V`$b-Y_>5MyxVYVF1O6y9!3)qDkA;{e}I3@pI~C)9EdhdGP~KgGxOe?iS<U3@AvN4!"
    "Q;oxeq&-?e%g4B!SGnkFpQy+T81(SMqFh=reI<LtKd%}v`%=y(@6AFuwEHKP(KfOkck(bfjtJtV=jVOER_bATFl0mNHvtG!<"
    "=G<Ob1Y=PM$A0O+=r-47F5Y+z4_ll8gk3Kjb2b0?pG*s$kS4V0j)Z7sIi#Kj2_5T1YpMeSNn82{^2ZHJ#&jtJ7(p93C}~eIM"
    "Mpj&PWxj?$He@+~!}MeQl9QJb1mSf7PxIpLv3#~Ha+5m!7q7ojFV>OI)du-SvkTx<%}7`4Pp{tLA9N5Az?f7<f>CZ-RyxI|5"
    ")-A3AaeHIrJcQowwV6RxieX)iWZRRQ~7H<?Hig17LlCg}**{b{jBuIc!"
)
"""What torch.save writes without its zip, of a (2, 3) float32 and an int64 tensor; zlib, base 85."""


def read_zip(path: Path) -> None:
    with ZipReader(path) as archive:
        for name in archive.names:
            archive.read(name, LIMIT)


def stream(path: Path) -> None:
    for _name, _content in stream_targz(path, LIMIT, LIMIT):
        pass


SMALL = {
    "imagenet": {"train_per_class": 1, "val_per_class": 1},
    "kits19": {"cases": 1},
    "minigo_models": {"generations": 1, "games": 1, "max_moves": 4},
}


def drawn(dataset: str, name: str, folder: Path) -> Path:
    """A small miniature of an archive."""
    sizes = registry.defaults("datasets", dataset, "mini")["miniature"] | SMALL[dataset]
    registry.miniature(dataset).draw(name, folder, seed=1, **sizes)
    return folder / name


def on_disk(read: Read, path: Path, pack: Callable[[bytes], bytes] = bytes) -> Callable[[bytes], None]:
    """A reader of bytes out of one of files."""

    def of_bytes(content: bytes) -> None:
        path.write_bytes(pack(content))
        read(path)

    return of_bytes


@pytest.mark.parametrize("read", [lambda path: read_targz(path, LIMIT), stream], ids=["read", "stream"])
def test_tars_in_gzips(read, tmp_path):
    fuzz(on_disk(read, tmp_path / "a.tar.gz", gzip.compress), [tar_of(FILES)])


def test_tars(tmp_path):
    linked = tarfile.TarInfo("a" * 5000).tobuf(tarfile.GNU_FORMAT) * 200  # long names of long names
    fuzz(on_disk(index_tar, tmp_path / "a.tar"), [tar_of(FILES)], [linked])


def test_gzips(tmp_path):
    read = lambda path: open_gzip(path, LIMIT).read()  # noqa: E731
    fuzz(on_disk(read, tmp_path / "a.gz"), [gzip.compress(b"text" * 99), gzip.compress(b"a") * 3])


def test_zips(tmp_path):
    fuzz(on_disk(read_zip, tmp_path / "a.zip"), [zip_of(FILES)])


def test_json():
    document = {
        "images": [{"id": 1, "width": 9.5}],
        "annotations": [{"segmentation": [[1, 2.5, 3]], "a": None}],
    }
    deep = [b"[" * 100_000, b"[[],[]]," * 100_000, b'{"a":' * 100_000, b"9" * 5000, b"-1e999"]

    def read(content: bytes) -> None:
        for records in read_records(content, "a.json", ["images", "annotations"]):
            list(records)

    fuzz(read, [json.dumps(document).encode()], deep)


def test_volumes(tmp_path):
    label = drawn("kits19", "data/case_00000/segmentation.nii.gz", tmp_path)
    seed = gzip.decompress(label.read_bytes())
    fuzz(on_disk(read_volume, tmp_path / "a.nii.gz", lambda content: gzip.compress(content, 1)), [seed])


def test_matlab(tmp_path):
    kit = drawn("imagenet", "ILSVRC2012_devkit_t12.tar.gz", tmp_path)
    seeds = [content for name, content in read_targz(kit, 1 << 26).items() if name.endswith(".mat")]
    fuzz(lambda content: read_structs(content, "synsets", "meta.mat"), seeds)


def test_tensor_bundles(tmp_path):
    index, data = (drawn("minigo_models", f"target.{part}", tmp_path) for part in ("index", DATA))

    def read(path: Path) -> None:
        read_tensors(read_index(mapped(path), path), mapped(data), data)

    fuzz(on_disk(read, tmp_path / "b.index"), [index.read_bytes()])


def test_records(tmp_path):
    files = read_targz(drawn("minigo_models", "checkpoint.tar.gz", tmp_path), 1 << 26)
    seeds = [zlib.decompress(content) for name, content in files.items() if name.endswith(".zz")]
    fuzz(lambda content: read_examples(zlib.compress(content), "game"), seeds[:2], [bytes(1 << 24)])


def test_pickled_blobs(tmp_path):
    blobs = {"blobs": {"conv1_w": np.ones((2, 3), np.float32), "step": 3}}
    memo, nested = b"\x80\x02r\xff\xff\xff\x7f.", b"\x80\x02}" + b")" + b"q\0h\0\x86" * 60 + b"Ns."
    fuzz(on_disk(read_blobs, tmp_path / "a.pkl"), [pickle.dumps(blobs, 2)], [memo, nested, b"(" * 200_000])


def test_state_dicts(tmp_path):
    seed = zlib.decompress(base64.b85decode(STATE_DICT))
    fuzz(on_disk(read_state_dict, tmp_path / "a.pth"), [seed])
