"""The bill of materials of the image: valid, complete, with the versions of the locks and the licences of NOTICE."""

import json
import re
import sys
from collections import Counter
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.container.engine import HARDENED, ROOT, needs, run

pytestmark = [pytest.mark.container, needs("docker")]


@pytest.fixture(scope="module")
def sbom(image: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Make the bill of materials of the image that is tested."""
    path = tmp_path_factory.mktemp("sbom") / "emdenoise.cdx.json"
    result = run(sys.executable, "-W", "error", "build/sbom.py", image, path)
    assert result.returncode == 0, result.stderr
    return path.read_text()


@pytest.fixture
def components(sbom: str) -> dict[str, dict[str, Any]]:
    """Give the components by what their package URL says before the version."""
    described = [component for component in json.loads(sbom)["components"] if "purl" in component]
    return {component["purl"].split("@")[0]: component for component in described}


def ask(image: str, program: str, *arguments: str) -> list[str]:
    return run("docker", "run", *HARDENED, f"--entrypoint={program}", image, *arguments).stdout.split()


def test_it_is_valid_by_the_schema(sbom: str) -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(sbom) is None


def test_python_distributions_have_the_versions_and_hashes_of_the_lock(components: dict[str, dict[str, Any]]) -> None:
    pins = set(re.findall(r"^(\S+)==(\S+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE))
    for name in ("tensorflow-cpu", "keras", "numpy"):
        component = components[f"pkg:pypi/{name}"]
        assert (name, component["version"]) in pins
        assert {entry["alg"] for entry in component["externalReferences"][0]["hashes"]} == {"SHA-256"}


def test_it_has_as_many_components_of_each_kind_as_the_image(image: str, components: dict[str, Any]) -> None:
    kinds = Counter(name.split("/")[0] for name in components)
    listed = ask(
        image, "/opt/emdenoise/bin/python", "-m", "pip", "list", "--format=freeze", "--disable-pip-version-check"
    )
    assert kinds == {
        "pkg:pypi": len(listed),
        "pkg:deb": len(ask(image, "dpkg-query", "--show", "--showformat=${Package}\\n")),
    }
    assert "pkg:deb/debian/libc6" in components


def test_it_shows_the_licences_that_make_the_image_gpl(sbom: str, components: dict[str, dict[str, Any]]) -> None:
    for name in ("abtem", "rosettasciio"):
        assert components[f"pkg:pypi/{name}"]["licenses"] == [{"license": {"id": "GPL-3.0-or-later"}}]
    assert json.loads(sbom)["metadata"]["component"]["licenses"] == [{"license": {"id": "GPL-3.0-only"}}]


def test_it_names_the_base_image_and_the_commit(image: str, sbom: str) -> None:
    properties = {entry["name"]: entry["value"] for entry in json.loads(sbom)["metadata"]["component"]["properties"]}
    assert properties["org.opencontainers.image.base.name"] == "debian:bookworm-slim"
    commit = run("git", "rev-parse", "HEAD").stdout.strip()
    assert properties["org.opencontainers.image.revision"].removesuffix("-dirty") == commit
    assert (
        properties["emdenoise:image:id"]
        == run("docker", "image", "inspect", image, "--format", "{{.Id}}").stdout.strip()
    )
