"""Speed, trimming, features and SpecAugment against values computed with NVIDIA DALI and against torchaudio."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchaudio.transforms import MelSpectrogram

from octathlon.datasets.librispeech import features
from octathlon.datasets.librispeech.waveforms import change_speed, trim_silence


def tone(frequency: float, samples: int = 16_000) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(samples) / 16_000)).astype(np.float32)


def reference_signal() -> np.ndarray:
    noise = 0.1 * np.random.default_rng(1234).standard_normal(16_000)
    return (noise + 0.3 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)).astype(np.float32)


class TestSpeed:
    @pytest.mark.parametrize(("percent", "samples"), [(85, 13_600), (100, 16_000), (115, 18_400)])
    def test_lengths_and_power(self, percent: int, samples: int) -> None:
        changed = change_speed(tone(1000), percent)
        assert len(changed) == samples
        assert np.sqrt(np.mean(changed[200:-200] ** 2)) == pytest.approx(0.35355, rel=1e-3)

    def test_lengths_are_rounded_up(self) -> None:
        assert [len(change_speed(tone(1000, n), 93)) for n in (100, 101, 107, 108)] == [93, 94, 100, 101]

    @pytest.mark.parametrize(("percent", "frequency"), [(85, 1000 / 0.85), (115, 1000 / 1.15)])
    def test_pitch_moves_with_the_speed(self, percent: int, frequency: float) -> None:
        assert loudest(change_speed(tone(1000), percent)) == pytest.approx(frequency, abs=2)

    def test_what_is_above_the_new_nyquist_frequency_is_folded_back(self) -> None:
        """As in DALI: 7.7 kHz at 13.6 kHz becomes 5.9 kHz with 81 % of its amplitude."""
        changed = change_speed(tone(7700), 85)
        assert loudest(changed) * 13.6 / 16 == pytest.approx(5900, abs=2)
        assert np.sqrt(np.mean(changed[200:-200] ** 2)) / 0.35355 == pytest.approx(0.81, abs=0.005)


def loudest(samples: np.ndarray) -> float:
    """The strongest frequency, in Hz, if played at 16 kHz."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), n=1 << 17))
    return float(spectrum.argmax()) * 16_000 / (1 << 17)


class TestTrim:
    def test_silent_ends_go_but_for_a_window(self) -> None:
        signal = np.zeros(32_000, dtype=np.float32)
        signal[8000:20_000] = 0.3 * np.random.default_rng(5).standard_normal(12_000)
        signal[5952], signal[5953 + 16_094] = 1e-7, 1e-7  # next to what is kept
        trimmed = trim_silence(signal)
        np.testing.assert_array_equal(trimmed, signal[5953 : 5953 + 16_094])

    @pytest.mark.parametrize("samples", [1000, 5000, 16_000])
    def test_noise_is_left_alone(self, samples: int) -> None:
        noise = np.random.default_rng(samples).standard_normal(samples).astype(np.float32)
        np.testing.assert_array_equal(trim_silence(noise), noise)

    def test_nothing_but_zeros_is_left_alone(self) -> None:
        assert len(trim_silence(np.zeros(3000, dtype=np.float32))) == 3000


class TestFeatures:
    """Expected values: NVIDIA DALI 2.4.0 on the same signal."""

    def normalised(self) -> torch.Tensor:
        features_, counts = features.log_mel(features.pack([reference_signal()]), dither=0)
        assert counts.tolist() == [101]
        return features_[0].T

    def test_the_signal_is_that_of_the_expected_values(self) -> None:
        signal = reference_signal()
        assert signal[:4].tolist() == pytest.approx([-0.160384, 0.0579887, 0.175711, 0.163900], abs=1e-6)
        assert np.abs(signal).sum() == pytest.approx(3238.7099, abs=1e-2)

    def test_pre_emphasis(self) -> None:
        signal = features.pack([reference_signal()])
        emphasised = features._mirrored(signal, torch.tensor([0]), 0)[features.HOP :]
        assert emphasised[:4].tolist() == pytest.approx(
            [-0.00481151, 0.213561, 0.119461, -0.00653966], abs=1e-6
        )
        assert emphasised[8000].item() == pytest.approx(-0.0851749, abs=1e-6)
        assert emphasised[:16_000].std().item() == pytest.approx(0.144897, abs=1e-5)

    def test_power_and_mel_spectra(self) -> None:
        signal = features.pack([reference_signal()])
        power = features._spectra(features._mirrored(signal, torch.tensor([0]), 0))[:101].T
        expected = {(0, 0): 0.236760, (10, 20): 0.00247495, (40, 50): 0.0242528, (79, 100): 0.327126}
        for place, value in expected.items():
            assert power[place].item() == pytest.approx(value, rel=1e-4)
        assert (power.mean().item(), power.std().item()) == pytest.approx((2.506522, 3.579029), rel=1e-4)
        mel = features._mel_bank(torch.device("cpu")).T @ power
        expected = {(0, 0): 0.00606016, (0, 50): 7.9005e-5, (10, 20): 0.376480, (79, 100): 0.103387}
        for place, value in expected.items():
            assert mel[place].item() == pytest.approx(value, rel=2e-4)
        assert mel.sum().item() == pytest.approx(427.26071, rel=1e-4)
        assert mel.log().sum().item() == pytest.approx(-35859.816, abs=0.1)

    def test_normalised_features(self) -> None:
        normalised = self.normalised()
        expected = {
            **{(0, 0): 4.40084, (0, 50): 0.693506, (10, 20): 0.644637},
            **{(40, 50): -0.180490, (79, 100): -0.772698},
        }
        for place, value in expected.items():
            assert normalised[place].item() == pytest.approx(value, abs=1e-4)

    def test_three_frames_become_one(self) -> None:
        stacked, lengths = features.stack_frames(self.normalised().T[None], torch.tensor([101]))
        assert stacked.shape == (34, 1, 240) and lengths.tolist() == [34]
        assert stacked[0, 0, ::80].tolist() == pytest.approx([4.40084, 0.167870, -0.445397], abs=1e-4)
        assert stacked[-1, 0, ::80].tolist() == pytest.approx([0.0201, 3.4189, 0], abs=1e-4)
        assert stacked.abs().sum().item() == pytest.approx(6367.514, abs=0.05)

    def test_mel_bank(self) -> None:
        bank = features._mel_bank(torch.device("cpu"))
        sums = bank.sum(0)
        assert sums[[0, 1, 2]].tolist() == pytest.approx([0.0311723] * 3, rel=1e-4)
        assert sums[[40, 79]].tolist() == pytest.approx([0.0321163, 0.0319305], rel=1e-4)
        assert bank.max().item() == pytest.approx(0.0264066, rel=1e-4) and (sums > 0).all()

    def test_frames_of_a_length(self) -> None:
        lengths = torch.tensor([1000, 1599, 1600, 1601, 1760])
        assert features.frames(lengths).tolist() == [7, 10, 11, 11, 12]

    def test_a_batch_of_any_lengths_is_torchaudios_utterance_by_utterance(self) -> None:
        """Also: what lies packed beside an utterance does not touch it."""
        rng = np.random.default_rng(3)
        utterances = [
            rng.standard_normal(n).astype(np.float32) for n in (161, 320, 1599, 1600, 1601, 5003, 399)
        ]
        ours, counts = features.log_mel(features.pack(utterances), dither=0)
        for row, count, utterance in zip(ours, counts, utterances, strict=True):
            torch.testing.assert_close(row[:count], torchaudios(utterance), atol=2e-4, rtol=1e-4)
            assert (row[count:] == 0).all()

    def test_a_constant_feature_becomes_zero(self) -> None:
        ours, _ = features.log_mel(features.pack([np.zeros(1000, dtype=np.float32)]), dither=0)
        assert (ours == 0).all()

    def test_dither_is_noise_of_1e_5(self) -> None:
        torch.manual_seed(1)
        signal = features.pack([np.zeros(160_000, dtype=np.float32)])
        noise = features._mirrored(signal, torch.tensor([0]), features.DITHER)[features.HOP + 1 :]
        assert noise[:159_000].std().item() == pytest.approx(1e-5 * np.sqrt(1 + 0.97**2), rel=0.01)


def torchaudios(utterance: np.ndarray) -> torch.Tensor:
    """The same features by torchaudio's own classes, of shape (frames, 80). Reflection needs 256 samples there."""

    def hann(size: int) -> torch.Tensor:
        return 0.5 * (1 - torch.cos(2 * torch.pi * (torch.arange(size) + 0.5) / size))

    samples = torch.from_numpy(utterance)
    emphasised = torch.cat([0.03 * samples[:1], samples[1:] - 0.97 * samples[:-1]])
    options = {"n_mels": 80, "norm": "slaney", "mel_scale": "slaney", "center": False}
    transform = MelSpectrogram(16_000, n_fft=512, win_length=320, hop_length=160, window_fn=hann, **options)
    padded = torch.nn.functional.pad(emphasised[None], (160, 160), mode="reflect")
    log = transform(torch.nn.functional.pad(padded, (96, 96)))[0].clamp(min=1e-20).log().T
    return (log - log.mean(0)) / log.std(0, correction=0)


class TestSpecAugment:
    @pytest.mark.parametrize(("frames", "widest", "share"), [(1230, 37, 0.141), (150, 4, 0.125)])
    def test_masked_share_of_time(self, frames: int, widest: int, share: float) -> None:
        torch.manual_seed(1)
        masked = features._bands(torch.rand(1500, 10), torch.rand(1500, 10), widest, frames)
        assert masked.double().mean().item() == pytest.approx(share, abs=0.004)

    def test_masked_shares(self) -> None:
        torch.manual_seed(1)
        masked = masks(150, 150, 1500)
        assert masked.all(1).double().mean().item() == pytest.approx(0.233, abs=0.01)
        assert masked.all(2).double().mean().item() == pytest.approx(0.125, abs=0.004)
        assert masked.double().mean().item() == pytest.approx(0.326, abs=0.01)

    def test_widths(self) -> None:
        """At most two bands of 20 features; at most ten of 3 % of the own frames, both ends of the range reached."""
        torch.manual_seed(2)
        masked = masks(150, 150, 1500)
        assert 36 <= masked.all(1).sum(1).max() <= 40
        one_time_mask = torch.zeros(500, features.DRAWS)
        one_time_mask[:, 4] = torch.rand(500)
        ones = torch.ones(500, 150, 80)
        rows = features.spec_augment(ones, torch.full((500,), 150), one_time_mask)[:, :, 0] == 0
        assert set(rows.sum(1).tolist()) == {0, 1, 2, 3, 4}  # round(0.03 * 150), half to even

    def test_places_of_time_masks_are_on_the_padded_length(self) -> None:
        torch.manual_seed(3)
        masked = masks(own=100, padded=400, count=500).all(2)
        assert masked[:, 100:].any()
        assert masked.double().mean(0)[10:390].std().item() < 0.02
        assert (masked.sum(1) <= 30).all()  # ten masks of at most round(0.03 * 100)


def masks(own: int, padded: int, count: int) -> torch.Tensor:
    """Where `count` utterances are masked, bool of shape (count, padded, 80)."""
    ones = torch.ones(count, padded, 80)
    draws = torch.rand(count, features.DRAWS)
    return features.spec_augment(ones, torch.full((count,), own), draws) == 0
