"""Fetching files from a folder, a web server or an S3 endpoint into the raw data folder.

A file appears whole and verified or not at all. What arrived of a broken download stays in ``.NAME.partial`` and is
continued. SHA-256 are recorded at first use and compared ever after. What the files hold is no concern of this module.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.request import url2pathname

from pydantic import TypeAdapter

from emdenoise.errors import DataError, DownloadError, SettingsError, explain_os_errors
from emdenoise.files.atomic import hash_file, write_json
from emdenoise.files.locks import lock_folder
from emdenoise.progress import Progress

CHECKSUMS = "checksums.json"
"""In the folder of a source: SHA-256 of each file."""
TIMEOUT_S = 30.0
"""Longest wait for a connection, and for the next bytes of an answer."""
NUM_ATTEMPTS = 4
"""Attempts at each location; the first pause between them is 1/60 of the time-out, and each is twice the last."""
BLOCK_BYTES = 2**23
"""Most bytes that are held in memory; on S3 each block is a request of its own."""

Check = Callable[[Path, str], object]
"""``(path, name)``: raises `DataError` if the content is not what the source expects under that name."""


@dataclass(frozen=True)
class Location:
    """A place that holds the files of a source under the names that the source gives them."""

    address: str
    """Folder, ``http://`` or ``https://`` URL, or ``s3://BUCKET/PREFIX``."""
    endpoint: str | None = None
    """URL of the S3 API; only for ``s3://``."""

    @property
    def is_web(self) -> bool:
        """Whether files are read with plain HTTP requests."""
        return self.address.startswith(("http://", "https://"))

    def __str__(self) -> str:
        """Say the place as messages do, without a password."""
        address = re.sub(r"(?<=://)[^/@]*@", "", self.address)
        return f"{self.endpoint} ({address})" if self.endpoint else address


def find_locations(mirror: str | None, raw_dir: Path, own: Sequence[Location]) -> list[Location]:
    """Find where to fetch a source from: the mirror alone where one is set, else the source's own locations.

    Parameters
    ----------
    mirror : str or None
        The setting `data.mirror`: a folder (relative to `raw_dir`), a ``file://``, ``http://`` or ``https://`` URL, or
        ``s3://BUCKET/PREFIX?endpoint=URL``; without an endpoint the source's own ones are asked for that bucket.
    raw_dir : Path
    own : sequence of Location
        In the order in which they are tried.

    Raises
    ------
    SettingsError
        If `mirror` is another kind of address.

    Examples
    --------
    >>> find_locations("https://example.org/images/", Path("raw"), [])
    [Location(address='https://example.org/images', endpoint=None)]
    """
    if mirror is None:
        return list(own)
    if "://" not in mirror:
        return [Location(str(raw_dir / Path(mirror).expanduser()))]
    if re.fullmatch(r"https?://[^/\s]+\S*", mirror):
        return [Location(mirror.rstrip("/"))]
    if mirror.startswith("file:///"):
        return [Location(url2pathname(mirror.removeprefix("file://")))]
    bucket = re.fullmatch(r"(s3://[^/?\s]+[^?\s]*)(?:\?endpoint=(https?://\S+))?", mirror)
    endpoints = [bucket[2]] if bucket and bucket[2] else [place.endpoint for place in own if place.endpoint]
    if bucket and endpoints:
        return [Location(bucket[1].rstrip("/"), endpoint) for endpoint in endpoints]
    raise SettingsError(
        f"data.mirror is {mirror}; it must be a folder, or a URL like file:///FOLDER, http://HOST/PATH, "
        "https://HOST/PATH or s3://BUCKET/PREFIX?endpoint=https://HOST."
    )


def fetch_files(
    files: Mapping[str, str | None],
    locations: Sequence[Location],
    folder: Path,
    progress: Progress,
    *,
    check: Check = lambda path, name: None,
    timeout_s: float = TIMEOUT_S,
) -> dict[str, str]:
    """Put files into a folder, complete and verified; files that are there already are verified only.

    Parameters
    ----------
    files : mapping of str to str or None
        Name of each file below the locations and below `folder`, and its SHA-256 where upstream publishes one.
    locations : sequence of Location
        Tried in this order; the one that gave a file is asked first for the next.
    folder : Path
        The source's folder; made if it is absent.
    progress : Progress
    check : callable
        Looks at the content before its SHA-256 is recorded for the first time.
    timeout_s : float
        See `TIMEOUT_S`.

    Returns
    -------
    dict of str to str
        SHA-256 of each file by its name.

    Raises
    ------
    DownloadError
        If no location gives the whole file.
    DataError
        If a file is not what was published or recorded, or does not pass `check`.
    StorageError
        If the folder cannot be written, is full, or is in use by another task.
    """
    again = "delete the file and run the download task again"
    with lock_folder(folder, is_written=True):
        recorded = read_checksums(
            folder,
            problem=" is not the list of SHA-256 that the download task wrote; "
            f"restore it, or delete {folder.name} and run the download task again.",
        )
        for name, published in files.items():
            partial, expected = _Partial(folder, name), published or recorded.get(name)
            is_there = partial.final.exists()
            if is_there:
                digest = _verify(partial.final, name, expected, check, again)
            else:
                used = _fetch(partial, locations, progress, timeout_s)
                locations = [used, *(place for place in locations if place != used)]
                digest = _verify_arrived(partial, used, expected, check)
            if recorded.get(name) != digest:
                recorded[name] = digest
                write_json(folder / CHECKSUMS, recorded)
            if not is_there:
                partial.move_into_place()
            progress.say(f"{name}: SHA-256 {digest[:12]}, {'as expected' if expected else 'recorded at first use'}")
    return {name: recorded[name] for name in files}


def _verify(path: Path, name: str, expected: str | None, check: Check, remedy: str) -> str:
    digest = hash_file(path)
    if expected is None:
        check(path, name)
    elif digest != expected:
        raise DataError(f"{name}: SHA-256 is {digest[:12]}…, expected {expected[:12]}…; {remedy}.")
    return digest


def _verify_arrived(partial: "_Partial", place: Location, expected: str | None, check: Check) -> str:
    remedy = f"set data.mirror to a place with the expected file, or delete {CHECKSUMS} to accept other content"
    try:
        return _verify(partial.path, f"{partial.name} from {place}", expected, check, remedy)
    except DataError:
        partial.discard()
        raise


def read_checksums(folder: Path, *, problem: str) -> dict[str, str]:
    """Read the SHA-256 that are recorded for the files of a folder, by name; empty where none are.

    Raises
    ------
    DataError
        With `problem` after the name, if the list is damaged.
    """
    path = folder / CHECKSUMS
    try:
        return TypeAdapter(dict[str, str]).validate_json(path.read_bytes()) if path.exists() else {}
    except ValueError as error:
        raise DataError(f"{folder.name}/{CHECKSUMS}{problem}") from error


@dataclass(frozen=True)
class _Version:
    """What a location says of a file: size [bytes], a tag that changes with the content, the MD5."""

    size: int | None
    tag: str | None
    md5: str | None


class _Partial:
    """What has arrived of a file, and beside it which version of the file that is."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name, self.final = name, folder / name
        self.path = self.final.with_name(f".{self.final.name}.partial")
        self.version_path = self.final.with_name(f".{self.final.name}.partial.json")

    def begin(self, version: _Version) -> int:
        """Make ready to continue this version, or to begin anew; give the number of bytes that are there."""
        wanted = json.dumps(asdict(version))
        with explain_os_errors(self.final):
            self.final.parent.mkdir(parents=True, exist_ok=True)
            is_same = version.tag and self.version_path.exists() and self.version_path.read_text() == wanted
            if not is_same:
                self.path.unlink(missing_ok=True)
                self.version_path.write_text(wanted)
            num_bytes = self.path.stat().st_size if self.path.exists() else 0
        return num_bytes if num_bytes <= (version.size or 0) else 0

    def write(self, offset: int, blocks: Iterator[bytes], show: Callable[[int], None]) -> int:
        """Write what follows the first `offset` bytes; give the number of bytes that are there."""
        with explain_os_errors(self.final), self.path.open("r+b" if offset else "wb") as file:
            file.seek(offset)
            for block in blocks:
                file.write(block)
                if file.tell() >= offset + BLOCK_BYTES:
                    offset = file.tell()
                    show(offset)
            file.flush()
            os.fsync(file.fileno())
            return file.tell()

    def compute_md5(self) -> str:
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()

    def discard(self) -> None:
        """Forget what has arrived."""
        with explain_os_errors(self.final):
            self.path.unlink(missing_ok=True)
            self.version_path.unlink(missing_ok=True)

    def move_into_place(self) -> None:
        """Give the file its name, once it is verified."""
        with explain_os_errors(self.final):
            self.path.replace(self.final)
            self.version_path.unlink(missing_ok=True)


class _TransientError(DownloadError):
    """May be over at the next attempt."""


def _fetch(partial: _Partial, locations: Sequence[Location], progress: Progress, timeout_s: float) -> Location:
    """Complete the partial file from the first location that can, and say which one that was."""
    from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

    retrying = Retrying(
        retry=retry_if_exception_type(_TransientError),
        stop=stop_after_attempt(NUM_ATTEMPTS),
        wait=wait_exponential(multiplier=timeout_s / 60),
        before_sleep=lambda state: progress.say(f"{partial.name}: attempt {state.attempt_number} failed; once more"),
        reraise=True,
    )
    problems = []
    for place in locations:
        try:
            retrying(_continue, partial, _Remote(place, partial.name, timeout_s), progress)
        except DownloadError as error:
            problems.append(str(error))
        else:
            return place
    raise DownloadError(
        f"{partial.name} cannot be downloaded: {'; '.join(problems)}. Check the network or set data.mirror to a folder "
        "or URL that has the file, and run the download task again: it continues what has arrived."
    )


def _continue(partial: _Partial, remote: "_Remote", progress: Progress) -> None:
    """Fetch what is missing of a file, and check size and MD5 against what the location announced."""
    version = remote.look_up()
    num_bytes = partial.begin(version)

    def show(done: int) -> None:
        progress.step(f"download {partial.name}", done, version.size or done, f"{done / 2**20:.0f} MiB")

    if num_bytes == 0 or num_bytes != version.size:
        with remote.read_from(num_bytes, version.size) as (offset, blocks):
            num_bytes = partial.write(offset, blocks, show)
    if version.size not in (None, num_bytes):
        raise _TransientError(f"{remote.place} sent {num_bytes:,} of the {version.size:,} bytes that it announced")
    if version.md5 and (digest := partial.compute_md5()) != version.md5:
        partial.discard()
        raise _TransientError(f"{remote.place} sent content with MD5 {digest[:12]}…, its ETag is {version.md5[:12]}…")


class _Remote:
    """One file at one location, read through fsspec; whatever goes wrong there becomes a `DownloadError`."""

    def __init__(self, place: Location, name: str, timeout_s: float) -> None:
        self.place, self.timeout_s = place, timeout_s
        self.address = f"{place.address.rstrip('/')}/{name}"

    def look_up(self) -> _Version:
        """Ask for size and version."""
        with self._errors("when asked for its size"):
            info = self._connect().info(self.address)
            if info["type"] == "directory":
                raise IsADirectoryError(self.address)
        tag = info.get("ETag") or info.get("Last-Modified") or info.get("mtime")
        # Only S3 promises an MD5, and only of objects that were not uploaded in parts ("…-12").
        md5 = re.fullmatch(r'"?([0-9a-f]{32})"?', str(tag)) if self.place.endpoint else None
        return _Version(info["size"], str(tag) if tag else None, md5[1] if md5 else None)

    @contextmanager
    def read_from(self, offset: int, size: int | None) -> Iterator[tuple[int, Iterator[bytes]]]:
        """Open the file; give the offset where it really begins (0 if a web server sends no ranges) and its blocks."""
        with self._errors(f"when asked for byte {offset:,}"):
            if self.place.is_web:
                # One request for all that is missing, not compressed, so that the announced size is the size.
                headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={offset}-"} if offset else {})
                stream = self._connect().open(self.address, block_size=0, size=1, headers=headers)
                offset = offset if stream.r.status == 206 else 0
            else:
                stream = self._connect().open(self.address, block_size=BLOCK_BYTES, cache_type="none")
                stream.seek(offset)
        with closing(stream):
            yield offset, self._read_blocks(stream, offset, "?" if size is None else f"{size:,}")

    def _read_blocks(self, stream: Any, num_bytes: int, size: str) -> Iterator[bytes]:
        while True:
            with self._errors(f"after {num_bytes:,} of {size} bytes"):
                block: bytes = stream.read(BLOCK_BYTES)
            if not block:
                return
            num_bytes += len(block)
            yield block

    def _connect(self) -> Any:
        import fsspec  # with aiohttp and botocore most of a second, which only a download shall take
        from aiohttp import ClientTimeout

        if self.place.is_web:
            timeout = ClientTimeout(total=None, connect=self.timeout_s, sock_read=self.timeout_s)
            # trust_env: many clusters reach the group only through the proxy that their system names.
            return fsspec.filesystem("https", client_kwargs={"timeout": timeout, "trust_env": True})
        if not self.place.endpoint:
            return fsspec.filesystem("file")
        timeouts = {"connect_timeout": self.timeout_s, "read_timeout": self.timeout_s}
        settings = timeouts | {"retries": {"total_max_attempts": 1}, "s3": {"addressing_style": "path"}}
        system = fsspec.filesystem("s3", anon=True, endpoint_url=self.place.endpoint, config_kwargs=settings)
        system.retries = 1  # _fetch repeats; attempts of attempts would take very long
        return system

    @contextmanager
    def _errors(self, when: str) -> Iterator[None]:
        from aiohttp import ClientError as WebError
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (OSError, ValueError, WebError, BotoCoreError, ClientError) as error:
            # fsspec reports any failure of a look-up on the web as "not found", with the true one as its cause.
            cause = error.__cause__ if self.place.is_web and isinstance(error, FileNotFoundError) else None
            raise self._explain(cause or error, when) from error

    def _explain(self, error: BaseException, when: str) -> DownloadError:
        status = getattr(error, "status", None)
        if isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError) or status in (404, 410):
            return DownloadError(f"{self.place} has no such file")
        if isinstance(error, PermissionError) or status in (401, 403):
            return DownloadError(f"{self.place} does not allow to read it")
        if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
            return _TransientError(f"{self.place} sent nothing for {self.timeout_s:g} s {when}")
        reason = re.sub(r": <.*>|\s+", " ", str(error)).strip()
        return _TransientError(f"{self.place} failed {when}: {reason or type(error).__name__}")
