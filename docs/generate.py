"""Make the pages and files that are derived from the code: parameters, models, the schema of the records.

``make docs`` writes them; a test fails while they are not fresh.
"""

import json
import sys
import types
import typing
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from emdenoise.config.base import Settings
from emdenoise.config.choices import EntryOf
from emdenoise.config.schema import RunConfig
from emdenoise.results.task_record import TaskRecord
from emdenoise.tables import list_entries

ROOT = Path(__file__).parents[1]
NOTICE = "<!-- Made by `make docs` from the code; do not edit. -->\n"


def describe_type(field: FieldInfo) -> str:
    """Say which values a setting takes, with its bounds."""
    entry = next((item for item in field.metadata if isinstance(item, EntryOf)), None)
    text = describe_annotation(field.annotation) if entry is None else describe_annotation(entry)
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "multiple_of": "multiple of", "min_length": "at least"}
    bounds = [
        f"{sign} {getattr(constraint, name):g}"
        for constraint in field.metadata
        for name, sign in signs.items()
        if getattr(constraint, name, None) is not None
    ]
    return ", ".join([text, *bounds])


def describe_annotation(annotation: object) -> str:
    """Say a type in words."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        entry = next((item for item in arguments if isinstance(item, EntryOf)), arguments[0])
        return describe_annotation(entry)
    if isinstance(annotation, EntryOf) or origin is typing.Literal:
        values = list_entries(annotation.table) if isinstance(annotation, EntryOf) else arguments
        return " \\| ".join(f"`{value}`" for value in values)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(describe_annotation(argument) for argument in arguments)
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return "section"
    if origin is tuple:
        return f"list of {describe_annotation(arguments[0])}" if arguments[-1] is Ellipsis else "[low, high]"
    names = {int: "whole number", float: "number", str: "text", bool: "true or false", type(None): "null"}
    return names.get(typing.cast("type", annotation), str(annotation))


def make_section(heading: str, settings: type[BaseModel]) -> str:
    """Make the table of one section."""
    lines = [f"## {heading}", "", (settings.__doc__ or "").strip(), "", "| setting | values | default | meaning |"]
    lines.append("| --- | --- | --- | --- |")
    for name, field in settings.model_fields.items():
        if isinstance(field.default, Settings) or name == "model":
            continue
        default = "required" if field.is_required() else json.dumps(field.default, ensure_ascii=False)
        lines.append(f"| `{name}` | {describe_type(field)} | `{default}` | {field.description} |")
    return "\n".join(lines) + "\n"


def make_parameters_page() -> str:
    """Make ``docs/parameters.md``."""
    sections = [make_section("The run", RunConfig)]
    for name, field in RunConfig.model_fields.items():
        if name != "model" and isinstance(field.default, Settings):
            section = type(field.default)
            sections.append(make_section(f"`{name}`", section))
            sections += [
                make_section(f"`{name}.{part}`", argument)
                for part, inner in section.model_fields.items()
                for argument in typing.get_args(inner.annotation)
                if isinstance(argument, type) and issubclass(argument, Settings)
            ]
    sections.append("The section `model` depends on the network: see [models.md](models.md).\n")
    head = (
        "# Parameters\n\nOne YAML file is one run. Unknown names are errors; what a file leaves out has its default.\n"
    )
    return "\n".join([NOTICE, head, *sections])


def make_models_page() -> str:
    """Make ``docs/models.md``."""
    from emdenoise.models import MODELS, build_network
    from emdenoise.models.contract import Ports
    from emdenoise.models.heads import HEADS

    head = (
        "# Models\n\nThe section `model` of a parameters file, by `name`. Parameters are counted with the defaults.\n"
    )
    sections = []
    for name, architecture in MODELS.items():
        network = build_network(architecture.settings(name=name), Ports({"noisy": 1}, 1, HEADS["intensity"]))
        count = network.model.count_params()
        sections.append(make_section(f"`{name}`: {count:,} parameters", architecture.settings))
    return "\n".join([NOTICE, head, *sections])


def make_schema() -> str:
    """Make the JSON schema of the records."""
    return json.dumps(TaskRecord.model_json_schema(), indent=2, ensure_ascii=False) + "\n"


GENERATED = {
    "docs/parameters.md": make_parameters_page,
    "docs/models.md": make_models_page,
    "emdenoise/results/schema.json": make_schema,
}


def main() -> None:
    """Write every generated file; with ``--check`` only compare."""
    stale = [
        path for path, make in GENERATED.items() if not (ROOT / path).exists() or (ROOT / path).read_text() != make()
    ]
    if "--check" in sys.argv:
        if stale:
            sys.exit(f"not fresh: {', '.join(stale)}; run make docs")
        return
    for path in stale:
        (ROOT / path).write_text(GENERATED[path]())


if __name__ == "__main__":
    main()
