"""From a parameters file to settings, or to one message that lists every problem of the file."""

import hashlib
import json
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, to_json

from emdenoise.config.choices import find_network_settings
from emdenoise.config.schema import RunConfig
from emdenoise.errors import MissingInputError, SettingsError

AnySettings = TypeVar("AnySettings", bound=BaseModel)
MAX_FILE_BYTES = 1_000_000
PACKAGE = Path(__file__).parents[1]
PARAMETERS_FOLDER = Path("workspace") / "parameters"


class _ParametersLoader(yaml.SafeLoader):
    """YAML 1.2 as people write it.

    ``1e-7`` is a number, ``010`` is ten, ``no`` and dates are text, a key stands once, no aliases.
    """

    def construct_decimal(self, node: yaml.ScalarNode) -> int:
        """Read a whole number; YAML 1.1, as PyYAML has it, takes ``010`` for eight."""
        return int(self.construct_scalar(node))

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            problem = f"{event.anchor} is an alias; write its values out"  # a few lines of them can fill the memory
            raise yaml.composer.ComposerError(None, None, problem, event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} is not a name", node.start_mark)
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"{key} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


_ParametersLoader.yaml_implicit_resolvers = {}
_ParametersLoader.yaml_constructors = {
    tag: construct
    for tag, construct in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag.rpartition(":")[2] in ("null", "bool", "int", "float", "str", "seq", "map")
}
_ParametersLoader.add_constructor("tag:yaml.org,2002:int", _ParametersLoader.construct_decimal)
for _tag, _pattern, _first in (
    ("bool", r"^(?:true|false)$", "tf"),
    ("null", r"^(?:~|null|)$", ["~", "n", ""]),
    ("int", r"^[-+]?[0-9]+$", "-+0123456789"),
    ("float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$|^[-+]?\.inf$|^\.nan$", "-+0123456789."),
):
    _ParametersLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)


def load_config(path: Path, changes: Mapping[str, Any] | None = None) -> RunConfig:
    """Read and check a parameters file: any of the sections of `RunConfig`; raises like `load_settings`.

    Parameters
    ----------
    path : Path
        File, or the name of one that ships, as ``smoke``.
    changes : mapping of str to Any, optional
        Settings that take the place of those in the file, by name: ``{"training.epochs": 5}``.
    """
    return load_settings(path, RunConfig, changes=changes)


def load_settings(
    path: Path, kind: type[AnySettings], purpose: str = "parameters", changes: Mapping[str, Any] | None = None
) -> AnySettings:
    """Read and check a file of settings.

    Parameters
    ----------
    path : Path
        YAML file, or the name of one that ships; what it leaves out has its default.
    kind : type
        Class of the settings, as `RunConfig` or `StudyConfig`.
    purpose : str
        ``parameters``, ``study`` or ``system``; the files that ship are named ``NAME.PURPOSE.yaml``.
    changes : mapping of str to Any, optional
        Settings that take the place of those in the file, by name.

    Returns
    -------
    kind
        Frozen settings.

    Raises
    ------
    MissingInputError
        If there is no such file.
    SettingsError
        If the file is not YAML or holds unknown names or values out of bounds; all problems in one line.
    """
    path = find_settings_file(path, purpose)
    if (num_bytes := path.stat().st_size) > MAX_FILE_BYTES:
        raise SettingsError(
            f"{path.name}: is {num_bytes:,} bytes; a {purpose} file has at most {MAX_FILE_BYTES:,}; give another file."
        )
    try:
        values = _read_yaml(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SettingsError(f"{path.name}: not a YAML file: {_shorten(error)}; correct the file.") from error
    except OSError as error:
        raise SettingsError(f"{path.name}: cannot be read: {error.strerror}; check its permissions.") from error
    if not isinstance(values, dict):
        raise SettingsError(
            f"{path.name}: holds {type(values).__name__}, not sections; "
            f"expected names such as {', '.join(list(kind.model_fields)[:4])}."
        )
    for name, value in (changes or {}).items():
        _put(values, name.split("."), value)
    return check_settings(values, kind, f"{path.name} with --set {', '.join(changes)}" if changes else path.name)


def find_settings_file(path: Path, purpose: str) -> Path:
    """Find a file of settings by its path, or by the name of one that ships.

    A name means the file in ``workspace/parameters`` of the current folder, or else the one that came with the package.

    Parameters
    ----------
    path : Path
        A file that exists, or a name such as ``smoke``.
    purpose : str
        ``parameters``, ``study`` or ``system``.

    Raises
    ------
    MissingInputError
        If there is neither; names the nearest and lists the known ones.

    Examples
    --------
    >>> find_settings_file(Path("smoke"), "parameters").name
    'smoke.parameters.yaml'
    """
    if path.is_file():
        return path
    ending = f".{purpose}.yaml"
    # Later ones win: the caller's own files over those in the package, or in the checkout that the package lies in.
    folders = (PACKAGE.parent / PARAMETERS_FOLDER, PACKAGE / "parameters", PARAMETERS_FOLDER)
    known = {
        found.name.removesuffix(ending): found for folder in folders for found in sorted(folder.glob(f"*{ending}"))
    }
    if str(path) in known:
        return known[str(path)]
    nearest = get_close_matches(path.name.removesuffix(ending), known, n=1)
    advice = f"did you mean {nearest[0]}? Give" if nearest else "give"
    raise MissingInputError(
        f"{path.name}: no such {purpose} file; {advice} the path of a file, or a name: {', '.join(sorted(known))}."
    )


def read_change(text: str) -> tuple[str, Any]:
    """Read a change of a setting as the command line gives it.

    Raises
    ------
    SettingsError
        If it is not ``NAME=VALUE`` with a value in YAML.

    Examples
    --------
    >>> read_change("training.learning_rate=1e-3"), read_change("model.filters=[8, 16]")
    (('training.learning_rate', 0.001), ('model.filters', [8, 16]))
    """
    name, equals, value = text.partition("=")
    if not equals or not all(part.isidentifier() for part in name.split(".")):
        raise SettingsError(f"--set {text} is no change; give NAME=VALUE, as --set training.epochs=5.")
    try:
        return name, _read_yaml(value)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SettingsError(
            f"--set {text} has no value in YAML: {getattr(error, 'problem', error)}; give a number, text or [1, 2]."
        ) from error


def _read_yaml(text: str) -> Any:
    return yaml.load(text, _ParametersLoader)  # noqa: S506, it is a safe loader


def _put(settings: dict[str, Any], parts: list[str], value: Any) -> None:
    """Put a value in its place, in sections that are made where they are absent."""
    for part in parts[:-1]:
        if not isinstance(settings.get(part), dict):
            settings[part] = {}
        settings = settings[part]
    settings[parts[-1]] = value


def check_settings(values: dict[str, Any], kind: type[AnySettings], name: str) -> AnySettings:
    """Check settings that are not in a file of their own.

    Parameters
    ----------
    values : dict
        Sections and settings by name.
    kind : type
        Class of the settings.
    name : str
        For messages.

    Raises
    ------
    SettingsError
        Lists every problem in one line.
    """
    try:
        # As JSON, because lists are then tuples and nothing else is converted.
        return kind.model_validate_json(to_json(values, inf_nan_mode="strings"))
    except ValidationError as error:
        problems = "; ".join(_explain(detail, kind, values) for detail in error.errors())
        raise SettingsError(f"{name}: {problems}{'' if problems.endswith('?') else '.'}") from error


def hash_settings(settings: BaseModel) -> str:
    """Compute the SHA-256 of settings in canonical JSON: equal settings, equal hash, whatever the file looked like."""
    canonical = json.dumps(settings.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _shorten(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _explain(detail: ErrorDetails, kind_of_settings: type[BaseModel], values: dict[str, Any]) -> str:
    """Say what was received, what was expected."""
    location = detail["loc"]
    name, received, context = ".".join(map(str, location)) or "settings", detail["input"], detail.get("ctx", {})
    shown = json.dumps(received, default=str)
    kind = detail["type"]
    if kind == "extra_forbidden":
        return f"{name} is not a setting{_suggest(location, kind_of_settings, values)}"
    if kind == "value_error":
        message = str(context["error"])
        separator = "" if message.startswith(".") else " "
        return message if len(location) == 0 else f"{name}{separator}{message}"
    expected = {
        "greater_than": "greater than {gt}",
        "greater_than_equal": "at least {ge}",
        "less_than": "less than {lt}",
        "less_than_equal": "at most {le}",
        "multiple_of": "a multiple of {multiple_of}",
        "literal_error": "{expected}",
        "int_type": "a whole number",
        "float_type": "a number",
        "finite_number": "a finite number",
        "bool_type": "true or false",
        "string_type": "text",
        "tuple_type": "a list",
        "too_short": "a list of at least {min_length}",
        "too_long": "a list of at most {max_length}",
        "missing": "given",
        "model_type": "a section with names of its own",
        "model_attributes_type": "a section with names of its own",
    }.get(kind, detail["msg"].removeprefix("Input should be ").replace("{", "{{").replace("}", "}}"))
    return f"{name} is {shown}; it must be {expected.format(**context)}"


def _suggest(location: tuple[int | str, ...], section: type[BaseModel], values: dict[str, Any]) -> str:
    """Name the nearest known setting of the section, or list the known ones."""
    for part in location[:-1]:
        if part == "model":
            section = find_network_settings(values["model"])
        elif part in section.model_fields:
            annotation = section.model_fields[str(part)].annotation
            kinds = (annotation, *get_args(annotation))  # a section that may be null is one of several
            section = next(kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel))
    known = list(section.model_fields)
    nearest = get_close_matches(str(location[-1]), known, n=1)
    return f"; did you mean {nearest[0]}?" if nearest else f"; known here: {', '.join(known)}"
