"""Packages from strangers: an archive is opened without trusting a name, a size or a link in it."""

import re
import stat
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from emdenoise.errors import DataError, MissingInputError, explain_os_errors
from emdenoise.files.atomic import write_atomically

MAX_FILES = 1000
MAX_BYTES = 2**30
MAX_RATIO = 200
"""Largest size of a file after and before compression; weights and records shrink to a tenth at best."""
HONEST_NAME = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]{0,200}/){0,9}[A-Za-z0-9_][A-Za-z0-9_.-]{0,200}/?", re.ASCII)
"""Of a file or folder: one way to write it, and no longer than any disk takes."""
BLOCK_BYTES = 2**20


def write_archive(folder: Path, path: Path) -> None:
    """Pack all files of a folder, in order of their names and without times, so that equal content is an equal archive.

    Raises
    ------
    StorageError
        If the archive cannot be written.
    """
    with write_atomically(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(file for file in folder.rglob("*") if file.is_file()):
            entry = zipfile.ZipInfo(file.relative_to(folder).as_posix())
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, file.read_bytes())


def extract_archive(path: Path, folder: Path) -> None:
    """Unpack an archive into an empty folder.

    Parameters
    ----------
    path : Path
        A zip file.
    folder : Path

    Raises
    ------
    MissingInputError
        If there is no such file.
    DataError
        If it is no archive, or has links, paths that lead out of it, names that stand twice, encrypted files, or more
        or larger files than any honest package.
    StorageError
        If the folder cannot be written.
    """
    if not path.is_file():
        raise MissingInputError(f"{path.name}: no such package; give the file that the submit command wrote.")
    if (num_bytes := path.stat().st_size) > MAX_BYTES:
        raise DataError(f"{path.name}: has {num_bytes:,} bytes; a package has at most {MAX_BYTES:,}.")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            _check_entries(path.name, entries)
            for entry in entries:
                if not entry.is_dir():
                    _extract(archive, entry, folder / entry.filename)
    except (zipfile.BadZipFile, zlib.error, struct.error, NotImplementedError, EOFError, ValueError) as error:
        raise DataError(f"{path.name}: is no whole archive: {error}; pack it again by the submit command.") from error


def _check_entries(archive_name: str, entries: list[zipfile.ZipInfo]) -> None:
    def refuse(problem: str) -> DataError:
        return DataError(f"{archive_name}: {problem}; expected what the submit command writes.")

    if len(entries) > MAX_FILES:
        raise refuse(f"has {len(entries)} files, at most {MAX_FILES} are allowed")
    for entry in entries:
        if not HONEST_NAME.fullmatch(entry.orig_filename):
            raise refuse(
                f"the path {entry.orig_filename[:80]!r} leads out of the package, or is none that a package has"
            )
    seen: set[str] = set()
    folders = {str(parent).lower() for entry in entries for parent in PurePosixPath(entry.filename).parents}
    for entry in entries:
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise refuse(f"{entry.filename} is a link or a device")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise refuse(f"{entry.filename} is compressed in another way")
        if entry.flag_bits & 1:
            raise refuse(f"{entry.filename} is encrypted")
        name = entry.filename.lower().rstrip("/")
        if name in seen or (name in folders and not entry.is_dir()):
            raise refuse(f"{entry.filename} stands twice, or is a file and a folder")
        seen.add(name)
        if entry.file_size > MAX_RATIO * max(entry.compress_size, 1024):
            raise refuse(
                f"{entry.filename} unpacks to {entry.file_size / max(entry.compress_size, 1):,.0f} times its size"
            )
    if (total := sum(entry.file_size for entry in entries)) > MAX_BYTES:
        raise refuse(f"unpacks to {total:,} bytes, at most {MAX_BYTES:,} are allowed")


def _extract(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path) -> None:
    """Unpack one file, no further than the size that the archive announces."""
    remaining = entry.file_size
    with explain_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(entry) as source, path.open("xb") as destination:
            while block := source.read(BLOCK_BYTES):
                remaining -= len(block)
                if remaining < 0:
                    raise zipfile.BadZipFile(f"{entry.filename} is larger than the archive says")
                destination.write(block)
