"""JPEGs that are decoded in a rectangle alone: the mean random crop has a third of its picture's pixels.

nvImageCodec does so on the CPU, by libjpeg-turbo as torchvision, and its pixels are torchvision's. It is a wheel of its
own: without it, and for the few files that it declines, torchvision decodes the whole picture.
"""

from __future__ import annotations

import os
import struct
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg

from octathlon.errors import OctathlonError

Cut = tuple[slice, slice, slice]
"""Channels, rows and columns; all channels, and both ends of the others given."""
END = b"\xff\xd9"
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
"""Markers of the segments that begin with a picture's bits, height, width and number of channels."""
ALONE = {0x00, 0x01, *range(0xD0, 0xDA), 0xFF}
"""What follows 0xFF and has no segment."""


class Jpeg:
    """Is cut like a uint8 tensor of shape (3, height, width), and decodes the cut."""

    def __init__(self, codec: _Codec, content: np.ndarray) -> None:
        """Raises RuntimeError if nvImageCodec cannot read the picture's size."""
        self._codec = codec
        self._content = content
        self._stream = codec.library.CodeStream(content)
        self.shape = (3, self._stream.height, self._stream.width)

    def __getitem__(self, cut: Cut) -> Tensor:
        """Raises RuntimeError if the picture is damaged."""
        pixels = self._codec.decode(self._stream, cut)
        return open_whole(self._content)[cut] if pixels is None else pixels


class Header(NamedTuple):
    """What a file says of its picture."""

    height: int
    width: int
    common: bool
    """8 bits, in grey or in the usual colours, by Huffman's codes: what decoders other than libjpeg know, too"""


COLOURS = {bytes((luma, 0x11, 0x11)) for luma in (0x11, 0x12, 0x21, 0x22, 0x41, 0x42)}
"""Sampling factors, horizontal and vertical, of brightness and of both colours."""


def read_header(content: np.ndarray) -> Header:
    """Without decoding anything.

    Raises:
        ValueError: if the size isn't found.
    """
    data = content.tobytes()
    place = data.find(b"\xff", 2)
    while 0 <= place < len(data) - 20:
        marker, length = struct.unpack_from(">xBH", data, place)
        if marker in FRAMES:
            bits, height, width, channels = struct.unpack_from(">BHHB", data, place + 4)
            factors = data[place + 11 : place + 10 + 3 * channels : 3]
            usual = channels == 1 or factors in COLOURS
            return Header(height, width, marker <= 0xC2 and bits == 8 and usual)
        place = data.find(b"\xff", place + 1 if marker in ALONE else place + 2 + length)
    raise ValueError("no JPEG, or without a size")


def is_whole(content: np.ndarray) -> bool:
    """What has no end may lack any part of the picture, which a decoder that stops early does not notice."""
    return content[-2:].tobytes() == END


def open_jpeg(content: np.ndarray) -> Jpeg | Tensor:
    """The picture in a file's bytes: as a Jpeg, or decoded where only torchvision can.

    Raises:
        RuntimeError: if it is damaged.
        OctathlonError: if nvImageCodec is installed and does not work.
    """
    codec = _codec(os.getpid())
    if codec is None or not is_whole(content):
        return open_whole(content)
    try:
        return Jpeg(codec, content)
    except RuntimeError:
        return open_whole(content)


def open_whole(content: np.ndarray) -> Tensor:
    """The picture as torchvision decodes it: uint8 of shape (3, height, width)."""
    return decode_jpeg(torch.from_numpy(content), mode=ImageReadMode.RGB)


class _Codec:
    """nvImageCodec's decoder without a GPU, in this thread.

    With these arguments 0.9 never loads the CUDA driver, which a forked worker may not use; 0.8 did for its buffers.
    """

    def __init__(self) -> None:
        from nvidia import nvimgcodec as library

        self.library = library
        self._as_stored = library.DecodeParams(apply_exif_orientation=False)
        self._decoder = library.Decoder(
            device_id=library.NVIMGCODEC_DEVICE_CPU_ONLY,
            max_num_cpu_threads=1,
            backends=[library.Backend(library.BackendKind.CPU_ONLY)],
        )

    def decode(self, stream: Any, cut: Cut) -> Tensor | None:
        """None if it cannot, or if its pixels would not be torchvision's: so is the colour of a single column."""
        _, rows, columns = cut
        if columns.stop - columns.start == 1:
            return None
        region = self.library.Region(rows.start, columns.start, rows.stop, columns.stop)
        pixels = self._decoder.decode(stream.get_sub_code_stream(region=region), params=self._as_stored)
        # np.asarray would take another way in, which leaks 32 bytes a picture
        return None if pixels is None else torch.from_numpy(pixels.__array__()).permute(2, 0, 1)


@cache
def _codec(_process: int) -> _Codec | None:
    """A process's own, as threads don't outlive a fork; None where the wheel is not installed.

    The library loads all of the wheel's plug-ins, and says on stderr of each that it finds no GPU's libraries. So it is
    shown the only one that decodes here; it has no other way to decline them.
    """
    if not (find_spec("nvidia") and (found := find_spec("nvidia.nvimgcodec"))):
        return None
    plugins = [*Path(str(found.origin)).parent.glob("extensions/libjpeg_turbo_ext.so*")]
    try:
        with TemporaryDirectory() as folder:
            for plugin in plugins:
                Path(folder, plugin.name).symlink_to(plugin)
            os.environ |= {"NVIMGCODEC_EXTENSIONS_PATH": folder, "PYNVIMGCODEC_VERBOSITY": "0"}
            return _Codec()
    except (ImportError, OSError, RuntimeError) as error:
        raise OctathlonError(
            f"nvidia-nvimgcodec-cu13 does not work ({error}); mend that, or install the version of "
            "envs/requirements.lock"
        ) from error
