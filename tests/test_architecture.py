"""The plan of the house, held to by tests: layers, light imports, names, docstrings, sizes, nothing evaluated."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src" / "upwell"
LAYERS = (
    {"cli", "report"},
    {"measurement"},
    {"engines", "grading", "metrics", "problems", "prompts"},
    {"runs"},
    {"records", "errors"},
)
"""From the top down. A room imports from lower layers and from itself; neighbours do not know each other."""
NEIGHBOURS_THAT_MAY: set[tuple[str, str]] = {("report", "metrics")}
HEAVY = {
    "torch", "transformers", "trl", "ray", "altair", "vl_convert", "datasets", "reasoning_gym", "math_verify",
    "pyarrow", "safetensors", "gguf", "huggingface_hub",
}  # fmt: skip
"""Imported only inside the functions that need them."""
TORCH_ROOM = "engines/embedded/"
"""Is the torch backend: its modules import torch, and only functions import its modules."""
LIGHT = {"numpy", "scipy", "sympy", "mpmath", "rich", "jinja2", "httpx", "aiohttp", "requests"} | HEAVY
"""What `--help` does not wait for."""
LONGEST = 450
"""Lines of a file; a longer one says why in its first twenty."""

MODULES = sorted(path for path in SRC.rglob("*.py"))


def name_of(path: Path) -> str:
    """The dotted name of a module."""
    parts = path.relative_to(SRC.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str | None:
    """The room of a module, or None for `upwell` itself."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else None


def imported(path: Path) -> Iterator[tuple[str, int, bool]]:
    """Modules that a file imports anywhere: name, line, and whether inside a function or for types only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = name_of(path).split(".")[: None if path.name == "__init__.py" else -1]

    def walk(node: ast.AST, late: bool) -> Iterator[tuple[str, int, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield alias.name, child.lineno, late
            elif isinstance(child, ast.ImportFrom):
                base = package[: len(package) - child.level + 1] if child.level else []
                found = ".".join([*base, *filter(None, [child.module])])
                yield found, child.lineno, late
                if found in ("upwell", ""):
                    for alias in child.names:
                        yield f"upwell.{alias.name}", child.lineno, late
            else:
                inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                for_types = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
                yield from walk(child, late or inside or for_types)

    yield from walk(tree, False)


def layer(room: str) -> int:
    return next(depth for depth, rooms in enumerate(LAYERS) if room in rooms)


def ids(path: Path) -> str:
    return str(path.relative_to(SRC))


def test_every_room_has_its_layer() -> None:
    rooms = {path.stem for path in SRC.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert rooms - {"__init__", "__main__"} == set().union(*LAYERS), "a new room needs a place in LAYERS"


@pytest.mark.parametrize("path", MODULES, ids=ids)
def test_imports_point_down(path: Path) -> None:
    room = room_of(name_of(path))
    for module, line, _ in imported(path):
        other = room_of(module) if module.split(".")[0] == "upwell" else None
        if other is None or other == room or other == "__version__":
            continue
        assert room is not None, f"{ids(path)}:{line}: the package itself imports `{module}`"
        down = layer(other) > layer(room) or (room, other) in NEIGHBOURS_THAT_MAY
        assert down, f"{ids(path)}:{line}: `{room}` may not import `{module}`"


@pytest.mark.parametrize("path", MODULES, ids=ids)
def test_heavy_packages_are_imported_where_they_are_used(path: Path) -> None:
    if ids(path).startswith(TORCH_ROOM):
        return
    early = [(module, line) for module, line, late in imported(path) if not late]
    heavy = [f"{module}, line {line}" for module, line in early if module.split(".")[0] in HEAVY]
    backend = [f"{module}, line {line}" for module, line in early if module.startswith("upwell.engines.embedded.")]
    assert not heavy + backend, f"{ids(path)} imports at its top: {heavy + backend}"


@pytest.mark.parametrize(
    "module",
    ["upwell", "upwell.cli", "upwell.records", "upwell.errors", "upwell.runs", "upwell.cli.measuring",
     "upwell.cli.reporting", "upwell.cli.problems", "upwell.measurement.settings", "upwell.engines", "upwell.engines.base",
     "upwell.engines.embedded"],
)  # fmt: skip
def test_what_help_imports_is_light(module: str) -> None:
    code = f"import sys, {module}; print(*{{name.split('.')[0] for name in sys.modules}})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert module.split(".")[0] in loaded
    assert not LIGHT & set(loaded)


@pytest.mark.parametrize("module", ["upwell.measurement", "upwell.report", "upwell.grading", "upwell.problems"])
def test_no_package_loads_what_only_some_of_its_functions_need(module: str) -> None:
    code = f"import sys, {module}; print(*{{name.split('.')[0] for name in sys.modules}})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not (HEAVY | {"sympy"}) & set(loaded)


@pytest.mark.parametrize("path", MODULES, ids=ids)
def test_modules_are_named_for_what_they_hold(path: Path) -> None:
    nothing = {"utils", "util", "helpers", "helper", "common", "misc", "shared", "tools", "base_utils"}
    assert not nothing & set(path.relative_to(SRC).with_suffix("").parts)


@pytest.mark.parametrize("path", MODULES, ids=ids)
def test_modules_and_what_they_offer_say_what_they_are(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), f"{ids(path)} has no docstring"
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{ids(path)}:{node.lineno}: class {node.name} has no docstring"


@pytest.mark.parametrize("path", MODULES, ids=ids)
def test_files_are_short_or_say_why(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    if len(lines) > LONGEST:
        top = " ".join(lines[:20]).lower()
        assert re.search(r"long|lines|one file|kept together", top), f"{ids(path)} has {len(lines)} lines, and no reason"


@pytest.mark.parametrize("path", MODULES, ids=ids)
def test_nothing_is_evaluated_or_unpickled(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("eval", "exec", "__import__"), f"{ids(path)}:{node.lineno}: {node.func.id}"
        if isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
            assert isinstance(node.value, ast.Constant) and node.value.value is False, f"{ids(path)}:{node.lineno}"
    modules = {module.split(".")[0] for module, _, _ in imported(path)}
    assert not {"pickle", "marshal", "shelve", "dill", "cloudpickle"} & modules
