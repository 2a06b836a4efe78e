"""LibriSpeech: our loading and features beside torchaudio's own pipeline, in one run.

    python benchmarks/librispeech.py [UTTERANCES]

Draws UTTERANCES (default 200) of 2 to 16 s, as upstream's: FLAC files of noise whose loudness changes like speech's.
Ours reads their samples from the prepared file, changes the speed and computes the features of a batch at once; the
peer reads the FLAC files with soundfile, as torchaudio's loader does, and applies torchaudio's SpeedPerturbation,
preemphasis, MelSpectrogram and masking transforms to one utterance after the other. Both make training batches of 16,
of equal shape, in one process and one thread with warm caches; figures are seconds of audio per second of CPU time.
"""

from __future__ import annotations

import gzip
import io
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torchaudio.functional import preemphasis
from torchaudio.transforms import FrequencyMasking, MelSpectrogram, SpeedPerturbation, TimeMasking

from octathlon.datasets.librispeech import features, prepare
from octathlon.datasets.librispeech.loader import Batch, Batches, Utterances, bucketed_order
from octathlon.datasets.librispeech.settings import Settings
from octathlon.nn.loading import load
from octathlon.receipts import read_json

RATE, SIZE, ROUNDS = 16_000, 16, 3
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


def draw(folder: Path, utterances: int) -> list[Path]:
    """The two archives, and the training files beside them for the peer."""
    rng = np.random.default_rng(1)
    files = []
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
                if part != "dev-clean" and name.endswith("flac"):
                    files.append(folder / name)
                    files[-1].write_bytes(content)
    return files


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


def seconds(batches: Callable[[], Iterator[object]]) -> float:
    """CPU seconds, the system's included, of all batches."""
    started = time.process_time()
    for _ in batches():
        pass
    return time.process_time() - started


def main() -> None:
    utterances = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = draw(folder, utterances)
        started = time.process_time()
        for step in ("train-clean-100", "dev-clean", "manifest"):
            prepare.prepare(step, folder, folder / "prepared", SETTINGS)
        spent = time.process_time() - started
        hours = read_json(folder / "prepared" / "manifest.json")["hours"]["train-clean-100"]
        print(
            f"{utterances} utterances, {hours * 60:.1f} minutes; prepared at {hours * 3600 / spent:,.0f} s/s"
        )
        faster = SpeedPerturbation(RATE, SPEEDS)
        contests = {
            "samples": (lambda: our_waves(folder / "prepared"), lambda: peer_waves(files, faster)),
            "batches": (lambda: our_batches(folder / "prepared"), lambda: peer_batches(files, faster)),
        }
        for what, contest in contests.items():
            for batches in contest:
                seconds(batches)  # kernels, caches
            spent = [[seconds(batches) for _ in range(ROUNDS)] for batches in contest]
            ours, peers = (
                hours * 3600 * (utterances // SIZE * SIZE) / utterances / min(each) for each in spent
            )
            print(f"{what}: ours {ours:,.0f} s/s, torchaudio {peers:,.0f} s/s, ratio {ours / peers:.2f}")


if __name__ == "__main__":
    main()
