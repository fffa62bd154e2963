"""HDF5 on a disk that may be full: its library ends the process where it cannot write, so it is never told."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py


class FullDiskFile(io.FileIO):
    """A file that never refuses HDF5 a write, because HDF5 crashes the process where it cannot write what it keeps.

    The first error is kept in `error`. What comes after it is kept in memory until the file is thrown away, because
    HDF5 also crashes where it does not read what it wrote.
    """

    def __init__(self, path: Path, mode: str) -> None:
        super().__init__(path, mode)
        self.error: OSError | None = None
        self._kept: list[tuple[int, bytes]] = []

    def write(self, data: Any) -> int:
        """Write all of the data, or keep it and the error."""
        view, start, num_done = memoryview(data).cast("B"), self.tell(), 0
        try:
            while self.error is None and num_done < len(view):
                num_done += super().write(view[num_done:])
        except OSError as error:
            self.error = error
        if self.error is not None:
            self._kept.append((start, bytes(view)))
        return len(view)

    def readinto(self, buffer: Any) -> int:
        """Read what was written, as far as it was; after an error zeros where nothing was."""
        view, start = memoryview(buffer).cast("B"), self.tell()
        num_bytes = super().readinto(view) or 0
        if self.error is None:
            return num_bytes
        view[num_bytes:] = bytes(len(view) - num_bytes)
        for place, data in self._kept:
            first, last = max(start, place), min(start + len(view), place + len(data))
            if first < last:
                view[first - start : last - start] = data[first - place : last - place]
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Change the size, or keep the error."""
        try:
            if self.error is None:
                return super().truncate(size)
        except OSError as error:
            self.error = error
        return size or 0

    def check(self) -> None:
        """Raise the error that was kept."""
        if self.error is not None:
            raise self.error


@contextmanager
def create_hdf5(path: Path) -> Iterator[tuple[h5py.File, FullDiskFile]]:
    """Create a file; its `check` may be called at any time, and is called in the end.

    Raises
    ------
    OSError
        If the disk is full.
    """
    with FullDiskFile(path, "w+b") as raw:
        with h5py.File(raw, "w") as file:
            yield file, raw
        raw.check()
