"""Miniature LibriSpeech archives: synthetic voices that read digits, packed exactly as upstream packs its readers.

A formant synthesiser speaks: pulses of the vocal cords and noise, shaped by resonances that glide from sound to
sound. Every speaker has a voice of their own, and those of dev-clean are in no other archive, so a network has to
learn the words. The real archives' traps are in: one training utterance longer than the benchmark admits,
transcripts that stand before or after their recordings, and general files that each archive repeats.
"""

from __future__ import annotations

import gzip
import io
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from octathlon.miniatures.files import add_member, replacing

PARTS = ("train-clean-100", "train-clean-360", "train-other-500", "dev-clean")
LONG_WORDS = 60
"""Words of the one training utterance that is too long: above 16.7 s in every voice."""

RATE = 16_000
CONTROL = RATE // 200
"""Samples between two settings of the synthesiser: 5 ms."""
HOP, WINDOW = 2 * CONTROL, 512
FREQUENCIES = np.fft.rfftfreq(WINDOW, 1 / RATE).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Phone:
    """A sound: how long it lasts, and what shapes it."""

    milliseconds: float
    voice: float
    formants: tuple[float, float, float]
    """Resonances in Hz."""
    glide: tuple[float, float, float] | None = None
    """The resonances at its end, if they move."""
    noise: tuple[float, float, float] = (0, 4000, 1000)
    """Amplitude, centre and width in Hz."""
    closure: float = 0
    """Milliseconds of silence before a burst."""


PHONES = {
    "IY": Phone(110, 1, (280, 2250, 3000)),
    "IH": Phone(90, 1, (400, 1950, 2550)),
    "EH": Phone(100, 1, (550, 1800, 2500)),
    "AH": Phone(90, 1, (640, 1200, 2400)),
    "AO": Phone(120, 1, (570, 850, 2400)),
    "UW": Phone(120, 1, (310, 900, 2250)),
    "OW": Phone(140, 1, (520, 950, 2400), glide=(360, 800, 2300)),
    "EY": Phone(150, 1, (500, 1850, 2500), glide=(320, 2200, 2850)),
    "AY": Phone(170, 1, (740, 1200, 2450), glide=(380, 2050, 2650)),
    "R": Phone(70, 0.8, (350, 1150, 1500)),
    "W": Phone(70, 0.7, (300, 650, 2200)),
    "N": Phone(80, 0.45, (250, 1400, 2300)),
    "V": Phone(60, 0.3, (260, 1300, 2400), noise=(0.12, 4500, 2500)),
    "Z": Phone(90, 0.25, (260, 1500, 2500), noise=(0.35, 5600, 1200)),
    "S": Phone(110, 0, (300, 1600, 2500), noise=(0.6, 5800, 1100)),
    "F": Phone(100, 0, (300, 1100, 2400), noise=(0.22, 4500, 3000)),
    "TH": Phone(90, 0, (300, 1400, 2500), noise=(0.14, 5000, 2800)),
    "T": Phone(25, 0, (300, 1700, 2600), noise=(0.5, 4300, 1800), closure=50),
    "K": Phone(30, 0, (300, 1700, 2200), noise=(0.5, 2000, 700), closure=50),
}
PAUSE = Phone(0, 0, (500, 1500, 2500))
WORDS = {
    "ZERO": "Z IH R OW",
    "ONE": "W AH N",
    "TWO": "T UW",
    "THREE": "TH R IY",
    "FOUR": "F AO R",
    "FIVE": "F AY V",
    "SIX": "S IH K S",
    "SEVEN": "S EH V AH N",
    "EIGHT": "EY T",
    "NINE": "N AY N",
}


def archives(**_sizes: int) -> list[str]:
    """The archives that `draw` can draw."""
    return [f"{part}.tar.gz" for part in PARTS]


def draw(
    archive: str,
    folder: Path,
    *,
    seed: int,
    speakers: int,
    utterances: int,
    dev_speakers: int,
    dev_utterances: int,
) -> None:
    """Write `folder/archive`: the same bytes for the same seed and sizes, whatever else was drawn.

    Args:
        speakers, utterances: of each of the three training archives, and of each of its speakers.
        dev_speakers, dev_utterances: of dev-clean.
    """
    part = archive.removesuffix(".tar.gz")
    people, each = (dev_speakers, dev_utterances) if part == "dev-clean" else (speakers, utterances)
    number = PARTS.index(part)
    with (
        replacing(folder / archive) as file,
        gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=1, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w:") as tar,
    ):
        add_member(
            tar, "LibriSpeech/README.TXT", b"A miniature of LibriSpeech: synthetic voices that read digits.\n"
        )
        add_member(tar, "LibriSpeech/SPEAKERS.TXT", _speakers(part, number, people))
        for person in range(people):
            rng = np.random.default_rng([seed, number, person])
            voice = _voice(rng, female=person % 2 == 0, noisy="other" in part)
            counts = list(rng.integers(1, 4, size=each))
            if part == PARTS[0] and person == 0:
                counts.append(LONG_WORDS)
            _add_chapter(tar, part, _speaker(number, person), voice, counts, rng)


def _speaker(part: int, person: int) -> int:
    return 1000 * (part + 1) + person


def _speakers(part: str, number: int, people: int) -> bytes:
    rows = [
        f"{_speaker(number, person)} | {'MF'[person % 2 == 0]} | {part} | 0.40 | Synthetic Voice\n"
        for person in range(people)
    ]
    return "".join([";ID  |SEX| SUBSET           |MINUTES| NAME\n", *rows]).encode()


def _add_chapter(
    tar: tarfile.TarFile, part: str, speaker: int, voice: Voice, counts: list[int], rng: np.random.Generator
) -> None:
    """One chapter: its recordings and its transcript, which comes first for every second speaker."""
    chapter = f"{speaker}-{100 * speaker}"
    folder = f"LibriSpeech/{part}/{chapter.replace('-', '/')}"
    texts = [" ".join(rng.choice(list(WORDS), count)) for count in counts]
    transcript = "".join(f"{chapter}-{number:04d} {text}\n" for number, text in enumerate(texts)).encode()
    if speaker % 2:
        add_member(tar, f"{folder}/{chapter}.trans.txt", transcript)
    for number, text in enumerate(texts):
        add_member(tar, f"{folder}/{chapter}-{number:04d}.flac", _flac(_speak(text, voice, rng)))
    if not speaker % 2:
        add_member(tar, f"{folder}/{chapter}.trans.txt", transcript)


# Voices ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Voice:
    """What stays the same in all that a speaker says."""

    pitch: float
    """Hz."""
    formants: float
    """Factor of all resonances: a shorter vocal tract has higher ones."""
    rate: float
    """Factor of all lengths."""
    bandwidth: float
    """Factor of all widths of resonances."""
    tilt: float
    """Hz at which the voice has lost half of its amplitude."""
    gain: float
    snr: float
    """Decibels."""


def _voice(rng: np.random.Generator, *, female: bool, noisy: bool) -> Voice:
    return Voice(
        pitch=rng.uniform(170, 240) if female else rng.uniform(90, 140),
        formants=rng.uniform(1.02, 1.20) if female else rng.uniform(0.88, 1.02),
        rate=rng.uniform(0.85, 1.15),
        bandwidth=rng.uniform(0.8, 1.3),
        tilt=rng.uniform(700, 1500),
        gain=rng.uniform(0.2, 0.7),
        snr=rng.uniform(25, 35) if noisy else rng.uniform(35, 50),
    )


def _speak(text: str, voice: Voice, rng: np.random.Generator) -> np.ndarray:
    """The text in this voice, float32 of shape (samples,)."""
    settings = _settings(text, voice, rng)
    samples = len(settings) * CONTROL
    voiced = _shaped(_pulses(samples, voice.pitch, rng), _vocal_tract(settings[::2], voice))
    hissing = _shaped(rng.standard_normal(samples, dtype=np.float32), _band(settings[::2], voice))
    sound = voiced + hissing
    sound *= voice.gain / np.abs(sound).max()
    noise = np.sqrt(np.mean(sound**2)) * 10 ** (-voice.snr / 20)
    return sound + noise * rng.standard_normal(samples, dtype=np.float32)


def _settings(text: str, voice: Voice, rng: np.random.Generator) -> np.ndarray:
    """The synthesiser's settings, one every 5 ms: voice, three formants, noise's amplitude, centre and width.

    float32 of shape (an even number, 7), smoothed, because no mouth jumps.
    """
    pieces = [_piece(PAUSE, rng.uniform(60, 160))]
    for word in text.split():
        for name in WORDS[word].split():
            phone = PHONES[name]
            stretch = rng.uniform(0.85, 1.15) * voice.rate
            pieces.append(_piece(PAUSE, stretch * phone.closure))
            pieces.append(_piece(phone, stretch * phone.milliseconds))
        pieces.append(_piece(PAUSE, rng.uniform(20, 120)))
    pieces.append(_piece(PAUSE, rng.uniform(20, 100)))
    settings = np.concatenate(pieces)
    settings = np.concatenate([settings, settings[-1:].repeat(len(settings) % 2, axis=0)])
    kernel = np.hanning(9)[1:-1] / np.hanning(9).sum()
    padded = np.pad(settings, ((3, 3), (0, 0)), mode="edge")
    return np.stack([np.convolve(column, kernel, "valid") for column in padded.T], axis=1).astype(np.float32)


def _piece(phone: Phone, milliseconds: float) -> np.ndarray:
    start = np.array([phone.voice, *phone.formants, *phone.noise])
    end = np.array([phone.voice, *(phone.glide or phone.formants), *phone.noise])
    return np.linspace(start, end, round(milliseconds / 5))


def _pulses(samples: int, pitch: float, rng: np.random.Generator) -> np.ndarray:
    """The vocal cords: a 1 for each period; the pitch falls by a fifth and wobbles a little."""
    time = np.arange(samples) / RATE
    wobble = 1 + 0.03 * np.sin(2 * np.pi * (rng.uniform(2, 5) * time + rng.uniform()))
    cycles = np.cumsum(pitch * np.linspace(1.1, 0.9, samples) * wobble / RATE)
    return np.diff(np.floor(cycles), prepend=0).astype(np.float32)


def _vocal_tract(settings: np.ndarray, voice: Voice) -> np.ndarray:
    """The voice's spectrum: four resonances and a tilt; float32 of shape (settings, frequencies)."""
    fourth = np.full((len(settings), 1), 3600, dtype=np.float32)
    centres = np.concatenate([settings[:, 1:4], fourth], axis=1) * np.float32(voice.formants)
    widths = np.array([80, 110, 170, 300]) / 2 * np.array([voice.bandwidth] * 3 + [1])
    spectrum = 12 * settings[:, :1] / (1 + FREQUENCIES / np.float32(voice.tilt))
    for centre, square in zip(centres.T[:, :, None], np.float32(widths**2), strict=True):
        spectrum *= (centre**2 + square) / np.sqrt(
            ((FREQUENCIES - centre) ** 2 + square) * ((FREQUENCIES + centre) ** 2 + square)
        )
    return spectrum


def _band(settings: np.ndarray, voice: Voice) -> np.ndarray:
    """The noise's spectrum: a bell; float32 of shape (settings, frequencies)."""
    amplitude, centre, width = settings.T[4:, :, None]
    centre = centre * np.float32((1 + voice.formants) / 2)
    return amplitude * np.exp(-0.5 * ((FREQUENCIES - centre) / width) ** 2)


def _shaped(source: np.ndarray, spectra: np.ndarray) -> np.ndarray:
    """The source with its spectrum multiplied, every 10 ms by another row; overlapping frames add up."""
    window = np.hanning(WINDOW + 1)[:-1].astype(np.float32) * 2 * HOP / WINDOW  # the frames' sum is about 1
    padded = np.pad(source, WINDOW // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP][: len(spectra)]
    shaped = np.fft.irfft(np.fft.rfft(frames * window) * spectra).astype(np.float32)
    parts = np.pad(shaped, ((0, 3), (0, -WINDOW % HOP))).reshape(len(spectra) + 3, -1, HOP)
    total = sum(np.roll(parts[:, shift], shift, axis=0) for shift in range(parts.shape[1]))
    return total.ravel()[WINDOW // 2 :][: len(source)]


# Files -------------------------------------------------------------------------------------------------


def _flac(sound: np.ndarray) -> bytes:
    import soundfile

    buffer = io.BytesIO()
    samples = np.clip(np.rint(sound * 32767), -32768, 32767).astype(np.int16)
    soundfile.write(buffer, samples, RATE, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()
