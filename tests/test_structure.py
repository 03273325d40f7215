"""The house's plan: who may import whom, what the project is built on, and what every file owes its reader.

Imports are read with `ast`, not run, so a forbidden one is found inside a function too.
"""

import ast
import re
import sys
from pathlib import Path

import pytest
import tomllib

ROOT = Path(__file__).parent.parent
ROOMS = ("unet", "ddpm", "ddim", "p2p")
BUILT_ON = {"torch", "numpy", "matplotlib", "einops", "tqdm", "PIL"}  # Pillow comes with matplotlib
CORE = tuple(f"ddpm.{name}" for name in ("schedule", "diffusion", "bound", "guidance", "noise", "gaussian", "mhvae"))
SHARED = ("ddpm.files", "ddpm.images")  # how every room writes weights, records and figures
# beside itself, what a room may import of ours; doors (train.py, __main__.py, commands/) may import anything
MAY = {
    "unet": (),
    "ddpm": ("unet",),
    "ddim": (*CORE, *SHARED),
    "p2p": ("unet.attention", "unet.text", "ddim", *CORE, *SHARED),
}
FILES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
SOURCES = [*FILES, ROOT / "train.py"]
TESTS = sorted((ROOT / "tests").glob("*.py"))


def name_of(path: Path) -> str:
    """ddpm/data/base.py -> ddpm.data.base; a room's __init__.py is the room."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported(source: str, module: str, is_package: bool) -> set[str]:
    """The full names of all that a file imports: "from .a import b" in x.y is x.a.b."""
    found = set()
    package = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return found


def is_in(name: str, place: str) -> bool:
    return name == place or name.startswith(place + ".")


def turned_back(source: str, module: str, is_package: bool = False) -> set[str]:
    """The imports of our own that the module's room may not make."""
    room = module.split(".")[0]
    may = CORE if module in CORE else (room, *MAY[room])
    ours = {name for name in imported(source, module, is_package) if name.split(".")[0] in (*ROOMS, "train", "tests")}
    return {name for name in ours if not any(is_in(name, place) for place in may)}


def is_door(path: Path) -> bool:
    return path.name == "__main__.py" or path.parent.name == "commands"


# ---- arrows --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [path for path in FILES if not is_door(path)], ids=name_of)
def test_no_arrow_turns_back(path):
    assert turned_back(path.read_text(), name_of(path), path.name == "__init__.py") == set()


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("unet.blocks", "import ddpm"),
        ("unet.blocks", "from ddpm.schedule import Schedule"),
        ("ddpm.diffusion", "from unet import UNet"),
        ("ddpm.diffusion", "from .training import Training"),
        ("ddpm.bound", "from . import training"),
        ("ddpm.training", "from ddim import sample"),
        ("ddpm.data.shapes", "import p2p.edit as e"),
        ("ddpm.data.shapes", "def f():\n    from ddim.sampler import , sample")
        ("ddim.sampling", "from ddpm.training import Training"),
        ("ddim.sampling", "from ddpm import Schedule"),  # the whole room, where the core's file should be named
        ("ddim.sampling", "import unet"),
        ("ddim.sampling", "import p2p"),
        ("p2p.edit", "from unet import UNet"),
        ("p2p.edit", "from ddpm.training import Training"),
        ("ddim.sampling", "import train"),
    ],
)
def test_an_arrow_that_turns_back_would_be_seen(module, line):
    assert turned_back(line, module)


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("unet.blocks", "from .attention import Site"),
        ("unet.blocks", "import torch"),
        ("ddpm.training", "from unet import UNet"),
        ("ddpm.bound", "from .diffusion import posterior"),
        ("ddpm.data.shapes", "from ..settings import Settings"),
        ("ddim.sampling", "from ddpm.schedule import Schedule"),
        ("p2p.edit", "from unet.attention import Site\nimport ddim"),
    ],
)
def test_an_arrow_that_goes_on_is_let_through(module, line):
    assert not turned_back(line, module)


def test_the_project_is_built_on_six_packages():
    """The sixth, pytest, is for the tests alone."""
    for path in SOURCES:
        roots = {name.split(".")[0] for name in imported(path.read_text(), name_of(path), path.name == "__init__.py")}
        assert roots - set(sys.stdlib_module_names) - set(ROOMS) <= BUILT_ON, path


# ---- what a reader is owed -----------------------------------------------------------------------------------------


def documented(tree: ast.Module) -> list[ast.AST]:
    """The module, and all public functions and classes with their public methods."""
    nodes, kinds = [tree], (ast.FunctionDef, ast.ClassDef)
    for node in (n for n in tree.body if isinstance(n, kinds) and not n.name.startswith("_")):
        nodes.append(node)
        if isinstance(node, ast.ClassDef):
            nodes += [
                n for n in node.body if isinstance(n, kinds) and not n.name.startswith("_") and n.name != "forward"
            ]
    return nodes


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_everything_public_says_what_it_is(path):
    """A `forward` may leave it to its class."""
    silent = [
        getattr(node, "name", "the file")
        for node in documented(ast.parse(path.read_text()))
        if not ast.get_docstring(node)
    ]
    assert silent == []


@pytest.mark.parametrize("path", TESTS, ids=name_of)
def test_every_test_file_says_what_it_proves(path):
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_no_line_is_too_long():
    """The limit is the linter's, read from its configuration."""
    most = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["line-length"]
    long = [
        f"{path.relative_to(ROOT)}:{number} has {len(line)}"
        for path in [*SOURCES, *TESTS]
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if len(line) > most
    ]
    assert long == []


def equations(path: Path) -> set[str]:
    """The numbers of all equations that a file's docstrings name."""
    nodes = (
        n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef)
    )
    text = " ".join(ast.get_docstring(node) or "" for node in nodes)
    return {a or b for a, b in re.findall(r"\bEq\.\s+(?:\((\d+)\)|(\d+))", text)}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_an_equation_that_is_named_has_a_test_of_its_name(path):
    tests = " ".join(re.findall(r"def (test_\w*eq_\w+)", " ".join(test.read_text() for test in TESTS)))
    assert {n for n in equations(path) if not re.search(rf"eq_{n}(?!\d)", tests)} == set()


def test_alpha_means_one_thing():
    """`alpha_bar` is DDPM's alpha with a bar; p2p, where papers use the letter for something else, never says it."""
    for path in FILES:
        if path.relative_to(ROOT).parts[0] == "p2p":
            assert not re.search(r"\balphas?\b", path.read_text(), re.IGNORECASE), path
