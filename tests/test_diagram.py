"""The diagram of a network says what the module is: its layers, their channels, the skip connections."""

from dataclasses import replace

import pytest
import torch
from tiny import CONFIG, make_unet, save_model

from ddpm.__main__ import main
from ddpm.experiments import diagram
from unet import PRESETS, Tokenizer, UNet
from unet.blocks import ResBlock

PLAIN = torch.linspace(1, 0.01, 1001)


@pytest.mark.parametrize("name", ["shapes", "scenes", "ddpm", "celeba64"])
def test_every_layer_is_drawn_once_and_stands_beside_the_map_it_takes(name):
    unet = UNet(PRESETS[name], len(Tokenizer()), PLAIN)
    rows = diagram.rows_of(unet)
    blocks = [block for row in rows for block in row if block]
    kinds = [kind for block in blocks for kind, _ in block.bars]
    assert kinds.count("residual") == sum(isinstance(module, ResBlock) for module in unet.modules())
    for kind in ("self", "cross"):
        assert kinds.count(kind) == sum(site.kind == kind for site in unet.sites)
    for left, right in rows:
        if right.takes:
            assert (left.channels, left.size) == (right.takes, right.size)
    assert sum(bool(right.takes) for _, right in rows) == 1 + len(unet.down)


def test_the_map_sizes_are_those_of_a_forward_pass():
    """In the order in which the blocks run, against what leaves the modules."""
    unet, seen = make_unet(replace(CONFIG, size=16, stem=2)), []
    for module in (unet.first, *unet.down, *unet.middle, *unet.up, unet.last):
        module.register_forward_hook(lambda module, given, out: seen.append((out.shape[1], out.shape[2])))
    unet(torch.zeros(1, 3, 16, 16), torch.ones(1, dtype=torch.long), torch.ones(1, 8, dtype=torch.long))
    down, middle, up = diagram.blocks_of(unet)
    assert [(block.channels, block.size) for block in (*down, *middle, *up)] == seen


def test_the_command_writes_the_diagram_of_a_model(tmp_path, capsys):
    model = save_model(tmp_path / "model.pt")
    assert main(["diagram", "--model", str(model), "--out", str(tmp_path)]) == 0
    assert str(tmp_path / "diagram-model.png") in capsys.readouterr().out
    assert (tmp_path / "diagram-model.png").stat().st_size > 10_000
