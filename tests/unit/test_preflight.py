"""What is missing is told for the whole run at once, before any job and without any network."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest

from octathlon.archives.fetch import fetch
from octathlon.archives.preflight import missing, remarks
from octathlon.archives.sources import Request, Source

URL = ("http://127.0.0.1:9/a.tar",)


def wanted(folder: Path, name: str, source: str = "upstream", **declaration) -> Request:
    archive = Source(name=name, **{"login": "https://example.org (account needed)", **declaration})
    return Request(dataset="toy", archive=archive, source=source, folder=folder / "toy" / "archives")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("the preflight uses the network"))


def test_all_that_a_user_must_provide_is_told_at_once_in_a_sentence_a_source(tmp_path: Path) -> None:
    requests = [
        wanted(tmp_path, "a.tar", size=147_897_477_120),
        wanted(tmp_path, "b.tar", about=2_500_000),
        wanted(tmp_path, "c.tar", size=1),
        wanted(tmp_path, "d.tar", source="/nowhere"),
        wanted(tmp_path, "e.tar", source="miniature"),
        wanted(tmp_path, "f.tar", source="https://example.org/mirror"),
        wanted(tmp_path, "g.tar", urls=URL),
        wanted(tmp_path, "h.tar", uri="https://example.org/metadata/toy.uri"),
        *(wanted(tmp_path, f"part-{number:03d}", source="/elsewhere", size=1000) for number in range(500)),
    ]
    downloads = tmp_path / "toy" / "downloads"
    assert missing(requests) == [
        "toy: 3 archives are missing (a.tar … c.tar; about 147,899,977,121 bytes): get them from "
        f"https://example.org (account needed) and put them into {downloads}",
        "/nowhere/d.tar: not there; put it there, or name its folder in datasets.toy.source or .archive_sources",
        "toy: 500 archives are not in /elsewhere (part-000 … part-499; 500,000 bytes); "
        "put them there, or name their folder in datasets.toy.source or .archive_sources",
    ]
    assert not (tmp_path / "toy").exists()


@pytest.mark.parametrize(
    ("declaration", "size"),
    [
        ({"size": 147_897_477_120}, "147,897,477,120 bytes"),
        ({"about": 2_500_000}, "2,500,000 bytes"),
        ({}, "size unknown"),
    ],
)
def test_a_single_one_is_told_by_its_name(tmp_path: Path, declaration: dict, size: str) -> None:
    own = tmp_path / "toy" / "downloads" / "a.tar"
    assert missing([wanted(tmp_path, "a.tar", **declaration)]) == [
        f"a.tar ({size}) is missing: get it from https://example.org (account needed) and put it at {own}"
    ]


@pytest.mark.parametrize(
    ("second", "size"),
    [({"size": 2000}, "more than 2,000 bytes"), ({}, "sizes unknown")],
    ids=["some", "none"],
)
def test_sizes_are_added_up_as_far_as_known(tmp_path: Path, second: dict, size: str) -> None:
    (sentence,) = missing([wanted(tmp_path, "a.tar"), wanted(tmp_path, "b.tar", **second)])
    assert f"(a.tar … b.tar; {size})" in sentence


def test_a_list_of_checksums_that_names_none_of_a_folder_s_archives_is_told(tmp_path: Path) -> None:
    own, deep = tmp_path / "own", tmp_path / "deep"
    for folder in (own, deep):
        folder.mkdir()
        (folder / "SHA256SUMS").write_text(f"{'0' * 64}  ./data/b.tar\n")
    (own / "x.md5").write_text(f"{'0' * 32}\n")
    requests = [
        wanted(tmp_path, "a.tar", source=str(own)),
        wanted(tmp_path, "a.tar", source=deep.as_uri()),
        wanted(tmp_path, "data/b.tar", source=deep.as_uri()),
        wanted(tmp_path, "c.tar", source="/nowhere"),
        wanted(tmp_path, "d.tar"),
    ]
    told = remarks(requests)
    assert [sentence.split(": ")[0] for sentence in told] == [f"{own}/SHA256SUMS", f"{own}/x.md5"]
    assert all("names none of the archives" in sentence for sentence in told)
    (deep / "MD5SUMS").mkdir()  # no list
    (deep / "CHECKSUMS").symlink_to(deep / "CHECKSUMS")
    assert remarks(requests) == told


def test_what_is_there_or_was_fetched_from_the_same_source_is_not_missing(tmp_path: Path) -> None:
    walled = wanted(tmp_path, "a.tar")
    own = tmp_path / "toy" / "downloads" / "a.tar"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"archive")
    assert missing([walled]) == []
    fetch(walled, "")
    own.unlink()
    assert missing([walled]) == []
    assert len(missing([wanted(tmp_path, "a.tar", source=str(tmp_path))])) == 1


def test_the_archives_of_a_run_share_a_disk(tmp_path: Path) -> None:
    """Each of two would fit, both do not; what is there already, whole or in part, needs no room."""
    free = shutil.disk_usage(tmp_path).free
    first = wanted(tmp_path, "a.tar", urls=URL, size=free * 2 // 3)
    second = wanted(tmp_path, "b.tar", urls=URL, about=free * 2 // 3)
    assert missing([first]) == missing([second]) == []
    (sentence,) = missing([first, second])
    need = 2 * (free * 2 // 3)
    assert sentence.startswith(f"{tmp_path}: the archives need {need:,} more bytes, but only ")
    first.folder.mkdir(parents=True)
    with (first.folder / "a.tar.part").open("wb") as part:
        part.truncate(free * 2 // 3)  # a hole: takes no room here
    assert missing([first, second]) == []
