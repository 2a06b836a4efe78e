"""Archives into samples, tokens, tables and a manifest; and one sentence for each damage."""

from __future__ import annotations

import re
from pathlib import Path

import librispeech_archives as made
import numpy as np
import pytest
from librispeech_archives import CHAPTER, HAND_MADE, flac, prepare_all, settings, train_files, write
from pydantic import ValidationError
from sentencepiece import SentencePieceProcessor

from octathlon import config
from octathlon.datasets.librispeech import prepare, recordings
from octathlon.datasets.librispeech.loader import Utterances, eval_transcripts
from octathlon.errors import OctathlonError
from octathlon.receipts import describe, read_json

# What is kept ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hand made")
    return prepare_all(write(folder / "archives"), folder / "prepared", settings(**HAND_MADE))


def test_samples_survive_to_the_last_bit_and_utterances_are_sorted_by_length(prepared: Path) -> None:
    train = Utterances(prepared, read_json(prepared / "manifest.json"), "train")
    assert train.lengths.tolist() == [1000, 2000, 3000]
    for number, seed in enumerate([2, 1, 0]):
        expected = made.samples(seed, 3000 - 1000 * seed) / np.float32(32768)
        np.testing.assert_array_equal(train.samples(number), expected)


def test_tokens_are_of_the_lower_case_transcript_of_the_same_utterance(prepared: Path) -> None:
    train = Utterances(prepared, read_json(prepared / "manifest.json"), "train")
    model = SentencePieceProcessor(model_file=str(prepared / "tokens.model"))
    texts = [model.decode(train.tokens(number).tolist()) for number in range(3)]
    assert texts == ["a hat", "the cat sat", "he's a cat"]
    assert eval_transcripts(prepared) == ["that cat"]


def test_the_manifest_describes_every_file(prepared: Path) -> None:
    manifest = read_json(prepared / "manifest.json")
    assert manifest["counts"] == {"train": 3, "train_too_long": 0, "eval": 1, "eval_words": 2}
    assert manifest["longest"]["train"]["samples"] == 3000
    assert manifest["longest"]["eval"]["samples"] == 8000
    assert manifest["pieces"] == 12 and manifest["parts"] == ["train-clean-100", "dev-clean"]
    files = {path.name for path in prepared.iterdir() if path.is_file()} - {"manifest.json"}
    assert {name: describe(prepared / name) for name in files} == manifest["shards"]


def test_the_vocabulary_is_the_references(prepared: Path) -> None:
    """Unknown is 0, no begin, end or padding; unigram pieces with a mark for the start of a word."""
    model = SentencePieceProcessor(model_file=str(prepared / "tokens.model"))
    assert (len(model), model.unk_id(), model.bos_id(), model.eos_id(), model.pad_id()) == (12, 0, -1, -1, -1)
    assert b"tokens" not in (prepared / "tokens.model").read_bytes()  # no path of ours in it
    assert model.id_to_piece(model.encode("cat")[0]).startswith("\u2581")


def test_too_long_utterances_are_left_out_of_training_alone(tmp_path: Path) -> None:
    """The limit includes its end. The vocabulary is made of all transcripts, as in the reference."""
    chosen = settings(**HAND_MADE, max_duration_s=2000 / 16_000)
    out = prepare_all(write(tmp_path), tmp_path / "out", chosen)
    manifest = read_json(out / "manifest.json")
    assert manifest["counts"] == {"train": 2, "train_too_long": 1, "eval": 1, "eval_words": 2}
    assert Utterances(out, manifest, "train").lengths.tolist() == [1000, 2000]
    model = SentencePieceProcessor(model_file=str(out / "tokens.model"))
    assert 0 not in model.encode("'s")  # only the utterance that was left out has an apostrophe


def test_the_order_in_the_archive_changes_nothing(tmp_path: Path, prepared: Path) -> None:
    reversed_files = dict(reversed(train_files().items()))
    out = prepare_all(write(tmp_path, reversed_files), tmp_path / "out", settings(**HAND_MADE))
    ours, theirs = (
        Utterances(folder, read_json(folder / "manifest.json"), "train") for folder in (out, prepared)
    )
    for number in range(3):
        np.testing.assert_array_equal(ours.samples(number), theirs.samples(number))
        np.testing.assert_array_equal(ours.tokens(number), theirs.tokens(number))


def test_recordings_lie_in_the_archives_order_whoever_was_decoded_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each long one is followed by short ones, which other threads finish before it."""
    monkeypatch.setattr(recordings, "DECODERS", 4)
    spoken = [made.samples(number, 400 if number % 5 else 200_000) for number in range(30)]
    files = {f"{CHAPTER}-{number:04d}.flac": flac(each) for number, each in enumerate(spoken)}
    text = "".join(f"7-70-{number:04d} A\n" for number in range(30)).encode()
    archives = write(tmp_path, files | {f"{CHAPTER}.trans.txt": text})
    recordings.write_part("train-clean-100", archives / "train-clean-100.tar.gz", tmp_path)
    np.testing.assert_array_equal(
        np.fromfile(tmp_path / "train-clean-100.pcm", "<i2"), np.concatenate(spoken)
    )


def test_a_miniature_goes_all_the_way(tmp_path: Path) -> None:
    """3 x 3 x 8 utterances and the one that is too long; the same bytes each time."""
    first, again = (prepare_all(made.draw(tmp_path / each), tmp_path / each / "out") for each in "ab")
    manifest = read_json(first / "manifest.json")
    assert manifest == read_json(again / "manifest.json")
    assert manifest["counts"]["train"] == 72 and manifest["counts"]["train_too_long"] == 1
    assert manifest["counts"]["eval"] == 10 and 10 <= manifest["counts"]["eval_words"] <= 30
    model = SentencePieceProcessor(model_file=str(first / "tokens.model"))
    words = {"zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"}
    texts = eval_transcripts(first)
    assert {word for text in texts for word in text.split()} <= words
    assert model.decode(model.encode(texts)) == texts and 0 not in sum(model.encode(texts), [])


def test_one_archive_is_one_step(tmp_path: Path) -> None:
    chosen = settings(**HAND_MADE)
    assert prepare.archives(chosen) == ["train-clean-100.tar.gz", "dev-clean.tar.gz"]
    assert prepare.steps(chosen) == {"part": ["train-clean-100", "dev-clean"]}
    with pytest.raises(
        OctathlonError, match="no step 'dev-other'; choose train-clean-100, dev-clean, or manifest"
    ):
        prepare.prepare("dev-other", tmp_path, tmp_path, chosen)


def test_full_scale_is_the_references() -> None:
    chosen = config.resolve("datasets", "librispeech", "full", {})
    assert (chosen.vocabulary, chosen.max_duration_s, chosen.source) == (1023, 16.7, "upstream")
    assert prepare.steps(chosen)["part"] == [
        "train-clean-100",
        "train-clean-360",
        "train-other-500",
        "dev-clean",
    ]


# What is refused -------------------------------------------------------------------------------------


def damaged(content: bytes) -> bytes:
    """A flipped bit in the middle of a FLAC file's samples."""
    return (
        content[: len(content) // 2]
        + bytes([content[len(content) // 2] ^ 4])
        + content[len(content) // 2 + 1 :]
    )


def claiming(content: bytes, samples: int) -> bytes:
    """A FLAC file whose header says another number of samples."""
    word = int.from_bytes(content[18:26], "big") >> 36 << 36 | samples
    return content[:18] + word.to_bytes(8, "big") + content[26:]


SOUND = f"{CHAPTER}-0001.flac"
TEXT = f"{CHAPTER}.trans.txt"
FILES = train_files()
DAMAGES = {
    "damaged FLAC": ({SOUND: damaged(FILES[SOUND])}, f"{SOUND}: damaged FLAC .*; fetch the archive again"),
    "cut FLAC": ({SOUND: FILES[SOUND][:1500]}, rf"{SOUND}: damaged FLAC \(a FLAC recording: "),
    "no FLAC": ({SOUND: b"no sound"}, rf"{SOUND}: damaged FLAC \(of unknown kind: "),
    "empty": ({SOUND: b""}, rf"{SOUND}: damaged FLAC \(an empty file: "),
    "web page": ({SOUND: b"<html>"}, rf"{SOUND}: damaged FLAC \(a web page or XML: "),
    "sample rate": (
        {SOUND: flac(made.samples(1), 8000)},
        f"{SOUND}: FLAC PCM_16, 1 channels, 8,000 Hz, but .* convert",
    ),
    "stereo": ({SOUND: flac(np.stack([made.samples(1)] * 2, axis=1))}, f"{SOUND}: FLAC PCM_16, 2 channels"),
    "24 bits": ({SOUND: flac(made.samples(1), subtype="PCM_24")}, f"{SOUND}: FLAC PCM_24"),
    "WAV": ({SOUND: flac(made.samples(1), form="WAV")}, f"{SOUND}: WAV PCM_16"),
    "too short": ({SOUND: flac(made.samples(1, 399))}, f"{SOUND}: only 399 samples"),
    "all samples there can be": (
        {SOUND: claiming(FILES[SOUND], 2**36 - 1)},
        f"{SOUND}: says that it has 68,719,476,735 samples, but no recording may have more than 1,920,000; cut it",
    ),
    "unknown number": ({SOUND: claiming(FILES[SOUND], 0)}, f"{SOUND}: says that it has .* samples"),
    "a sample too many": ({SOUND: claiming(FILES[SOUND], 2001)}, f"{SOUND}: damaged FLAC"),
    "a sample too few": (
        {SOUND: claiming(FILES[SOUND], 1999)},
        f"{SOUND}: its header is not .* 1,999 samples",
    ),
    "too long": (
        {SOUND: flac(np.zeros(1_920_001, np.int16))},
        f"{SOUND}: says that it has 1,920,001 samples",
    ),
    "long text": (
        {TEXT: FILES[TEXT] + b"7-70-0003 " + b"A " * 2501},
        f"{TEXT}: 7-70-0003 has a transcript of 5,002 characters",
    ),
    "long file": ({TEXT: b"A" * 1_000_001}, f"{TEXT}: 1,000,001 bytes are no chapter's"),
    "no text": ({TEXT: b""}, "7-70-0000.flac has no line in a .trans.txt"),
    "no transcript": ({TEXT: b"7-70-0000 A\n7-70-0002 B\n"}, "7-70-0001.flac has no line in a .trans.txt"),
    "no sound": ({SOUND: None}, "the recording 7-70-0001.flac is missing"),
    "empty line": ({TEXT: b"7-70-0000 A\n7-70-0001 \n"}, f"{TEXT}: line '7-70-0001 ' is not a new id"),
    "other chapter": ({TEXT: b"7-71-0000 A\n"}, f"{TEXT}: line '7-71-0000 A'"),
    "twice": ({TEXT: b"7-70-0000 A\n7-70-0000 B\n"}, f"{TEXT}: line '7-70-0000 B'"),
    "not text": ({TEXT: b"7-70-0000 \xff\xfe\n"}, f"{TEXT}: not text"),
    "unknown file": ({f"{CHAPTER}.mp3": b""}, f"{CHAPTER}.mp3 is neither"),
    "misplaced": ({"LibriSpeech/train-clean-100/8/70/7-70-0001.flac": b""}, "8/70/7-70-0001.flac is neither"),
    "another part": (dict.fromkeys([*FILES]) | made.dev_files(), "no recordings in it"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_named(tmp_path: Path, name: str) -> None:
    changes, message = DAMAGES[name]
    files = {name: content for name, content in (FILES | changes).items() if content is not None}
    archives = write(tmp_path / "archives", files)
    with pytest.raises(OctathlonError, match=rf"train-clean-100\.tar\.gz: .*{message}") as caught:
        prepare.prepare("train-clean-100", archives, tmp_path / "out", settings(**HAND_MADE))
    assert "\n" not in str(caught.value) and " at 0x" not in str(caught.value)
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []


def test_a_member_that_leaves_its_folder_is_refused(tmp_path: Path) -> None:
    archives = write(tmp_path, FILES | {"../../evil.flac": b"x"})
    with pytest.raises(OctathlonError, match="'../../evil.flac' has a name that leaves its folder"):
        prepare.prepare("train-clean-100", archives, tmp_path / "out", settings(**HAND_MADE))


@pytest.mark.parametrize("limit", ["PART_LIMIT", "UTTERANCE_LIMIT"])
def test_all_transcripts_together_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(recordings, limit, 2)
    with pytest.raises(OctathlonError, match=rf"{TEXT}: more transcripts than a part of LibriSpeech has"):
        prepare.prepare("train-clean-100", write(tmp_path), tmp_path / "out", settings(**HAND_MADE))


def test_a_transcript_of_nothing_is_named(tmp_path: Path) -> None:
    """A space without width is no blank to Python, but nothing to sentencepiece."""
    files = FILES | {TEXT: FILES[TEXT].replace(b"A HAT", b"\xe2\x80\x8b")}
    with pytest.raises(OctathlonError, match=r"the transcript '\\u200b' holds nothing to be said; mend it"):
        prepare_all(write(tmp_path, files), tmp_path / "out", settings(**HAND_MADE))


@pytest.mark.parametrize("pieces", [2, 1000])
def test_an_impossible_vocabulary_names_its_key(tmp_path: Path, pieces: int) -> None:
    with pytest.raises(
        OctathlonError, match=rf"give no {pieces} pieces \(.*set datasets.librispeech.vocabulary"
    ):
        prepare_all(write(tmp_path), tmp_path / "out", settings(**HAND_MADE | {"vocabulary": pieces}))


def test_a_limit_below_all_utterances_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        OctathlonError, match="no training utterance has 0.01 s or less; raise max_duration_s"
    ):
        prepare_all(write(tmp_path), tmp_path / "out", settings(**HAND_MADE, max_duration_s=0.01))


def test_the_manifest_step_wants_all_parts(tmp_path: Path) -> None:
    with pytest.raises(OctathlonError, match=re.escape("receipts/train-clean-100.json: not there")):
        prepare.prepare("manifest", tmp_path, tmp_path / "out", settings(**HAND_MADE))


@pytest.mark.parametrize(
    "wrong",
    [
        {"train_parts": []},
        {"train_parts": ["dev-clean"]},
        {"eval_part": "../dev-clean"},
        {"max_duration_s": 0},
        {"vocabulary": 65_537},  # tokens have 16 bits
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        settings(**wrong)
