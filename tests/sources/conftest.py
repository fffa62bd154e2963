"""An S3 server on loopback for the tests of downloads, and a person who interrupts them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

BUCKET = "sciml-datasets"


@dataclass(frozen=True)
class S3Server:
    """A running server with one public bucket."""

    url: str
    client: Any

    def put(self, key: str, content: bytes) -> None:
        """Store an object of one part, so that its ETag is its MD5."""
        self.client.put_object(Bucket=BUCKET, Key=key, Body=content, ACL="public-read")


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """Run moto's S3 server on a free port of 127.0.0.1."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    client = boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
    )
    client.create_bucket(Bucket=BUCKET)
    yield S3Server(url, client)
    client.close()
    server.stop()


@pytest.fixture
def loopback_without_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep requests to the tests' own servers away from the proxy of the machine."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def impatient(progress: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give a progress at which somebody presses Ctrl-C after the second item."""

    def interrupt(phase: str, done: int, total: int, note: str = "") -> None:
        if done == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(progress, "step", interrupt)
    return progress
