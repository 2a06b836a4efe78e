"""What a device is busy with during a step, by PyTorch's profiler."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

LISTED = 12
NAME = 100
"""Letters of a kernel's name that tell it apart; with its template's arguments it may have a thousand."""


def slowest_kernels(device: torch.device, work: Callable[[], None]) -> dict[str, Any]:
    """Of `work`: kernels launched, seconds that they ran, and the slowest ones with their own.

    On a CPU its operations take the kernels' place.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or it tells the terminal that it begins and ends
    gpu = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if gpu else ProfilerActivity.CPU]) as profiler:
        work()
        if gpu:
            torch.cuda.synchronize(device)
    spent = [
        (each.self_device_time_total if gpu else each.self_cpu_time_total, each.count, each.key)
        for each in profiler.key_averages()
        if not each.is_user_annotation and (each.device_type == DeviceType.CUDA) == gpu
    ]
    slowest = sorted(spent, reverse=True)[:LISTED]
    return {
        "count": sum(count for _, count, _ in spent),
        "busy_s": sum(microseconds for microseconds, _, _ in spent) / 1e6,
        "slowest": [
            {"name": name[:NAME], "count": count, "s": microseconds / 1e6}
            for microseconds, count, name in slowest
        ],
    }
