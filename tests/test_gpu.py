"""What a GPU needs, as far as a machine without one can show it; the last tests need a GPU and are skipped without."""

import json
import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import code_of
from test_training import DROPOUT, PLAIN, SETTINGS, by_plain_descent, finished, flat
from tiny import CONFIG, PREDICTS_V, PROMPTS, make_data, make_trained, make_training, make_unet, save_model

import ddim
import ddpm
import ddpm.training.batches
import ddpm.training.loop
import p2p
from ddim.__main__ import main as ddim_main
from ddpm import Noise, Schedule, Trained
from ddpm.__main__ import main as ddpm_main
from ddpm.data import shapes
from ddpm.model import LARGEST_BATCH, generate
from ddpm.training import Settings, Training, processes
from ddpm.training.run import new
from ddpm.utils.device import usable
from p2p.real import null_text
from unet import Tokenizer, UNet, UNetConfig
from unet.precision import resolve

CUDA = torch.device("cuda")
ONE_STAGE = replace(PREDICTS_V, multipliers=(1,), self_sizes=(8,), cross_sizes=(8,))  # every kind of layer, and few
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")

# ---- precision -------------------------------------------------------------------------------------------------------


def test_a_gpu_trains_in_bfloat16_where_it_has_convolutions_in_it_and_in_float16_where_it_has_not(monkeypatch):
    for capability, precision in (((6, 1), "float32"), ((7, 5), "float16"), ((8, 0), "bfloat16"), ((9, 0), "bfloat16")):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, found=capability: found)
        assert resolve("auto", CUDA) == precision and resolve("float32", CUDA) == "float32"


def test_a_scaled_loss_gives_the_same_step():
    """The scale is a power of two and is divided out again: bit for bit the step of the plain loss."""
    plain, scaled = by_plain_descent(PLAIN), by_plain_descent(PLAIN)
    scaled.scaler = torch.amp.GradScaler("cpu", 2.0**12)
    for training in (plain, scaled):
        finished(training)
    assert torch.equal(flat(plain.unet), flat(scaled.unet))


def test_a_step_whose_scaled_gradients_overflow_is_skipped_and_the_scale_is_halved():
    training = make_training(replace(SETTINGS, images=8 * 6, weighting="eps", precision="float16"))
    assert training.scaler.is_enabled() and training.scaler.get_scale() == 2.0**12
    loss, weights = training.loss, []

    def spoiled(batch):
        value = loss(batch)
        if training.step == 3:
            value.register_hook(lambda gradient: gradient * math.inf)
        return value

    step = training.one_step
    training.loss = spoiled
    training.one_step = lambda rate: (step(rate), weights.append(flat(training.unet)))[0]
    (record,) = training.run()
    moved = [not torch.equal(one, other) for one, other in zip(weights, weights[1:], strict=False)]
    assert moved == [step != 3 for step in range(1, 6)]
    assert training.scaler.get_scale() == 2.0**11 and math.isfinite(record.gradient)
    second = make_training(replace(SETTINGS, precision="float16"))
    second.restore(training.state())
    assert second.scaler.get_scale() == 2.0**11


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


@pytest.fixture
def meta_training(monkeypatch) -> Callable[[Settings], Training]:
    """Makes a run on the device that holds no numbers, as on a GPU; what PyTorch lacks there is replaced."""
    adam = torch.optim.AdamW
    monkeypatch.setattr(torch.optim, "AdamW", lambda weights, weight_decay, fused: adam(weights))
    monkeypatch.setattr(ddpm.training.batches, "generator", lambda *of: None)
    return lambda settings: on_device("meta", settings, ONE_STAGE)


def on_device(device: str, settings: Settings, config: UNetConfig = PREDICTS_V) -> Training:
    schedule = Schedule(settings.T, settings.schedule)
    return Training(settings, make_unet(config).to(device).train(), Tokenizer(), schedule, make_data(24))


# ---- memory ----------------------------------------------------------------------------------------------------------


def test_a_batch_in_parts_is_the_whole_batch_up_to_rounding():
    whole = by_plain_descent(PLAIN)
    (one,) = whole.run()
    for parts in (2, 8):
        cut, sizes = by_plain_descent(PLAIN), []
        cut.parts, loss = parts, cut.loss
        cut.loss = lambda batch, sizes=sizes, loss=loss: sizes.append(len(batch.t)) or loss(batch)
        (other,) = cut.run()
        assert set(sizes) == {8 // parts} and other.loss == pytest.approx(one.loss, rel=1e-5)
        torch.testing.assert_close(flat(cut.unet), flat(whole.unet), rtol=0, atol=1e-6)


def test_memory_is_tried_and_a_batch_is_cut_until_it_fits_and_no_step_reads_a_number(monkeypatch, meta_training):
    """A GPU that holds so many rows at once; all parts have the same size. One that holds no image is named."""
    loss = Training.loss

    def on_gpu_of(held: int, batch: int) -> tuple[list[int], Training]:
        """The sizes of batch that the run asks for, and the run."""
        sizes = []

        def small(self, batch):
            sizes.append(len(batch.t))
            if len(batch.t) > held:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return loss(self, batch)

        monkeypatch.setattr(Training, "loss", small)
        return sizes, meta_training(replace(SETTINGS, batch=batch))

    for batch, held, tried in ((8, 8, [8]), (12, 3, [12, 6, 3]), (6, 1, [6, 3, 1])):
        sizes, training = on_gpu_of(held, batch)
        assert sizes == tried and training.parts == batch // tried[-1]
        loss_of_step, gradient = training.one_step(0.1)
        assert sizes[len(tried) :] == [tried[-1]] * training.parts
        assert loss_of_step.is_meta and gradient.is_meta and training.step == 1
    with pytest.raises(ValueError, match="does not hold the training of one image"):
        on_gpu_of(0, 8)


def test_a_compiled_network_sees_batches_of_one_size_in_training(monkeypatch, meta_training):
    """Each size of batch takes another compilation."""
    sizes = []
    compiled = lambda network, dynamic: lambda x, *rest: sizes.append(len(x)) or network(x, *rest)  # noqa: E731
    monkeypatch.setattr(torch, "compile", compiled)
    meta_training(replace(SETTINGS, compile=True)).one_step(0.1)
    assert sizes == [8, 8]


# ---- processes and compilation ---------------------------------------------------------------------------------------


def test_a_process_takes_its_own_gpu_before_it_meets_the_others(monkeypatch):
    """Otherwise the first exchange would put every process on GPU 0; an hour to wait is enough for a download."""
    done = []
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: done.append(("device", device.index)))
    monkeypatch.setattr(processes.dist, "init_process_group", lambda *a, **k: done.append((a, k["timeout"].seconds)))
    monkeypatch.setattr(processes, "usable", lambda device: device)
    for name, value in zip(processes.TORCHRUN, ("3", "4", "localhost", "29500"), strict=True):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert processes.start("cuda") == torch.device("cuda", 1)
    assert done == [("device", 1), (("nccl",), 3600)]


def test_every_command_on_a_gpu_takes_the_fast_products_and_convolutions_and_none_on_a_cpu(monkeypatch):
    chosen = []
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    monkeypatch.setattr(torch, "set_float32_matmul_precision", chosen.append)
    monkeypatch.setattr(torch, "empty", lambda n, device: SimpleNamespace(device=torch.device(device)))
    assert usable("cpu").type == "cpu" and not chosen and not torch.backends.cudnn.benchmark
    assert usable("cuda").type == "cuda" and chosen == ["high"] and torch.backends.cudnn.benchmark


def test_processes_compare_their_clocks_only_now_and_then(monkeypatch):
    training, compared = make_training(replace(SETTINGS, images=8 * 20, minutes=1000.0)), []
    monkeypatch.setattr(processes, "maximum", lambda values, device: compared.append(training.step) or values)
    finished(training)
    assert compared == [10, 20]


def test_compilation_is_worth_its_minutes_in_a_long_training_on_a_gpu():
    given = {"data": "cifar10", "minutes": 0.0}
    short, long, many = given | {"minutes": 5.0}, given | {"minutes": 30.0}, given | {"images": 10**7}
    assert [new(of, {}, "cuda").settings.compile for of in (short, long, many)] == [False, True, True]
    assert new(short | {"compile": True}, {}, "cuda").settings.compile and not new(long, {}, "cpu").settings.compile


def test_compilation_is_no_training_time_and_changes_no_step(monkeypatch):
    clock, plain = [0.0], finished(make_training(SETTINGS, DROPOUT))
    monkeypatch.setattr(ddpm.training.loop.time, "perf_counter", lambda: clock[0])

    def slow_at_first(network, dynamic):
        called = []

        def compiled(*arguments):
            clock[0] += 0 if called else 100
            called.append(True)
            return network(*arguments)

        return compiled

    monkeypatch.setattr(torch, "compile", slow_at_first)
    training = make_training(replace(SETTINGS, compile=True), DROPOUT)
    assert clock[0] == 100
    with pytest.raises(ZeroDivisionError):  # a rate over no time: the clock stood still after the compilation
        finished(training)
    assert clock[0] == 100 and torch.equal(flat(training.unet), flat(plain.unet))


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_training_reads_numbers_of_the_gpu_once_in_ten_steps(monkeypatch, precision):
    training, reads = make_training(replace(SETTINGS, images=8 * 20, weighting="eps", precision=precision)), []
    for name in ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__"):
        read = getattr(torch.Tensor, name)
        monkeypatch.setattr(torch.Tensor, name, lambda x, *a, name=name, read=read: reads.append(name) or read(x, *a))
    finished(training)
    assert reads == ["tolist"] * 2


# ---- sampling --------------------------------------------------------------------------------------------------------


def test_a_compiled_network_sees_batches_of_one_size_and_padding_changes_no_image():
    trained, sizes = make_trained(), []

    def compiled(x, t, text, hook):
        sizes.append(len(x))
        return 0.1 * x + t.view(-1, 1, 1, 1) / 1000 + text.states.mean()

    trained = replace(trained, compiled=compiled)
    n, sampler = LARGEST_BATCH["cpu"] + 6, partial(sampled, steps=3)
    images = np.concatenate(list(generate(trained, PROMPTS[:1] * n, list(range(n)), sampler)))
    assert len(images) == n and set(sizes) == {LARGEST_BATCH["cpu"]}
    (alone,) = generate(trained, PROMPTS[:1] * 6, list(range(n - 6, n)), sampler)
    assert np.array_equal(images[-6:], alone)


@pytest.mark.slow
def test_a_network_that_pytorch_compiled_as_one_graph_makes_the_same_images():
    """fullgraph refuses any break; in half precision, which leaves autocast for the last layer.

    With torch.compile itself, whose result can be called but has no truth value.
    """
    schedule = Schedule(20, "cosine")
    trained = Trained(make_unet(CONFIG, 20, "cosine"), Tokenizer(), schedule, {"data": "shapes"}, precision="bfloat16")
    compiled = torch.compile(trained.unet, fullgraph=True, backend="eager", dynamic=False)
    one, other = (
        next(generate(replace(trained, compiled=network), PROMPTS, [0, 1], partial(sampled, steps=2)))
        for network in (None, compiled)
    )
    assert np.array_equal(one, other)
    tokens = trained.tokens(PROMPTS)  # training has the captions read in the same graph
    read = torch.compile(trained.unet.text, fullgraph=True, backend="eager", dynamic=False)
    assert torch.equal(read(tokens).states, trained.unet.text(tokens).states)


@pytest.mark.parametrize(
    ("main", "words", "precision"),
    [
        (ddpm_main, ("score", "--steps", 2), "bfloat16"),
        (ddim_main, ("sweep", "--steps", 3, "--strengths", 0.5, "--methods", "sdedit"), "bfloat16"),
        (ddim_main, ("sweep", "--steps", 3, "--strengths", 0.5, "--methods", "ddim"), "float32"),
        (ddim_main, ("reconstruct", "--steps", 2, "--variants", "caption", "exact"), "float32"),
        (ddpm_main, ("bound", "--times", 2), "float32"),
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


def sampled(eps, schedule, x_T, noise, steps):
    return ddim.sample(eps, schedule, x_T, steps, eta=1.0, generator=noise)


def test_noise_is_drawn_in_place_bit_for_bit():
    seeds = (0, 3, 2**40)
    rows = [torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    assert torch.equal(Noise(seeds).start((3, 5, 7)), torch.stack(rows))


@pytest.fixture
def on_meta() -> Trained:
    """A model on the device that holds no numbers: whoever reads one there gets an error."""
    schedule = Schedule(4, "cosine")
    unet = UNet(ONE_STAGE, len(Tokenizer()), schedule.alpha_bar).to("meta").eval()
    return Trained(unet, Tokenizer(), schedule, {"data": "shapes"})


WALKS = {
    "ddpm": lambda eps, s, x, noise: ddpm.sample(eps, s, x, generator=noise),
    "ddim": lambda eps, s, x, noise: ddim.sample(eps, s, x, 2),
    "eta 1": lambda eps, s, x, noise: ddim.sample(eps, s, x, 2, eta=1.0, generator=noise),
    "sigma-hat": lambda eps, s, x, noise: ddim.sample_hat(eps, s, x, 2, generator=noise),
    "2m": lambda eps, s, x, noise: ddim.sample_2m(eps, s, x, 2),
    "inversion": lambda eps, s, x, noise: ddim.invert(eps, s, x, 2, iterations=2),
    "exact inversion": lambda eps, s, x, noise: ddim.invert_exact(eps, s, x, 2),
    "exact": lambda eps, s, x, noise: ddim.sample_exact(eps, s, (x, x), 2),
    "sdedit": lambda eps, s, x, noise: ddim.edit_naive(eps, s, x, 0.5, 4, generator=noise),
    "edit": lambda eps, s, x, noise: ddim.edit_inverted(eps, eps, s, x, 0.5, 4),
}


@pytest.mark.parametrize("name", WALKS)
def test_a_sampler_never_waits_for_a_number_of_the_gpu(on_meta, name):
    x, noise = torch.empty(2, 3, 8, 8, device="meta"), Noise(range(2))
    for _, x_t, x_0 in WALKS[name](on_meta.eps(PROMPTS, scale=3.0), on_meta.schedule, x, noise):
        assert x_t.shape == x_0.shape == x.shape and x_t.is_meta and x_0.is_meta


CHANGES = {
    "replace": {},
    "re-weight": {"weights": {"square": 2.0}, "word_until": {"square": 0.5}},
    "local blend": {"blend": p2p.LocalBlend([["circle"], ["circle"], ["square"], ["square"]])},
    "exact": {"sampler": ddim.sample_exact},
}


@pytest.mark.parametrize("name", CHANGES)
def test_an_edit_never_waits_for_a_number_of_the_gpu(on_meta, name):
    x = torch.empty(2, 3, 8, 8, device="meta")
    x_T = (x, x) if name == "exact" else x
    for _, x_s, _ in p2p.edit(on_meta, "a red circle", "a red square", x_T, 2, scale=3.0, **CHANGES[name]):
        assert x_s.shape == (4, 3, 8, 8) and x_s.is_meta


def test_null_text_optimisation_never_waits_for_a_number_of_the_gpu(on_meta):
    x_0 = torch.empty(2, 3, 8, 8, device="meta")
    states = {t: s for t, x, s in null_text(on_meta, PROMPTS, x_0, 2, scale=3.0, inner_steps=2) if x.is_meta}
    assert list(states) == [4, 2] and all(s.is_meta for s in states.values())


@pytest.mark.parametrize("samples", [None, 3])
def test_the_bound_waits_for_one_number_whether_the_images_are_in_range(monkeypatch, on_meta, samples):
    reads = []
    monkeypatch.setattr(torch.Tensor, "__bool__", lambda x: bool(reads.append(x.shape)))
    x_0 = torch.empty(2, 3, 8, 8, device="meta")
    bound = ddpm.bits_per_dim(on_meta.eps(PROMPTS), on_meta.schedule, x_0, samples=samples, generator=Noise(range(2)))
    assert bound.total.is_meta and reads == [()]


# ---- on a GPU --------------------------------------------------------------------------------------------------------


@needs_gpu
def test_a_gpu_trains_and_resumes_in_its_precision():
    settings = replace(SETTINGS, images=8 * 20, precision="auto")
    first, second = (on_device("cuda", settings) for _ in range(2))
    finished(first)
    second.restore(first.state())
    assert second.step == 20 and torch.equal(flat(second.unet), flat(first.unet))
    before = flat(first.unet)
    losses = [training.one_step(1e-3)[0].item() for training in (first, second)]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    assert second.step == 21 and not torch.equal(flat(second.unet), before) and flat(second.unet).isfinite().all()
    assert first.precision == resolve("auto", CUDA) and first.seconds > 0


@needs_gpu
@pytest.mark.parametrize(
    ("model", "prompt"), [("shapes", "a red circle on a blue background"), ("scenes", "a photo of a cat on a couch")]
)
def test_a_gpu_and_the_cpu_make_the_same_images(model, prompt):
    """Root mean square below 1 of 255 after 10 DDIM steps, compiled and in float16."""
    images = []
    for device in ("cpu", "cuda"):
        trained = ddpm.load(model, device=device).for_many_images()
        images.append(next(generate(trained, [prompt] * 8, list(range(8)), partial(sampled, steps=10))).astype(float))
    assert np.sqrt(np.mean((images[0] - images[1]) ** 2)) < 1


@needs_gpu
def test_a_gpu_edits():
    trained = ddpm.load("scenes", device="cuda")
    x_T = Noise([0]).start(trained.shape, "cuda")
    pair = ddpm.last(p2p.edit(trained, "a photo of a cat on a couch", "a photo of a dog on a couch", x_T, steps=5))
    assert pair.shape == (2, *trained.shape) and pair.isfinite().all()


@needs_gpu
def test_a_gpu_fills_the_table(tmp_path):
    """In float16, compiled: more steps are nearer to the real images, and a second call measures nothing again."""
    flags = ("table", "--model", "shapes", "--n", 64, "--columns", 2, 20, "--rows", "0", "--device", "cuda")
    for _ in range(2):
        assert code_of(ddim_main, *flags, "--out", tmp_path) == 0
    record = json.loads((tmp_path / "table-shapes.json").read_text())
    assert (record["settings"]["precision"], record["settings"]["device"]) == ("float16", "cuda")
    cells = {S: cell["distance"] for S, cell in record["cells"]["0"].items()}
    assert 0 < cells["20"] < cells["2"]
