"""Reproducing everything with one command: the plan, and a tiny run of it."""

import argparse
import importlib
import json
import shlex
from dataclasses import replace

import pytest
from helpers import code_of
from tiny import SIXTEEN

import train
from ddpm.__main__ import main
from ddpm.experiments import reproduce
from ddpm.training import RECIPES
from ddpm.utils import cli
from ddpm.utils.files import CheckpointError
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


@pytest.mark.parametrize("gpu", ["A100", "H100"])
def test_twelve_hours_on_a_large_gpu_reserve_the_column_of_1000_steps(capsys, gpu):
    _, parts = planned(capsys, "--gpu", gpu)
    words = parts[2][1]
    assert words[words.index("--columns") + 1 : words.index("--rows")] == ["1000"]
    assert {"0", "1"} <= set(words[words.index("--rows") + 1 :]) and words[words.index("--features") + 1] == "inception"


def test_with_fewer_calls_a_table_loses_rows_and_images_and_never_costs_more_than_it_may():
    tables = [reproduce.choose_table(calls) for calls in (10**9, 2 * 10**7, 10**7, 10**6, 10**5)]
    spent = [n * (180 * len(rows) + 1000 * len(long)) for rows, long, n in tables]
    assert all(cost <= calls for cost, calls in zip(spent, (10**9, 2 * 10**7, 10**7, 10**6, 10**5), strict=True))
    assert [len(long) for _, long, _ in tables] == [3, 2, 0, 0, 0] and tables[1][1] == ("0", "1")
    assert [len(rows) for rows, _, _ in tables] == [6, 6, 6, 6, 2] and tables[4][0] == ("0", "1")
    counts = [n for *_, n in tables]
    assert counts == sorted(counts, reverse=True)


def test_photographs_take_the_official_network_where_it_can_be_had(tmp_path, monkeypatch, capsys):
    def chosen(data: str, *flags: str) -> str:
        parser = argparse.ArgumentParser()
        reproduce.add_flags(parser)
        return reproduce.features_of(parser.parse_args(["--data", data, "--out", str(tmp_path), *flags]))

    def offline():
        raise CheckpointError("the Inception network could not be fetched")

    monkeypatch.setattr(reproduce, "fetched", lambda: "here.pt")
    assert [chosen(data) for data in reproduce.NETWORKS] == ["inception", "inception", "classifier", "classifier"]
    assert chosen("cifar10", "--features", "classifier") == "classifier"
    monkeypatch.setattr(reproduce, "fetched", offline)
    capsys.readouterr()
    assert chosen("celeba") == "classifier" and "its distance is no FID" in capsys.readouterr().out
    with pytest.raises(CheckpointError, match="could not be fetched"):
        chosen("celeba", "--features", "inception")


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
    """Every part, on the shapes; a second call does nothing again, other minutes are refused."""
    monkeypatch.setattr(reproduce, "COUNTS", (4,) * 5)
    monkeypatch.setattr(reproduce, "SHORT", (2, 3))
    monkeypatch.setattr(reproduce, "LONG", (5,))
    monkeypatch.setattr(reproduce, "TABLES", ((reproduce.ROWS, ("0",), 0),))
    monkeypatch.setattr(reproduce, "timed", lambda preset, device: reproduce.Rates(50.0, 1e6))
    monkeypatch.setitem(PRESETS, "shapes", SIXTEEN)
    monkeypatch.setitem(RECIPES, "shapes", replace(RECIPES["shapes"], report=4))
    ran = []
    monkeypatch.setattr(reproduce, "exit_code_of", lambda words: ran.append(tuple(words[1:3])) or in_process(words))
    flags = ["reproduce", "--data", "shapes", "--minutes", "0.05", "--device", "cpu", "--out", tmp_path / "all"]
    assert code_of(main, *flags) == 0
    page = (tmp_path / "all" / "index.html").read_text()
    assert len(ran) == 8 and ran.count(("ddim", "table")) == 2
    titles = ["Training", "Frechet", "Reconstruction", "Samples", "Do images", "Prompt-to-Prompt<", "Prompt-to-Prompt "]
    assert all(f"<h2>{title}" in page for title in titles)
    for source in [part.split("'")[0] for part in page.split("<img src='")[1:]]:
        assert (tmp_path / "all" / source).stat().st_size > 1000
    assert code_of(main, *flags) == 0 and len(ran) == 8
    assert json.loads((tmp_path / "all" / "plan.json").read_text())["preset"] == "shapes"
    assert code_of(main, *flags, "--minutes", "0.3") == 2 and "minutes 0.05, not 0.3" in capsys.readouterr().err
