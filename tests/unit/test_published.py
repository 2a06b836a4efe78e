"""Archives whose publisher says in two small texts where they lie and what they contain."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from http_server import Answer, Site

from octathlon import registry
from octathlon.archives.fetch import fetch
from octathlon.archives.preflight import missing
from octathlon.archives.sources import Request, Source, declared
from octathlon.errors import OctathlonError

PART, INDEX, OLD = b"One sentence.\n" * 500, b"variables" * 100, b"other variables" * 100
LOGIN = b"\n <!DOCTYPE html><html><title>Sign in</title></html>"
PAGE = "text/html; charset=utf-8"


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


@pytest.fixture
def storage() -> Iterator[Site]:
    """A publisher's storage with one data set, as MLCommons' is laid out."""
    files = {
        "/bert/v1/results/part-00000-of-00500": PART,
        "/bert/v1/tf1_ckpt/model.index": INDEX,
        "/bert/v1/tf2_ckpt/model.index": OLD,
        "/bert/v1/two words/odd%23.txt": PART,
    }
    with Site(files) as site:
        site.files["/metadata/bert.uri"] = f"{site.url('/bert/v1')}\n".encode()
        listed = "".join(
            f"{md5(content)}  .{path.removeprefix('/bert/v1')}\n"
            for path, content in files.items()
            if path.startswith("/bert")
        )
        site.files["/metadata/bert.md5"] = listed.encode()
        site.files["/bert/v1/two%20words/odd%2523.txt"] = PART
        yield site


def wanted(folder: Path, site: Site, name: str, **declaration) -> Request:
    fields = {"uri": site.url("/metadata/bert.uri"), "login": "a shop"} | declaration
    return Request(
        dataset="wikipedia",
        archive=Source(name=name, **fields),
        source="upstream",
        folder=folder / "archives",
    )


def paths(site: Site) -> list[str]:
    return [path for path, _ in site.requests]


def test_a_file_is_found_downloaded_and_checked_by_what_is_published(tmp_path: Path, storage: Site) -> None:
    part = wanted(tmp_path, storage, "part-00000-of-00500")
    assert missing([part]) == []
    assert fetch(part, "")["checksum"] == f"sha256:{hashlib.sha256(PART).hexdigest()}"
    texts = ["/metadata/bert.uri", "/metadata/bert.md5"]
    assert paths(storage) == [*texts, "/bert/v1/results/part-00000-of-00500"]
    fetch(part, "")
    assert len(storage.requests) == 3  # what is there and unchanged needs no network
    storage.files["/bert/v1/results/part-00000-of-00500"] = OLD
    part.path.unlink()
    with pytest.raises(OctathlonError, match=f"its md5 is {md5(OLD)} instead of {md5(PART)}"):
        fetch(part, "")


def test_a_declared_checksum_binds_too_and_tells_files_of_one_name_apart(
    tmp_path: Path, storage: Site
) -> None:
    index = wanted(tmp_path, storage, "model.index", checksum=f"md5:{md5(INDEX)}")
    assert fetch(index, "")["checksum"] == f"md5:{hashlib.md5(INDEX).hexdigest()}"
    with pytest.raises(OctathlonError, match=r"names 2 files model.index instead of one"):
        fetch(wanted(tmp_path / "2", storage, "model.index"), "")
    with pytest.raises(OctathlonError, match=rf"for model.index instead of the declared md5:{'0' * 32}"):
        fetch(wanted(tmp_path / "3", storage, "model.index", checksum=f"md5:{'0' * 32}"), "")
    sha256 = f"sha256:{hashlib.sha256(OLD).hexdigest()}"
    with pytest.raises(OctathlonError, match=rf"its sha256 is .* instead of {sha256[7:]}"):
        fetch(wanted(tmp_path / "4", storage, "part-00000-of-00500", checksum=sha256), "")
    with pytest.raises(OctathlonError, match=r"offers 7,000 bytes instead of 7,001"):
        fetch(wanted(tmp_path / "5", storage, "part-00000-of-00500", size=7001), "")


def test_a_path_may_have_any_characters(tmp_path: Path, storage: Site) -> None:
    assert fetch(wanted(tmp_path, storage, "odd%23.txt"), "")["bytes"] == len(PART)


@pytest.mark.parametrize(
    "walled", ["/metadata/bert.uri", "/metadata/bert.md5", "/bert/v1/tf1_ckpt/model.index"]
)
@pytest.mark.parametrize("redirected", [True, False])
def test_a_login_page_gives_the_sentence_of_a_login(
    tmp_path: Path, storage: Site, walled: str, redirected: bool
) -> None:
    page = "/login" if redirected else walled
    storage.files[page], storage.types[page] = LOGIN, PAGE
    if redirected:
        storage.moved[walled] = page
    index = wanted(tmp_path, storage, "model.index", checksum=f"md5:{md5(INDEX)}", size=900)
    with pytest.raises(OctathlonError) as error:
        fetch(index, "")
    own = tmp_path / "downloads" / "model.index"
    assert str(error.value) == f"model.index (900 bytes) is missing: get it from a shop and put it at {own}"
    assert not index.path.exists()
    own.parent.mkdir(exist_ok=True)
    own.write_bytes(INDEX)
    assert fetch(index, "")["bytes"] == 900


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_with_a_page_gives_the_sentence_of_a_login(
    tmp_path: Path, storage: Site, status: int
) -> None:
    storage.answers.append(Answer(status=status))
    with pytest.raises(OctathlonError, match="is missing: get it from a shop"):
        fetch(wanted(tmp_path, storage, "model.index"), "")


def test_a_page_type_alone_is_no_login_page(tmp_path: Path, storage: Site) -> None:
    """Some servers call everything text/html that they don't know."""
    storage.types["/bert/v1/results/part-00000-of-00500"] = PAGE
    assert fetch(wanted(tmp_path, storage, "part-00000-of-00500"), "")["bytes"] == len(PART)


def test_an_ordinary_mirror_comes_first_and_is_enough(tmp_path: Path, storage: Site) -> None:
    storage.files["/mirror/vocab.txt"] = PART
    urls = (storage.url("/mirror/vocab.txt"),)
    storage.files["/metadata/bert.md5"] += f"{md5(PART)}  ./vocab.txt\n".encode()
    vocabulary = wanted(tmp_path, storage, "vocab.txt", urls=urls)
    fetch(vocabulary, "")
    assert "/bert/v1/vocab.txt" not in paths(storage)
    storage.files["/login"], storage.types["/login"] = LOGIN, PAGE
    storage.moved["/metadata/bert.uri"] = "/login"
    fetch(wanted(tmp_path / "2", storage, "vocab.txt", urls=urls), "")
    storage.moved.clear()
    del storage.files["/mirror/vocab.txt"]
    storage.files["/bert/v1/vocab.txt"] = PART
    fetch(wanted(tmp_path / "3", storage, "vocab.txt", urls=urls), "")


@pytest.mark.parametrize(
    ("uri", "listed", "message"),
    [
        (b"ftp://127.0.0.1/bert", b"", r"holds 'ftp://127.0.0.1/bert' instead of a http or https URL"),
        (b"file:///etc", b"", r"holds 'file:///etc' instead of a http or https URL"),
        (b"http://a/b\nhttp://c/d", b"", r"instead of a http or https URL"),
        (b"http://user:word@host/bert", b"", r"instead of a http or https URL"),
        (b"<Error>no</Error>", b"", r"holds '<Error>no</Error>' instead"),
        (b"", b"", r"holds '' instead of a http or https URL"),
        (
            None,
            f"{md5(PART)}  ./../../etc/part-0\n".encode(),
            r"'./../../etc/part-0' leads out of its folder",
        ),
        (None, f"{md5(PART)}  /etc/part-0\n".encode(), r"'/etc/part-0' leads out of its folder"),
        (None, f"{md5(PART)}  ..\\part-0\n".encode(), r"leads out of its folder"),
        (None, b"", r"bert.md5: names 0 files part-0 instead of one"),
        (None, b"#" * ((16 << 20) + 1), r"offers more than 16,777,216 bytes"),
    ],
)
def test_the_texts_are_not_trusted(
    tmp_path: Path, storage: Site, uri: bytes | None, listed: bytes, message: str
) -> None:
    storage.files["/metadata/bert.md5"] = listed
    if uri is not None:
        storage.files["/metadata/bert.uri"] = uri
    part = wanted(tmp_path, storage, "part-0")
    with pytest.raises(OctathlonError, match=message) as error:
        fetch(part, "")
    own = part.downloads / "part-0"
    assert str(error.value).endswith(f"; your own copy is taken from {own}")
    assert all(path.startswith("/metadata/") for path in paths(storage))


def test_the_texts_are_bounded_where_no_length_is_announced(tmp_path: Path, storage: Site) -> None:
    storage.answers.append(Answer(announce=-1, content=b"h" * (17 << 20)))
    with pytest.raises(OctathlonError, match=r"bert.uri: .*more than 16,777,216 bytes"):
        fetch(wanted(tmp_path, storage, "part-0"), "")


def test_no_redirection_leads_to_another_protocol(tmp_path: Path, storage: Site) -> None:
    storage.moved["/metadata/bert.uri"] = "ftp://127.0.0.1:9/bert.uri"
    with pytest.raises(OctathlonError, match=r"bert.uri: 302 sends to another protocol"):
        fetch(wanted(tmp_path, storage, "part-0"), "")


def test_what_bert_needs_downloads_by_itself() -> None:
    """All 504 files of the finished text, and the dump."""
    uri = "https://training.mlcommons-storage.org/metadata/{}.uri".format
    sources = declared("wikipedia", registry.sources("wikipedia"))
    prepared = {
        name for name, each in sources.items() if each.uri == uri("bert-preprocessed-wikipedia-dataset")
    }
    assert prepared == {"eval.txt", *(f"part-{number:05d}-of-00500" for number in range(500))}
    assert {name for name, each in sources.items() if each.uri == uri("bert-input-files")} == {
        "vocab.txt",
        "model.ckpt-28252.index",
        "model.ckpt-28252.data-00000-of-00001",
        "enwiki-20200101-pages-articles-multistream.xml.bz2",
    }
    assert all(each.by_itself and each.login for each in sources.values())
