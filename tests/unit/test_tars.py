"""Archives that are read in place: real tars, and those that an attacker or a broken copy would make."""

from __future__ import annotations

import gzip
import io
import random
import subprocess
import sys
import tarfile
import tempfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from octathlon.errors import OctathlonError
from octathlon.formats import tars
from octathlon.formats.gzips import open_gzip
from octathlon.formats.tars import Member, index_tar, read_targz, stream_targz

REALDATA = Path(__file__).resolve().parents[3] / "shared" / "realdata"
DATA = random.Random(3)


def entry(name: str, content: bytes = b"", **fields) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, content


def tar_of(*entries: tuple[tarfile.TarInfo, bytes], form: int = tarfile.GNU_FORMAT) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=form) as tar:
        for info, content in entries:
            tar.addfile(info, io.BytesIO(content))
    return target.getvalue()


def contents(path: Path, members: list[Member]) -> dict[str, bytes]:
    data = path.read_bytes()
    return {member.name: data[member.offset : member.offset + member.size] for member in members}


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_the_index_finds_every_file_of_a_nested_tar(tmp_path: Path, form: int) -> None:
    name = "deep/" * 15 + "n" * 90 + ".JPEG"  # needs more than the 100 bytes of the plain header
    files = {name: DATA.randbytes(1000), "empty": b"", "full block": DATA.randbytes(512)}
    inner = tar_of(*[entry(*item) for item in files.items()], form=form)
    path = tmp_path / "outer.tar"
    path.write_bytes(
        tar_of(entry("a.tar", inner), entry("folder", type=tarfile.DIRTYPE), entry("b.tar", inner))
    )
    outer = index_tar(path)
    assert [member.name for member in outer] == ["a.tar", "b.tar"]
    for member in outer:
        inside = index_tar(path, member.offset, member.size)
        assert [each.name for each in inside] == list(files)
        assert contents(path, inside) == files


def test_the_index_of_a_large_tar_reads_headers_only(tmp_path: Path) -> None:
    """20 members of 1 GiB each, all holes: reading them would take a minute."""
    path = tmp_path / "large.tar"
    with path.open("wb") as file:
        for number in range(20):
            info, _ = entry(f"{number}.tar")
            info.size = 1 << 30
            file.write(info.tobuf())
            file.seek(1 << 30, io.SEEK_CUR)
        file.write(bytes(1024))
    code = (  # not getrusage: it gives the parent's peak, if that is larger
        "import re, sys; from pathlib import Path; from octathlon.formats.tars import index_tar;"
        "offset = index_tar(Path(sys.argv[1]))[-1].offset;"
        "print(offset, re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])"
    )
    output = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=True
    ).stdout
    offset, kilobytes = map(int, output.split())
    assert offset == 19 * ((1 << 30) + 512) + 512
    assert kilobytes < 100_000


HOSTILE = {
    "absolute": entry("/etc/passwd", b"x"),
    "parent": entry("a/../../b", b"x"),
    "backslash": entry("..\\b", b"x"),
    "symlink": entry("link", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "hard link": entry("link", type=tarfile.LNKTYPE, linkname="a"),
    "character device": entry("null", type=tarfile.CHRTYPE),
    "block device": entry("disk", type=tarfile.BLKTYPE),
    "pipe": entry("pipe", type=tarfile.FIFOTYPE),
    "sparse file": entry("sparse", type=tarfile.GNUTYPE_SPARSE),
}


@pytest.mark.parametrize("member", HOSTILE.values(), ids=HOSTILE)
def test_hostile_members_are_refused_by_name(tmp_path: Path, member: tuple[tarfile.TarInfo, bytes]) -> None:
    path = tmp_path / "hostile.tar"
    path.write_bytes(tar_of(entry("fine", b"x"), member))
    with pytest.raises(OctathlonError) as error:
        index_tar(path)
    assert str(path) in str(error.value)
    assert repr(member[0].name) in str(error.value)


def test_a_member_of_negative_size_is_refused(tmp_path: Path) -> None:
    info, _ = entry("minus")
    info.size = -512  # tarfile goes back by it and reads the same header for ever
    path = tmp_path / "minus.tar"
    path.write_bytes(tar_of(entry("fine", b"x"))[:1024] + info.tobuf(format=tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(OctathlonError, match="'minus' is not a plain file|damaged tar"):
        index_tar(path)


@pytest.mark.parametrize("second", ["a", "./a"])
def test_a_second_member_of_the_same_name_is_refused(tmp_path: Path, second: str) -> None:
    path = tmp_path / "twice.tar"
    path.write_bytes(tar_of(entry("a", b"1"), entry(second, b"2")))
    with pytest.raises(OctathlonError, match="'a' is there twice"):
        index_tar(path)


@pytest.mark.parametrize("field", [(tarfile.XHDTYPE, "1 GiB"), (tarfile.GNUTYPE_LONGNAME, "1 GiB")])
def test_a_header_that_asks_for_much_memory_is_refused(tmp_path: Path, field: tuple[bytes, str]) -> None:
    info, _ = entry("header", type=field[0])
    info.size = 1 << 30
    path = tmp_path / "greedy.tar"
    with path.open("wb") as file:
        file.write(info.tobuf(format=tarfile.GNU_FORMAT))
        file.truncate(2 << 30)
    with pytest.raises(OctathlonError, match=r"a header of 1,[\d,]+ bytes"):
        index_tar(path)


def long_names(count: int, size: int) -> bytes:
    """A chain of headers that each say that the next one's name is long; no file follows."""
    return b"".join(
        entry("././@LongLink", type=tarfile.GNUTYPE_LONGNAME, size=size)[0].tobuf() + b"n" * size
        for _ in range(count)
    )


def sparse(fields: bytes) -> bytes:
    info = entry("sparse", pax_headers={"GNU.sparse.major": "1", "GNU.sparse.minor": "0"})[0]
    return tar_of((info, fields), form=tarfile.PAX_FORMAT)[:-1024]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (long_names(3, 1 << 19), "a header of 524,288 bytes"),
        (long_names(1500, 512), "truncated or damaged"),
        (sparse(b"a\n".ljust(512)), "truncated or damaged"),
        (sparse(b"9" * 5000 + b"\n"), "truncated or damaged"),
        (sparse(b"999999999\n" + b"0\n" * (2 << 20)), "truncated or damaged"),
    ],
    ids=["names", "chain", "no number", "large number", "long map"],
)
def test_a_tar_of_headers_is_refused_before_it_takes_memory(
    tmp_path: Path, content: bytes, words: str
) -> None:
    path = tmp_path / "greedy.tar"
    path.write_bytes(content + bytes(1024))
    tracemalloc.start()
    with pytest.raises(OctathlonError, match=words):
        index_tar(path)
    assert tracemalloc.get_traced_memory()[1] < 8_000_000
    tracemalloc.stop()


def test_no_tar_has_folders_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tars, "ENTRIES", 1000)
    path = tmp_path / "folders.tar"
    folder = tar_of(entry("folder", type=tarfile.DIRTYPE))[:512]
    path.write_bytes(folder * 999 + bytes(1024))
    assert index_tar(path) == []
    path.write_bytes(folder * 1000 + bytes(1024))
    with pytest.raises(OctathlonError, match="more than 1,000 files and folders"):
        index_tar(path)


def test_a_targz_of_zeros_is_refused(tmp_path: Path) -> None:
    """Whatever the caller's limit: 60 MB of zeros are 60 kB."""
    path = tmp_path / "zeros.tar.gz"
    path.write_bytes(gzip.compress(tar_of(*[entry(name, bytes(30 << 20)) for name in "ab"]), 1))
    with pytest.raises(OctathlonError, match="unpacks to more than 16,777,216 bytes"):
        list(stream_targz(path, 1 << 40, 1 << 30))


def test_an_inner_tar_can_not_reach_beyond_its_end(tmp_path: Path) -> None:
    """An inner tar without end mark: its neighbour in the outer tar must not be taken for its members."""
    inner = tar_of(entry("a", b"1" * 512))[:1024]
    path = tmp_path / "outer.tar"
    path.write_bytes(tar_of(entry("a.tar", inner), entry("b.tar", inner)))
    first = index_tar(path)[0]
    with pytest.raises(OctathlonError, match="truncated or damaged"):
        index_tar(path, first.offset, first.size)


def test_every_truncation_of_a_tar_is_noticed(tmp_path: Path) -> None:
    whole = tar_of(entry("a", b"1" * 700), entry("b", b"2" * 512))
    end = 512 + 1024 + 512 + 512
    path = tmp_path / "cut.tar"
    for length in [*range(0, end, 64), end, end + 511]:
        path.write_bytes(whole[:length])
        with pytest.raises(OctathlonError, match=r"cut.tar: truncated or damaged tar"):
            index_tar(path)
    path.write_bytes(whole[: end + 512])
    assert len(index_tar(path)) == 2


SAMPLE = tar_of(entry("a" * 120, b"1" * 700), entry("b", b"2" * 512), entry("d", type=tarfile.DIRTYPE))
SAMPLE_PAX = tar_of(entry("ä" * 120, b"1" * 700), entry("b", b"2", mtime=1.5), form=tarfile.PAX_FORMAT)


@settings(max_examples=300, deadline=None)
@given(
    sample=st.sampled_from([SAMPLE, SAMPLE_PAX]),
    changes=st.lists(st.tuples(st.integers(0, 4096), st.binary(min_size=1, max_size=12)), max_size=4),
)
def test_a_damaged_tar_gives_members_inside_the_file_or_one_sentence(
    sample: bytes, changes: list[tuple[int, bytes]]
) -> None:
    damaged = bytearray(sample)
    for position, content in changes:
        damaged[position : position + len(content)] = content
    for start in range(0, len(damaged) - 511, 512):  # with right checksums, more of it gets read
        block = damaged[start : start + 512]
        if block[257:262] == b"ustar":
            total = sum(block[:148]) + 8 * 32 + sum(block[156:])
            damaged[start + 148 : start + 156] = b"%06o\0 " % total
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "damaged.tar"
        path.write_bytes(damaged)
        try:
            members = index_tar(path)
        except OctathlonError as error:
            assert str(path) in str(error)
        else:
            assert all(0 <= each.offset <= each.offset + each.size <= len(damaged) for each in members)
            assert not any(each.name.startswith("/") or ".." in each.name.split("/") for each in members)


def test_a_missing_archive_says_how_to_get_it_again(tmp_path: Path) -> None:
    for read in (index_tar, lambda path: open_gzip(path, 10)):
        with pytest.raises(OctathlonError, match=r"delete its receipt gone.tar.json"):
            read(tmp_path / "gone.tar")


def test_a_small_targz_is_read_whole(tmp_path: Path) -> None:
    files = {"kit/data/meta.mat": DATA.randbytes(5000), "kit/readme.txt": b"hello"}
    path = tmp_path / "kit.tar.gz"
    path.write_bytes(gzip.compress(tar_of(*[entry(*item) for item in files.items()])))
    assert read_targz(path, 100_000) == files
    path.write_bytes(gzip.compress(tar_of(entry("../escape", b"x"))))
    with pytest.raises(OctathlonError, match="'../escape' has a name that leaves its folder"):
        read_targz(path, 100_000)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_streamed_targz_gives_what_a_whole_one_does(tmp_path: Path, form: int) -> None:
    """Sizes around a block, so that headers follow with and without padding; a folder and a long name between."""
    sizes = (0, 1, 511, 512, 513, 1024, 70_000)
    files = {f"{'deep/' * 30}{size}": DATA.randbytes(size) for size in sizes}
    folder = entry("folder", type=tarfile.DIRTYPE)
    path = tmp_path / "some.tar.gz"
    tar = tar_of(*[entry(*item) for item in files.items()], folder, entry("last", b"x"), form=form)
    path.write_bytes(gzip.compress(tar))
    assert list(stream_targz(path, 1_000_000, 70_000)) == [*files.items(), ("last", b"x")]


def test_every_truncation_of_a_streamed_targz_is_noticed(tmp_path: Path) -> None:
    tar = tar_of(entry("a", DATA.randbytes(1024)), entry("b", DATA.randbytes(700)))
    content = tar.rstrip(b"\0")
    whole = gzip.compress(tar)
    path = tmp_path / "cut.tar.gz"
    broken = [gzip.compress(content[:length]) for length in range(0, len(content), 100)]
    broken += [whole[:length] for length in (*range(0, len(whole), 100), len(whole) - 1)]
    for each in broken:
        path.write_bytes(each)
        with pytest.raises(OctathlonError, match=r"cut\.tar\.gz: (truncated|empty)"):
            list(stream_targz(path, 1_000_000, 10_000))


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (entry("../escape", b"x"), "'../escape' has a name that leaves its folder"),
        (entry("link", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "'link' is not a plain file"),
        (entry("large", bytes(1001)), "'large' has 1,001 bytes"),
        (entry("first", b"x"), "'first' is there twice"),
        (entry("n" * (2 << 20), b"x"), "a header of"),
    ],
)
def test_hostile_members_of_a_streamed_targz_are_refused(
    tmp_path: Path, member: tuple[tarfile.TarInfo, bytes], message: str
) -> None:
    path = tmp_path / "hostile.tar.gz"
    path.write_bytes(gzip.compress(tar_of(entry("first", b"1"), member, entry("other", b"2"))))
    with pytest.raises(OctathlonError, match=message):
        list(stream_targz(path, 10_000_000, 1000))


def test_a_streamed_bomb_is_stopped_at_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "bomb.tar.gz"
    path.write_bytes(gzip.compress(tar_of(*[entry(str(number), bytes(1000)) for number in range(100)])))
    with pytest.raises(OctathlonError, match="unpacks to more than 50,000 bytes"):
        list(stream_targz(path, 50_000, 1000))


def test_real_imagenet_archives() -> None:
    """10 inner tars of 301 pictures each, 330 validation pictures and the devkit, as their README says."""
    folder = REALDATA / "imagenet"
    if not folder.exists():
        pytest.skip("the real samples are not there")
    train = folder / "ILSVRC2012_img_train.tar"
    outer = index_tar(train)
    inner = {member.name: index_tar(train, member.offset, member.size) for member in outer}
    assert len(inner) == 10
    assert {len(members) for members in inner.values()} == {301}
    with train.open("rb") as file:
        for member in inner[outer[0].name]:
            file.seek(member.offset)
            assert file.read(3) == b"\xff\xd8\xff"
    assert len(index_tar(folder / "ILSVRC2012_img_val.tar")) == 330
    devkit = read_targz(folder / "ILSVRC2012_devkit_t12.tar.gz", 10_000_000)
    truth = devkit["ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt"]
    assert len(truth.split()) == 330
