"""Batches of JPEGs as they are in their files, for a process whose device decodes them: all of a batch at once.

Workers only read, and draw what is to be seen of each picture, as for batches that they decode. On a CPU the images are
those of `loader.Batches`, to the bit. On a GPU nvJPEG decodes, whose pixels are not exactly libjpeg-turbo's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg

from octathlon.datasets.imagenet.jpegs import is_whole, open_whole, read_header
from octathlon.datasets.imagenet.loader import BatchesOf, Key, Transform, empty_images, unreadable
from octathlon.datasets.imagenet.transforms import View
from octathlon.datasets.photos import photo
from octathlon.errors import OctathlonError

WIDTH, HEIGHT = 500, 375


@dataclass(frozen=True)
class File:
    """An image's file."""

    path: Path
    """of its shard"""
    number: int
    """of the image"""
    size: int
    """bytes"""
    view: View
    common: bool
    """whether any decoder can decode it, see `jpegs.Header`; the others are left to the CPU's"""

    @classmethod
    def of(cls, content: np.ndarray, transform: Transform, epoch: int, number: int, path: Path) -> File:
        """Raises ValueError if it has no JPEG's header."""
        header = read_header(content)
        view = transform.draw(header.height, header.width, epoch, number)
        return cls(path, number, len(content), view, header.common and is_whole(content))


@dataclass(frozen=True)
class Undecoded:
    """N images that become a tensor on their way to a device."""

    files: Sequence[File]
    content: Tensor
    """one file after the other, uint8"""
    transform: Transform

    @classmethod
    def of(
        cls,
        pictures: Iterable[tuple[File, np.ndarray]],
        transform: Transform,
        empty: Callable[..., Tensor] = torch.empty,
    ) -> Undecoded:
        """Of the files' bytes.

        Args:
            empty: makes the tensor for them, called as `torch.empty` is.
        """
        files, contents = zip(*pictures, strict=True)
        together = empty((sum(file.size for file in files),), dtype=torch.uint8)
        np.concatenate(contents, out=together.numpy())
        return cls(files, together, transform)

    def pin_memory(self) -> Undecoded:
        """For DataLoader."""
        return replace(self, content=self.content.pin_memory())

    def to(self, device: torch.device, non_blocking: bool = False) -> Tensor:
        """The images, uint8 of shape (N, 3, size, size), as `loader.Batches` makes them, on a device.

        Raises:
            OctathlonError: if one of them is damaged, or the device can't decode.
        """
        if device.type == "cpu":
            return self._images(device)
        # torchvision lets nvJPEG write at once into memory whose last use the current stream may have yet to come to
        # (pytorch/vision#9606). So it gets memory of another stream, which has done all of its work. Training goes on.
        own, current = _stream(device), torch.cuda.current_stream(device)
        own.synchronize()
        with torch.cuda.stream(own):
            images = self._images(device)
        current.wait_stream(own)
        images.record_stream(current)
        return images

    def _images(self, device: torch.device) -> Tensor:
        images = empty_images(len(self.files), self.transform.size, torch.empty, device=device)
        pictures = self._pictures(device)
        for position, (picture, file) in enumerate(zip(pictures, self.files, strict=True)):
            images[position] = self.transform.apply(picture, file.view)
        return images

    def _pictures(self, device: torch.device) -> list[Tensor]:
        """Decoded: by the device those that its decoder knows, by the CPU the others."""
        contents = self.content.split([file.size for file in self.files])
        known = [content for content, file in zip(contents, self.files, strict=True) if file.common]
        try:
            decoded = iter(decode_jpeg(known, ImageReadMode.RGB, device) if known else [])
        except RuntimeError as error:
            for content, file in zip(contents, self.files, strict=True):
                _decode_alone(content, file)
            reason, _, _ = str(error).partition("\n")  # CUDA adds lines of advice
            raise OctathlonError(
                f"{device} cannot decode a batch of JPEGs ({reason}); set decode_on_device to false"
            ) from error
        return [
            next(decoded) if file.common else _decode_alone(content, file).to(device)
            for content, file in zip(contents, self.files, strict=True)
        ]


def _decode_alone(content: Tensor, file: File) -> Tensor:
    try:
        return open_whole(content.numpy())
    except RuntimeError as error:
        raise unreadable(file.path, file.number, error) from error


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)


Batch = tuple[Undecoded, Tensor]


class UndecodedBatches(BatchesOf[Batch]):
    """Of images that are still files, and labels, int64 of shape (N,)."""

    def __getitem__(self, key: Key) -> Batch:
        epoch, numbers = key
        pictures, labels = zip(*(self._read(epoch, int(number)) for number in numbers), strict=True)
        return Undecoded.of(pictures, self._transform, self._empty), torch.tensor(labels)

    def _read(self, epoch: int, number: int) -> tuple[tuple[File, np.ndarray], int]:
        def described(content: np.ndarray) -> tuple[File, np.ndarray]:
            return File.of(content, self._transform, epoch, number, self._images.path(number)), content

        return self._images.read_file(number, described)


def made_up(count: int, transform: Transform) -> Undecoded:
    """A batch to warm up with: as many times the same photo, of ImageNet's commonest size."""
    content = np.frombuffer(photo(np.random.default_rng(0), WIDTH, HEIGHT), dtype=np.uint8)
    files = (File.of(content, transform, 0, number, Path()) for number in range(count))
    return Undecoded.of(((file, content) for file in files), transform)
