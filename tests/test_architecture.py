"""The plan of the house, held to by tests: layers, light imports, names, docstrings, sizes, nothing evaluated."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

SRC = Path(__file__).parents[1] / "src" / "upwell"
LAYERS = (
    {"__main__"},
    {"cli"},
    {"report"},
    {"synthesis", "curation", "training", "evaluation", "analysis"},
    {"measurement"},
    {"engines", "grading", "metrics", "problems", "prompts"},
    {"runs"},
    {"records", "errors"},
)
"""From the top down. A room imports from lower layers and from itself; neighbours do not know each other."""
HEAVY = {
    "torch", "transformers", "trl", "ray", "altair", "vl_convert", "datasets", "reasoning_gym", "math_verify",
    "pyarrow", "safetensors", "gguf", "huggingface_hub", "aiohttp", "xllamacpp",
}  # fmt: skip
"""Imported only inside the functions that need them."""
BACKENDS = {"engines/embedded/": HEAVY, "engines/server/": {"aiohttp"}}
"""Rooms that are a backend: they import these packages at the top, and only functions import what does."""
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


def shown(path: Path) -> str:
    return str(path.relative_to(SRC))


def loaded_by(*modules: str) -> set[str]:
    """The top-level packages that a fresh process has loaded after importing these modules."""
    code = f"import sys, {', '.join(modules)}; print(*{{name.split('.')[0] for name in sys.modules}})"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "upwell" in out
    return set(out.split())


def test_every_room_has_its_layer() -> None:
    rooms = {path.stem for path in SRC.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert rooms - {"__init__"} == set().union(*LAYERS), "a new room needs a place in LAYERS"


def test_imports_point_down() -> None:
    upward = []
    for path in MODULES:
        room = room_of(name_of(path))
        for module, line, _ in imported(path):
            other = room_of(module) if module.split(".")[0] == "upwell" else None
            if other is None or other in (room, "__version__"):
                continue
            if room is None or layer(other) <= layer(room):
                upward.append(f"{shown(path)}:{line}: `{room or 'upwell'}` may not import `{module}`")
    assert not upward


def test_heavy_packages_are_imported_where_they_are_used() -> None:
    early = []
    for path in MODULES:
        own = next((packages for room, packages in BACKENDS.items() if shown(path).startswith(room)), set())
        for module, line, late in imported(path):
            heavy = module.split(".")[0] in HEAVY - own
            heavy |= module.startswith("upwell.engines.embedded.") and not shown(path).startswith(
                "engines/embedded/"
            )
            if heavy and not late:
                early.append(f"{shown(path)}:{line}: `{module}` at the top of the module")
    assert not early


def test_what_help_needs_is_light() -> None:
    shows = ("tables", "terminal")  # load rich, and are loaded when there is something to show
    verbs = [name_of(path) for path in MODULES if path.parent == SRC / "cli" and path.stem not in shows]
    rooms = [
        "upwell",
        "upwell.records",
        "upwell.errors",
        "upwell.runs",
        "upwell.engines",
        "upwell.engines.embedded",
    ]
    assert not LIGHT & loaded_by(*rooms, *verbs, "upwell.engines.base", "upwell.measurement.settings")


def test_rooms_load_no_engine_and_no_algebra() -> None:
    rooms = [
        "measurement",
        "report",
        "grading",
        "metrics",
        "problems",
        "prompts",
        "engines.checkpoints",
        "engines.scripted",
        "engines.opening",
        "engines.spending",
        "engines.server",
        "engines.server.wire",
    ]
    assert not (HEAVY | {"sympy"}) & loaded_by(
        "upwell.engines.scripted", *(f"upwell.{room}" for room in rooms)
    )


def test_modules_are_named_for_what_they_hold() -> None:
    nothing = {"utils", "util", "helpers", "helper", "common", "misc", "shared", "tools", "stuff"}
    assert not [shown(p) for p in MODULES if nothing & set(p.relative_to(SRC).with_suffix("").parts)]


def test_modules_and_public_classes_say_what_they_are() -> None:
    silent = []
    for path in MODULES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        silent += [] if ast.get_docstring(tree) else [shown(path)]
        for node in tree.body:
            if (
                isinstance(node, ast.ClassDef)
                and not node.name.startswith("_")
                and not ast.get_docstring(node)
            ):
                silent.append(f"{shown(path)}:{node.lineno}: class {node.name}")
    assert not silent


def test_files_are_short_or_say_why() -> None:
    long = []
    for path in MODULES:
        lines = path.read_text(encoding="utf-8").splitlines()
        if len(lines) > LONGEST and not re.search(r"long|one file|together", " ".join(lines[:20])):
            long.append(f"{shown(path)}: {len(lines)} lines, and no reason at its top")
    assert not long


def test_nothing_is_evaluated_or_unpickled() -> None:
    found = []
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                if node.func.id in ("eval", "exec", "__import__"):
                    found.append(f"{shown(path)}:{node.lineno}: {node.func.id}")
            elif isinstance(node, ast.keyword) and (node.arg, ast.unparse(node.value)) == (
                "trust_remote_code",
                "True",
            ):
                found.append(f"{shown(path)}:{node.value.lineno}: trust_remote_code")
        modules = {module.split(".")[0] for module, _, _ in imported(path)}
        found += [
            f"{shown(path)}: {name}"
            for name in modules & {"pickle", "marshal", "shelve", "dill", "cloudpickle"}
        ]
    assert not found
