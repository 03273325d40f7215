"""The speed of the networks beside other libraries."""

import json

import pytest
import torch
from helpers import code_of
from tiny import SIXTEEN
from tqdm import tqdm

from ddpm.__main__ import main
from ddpm.experiments import speed


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(speed.PRESETS, "shapes", SIXTEEN)


def test_works_take_turns_and_the_first_round_is_not_counted():
    done, works = [], {}
    for library in ("a", "b"):
        works[library] = {name: lambda label=library + name: done.append(label) for name in ("1", "2")}
    with tqdm(disable=True) as bar:
        found = speed.compare(works, 3, torch.device("cpu"), bar)
    assert done == ["a1", "a2", "b1", "b2"] * 4
    assert all(len(seconds) == 3 for each in found.values() for seconds in each.values())


def test_the_table_shows_median_rates_and_how_many_times_as_fast_ours_is():
    cells = {
        speed.OURS: {"parameters": 10**6, "training": [1.0, 2.0, 4.0], "forward": [0.5], "forward, hook": [0.625]},
        speed.DDP: {"parameters": 2 * 10**6, "training": [3.0, 3.0, 3.0], "forward": [1.0]},
    }
    rows = speed.text({"settings": {"batch": 8}, "presets": {"shapes": cells}}).splitlines()[2:]
    assert [row.split()[-5:] for row in rows] == [
        ["training", "4.0", "75", "%", "1.00x"],  # 8, 4 and 2 images/s: half of the range is 3 of 4
        ["forward", "16.0", "0", "%", "1.00x"],
        ["hook", "12.8", "0", "%", "1.25x"],
        ["training", "2.7", "0", "%", "1.50x"],
        ["forward", "8.0", "0", "%", "2.00x"],
    ]


def test_the_command_measures_our_network_and_names_what_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(speed, "installed", lambda library: library == speed.OURS)
    flags = ("--presets", "shapes", "--batch", 2, "--repeats", 2, "--precision", "float32", "--device", "cpu")
    assert code_of(main, "speed", *flags, "--out", tmp_path) == 0
    out, record = capsys.readouterr().out, json.loads((tmp_path / "speed.json").read_text())
    assert "pip install diffusers" in out and "pip install denoising-diffusion-pytorch" in out
    cell = record["presets"]["shapes"][speed.OURS]
    assert set(cell) == {"parameters", *speed.WORKS} and {len(cell[work]) for work in speed.WORKS} == {2}


@pytest.mark.parametrize("library", [speed.DIFFUSERS, speed.DDP])
def test_another_librarys_network_is_of_our_size(library):
    if not speed.installed(library):
        pytest.skip(f"{library} is not installed")
    network, own = (speed.BUILDERS[name]("cifar10", 2, torch.device("cpu")) for name in (library, speed.OURS))
    assert speed.parameters(network.module) == pytest.approx(speed.parameters(own.module), rel=0.25)
    assert network.predict(torch.randn(2, 3, 32, 32), torch.tensor([3, 4])).shape == (2, 3, 32, 32)


def test_the_ddim_step_of_diffusers_is_ours():
    if not speed.installed(speed.DIFFUSERS):
        pytest.skip(f"{speed.DIFFUSERS} is not installed")
    x, eps = torch.randn(2, 2, 3, 32, 32)
    theirs, own = (speed.BUILDERS[name]("cifar10", 2, torch.device("cpu")) for name in (speed.DIFFUSERS, speed.OURS))
    torch.testing.assert_close(theirs.step(eps, x), own.step(eps, x))
