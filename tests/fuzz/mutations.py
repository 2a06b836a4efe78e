"""Damage done to valid files, and how a reader has to take it: with a value or a sentence, within bounds."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Sequence

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from octathlon.errors import OctathlonError

SECONDS = float(os.environ.get("FUZZ_SECONDS", "0"))
"""For each reader; `make fuzz` gives them a minute, `make test` one round of examples."""
EXAMPLES = 40 if SECONDS == 0 else 500
CPU_SECONDS, MEMORY = 10, 512 << 20
"""What no input may exceed; bytes of memory in all."""

TELLING = [
    b"\0",
    b"\xff",
    b"\x7f\xff\xff\xff",
    b"\x80",
    b"-1",
    b"1e309",
    b"NaN",
    b"null",
    b"[",
    b"{",
    b"<",
    b'"',
    b"\n",
]
TELLING += [bytes(8), b"\xff" * 8, b"9" * 30, b"../", b"\t", b"\\", "\N{SNOWMAN}".encode()]


@st.composite
def damaged(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    """A valid file with up to six cuts, repetitions, overwritten and inserted places; or no such file at all."""
    content = draw(st.sampled_from(seeds) | st.binary(max_size=200))
    for _ in range(draw(st.integers(0, 6))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.sampled_from([0, 1, 2, 4, 8, 64, 1000])))
        part = draw(st.sampled_from([*TELLING, content[start:end] * 3, b""]) | st.binary(max_size=16))
        content = content[:start] + part + content[end:]
    return content[: draw(st.integers(0, len(content)))] if draw(st.integers(0, 9)) == 0 else content


def fuzz(read: Callable[[bytes], object], seeds: Sequence[bytes], hostile: Sequence[bytes] = ()) -> None:
    """Give a reader damaged files: it returns or raises an OctathlonError, in time and memory.

    Args:
        seeds: valid ones, which it reads.
        hostile: what was once too much for a reader; read as it is, and damaged further.

    Raises:
        AssertionError: naming the bound that was broken.
    """
    for seed in seeds:
        read(seed)  # what is valid is read

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(damaged([*seeds, *hostile]))
    def check(content: bytes) -> None:
        began, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            read(content)
        except OctathlonError as error:
            assert str(error).strip()
        assert time.process_time() - began < CPU_SECONDS, "too slow"
        assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10 < MEMORY, "too large"

    for content in hostile:
        check = example(content)(check)
    end = time.monotonic() + SECONDS
    check()
    while time.monotonic() < end:
        check()
