"""The speed of the networks beside other libraries."""

import sys
from types import ModuleType

import pytest
import torch
from helpers import code_of
from tiny import SIXTEEN

from ddpm.__main__ import main
from ddpm.experiments import speed
from unet import PRESETS

CPU = torch.device("cpu")


def test_works_take_turns_and_the_first_round_is_not_counted(monkeypatch):
    done, clock = [], iter([0, 9, 9, 18, 20, 21, 21, 25, 30, 33, 33, 38, 40, 45, 45, 51])  # began, ended
    monkeypatch.setattr(speed.time, "perf_counter", lambda: next(clock))
    found = speed.measure({name: lambda name=name: done.append(name) for name in "ab"}, 3, CPU)
    assert done == list("abababab") and found == {"a": 3, "b": 5}  # medians of 1, 3, 5 and of 4, 5, 6


def test_the_command_measures_our_network_and_names_what_is_not_here(tmp_path, monkeypatch, capsys):
    """A library that is installed and breaks at its import is as one that is not here, whatever it raises."""
    monkeypatch.setitem(speed.PRESETS, "shapes", SIXTEEN)

    def broken(name: str) -> object:
        kind = AttributeError if name.startswith("__") else RuntimeError
        raise kind("operator torchvision::nms does not exist\nand a second line")

    library = ModuleType("library")
    library.__getattr__ = broken
    for module in (name.split(":")[0] for name in speed.CLASSES.values()):
        monkeypatch.setitem(sys.modules, module.split(".")[0], library)
        monkeypatch.setitem(sys.modules, module, library)
    flags = ("--presets", "shapes", "--batch", 2, "--repeats", 1, "--precision", "float32", "--device", "cpu")
    assert code_of(main, "speed", *flags, "--out", tmp_path) == 0
    out = capsys.readouterr().out
    for work in ("training", "DDIM step", "P2P step"):
        assert any(line.split()[:3] == ["shapes", "ours", work.split()[0]] for line in out.splitlines())
    assert "not here: diffusers (RuntimeError: operator torchvision::nms does not exist): pip install" in out
    assert "pip install denoising-diffusion-pytorch\n" in out and out.startswith((tmp_path / "speed.txt").read_text())


@pytest.mark.parametrize("library", speed.CLASSES)
def test_another_librarys_network_is_of_our_size(library):
    if isinstance(why := speed.imported(library), str):
        pytest.skip(f"{library} is not here: {why}")
    network, predict = speed.other_network(library, PRESETS["cifar10"], 2, CPU)
    ours = speed.UNet(PRESETS["cifar10"], len(speed.Tokenizer()), torch.ones(1001))
    counts = [sum(p.numel() for p in each.parameters()) for each in (network, ours)]
    assert counts[0] == pytest.approx(counts[1], rel=0.25)
    assert predict(torch.randn(2, 3, 32, 32), torch.tensor([3, 4])).shape == (2, 3, 32, 32)
