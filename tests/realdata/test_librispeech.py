"""Real speech in upstream's archives: read English, and spoken digits, some of them genuine LibriSpeech."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner

from octathlon.cli import octathlon
from octathlon.datasets.librispeech import features
from octathlon.datasets.librispeech.loader import Batches, Utterances, decode, eval_transcripts
from octathlon.datasets.librispeech.waveforms import trim_silence
from octathlon.receipts import read_json

REALDATA = Path(__file__).resolve().parents[3] / "shared" / "realdata"
OVERLAYS = {
    "librispeech": {"train_parts": ["train-clean-100"], "vocabulary": 128},
    "librispeech-digits": {"train_parts": ["train-clean-100"], "vocabulary": 22},
}
COUNTS = {
    "librispeech": {"train": 151, "train_too_long": 0, "eval": 26, "eval_words": 467},
    "librispeech-digits": {"train": 229, "train_too_long": 1, "eval": 45, "eval_words": 200},
}

pytestmark = pytest.mark.skipif(not REALDATA.is_dir(), reason="../shared/realdata is not there")


@pytest.fixture(scope="module", params=OVERLAYS)
def sample(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def prepared(sample: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Through the command line, with the overlay's keys."""
    out = tmp_path_factory.mktemp(sample)
    folders = ["--archives", str(REALDATA / sample), "--out", str(out)]
    for step in ("train-clean-100", "dev-clean", "manifest"):
        command = ["prepare", "librispeech", step, *folders, "--settings", json.dumps(OVERLAYS[sample])]
        assert CliRunner().invoke(octathlon, command, catch_exceptions=False).exit_code == 0
    return out


def archived(sample: str, part: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Recordings and transcripts by id, as Python's own tarfile finds them."""
    sounds, texts = {}, {}
    with tarfile.open(REALDATA / sample / f"{part}.tar.gz") as tar:
        for member in tar:
            name = Path(member.name)
            if name.suffix == ".flac":
                sounds[name.stem] = soundfile.read(io.BytesIO(tar.extractfile(member).read()), dtype="int16")[
                    0
                ]
            elif name.name.endswith(".trans.txt"):
                for line in tar.extractfile(member).read().decode().splitlines():
                    key, _, text = line.partition(" ")
                    texts[key] = text.lower()
    return sounds, texts


def test_counts_are_those_of_the_samples_readme(sample: str, prepared: Path) -> None:
    assert read_json(prepared / "manifest.json")["counts"] == COUNTS[sample]


def test_every_recording_keeps_its_samples_and_its_transcript(sample: str, prepared: Path) -> None:
    manifest = read_json(prepared / "manifest.json")
    for part, split in (("train-clean-100", "train"), ("dev-clean", "eval")):
        sounds, texts = archived(sample, part)
        by_sound = {sounds[key].tobytes(): texts[key] for key in sounds if len(sounds[key]) <= 16.7 * 16_000}
        utterances = Utterances(prepared, manifest, split)
        for number in range(len(utterances)):
            content = (utterances.samples(number) * 32768).astype(np.int16).tobytes()
            text = by_sound.pop(content)
            assert decode([utterances.tokens(number).tolist()], prepared) == [text]
        assert split == "eval" or not by_sound
    assert eval_transcripts(prepared) == [text for _, text in sorted(texts.items())]


def test_features_of_real_speech_are_normalised(prepared: Path) -> None:
    utterances = Utterances(prepared, read_json(prepared / "manifest.json"), "eval")
    mel, counts = features.log_mel(Batches(utterances)[0, range(len(utterances))].signal)
    for row, count in zip(mel, counts, strict=True):
        assert row[:count].mean(0).abs().max() < 1e-4
        torch.testing.assert_close(row[:count].std(0, correction=0), torch.ones(80), atol=1e-3, rtol=0)
        assert (row[count:] == 0).all()


def test_speech_itself_is_never_trimmed(prepared: Path) -> None:
    """At most digital silence goes: what is cut off holds less than 1e-6 of the energy."""
    utterances = Utterances(prepared, read_json(prepared / "manifest.json"), "train")
    for number in range(0, len(utterances), 5):
        samples = utterances.samples(number)
        kept = trim_silence(samples)
        assert 0 < len(kept) <= len(samples)
        assert (samples**2).sum(dtype=np.float64) - (kept**2).sum(dtype=np.float64) <= 1e-4 * (kept**2).sum()


def test_it_trains_for_a_block(sample: str, prepared: Path, tmp_path: Path) -> None:
    """With the mini model, to an evaluation of all words."""
    log = tmp_path / "result_0.txt"
    command = ["train", "rnnt", "--data", str(prepared), "--output", str(log), "--max-blocks", "1"]
    assert CliRunner().invoke(octathlon, command, catch_exceptions=False).exit_code == 0
    events = [json.loads(line.partition(" ")[2]) for line in log.read_text().splitlines()]
    rates = [event["value"] for event in events if event["key"] == "eval_accuracy"]
    words = COUNTS[sample]["eval_words"]
    assert len(rates) == 1 and all(rate * words == pytest.approx(round(rate * words)) for rate in rates)
