"""LibriSpeech: our preparation, loading and features beside those of soundfile and torchaudio, in one run.

    python benchmarks/librispeech.py [UTTERANCES]

Draws UTTERANCES (default 200) of 2 to 16 s, as upstream's: FLAC files of noise whose loudness changes like speech's.
The
preparation decodes them into one file of samples; the peer unpacks them and writes each as a WAV file, as the reference
does. Ours then reads samples, changes the speed and computes the features of a batch at once; the peer reads the WAV
files with soundfile, as torchaudio's loader does, and applies torchaudio's SpeedPerturbation, preemphasis,
MelSpectrogram and masking transforms to one utterance after the other. Both make training batches of 16, of equal
shape, in one process and one thread with warm caches; figures are seconds of audio per second of CPU time.
"""

from __future__ import annotations

import gzip
import io
import sys
import tarfile
import tempfile
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import torch
from timing import HEADER, compare
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torchaudio.functional import preemphasis
from torchaudio.transforms import FrequencyMasking, MelSpectrogram, SpeedPerturbation, TimeMasking

from octathlon.datasets.librispeech import features, prepare
from octathlon.datasets.librispeech.loader import Batch, Batches, Utterances, bucketed_order
from octathlon.datasets.librispeech.settings import Settings
from octathlon.nn.loading import load
from octathlon.receipts import read_json

RATE, SIZE = 16_000, 16
SETTINGS = Settings(
    source="upstream",
    miniature={},
    train_parts=["train-clean-100"],
    eval_part="dev-clean",
    vocabulary=8,
    max_duration_s=16.7,
)
SPEEDS = [percent / 100 for percent in range(85, 116)]


def sound(rng: np.random.Generator) -> bytes:
    """A FLAC file of 2 to 16 s."""
    count = rng.integers(2 * RATE, 16 * RATE)
    loudness = np.interp(
        np.arange(count), np.arange(0, count + 3200, 3200), rng.random(count // 3200 + 2) ** 2
    )
    smooth = np.convolve(rng.standard_normal(count), np.hanning(9), "same")
    buffer = io.BytesIO()
    soundfile.write(
        buffer, (3000 * loudness * smooth).clip(-32768, 32767).astype(np.int16), RATE, format="FLAC"
    )
    return buffer.getvalue()


def draw(folder: Path, utterances: int) -> None:
    """The two archives."""
    rng = np.random.default_rng(1)
    for part, count in (("train-clean-100", utterances), ("dev-clean", 1)):
        lines = "".join(f"1-2-{number:04d} A CAT SAT\n" for number in range(count)).encode()
        members = {"1-2.trans.txt": lines} | {f"1-2-{number:04d}.flac": sound(rng) for number in range(count)}
        with (
            gzip.open(folder / f"{part}.tar.gz", "wb", compresslevel=1) as packed,
            tarfile.open(fileobj=packed, mode="w") as tar,
        ):
            for name, content in members.items():
                member = tarfile.TarInfo(f"LibriSpeech/{part}/1/2/{name}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def prepare_ours(folder: Path) -> None:
    for step in ("train-clean-100", "dev-clean", "manifest"):
        prepare.prepare(step, folder, folder / "prepared", SETTINGS)


def to_wav(folder: Path) -> None:
    """The peer of the preparation."""
    with tarfile.open(folder / "train-clean-100.tar.gz") as archive:
        for member in archive:
            if member.name.endswith(".flac"):
                samples, rate = soundfile.read(archive.extractfile(member), dtype="int16")
                soundfile.write(folder / f"{Path(member.name).stem}.wav", samples, rate)


def our_waves(prepared: Path) -> Iterator[Batch]:
    """Samples of whole batches, their speed changed."""
    utterances = Utterances(prepared, read_json(prepared / "manifest.json"), "train")
    order = bucketed_order(len(utterances), 1, SIZE, SIZE, np.random.default_rng(1))
    keys = [(1, batch) for batch in order.reshape(-1, SIZE)]
    batches = Batches(utterances, seed=1, speeds=(85, 115))
    yield from load(batches, keys, workers=0, pin_memory=False)


def our_batches(prepared: Path) -> Iterator[Tensor]:
    for batch in our_waves(prepared):
        mel, counts = features.log_mel(batch.signal)
        mel = features.spec_augment(mel, counts, batch.draws)
        yield features.stack_frames(mel, counts)[0]


def peer_waves(files: list[Path], faster: SpeedPerturbation) -> Iterator[list[Tensor]]:
    order = np.random.default_rng(1).permutation(len(files))[: len(files) // SIZE * SIZE]
    for numbers in order.reshape(-1, SIZE):
        read = [torch.from_numpy(soundfile.read(files[number], dtype="float32")[0]) for number in numbers]
        yield [faster(each)[0] for each in read]


def peer_batches(files: list[Path], faster: SpeedPerturbation) -> Iterator[Tensor]:
    options = {"n_fft": 512, "win_length": 320, "hop_length": 160, "n_mels": 80}
    spectrogram = MelSpectrogram(RATE, norm="slaney", mel_scale="slaney", **options)
    frequency, frames = FrequencyMasking(20), TimeMasking(100, p=0.03)
    for waves in peer_waves(files, faster):
        rows = []
        for wave in waves:
            mel = spectrogram(preemphasis(wave + 1e-5 * torch.randn_like(wave))).clamp(min=1e-20).log()
            mel = (mel - mel.mean(1, keepdim=True)) / mel.std(1, correction=0, keepdim=True)
            for mask in [frequency] * 2 + [frames] * 10:
                mel = mask(mel[None])[0]
            rows.append(mel.T)
        padded = pad_sequence(rows, batch_first=True)
        padded = torch.nn.functional.pad(padded, (0, 0, 0, -padded.shape[1] % 3))
        yield padded.view(SIZE, -1, 240).transpose(0, 1)


def all_of(batches: Iterator[object]) -> None:
    """Make them, keeping none."""
    deque(batches, maxlen=0)


def main() -> None:
    utterances = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw(folder, utterances)
        prepare_ours(folder)
        audio = read_json(folder / "prepared" / "manifest.json")["hours"]["train-clean-100"] * 3600
        print(HEADER)
        compare(
            "librispeech preparation",
            "s/s",
            audio,
            lambda: prepare_ours(folder),
            "soundfile",
            lambda: to_wav(folder),
            "It writes each utterance as a WAV file, as the reference does, and neither checks nor reads texts.",
        )
        prepared, faster = folder / "prepared", SpeedPerturbation(RATE, SPEEDS)
        files = sorted(folder.glob("*.wav"))
        audio *= utterances // SIZE * SIZE / utterances
        compare(
            "rnnt loader",
            "s/s",
            audio,
            lambda: all_of(our_waves(prepared)),
            "soundfile, torchaudio",
            lambda: all_of(peer_waves(files, faster)),
            "Samples with their speed changed: its from WAV files, not yet in one batch.",
        )
        compare(
            "rnnt loader and features",
            "s/s",
            audio,
            lambda: all_of(our_batches(prepared)),
            "soundfile, torchaudio",
            lambda: all_of(peer_batches(files, faster)),
            "Its transforms take one utterance after the other, ours a batch.",
        )


if __name__ == "__main__":
    main()
