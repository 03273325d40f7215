"""Latent diffusion: the autoencoder and its training; a model of latents differs from others in `Trained` alone."""

from dataclasses import replace

import pytest
import torch
from helpers import normal
from test_training import SETTINGS
from tiny import AUTOENCODER, CONFIG, awake, make_data, make_unet
from torch.distributions import Normal, kl_divergence

import ddpm
from ddpm import Noise, Schedule, from_bytes, model
from ddpm.autoencoder import Autoencoder, autoencoder_loss, kl_to_standard_normal
from ddpm.experiments.caption_accuracy import few_steps
from ddpm.training.batches import Batches
from ddpm.utils import files
from unet import Tokenizer

DATA = make_data(24, 16)
X = from_bytes(DATA.images)
LATENTS = replace(CONFIG, size=4, image_channels=4, self_sizes=(2,), cross_sizes=(4, 2), predicts="v")


def make_autoencoder() -> Autoencoder:
    torch.manual_seed(0)
    autoencoder = awake(Autoencoder(AUTOENCODER)).eval()
    autoencoder.measure_scale(X)
    return autoencoder


def test_latents_have_the_small_shape_and_standard_deviation_1_and_decode_to_images():
    autoencoder = make_autoencoder()
    x_0 = autoencoder.encode(X)
    assert x_0.shape == (24, *AUTOENCODER.latent_shape) == (24, 4, 4, 4)
    assert x_0.std().item() == pytest.approx(1, abs=1e-5) and autoencoder.scale != 1
    torch.testing.assert_close(x_0 * autoencoder.scale, autoencoder.posterior(X)[0])
    assert autoencoder.decode(x_0).shape == X.shape


def test_the_loss_is_the_squared_error_and_the_closed_form_of_the_kl_divergence():
    mean, log_var = normal(5, 4), normal(5, 4, seed=1)
    expected = kl_divergence(Normal(mean, (log_var / 2).exp()), Normal(torch.zeros(()), torch.ones(())))
    torch.testing.assert_close(kl_to_standard_normal(mean, log_var), expected)
    loss = autoencoder_loss(X, X + 0.5, mean, log_var, 0.1)
    assert loss.item() == pytest.approx(0.25 + 0.1 * expected.mean().item())


def test_training_decodes_draws_from_the_encoders_distribution():
    autoencoder = make_autoencoder()
    autoencoder.decoder = torch.nn.Identity()
    z, mean, log_var = autoencoder(X)
    noise, n = (z - mean) / (log_var / 2).exp(), z.numel()
    assert abs(noise.mean()) < 4 / n**0.5 and abs(noise.var() - 1) < 4 * (2 / n) ** 0.5


def test_training_sees_the_latents_of_the_images_and_of_their_mirror_images():
    autoencoder, settings = make_autoencoder(), replace(SETTINGS, flip=True)
    batches = Batches(DATA, Tokenizer(), CONFIG.words, settings, torch.device("cpu"), autoencoder)
    plain, mirrored = autoencoder.encode(X), autoencoder.encode(X.flip(3))
    seen = [(x, i) for step in range(9) for x, i in zip(batches[step].x_0, batches.indices(step), strict=True)]
    is_plain, is_mirrored = ([bool((x - each[i]).abs().max() < 1e-5) for x, i in seen] for each in (plain, mirrored))
    assert all(a != b for a, b in zip(is_plain, is_mirrored, strict=True)) and 0 < sum(is_plain) < len(seen)


def test_one_file_holds_both_networks_and_samples_are_images(tmp_path):
    autoencoder, schedule = make_autoencoder(), Schedule(20, "cosine")
    unet, path = make_unet(LATENTS, 20, "cosine"), tmp_path / "latents.pt"
    about = model.description(LATENTS, Tokenizer(), schedule, autoencoder=autoencoder)
    files.save(path, about | {"info": {"ema": 0.05, "data": "shapes"}, "ema": {0.05: dict(unet.named_parameters())}})
    trained = ddpm.load(path)
    assert trained.shape == (4, 4, 4) and trained.image_shape == (3, 16, 16)
    assert torch.equal(trained.encode(X), autoencoder.encode(X))
    (images,) = model.generate(trained, ["a red circle"] * 2, [0, 1], few_steps(20))
    eps, noise = trained.eps(["a red circle"] * 2), Noise([0, 1])
    x_0 = ddpm.last(few_steps(20)(eps, schedule, noise.start((4, 4, 4)), noise))
    assert images.shape == (2, 3, 16, 16) and (images == ddpm.to_bytes(autoencoder.decode(x_0))).all()
    own = model.load_autoencoder(path)  # further models on the same latents
    assert own.config == AUTOENCODER and torch.equal(own.decode(x_0), autoencoder.decode(x_0))
