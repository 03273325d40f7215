"""Training: averages, learning rate, what a step is fed, exact resume, parts, and what stops it."""

import copy
import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import AUTOENCODER, CONFIG, make_data, make_training

from ddpm import Schedule
from ddpm.autoencoder import Autoencoder
from ddpm.training import Settings
from ddpm.training.batches import Batches
from ddpm.training.loop import Training, learning_rate
from ddpm.training.orthogonal import orthogonalise
from ddpm.utils.images import from_bytes
from unet import Tokenizer

SETTINGS = Settings(
    batch=8, images=32, learning_rate=1e-3, warmup=2, lr_decay=0.0, ema=(0.05, 0.5), weighting="v", caption_dropout=0.2
)
DROPOUT = replace(CONFIG, dropout=0.3, predicts="v")


def make_batches(n: int = 24, captions: list[tuple[str, ...]] | None = None, **changes) -> Batches:
    data = make_data(n)
    data = replace(data, captions=captions or data.captions)
    return Batches(data, Tokenizer(), CONFIG.words, replace(SETTINGS, **changes), torch.device("cpu"))


def stage_one(settings: Settings, _) -> Training:
    """The training of an autoencoder at its first step."""
    torch.manual_seed(0)
    data = replace(make_data(24, 16), captions=[("",)] * 24)
    return Training(settings, Autoencoder(AUTOENCODER), Tokenizer(known=()), Schedule(), data)


def finished(training: Training) -> Training:
    """The run after its budget."""
    for _ in training.run():
        pass
    return training


def flat(network: torch.nn.Module) -> torch.Tensor:
    """All weights in a row."""
    return torch.cat([p.detach().ravel() for p in network.parameters()])


def test_an_average_is_the_weighted_sum_of_all_weights_of_the_run():
    """avg_n = sum_i w_i (1 - d_i) prod_{j > i} d_j, written out; after its half-life a weight counts half.

    Half-lives are shares of the images seen so far; before the first step nothing is seen, and nothing is kept.
    """
    training, seen = make_training(replace(SETTINGS, images=8 * 6), DROPOUT), []
    step = training.one_step
    training.one_step = lambda rate: (step(rate), seen.append(flat(training.unet).double()))[0]
    finished(training)
    for share in SETTINGS.ema:
        keep = [0.5 ** (8 / (share * i * 8)) if i else 0.0 for i in range(6)]
        weights = [(1 - keep[i]) * math.prod(keep[i + 1 :]) for i in range(6)]
        assert sum(weights) == pytest.approx(1)
        expected = sum(w * value for w, value in zip(weights, seen, strict=True))
        unet = training.averaged(share)
        torch.testing.assert_close(flat(unet).double(), expected, rtol=0, atol=1e-6)
        assert not unet.training and not any(p.requires_grad for p in unet.parameters())
    assert (expected - seen[-1]).abs().max() > 1e-4
    assert training.unet.training  # the run's own network goes on


def test_the_learning_rate_rises_stays_and_falls_to_zero():
    """In a short budget the warm-up takes 5 % of it: of 200 steps the first ten, though 500 were asked for."""
    settings = replace(SETTINGS, learning_rate=2.0, warmup=10, lr_decay=0.4)
    rising = [learning_rate(settings, step, 0.0) for step in range(10)]
    assert rising == pytest.approx([0.2 * (i + 1) for i in range(10)])
    assert [learning_rate(settings, 100, p) for p in (0.1, 0.6, 0.8, 1.0)] == pytest.approx([2.0, 2.0, 1.0, 0.0])
    assert learning_rate(replace(settings, warmup=0, lr_decay=0.0), 0, 1.0) == 2.0
    short = replace(SETTINGS, learning_rate=1.0, warmup=500, lr_decay=0.0)
    rates = [learning_rate(short, step, step / 200) for step in range(12)]
    assert rates == pytest.approx([1 / 500, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1])


@pytest.mark.parametrize(("n", "batch"), [(24, 8), (25, 8), (13, 13), (30, 7)])
def test_each_epoch_shows_each_image_once(n, batch):
    batches = make_batches(n, batch=batch)
    stream = torch.cat([batches.indices(step) for step in range(4 * n // batch + 1)])
    epochs = [stream[i * n : (i + 1) * n].tolist() for i in range(4)]
    assert all(sorted(epoch) == list(range(n)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4  # each in an order of its own


def test_a_batch_is_a_function_of_seed_and_step_alone_and_its_parts_interleave():
    one, other, reseeded = make_batches(25), make_batches(25), make_batches(25, seed=1)
    later = {step: one[step] for step in (9, 0, 5, 2)}  # in any order
    for step, batch in sorted(later.items()):
        torch.randn(3)  # and whatever anybody else draws
        same, parts = other[step], [batch.part(i, 4) for i in range(4)]
        for name in ("x_0", "tokens", "t", "noise"):
            assert torch.equal(getattr(same, name), getattr(batch, name))
            rows = torch.stack([getattr(part, name) for part in parts], dim=1).flatten(0, 1)
            assert torch.equal(rows, getattr(batch, name))
        assert not torch.equal(batch.noise, reseeded[step].noise)
    assert not torch.equal(later[0].noise, later[2].noise)


@pytest.mark.parametrize(("T", "batch"), [(40, 8), (7, 5), (3, 8)])
def test_times_are_stratified_and_cover_1_to_T(T, batch):
    """One time from each B-th part of 1..T, every time equally often."""
    batches, counts, steps = make_batches(24, batch=batch, T=T), Counter(), 500
    for step in range(steps):
        t = batches[step].t
        assert t.dtype == torch.long
        for i, time in enumerate(t.tolist()):
            assert i * T // batch < time <= math.ceil((i + 1) * T / batch)
        counts.update(t.tolist())
    assert set(counts) == set(range(1, T + 1))
    expected = steps * batch / T
    chi_square = sum((n - expected) ** 2 / expected for n in counts.values())
    assert chi_square <= T - 1 + 5 * math.sqrt(2 * (T - 1))


def test_time_is_independent_of_the_image():
    """Times are sorted in a batch, so images must not be: each image meets early and late times."""
    batches, sums = make_batches(24), torch.zeros(24)
    for step in range(600):
        sums[batches.indices(step)] += batches[step].t / SETTINGS.T
    # 200 uniform draws for each image: a mean of 1/2 with a standard deviation of sqrt(1 / 12 / 200)
    assert (sums / 200 - 0.5).abs().max() < 5 * math.sqrt(1 / 12 / 200)


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_captions_are_dropped_by_chance_and_drawn_as_often_as_they_stand(share):
    entries = [("a red circle", "a red circle", "a blue square"), ("a red circle",), ("a small cross", "a circle")]
    batches, tokenizer, seen = make_batches(24, entries * 8, caption_dropout=share), Tokenizer(), Counter()
    for step in range(1000 if share == 0.2 else 100):
        for i, sentence in zip(batches.indices(step).tolist(), tokenizer.decode(batches[step].tokens), strict=True):
            seen[i % 3, sentence] += 1
    shown, dropped = seen.total(), sum(seen[i, ""] for i in range(3))
    assert abs(dropped - share * shown) <= 5 * math.sqrt(share * (1 - share) * shown)
    for i, variants in enumerate(entries if share < 1 else []):
        counts = {sentence: n for (image, sentence), n in seen.items() if image == i and sentence}
        assert set(counts) == set(variants)
        for sentence, n in counts.items():
            p, total = variants.count(sentence) / len(variants), sum(counts.values())
            assert abs(n - p * total) <= 5 * math.sqrt(p * (1 - p) * total)


@pytest.mark.parametrize("flip", [True, False])
def test_half_of_the_images_are_mirrored_or_none(flip):
    batches, images = make_batches(24, flip=flip), from_bytes(torch.from_numpy(make_data(24).images))
    mirrored, null = 0, torch.zeros(2)
    for step in range(500 if flip else 20):
        chosen, x_0, tokens, *_ = images[batches.indices(step)], *batches[step]
        straight, flipped = ((x_0 == x).flatten(1).all(1) for x in (chosen, chosen.flip(3)))
        assert (straight ^ flipped).all()
        mirrored += flipped.sum().item()
        null += torch.stack([flipped, straight])[:, (tokens == batches.null).all(1)].sum(1)
    assert abs(mirrored - 2000) < 5 * math.sqrt(1000) if flip else mirrored == 0
    assert not flip or abs(null[0] - null[1]) < 5 * math.sqrt(null.sum())  # of dropped captions as well


@pytest.mark.parametrize("weighting", ["eps", "v"])
def test_the_loss_is_that_of_algorithm_1(weighting):
    """By hand, row by row: the mean squared error of eps, over alpha_bar for the v weighting."""
    training = make_training(replace(SETTINGS, weighting=weighting))
    batch, schedule, total = training.batches[3], Schedule(), 0.0
    with torch.no_grad():
        for i in range(8):
            alpha_bar = schedule.alpha_bar[batch.t[i]].item()
            x_t = math.sqrt(alpha_bar) * batch.x_0[i : i + 1] + math.sqrt(1 - alpha_bar) * batch.noise[i : i + 1]
            error = training.unet(x_t, batch.t[i : i + 1], batch.tokens[i : i + 1]) - batch.noise[i : i + 1]
            total += error.square().mean().item() / (alpha_bar if weighting == "v" else 1) / 8
        assert training.loss(batch).item() == pytest.approx(total, rel=1e-4)


# the loss of eps has gradients of ordinary size, and clipping, which would hide a wrong scale, is out of reach
PLAIN = replace(SETTINGS, weighting="eps", grad_clip=1e9, learning_rate=1e-2)


def by_plain_descent(settings: Settings) -> Training:
    """The run with steps proportional to the gradient, so that rounding stays rounding: Adam divides by it."""
    training = make_training(settings)
    training.optimizer = torch.optim.SGD(training.unet.parameters())
    return training


def test_a_batch_in_parts_gives_the_step_of_the_whole():
    whole, parts = by_plain_descent(PLAIN), by_plain_descent(PLAIN)
    parts.parts = 4
    losses = [training.one_step(1.0)[0].item() for training in (whole, parts)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    torch.testing.assert_close(flat(parts.unet), flat(whole.unet), rtol=0, atol=1e-4)


def test_each_step_has_dropout_of_its_own():
    """Of the same batch and weights."""
    training = make_training(SETTINGS, DROPOUT)
    training.batches = [training.batches[0]] * 2
    (first, _), (second, _) = training.one_step(0.0), training.one_step(0.0)
    assert first != second


@pytest.mark.parametrize("most", [0.01, 1e9])
def test_a_gradient_longer_than_grad_clip_is_cut_to_that_length(most):
    """A step of plain descent is as long as the rate times the gradient."""
    training = by_plain_descent(replace(PLAIN, grad_clip=most))
    before = flat(training.unet).double()
    _, norm = training.one_step(1.0)
    assert norm > 0.01
    assert (flat(training.unet) - before).norm().item() == pytest.approx(min(norm.item(), most), rel=1e-3)


@pytest.mark.parametrize("shape", [(12, 40), (40, 12), (12, 4, 3, 3), (12, 1, 3, 3)])
@pytest.mark.parametrize("dtype, error", [(torch.float32, 1e-4), (torch.float16, 0.02), (torch.bfloat16, 0.06)])
def test_an_orthogonalised_gradient_has_the_same_directions_at_one_size(shape, dtype, error):
    """U V^T of G = U S V^T, where the singular values of G are 1, 0.1 and 0.01, which NumPy's decomposition gives."""
    rows, columns = shape[0], math.prod(shape[1:])
    u, _, v = np.linalg.svd(np.random.default_rng(0).normal(size=(rows, columns)), full_matrices=False)
    size = np.logspace(-2, 0, min(rows, columns))
    G = torch.from_numpy(u * size @ v).float().reshape(shape)
    G = G.to(memory_format=torch.channels_last) if G.ndim == 4 else G
    orthogonalise([torch.zeros(3, 5), G], dtype)  # in place, beside others
    found = u.T @ G.numpy().reshape(rows, columns) @ v.T
    assert np.all((found.diagonal() > 0.6) & (found.diagonal() < 1.3))
    np.testing.assert_allclose(found - np.diag(found.diagonal()), 0, atol=error)


def test_a_step_of_plain_descent_along_orthogonalised_gradients():
    """Every layer's step is a matrix whose squared norm is its rank, nearly: all its singular values are about 1.

    Clipping comes before.
    """
    training = by_plain_descent(replace(PLAIN, orthogonal=True, grad_clip=0.01))
    before = copy.deepcopy(training.unet.state_dict())
    training.one_step(1.0)
    weight = training.unet.last.weight
    step = (weight.detach() - before["last.weight"]).flatten(1)
    assert step.square().sum().item() == pytest.approx(min(step.shape), rel=0.5)


@pytest.mark.slow
def test_one_image_is_memorised():
    """The loss of a constant dataset must fall to a small part: everything in the loop works together."""
    settings = replace(SETTINGS, images=8 * 150, learning_rate=5e-3, flip=False, caption_dropout=0.0, schedule="cosine")
    training = make_training(settings, n=8)
    training.batches.images[:] = training.batches.images[0]
    losses = [record.loss for record in training.run()]
    assert losses[-1] < losses[0] / 4


@pytest.mark.parametrize("make", [make_training, stage_one])
def test_four_steps_are_two_and_two(make):
    """Bit for bit, with dropout, also of an autoencoder: weights, averages, the optimizer's state, the next data."""
    whole = finished(make(SETTINGS, DROPOUT))
    first = finished(make(replace(SETTINGS, images=16), DROPOUT))
    middle = flat(first.unet)
    torch.manual_seed(12345)  # a new process has random state of its own
    second = make(SETTINGS, DROPOUT)
    second.restore(first.state())
    assert second.step == 2 and second.images == 16
    finished(second)
    assert torch.equal(flat(whole.unet), flat(second.unet))
    for share in SETTINGS.ema:
        assert torch.equal(flat(whole.averaged(share)), flat(second.averaged(share)))
    one, two = whole.optimizer.state_dict()["state"], second.optimizer.state_dict()["state"]
    assert one.keys() == two.keys()
    assert all(torch.equal(one[i][key], two[i][key]) for i in one for key in one[i])
    assert torch.equal(flat(first.unet), middle)  # the restored run shares no memory with the saved one


@pytest.mark.parametrize(("bad", "what"), [(3, "loss"), (10, "gradient"), (14, "loss")])
def test_a_loss_or_gradient_that_is_not_finite_stops_the_run_with_its_step(bad, what):
    """No record may follow it, for a record is what a checkpoint follows; a finite loss may have such a gradient."""
    training, records = make_training(replace(SETTINGS, images=8 * 20)), []
    loss = training.loss

    def spoiled(batch):
        value = loss(batch)
        if training.step == bad - 1:
            if what == "loss":
                return value * math.nan
            value.register_hook(lambda gradient: gradient * math.inf)
        return value

    training.loss = spoiled
    with pytest.raises(FloatingPointError, match=f"step {bad} has .*{what} of (nan|inf)"):
        records.extend(training.run())
    assert [record.step for record in records] == ([10] if bad > 10 else [])
