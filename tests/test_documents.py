"""What the pages say is what the code does: commands, options, exit codes, links, the cube."""

import importlib.util
import json
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
import yaml
from pydantic import BaseModel

import emdenoise
from emdenoise import errors
from emdenoise.cli import DEFAULTS, EXIT_INTERRUPTED, TOOLS, WORKSPACE, list_paths, main
from emdenoise.config.loading import load_config
from emdenoise.config.schema import RunConfig
from emdenoise.errors import EMDenoiseError
from emdenoise.models.unet import UNetSettings
from emdenoise.tasks import TASKS

ROOT = Path(__file__).parents[1]
MAX_REPOSITORY_BYTES = 20e6
MAX_LINES = {"README.md": 80, "CONTRIBUTING.md": 60, "STYLE.md": 100}
WORDS_FOR = {"ancestor": "the STFC code"}
EXIT_WRONG_OPTION = click.UsageError.exit_code
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
PARAMETERS_FILES = sorted((ROOT / "workspace" / "parameters").glob("*.parameters.yaml"))
CUBE: dict[str, Any] = yaml.safe_load((ROOT / "mlcube.yaml").read_text(encoding="utf-8"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@cache
def list_tracked_files() -> list[Path]:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    names = subprocess.check_output(["git", "-C", str(ROOT), "ls-files", "-z"], text=True).split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def load_generator() -> ModuleType:
    specification = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def list_commands(text: str) -> list[str]:
    """List what a page tells to type: lines of its shell blocks, and code within a line."""
    blocks = [line for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    return [line.split(" #")[0].strip() for line in [*blocks, *re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)]]


def list_all_commands() -> list[tuple[str, str]]:
    """List pages and parameters files, with the commands in each."""
    found = [(name_of(path), command) for path in PAGES for command in list_commands(path.read_text(encoding="utf-8"))]
    for path in PARAMETERS_FILES:
        comments = re.findall(r"^#   +(.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        found += [(name_of(path), command) for command in comments]
    return found


@pytest.mark.parametrize("page", ["docs/parameters.md", "docs/models.md"])
def test_a_generated_page_is_fresh(page: str) -> None:
    assert read(page) == load_generator().GENERATED[page](), "run make docs"


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    named = [(page, words) for page, command in list_all_commands() if (words := command.split())[0:1] == ["make"]]
    assert len(named) > 5
    for page, words in named:
        for word in words[1:]:
            assert word in targets or re.fullmatch(r"[A-Z]+=\S+", word), f"{page}: make {word}"


def test_every_target_says_what_it_is_for_and_is_no_file() -> None:
    makefile = read("Makefile")
    phony = set(re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)[0].split())
    assert set(re.findall(r"^([a-z-]+):.*##", makefile, re.MULTILINE)) == phony


def test_every_emdenoise_command_that_is_named_exists() -> None:
    named = [(page, words) for page, command in list_all_commands() if (words := command.split())[0:1] == ["emdenoise"]]
    assert len(named) > 2
    for page, (_, *words) in named:
        name = words[0] if words else "--help"
        assert name in {*main.commands, "--help", "COMMAND", "TASK"}, f"{page}: emdenoise {name}"
        parameters = main.commands[name].params if name in main.commands else []
        known = {option for parameter in parameters for option in parameter.opts}
        for option in (word.split("=")[0] for word in words[1:] if word.startswith("-")):
            assert option in {*known, "-h", "--help"}, f"{page}: emdenoise {' '.join(words)}"


def test_every_function_of_the_python_examples_exists() -> None:
    named = [
        (name_of(path), name)
        for path in PAGES
        for name in re.findall(r"\bemdenoise\.(\w+)[.(]", "\n".join(list_examples(path)))
    ]
    assert len(named) > 5
    for page, name in named:
        assert hasattr(emdenoise, name), f"{page}: emdenoise.{name}"


def list_examples(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    return [*re.findall(r"```python\n(.*?)```", text, re.DOTALL), *re.findall(r"python -c '(import.*?)'\n", text)]


def test_every_launcher_that_is_named_exists_and_gets_tasks_and_files_that_exist() -> None:
    named = [(page, command.split()) for page, command in list_all_commands() if command.startswith("run/")]
    assert len(named) > 2
    for page, (launcher, *arguments) in named:
        assert (ROOT / launcher).exists(), f"{page}: {launcher}"
        takes_tasks = not launcher.endswith(("study.sh", "slurm.sh", "parts.sh", "processes.sh", "accelerator.sh"))
        if arguments and takes_tasks:
            assert set(arguments[0].split(",")) <= set(TASKS), f"{page}: {arguments[0]}"
        for path in arguments:
            assert not path.endswith(".yaml") or (ROOT / path).exists(), f"{page}: {path}"


def test_every_mlcube_command_names_tasks_and_platforms_that_exist() -> None:
    named = [(page, command) for page, command in list_all_commands() if command.startswith("mlcube run")]
    assert len(named) >= 2
    for page, command in named:
        tasks = re.findall(r"--task=(\S+)", command)[0].split(",")
        assert set(tasks) <= set(CUBE["tasks"]), f"{page}: {command}"
        assert re.findall(r"--platform=(\S+)", command)[0] in CUBE, f"{page}: {command}"


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_every_link_of_a_page_leads_to_a_file_and_a_heading(path: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", path.read_text(encoding="utf-8")):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        file = path.parent / target if target else path
        assert file.exists(), f"{name_of(path)} links to {target}"
        assert not anchor or anchor in list_anchors(file), f"{name_of(path)} links to {target}#{anchor}"


def list_anchors(path: Path) -> set[str]:
    """List the anchors of the headings, as GitHub and MkDocs make them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip()) for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_a_page_uses_the_words_of_the_glossary(path: Path) -> None:
    text = path.read_text(encoding="utf-8").lower()
    for word, better in WORDS_FOR.items():
        assert word not in text, f"{name_of(path)}: {word}; write: {better}"


def test_every_decision_is_in_the_list_of_decisions() -> None:
    pages = [path.name for path in sorted((ROOT / "docs" / "decisions").glob("0*.md"))]
    assert re.findall(r"^\d+\. \[.+\]\((.+)\)$", read("docs/decisions/index.md"), re.MULTILINE) == pages


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "STYLE.md", "docs/contributing/structure.md"])
def test_every_path_of_the_project_that_a_page_names_exists(page: str) -> None:
    made_by_a_run = ("workspace/output", "workspace/raw_data", "workspace/model", "benchmarks/results")
    for path in re.findall(r"`([a-z_]+/[^\s`]*)`", read(page)):
        exists = [found for root in (ROOT, ROOT / "emdenoise") for found in root.glob(path.rstrip("/"))]
        assert path.startswith((*made_by_a_run, "dist/")) or exists, f"{page}: {path}"


def test_the_exit_codes_of_the_pages_are_those_of_the_code() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, EMDenoiseError)]
    codes = {kind.exit_code for kind in kinds if kind is not EMDenoiseError}
    table = read("docs/commands.md").split("| exit code |")[1].split("\n\n")[0]
    described = [int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)]
    assert described == sorted(codes | {EXIT_WRONG_OPTION, errors.EXIT_REFUTED, EXIT_INTERRUPTED})


def test_the_tasks_of_the_pages_read_and_write_what_the_cube_says() -> None:
    table = read("docs/commands.md").split("| task | reads | writes |")[1].split("\n\n")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \|$", table, re.MULTILINE)
    assert [name for name, _, _ in rows] == list(TASKS)
    for name, reads, writes in rows:
        parameters = CUBE["tasks"][name]["parameters"]
        folders = r"`(parameters_file|\w+_dir)`"
        assert set(re.findall(folders, reads)) == set(parameters["inputs"])
        assert {*re.findall(folders, writes), "log_dir"} == set(parameters["outputs"])


def test_the_tasks_of_the_cube_are_those_of_the_command_line() -> None:
    assert list(CUBE["tasks"]) == list(TASKS) == [name for name in main.commands if name not in TOOLS]


@pytest.mark.parametrize("name", TASKS)
def test_the_parameters_of_the_cube_are_the_options_of_the_command_line(name: str) -> None:
    parameters = CUBE["tasks"][name]["parameters"]
    both = {**parameters["inputs"], **parameters["outputs"]}
    assert len(both) == len(parameters["inputs"]) + len(parameters["outputs"])
    extra = {"changes"}  # --set is for people; the cube has parameters files
    assert set(both) | extra == {option.name for option in main.commands[name].params}
    for option, described in both.items():
        # MLCube's workspace is the folder of that name; a folder ends in a slash there.
        named = WORKSPACE / "parameters" / f"{DEFAULTS[option]}.parameters.yaml"
        assert WORKSPACE / described["default"] == (named if option == "parameters_file" else DEFAULTS[option])
        is_file = option.endswith("_file")
        assert described["type"] == ("file" if is_file else "directory")
        assert described["default"].endswith("/") != is_file
        assert (described.get("opts") == "ro") == (option in parameters["inputs"])


def test_the_launcher_of_a_bare_machine_gives_each_task_its_folders() -> None:
    """A command that does nothing but show its arguments takes the place of the program."""
    given = subprocess.check_output(
        [ROOT / "run" / "bare.sh", ",".join(TASKS), "SPACE", "FILE"],
        env={"PATH": "/usr/bin:/bin", "EMDENOISE": "echo"},
        text=True,
    )
    expected = [
        {name, *(f"--{option}={replace_default(option)}" for option in [*list_paths(TASKS[name]), "log_dir"])}
        for name in TASKS
    ]
    assert [set(line.split()) for line in given.splitlines()] == expected


def test_the_launcher_of_a_bare_machine_gives_a_task_the_options_that_it_brings() -> None:
    given = subprocess.check_output(
        [ROOT / "run" / "bare.sh", "simulate-part --num_parts=40 --part=3,download", "SPACE", "FILE"],
        env={"PATH": "/usr/bin:/bin", "EMDENOISE": "echo"},
        text=True,
    )
    others = "--parameters_file=FILE --raw_data_dir=SPACE/raw_data --log_dir=SPACE/logs"
    assert given.splitlines() == [f"simulate-part --num_parts=40 --part=3 {others}", f"download {others}"]


def replace_default(option: str) -> str:
    folder = DEFAULTS[option]
    return f"SPACE/{folder.name}" if folder and option != "parameters_file" else "FILE"


@pytest.mark.parametrize("path", PARAMETERS_FILES, ids=name_of)
def test_a_parameters_file_opens_with_its_purpose_its_command_and_what_it_takes(path: Path) -> None:
    head = re.match(r"(?:#.*\n)+", path.read_text(encoding="utf-8"))
    assert head is not None
    commands = re.findall(r"^#   +(make|run/|mlcube run|emdenoise)(.*)$", head[0], re.MULTILINE)
    assert commands, "no command"
    arguments = " ".join("".join(command) for command in commands)
    is_default = path.name in ("default.parameters.yaml", "smoke.parameters.yaml")
    assert is_default or path.name.split(".")[0] in arguments
    assert re.search(r"\d+ s\b|minute|hour", head[0]), "no time"
    assert re.search(r"dB|Dice", head[0]), "no expected score"


@pytest.mark.parametrize("path", [path for path in PAGES if "```yaml" in path.read_text(encoding="utf-8")], ids=name_of)
def test_every_parameters_file_that_a_page_shows_is_valid(path: Path, tmp_path: Path) -> None:
    for number, block in enumerate(re.findall(r"```yaml\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)):
        file = tmp_path / f"{number}.parameters.yaml"
        file.write_text(block, encoding="utf-8")
        load_config(file)


def test_the_default_parameters_file_spells_out_every_default() -> None:
    path = ROOT / "workspace" / "parameters" / "default.parameters.yaml"
    written = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert load_config(path) == RunConfig()
    assert list_names(written) == list_names(RunConfig(model=UNetSettings()))


def list_names(settings: dict[str, Any] | BaseModel, prefix: str = "") -> set[str]:
    names = set()
    for name, value in dict(settings).items():
        is_section = isinstance(value, (dict, BaseModel))
        names |= list_names(value, f"{prefix}{name}.") if is_section else {f"{prefix}{name}"}
    return names


def test_the_layers_of_the_style_guide_are_the_modules_of_the_package() -> None:
    line = re.findall(r"`(cli → .*)`\.", read("STYLE.md"))[0]
    named = [part for layer in line.split(" → ") for part in layer.split(", ")]
    paths = [path for path in (ROOT / "emdenoise").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()]
    assert sorted(named) == sorted({path.stem for path in paths} - {"__init__", "__main__"})


@pytest.mark.parametrize("page", MAX_LINES)
def test_the_pages_that_must_be_short_are_short(page: str) -> None:
    assert len(read(page).splitlines()) <= MAX_LINES[page]


def test_no_tracked_file_names_a_path_of_a_machine_or_an_index_of_packages() -> None:
    private = re.compile(
        rf"{re.escape(str(ROOT))}/|{re.escape(str(Path.home()))}/|/home/\w+/|/Users/\w+/|https?://\S*(pypi|pythonhosted)|"
        r"^-(-index-url|-extra-index-url|i) ",
        re.MULTILINE,
    )
    for path in list_tracked_files():
        content = path.read_bytes()
        if b"\0" in content or path == Path(__file__):
            continue
        found = private.search(content.decode("utf-8"))
        assert found is None, f"{name_of(path)}: {found[0] if found else ''}"


def test_the_repository_is_small() -> None:
    sizes = {name_of(path): path.stat().st_size for path in list_tracked_files()}
    assert sum(sizes.values()) <= MAX_REPOSITORY_BYTES, json.dumps(sorted(sizes.items(), key=lambda item: -item[1])[:5])
