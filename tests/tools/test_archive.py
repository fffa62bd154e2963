"""Archives from strangers: what leads out of a package, fills a disk, or is broken, is refused before it is written."""

import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from emdenoise.errors import DataError, MissingInputError
from emdenoise.tools.archive import MAX_FILES, extract_archive, write_archive


@pytest.fixture
def honest(tmp_path: Path) -> Path:
    folder = tmp_path / "honest"
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "package.json").write_text("{}")
    (folder / "a" / "b" / "weights.h5").write_bytes(bytes(range(256)) * 40)
    write_archive(folder, tmp_path / "honest.zip")
    return tmp_path / "honest.zip"


def test_what_is_packed_is_unpacked(honest: Path, tmp_path: Path) -> None:
    extract_archive(honest, tmp_path / "out")
    files = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert files == {"package.json", "a/b/weights.h5"}
    assert (tmp_path / "out/a/b/weights.h5").read_bytes() == (tmp_path / "honest/a/b/weights.h5").read_bytes()


def test_equal_files_make_equal_archives(honest: Path, tmp_path: Path) -> None:
    write_archive(tmp_path / "honest", tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == honest.read_bytes()


def add(name: str, content: bytes = b"x", mode: int = 0) -> Callable[[zipfile.ZipFile], None]:
    def write(archive: zipfile.ZipFile) -> None:
        entry = zipfile.ZipInfo("placeholder")
        entry.filename, entry.external_attr, entry.compress_type = name, mode << 16, zipfile.ZIP_DEFLATED
        archive.writestr(entry, content)

    return write


def add_many(archive: zipfile.ZipFile) -> None:
    for number in range(MAX_FILES + 1):
        archive.writestr(f"{number}.txt", "")


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (add("../outside.txt"), "leads out of the package"),
        (add("a/../../outside.txt"), "leads out of the package"),
        (add("/tmp/outside.txt"), "leads out of the package"),
        (add("a\\..\\outside.txt"), "leads out of the package"),
        (add("link", b"/etc/passwd", stat.S_IFLNK | 0o777), "link is a link or a device"),
        (add("pipe", b"", stat.S_IFIFO | 0o666), "pipe is a link or a device"),
        (add("bomb", bytes(20_000_000)), "bomb unpacks to .* times its size"),
        (lambda archive: [add("a.txt")(archive), add("A.txt")(archive)], "A.txt stands twice"),
        (add_many, f"has {MAX_FILES + 2} files, at most {MAX_FILES}"),
    ],
)
def test_what_no_honest_package_has_is_refused_before_anything_is_written(
    write: Callable[[zipfile.ZipFile], None], reason: str, tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("good.txt", "good")
        write(archive)
    with pytest.raises(DataError, match=rf"^bad\.zip: .*{reason}") as caught:
        extract_archive(tmp_path / "bad.zip", tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.zip"]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.99])
def test_an_archive_that_ends_early_is_refused(share: float, honest: Path, tmp_path: Path) -> None:
    content = honest.read_bytes()
    honest.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match=r"honest\.zip: is no whole archive"):
        extract_archive(honest, tmp_path / "out")


def test_an_archive_that_lies_about_a_size_is_refused(honest: Path, tmp_path: Path) -> None:
    content = bytearray(honest.read_bytes())
    place = content.index(b"PK\x01\x02")
    content[place + 24 : place + 28] = struct.pack("<I", 7)
    honest.write_bytes(bytes(content))
    with pytest.raises(DataError, match=r"honest\.zip: is no whole archive"):
        extract_archive(honest, tmp_path / "out")


def test_a_byte_that_changed_is_noticed(honest: Path, tmp_path: Path) -> None:
    content = bytearray(honest.read_bytes())
    content[content.index(b"weights.h5") + 40] ^= 0xFF
    honest.write_bytes(bytes(content))
    with pytest.raises(DataError, match=r"honest\.zip: is no whole archive"):
        extract_archive(honest, tmp_path / "out")


def test_a_package_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"absent\.zip: no such package; give the file that the submit command"):
        extract_archive(tmp_path / "absent.zip", tmp_path / "out")
