"""The notebooks: they run from first to last, define no algorithm, and their exercises know right from wrong.

Each is run in a kernel of its own, in a process of its own, by the command that `notebooks/INDEX.md` names. Cells are
added at its end: each exercise in which a function is written, with its solution; the check of the numbers with the
right ones, which must pass, and with each of them wrong, which must not.
"""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import indent

import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
EACH = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
MOST_BYTES, MOST_PICTURE, LONGEST_DEF = 300_000, 66_000, 3
PHOTOGRAPHS = {"9_real_images": 500_000}  # bytes: they need all their colours

# the right numbers, worked out by hand
NUMBERS = {
    # 16 * 16 pixels, 64 * 64 pairs of channels, 3 * 3 places; 128 + 128 from the way down; 3 x 3, 5 x 5, 7 x 7
    "0_the_network": [9_437_184, 256, 49],
    # where the derivative of log s + 4 / s is zero; 1 - f(1) / f(0) of the cosine schedule
    "1_the_bound": [4.0, 4.128e-5],
    # the first t of a product of 1 - beta_t, from 1e-4 to 0.02, below 1/2; (0.5 - 0.8 * 0.25) / 0.6
    "2_the_forward_process": [260, 0.5],
    "3_ddpm": [1000, 1],  # once a step; the noise's own variance
    "4_naive_editing": [20, 0.5],  # 0.4 * 50; sqrt(0.25)
    "5_ddim": [0.4, 0.5774],  # 1 - 0.6, whatever sigma is; sqrt(0.4 / 0.8) * sqrt(1 - 1 / 3)
    "6_inversion": [100, 200, 0.5],  # 2 * 50; guidance calls the network twice; 1 / sqrt(4) standard deviations
    "7_attention_maps": [4096, 10],  # 8 * 8 * 16 * 4; the tenth word
    "8_prompt_to_prompt": [0.3333, 1.3],  # three words share one map; 0.2 + 2 * 0.3 + 0.5
    "10_latents_and_control": [12, 1.0, 0.0],  # 3 * 64 * 64 / (4 * 16 * 16); dy/dw = x, times 0.5; w = 0
    "9_real_images": [50, 0.04],  # 4.67 at S = 50 is the first below 4.73; only the variance 0.2^2 differs
}

SHORTER = {  # training, steps and images that a test need not wait for: what stands there -> what is run
    "0_the_network": {
        "IMAGES = 32_000": "IMAGES = 320", "scatter(30_000": "scatter(8_000", "device), 30))": "device), 4))",
        "x_T, 20)))": "x_T, 4)))",
    },
    "1_the_bound": {"steps=1000": "steps=100", "bits_per_dim(eps, trained.schedule": "bits_per_dim(eps, Schedule(20)"},
    "3_ddpm": {
        "range(2000)": "range(200)", "range(0, 2000, 50)": "range(0, 200, 50)", "images=9600": "images=640",
        "x_T, 15,": "x_T, 3,", "shipped.schedule, x_T, gen": "ddpm.Schedule(20), x_T, gen", "start, 20))": "start, 4))",
        "[999, 900, 800, 700, 600, 500, 400, 300, 200, 100, 0]": "[*range(10, -1, -1)]", "(5, 20, 50)": "(5, 10)",
    },
    "4_naive_editing": {
        "few = 20,": "few = 5,", ", 10)[1]": ", 2)[1]", "[0, 1, 10]": "[0, 1, 2]", "(2, 10)": "(2, 2)",
        "range(20)": "range(4)", "[0, 10]": "[0, 2]", "targets[10]": "targets[2]", "[10:12]": "[2:4]",
    },
    "6_inversion": {
        "(5, 10, 30)": "(5,)", "(10, 20, 50)": "(10,)", "S = 15": "S = 5", "start, 20,": "start, 4,",
        "x_T, 20)": "x_T, 4)", "reconstruct(eps, 10": "reconstruct(eps, 3",
    },
    "7_attention_maps": {"scatter(60": "scatter(30", "range(60)": "range(30)", "x_T, 20)": "x_T, 5)"},
    "8_prompt_to_prompt": {
        "x_T, 20, 2.0": "x_T, 4, 2.0", "EditSettings(20": "EditSettings(4", "x_0, 20)": "x_0, 4)", "] * 6": "] * 2",
        "range(6)": "range(2)", "reshape(2, 6)": "reshape(2, 2)", "range(10)": "range(2)", "]] * 10": "]] * 2",
        "timesteps(1000, 20)": "timesteps(1000, 4)", "i / 20": "i / 4", "source, target, 3)": "source, target, 1)",
        "] * 3": "] * 1", "[0, 1, 2], x_T": "[0], x_T",
    },
    "9_real_images": {
        "S, schedule, smiles = 20": "S, schedule, smiles = 4", "S=20, scale": "S=4, scale", "(10, 50)": "(4, 5)",
        "* 8, (5, 10, 20)": "* 2, (2, 3, 4)", "range(8, 16)": "range(8, 10)", "prompts, range(8)": "prompts, range(2)",
        "50, 1.0": "5, 1.0",
    },
    "10_latents_and_control": {"device), 20)": "device), 4)", "x_T, 20, 2.0": "x_T, 4, 2.0", "x_T, 20))": "x_T, 4))"},
}  # fmt: skip


def cells(path: Path, kind: str = "code") -> list[dict]:
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == kind]


def source(cell: dict) -> str:
    return "".join(cell["source"])


def tagged(path: Path, tag: str) -> dict:
    (cell,) = [cell for cell in cells(path) if tag in cell["metadata"].get("tags", ())]
    return cell


def exercises(path: Path) -> dict[str, list[str]]:
    """Name of each function that the student writes -> the code from the stub to the next prose."""
    found, name = {}, None
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if "exercise" in cell["metadata"].get("tags", ()):
            name = source(cell).removeprefix("def ").partition("(")[0]
        elif cell["cell_type"] == "markdown":
            name = None
        if name:
            found.setdefault(name, []).append(source(cell))
    return found


def solved(path: Path) -> list[str]:
    """A cell for each exercise: its solution is found to be right, and the notebook goes on with it."""
    return [
        "\n".join([f"from solutions import {name}", *after, f"assert my_{name} is {name}"])
        for name, (_, *after) in exercises(path).items()
    ]


def proof(path: Path) -> list[str]:
    """Two cells: the check passes with the right numbers, and stops at each one that is wrong, be it a count by one."""
    check, right = source(tagged(path, "check")), NUMBERS[path.stem]
    mistakes = [(i, 1) for i, answer in enumerate(right) if isinstance(answer, int)]
    mistakes += [(i, abs(answer) / 2 + 0.1) for i, answer in enumerate(right)]
    refused = f"""for wrong, by in {mistakes}:
    answers = [answer + by * (i == wrong) for i, answer in enumerate({right})]
    try:
{indent(check, 8 * " ")}
    except AssertionError as error:
        assert f"exercise {{wrong + 1}}:" in str(error)
    else:
        raise RuntimeError(f"an answer to exercise {{wrong + 1}} that is wrong by {{by}} was let through")"""
    return [f"answers = {right}\n{check}", refused]


def run(path: Path, folder: Path) -> subprocess.CompletedProcess:
    """Execute a notebook and its proof in a folder that lies beside the packages, with this Python and no settings."""
    (folder / "notebooks").mkdir(parents=True)
    for room in ("unet", "ddpm", "ddim", "p2p"):
        (folder / room).symlink_to(ROOT / room)
    for module in ("exercises.py", "checking.py", "solutions.py"):
        (folder / "notebooks" / module).symlink_to(ROOT / "notebooks" / module)
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for i, text in enumerate(solved(path) + proof(path)):
        cell = {"cell_type": "code", "id": f"proof-{i}", "source": text}
        notebook["cells"].append(cell | {"metadata": {}, "outputs": [], "execution_count": None})
    copy = folder / "notebooks" / path.name
    text = json.dumps(notebook)
    for long, short in SHORTER.get(path.stem, {}).items():
        assert long in text, long
        text = text.replace(long, short)
    copy.write_text(text)
    homes = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    alone = {name: str(folder / name.lower()) for name in homes} | {"OMP_NUM_THREADS": "1", "JUPYTER_PATH": ""}
    command = [sys.executable, "-c", "from nbclient.cli import main; main()", "--kernel_name=python3"]
    command += ["--startup_timeout=300", str(copy)]
    return subprocess.run(command, env=os.environ | alone, capture_output=True, text=True, timeout=1800)


@pytest.mark.slow
@EACH
def test_it_runs_from_first_to_last_and_knows_right_from_wrong(path, runs):
    done = runs[path].result()
    assert done.returncode == 0, done.stderr[-3000:]


@EACH
def test_it_uses_the_packages_and_draws_without_smoothing(path):
    """One device, functions of at most a few lines, no classes; what `strip` does not draw is drawn "nearest" too."""
    text = "\n".join(source(cell) for cell in cells(path)).replace("%matplotlib inline", "")
    nodes = list(ast.walk(ast.parse(text)))
    assert not any(isinstance(node, ast.ClassDef) for node in nodes)
    assert max((n.end_lineno - n.lineno for n in nodes if isinstance(n, ast.FunctionDef)), default=0) < LONGEST_DEF
    loads = [line for line in text.splitlines() if "ddpm.load(" in line]
    assert loads and all("device=device" in line for line in loads) and text.count("best_device()") == 1
    default = "'nearest'" if '"image.interpolation": "nearest"' in text else None
    for call in (node for node in nodes if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "imshow"):
        chosen = {word.arg: ast.unparse(word.value) for word in call.keywords}.get("interpolation", default)
        assert chosen == "'nearest'"


@EACH
def test_it_is_kept_with_its_outputs(path):
    """Every cell was run in order, none failed or warned, the figures are there, and all of it is small."""
    code = cells(path)
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert not [o for o in outputs if o["output_type"] == "error" or o.get("name") == "stderr"]
    framed = [o for o in outputs if "<iframe" in "".join(o.get("data", {}).get("text/html", ()))]
    assert all("image/png" in o["data"] for o in outputs if "data" in o and o not in framed)  # no object of Python
    images = [o["data"]["image/png"] for o in outputs if "image/png" in o.get("data", {})]
    assert len(images) >= 2 and max(map(len, images)) <= MOST_PICTURE * 4 / 3
    assert path.stat().st_size <= PHOTOGRAPHS.get(path.stem, MOST_BYTES)


@EACH
def test_two_or_three_functions_are_written_and_numbers_are_asked(path):
    """A heading that names the function, a stub, a check of one line, a figure, what to see; answers at the end."""
    text = "\n".join(source(cell) for cell in cells(path, "markdown"))
    assert 2 <= len(found := exercises(path)) <= 3 and "solutions" not in text
    for name, code in found.items():
        assert f"\n### Write `{name}`\n" in text and len(code) == 3
        check, use = (cell for cell in cells(path) if source(cell) in code[1:])
        (line,) = "".join(check["outputs"][0]["text"]).splitlines()
        assert line.startswith(f"{name}: it returns None") and line.endswith("the repository's own function.")
        assert f"my_{name}" in source(use) and any("image/png" in output.get("data", {}) for output in use["outputs"])
    assert text.partition("## Exercises: write the method")[2].count("**What to see.**") == len(found)
    asked, n = text.partition("## Exercises: numbers")[2].splitlines(), len(NUMBERS[path.stem])
    assert [line[:2] for line in asked if line[:1].isdigit()] == [f"{i}." for i in range(1, n + 1)]
    assert [source(cell) for cell in cells(path)[-2:]][0] == f"answers = {[None] * n}"
