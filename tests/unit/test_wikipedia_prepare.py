"""Preparation as a whole: from a dump and from finished text, step by step, the same again."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from pydantic import ValidationError
from wikipedia_archives import CLOSING, OPENING, draw, page, prepare_all, settings, write_dump

from octathlon import registry
from octathlon.archives.sources import declared
from octathlon.datasets.wikipedia import prepare
from octathlon.datasets.wikipedia.shards import checksum, read_shard
from octathlon.errors import OctathlonError
from octathlon.miniatures import wikipedia as miniature
from octathlon.receipts import read_json


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("archives"))


@pytest.fixture(scope="module")
def prepared(archives: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_all(archives, tmp_path_factory.mktemp("prepared"))


def receipt(prepared: Path, step: str) -> dict:
    return read_json(prepared / "receipts" / f"{step}.json")


def test_every_article_becomes_text_once(prepared: Path) -> None:
    extracted = [receipt(prepared, f"extract-{number:03d}")["counts"] for number in range(2)]
    assert sum(counts["articles"] for counts in extracted) == 60
    pages, redirects = (sum(counts[key] for counts in extracted) for key in ("pages", "redirects"))
    assert pages > 60 + redirects > 60  # pages of other namespaces, too
    texts = [receipt(prepared, f"text-{number:05d}")["counts"] for number in range(2)]
    files = sum(counts["files"] for counts in texts)
    assert all(counts["files"] for counts in texts)
    assert sum(counts["eval_articles"] for counts in texts) == 12
    # the end of each file counts as an article
    assert sum(counts["articles"] + counts["eval_articles"] for counts in texts) == 60 + files


def test_only_sentences_are_left(prepared: Path) -> None:
    """Every line is a sentence of the made-up world: no markup got through, nothing was cut."""
    lines = [line for path in sorted((prepared / "text").glob("*")) for line in path.read_text().splitlines()]
    sentences = [line for line in lines if line]
    assert len(sentences) > 600
    assert all(line[0].isupper() and line.endswith(".") and line.count(".") == 1 for line in sentences)
    assert not set("".join(sentences)) & set("<>[]{}|='\"&_()")


def test_manifest_adds_up(prepared: Path) -> None:
    manifest = read_json(prepared / "manifest.json")
    train = manifest["splits"]["train"]
    assert train == [f"train-{part:05d}-{shard}.hdf5" for part in range(2) for shard in range(2)]
    lengths = {name: len(read_shard(prepared / name)) for name in [*train, "eval.hdf5"]}
    assert lengths == manifest["samples"]
    assert manifest["counts"] == {"train": sum(lengths[name] for name in train), "eval": 40}
    assert set(manifest["shards"]) == {*lengths, "checkpoint.safetensors"}
    evaluation = read_shard(prepared / "eval.hdf5").fields
    assert manifest["masked"]["eval"] == len(evaluation["masked_lm_ids"].flat)
    assert manifest["eval_checksum"] == checksum(evaluation["input_ids"])


def test_evaluation_set_is_spread_over_all_samples(archives: Path, prepared: Path, tmp_path: Path) -> None:
    """Sample number floor(i x total / wanted) of those that the drawn articles give."""
    shutil.copytree(prepared, tmp_path / "all")
    total = 0
    while total < 1 << 20:
        try:
            prepare.prepare("eval", archives, tmp_path / "all", settings(eval_samples=1 << 20))
        except OctathlonError as error:
            total = int(str(error).split("give ")[1].split(" samples")[0].replace(",", ""))
            break
    prepare.prepare("eval", archives, tmp_path / "all", settings(eval_samples=total))
    ids = read_shard(tmp_path / "all" / "eval.hdf5").fields["input_ids"]
    picked = ids.take(np.array([i * total // 40 for i in range(40)]))
    assert picked.flat.tolist() == read_shard(prepared / "eval.hdf5").fields["input_ids"].flat.tolist()


def test_finished_text_is_another_way_in(archives: Path, prepared: Path, tmp_path: Path) -> None:
    """The parts and eval.txt that a dump gives, taken as archives, give the same samples."""
    ready = tmp_path / "archives"
    ready.mkdir()
    for number in range(2):
        name = f"part-{number:05d}-of-00002"
        shutil.copy(prepared / "text" / name, ready / name)
    drawn = [(prepared / "text" / f"eval-{number:05d}.txt").read_bytes() for number in range(2)]
    (ready / "eval.txt").write_bytes(b"".join(drawn))
    shutil.copy(archives / "vocab.txt", ready)
    chosen = settings(start="text", checkpoint=False)
    assert prepare.archives(chosen) == [
        "vocab.txt",
        *(f"part-{n:05d}-of-00002" for n in range(2)),
        "eval.txt",
    ]
    out = prepare_all(ready, tmp_path / "out", chosen)
    manifest, original = read_json(out / "manifest.json"), read_json(prepared / "manifest.json")
    assert manifest["checkpoint"] is None
    assert all(manifest["shards"][name] == original["shards"][name] for name in manifest["samples"])


def test_preparing_again_gives_the_same_bytes(archives: Path, prepared: Path, tmp_path: Path) -> None:
    again = prepare_all(archives, tmp_path)
    assert (again / "manifest.json").read_bytes() == (prepared / "manifest.json").read_bytes()


def test_jobs_of_extraction_make_no_difference(archives: Path, prepared: Path, tmp_path: Path) -> None:
    one = prepare_all(archives, tmp_path, settings(extract_jobs=5))
    assert (one / "manifest.json").read_bytes() == (prepared / "manifest.json").read_bytes()


def test_needs_are_all_that_a_step_reads(archives: Path, prepared: Path, tmp_path: Path) -> None:
    """Each step runs with nothing but what it says it needs, and writes the same."""
    chosen = settings()
    for kind, steps in prepare.steps(chosen).items():
        step = steps[-1]
        names, before = prepare.needs(step, chosen)
        here, out = tmp_path / kind / "archives", tmp_path / kind / "out"
        here.mkdir(parents=True)
        for name in names:
            shutil.copy(archives / name, here)
        for file in (file for name in before for file in receipt(prepared, name)["files"]):
            (out / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(prepared / file, out / file)
        prepare.prepare(step, here, out, chosen)
        assert receipt(out, step) == receipt(prepared, step)


def test_the_draw_depends_on_seed_and_sizes_alone(archives: Path, tmp_path: Path) -> None:
    again, other = draw(tmp_path / "again"), draw(tmp_path / "other", seed=2)
    for name in miniature.archives():
        assert (again / name).read_bytes() == (archives / name).read_bytes()
    assert (other / "vocab.txt").read_bytes() != (archives / "vocab.txt").read_bytes()


# Mistakes --------------------------------------------------------------------------------------------


def test_mistakes_are_named(archives: Path, prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(OctathlonError, match="no step 'sample-1'; there are extract-000, text-00000"):
        prepare.prepare("sample-1", archives, tmp_path, settings())
    shutil.copytree(prepared / "extracted", tmp_path / "extracted")
    small = settings(part_bytes=10_000)
    with pytest.raises(OctathlonError, match=r"fills \d+ parts of part_bytes 10,000, but parts is 2: set it"):
        prepare.prepare("text-00000", archives, tmp_path, small)
    with pytest.raises(OctathlonError, match=r"part-00001-of-00002: cannot read the text"):
        prepare.prepare("samples-00001", archives, tmp_path, settings())
    with pytest.raises(ValidationError, match="max_seq_length"):
        settings().model_validate(settings().model_dump() | {"max_seq_length": 4})


def test_text_that_is_not_utf8_is_named(archives: Path, prepared: Path, tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "part-00000-of-00002").write_bytes(b"good\n\xff\xfe\n")
    with pytest.raises(OctathlonError, match=r"part-00000-of-00002: cannot read the text"):
        prepare.prepare("samples-00000", archives, tmp_path, settings())


def test_a_dump_without_articles_is_named(archives: Path, tmp_path: Path) -> None:
    here = tmp_path / "archives"
    shutil.copytree(archives, here)
    write_dump(
        here / miniature.DUMP, OPENING + page(1, "x", namespace=10) + page(2, "x", redirect=True) + CLOSING
    )
    for number in range(2):
        prepare.prepare(f"extract-{number:03d}", here, tmp_path, settings())
    with pytest.raises(OctathlonError, match="no article was extracted"):
        prepare.prepare("text-00000", here, tmp_path, settings())


@pytest.mark.parametrize("ends", ["?!", "&amp;#46; "])
def test_a_page_of_nothing_but_sentence_ends_is_named(tmp_path: Path, ends: str) -> None:
    """However they are written: looking at a million of them takes a minute."""
    one_job = settings(extract_jobs=1)

    def extract(count: int) -> None:
        write_dump(tmp_path / prepare.DUMP, OPENING + page(7, ends * count) + CLOSING)
        prepare.prepare("extract-000", tmp_path, tmp_path / "out", one_job)

    extract(prepare.ENDS_LIMIT // 3)
    with pytest.raises(OctathlonError, match=rf"{prepare.DUMP}: page 7 has more sentences.*; fetch"):
        extract(prepare.ENDS_LIMIT + 1)


def test_a_failed_step_leaves_nothing(archives: Path, tmp_path: Path) -> None:
    here = tmp_path / "archives"
    shutil.copytree(archives, here)
    content = bytearray((here / miniature.DUMP).read_bytes())
    content[-200:] = bytes(200)
    (here / miniature.DUMP).write_bytes(content)
    with pytest.raises(OctathlonError, match=miniature.DUMP):
        prepare.prepare("extract-000", here, tmp_path / "out", settings())
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []


# Declared --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["dump", "text"])
def test_every_archive_is_declared(start: str) -> None:
    full = registry.dataset_settings("wikipedia")(
        **registry.defaults("datasets", "wikipedia", "full") | {"start": start}
    )
    known = declared("wikipedia", registry.sources("wikipedia"))
    assert set(prepare.archives(full)) <= set(known)
    assert known["vocab.txt"].checksum == "md5:64800d5d8528ce344256daf115d4965e"
    assert known["model.ckpt-28252.data-00000-of-00001"].bytes == 3 * 336_226_108 * 4 + 16
    assert known["part-00499-of-00500"].checksum == "md5:b3b087ad24e3770d879a351664cebc5a"


def test_full_scale_is_the_references() -> None:
    full = yaml.safe_load((registry.ROOT / "datasets" / "wikipedia" / "full.yaml").read_text())
    assert (full["max_seq_length"], full["max_predictions"], full["dupe_factor"]) == (512, 76, 10)
    assert (full["parts"], full["eval_articles"], full["eval_samples"]) == (500, 10_000, 10_000)
    assert full["file_bytes"] == 1 << 20
    assert full["part_bytes"] == int(26.92 * (1 << 20))
