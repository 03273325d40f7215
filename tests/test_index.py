"""The index of the lecture (notebooks/INDEX.md), and what notebooks, README and pages of results name: it exists."""

import argparse
import ast
import importlib
import json
import re
import shlex
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
INDEX = ROOT / "notebooks" / "INDEX.md"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("notebooks/results/*/README.md"))]
PACKAGES = "ddpm|ddim|unet|p2p"


class Parsed(Exception):
    """Raised in place of the command's work: its flags were understood."""


def markdown(path: Path) -> str:
    """The text of a page, or of a notebook's prose."""
    if path.suffix == ".md":
        return path.read_text(encoding="utf-8")
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return "\n\n".join("".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "markdown")


@cache
def headings(path: Path) -> set[str]:
    return set(re.findall(r"(?m)^#+ (.*)$", markdown(path)))


@cache
def functions(path: Path) -> set[str]:
    return {node.name for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)}


def is_test(name: str) -> bool:
    """tests/test_x.py or tests/test_x.py::test_name."""
    file, _, function = name.partition("::")
    return (ROOT / file).is_file() and (not function or function in functions(ROOT / file))


def is_name(dotted: str) -> bool:
    """ddpm.bound.gaussian_kl: a module, or what is in one."""
    parts = dotted.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:]:
            found = getattr(found, part, None)
        return found is not None
    return False


def is_command(text: str, monkeypatch) -> bool:
    """python -m ddpm ..., python train.py ...: its flags are understood; nothing runs."""
    original = argparse.ArgumentParser.parse_args

    def parse_and_stop(parser, args=None, namespace=None):
        original(parser, args, namespace)
        raise Parsed

    words = shlex.split(text.replace("python -m ", "python ").replace("train.py", "train"), comments=True)
    if words[1] == "pytest":
        return True
    if words[1].endswith(".py"):
        return (ROOT / words[1]).is_file()
    if len(words) == 2 and words[1] in PACKAGES.split("|"):  # lists its commands
        return (ROOT / words[1] / "__main__.py").is_file()
    with monkeypatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)
        patch.setattr("sys.argv", words[1:])
        try:
            if words[1] == "train":
                importlib.import_module("train").parser().parse_args()
            else:
                importlib.import_module(f"{words[1]}.__main__").main()
        except Parsed:
            return True
        except (SystemExit, ModuleNotFoundError):
            return False
    return False


def is_link(text: str, target: str, page: Path) -> bool:
    """A file that is in the repository; [3: Heading](notebook) names a heading of the notebook."""
    path = (page.parent / target).resolve()
    if not path.is_file():
        return False
    number, _, heading = text.partition(": ")
    return not (path.suffix == ".ipynb" and heading) or (path.name.startswith(number) and heading in headings(path))


def missing(text: str, page: Path, monkeypatch) -> list[str]:
    """What a page's text names and the repository has not."""
    prose = re.sub(r"(?s)```.*?```", "", text)
    quoted = re.findall(r"`([^`\n]+)`", prose)
    links = re.findall(r"\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)", prose)
    return [
        *(name for name in quoted if name.startswith("tests/") and name != "tests/" and not is_test(name)),
        *(name for name in quoted if re.fullmatch(rf"(?:{PACKAGES})(?:\.\w+)+", name) and not is_name(name)),
        *(name for name in quoted if name.startswith("python ") and not is_command(name, monkeypatch)),
        *(target for label, target in links if "://" not in target and not is_link(label, target, page)),
    ]


def slides() -> dict[str, dict[str, str]]:
    """The index's headings and their four lines: formula, code, see it, test."""
    parts = re.findall(r"(?ms)^### (.*?)\n(.*?)(?=^##|\Z)", INDEX.read_text())
    return {heading: dict(re.findall(r"(?m)^- (formula|code|see it|test): (.+)$", text)) for heading, text in parts}


def shipped(monkeypatch) -> dict[str, str]:
    """Each command of shipped_results.py without its --out -> how the names of its results begin."""
    monkeypatch.syspath_prepend(ROOT / "notebooks" / "results")
    begin = {}
    for *_, command in importlib.import_module("shipped_results").COMMANDS:
        *words, flag, out = shlex.split(command.format(ddpm="ddpm", ddim="ddim", p2p="p2p"))
        assert flag == "--out", command
        model = words[words.index("--model") + 1] if "--model" in words else ""
        begin[shlex.join(words)] = out.rsplit(".", 1)[0] if "." in out else f"{out}/{words[1]}-{model}"
    return begin


def test_what_is_named_exists(monkeypatch):
    found = {page: missing(markdown(page), page, monkeypatch) for page in [INDEX, *NOTEBOOKS, *PAGES]}
    assert {page: names for page, names in found.items() if names} == {}


def test_commands_in_code_blocks_and_of_the_shipped_results_are_understood(monkeypatch):
    blocks = [b for page in (INDEX, *PAGES) for b in re.findall(r"(?s)```bash\n(.*?)```", page.read_text())]
    commands = re.findall(rf"(?m)^python (?:-m (?:{PACKAGES})|train.py).*$", "\n".join(blocks))
    results = [f"python -m {command}" for command in shipped(monkeypatch)]
    assert len(commands) > 5 and len(results) > 50
    assert [command for command in (*commands, *results) if not is_command(command, monkeypatch)] == []


def test_a_slides_picture_is_drawn_by_its_command(monkeypatch):
    commands = shipped(monkeypatch)
    for heading, lines in slides().items():
        quoted = [shlex.join(shlex.split(c)) for c in re.findall(r"`python -m ([^`]+)`", lines["see it"])]
        begin = tuple(commands[command] for command in quoted if command in commands)
        for picture in re.findall(r"\(results/(.+?)\)", lines["see it"]):
            assert picture.startswith(begin), (heading, picture)


@pytest.mark.slow
def test_the_readmes_python_example_saves_its_images(tmp_path, monkeypatch):
    (example,) = re.findall(r"(?s)```python\n(.*?)```", (ROOT / "README.md").read_text())
    monkeypatch.chdir(tmp_path)
    exec(example, {})
    assert (tmp_path / "butterflies.png").stat().st_size > 0


def test_every_slide_has_a_formula_code_a_test_and_a_place_to_see_it_and_every_notebook_is_linked():
    for heading, lines in slides().items():
        assert list(lines) == ["formula", "code", "see it", "test"], heading
        assert re.search(rf"`(?:{PACKAGES})\.", lines["code"]), heading
        assert "::test_" in lines["test"], heading
        assert "`python " in lines["see it"] or ".ipynb)" in lines["see it"], heading
    assert set(re.findall(r"\((\w+\.ipynb)\)", INDEX.read_text())) == {path.name for path in NOTEBOOKS}
    assert len(slides()) > 25


def test_a_name_that_does_not_exist_would_be_seen(monkeypatch):
    for wrong in (
        "`ddpm.bound.gaussian_kll`", "`tests/test_bound.py::test_nothing`", "`python -m ddpm bound --modell shapes`",
        "`python train.py --dataset x`", "[1: No heading](1_the_bound.ipynb)", "[an image](results/ddpm/nothing.png)",
    ):  # fmt: skip
        assert missing(f"text {wrong} text", INDEX, monkeypatch), wrong
