"""A Wikipedia dump, or the reference's finished text -> shards of BERT samples, an evaluation set, a manifest.

    dump ── extract ──► extracted/ ── text ──► text/ ── samples ──► train-*.hdf5      (each a job per share or part)
                                        └─ evaluation articles ── eval ──► eval.hdf5
    finished text (parts, eval.txt) ───────────────┘
    checkpoint ── checkpoint ──► checkpoint.safetensors

No step holds more than one part of the text in memory, however large the dump.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from octathlon.datasets.wikipedia.settings import Settings
from octathlon.errors import OctathlonError
from octathlon.receipts import describe, publish, read_json, write_json

DUMP = "enwiki-20200101-pages-articles-multistream.xml.bz2"
VOCABULARY, PUNKT, EVALUATION = "vocab.txt", "punkt_tab.zip", "eval.txt"
CHECKPOINT = ["model.ckpt-28252.index", "model.ckpt-28252.data-00000-of-00001"]
WEIGHTS = "checkpoint.safetensors"
ENDS_LIMIT = 100_000
"""Points, question and exclamation marks of an article, which may all end sentences: looking at each takes up to 60
microseconds. The real sample has one in 81 characters where they are densest: 26,000 in 2 MiB, the longest page."""


def archives(settings: Settings) -> list[str]:
    """The archives that the preparation needs."""
    text = [DUMP, PUNKT] if settings.start == "dump" else [*_parts(settings), EVALUATION]
    return [VOCABULARY, *text, *(CHECKPOINT if settings.checkpoint else [])]


def steps(settings: Settings) -> dict[str, list[str]]:
    """The steps before `manifest`, by kind; a kind needs those before it, but for `checkpoint`, which needs none."""
    from_dump = settings.start == "dump"
    return {
        "extract": [f"extract-{number:03d}" for number in range(settings.extract_jobs * from_dump)],
        "text": [f"text-{number:05d}" for number in range(settings.parts * from_dump)],
        "samples": [f"samples-{number:05d}" for number in range(settings.parts)],
        "eval": ["eval"],
        "checkpoint": ["checkpoint"] * settings.checkpoint,
    }


def needs(step: str, settings: Settings) -> tuple[list[str], list[str]]:
    """The archives, and the steps before it, that a step but `manifest` reads."""
    kind, _, number = step.partition("-")
    if kind == "checkpoint":
        return CHECKPOINT, []
    if kind == "extract":
        return [DUMP], []
    if kind == "text":
        return [PUNKT], steps(settings)["extract"]
    if settings.start == "text":
        return [VOCABULARY, EVALUATION if kind == "eval" else _part(int(number), settings)], []
    return [VOCABULARY], steps(settings)["text"] if kind == "eval" else [f"text-{number}"]


def prepare(step: str, archives: Path, out: Path, settings: Settings) -> None:
    """Run one step: one of `steps`, or `manifest` after all of them.

    Raises:
        OctathlonError: naming the archive, if one is damaged.
    """
    kinds = steps(settings)
    kind = next((kind for kind, names in kinds.items() if step in names), None)
    if step == "manifest":
        _write_manifest(archives, out, settings)
    elif kind is None:
        names = ", ".join(names[0] for names in kinds.values() if names)
        raise OctathlonError(f"wikipedia has no step {step!r}; there are {names} and so on, and manifest")
    else:
        (out / "receipts").mkdir(parents=True, exist_ok=True)
        facts = STEPS[kind](kinds[kind].index(step), archives, out, settings)
        receipt = {"format": 1, "stage": "prepare", "dataset": "wikipedia", "step": step}
        write_json(out / "receipts" / f"{step}.json", receipt | facts)


def _extract(number: int, archives: Path, out: Path, settings: Settings) -> dict[str, Any]:
    """One share of the dump's articles as text, and the bytes of each."""
    from octathlon.datasets.wikipedia.dump import pages
    from octathlon.datasets.wikipedia.wikitext import article

    counts = {"pages": 0, "redirects": 0}
    sizes = []
    text, table = out / "extracted" / f"extract-{number:03d}.txt", f"extract-{number:03d}.npy"
    with publish(text) as temporary, temporary.open("wb") as file:
        for page in pages(archives / DUMP, number, settings.extract_jobs):
            counts["pages"] += 1
            counts["redirects"] += page.redirect
            if page.namespace == 0 and not page.redirect:
                found = article(page.number, page.title, page.text)
                if sum(map(found.count, ".?!")) > ENDS_LIMIT:
                    raise OctathlonError(
                        f"{archives / DUMP}: page {page.number} has more sentences than any article; "
                        "fetch the dump again"
                    )
                sizes.append(file.write(found.encode()))
    with publish(text.with_name(table)) as temporary, temporary.open("wb") as file:
        np.save(file, np.array(sizes, dtype=np.int64), allow_pickle=False)
    return _facts(out, [f"extracted/{text.name}", f"extracted/{table}"], counts | {"articles": len(sizes)})


def _text(number: int, archives: Path, out: Path, settings: Settings) -> dict[str, Any]:
    """One part of the text: sentences of the articles that aren't drawn for the evaluation set, and those that are."""
    from octathlon.datasets.wikipedia.cleanup import articles, evaluation_articles
    from octathlon.datasets.wikipedia.layout import Layout
    from octathlon.datasets.wikipedia.sentences import SentenceSplitter

    splitter = SentenceSplitter(archives / PUNKT)
    layout = Layout(out / "extracted", steps(settings)["extract"], settings)
    part, drawn = f"text/{_part(number, settings)}", f"text/eval-{number:05d}.txt"
    counts = {"files": 0, "articles": 0, "eval_articles": 0}
    with (
        publish(out / part) as kept_path,
        publish(out / drawn) as drawn_path,
        kept_path.open("w", newline="\n") as kept_file,
        drawn_path.open("w", newline="\n") as drawn_file,
    ):
        for file in layout.part(number):
            found = articles(layout.lines(file), splitter)
            taken = evaluation_articles(file, layout.files, settings.eval_articles, len(found))
            kept = "".join(f"{text}\n\n" for i, text in enumerate(found) if i not in taken)
            kept_file.write(kept.removesuffix("\n"))
            drawn_file.writelines(f"{found[i]}\n\n" for i in taken)
            counts["files"] += 1
            counts["articles"] += len(found) - len(taken)
            counts["eval_articles"] += len(taken)
    return _facts(out, [part, drawn], counts)


def _samples(number: int, archives: Path, out: Path, settings: Settings) -> dict[str, Any]:
    """The samples of one part, in random order, in several shards."""
    from octathlon.datasets.wikipedia.shards import write_shard

    name = _part(number, settings)
    path = out / "text" / name if settings.start == "dump" else archives / name
    samples, order = _make_samples([path], archives, settings)
    names = [f"train-{number:05d}-{shard}.hdf5" for shard in range(settings.shards_per_part)]
    shards = np.array_split(order, len(names))
    for shard, rows in zip(names, shards, strict=True):
        write_shard(out / shard, samples.take(rows))
    per_shard = {shard: len(rows) for shard, rows in zip(names, shards, strict=True)}
    return _facts(out, names, _sample_counts(samples)) | {"samples": per_shard}


def _evaluation(_number: int, archives: Path, out: Path, settings: Settings) -> dict[str, Any]:
    """The evaluation set: every so many-th of the samples that the drawn articles give."""
    from octathlon.datasets.wikipedia.shards import checksum, write_shard

    paths = [archives / EVALUATION]
    if settings.start == "dump":
        paths = [out / "text" / f"eval-{number:05d}.txt" for number in range(settings.parts)]
    samples, order = _make_samples(paths, archives, settings)
    if len(order) < settings.eval_samples:
        raise OctathlonError(
            f"wikipedia: the evaluation articles give {len(order):,} samples, but eval_samples is "
            f"{settings.eval_samples:,}: choose fewer, or more eval_articles"
        )
    picked = np.arange(settings.eval_samples) * len(order) // settings.eval_samples
    chosen = samples.take(order[picked])
    write_shard(out / "eval.hdf5", chosen)
    facts = _facts(out, ["eval.hdf5"], _sample_counts(chosen))
    return facts | {"checksum": checksum(chosen.fields["input_ids"])}


def _checkpoint(_number: int, archives: Path, out: Path, _settings: Settings) -> dict[str, Any]:
    from octathlon.datasets.wikipedia.checkpoint import convert

    shapes = convert(*(archives / name for name in CHECKPOINT), out / WEIGHTS)
    return _facts(out, [WEIGHTS], {"tensors": len(shapes)})


STEPS: dict[str, Callable[[int, Path, Path, Settings], dict[str, Any]]] = {
    "extract": _extract,
    "text": _text,
    "samples": _samples,
    "eval": _evaluation,
    "checkpoint": _checkpoint,
}


def _parts(settings: Settings) -> list[str]:
    """The names of the parts of the text."""
    return [_part(number, settings) for number in range(settings.parts)]


def _part(number: int, settings: Settings) -> str:
    return f"part-{number:05d}-of-{settings.parts:05d}"


def _make_samples(paths: list[Path], archives: Path, settings: Settings) -> tuple[Any, np.ndarray]:
    """The samples of the texts, joined, and their order."""
    from octathlon.datasets.wikipedia.instances import Rules, make_samples, new_state
    from octathlon.datasets.wikipedia.tokens import SPECIALS, Tokenizer, read_vocabulary

    vocabulary = read_vocabulary(archives / VOCABULARY)
    sentences, documents = Tokenizer(vocabulary).documents(_lines(paths))
    _pad, _unknown, cls, sep, mask = map(vocabulary.index, SPECIALS)
    rules = Rules(
        max_seq_length=settings.max_seq_length,
        max_predictions=settings.max_predictions,
        dupe_factor=settings.dupe_factor,
        vocabulary=len(vocabulary),
        cls=cls,
        sep=sep,
        mask=mask,
    )
    return make_samples(new_state(), sentences, documents, rules)


def _lines(paths: list[Path]) -> Iterator[str]:
    for path in paths:
        try:
            with path.open(encoding="utf-8", newline="\n") as file:
                yield from (line.rstrip("\n") for line in file)
        except (OSError, ValueError) as error:
            raise OctathlonError(
                f"{path}: cannot read the text ({error}); fetch or prepare it again"
            ) from error


def _sample_counts(samples: Any) -> dict[str, int]:
    return {
        "samples": len(samples),
        "tokens": int(samples.fields["input_ids"].bounds[-1]),
        "masked": int(samples.fields["masked_lm_ids"].bounds[-1]),
        "random_next": int(samples.next_sentence_labels.sum()),
    }


def _facts(out: Path, files: list[str], counts: dict[str, int]) -> dict[str, Any]:
    return {"files": {name: describe(out / name) for name in files}, "counts": counts}


def _write_manifest(archives: Path, out: Path, settings: Settings) -> None:
    """Sum up the receipts of all samples."""
    from octathlon.datasets.wikipedia.tokens import read_vocabulary

    kinds = steps(settings)
    receipts = {
        step: read_json(out / "receipts" / f"{step}.json")
        for kind in ("samples", "eval", "checkpoint")
        for step in kinds[kind]
    }
    train = [receipts[step] for step in kinds["samples"]]
    samples = {name: count for receipt in train for name, count in receipt["samples"].items()}
    evaluation = receipts["eval"]
    manifest = {
        "format": 1,
        "dataset": "wikipedia",
        "shards": {name: facts for receipt in receipts.values() for name, facts in receipt["files"].items()},
        "splits": {"train": list(samples), "eval": list(evaluation["files"])},
        "samples": samples | {"eval.hdf5": evaluation["counts"]["samples"]},
        "counts": {"train": sum(samples.values()), "eval": evaluation["counts"]["samples"]},
        "masked": {
            "train": sum(receipt["counts"]["masked"] for receipt in train),
            "eval": evaluation["counts"]["masked"],
        },
        "eval_checksum": evaluation["checksum"],
        "vocabulary": len(read_vocabulary(archives / VOCABULARY)),
        "max_seq_length": settings.max_seq_length,
        "max_predictions": settings.max_predictions,
        "checkpoint": WEIGHTS if settings.checkpoint else None,
    }
    write_json(out / "manifest.json", manifest)
