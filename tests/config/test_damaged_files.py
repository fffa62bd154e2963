"""A damaged parameters file is one line, whatever the damage: never a traceback, a hang, or memory without end."""

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from emdenoise.config.loading import load_config
from emdenoise.config.schema import RunConfig
from emdenoise.errors import EMDenoiseError, SettingsError

pytestmark = pytest.mark.long

DEFAULT = (Path(__file__).parents[2] / "workspace" / "parameters" / "default.parameters.yaml").read_bytes()
TOKENS = [
    *(b": ", b"- ", b"\n", b"  ", b"\t", b"[", b"]", b"{", b"}", b"? ", b"| ", b"> ", b"'", b'"', b"#", b"~", b"true"),
    *(b"&a ", b"*a", b"<<: ", b"!!set ", b"!!binary aGk=", b"!!binary /w==", b"!!timestamp 2001-01-01", b"!!omap "),
    *(b"!!python/object:os.system ", b"%YAML 9.9\n", b"---\n", b"...\n", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf"),
    *(b"9" * 5000, b"1e999", b"-.inf", b".nan", b"0x10", b"1_000", b"\xf0\x9f\x98\x80"),
]
CHANGE = st.tuples(st.integers(0, len(DEFAULT)), st.integers(0, 30), st.sampled_from(TOKENS) | st.binary(max_size=8))
LAUGHS = b"".join(
    b"l%d: &l%d [%s]\n" % (level, level, b",".join([b"*l%d" % (level - 1)] * 10 if level else [b"ha"] * 10))
    for level in range(12)
)


def load(folder: Path, content: bytes) -> RunConfig | str:
    path = folder / "damaged.parameters.yaml"
    path.write_bytes(content)
    try:
        return load_config(path)
    except EMDenoiseError as error:
        return str(error)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damaged")


@settings(max_examples=400)
@given(changes=st.lists(CHANGE, min_size=1, max_size=4), end=st.integers(0, len(DEFAULT)) | st.none())
def test_a_damaged_file_loads_or_is_one_line(
    changes: list[tuple[int, int, bytes]], end: int | None, folder: Path
) -> None:
    content = DEFAULT
    for place, length, new in changes:
        content = content[:place] + new + content[place + length :]
    found = load(folder, content[:end])
    if isinstance(found, str):
        assert found.startswith("damaged.parameters.yaml: ")
        assert "\n" not in found
        assert len(found) < 100_000


@settings(max_examples=100)
@given(content=st.binary(max_size=300))
@example(content=b"[" * 100_000)
@example(content=b"a: " * 10_000)
@example(content=b"seed: " + b"9" * 5000)
@example(content=b"data: {mirror: !!binary /w==}")
@example(content=b"data: !!set {a, b}")
def test_any_bytes_load_or_are_one_line(content: bytes, folder: Path) -> None:
    found = load(folder, content)
    assert isinstance(found, RunConfig) or "\n" not in found


def test_aliases_that_grow_without_end_are_refused_at_once(folder: Path) -> None:
    found = load(folder, LAUGHS)
    assert isinstance(found, str)
    assert "l0 is an alias" in found


def test_a_file_that_is_no_parameters_file_by_its_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parameters.yaml"
    path.write_bytes(b"#" * 2_000_000)
    with pytest.raises(SettingsError, match="is 2,000,000 bytes; a parameters file has at most 1,000,000"):
        load_config(path)
