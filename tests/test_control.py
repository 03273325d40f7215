"""ControlNet: it starts as the frozen network, trains its copy alone, follows a drawing; sketches from files."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import normal
from PIL import Image
from tiny import CONFIG, PREDICTS_V, awake, make_data, make_unet, save_model

import ddpm
from ddpm import Schedule
from ddpm.data import DataError, lines
from ddpm.training import Settings, Training
from ddpm.utils import files
from unet import ControlledUNet, Tokenizer

LINES = (normal(2, 1, 8, 8) > 0.5).float()
X = normal(2, 3, 8, 8).float(), torch.tensor([3, 700]), Tokenizer().encode(["a red circle"] * 2, CONFIG.words)


def test_a_new_controlnet_is_the_frozen_network_bit_for_bit():
    base = make_unet()
    assert torch.equal(ControlledUNet(base)(*X, condition=LINES), base(*X))


def test_the_copy_begins_with_the_frozen_networks_own_maps():
    """Without the zero convolutions and with strength -1 it takes them all away: nothing of x is left."""
    unet = ControlledUNet(make_unet()).eval()
    unet.control.out = torch.nn.ModuleList(torch.nn.Identity() for _ in unet.control.out)
    assert torch.equal(*(unet(x, *X[1:], condition=LINES, strength=-1.0) for x in (X[0], X[0].flip(0))))


def test_a_drawing_acts_by_its_strength_and_without_one_the_frozen_network_answers():
    base = make_unet()
    unet = ControlledUNet(base).eval()
    awake(unet.control)
    assert torch.equal(unet(*X), base(*X)) and torch.equal(unet(*X, condition=LINES, strength=0.0), base(*X))
    for other in (base(*X), unet(*X, condition=1 - LINES), unet(*X, condition=LINES, strength=0.5)):
        assert (unet(*X, condition=LINES) - other).abs().max() > 1e-3


def test_training_changes_all_of_the_copy_and_nothing_else_and_mirrors_drawings_with_images():
    data, settings = make_data(24), Settings(batch=8, images=32, learning_rate=1e-2, warmup=0, weighting="v")
    data = replace(data, drawings=255 - data.images[:, :1])
    training = Training(settings, ControlledUNet(make_unet(PREDICTS_V)), Tokenizer(), Schedule(), data)
    batch, before = training.batches[0], {name: p.clone() for name, p in training.unet.named_parameters()}
    torch.testing.assert_close(batch.condition, (1 - batch.x_0[:, :1]) / 2, rtol=0, atol=1e-6)  # half are mirrored
    list(training.run())
    for name, p in training.unet.named_parameters():
        is_copy = name.startswith("control.")
        assert torch.equal(p, before[name]) != is_copy and (p.grad is None) != is_copy, name


def test_a_checkpoint_has_the_copy_alone_and_refuses_another_base(tmp_path: Path):
    path, base = tmp_path / "control.pt", save_model(tmp_path / "base.pt")
    trained, named = ddpm.load(base), {"model": str(base), "sha256": files.sha256(base)}
    unet = ControlledUNet(trained.unet)
    about = ddpm.model.description(unet.config, trained.tokenizer, trained.schedule, named)
    copy = {0.05: dict(awake(unet.control).named_parameters())}
    files.save(path, about | {"info": {"ema": 0.05, "data": "shapes"}, "ema": copy})
    assert all(map(torch.equal, ddpm.load(path).unet.parameters(), unet.parameters()))
    save_model(base, T=21)
    with pytest.raises(files.CheckpointError, match="is not the model that the ControlNet was trained on"):
        ddpm.load(path)


def test_a_sketch_of_any_size_is_its_lines_and_an_empty_or_a_missing_one_is_refused(tmp_path: Path):
    for name, first, last in (("empty", 0, 0), ("dark", 0, 320), ("line", 100, 110)):
        paper = np.full((320, 480), 255, dtype=np.uint8)
        paper[first:last] = 0
        Image.fromarray(paper).save(tmp_path / f"{name}.png")
    expected = np.zeros((1, 32, 32), dtype=np.uint8)
    expected[0, 10] = 255  # rows 100 to 109 of 320
    assert np.array_equal(lines.sketch(tmp_path / "line.png"), expected)
    for name, reason in (("empty", "is empty"), ("dark", "is dark"), ("none", "is missing")):
        with pytest.raises(DataError, match=f"{name}.png {reason}"):
            lines.sketch(tmp_path / f"{name}.png")
