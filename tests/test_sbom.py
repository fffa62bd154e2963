"""The bill of materials without an engine: what it makes of the metadata that packages have."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

PROGRAM = Path(__file__).parents[1] / "build" / "sbom.py"
FACTS = {
    "Id": "sha256:" + "0" * 64,
    "Created": "2026-01-02T03:04:05.123456789Z",
    "Config": {"Labels": {"org.opencontainers.image.licenses": "GPL-3.0-only"}},
    "RootFS": {"Layers": ["sha256:" + "1" * 64]},
}


@pytest.fixture(scope="module")
def sbom() -> ModuleType:
    specification = importlib.util.spec_from_file_location("sbom", PROGRAM)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"License-Expression": ["MIT AND BSD-3-Clause"]}, ["MIT AND BSD-3-Clause"]),
        ({"License": ["MPL-2.0"], "Classifier": ["License :: OSI Approved :: Mozilla Public License"]}, ["MPL-2.0"]),
        ({"License": ["BSD"], "Classifier": ["License :: OSI Approved :: BSD License"]}, ["BSD License"]),
        ({"License": ["Copyright\nAll rights reserved."], "Classifier": ["Topic :: Software"]}, []),
        ({"License": ["BSD"]}, ["BSD"]),
        ({}, []),
    ],
)
def test_a_licence_is_an_expression_where_the_metadata_has_one(
    sbom: ModuleType, fields: dict[str, list[str]], expected: list[str]
) -> None:
    assert sbom.name_licences(fields) == expected


def test_an_image_with_names_in_any_spelling_is_described_validly_and_always_the_same(sbom: ModuleType) -> None:
    contents: dict[str, Any] = {
        "version": "0.2.0",
        "system": {"ID": "debian", "VERSION_ID": "12"},
        "python": [{"Name": ["Ruamel.YAML_clib"], "Version": ["1.0"]}],
        "debian": ["libstdc++6\t1:12.2~a+b\tamd64\tgcc-12"],
    }
    text, again = (JsonV1Dot6(sbom.describe_image(FACTS, contents)).output_as_string() for _ in range(2))
    assert text == again
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert "pkg:pypi/ruamel-yaml-clib@1.0" in text
    assert "pkg:deb/debian/libstdc%2B%2B6@1:12.2~a%2Bb?arch=amd64&distro=debian-12&upstream=gcc-12" in text


def test_hashes_are_those_of_the_lock(sbom: ModuleType) -> None:
    hashes = sbom.read_hashes()
    assert {"keras", "numpy", "pip"} <= {name for name, _ in hashes}
    assert all(hashes.values())
