"""Lists of checksums as tools and people write them: what they say of an archive binds, in whatever form."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest
from http_server import Site

from octathlon.archives.fetch import fetch
from octathlon.archives.sources import Request, Source
from octathlon.archives.sums import parse
from octathlon.errors import OctathlonError

NAME, BODY, OTHER = "day_0.gz", b"the first day" * 1000, b"another day" * 1000
MD5, SHA1 = hashlib.md5(BODY).hexdigest(), hashlib.sha1(BODY).hexdigest()
SHA256, SHA512 = hashlib.sha256(BODY).hexdigest(), hashlib.sha512(BODY).hexdigest()

LINES = [  # a list's name, its line
    ("SHA256SUMS", f"{SHA256}  day_0.gz"),
    ("SHA256SUMS", f"{SHA256.upper()}  day_0.gz"),
    ("SHA256SUMS", f"{SHA256} *day_0.gz"),
    ("SHA256SUMS", f"{SHA256} *./day_0.gz"),
    ("SHA256SUMS", f"{SHA256}  /data/criteo/day_0.gz"),
    ("SHA256SUMS", f"{SHA256}  criteo/day_0.gz"),
    ("SHA256SUMS", f"{SHA256}\tday_0.gz"),
    ("SHA256SUMS", f"{SHA256}  day_0.gz\r"),
    ("SHA256SUMS", f"\ufeff{SHA256}  day_0.gz"),
    ("SHA256SUMS", f"\\{SHA256}  /odd\\\\folder\\n/day_0.gz"),
    ("SHA256SUMS", f"{SHA256} *C:\\criteo\\day_0.gz"),
    ("SHA256SUMS", f"SHA256 (day_0.gz) = {SHA256}"),
    ("SHA256SUMS", f"SHA256 (./day_0.gz) = {SHA256.upper()}"),
    ("SHA256SUMS", f"SHA256(/data/criteo (24 days)/day_0.gz)= {SHA256}"),
    ("SHA256SUMS", f"# made by hand\n{SHA256}  day_0.gz\n{'0' * 64}  day_1.gz"),
    ("SHA256SUMS", f"{'0' * 64}  old/day_0.gz\n{SHA256}  day_0.gz"),
    ("sha256sum.txt", f"{SHA256}  day_0.gz"),
    ("SHA512SUMS", f"{SHA512}  day_0.gz"),
    ("MD5SUMS", f"{MD5}  day_0.gz"),
    ("MD5SUMS", f"MD5 (day_0.gz) = {MD5}"),
    ("md5sum.txt", f"{MD5}  day_0.gz"),
    ("criteo.md5sum", f"{MD5}  day_0.gz"),
    ("day_0.gz.md5sum", f"{MD5}  day_0.gz"),
    ("day_0.gz.md5", MD5.upper()),
    ("criteo_text_md5.txt", f"{MD5}  day_0.gz"),
    ("SHA1SUMS", f"{SHA1}  day_0.gz"),
    ("CHECKSUM", f"SHA1 (day_0.gz) = {SHA1}"),
]


def wanted(folder: Path, source: str, name: str = NAME) -> Request:
    return Request(
        dataset="click_logs",
        archive=Source(name=name),
        source=source,
        folder=folder / "archives",
        declared=("day_0.gz", "day_1.gz"),
    )


def own_folder(folder: Path, lists: dict[str, str | bytes], body: bytes = BODY) -> Path:
    own = folder / "own"
    own.mkdir()
    (own / NAME).write_bytes(body)
    for name, text in lists.items():
        (own / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return own


@pytest.mark.parametrize(("name", "line"), LINES)
def test_every_form_of_a_line_binds(tmp_path: Path, capfd, name: str, line: str) -> None:
    own = own_folder(tmp_path, {name: line + "\n"})
    assert fetch(wanted(tmp_path, str(own)), "")["checksum"] == f"sha256:{SHA256}"
    (own / NAME).write_bytes(OTHER)
    for source in (str(own), own.as_uri()):
        with pytest.raises(OctathlonError, match=r"day_0\.gz: .*its (md5|sha\d+) is \w+ instead of"):
            fetch(wanted(tmp_path / "again", source), "")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("tool", ["md5sum", "sha1sum", "sha224sum", "sha256sum", "sha384sum", "sha512sum"])
@pytest.mark.parametrize("options", [[], ["--tag"], ["--binary"]], ids=["plain", "tag", "binary"])
def test_what_the_tools_write_is_what_they_mean(tmp_path: Path, tool: str, options: list[str]) -> None:
    names = ["day_0.gz", "./day_0.gz", str(tmp_path / "day_0.gz"), "two words (1).gz", "back\\slash.gz"]
    for name in names:
        (tmp_path / name).write_bytes(BODY)
    text = subprocess.run([tool, *options, *names], cwd=tmp_path, capture_output=True, check=True).stdout
    found = parse("SUMS", text)
    algorithm = tool.removesuffix("sum")
    expected = f"{algorithm}:{hashlib.new(algorithm, BODY).hexdigest()}"
    assert found.unread == []
    assert [each.path for each in found.of("day_0.gz")] == ["day_0.gz", "./day_0.gz"]
    assert found.checksum("day_0.gz") == found.checksum("two words (1).gz") == expected
    assert [each.path for each in found.of("slash.gz")] == ["back\\slash.gz"]
    assert found.checksum("day_1.gz") is None


def test_a_list_of_another_encoding_is_read(tmp_path: Path) -> None:
    own = own_folder(tmp_path, {"SHA256SUMS": f"{SHA256.upper()}  day_0.gz\r\n".encode("utf-16")}, OTHER)
    with pytest.raises(OctathlonError, match="its sha256 is"):
        fetch(wanted(tmp_path, str(own)), "")


def test_every_list_binds_not_only_the_first(tmp_path: Path) -> None:
    own = own_folder(
        tmp_path, {"SHA256SUMS": f"{SHA256}  day_0.gz\n", "md5sum.txt": f"{'0' * 32}  day_0.gz\n"}
    )
    with pytest.raises(OctathlonError, match="its md5 is"):
        fetch(wanted(tmp_path, str(own)), "")


@pytest.mark.parametrize(
    "name", ["SHA256SUMS", "md5sums", "md5sum.txt", "day_0.gz.md5", "day_0.gz.sha256sum"]
)
def test_lists_behind_a_url_bind(tmp_path: Path, name: str) -> None:
    digest = SHA256 if "sha" in name.lower() else MD5
    with Site({"/mirror/day_0.gz": OTHER, f"/mirror/{name}": f"{digest}  /srv/day_0.gz\n".encode()}) as site:
        with pytest.raises(OctathlonError, match=r"its (md5|sha256) is"):
            fetch(wanted(tmp_path, site.url("/mirror/")), "")
        site.files["/mirror/day_0.gz"] = BODY
        assert fetch(wanted(tmp_path, site.url("/mirror/")), "")["checksum"] == f"sha256:{SHA256}"


def test_a_list_in_the_archive_s_own_folder_binds(tmp_path: Path) -> None:
    own = tmp_path / "own"
    (own / "data" / "case_0").mkdir(parents=True)
    (own / "data" / "case_0" / "imaging.nii.gz").write_bytes(OTHER)
    (own / "data" / "case_0" / "MD5SUMS").write_text(f"{MD5}  imaging.nii.gz\n")
    with pytest.raises(OctathlonError, match="its md5 is"):
        fetch(wanted(tmp_path, str(own), "data/case_0/imaging.nii.gz"), "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"day_0.gz: {SHA256}", "no checksum in the line of day_0.gz: 'day_0.gz: "),
        (f"{SHA256[:-1]}  day_0.gz", "no checksum in the line of day_0.gz"),
        (f"SHA256 (day_0.gz) = {MD5}", "no checksum in the line of day_0.gz"),
        (f"TIGER (day_0.gz) = {'0' * 48}", "no checksum in the line of day_0.gz"),
        (f"{SHA256}  /a/day_0.gz\n{'0' * 64}  /b/day_0.gz", "2 different checksums for day_0.gz"),
    ],
)
def test_what_a_list_leaves_open_is_refused(tmp_path: Path, text: str, message: str) -> None:
    own = own_folder(tmp_path, {"SHA256SUMS": text})
    with pytest.raises(OctathlonError, match=message) as error:
        fetch(wanted(tmp_path, str(own)), "")
    assert str(error.value).startswith(f"{own}/SHA256SUMS: ")


@pytest.mark.parametrize("text", ["", f"{SHA256}  day0.gz\n", f"{SHA256}  day_0.gz.part\n", "day_0.gz.old\n"])
def test_a_list_that_names_none_of_the_archives_says_so(tmp_path: Path, capfd, text: str) -> None:
    own = own_folder(tmp_path, {"SHA256SUMS": text})
    fetch(wanted(tmp_path, str(own)), "")
    told = capfd.readouterr().err
    assert told.startswith(f"octathlon: {own}/SHA256SUMS: names none of the archives")
    assert len(told.splitlines()) == 1


def test_a_list_of_other_days_only_is_no_reason_to_speak(tmp_path: Path, capfd) -> None:
    own = own_folder(tmp_path, {"SHA256SUMS": f"{'0' * 64}  day_1.gz\n", "README": "day_0.gz"})
    assert fetch(wanted(tmp_path, str(own)), "")["checksum"] == f"sha256:{SHA256}"
    assert capfd.readouterr().err == ""


def test_a_huge_list_is_refused(tmp_path: Path) -> None:
    own = own_folder(tmp_path, {})
    with (own / "SHA256SUMS").open("wb") as file:
        file.truncate(1 << 40)  # a hole: takes no room here
    with pytest.raises(OctathlonError, match="SHA256SUMS: more than 16,777,216 bytes"):
        fetch(wanted(tmp_path, str(own)), "")
    site = Site({"/day_0.gz": BODY, "/SHA256SUMS": b"#" * ((16 << 20) + 1)})
    with site, pytest.raises(OctathlonError, match="SHA256SUMS: no source gives it .*more than 16,777,216"):
        fetch(wanted(tmp_path, site.url("")), "")
