"""How long the parts of a step take, on a CPU or on a GPU, which works behind the program's back."""

from __future__ import annotations

import time
from collections import defaultdict

import torch


class Stopwatch:
    """Intervals that follow one another without a gap, each named when it begins."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._marks: list[tuple[str, float | torch.cuda.Event]] = []

    def begin(self, name: str) -> None:
        """End the current interval and begin another. Costs a GPU nothing and waits for nothing."""
        self._marks.append((name, self._now()))

    def end(self) -> dict[str, float]:
        """End the last interval, wait for the device, and return the seconds of all intervals, summed up by name."""
        self.begin("")
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        totals: dict[str, float] = defaultdict(float)
        for (name, start), (_, stop) in zip(self._marks, self._marks[1:], strict=False):
            totals[name] += self._seconds(start, stop)
        self._marks.clear()
        return dict(totals)

    def _now(self) -> float | torch.cuda.Event:
        if self._device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _seconds(self, start: float | torch.cuda.Event, stop: float | torch.cuda.Event) -> float:
        return start.elapsed_time(stop) / 1000 if self._device.type == "cuda" else stop - start
