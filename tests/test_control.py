"""ControlNet: it starts as the frozen network, trains its copy alone, and refuses what cannot steer it."""

from dataclasses import replace

import torch
from tiny import CONFIG, PREDICTS_V, awake, make_data, make_unet

from ddpm import Schedule
from ddpm.training import Settings, Training
from unet import ControlledUNet, Tokenizer

SETTINGS = Settings(batch=8, images=32, learning_rate=1e-2, warmup=0, weighting="v", control=True)


def inputs(n: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """x_t, t, tokens and a condition of random lines."""
    source = torch.Generator().manual_seed(0)
    tokens = Tokenizer().encode(["a red circle"] * n, CONFIG.words)
    lines = (torch.rand(n, 1, 8, 8, generator=source) > 0.7).float()
    return torch.randn(n, 3, 8, 8, generator=source), torch.tensor([3, 700])[:n], tokens, lines


def make_control_training() -> Training:
    data = make_data(24)
    data = replace(data, drawings=255 - data.images[:, :1])
    return Training(SETTINGS, ControlledUNet(make_unet(PREDICTS_V)), Tokenizer(), Schedule(), data)


def test_a_new_controlnet_is_the_frozen_network_bit_for_bit():
    base, (x, t, tokens, lines) = make_unet(), inputs()
    assert torch.equal(ControlledUNet(base)(x, t, tokens, condition=lines), base(x, t, tokens))


def test_training_changes_the_copy_and_nothing_of_the_frozen_network():
    training = make_control_training()
    before = {name: p.clone() for name, p in training.unet.named_parameters()}
    for _ in training.run():
        pass
    for name, p in training.unet.named_parameters():
        if name.startswith("control."):
            assert not torch.equal(p, before[name]), name
        else:
            assert p.grad is None and torch.equal(p, before[name]), name
    assert set(training.state()["unet"]) == {name[8:] for name in before if name.startswith("control.")}


def test_a_mirrored_image_has_a_mirrored_drawing():
    batch = make_control_training().batches[0]  # of images whose drawing is 255 - red
    torch.testing.assert_close(batch.condition, (1 - batch.x_0[:, :1]) / 2, rtol=0, atol=1e-6)


def test_a_drawing_acts_by_its_strength_and_without_one_the_frozen_network_answers():
    base, (x, t, tokens, lines) = make_unet(), inputs()
    unet = awake(ControlledUNet(base).eval())
    unet.load_state_dict(base.state_dict(), strict=False)  # the frozen part as it was
    frozen = base(x, t, tokens)
    assert torch.equal(unet(x, t, tokens), frozen)
    assert torch.equal(unet(x, t, tokens, condition=lines, strength=0.0), frozen)
    full, blank = unet(x, t, tokens, condition=lines), unet(x, t, tokens, condition=torch.zeros_like(lines))
    assert (full - frozen).abs().max() > 1e-3 and (full - blank).abs().max() > 1e-3
