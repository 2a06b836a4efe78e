"""Downloads from a real HTTP server that cuts, stalls, lies, changes its mind and serves wrong bytes."""

from __future__ import annotations

import fcntl
import hashlib
import os
import pty
import random
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from http_server import Answer, Site
from hypothesis import given, settings
from hypothesis import strategies as st

from octathlon.archives.download import NotThere, download
from octathlon.errors import OctathlonError

BODY = random.Random(1).randbytes(3_000_000)
OTHER = random.Random(2).randbytes(3_000_000)


def md5(content: bytes) -> str:
    return f"md5:{hashlib.md5(content).hexdigest()}"


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Waits(list[float]):
    """Takes the place of `time.sleep` and notes what it was asked for."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


def get(site: Site, folder: Path, **options) -> bytes:
    """Download the site's file, check that nothing else is left, and return its content."""
    target = folder / "file.tar"
    digest = download([site.url()], target, **{"sleep": Waits(), "timeout": 5, **options})
    assert digest == sha256(target.read_bytes())
    assert [path.name for path in folder.iterdir()] == ["file.tar"]
    return target.read_bytes()


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_whole_file_needs_one_request(tmp_path: Path) -> None:
    with Site({"/file.tar": BODY}) as site:
        assert get(site, tmp_path, size=len(BODY), checksum=md5(BODY)) == BODY
        assert site.ranges() == [None]


def test_cut_transfers_go_on_where_they_stopped(tmp_path: Path) -> None:
    with Site({"/file.tar": BODY}, Answer(cut=1_000_000), Answer(cut=500_000)) as site:
        waits = Waits()
        assert get(site, tmp_path, checksum=sha256(BODY), sleep=waits) == BODY
        assert site.ranges() == [None, "bytes=1000000-", "bytes=1500000-"]
        assert waits == [1, 1]  # progress was made each time


def test_any_number_of_cuts_is_survived_while_bytes_arrive(tmp_path: Path) -> None:
    with Site({"/file.tar": BODY}, *[Answer(cut=200_000)] * 14) as site:
        assert get(site, tmp_path, attempts=2) == BODY
        assert len(site.requests) == 15


def test_a_silent_server_is_left_and_the_part_resumed(tmp_path: Path) -> None:
    with Site({"/file.tar": BODY}, Answer(stall=700_000)) as site:
        assert get(site, tmp_path, timeout=0.2) == BODY
        assert site.ranges() == [None, "bytes=700000-"]


def test_a_server_that_stays_silent_is_named(tmp_path: Path) -> None:
    site = Site({"/file.tar": BODY}, *[Answer(stall=0)] * 2)
    with site, pytest.raises(OctathlonError, match=r"silent for 0.1 s, 2 times"):
        download([site.url()], tmp_path / "file.tar", timeout=0.1, attempts=2, sleep=Waits())


def test_a_server_that_ignores_range_starts_over(tmp_path: Path) -> None:
    with Site({"/file.tar": BODY}, Answer(cut=1_000_000), Answer(ranges=False)) as site:
        assert get(site, tmp_path, checksum=md5(BODY)) == BODY
        assert site.ranges() == [None, "bytes=1000000-"]


def test_a_busy_server_is_asked_again_with_growing_waits(tmp_path: Path) -> None:
    with Site({"/file.tar": BODY}, *[Answer(status=503)] * 3) as site:
        waits = Waits()
        assert get(site, tmp_path, sleep=waits) == BODY
        assert waits == [2, 4, 8]


def test_mirrors_are_tried_in_order_and_a_missing_file_at_once(tmp_path: Path) -> None:
    with Site({}) as empty, Site({"/file.tar": BODY}) as full:
        waits = Waits()
        download([empty.url(), full.url()], tmp_path / "file.tar", sleep=waits)
        assert (tmp_path / "file.tar").read_bytes() == BODY
        assert len(empty.requests) == 1
        assert waits == []


def test_wrong_bytes_are_discarded_and_the_next_mirror_starts_from_zero(tmp_path: Path) -> None:
    with Site({"/file.tar": OTHER}) as wrong, Site({"/file.tar": BODY}) as right:
        download([wrong.url(), right.url()], tmp_path / "file.tar", checksum=md5(BODY), sleep=Waits())
        assert (tmp_path / "file.tar").read_bytes() == BODY
        assert len(wrong.requests) == 1
        assert right.ranges() == [None]


def test_a_wrong_size_is_refused_before_any_byte_is_taken(tmp_path: Path) -> None:
    with Site({"/file.tar": BODY}) as site:
        with pytest.raises(OctathlonError, match="3,000,000 bytes instead of 5"):
            download([site.url()], tmp_path / "file.tar", size=5, sleep=Waits())
        assert len(site.requests) == 1
    assert leftovers(tmp_path) == []


def test_the_last_error_names_file_mirrors_and_answers(tmp_path: Path) -> None:
    sites = Site({}), Site({"/file.tar": OTHER}), Site({"/file.tar": BODY}, *[Answer(status=503)] * 3)
    with sites[0] as missing, sites[1] as wrong, sites[2] as busy:
        urls = [missing.url(), wrong.url(), busy.url()]
        with pytest.raises(OctathlonError) as error:
            download(urls, tmp_path / "file.tar", checksum=md5(BODY), attempts=3, sleep=Waits())
    expected = [
        f"{urls[0]}: 404 Not Found",
        f"{urls[1]}: its md5 is {md5(OTHER)[4:]} instead of {md5(BODY)[4:]}",
        f"{urls[2]}: 503 Service Unavailable, 3 times",
    ]
    assert str(error.value).startswith(f"file.tar: no source gives it ({'; '.join(expected)}); ")
    assert "\n" not in str(error.value)
    assert not isinstance(error.value, NotThere)
    assert leftovers(tmp_path) == []


def test_a_part_of_what_was_announced_is_not_published_as_the_whole(tmp_path: Path) -> None:
    """Cut off, and then the server says that there is nothing after what came."""
    cut_off = [Answer(announce=1_048_576)] * 9
    with Site({"/file.tar": BODY[:300_000]}, *cut_off) as site:
        with pytest.raises(OctathlonError, match="cut after 300,000 of 1,048,576 bytes, 2 times"):
            download([site.url()], tmp_path / "file.tar", attempts=2, sleep=Waits())
        assert "bytes=300000-" in site.ranges()
    assert "file.tar" not in leftovers(tmp_path)


def test_success_without_content_is_no_file(tmp_path: Path) -> None:
    with (
        Site({"/file.tar": BODY}, Answer(status=204)) as site,
        pytest.raises(OctathlonError, match="204 No Content, without the file"),
    ):
        download([site.url()], tmp_path / "file.tar", sleep=Waits())
    assert leftovers(tmp_path) == []


def test_a_length_that_no_file_can_have_is_no_announcement(tmp_path: Path) -> None:
    with Site({"/file.tar": BODY}, Answer(announce="9" * 5000)) as site:
        assert get(site, tmp_path, checksum=sha256(BODY)) == BODY


@pytest.mark.parametrize("address", ["http://[::1/", f"http://{'a' * 70}.example/", "http://a:port/"])
def test_an_address_that_is_none_is_left_at_once(tmp_path: Path, address: str) -> None:
    with Site({}) as site:
        site.moved["/file.tar"] = address
        for url in (site.url(), address):
            waits = Waits()
            with pytest.raises(OctathlonError, match="leads to an address that is none"):
                download([url], tmp_path / "file.tar", sleep=waits)
            assert waits == []
    assert leftovers(tmp_path) == []


def test_nobody_listens(tmp_path: Path) -> None:
    with Site({}) as site:
        url = site.url()
    with pytest.raises(OctathlonError, match="refused, 2 times"):
        download([url], tmp_path / "file.tar", attempts=2, sleep=Waits())


@pytest.mark.parametrize("validator", ["ETag", "Last-Modified", None])
@pytest.mark.parametrize("checksum", [md5(OTHER), None], ids=["declared", "unknown"])
def test_a_file_that_changes_between_attempts_is_not_spliced(
    tmp_path: Path, validator: str | None, checksum: str | None
) -> None:
    answers = Answer(cut=1_000_000), Answer(content=OTHER)
    with Site({"/file.tar": BODY}, *answers, validator=validator) as site:
        assert get(site, tmp_path, checksum=checksum) == OTHER
        if validator:
            assert site.requests[1][1]["If-Range"] == f'"{hash(BODY)}"'
            assert len(site.requests) == 2  # so the server itself starts over


def test_a_changed_file_is_noticed_where_if_range_is_ignored(tmp_path: Path) -> None:
    answers = Answer(cut=1_000_000), Answer(content=OTHER, obey_if_range=False)
    with Site({"/file.tar": BODY}, *answers) as site:
        assert get(site, tmp_path) == OTHER


def test_a_range_that_was_not_asked_for_is_not_taken(tmp_path: Path) -> None:
    with Site({"/file.tar": BODY}, Answer(cut=1_000_000), Answer(shift=10)) as site:
        assert get(site, tmp_path) == BODY


def test_a_content_length_that_promises_too_much_is_a_cut(tmp_path: Path) -> None:
    site = Site({"/file.tar": BODY}, *[Answer(announce=4_000_000, ranges=False)] * 3)
    with site, pytest.raises(OctathlonError, match=r"cut after 3,000,000 of 4,000,000 bytes, 2 times"):
        download([site.url()], tmp_path / "file.tar", attempts=2, sleep=Waits())
    assert not (tmp_path / "file.tar").exists()


def test_a_content_length_that_promises_too_little_is_found_by_the_checksum(tmp_path: Path) -> None:
    site = Site({"/file.tar": BODY}, Answer(announce=2_000_000))
    with site, pytest.raises(OctathlonError, match="its md5 is"):
        download([site.url()], tmp_path / "file.tar", checksum=md5(BODY), sleep=Waits())
    assert leftovers(tmp_path) == []


def test_a_body_without_announced_length_stops_at_the_declared_size(tmp_path: Path) -> None:
    site = Site({"/file.tar": BODY + OTHER}, Answer(announce=-1))
    with site, pytest.raises(OctathlonError, match="bytes instead of 3,000,000"):
        download([site.url()], tmp_path / "file.tar", size=len(BODY), sleep=Waits())
    with Site({"/file.tar": BODY}, Answer(announce=-1)) as site:
        assert get(site, tmp_path, size=len(BODY)) == BODY


def test_a_part_that_is_all_there_is_not_asked_for_again(tmp_path: Path) -> None:
    with Site({"/file.tar": BODY}) as site:
        (tmp_path / "file.tar.part").write_bytes(BODY)
        assert get(site, tmp_path, size=len(BODY), checksum=md5(BODY)) == BODY
        assert site.requests == []
    with Site({"/file.tar": BODY}) as site:  # size unknown: the server says that there is no more
        (tmp_path / "file.tar").rename(tmp_path / "file.tar.part")
        assert get(site, tmp_path, checksum=md5(BODY)) == BODY
        assert site.ranges() == ["bytes=3000000-"]


def test_a_foreign_part_is_replaced(tmp_path: Path) -> None:
    """Longer than the file, or of unknown origin where no checksum would tell."""
    with Site({"/file.tar": BODY}) as site:
        (tmp_path / "file.tar.part").write_bytes(OTHER + OTHER)
        assert get(site, tmp_path, checksum=md5(BODY)) == BODY
        (tmp_path / "file.tar.part").write_bytes(OTHER[:1000])
        assert get(site, tmp_path) == BODY
        (tmp_path / "file.tar.part").write_bytes(OTHER[:1000])
        assert get(site, tmp_path, checksum=md5(BODY)) == BODY


def test_file_urls(tmp_path: Path) -> None:
    source, folder = tmp_path / "source.tar", tmp_path / "folder"
    source.write_bytes(BODY)
    download([source.as_uri()], folder / "file.tar", size=len(BODY), checksum=sha256(BODY))
    assert (folder / "file.tar").read_bytes() == BODY
    assert not (folder / "file.tar").is_symlink()
    with pytest.raises(NotThere, match="No such file"):
        download([(tmp_path / "none").as_uri()], folder / "none")


def test_two_processes_do_not_write_one_part(tmp_path: Path) -> None:
    with Site({"/file.tar": BODY}) as site, (tmp_path / "file.tar.part").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(OctathlonError, match="another process is downloading it"):
            download([site.url()], tmp_path / "file.tar")
        assert site.requests == []


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of 1 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_too_small_a_disk_is_told_before_the_first_byte(small_disk: Path) -> None:
    with Site({"/file.tar": BODY}) as site:
        with pytest.raises(OctathlonError, match=r"needs 3,000,000 more bytes, 1,0\d\d,\d{3} are free"):
            download([site.url()], small_disk / "file.tar", size=len(BODY))
        assert site.requests == []
        with pytest.raises(OctathlonError, match=r"needs 3,000,000 more bytes"):
            download([site.url()], small_disk / "file.tar")  # the size from the server
    assert leftovers(small_disk) == []


def test_a_disk_that_fills_up_leaves_a_part_and_no_file(small_disk: Path) -> None:
    site = Site({"/file.tar": BODY}, Answer(announce=-1))
    with site, pytest.raises(OctathlonError, match=r"file.tar.part: cannot write it \(No space left"):
        download([site.url()], small_disk / "file.tar")
    assert not (small_disk / "file.tar").exists()


DIES = """
import os, signal, sys
from pathlib import Path
from octathlon.archives.download import download
from octathlon.archives.part import Part

url, folder, checksum, method, calls = sys.argv[1:]
original, left = getattr(Part, method), [int(calls)]
def deadly(*args, **kwargs):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*args, **kwargs)
setattr(Part, method, deadly)
download([url], Path(folder, "file.tar"), checksum=checksum)
"""


@pytest.mark.parametrize(
    "point", [("restart", 1), ("write", 1), ("write", 2), ("write", 4), ("verify", 1), ("publish", 1)]
)
def test_a_killed_download_goes_on(tmp_path: Path, point: tuple[str, int]) -> None:
    method, calls = point
    with Site({"/file.tar": BODY}) as site:
        arguments = [site.url(), str(tmp_path), sha256(BODY), method, str(calls)]
        process = subprocess.run([sys.executable, "-c", DIES, *arguments])
        assert process.returncode == -signal.SIGKILL
        assert not (tmp_path / "file.tar").exists()
        kept = (tmp_path / "file.tar.part").stat().st_size
        assert (kept > 0) == (method in ("verify", "publish") or calls > 1)
        assert get(site, tmp_path, checksum=sha256(BODY)) == BODY
        assert site.ranges() == [None, f"bytes={kept}-" if kept else None]


VERSIONS = [bytes([letter]) * 400 for letter in b"abc"]
misbehaviour = st.builds(
    Answer,
    status=st.sampled_from([200, 200, 200, 503]),
    cut=st.none() | st.integers(0, 400),
    ranges=st.booleans(),
    obey_if_range=st.booleans(),
    shift=st.sampled_from([0, 0, 7]),
    content=st.none() | st.sampled_from(VERSIONS),
    announce=st.sampled_from([None, None, 500]),
)


@settings(max_examples=60, deadline=None)
@given(
    answers=st.lists(misbehaviour, max_size=6),
    validator=st.sampled_from(["ETag", "Last-Modified", None]),
    demanded=st.none() | st.sampled_from(VERSIONS),
)
def test_whatever_happens_the_file_is_one_whole_version_or_absent(
    answers: list[Answer], validator: str | None, demanded: bytes | None
) -> None:
    checksum = sha256(demanded) if demanded else None
    with (
        Site({"/file.tar": VERSIONS[0]}, *answers, validator=validator) as site,
        tempfile.TemporaryDirectory() as name,
    ):
        target = Path(name) / "file.tar"
        for _ in range(2):  # the second one may find a part
            try:
                download([site.url()], target, checksum=checksum, attempts=2, sleep=Waits(), timeout=5)
            except OctathlonError:
                assert not target.exists()
            else:
                assert target.read_bytes() in ([demanded] if demanded else VERSIONS)
                break


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_shown_only_on_a_terminal(tmp_path: Path, terminal: bool) -> None:
    (tmp_path / "source").write_bytes(BODY)
    code = "import sys; from pathlib import Path; from octathlon.archives.download import download;"
    code += "download([sys.argv[1]], Path(sys.argv[2]))"
    command = [sys.executable, "-c", code, (tmp_path / "source").as_uri(), str(tmp_path / "file.tar")]
    reader, writer = pty.openpty() if terminal else os.pipe()
    subprocess.run(command, check=True, stderr=writer, env=os.environ | {"TERM": "xterm", "COLUMNS": "100"})
    os.write(writer, b".")  # so that there is something to read in either case
    shown = os.read(reader, 100_000).decode()
    os.close(reader)
    os.close(writer)
    assert ("file.tar" in shown and "3.0/3.0 MB" in shown) == terminal
    assert terminal or shown == "."
