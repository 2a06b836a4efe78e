"""One archive from each kind of source, into its folder, with a receipt that holds content only."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from http_server import Answer, Site
from hypothesis import given
from hypothesis import strategies as st

from octathlon import names, registry
from octathlon.archives.checksum import Declared
from octathlon.archives.fetch import fetch, write_receipt
from octathlon.archives.sources import Request, Source, declared, request
from octathlon.errors import OctathlonError

BODY, OTHER = b"the archive" * 1000, b"other data" * 1000
MD5 = hashlib.md5(BODY).hexdigest()
SHA256 = hashlib.sha256(BODY).hexdigest()
RECEIPT = {
    "format": 1,
    "stage": "archive",
    "dataset": "toy",
    "name": "a.tar",
    "bytes": len(BODY),
    "checksum": f"md5:{MD5}",
}


def wanted(folder: Path, source: str = "upstream", **declaration) -> Request:
    archive = Source(
        **{"name": "a.tar", "size": len(BODY), "checksum": f"md5:{MD5}", "login": "a shop", **declaration}
    )
    return Request(dataset="toy", archive=archive, source=source, folder=folder / "archives")


def test_identical_archives_give_identical_receipts_whatever_the_source(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "a.tar").write_bytes(BODY)
    with Site({"/file.tar": BODY, "/mirror/a.tar": BODY}) as site:
        requests = [
            wanted(tmp_path / "1", urls=(site.url(),)),
            wanted(tmp_path / "2", site.url("/mirror")),
            wanted(tmp_path / "3", str(own)),
            wanted(tmp_path / "4", own.as_uri() + "/"),
        ]
        for each in requests:
            assert fetch(each, "") == RECEIPT
            assert each.path.read_bytes() == BODY
    drawn = wanted(tmp_path / "5", "miniature")
    drawn.folder.mkdir(parents=True)
    drawn.path.write_bytes(BODY)
    write_receipt(drawn, "")
    texts = {each.receipt.read_bytes() for each in [*requests, drawn]}
    assert len(texts) == 1
    assert json.loads(texts.pop()) == RECEIPT


def test_a_verified_archive_is_not_downloaded_again_and_a_damaged_one_is(tmp_path: Path) -> None:
    with Site({"/file.tar": BODY}) as site:
        upstream = wanted(tmp_path, urls=(site.url(),))
        fetch(upstream, "")
        fetch(upstream, "")
        assert len(site.requests) == 1
        upstream.path.write_bytes(OTHER)
        fetch(upstream, "edited")
        assert upstream.path.read_bytes() == BODY


def test_an_archive_without_checksum_is_kept_only_if_unchanged_and_from_the_same_place(
    tmp_path: Path,
) -> None:
    with Site({"/1/a.tar": BODY, "/2/a.tar": OTHER}) as site:

        def bodies() -> int:
            return sum(path.endswith("a.tar") for path, _ in site.requests)

        first, second = wanted(tmp_path, site.url("/1")), wanted(tmp_path, site.url("/2"))
        fetch(first, "")
        fetch(first, "")
        assert bodies() == 1
        first.path.write_bytes(BODY[::-1])
        fetch(first, "")
        assert first.path.read_bytes() == BODY
        fetch(second, "")
        assert second.path.read_bytes() == OTHER
        assert bodies() == 3


def test_a_folder_is_linked_and_never_written_to(tmp_path: Path) -> None:
    """Also not when the source changes later: the user's archive is behind the link."""
    own = tmp_path / "own"
    own.mkdir()
    (own / "a.tar").write_bytes(OTHER)
    linked = wanted(tmp_path, str(own))
    fetch(linked, "")
    assert linked.path.is_symlink()
    assert linked.path.read_bytes() == OTHER
    with Site({"/file.tar": BODY}) as site:
        fetch(wanted(tmp_path, urls=(site.url(),)), "")
    assert not linked.path.is_symlink()
    assert linked.path.read_bytes() == BODY
    assert (own / "a.tar").read_bytes() == OTHER
    fetch(linked, "")
    assert linked.path.read_bytes() == OTHER


def test_a_folder_may_be_the_archive_folder_itself(tmp_path: Path) -> None:
    itself = wanted(tmp_path, str(tmp_path / "archives"))
    itself.folder.mkdir()
    itself.path.write_bytes(BODY)
    assert fetch(itself, "") == RECEIPT
    assert itself.path.read_bytes() == BODY


@pytest.mark.parametrize("line", [f"{SHA256}  a.tar", f"{SHA256.upper()} *./a.tar"], ids=["plain", "binary"])
def test_a_list_of_checksums_beside_the_archive_binds(tmp_path: Path, line: str) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "a.tar").write_bytes(BODY)
    (own / "SHA256SUMS").write_text(f"{'0' * 64}  b.tar\n{line}\n")
    assert fetch(wanted(tmp_path, str(own)), "") == RECEIPT
    (own / "a.tar").write_bytes(OTHER)
    with pytest.raises(OctathlonError, match=f"{own}/a.tar: not the declared archive .its sha256 is"):
        fetch(wanted(tmp_path, str(own)), "")
    with Site({"/a.tar": OTHER, "/MD5SUMS": f"{MD5}  a.tar\n".encode()}) as site:
        with pytest.raises(OctathlonError, match="its md5 is"):
            fetch(wanted(tmp_path, site.url("")), "")
        site.files["/a.tar"] = BODY
        assert fetch(wanted(tmp_path, site.url("")), "") == RECEIPT


def test_an_archive_may_lie_deeper_than_the_list_of_checksums(tmp_path: Path) -> None:
    name = "data/case/a.tar"

    def nested(source: str) -> Request:
        document = entry(name=name) | {"login": "a shop"}
        return request("toy", document, name, source, tmp_path / "archives")

    own = tmp_path / "own"
    (own / name).parent.mkdir(parents=True)
    (own / name).write_bytes(BODY)
    (own / "SHA256SUMS").write_text(f"{SHA256}  {name}\n")
    assert fetch(nested(str(own)), "")["checksum"] == f"md5:{MD5}"
    assert (tmp_path / "archives" / f"{name}.json").exists()
    (own / name).write_bytes(OTHER)
    with pytest.raises(OctathlonError, match="its sha256 is"):
        fetch(nested(str(own)), "")
    with Site({f"/{name}": OTHER, "/SHA256SUMS": f"{SHA256}  {name}\n".encode()}) as site:
        with pytest.raises(OctathlonError, match="its sha256 is"):
            fetch(nested(site.url("")), "")
        site.files[f"/{name}"] = BODY
        assert fetch(nested(site.url("")), "")["checksum"] == f"md5:{MD5}"


def test_an_archive_behind_a_login_is_taken_from_downloads(tmp_path: Path) -> None:
    walled = wanted(tmp_path)
    own = tmp_path / "downloads" / "a.tar"
    with pytest.raises(OctathlonError) as error:
        fetch(walled, "")
    assert str(error.value) == f"a.tar (11,000 bytes) is missing: get it from a shop and put it at {own}"
    own.parent.mkdir()
    own.write_bytes(OTHER)
    with pytest.raises(OctathlonError, match="10,000 bytes instead of 11,000"):
        fetch(walled, "")
    own.write_bytes(BODY[::-1])
    with pytest.raises(OctathlonError, match=f"instead of {MD5}"):
        fetch(walled, "")
    assert not walled.receipt.exists()
    own.write_bytes(BODY)
    assert fetch(walled, "") == RECEIPT
    assert walled.path.is_symlink()


def test_a_user_may_bring_what_could_be_downloaded(tmp_path: Path) -> None:
    with Site({"/file.tar": BODY}) as site:
        (tmp_path / "downloads").mkdir()
        (tmp_path / "downloads" / "a.tar").write_bytes(BODY)
        own = wanted(tmp_path, urls=(site.url(),))
        fetch(own, "")
        assert site.requests == []
    assert not own.is_download()


def test_only_what_is_downloaded_takes_a_slot(tmp_path: Path) -> None:
    sources = {"upstream": True, "https://example.org/x": True, "miniature": False, str(tmp_path): False}
    sources[tmp_path.as_uri()] = False
    found = {name: wanted(tmp_path, name, urls=("https://example.org/a",)).is_download() for name in sources}
    assert found == sources


def test_a_cut_day_of_click_logs_is_refused_before_a_byte_and_told_with_what_is_known(tmp_path: Path) -> None:
    """What the only host offered for a year, as it announced it."""
    day = declared("click_logs", registry.sources("click_logs"))["day_0.gz"]
    with Site({"/day_0.gz": BODY}, Answer(announce=1_700_000_000, stall=0)) as site:
        cut = replace(day, urls=(site.url("/day_0.gz"),))
        asked = Request(dataset="click_logs", archive=cut, source="upstream", folder=tmp_path / "archives")
        with pytest.raises(OctathlonError) as error:
            fetch(asked, "")
        assert len(site.requests) == 1
    told = str(error.value)
    assert "/day_0.gz: offers 1,700,000,000 bytes instead of about 16,309,559,296)" in told
    assert "; known: " in told
    assert "facebookresearch/dlrm#413" in told
    assert told.endswith(f"; your own copy is taken from {tmp_path}/downloads/day_0.gz")
    assert list((tmp_path / "archives").iterdir()) == []


@pytest.mark.parametrize("announce", [16_309_558_000, 13_000_000_000, 20_000_000_000])
def test_a_day_of_about_the_right_size_is_not_refused(announce: int) -> None:
    day = declared("click_logs", registry.sources("click_logs"))["day_0.gz"]
    Declared(about=day.about).check_size(announce)


def test_a_size_that_is_announced_late_is_checked_all_the_same(tmp_path: Path) -> None:
    for body, about in ((BODY, 4 * len(BODY)), (BODY, len(BODY) // 4)):
        with Site({"/file.tar": body}, Answer(announce=-1)) as site:
            odd = wanted(tmp_path, urls=(site.url(),), size=None, about=about, checksum=None)
            with pytest.raises(OctathlonError, match=rf"bytes instead of about {about:,}"):
                fetch(odd, "")


def everything_written(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_a_login_is_told_to_its_host_and_to_nobody_else(tmp_path: Path, capfd) -> None:
    """Not to a host that is redirected to, not to files, not to messages."""
    name, words = "a.tar", "Basic YW5uOnNlY3I6QHQ="  # ann:secr:@t
    with Site({"/mirror/a.tar": BODY, "/moved/a.tar": BODY}) as site, Site({"/a.tar": BODY}) as other:
        source = site.url("/mirror").replace("://", "://ann:secr:%40t@")
        asked = request("toy", entry(name=name) | {"login": "a shop"}, name, source, tmp_path / "archives")
        fetch(asked, "")
        assert {headers.get("Authorization") for _, headers in site.requests} == {words}
        site.moved = {"/mirror/a.tar": site.url("/moved/a.tar")}
        asked.path.unlink()
        fetch(asked, "")
        assert site.requests[-1] == ("/moved/a.tar", site.requests[-1][1] | {"Authorization": words})
        site.moved = {"/mirror/a.tar": other.url("/a.tar").replace("://", "://else:secr@")}
        asked.path.unlink()
        fetch(asked, "")
        assert [headers.get("Authorization") for _, headers in other.requests] == [None]
        site.moved, site.answers = {}, [Answer(status=401)] * 20
        asked.path.unlink()
        with pytest.raises(OctathlonError, match="a.tar: no source gives it .http.*401") as error:
            fetch(asked, "")
    said = f"{error.value} {asked!r} {asked.source} {capfd.readouterr()}".encode()
    assert b"secr" not in said + everything_written(tmp_path)
    for wrong in (
        "https://ann:secr/et@host/x",
        "https://ann:secret@[::1/x",
        "https://ann:secret@host:99999/x",
    ):
        with pytest.raises(ValueError, match="is no URL") as complaint:
            names.location(wrong)
        assert "secr" not in str(complaint.value)


DOCUMENT = {
    "title": "Toy",
    "licence": "none",
    "homepage": "https://example.org",
    "login": None,
    "archives": [
        {"name": "a.tar", "size": 5, "checksum": f"md5:{MD5}", "urls": ["https://example.org/a.tar"]}
    ],
}


def entry(**changes) -> dict:
    return DOCUMENT | {"archives": [DOCUMENT["archives"][0] | changes]}


def test_a_declaration_becomes_sources() -> None:
    source = declared("toy", DOCUMENT)["a.tar"]
    assert source == Source(name="a.tar", urls=("https://example.org/a.tar",), size=5, checksum=f"md5:{MD5}")
    assert source.bytes == 5
    assert replace(source, size=None, about=7).bytes == 7


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (entry(chekcsum="md5:x"), "unknown key 'chekcsum'; did you mean 'checksum'"),
        (entry(checksum="md5:123"), "checksum of a.tar must be md5"),
        (entry(checksum=f"crc:{MD5}"), "checksum of a.tar must be md5"),
        (entry(size="5 GB"), "size of a.tar must be a positive number of bytes, not '5 GB'"),
        (entry(size=True), "size of a.tar must be"),
        (entry(urls=["ftp://example.org/a"]), "url 'ftp://example.org/a' of a.tar is not"),
        (entry(uri="ftp://example.org/a.uri"), "uri 'ftp://example.org/a.uri' of a.tar is not"),
        (entry(uri="https://example.org/a"), "uri 'https://example.org/a' of a.tar is not"),
        (entry(urls=[]), "a.tar has neither urls nor a login"),
        (entry(name="../a.tar"), "name '../a.tar' is not a plain file name or path"),
        (entry(name="a//b.tar"), "name 'a//b.tar' is not a plain file name or path"),
        (entry(name="/a.tar"), "name '/a.tar' is not a plain file name or path"),
        (entry(name=".hidden"), "name '.hidden' is not a plain file name or path"),
        (DOCUMENT | {"archives": DOCUMENT["archives"] * 2}, "stands twice"),
        ({key: DOCUMENT[key] for key in DOCUMENT if key != "licence"}, "key 'licence' is missing"),
    ],
)
def test_a_wrong_declaration_is_told_by_key(document: dict, message: str) -> None:
    with pytest.raises(OctathlonError, match=message) as error:
        declared("toy", document)
    assert str(error.value).startswith("sources.yaml of toy: ")


def test_own_data_can_hold_more_archives_than_are_declared(tmp_path: Path) -> None:
    """A case or a part of one's own; the list of checksums beside it binds as ever."""
    own = tmp_path / "own"
    own.mkdir()
    (own / "b.tar").write_bytes(OTHER)
    more = request("toy", DOCUMENT, "b.tar", str(own), tmp_path / "archives")
    assert fetch(more, "")["checksum"] == f"sha256:{hashlib.sha256(OTHER).hexdigest()}"
    (own / "SHA256SUMS").write_text(f"{SHA256}  b.tar\n")
    with pytest.raises(OctathlonError, match="not the declared archive"):
        fetch(more, "")


def test_a_wrong_request_is_told(tmp_path: Path) -> None:
    for source in ("upstream", "miniature"):
        with pytest.raises(
            OctathlonError, match=rf"toy: no archive 'b.tar' in source {source}; declared are a.tar"
        ):
            request("toy", DOCUMENT, "b.tar", source, tmp_path)
    with pytest.raises(
        OctathlonError, match=r"toy: no archive '../b.tar' in source /data; declared are a.tar"
    ):
        request("toy", DOCUMENT, "../b.tar", "/data", tmp_path)
    many = DOCUMENT | {"archives": [{"name": f"case_{number:05d}.tar"} for number in range(300)]}
    with pytest.raises(OctathlonError) as error:
        request("toy", many, "case_00300.tar", "upstream", tmp_path)
    assert len(str(error.value)) < 300
    with pytest.raises(OctathlonError, match=r"source 's3://bucket' is not a http, https or file URL"):
        request("toy", DOCUMENT, "a.tar", "s3://bucket", tmp_path)


@given(st.text(max_size=20) | st.text("a./", max_size=9))
def test_no_accepted_name_leaves_its_folder(name: str) -> None:
    try:
        declared("toy", entry(name=name))
    except OctathlonError:
        return
    assert Path("folder", name).resolve().is_relative_to(Path("folder").resolve())
