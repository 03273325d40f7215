"""What a GPU needs, as far as a machine without one can show it; the last tests need a GPU and are skipped without."""

import json
import math
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import code_of
from test_training import PLAIN, SETTINGS, by_plain_descent, finished, flat
from tiny import CONFIG, PREDICTS_V, PROMPTS, make_data, make_trained, make_training, make_unet, save_model

import ddim
import ddpm
import ddpm.training.batches
import p2p
from ddim.__main__ import main as ddim_main
from ddpm import Noise, Schedule, Trained
from ddpm.__main__ import main as ddpm_main
from ddpm.data import shapes
from ddpm.experiments.caption_accuracy import few_steps
from ddpm.model import LARGEST_BATCH, generate
from ddpm.training import Settings, Training
from p2p.real import null_text
from unet import Tokenizer, UNet
from unet.precision import resolve

CUDA = torch.device("cuda")
ONE_STAGE = replace(PREDICTS_V, multipliers=(1,), self_sizes=(8,), cross_sizes=(8,))  # every kind of layer, and few
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")


# ---- training --------------------------------------------------------------------------------------------------------


def test_a_gpu_trains_in_bfloat16_where_it_has_convolutions_in_it_and_in_float16_where_it_has_not(monkeypatch):
    for capability, precision in (((6, 1), "float32"), ((7, 5), "float16"), ((8, 0), "bfloat16"), ((9, 0), "bfloat16")):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, found=capability: found)
        assert resolve("auto", CUDA) == precision and resolve("float32", CUDA) == "float32"


def test_a_step_whose_scaled_gradients_overflow_is_skipped_and_the_scale_is_halved_and_kept_with_the_run():
    training = make_training(replace(SETTINGS, weighting="eps", precision="float16"))
    loss, before = training.loss, flat(training.unet)

    def spoiled(batch):
        value = loss(batch)
        value.register_hook(lambda gradient: gradient * math.inf)
        return value

    training.loss = spoiled
    training.one_step(1e-3)
    assert torch.equal(flat(training.unet), before) and training.scaler.get_scale() == 2.0**11
    training.loss = loss
    training.one_step(1e-3)
    assert not torch.equal(flat(training.unet), before)
    second = make_training(replace(SETTINGS, precision="float16"))
    second.restore(training.state())
    assert second.scaler.get_scale() == 2.0**11


def test_a_batch_in_parts_is_the_whole_batch_up_to_rounding():
    whole, cut = by_plain_descent(PLAIN), by_plain_descent(PLAIN)
    cut.parts = 4
    (one,), (other,) = whole.run(), cut.run()
    assert other.loss == pytest.approx(one.loss, rel=1e-5)
    torch.testing.assert_close(flat(cut.unet), flat(whole.unet), rtol=0, atol=1e-6)


def test_memory_is_tried_and_a_batch_is_cut_in_equal_parts_until_it_fits(monkeypatch):
    """On the device that holds no numbers, which refuses some rows at once, as a GPU does."""
    loss, adam, sizes = Training.loss, torch.optim.AdamW, []
    monkeypatch.setattr(torch.optim, "AdamW", lambda weights, weight_decay, fused: adam(weights))
    monkeypatch.setattr(ddpm.training.batches, "generator", lambda *of: None)

    def on_gpu_of(held: int, batch: int) -> Training:
        def small(self, batch):
            sizes.append(len(batch.t))
            if len(batch.t) > held:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return loss(self, batch)

        sizes.clear()
        monkeypatch.setattr(Training, "loss", small)
        unet, schedule = make_unet(ONE_STAGE).to("meta").train(), Schedule(SETTINGS.T, SETTINGS.schedule)
        return Training(replace(SETTINGS, batch=batch), unet, Tokenizer(), schedule, make_data(24))

    for batch, held, tried in ((8, 8, [8]), (12, 3, [12, 6, 3]), (6, 1, [6, 3, 1])):
        assert on_gpu_of(held, batch).parts == batch // tried[-1] and sizes == tried
    with pytest.raises(ValueError, match="does not hold the training of one image"):
        on_gpu_of(0, 8)


def test_training_reads_numbers_of_the_gpu_once_in_ten_steps(monkeypatch):
    training, reads = make_training(replace(SETTINGS, images=8 * 10, weighting="eps", precision="float16")), []
    for name in ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__"):
        read = getattr(torch.Tensor, name)
        monkeypatch.setattr(torch.Tensor, name, lambda x, *a, name=name, read=read: reads.append(name) or read(x, *a))
    finished(training)
    assert reads == ["tolist"]


# ---- sampling --------------------------------------------------------------------------------------------------------


def test_half_precision_is_near_float32_and_ends_in_it():
    """Of numbers around 1, float16 keeps 11 bits and bfloat16 8: the errors are about 2^-11 and 2^-8 of the output."""
    trained = make_trained()
    x, t = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.full((4,), 12)
    exact = trained.eps(PROMPTS[:1])(x, t)
    for precision, bits in (("float16", 11), ("bfloat16", 8)):
        eps = replace(trained, precision=precision).eps(PROMPTS[:1])(x, t)
        assert eps.dtype == torch.float32
        error = (eps - exact).square().mean().sqrt() / exact.square().mean().sqrt()
        assert 0 < error < 4 * 2.0**-bits


def test_a_compiled_network_sees_batches_of_one_size_and_padding_changes_no_image():
    """Each size of batch takes another compilation."""
    sizes, n, sampler = [], LARGEST_BATCH["cpu"] + 6, few_steps(20, 2)

    def compiled(x, t, text, hook):
        sizes.append(len(x))
        return 0.1 * x + t.view(-1, 1, 1, 1) / 1000 + text.states.mean()

    trained = replace(make_trained(), compiled=compiled)
    images = np.concatenate(list(generate(trained, PROMPTS[:1] * n, list(range(n)), sampler)))
    assert len(images) == n and set(sizes) == {LARGEST_BATCH["cpu"]}
    (alone,) = generate(trained, PROMPTS[:1] * 6, list(range(n - 6, n)), sampler)
    assert np.array_equal(images[-6:], alone)


@pytest.mark.slow
def test_a_network_that_pytorch_compiled_as_one_graph_makes_the_same_images():
    """fullgraph refuses any break; in half precision, which leaves autocast for the last layer."""
    schedule = Schedule(20, "cosine")
    trained = Trained(make_unet(CONFIG, 20, "cosine"), Tokenizer(), schedule, {"data": "shapes"}, precision="bfloat16")
    compiled = torch.compile(trained.unet, fullgraph=True, backend="eager", dynamic=False)
    one, other = (
        next(generate(replace(trained, compiled=network), PROMPTS, [0, 1], few_steps(20, 2)))
        for network in (None, compiled)
    )
    assert np.array_equal(one, other)


@pytest.mark.parametrize(
    ("main", "words", "precision"),
    [
        (ddpm_main, ("score", "--steps", 2), "bfloat16"),
        (ddim_main, ("sweep", "--steps", 2, "--strengths", 0.5, "--methods", "sdedit"), "bfloat16"),
        (ddim_main, ("sweep", "--steps", 2, "--strengths", 0.5, "--methods", "ddim"), "float32"),
        (ddim_main, ("reconstruct", "--steps", 2, "--variants", "exact"), "float32"),
        (ddpm_main, ("bound",), "float32"),
    ],
)
def test_samples_take_half_precision_inversions_and_the_bound_do_not(tmp_path, monkeypatch, main, words, precision):
    """A record says what the network really computed in; here a CPU does what a GPU would, in bfloat16."""
    used, few = set(), shapes.shapes("test", 2)
    monkeypatch.setattr(shapes, "shapes", lambda *of: few)
    monkeypatch.setattr(Trained, "for_many_images", lambda self, compiled: replace(self, precision="bfloat16"))
    monkeypatch.setattr(ddpm.model, "autocast", lambda device, precision: used.add(precision) or nullcontext())
    model = save_model(tmp_path / "model.pt")
    assert code_of(main, *words, "--model", model, "--device", "cpu", "--n", 2, "--out", tmp_path / "record.json") == 0
    record = json.loads((tmp_path / "record.json").read_text())
    assert used == {precision} == {record.get("settings", record)["precision"]}


WALKS = {  # of a model, its eps, x and noise
    "ddpm": lambda m, eps, x, noise: ddpm.sample(eps, m.schedule, x, generator=noise),
    "eta 1": lambda m, eps, x, noise: ddim.sample(eps, m.schedule, x, 2, eta=1.0, generator=noise),
    "sigma-hat": lambda m, eps, x, noise: ddim.sample_hat(eps, m.schedule, x, 2, generator=noise),
    "2m": lambda m, eps, x, noise: ddim.sample_2m(eps, m.schedule, x, 2),
    "inversion": lambda m, eps, x, noise: ddim.invert(eps, m.schedule, x, 2, iterations=2),
    "exact inversion": lambda m, eps, x, noise: ddim.invert_exact(eps, m.schedule, x, 2),
    "exact": lambda m, eps, x, noise: ddim.sample_exact(eps, m.schedule, (x, x), 2),
    "sdedit": lambda m, eps, x, noise: ddim.edit_naive(eps, m.schedule, x, 0.5, 4, generator=noise),
    "edit": lambda m, eps, x, noise: ddim.edit_inverted(eps, eps, m.schedule, x, 0.5, 4),
    "null-text": lambda m, eps, x, noise: null_text(m, PROMPTS, x, 2, scale=3.0, inner_steps=2),
}
P2P = {
    "replace": {},
    "re-weight": {"weights": {"square": 2.0}, "word_until": {"square": 0.5}},
    "local blend": {"blend": p2p.LocalBlend([["circle"], ["circle"], ["square"], ["square"]])},
}


@pytest.mark.parametrize("name", [*WALKS, *P2P])
def test_a_walk_never_waits_for_a_number_of_the_gpu(name):
    """On the device that holds no numbers: whoever reads one there gets an error."""
    schedule = Schedule(4, "cosine")
    unet = UNet(ONE_STAGE, len(Tokenizer()), schedule.alpha_bar).to("meta").eval()
    model, x = Trained(unet, Tokenizer(), schedule, {"data": "shapes"}), torch.empty(2, 3, 8, 8, device="meta")
    if name in P2P:
        walk = p2p.edit(model, "a red circle", "a red square", x, 2, scale=3.0, **P2P[name])
    else:
        walk = WALKS[name](model, model.eps(PROMPTS, scale=3.0), x, Noise(range(2)))
    steps = list(walk)
    assert steps and all(x_t.is_meta for _, x_t, _ in steps)


# ---- on a GPU --------------------------------------------------------------------------------------------------------


@needs_gpu
def test_a_gpu_trains_and_resumes_in_its_precision():
    def on_gpu(settings: Settings) -> Training:
        schedule = Schedule(settings.T, settings.schedule)
        return Training(settings, make_unet(PREDICTS_V).to("cuda").train(), Tokenizer(), schedule, make_data(24))

    first, second = (on_gpu(replace(SETTINGS, images=8 * 20, precision="auto")) for _ in range(2))
    second.restore(finished(first).state())
    assert second.step == 20 and torch.equal(flat(second.unet), flat(first.unet))
    losses = [training.one_step(1e-3)[0].item() for training in (first, second)]
    assert losses[1] == pytest.approx(losses[0], rel=0.02) and flat(second.unet).isfinite().all()
    assert first.precision == resolve("auto", CUDA)


@needs_gpu
@pytest.mark.parametrize(
    ("model", "prompt"), [("shapes", "a red circle on a blue background"), ("scenes", "a photo of a cat on a couch")]
)
def test_a_gpu_and_the_cpu_make_the_same_images(model, prompt):
    """Root mean square below 1 of 255 after 10 DDIM steps, compiled and in float16."""
    images = []
    for device in ("cpu", "cuda"):
        trained = ddpm.load(model, device=device).for_many_images()
        images.append(next(generate(trained, [prompt] * 8, list(range(8)), few_steps(1000, 10))).astype(float))
    assert np.sqrt(np.mean((images[0] - images[1]) ** 2)) < 1
