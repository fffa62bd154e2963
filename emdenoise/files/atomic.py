"""Files that appear whole or not at all, and their hashes."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import yaml

from emdenoise.errors import explain_os_errors

MAX_NAME_BYTES = 255
"""Of a file, on all common file systems."""


def name_partial(path: Path, ending: str = "") -> Path:
    """Name the file beside `path` that holds its content, or with an ending something else, until it is complete.

    Examples
    --------
    >>> name_partial(Path("run/scan.tif")).as_posix(), len(name_partial(Path(251 * "a" + ".tif")).name)
    ('run/.partial-scan.tif', 58)
    """
    name = f".partial-{path.name}{ending}"
    if len(os.fsencode(name)) > MAX_NAME_BYTES:  # the last characters hold the ending, which libraries look at
        name = f".partial-{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}-{name[-32:]}"
    return path.with_name(name)


@contextmanager
def write_atomically(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; after the block the file is moved into place, after an error it is removed.

    Parameters
    ----------
    path : Path
        Where the whole file shall appear; its folder is made if it is absent.

    Yields
    ------
    Path
        Name to write to, in the same folder.

    Raises
    ------
    StorageError
        If the folder cannot be written or the disk is full.
    """
    partial = name_partial(path)
    try:
        with explain_os_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield partial
            with partial.open("rb") as file:
                os.fsync(file.fileno())
            partial.replace(path)
    finally:
        with suppress(OSError):  # it is gone, or its folder is the trouble
            partial.unlink()


@contextmanager
def open_scratch(path: Path) -> Iterator[Path]:
    """Give an empty folder beside `path` for what `path` is made of; it is removed in the end.

    Who calls holds `path`: what lies there is what a call that was killed has left, and is removed, too.

    Raises
    ------
    StorageError
        If the folder cannot be written.
    """
    scratch = name_partial(path, "-parts")
    try:
        with explain_os_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if scratch.is_dir():
                shutil.rmtree(scratch)
            scratch.mkdir()
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write_json(path: Path, content: object) -> None:
    """Write JSON with sorted names, whole or not at all."""
    with write_atomically(path) as partial:
        partial.write_text(json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def write_yaml(path: Path, content: object) -> None:
    """Write YAML with the names in their order, whole or not at all."""
    with write_atomically(path) as partial:
        partial.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def copy_file(source: Path, destination: Path) -> None:
    """Copy a file, whole or not at all."""
    with write_atomically(destination) as partial:
        shutil.copyfile(source, partial)


def hash_file(path: Path) -> str:
    """Compute the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
