"""The house rules of STYLE.md that a program can check; each failure names all lines to change."""

import ast
import re
import subprocess
import sys
import tokenize
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

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
    {"processes", "resampling"},
    {"errors", "arrays", "seeding", "progress", "tables", "terminal"},
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
FORBIDDEN_NAMES = {"gt", "img", "arr", "lr"}
FORBIDDEN_MODULES = {"utils", "helpers", "common", "misc"}
TABLES = {
    "TASKS": "tasks.py",
    "TOOLS": "tools/__init__.py",
    "FIELDS": "dataset/fields.py",
    "HEADS": "models/heads.py",
    "METRICS": "evaluation/metrics/__init__.py",
    "OBJECTIVES": "training/objectives.py",
    "WORKLOADS": "workloads/__init__.py",
    "SOURCES": "sources/__init__.py",
    "MODELS": "models/__init__.py",
    "BASELINES": "evaluation/baselines/__init__.py",
}
MAX_MODULE_LINES, MAX_FUNCTION_LINES, MAX_PARAMETERS = 400, 50, 7


Violations = Iterator[str]


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@cache
def list_nodes(path: Path) -> list[ast.AST]:
    return list(ast.walk(parse(path)))


def find_layer(part: str) -> int:
    return next(number for number, layer in enumerate(LAYERS) if part in layer)


def list_imports(path: Path) -> Iterator[tuple[int, str]]:
    for node in list_nodes(path):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, "." * node.level + (node.module or "")


def list_functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in list_nodes(path) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def check_modules(rule: Callable[[Path], Violations]) -> None:
    """Apply a rule to every module and show all that breaks it."""
    broken = [f"{name_of(path)}:{violation}" for path in MODULES for violation in rule(path)]
    assert not broken, "\n" + "\n".join(broken)


def test_imports_go_down_the_layers() -> None:
    def find(path: Path) -> Violations:
        importer = path.relative_to(PACKAGE).with_suffix("").parts[0]
        for line, module in list_imports(path):
            parts = module.split(".")
            if module.startswith("."):
                yield f"{line}: relative import; write it in full"
            if importer == "__init__":
                continue
            if parts[0] != "emdenoise" or len(parts) < 2 or parts[1] == importer:
                continue
            if find_layer(importer) >= find_layer(parts[1]):
                yield f"{line}: {importer} imports {module}; layers import downward only"

    check_modules(find)


def test_libraries_stay_in_their_place() -> None:
    def find(path: Path) -> Violations:
        for line, module in list_imports(path):
            places = ONLY_IN.get(module.split(".")[0])
            if places is not None and not name_of(path).startswith(places):
                yield f"{line}: {module} belongs to {', '.join(places)}"

    check_modules(find)


def test_modules_and_functions_keep_their_budget() -> None:
    def find(path: Path) -> Violations:
        num_lines = len(path.read_text(encoding="utf-8").splitlines())
        if num_lines > MAX_MODULE_LINES:
            yield f"1: {num_lines} lines; at most {MAX_MODULE_LINES}"
        if path.stem in FORBIDDEN_MODULES:
            yield "1: name the concept"
        for function in list_functions(path):
            num_code_lines = (function.end_lineno or 0) - function.body[0].lineno + 1 - count_docstring_lines(function)
            if num_code_lines > MAX_FUNCTION_LINES:
                yield f"{function.lineno}: {function.name} has {num_code_lines} lines of code"
            arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
            num_parameters = len([argument for argument in arguments if argument.arg not in ("self", "cls")])
            if num_parameters > MAX_PARAMETERS:
                yield f"{function.lineno}: {function.name} has {num_parameters} parameters"

    check_modules(find)


def count_docstring_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = function.body[0]
    is_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return (first.end_lineno or 0) - first.lineno + 1 if is_docstring else 0


def test_names_are_the_terms_of_the_style_guide() -> None:
    def find(path: Path) -> Violations:
        for node in list_nodes(path):
            found = None
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found = node.id
            elif isinstance(node, ast.arg):
                found = node.arg
            if found in FORBIDDEN_NAMES:
                yield f"{getattr(node, 'lineno', 0)}: do not name it {found}"

    check_modules(find)


def test_nothing_is_printed_asserted_or_caught_blindly() -> None:
    def find(path: Path) -> Violations:
        for node in list_nodes(path):
            line = getattr(node, "lineno", 0)
            if isinstance(node, ast.Assert):
                yield f"{line}: assert belongs to tests"
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                yield f"{line}: printing belongs to cli.py"
            if isinstance(node, ast.ExceptHandler) and path.name != "cli.py":
                caught = getattr(node.type, "id", None)
                if node.type is None or caught in ("Exception", "BaseException"):
                    yield f"{line}: name the error"

    check_modules(find)


def test_random_generators_are_made_in_one_place() -> None:
    def find(path: Path) -> Violations:
        for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            is_made = re.search(r"np\.random\.(default_rng|seed|RandomState|SeedSequence|rand)", text)
            is_example = text.lstrip().startswith((">>>", "..."))
            if is_made and not is_example and path.name != "seeding.py":
                yield f"{number}: generators come from seeding.py"

    check_modules(find)


def find_table_problems(table: str, place: str) -> Violations:
    assigned = [
        (name_of(path), node.value)
        for path in MODULES
        for node in parse(path).body
        if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", None) == table
    ]
    if [found for found, _ in assigned] != [place]:
        yield f"{table} is defined in {', '.join(found for found, _ in assigned) or 'no module'}, expected {place}"
    for found, value in assigned:
        if not isinstance(value, ast.Dict):
            yield f"{found}: {table} must be a dict literal"
        elif not all(isinstance(key, ast.Constant) for key in value.keys):
            yield f"{found}: {table}: keys are plain names"


def test_tables_are_plain_literals() -> None:
    broken = [problem for table, place in TABLES.items() for problem in find_table_problems(table, place)]
    assert not broken, "\n" + "\n".join(broken)


def test_every_module_says_what_it_is_for() -> None:
    check_modules(lambda path: iter(() if ast.get_docstring(parse(path)) else ("1: no docstring",)))


def test_comments_hold_no_todo_without_issue() -> None:
    def find(path: Path) -> Violations:
        with path.open("rb") as file:
            for token in tokenize.tokenize(file.readline):
                is_todo = token.type == tokenize.COMMENT and re.search(r"TODO|FIXME|XXX", token.string)
                if is_todo and not re.search(r"#\d+", token.string):
                    yield f"{token.start[0]}: which issue?"

    check_modules(find)


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
