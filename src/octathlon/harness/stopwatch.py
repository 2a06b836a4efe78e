"""How long the parts of steps take, on a CPU or on a GPU, which works behind the program's back."""

from __future__ import annotations

import time
from collections import defaultdict

import torch

END = ""
"""The name of what follows a lap, and belongs to none."""


class Stopwatch:
    """Laps of intervals that follow one another without a gap, each named when it begins."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._marks: list[tuple[str, float | torch.cuda.Event]] = []

    def begin(self, name: str) -> None:
        """End the current interval and begin another. Costs a GPU nothing and waits for nothing."""
        self._marks.append((name, self._now()))

    def lap(self) -> None:
        """End the current interval and the lap. Waits for nothing either."""
        self.begin(END)

    def laps(self) -> list[dict[str, float]]:
        """Wait for the device, and return the seconds of each lap's intervals, summed up by name."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        totals: list[dict[str, float]] = [defaultdict(float)]
        for (name, start), (following, stop) in zip(self._marks, self._marks[1:], strict=False):
            if name != END:
                totals[-1][name] += self._seconds(start, stop)
            if following == END:
                totals.append(defaultdict(float))
        self._marks.clear()
        return [dict(each) for each in totals if each]

    def _now(self) -> float | torch.cuda.Event:
        if self._device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _seconds(self, start: float | torch.cuda.Event, stop: float | torch.cuda.Event) -> float:
        return start.elapsed_time(stop) / 1000 if self._device.type == "cuda" else stop - start
