"""Reproducing everything with one command: the plan, and a tiny run of it."""

import importlib
import json
import shlex
from dataclasses import replace

import pytest
from helpers import code_of
from tiny import SIXTEEN

import train
from ddpm import cli
from ddpm.__main__ import main
from ddpm.config import RECIPES
from ddpm.experiments import reproduce
from unet import PRESETS


def planned(capsys, *flags: object) -> tuple[str, list[tuple[float, list[str]]]]:
    """The network of a plan, and its parts: minutes and words."""
    assert code_of(main, "reproduce", "--dry-run", *flags) == 0
    first, *rows, last = capsys.readouterr().out.strip().splitlines()
    parts = [(float(row.split()[0]), shlex.split(row.split("min", 1)[1])) for row in rows]
    assert float(last.split()[0]) == pytest.approx(sum(minutes for minutes, _ in parts), abs=0.5)
    return first.split()[1].rstrip(":"), parts


@pytest.mark.parametrize("minutes", [30, 720])
@pytest.mark.parametrize("gpu", reproduce.GPUS)
def test_a_plan_on_paper_fills_the_minutes_and_trains_for_more_than_half_of_them(capsys, gpu, minutes):
    network, parts = planned(capsys, "--data", "cifar10", "--gpu", gpu, "--minutes", minutes)
    assert sum(minutes for minutes, _ in parts) == pytest.approx(minutes, rel=0.02)
    training, words = parts[0]
    assert training >= 0.5 * minutes and words[1] == "train.py" and words[words.index("--preset") + 1] == network
    assert [words[2:4] for _, words in parts[-5:]] == [
        ["ddim", "reconstruct"], ["ddim", "figures"], ["ddpm", "score"], ["p2p", "edit"], ["p2p", "score"]
    ]  # fmt: skip


def test_a_faster_gpu_and_more_minutes_never_make_the_table_smaller(capsys):
    counts = []
    for gpu, minutes in (("T4", 30), ("T4", 720), ("A100", 720), ("H100", 720)):
        _, parts = planned(capsys, "--gpu", gpu, "--minutes", minutes)
        words = parts[1][1]
        counts.append(int(words[words.index("--n") + 1]))
    assert counts == sorted(counts) and counts[0] < counts[-1]


def test_bad_input_is_refused(capsys):
    for flags, message in (
        (["--minutes", "0"], "--minutes is 0: expected more than 0"),
        (["--gpu", "A100"], "add --dry-run"),
        (["--data", "moons"], "invalid choice: 'moons'"),
    ):
        assert code_of(main, "reproduce", *flags) == 2
        assert message in capsys.readouterr().err


def in_process(words: list[str]) -> int:
    """A part's command, run here, so that it finds the tiny network."""
    if words[0] == "train.py":
        return cli.exit_code("train.py", lambda: train.run(train.parser().parse_args(words[1:])))
    return importlib.import_module(f"{words[1]}.__main__").main(words[2:])


@pytest.mark.slow
def test_a_tiny_run_makes_its_parts_once_and_a_page(tmp_path, monkeypatch, capsys):
    """The quick parts, on the shapes; a second call does nothing again, other minutes are refused."""
    monkeypatch.setattr(reproduce, "COUNTS", (4,) * 5)
    monkeypatch.setattr(reproduce, "SHORT", (2, 3))
    monkeypatch.setattr(reproduce, "LONG", (5,))
    monkeypatch.setattr(reproduce, "timed", lambda preset, device: reproduce.Rates(50.0, 1e6))
    plan, quick = reproduce.plan, ("runs", "table", "table 1000", "captions", "edit")
    monkeypatch.setattr(reproduce, "plan", lambda *a: [part for part in plan(*a) if part.name in quick])
    monkeypatch.setitem(PRESETS, "shapes", SIXTEEN)
    monkeypatch.setitem(RECIPES, "shapes", replace(RECIPES["shapes"], report=4))
    ran = []
    monkeypatch.setattr(reproduce, "exit_code_of", lambda words: ran.append(tuple(words[1:3])) or in_process(words))
    flags = ["reproduce", "--data", "shapes", "--minutes", "0.05", "--device", "cpu", "--out", tmp_path / "all"]
    assert code_of(main, *flags) == 0
    page = (tmp_path / "all" / "index.html").read_text()
    assert len(ran) == 5 and ran.count(("ddim", "table")) == 2
    titles = ("Training", "Frechet distance", "Do images show", "Prompt-to-Prompt")
    assert all(f"<h2>{title}" in page for title in titles)
    for source in [part.split("'")[0] for part in page.split("<img src='")[1:]]:
        assert (tmp_path / "all" / source).stat().st_size > 1000
    assert code_of(main, *flags) == 0 and len(ran) == 5
    assert json.loads((tmp_path / "all" / "plan.json").read_text())["preset"] == "shapes"
    assert code_of(main, *flags, "--minutes", "0.3") == 2 and "minutes 0.05, not 0.3" in capsys.readouterr().err
