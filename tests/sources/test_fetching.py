"""Downloads against servers that cut, stall, lie, or do not know ranges."""

import fcntl
import gzip
import hashlib
import json
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from emdenoise.errors import DataError, DownloadError, SettingsError, StorageError
from emdenoise.files.locks import LOCK_FILE
from emdenoise.progress import SilentProgress
from emdenoise.sources import fetching
from emdenoise.sources.fetching import Location, fetch_files, find_locations

pytestmark = pytest.mark.usefixtures("loopback_without_proxy")

CONTENT = bytes(range(256)) * 2048
"""512 KiB; the tests read blocks of 64 KiB."""
CUT_AFTER = 2 * 2**16 + 30_000
"""In the third block."""
GRACE_S = 0.15
"""Pause before a connection ends; aiohttp drops what it holds when the end comes before the reader."""
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NAME = "train/images.h5"
PREFIX = "sciml-datasets/test"


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(fetching, "BLOCK_BYTES", 2**16)


@pytest.fixture
def stored(s3_server):
    """Base URL of the server that holds the file."""
    s3_server.put(f"test/{NAME}", CONTENT)
    return s3_server.url


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Run an HTTP server with a given handler; give its URL."""
    servers = []

    def start(handler) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


class CuttingProxy:
    """Passes bytes on to a server, and cuts the connection whenever it has carried so many bytes back."""

    def __init__(self, target: str, cut_after: int, num_cuts: int) -> None:
        host, port = target.removeprefix("http://").split(":")
        self.target, self.cut_after, self.num_cuts = (host, int(port)), cut_after, num_cuts
        self.requests, self.num_carried = b"", 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(self.target)
            threading.Thread(target=self.carry_requests, args=(client, server), daemon=True).start()
            threading.Thread(target=self.carry_answers, args=(server, client), daemon=True).start()

    def carry_requests(self, client: socket.socket, server: socket.socket) -> None:
        try:
            while data := client.recv(2**16):
                self.requests += data
                server.sendall(data)
        except OSError:
            pass

    def carry_answers(self, server: socket.socket, client: socket.socket) -> None:
        with server, client:
            try:
                while data := server.recv(2**12):
                    self.num_carried += len(data)
                    client.sendall(data)
                    if self.num_cuts and self.num_carried >= self.cut_after:
                        self.num_cuts -= 1
                        self.num_carried = 0
                        time.sleep(GRACE_S)
                        client.shutdown(socket.SHUT_RDWR)
                        return
            except OSError:
                pass

    @property
    def ranges(self) -> list[int]:
        """First byte of each range that was asked for."""
        return [int(first) for first in re.findall(rb"(?i)range: bytes=(\d+)-", self.requests)]

    def close(self) -> None:
        self.listener.close()


def fetch(folder: Path, *locations: Location, **options) -> dict[str, str]:
    return fetch_files({NAME: None}, locations, folder, SilentProgress(), **options)


def s3(url: str) -> Location:
    return Location(f"s3://{PREFIX}", url)


def web(url: str) -> Location:
    return Location(f"{url}/{PREFIX}")


def hidden_files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob(".*"))


@pytest.mark.parametrize("place", [s3, web])
def test_a_file_arrives_whole_and_its_sha256_is_recorded(place, stored, tmp_path):
    assert fetch(tmp_path / "raw", place(stored)) == {NAME: SHA256}
    assert (tmp_path / "raw" / NAME).read_bytes() == CONTENT
    assert json.loads((tmp_path / "raw/checksums.json").read_text()) == {NAME: SHA256}
    assert hidden_files(tmp_path / "raw") == []


def test_a_second_run_verifies_without_asking_any_server(stored, tmp_path):
    first = fetch(tmp_path, s3(stored))
    written = (tmp_path / NAME).stat().st_mtime_ns
    assert fetch(tmp_path) == first
    assert (tmp_path / NAME).stat().st_mtime_ns == written


@pytest.mark.parametrize("place", [s3, web])
def test_a_cut_connection_is_continued_where_it_broke(place, stored, tmp_path):
    # Time-outs are short in all tests, because the pauses between attempts scale with them.
    with closing(CuttingProxy(stored, cut_after=CUT_AFTER, num_cuts=2)) as proxy:
        assert fetch(tmp_path, place(proxy.url), timeout_s=2) == {NAME: SHA256}
        assert proxy.num_cuts == 0
        starts = [first for first in proxy.ranges if first]
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert starts == sorted(starts)
    # The web server is asked once for each rest; S3 for each block, and for the two blocks that broke once more.
    assert len(starts) == (2 if place is web else 7 + 2)


@pytest.mark.parametrize("place", [s3, web])
def test_a_failed_download_is_continued_by_the_next_run(place, stored, tmp_path):
    with closing(CuttingProxy(stored, cut_after=CUT_AFTER, num_cuts=1)) as proxy:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fetching, "NUM_ATTEMPTS", 1)
            message = rf"^{NAME} cannot be downloaded: .* after [1-9]\d+,\d+ of 524,288 bytes: .* what has arrived\.$"
            with pytest.raises(DownloadError, match=message):
                fetch(tmp_path, place(proxy.url), timeout_s=2)
        assert not (tmp_path / NAME).exists()
        num_arrived = (tmp_path / "train/.images.h5.partial").stat().st_size
        assert 0 < num_arrived < len(CONTENT)
        proxy.requests = b""
        assert fetch(tmp_path, place(proxy.url), timeout_s=2) == {NAME: SHA256}
        assert proxy.ranges[0] == num_arrived
    assert (tmp_path / NAME).read_bytes() == CONTENT


@pytest.mark.parametrize("place", [s3, web])
def test_what_arrived_of_another_version_is_not_continued(place, s3_server, tmp_path):
    with closing(CuttingProxy(s3_server.url, cut_after=CUT_AFTER, num_cuts=1)) as proxy:
        s3_server.put(f"test/{NAME}", CONTENT[::-1])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fetching, "NUM_ATTEMPTS", 1)
            with pytest.raises(DownloadError):
                fetch(tmp_path, place(proxy.url), timeout_s=2)
        s3_server.put(f"test/{NAME}", CONTENT)
        assert fetch(tmp_path, place(proxy.url), timeout_s=2) == {NAME: SHA256}


def test_what_arrived_of_another_version_is_forgotten_even_if_nothing_new_arrives(stored, tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train/.images.h5.partial").write_bytes(b"another version")
    (tmp_path / "train/.images.h5.partial.json").write_text("{}")
    # The answer to the look-up gets through, that to the request for the content does not.
    with closing(CuttingProxy(stored, cut_after=1000, num_cuts=4)) as proxy:
        with pytest.raises(DownloadError):
            fetch(tmp_path, web(proxy.url), timeout_s=0.5)
        proxy.num_cuts = 0
        assert fetch(tmp_path, web(proxy.url), timeout_s=2) == {NAME: SHA256}


@pytest.mark.parametrize("place", [s3, web])
def test_a_whole_partial_file_is_verified_and_not_fetched_again(place, stored, tmp_path):
    def refuse(path, name):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(tmp_path, place(stored), check=refuse)
    with closing(CuttingProxy(stored, cut_after=0, num_cuts=0)) as proxy:
        assert fetch(tmp_path, place(proxy.url), timeout_s=2) == {NAME: SHA256}
        assert b"GET" not in proxy.requests


class ShortAnswer(BaseHTTPRequestHandler):
    """Announces 4000 bytes and sends 1000."""

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "4000")
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        self.wfile.write(bytes(1000))
        self.wfile.flush()
        time.sleep(GRACE_S)

    def log_message(self, *args) -> None:
        pass


def test_a_server_that_sends_less_than_it_announces_is_one_clear_error(serve, tmp_path):
    with pytest.raises(
        DownloadError, match=r"failed after 1,000 of 4,000 bytes: Response payload is not completed.* Check"
    ):
        fetch(tmp_path, web(serve(ShortAnswer)), timeout_s=0.5)
    assert not (tmp_path / NAME).exists()


class ShorterObject(ShortAnswer):
    """Announces 4000 bytes when asked for the size, and later sends a whole answer of 1000."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(bytes(1000))


def test_a_file_shorter_than_announced_is_one_clear_error(serve, tmp_path):
    with pytest.raises(DownloadError, match="sent 1,000 of the 4,000 bytes that it announced"):
        fetch(tmp_path, web(serve(ShorterObject)), timeout_s=0.5)
    assert not (tmp_path / NAME).exists()


class WrongTag(BaseHTTPRequestHandler):
    """An S3 server whose content is not that of the ETag."""

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "4")
        self.send_header("ETag", f'"{"0" * 32}"')
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        self.wfile.write(b"data")

    def log_message(self, *args) -> None:
        pass


def test_content_that_is_not_that_of_its_etag_is_refused(serve, tmp_path):
    with pytest.raises(DownloadError, match="sent content with MD5 8d777f385d3d…, its ETag is 000000000000…"):
        fetch(tmp_path, s3(serve(WrongTag)), timeout_s=0.5)
    assert not (tmp_path / NAME).exists()


def test_the_etag_of_an_object_in_parts_is_not_taken_for_an_md5(s3_server, tmp_path):
    upload = s3_server.client.create_multipart_upload(Bucket="sciml-datasets", Key=f"test/{NAME}", ACL="public-read")
    address = {"Bucket": "sciml-datasets", "Key": f"test/{NAME}", "UploadId": upload["UploadId"]}
    part = s3_server.client.upload_part(**address, PartNumber=1, Body=CONTENT)
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    s3_server.client.complete_multipart_upload(**address, MultipartUpload=parts)
    assert fetch(tmp_path, s3(s3_server.url)) == {NAME: SHA256}


@pytest.mark.parametrize("place", [s3, web])
def test_a_server_that_never_answers_ends_in_an_error_that_names_the_time(place, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(DownloadError, match=r"sent nothing for 0\.2 s when asked for its size"):
            fetch(tmp_path, place(url), timeout_s=0.2)


class Stall(ShortAnswer):
    """Sends a part of the content and then nothing more."""

    def do_GET(self) -> None:
        super().do_GET()
        self.rfile.read(1)


def test_a_server_that_stalls_in_the_middle_ends_in_an_error_that_names_the_time(serve, tmp_path):
    with pytest.raises(DownloadError, match=r"sent nothing for 0\.2 s after 1,000 of 4,000 bytes"):
        fetch(tmp_path, web(serve(Stall)), timeout_s=0.2)


class Compressing(BaseHTTPRequestHandler):
    """Compresses for whoever accepts it."""

    def do_HEAD(self) -> None:
        is_compressed = "gzip" in self.headers.get("Accept-Encoding", "")
        self.body = gzip.compress(CONTENT) if is_compressed else CONTENT
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.body)))
        if is_compressed:
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        self.wfile.write(self.body)
        self.requests_seen.append(self.headers["Accept-Encoding"])

    requests_seen: ClassVar[list[str]] = []

    def log_message(self, *args) -> None:
        pass


def test_a_web_server_is_asked_for_uncompressed_bytes(serve, tmp_path):
    assert fetch(tmp_path, web(serve(Compressing)), timeout_s=0.5) == {NAME: SHA256}
    assert set(Compressing.requests_seen) == {"identity"}


def test_a_server_without_ranges_is_asked_for_all_again(serve, tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "NUM_ATTEMPTS", 2)
    (tmp_path / "site/train").mkdir(parents=True)
    (tmp_path / "site" / NAME).write_bytes(CONTENT)

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args) -> None:
            pass

    url = serve(partial(Quiet, directory=tmp_path / "site"))
    with closing(CuttingProxy(url, cut_after=200_000, num_cuts=1)) as proxy:
        assert fetch(tmp_path / "raw", Location(proxy.url), timeout_s=2) == {NAME: SHA256}
        assert proxy.num_cuts == 0
    assert (tmp_path / "raw" / NAME).read_bytes() == CONTENT


def test_the_next_endpoint_is_asked_if_the_first_does_not_answer(stored, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = f"http://127.0.0.1:{listener.getsockname()[1]}"
    assert fetch(tmp_path, s3(closed), s3(stored), timeout_s=0.5) == {NAME: SHA256}


class Notes(SilentProgress):
    """Remembers what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)


def test_an_endpoint_that_does_not_answer_is_not_asked_for_every_file(stored, s3_server, tmp_path):
    s3_server.put("test/second.h5", b"second")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = f"http://127.0.0.1:{listener.getsockname()[1]}"
    notes = Notes()
    files = {NAME: None, "second.h5": None}
    fetch_files(files, [s3(closed), s3(stored)], tmp_path, notes, timeout_s=0.5)
    assert notes.lines == [
        *(f"{NAME}: attempt {attempt} failed; once more" for attempt in (1, 2, 3)),
        f"{NAME}: SHA-256 {SHA256[:12]}, recorded at first use",
        f"second.h5: SHA-256 {hashlib.sha256(b'second').hexdigest()[:12]}, recorded at first use",
    ]


def test_the_error_of_several_endpoints_names_each(stored, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(DownloadError) as caught:
        fetch_files({"absent.h5": None}, [s3(closed), s3(stored)], tmp_path, SilentProgress(), timeout_s=0.5)
    message = str(caught.value)
    assert f"{closed} (s3://{PREFIX}) failed when asked for its size" in message
    assert f"{stored} (s3://{PREFIX}) has no such file" in message
    assert "\n" not in message


def test_a_name_that_the_web_server_does_not_have_is_said_so(stored, tmp_path):
    with pytest.raises(DownloadError, match=r"absent.h5 cannot be downloaded: .* has no such file"):
        fetch_files({"absent.h5": None}, [web(stored)], tmp_path, SilentProgress(), timeout_s=0.5)


class Denied(BaseHTTPRequestHandler):
    """Lets nobody in."""

    def do_HEAD(self) -> None:
        self.send_error(403)

    do_GET = do_HEAD

    def log_message(self, *args) -> None:
        pass


@pytest.mark.parametrize("place", [s3, web])
def test_a_server_that_lets_nobody_in_is_said_so(place, serve, tmp_path):
    with pytest.raises(DownloadError, match="does not allow to read it"):
        fetch(tmp_path, place(serve(Denied)), timeout_s=0.5)


def test_other_content_than_recorded_is_refused_and_not_put_in_place(stored, s3_server, tmp_path):
    fetch(tmp_path, s3(stored))
    (tmp_path / NAME).unlink()
    s3_server.put(f"test/{NAME}", b"other content")
    message = (
        f"^{NAME} from {stored} .*: SHA-256 is {hashlib.sha256(b'other content').hexdigest()[:12]}…, "
        rf"expected {SHA256[:12]}…; set data\.mirror to .*\.$"
    )
    with pytest.raises(DataError, match=message):
        fetch(tmp_path, s3(stored))
    assert not (tmp_path / NAME).exists()
    assert hidden_files(tmp_path) == []
    assert json.loads((tmp_path / "checksums.json").read_text()) == {NAME: SHA256}


def test_a_published_sha256_is_compared_at_first_use(stored, tmp_path):
    with pytest.raises(DataError, match=f"SHA-256 is {SHA256[:12]}…, expected 000000000000…"):
        fetch_files({NAME: "0" * 64}, [s3(stored)], tmp_path, SilentProgress())


def test_a_file_that_changed_after_its_download_is_refused(stored, tmp_path):
    fetch(tmp_path, s3(stored))
    (tmp_path / NAME).write_bytes(b"damaged")
    message = (
        f"^{NAME}: SHA-256 is {hashlib.sha256(b'damaged').hexdigest()[:12]}…, expected {SHA256[:12]}…; "
        r"delete the file and run the download task again\.$"
    )
    with pytest.raises(DataError, match=message):
        fetch(tmp_path, s3(stored))
    (tmp_path / NAME).unlink()
    assert fetch(tmp_path, s3(stored)) == {NAME: SHA256}


def test_content_that_the_source_refuses_is_neither_kept_nor_recorded(stored, tmp_path):
    def refuse(path, name):
        raise DataError(f"{name}: is an error page.")

    with pytest.raises(DataError, match=f"{NAME} from http.*: is an error page"):
        fetch(tmp_path, web(stored), check=refuse)
    assert not (tmp_path / "checksums.json").exists()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_checksums_that_cannot_be_read_are_refused(tmp_path):
    (tmp_path / "checksums.json").write_text('{"train/images.h5": 17}')
    with pytest.raises(DataError, match=r"checksums\.json is not the list of SHA-256 .*; restore it, or delete"):
        fetch(tmp_path)


@pytest.mark.parametrize("mirror", ["mirror", "{tmp_path}/mirror", "file://{tmp_path}/mirror"])
def test_a_mirror_folder_is_read_like_a_server(mirror, tmp_path):
    (tmp_path / "mirror/train").mkdir(parents=True)
    (tmp_path / "mirror" / NAME).write_bytes(CONTENT)
    locations = find_locations(mirror.format(tmp_path=tmp_path), tmp_path, [s3("http://127.0.0.1:9")])
    assert fetch(tmp_path / "raw", *locations) == {NAME: SHA256}
    assert (tmp_path / "raw" / NAME).read_bytes() == CONTENT


def test_an_absent_mirror_folder_is_a_download_error(tmp_path):
    with pytest.raises(DownloadError, match=r"/nowhere has no such file.*set data.mirror"):
        fetch(tmp_path, *find_locations("nowhere", tmp_path, []))


def test_a_mirror_bucket_has_its_endpoint_in_the_address(stored, tmp_path):
    locations = find_locations(f"s3://{PREFIX}?endpoint={stored}", tmp_path, [])
    assert fetch(tmp_path, *locations) == {NAME: SHA256}


def test_a_mirror_bucket_without_endpoint_is_looked_for_at_the_endpoints_of_the_source(tmp_path):
    own = [Location("s3://own/prefix", "https://a.example"), Location("s3://own/prefix", "https://b.example")]
    expected = [Location("s3://other", "https://a.example"), Location("s3://other", "https://b.example")]
    assert find_locations("s3://other/", tmp_path, own) == expected
    assert find_locations(None, tmp_path, own) == own


@pytest.mark.parametrize(
    "mirror", ["ftp://host/path", "http://", "s3://bucket", "s3://bucket?endpoint=host:9000", "file://host/path"]
)
def test_a_mirror_of_another_kind_is_refused(mirror, tmp_path):
    with pytest.raises(SettingsError, match=rf"data\.mirror is {re.escape(mirror)}; it must be a folder, or a URL"):
        find_locations(mirror, tmp_path, [])


def test_messages_never_show_a_password():
    assert str(Location("https://user:secret@example.org/images")) == "https://example.org/images"


def test_a_target_that_cannot_be_written_is_a_storage_error(stored, tmp_path):
    (tmp_path / "raw").write_text("a file where the folder should be")
    with pytest.raises(
        StorageError, match=r"raw cannot be written: .*; free space or give a folder that you may write"
    ):
        fetch(tmp_path / "raw", s3(stored))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device that is always full")
@pytest.mark.parametrize("place", [s3, web])
def test_a_full_disk_is_a_storage_error(place, stored, tmp_path):
    def replace_partial(path, name):
        path.unlink()
        path.symlink_to("/dev/full")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(tmp_path, place(stored), check=replace_partial)
    with pytest.raises(StorageError, match=r"train/images\.h5 cannot be written: No space left on device; free space"):
        fetch(tmp_path, place(stored))


def test_two_downloads_into_one_folder_exclude_each_other(stored, tmp_path):
    descriptor = os.open(tmp_path / LOCK_FILE, os.O_RDWR | os.O_CREAT)  # as another task holds it
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(StorageError, match="is in use by another task; wait"):
            fetch(tmp_path, s3(stored))
    finally:
        os.close(descriptor)
    assert fetch(tmp_path, s3(stored)) == {NAME: SHA256}
