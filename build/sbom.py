"""Write the bill of materials of the image: its Python distributions and Debian packages, as CycloneDX 1.6.

``build/sbom.py [IMAGE [FILE]]``. The image itself is asked, so this is what it holds, not what a lock asked for; the
hashes are those of the locks. Equal images give equal files. Libraries compiled into a wheel are not listed.
"""

import inspect
import json
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, Property, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.spdx import is_expression
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

ROOT = Path(__file__).parents[1]
HARDENED = ("--rm", "--network=none", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges")


def list_contents() -> dict[str, object]:
    """List what is installed; this source runs in the image."""
    import platform
    import subprocess
    from importlib.metadata import distributions

    from emdenoise import __version__

    metadata = [distribution.metadata for distribution in distributions()]
    query = "--showformat=${Package}\\t${Version}\\t${Architecture}\\t${source:Package}\\n"
    return {
        "version": __version__,
        "system": platform.freedesktop_os_release(),
        "python": [{name: fields.get_all(name) for name in set(fields)} for fields in metadata],
        "debian": subprocess.check_output(("dpkg-query", "--show", query), text=True).splitlines(),
    }


def read_hashes() -> dict[tuple[str, str], list[str]]:
    """Read the SHA-256 of the files that the locks allow, by name and version."""
    locks = "".join(path.read_text() for path in [ROOT / "requirements.txt", *ROOT.glob("build/requirements.*.txt")])
    pins = re.findall(r"^(\S+)==(\S+).*((?:\n    --hash=.*)+)", locks, flags=re.MULTILINE)
    return {(name, version): re.findall(r"sha256:(\w{64})", hashes) for name, version, hashes in pins}


def name_licences(fields: dict[str, list[str]]) -> list[str]:
    """Name the licences of a distribution: its SPDX expression, or what older metadata has instead."""
    texts = [text for text in fields.get("License", []) if "\n" not in text]
    classified = [text.split(" :: ")[-1] for text in fields.get("Classifier", []) if text.startswith("License")]
    expressions = [text for text in [*fields.get("License-Expression", []), *texts] if is_expression(text)]
    return expressions[:1] or classified or texts


def describe_distribution(fields: dict[str, list[str]], hashes: dict[tuple[str, str], list[str]]) -> Component:
    """Describe a Python distribution, with the hashes of the files that it may be installed from."""
    name, version = re.sub(r"[-_.]+", "-", fields["Name"][0]).lower(), fields["Version"][0]
    purl = PackageURL("pypi", name=name, version=version)
    component = Component(name=name, version=version, purl=purl, bom_ref=str(purl))
    component.licenses = [LicenseFactory().make_from_string(text) for text in name_licences(fields)]
    if (name, version) in hashes:
        files = ExternalReference(type=ExternalReferenceType.DISTRIBUTION, url=XsUri(str(purl)), comment="one of these")
        files.hashes = [HashType(alg=HashAlgorithm.SHA_256, content=text) for text in hashes[name, version]]
        component.external_references.add(files)
    return component


def describe_parts(contents: dict[str, Any]) -> Iterator[Component]:
    """Describe the operating system, its packages, and the Python distributions."""
    system, release, hashes = contents["system"]["ID"], contents["system"]["VERSION_ID"], read_hashes()
    yield Component(type=ComponentType.OPERATING_SYSTEM, name=system, version=release, bom_ref=system)
    for name, version, architecture, source in (line.split("\t") for line in contents["debian"]):
        about = {"arch": architecture, "distro": f"{system}-{release}", "upstream": source}
        purl = PackageURL("deb", system, name, version, about)
        yield Component(name=name, version=version, purl=purl, bom_ref=str(purl))
    yield from (describe_distribution(fields, hashes) for fields in contents["python"])


def describe_image(facts: dict[str, Any], contents: dict[str, Any]) -> Bom:
    """Describe an image by what the engine says of it and what it holds."""
    labels = facts["Config"]["Labels"]
    properties = {**labels, "emdenoise:image:id": facts["Id"], "emdenoise:base:layer": facts["RootFS"]["Layers"][0]}
    image = Component(type=ComponentType.CONTAINER, name="emdenoise", version=contents["version"], bom_ref="image")
    image.licenses = [LicenseFactory().make_from_string(labels["org.opencontainers.image.licenses"])]
    image.properties = [Property(name=name, value=value) for name, value in properties.items()]
    bom = Bom(components=describe_parts(contents), serial_number=uuid.uuid5(uuid.NAMESPACE_OID, facts["Id"]))
    bom.metadata.component, bom.metadata.timestamp = image, datetime.fromisoformat(facts["Created"])
    bom.register_dependency(image, bom.components)
    return bom


def main(image: str = "emdenoise", path: str = "dist/emdenoise.cdx.json") -> None:
    """Write the bill of materials of an image, if it is valid."""
    script = f"{inspect.getsource(list_contents)}\nimport json; print(json.dumps(list_contents()))"
    command = ("run", *HARDENED, "--entrypoint=/opt/emdenoise/bin/python", image, "-I", "-B", "-c", script)
    try:
        facts = json.loads(subprocess.check_output(("docker", "image", "inspect", image)))[0]
        contents = json.loads(subprocess.check_output(("docker", *command)))
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        sys.exit(f"build/sbom.py: docker has no image {image} to look into ({type(error).__name__}); try: make image")
    text = JsonV1Dot6(describe_image(facts, contents)).output_as_string(indent=1)
    if problem := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        sys.exit(f"build/sbom.py: not valid CycloneDX 1.6: {problem}")
    (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
    (ROOT / path).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
