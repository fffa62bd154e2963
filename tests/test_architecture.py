"""The house rules of STYLE.md that a program can check; each failure names the line to change."""

import ast
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "emdenoise"
MODULES = sorted(PACKAGE.rglob("*.py"))

LAYERS = (
    {"__main__"},
    {"cli"},
    {"tools"},
    {"tasks"},
    {"workloads", "results"},
    {"training", "evaluation"},
    {"models", "sources"},
    {"simulation"},
    {"dataset"},
    {"files"},
    {"config"},
    {"processes"},
    {"errors", "arrays", "seeding", "progress"},
)
ONLY_IN = {
    "keras": ("models/", "training/"),
    "tensorflow": ("models/backend.py", "models/normalisation.py", "models/parallel.py"),
    "jax": ("models/backend.py", "models/parallel.py", "processes.py"),
    "openvino": ("models/export.py",),
    "onnxruntime": ("models/export.py", "models/quantisation.py"),
    "abtem": ("simulation/",),
    "ase": ("simulation/",),
    "rsciio": ("files/",),
    "matplotlib": ("results/figures.py",),
    "rocrate": ("tools/research_object.py",),
    "click": ("cli.py",),
    "rich": ("cli.py",),
}
FORBIDDEN_NAMES = {"gt", "img", "target", "arr", "lr"}
FORBIDDEN_MODULES = {"utils", "helpers", "common", "misc"}
TABLES = {
    "TASKS": "tasks.py",
    "TOOLS": "tools/__init__.py",
    "WORKLOADS": "workloads/__init__.py",
    "SOURCES": "sources/__init__.py",
    "MODELS": "models/__init__.py",
    "BASELINES": "evaluation/baselines/filters.py",
    "SEGMENTERS": "evaluation/baselines/segmenters.py",
}
MAX_MODULE_LINES, MAX_FUNCTION_LINES, MAX_PARAMETERS = 400, 50, 7


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def find_layer(part: str) -> int:
    return next(number for number, layer in enumerate(LAYERS) if part in layer)


def list_imports(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}:{node.lineno}: relative import; write it in full"
            yield node.lineno, node.module or ""


def list_functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_go_down_the_layers(path: Path) -> None:
    importer = path.relative_to(PACKAGE).with_suffix("").parts[0]
    if importer == "__init__":
        return
    for line, module in list_imports(path):
        parts = module.split(".")
        if parts[0] != "emdenoise" or len(parts) < 2 or parts[1] == importer:
            continue
        assert find_layer(importer) < find_layer(parts[1]), (
            f"{name_of(path)}:{line}: {importer} imports {module}; layers import downward only"
        )


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_libraries_stay_in_their_place(path: Path) -> None:
    for line, module in list_imports(path):
        places = ONLY_IN.get(module.split(".")[0])
        assert places is None or name_of(path).startswith(places), (
            f"{name_of(path)}:{line}: {module} belongs to {', '.join(places or ())}"
        )


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_and_functions_keep_their_budget(path: Path) -> None:
    num_lines = len(path.read_text(encoding="utf-8").splitlines())
    assert num_lines <= MAX_MODULE_LINES, f"{name_of(path)}: {num_lines} lines; at most {MAX_MODULE_LINES}"
    assert path.stem not in FORBIDDEN_MODULES, f"{name_of(path)}: name the concept"
    for function in list_functions(path):
        num_code_lines = (function.end_lineno or 0) - function.body[0].lineno + 1 - count_docstring_lines(function)
        assert num_code_lines <= MAX_FUNCTION_LINES, (
            f"{name_of(path)}:{function.lineno}: {function.name} has {num_code_lines} lines of code"
        )
        arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        num_parameters = len([argument for argument in arguments if argument.arg not in ("self", "cls")])
        assert num_parameters <= MAX_PARAMETERS, (
            f"{name_of(path)}:{function.lineno}: {function.name} has {num_parameters} parameters"
        )


def count_docstring_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = function.body[0]
    is_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return (first.end_lineno or 0) - first.lineno + 1 if is_docstring else 0


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_names_are_the_terms_of_the_style_guide(path: Path) -> None:
    for node in ast.walk(parse(path)):
        found = None
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found = node.id
        elif isinstance(node, ast.arg):
            found = node.arg
        assert found not in FORBIDDEN_NAMES, f"{name_of(path)}:{getattr(node, 'lineno', 0)}: do not name it {found}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_is_printed_asserted_or_caught_blindly(path: Path) -> None:
    for node in ast.walk(parse(path)):
        line = f"{name_of(path)}:{getattr(node, 'lineno', 0)}"
        assert not isinstance(node, ast.Assert), f"{line}: assert belongs to tests"
        is_print = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
        assert not is_print, f"{line}: printing belongs to cli.py"
        if isinstance(node, ast.ExceptHandler) and path.name != "cli.py":
            caught = getattr(node.type, "id", None)
            is_named = node.type is not None and caught not in ("Exception", "BaseException")
            assert is_named, f"{line}: name the error"


def test_random_generators_are_made_in_one_place() -> None:
    for path in MODULES:
        if path.name == "seeding.py":
            continue
        for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            is_made = re.search(r"np\.random\.(default_rng|seed|RandomState|SeedSequence|rand)", text)
            is_example = text.lstrip().startswith((">>>", "..."))
            assert not is_made or is_example, f"{name_of(path)}:{number}: generators come from seeding.py"


@pytest.mark.parametrize(("table", "place"), TABLES.items())
def test_tables_are_plain_literals(table: str, place: str) -> None:
    assigned = [
        node
        for path in MODULES
        for node in parse(path).body
        if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", None) == table and name_of(path) == place
    ]
    assert len(assigned) == 1, f"{table} is not defined once in {place}"
    assert isinstance(assigned[0].value, ast.Dict), f"{table} must be a dict literal"
    assert all(isinstance(key, ast.Constant) for key in assigned[0].value.keys), f"{table}: keys are plain names"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(parse(path)), f"{name_of(path)}: no docstring"


def test_comments_hold_no_todo_without_issue() -> None:
    for path in MODULES:
        with path.open("rb") as file:
            for token in tokenize.tokenize(file.readline):
                if token.type == tokenize.COMMENT and re.search(r"TODO|FIXME|XXX", token.string):
                    assert re.search(r"#\d+", token.string), f"{name_of(path)}:{token.start[0]}: which issue?"


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['emdenoise', '--help']\n"
        "from emdenoise.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'keras', 'tensorflow', 'jax', 'abtem', 'ase', 'matplotlib', 'skimage', 'scipy', 'h5py', 'rich'}\n"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or None)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert result.returncode == 0, f"--help imports {result.stderr}"
    assert "download" in result.stdout
