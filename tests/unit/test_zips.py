"""Hostile, damaged and plain zip archives."""

from __future__ import annotations

import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from octathlon.errors import OctathlonError
from octathlon.formats import zips
from octathlon.formats.zips import ZipReader


def write(
    path: Path, *members: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED
) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def link(name: str) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name)
    member.create_system = 3
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    return member


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_files_are_read_by_name_and_folders_left_out(tmp_path: Path, method: int) -> None:
    content = bytes(range(256)) * 100
    path = write(tmp_path / "a.zip", ("d/", b""), ("d/one", content), ("two", b""), method=method)
    with ZipReader(path) as archive:
        assert archive.names == ["d/one", "two"]
        assert archive.read("d/one", len(content)) == content and archive.read("two", 0) == b""
        assert "d/one" in archive and "d/" not in archive


@pytest.mark.parametrize("name", ["../up", "/root", "a/../../b", "a\\b", "c:\\x"])
def test_names_that_leave_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "a.zip", (name, b"x"))
    with pytest.raises(OctathlonError, match="leaves its folder"):
        ZipReader(path)


def test_a_name_that_hides_another_behind_a_nul_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", ("good.jpgXbad", b"x"), method=zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(b"good.jpgXbad", b"good.jpg\0bad"))
    with pytest.raises(OctathlonError, match="leaves its folder"):
        ZipReader(path)


def test_links_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", (link("passwd"), b"/etc/passwd"))
    with pytest.raises(OctathlonError, match="'passwd' is not a plain file"):
        ZipReader(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", ("one", b"1"), ("one", b"2"))
    with pytest.raises(OctathlonError, match="'one' is there twice"):
        ZipReader(path)


def test_encrypted_members_and_other_methods_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", ("one", b"1" * 100), method=zipfile.ZIP_BZIP2)
    with pytest.raises(OctathlonError, match="not a plain file"):
        ZipReader(path)
    content = bytearray(write(path, ("one", b"1" * 100)).read_bytes())
    for mark, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(mark) + place] |= 1
    path.write_bytes(content)
    with pytest.raises(OctathlonError, match="not a plain file"):
        ZipReader(path)


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", ("bomb", bytes(50_000_000)))
    assert path.stat().st_size < 100_000
    with ZipReader(path) as archive, pytest.raises(OctathlonError, match="bomb unpacks to 50,000,000 bytes"):
        archive.read("bomb", 1_000_000)


def test_a_bomb_that_lies_about_its_size_gives_no_more_than_it_announces(tmp_path: Path) -> None:
    content = bytearray(write(tmp_path / "a.zip", ("bomb", bytes(50_000_000))).read_bytes())
    for mark, place in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        start = content.index(mark) + place
        content[start : start + 4] = (10).to_bytes(4, "little")
    (tmp_path / "a.zip").write_bytes(content)
    with ZipReader(tmp_path / "a.zip") as archive, pytest.raises(OctathlonError, match="damaged"):
        archive.read("bomb", 1_000_000)


def test_a_member_is_no_larger_than_its_packed_bytes_can_hold(tmp_path: Path) -> None:
    """Text packs to a third; 40 MB in 40 kB, within the caller's limit, are no text."""
    path = write(tmp_path / "a.zip", ("zeros", bytes(40_000_000)), ("text", b"12.5,3.75," * 90_000))
    with ZipReader(path) as archive:
        assert len(archive.read("text", 1 << 30)) == 900_000
        with pytest.raises(OctathlonError, match="zeros unpacks to 40,000,000 bytes, more than 1,"):
            archive.read("zeros", 1 << 30)


def edited(path: Path, mark: bytes, place: int, value: bytes) -> Path:
    """Bytes after a mark, in the last record that it begins, replaced."""
    content = bytearray(path.read_bytes())
    start = content.rindex(mark) + place
    content[start : start + len(value)] = value
    path.write_bytes(content)
    return path


def zip64(path: Path, size: int, offset: int) -> Path:
    """The end of the list in the form for large archives, with a size and an offset that may lie."""
    content = path.read_bytes()
    record = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, size, offset)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, len(content) - 22, 1)
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    path.write_bytes(content[:-22] + record + locator + end)
    return path


ENTRY, END = b"PK\1\2", b"PK\5\6"
LIES = {
    "version 9.9": lambda path: edited(path, ENTRY, 6, b"\x63"),
    "name not UTF-8": lambda path: edited(edited(path, ENTRY, 8, b"\0\x08"), ENTRY, 46, b"\xff"),
    "negative offset": lambda path: edited(path, END, 16, b"\xff\xff\xff\x7f"),
    "list of 2 GB": lambda path: edited(path, END, 12, b"\xff\xff\xff\x7f"),
    "zip64 offset": lambda path: zip64(path, 49, (1 << 64) - 1),
    "zip64 size": lambda path: zip64(path, (1 << 64) - 1, 0),
    "zip64 both": lambda path: zip64(path, 1 << 63, 1 << 63),
    "member's offset": lambda path: edited(path, ENTRY, 42, b"\xff\xff\xff\x7f"),
    "compressed size": lambda path: edited(path, ENTRY, 20, b"\xff\xff\xff\x7f"),
    "both sizes": lambda path: edited(path, ENTRY, 20, b"\xff\xff\xff\x7f" * 2),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_that_lies_ends_in_a_sentence(tmp_path: Path, lie: Callable[[Path], Path], method: int) -> None:
    path = lie(write(tmp_path / "a.zip", ("one", b"x" * 10), method=method))
    with (
        pytest.raises(OctathlonError, match=r"a\.zip: .*; (fetch it again|use the archive)"),
        ZipReader(path) as archive,
    ):
        archive.read("one", 1 << 40)


def test_a_list_without_end_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.zip", *((str(number), b"") for number in range(100)))
    monkeypatch.setattr(zips, "DIRECTORY_LIMIT", 4000)
    with pytest.raises(OctathlonError, match="a list of"):
        ZipReader(path)


def test_a_comment_at_the_end_is_no_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked for in the last 64 kB of a file that may be far larger."""
    monkeypatch.setattr(zips, "DIRECTORY_LIMIT", 70_000)
    path = write(tmp_path / "a.zip", ("one", bytes(200_000)), method=zipfile.ZIP_STORED)
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"c" * 1000
    with ZipReader(path) as archive:
        assert archive.read("one", 1 << 20) == bytes(200_000)


def test_one_sentence_tells_a_missing_member_from_a_damaged_one(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", ("one", b"abcdefgh" * 100), method=zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[content.index(b"abcdefgh") + 5] ^= 1
    path.write_bytes(content)
    with ZipReader(path) as archive:
        with pytest.raises(OctathlonError, match="a.zip: member one is truncated or damaged .*CRC"):
            archive.read("one", 10_000)
        with pytest.raises(OctathlonError, match="a.zip: no member two"):
            archive.read("two", 10_000)


@pytest.mark.parametrize("keep", [0, 10, 500, -5])
def test_truncated_archives_are_refused(tmp_path: Path, keep: int) -> None:
    path = write(tmp_path / "a.zip", ("one", bytes(range(256)) * 8), method=zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(OctathlonError, match="truncated or damaged .*; fetch it again"):
        ZipReader(path)


def test_a_missing_archive_is_named(tmp_path: Path) -> None:
    with pytest.raises(OctathlonError, match=r"none\.zip"):
        ZipReader(tmp_path / "none.zip")
