"""Training: averages, learning rate, what a step is fed, exact resume, parts and processes, and what stops it."""

import math
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from tiny import CONFIG, make_data, make_training, make_unet

import ddpm.training
from ddpm import Schedule
from ddpm.batches import Batches, generator
from ddpm.config import RECIPES, Settings, default_preset
from ddpm.ema import Averages, decay
from ddpm.images import from_bytes
from ddpm.training import Training, learning_rate
from unet import PRESETS, Tokenizer

ROOT = Path(__file__).parent.parent
SETTINGS = Settings(
    batch=8, images=32, learning_rate=1e-3, warmup=2, lr_decay=0.0, ema=(0.05, 0.5), weighting="v", caption_dropout=0.2
)
DROPOUT = replace(CONFIG, dropout=0.3)


def make_batches(n: int = 24, **changes) -> Batches:
    return Batches(make_data(n), Tokenizer(), CONFIG.words, replace(SETTINGS, **changes), torch.device("cpu"))


def finished(training: Training) -> Training:
    """The run after its budget."""
    for _ in training.run():
        pass
    return training


def flat(training: Training) -> torch.Tensor:
    """All weights in a row."""
    return torch.cat([p.detach().ravel() for p in training.unet.parameters()])


# ---- averages of the weights ---------------------------------------------------------------------------------------


def test_after_its_half_life_a_weight_counts_half():
    for half_life, batch in ((1000, 50), (1000, 8), (7, 7)):
        assert decay(half_life, batch) ** (half_life / batch) == pytest.approx(0.5)
    assert decay(0.0, 8) == 0  # nothing seen yet: the first weights count for nothing


def test_the_average_is_the_weighted_sum_of_all_weights_seen():
    """avg_n = sum_i w_i (1 - d_i) prod_{j > i} d_j, written out; half-lives grow as a share of the images seen."""
    layer, batch, share = torch.nn.Linear(2, 1, bias=False), 10, 0.25
    averages, seen = Averages(layer, (share,)), []
    for step in range(12):
        with torch.no_grad():
            layer.weight.copy_(torch.tensor([[step**2, -step]], dtype=torch.float32))
        seen.append(layer.weight.detach().double().clone())
        averages.update(layer, step * batch, batch)
    keep = [0.5 ** (batch / (share * step * batch)) if step else 0.0 for step in range(12)]
    weights = [(1 - keep[i]) * math.prod(keep[i + 1 :]) for i in range(12)]
    assert sum(weights) == pytest.approx(1)
    expected = sum(w * value for w, value in zip(weights, seen, strict=True))
    torch.testing.assert_close(averages.of[share]["weight"].double(), expected, rtol=1e-5, atol=0)


def test_averages_of_several_half_lives_stand_side_by_side():
    training = finished(make_training(SETTINGS))
    assert set(training.averages.of) == set(SETTINGS.ema)
    short, long = (training.averages.of[share] for share in SETTINGS.ema)
    names = [name for name, _ in training.unet.named_parameters()]
    assert list(short) == list(long) == names
    assert any(not torch.equal(short[name], long[name]) for name in names)
    now = dict(training.unet.named_parameters())
    far = [sum((average[n] - now[n]).square().sum().item() for n in names) for average in (short, long)]
    assert far[0] < far[1]  # the shorter half-life stays nearer to the weights


def test_a_run_averages_with_half_lives_of_the_images_it_has_seen():
    """The loop's averages against the formula, from the weights after each step."""
    training, batch, share = make_training(replace(SETTINGS, images=8 * 6)), 8, 0.5
    seen, step = [], training.one_step
    training.one_step = lambda rate: (step(rate), seen.append(flat(training).double()))[0]
    finished(training)
    expected = seen[0]
    for i, weights in enumerate(seen[1:], start=1):
        keep = 0.5 ** (batch / (share * i * batch))
        expected = keep * expected + (1 - keep) * weights
    average = torch.cat([tensor.ravel() for tensor in training.averages.of[share].values()])
    torch.testing.assert_close(average.double(), expected, rtol=0, atol=1e-6)
    assert (average - seen[-1]).abs().max() > 1e-4


def test_the_averaged_network_has_the_averages_for_weights():
    training = finished(make_training(SETTINGS, DROPOUT))
    unet = training.averaged(0.5)
    assert not unet.training and not any(p.requires_grad for p in unet.parameters())
    assert all(torch.equal(p, training.averages.of[0.5][name]) for name, p in unet.named_parameters())
    assert training.unet.training  # and the run's own network goes on


# ---- learning rate -------------------------------------------------------------------------------------------------


def test_the_learning_rate_rises_stays_and_falls_to_zero():
    settings = replace(SETTINGS, learning_rate=2.0, warmup=10, lr_decay=0.4)
    assert [learning_rate(settings, step, 0.0) for step in range(10)] == pytest.approx(
        [0.2 * (i + 1) for i in range(10)]
    )
    assert {learning_rate(settings, 100, p) for p in (0.1, 0.3, 0.6)} == {2.0}
    assert learning_rate(settings, 100, 0.8) == pytest.approx(1.0)
    assert learning_rate(settings, 100, 1.0) == 0.0
    assert learning_rate(replace(settings, warmup=0, lr_decay=0.0), 0, 1.0) == 2.0
    rates = [learning_rate(settings, 100, p / 1000) for p in range(1001)]
    assert rates == sorted(rates, reverse=True)


# ---- the batches ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "batch"), [(24, 8), (25, 8), (11, 8), (8, 8), (13, 13), (30, 7)])
def test_each_epoch_shows_each_image_once(n, batch):
    batches = make_batches(n, batch=batch)
    stream = torch.cat([batches.indices(step) for step in range(4 * n // batch + 1)])
    epochs = [stream[i * n : (i + 1) * n].tolist() for i in range(4)]
    assert all(sorted(epoch) == list(range(n)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4  # each in an order of its own


def test_a_batch_is_a_function_of_seed_and_step_alone():
    one, other, reseeded = make_batches(25), make_batches(25), make_batches(25, seed=1)
    later = {step: one[step] for step in (9, 0, 5, 2)}  # asked in any order
    for step in sorted(later):
        torch.randn(3)  # and whatever anybody else draws
        same = other[step]
        for name in ("x_0", "tokens", "t", "noise"):
            assert torch.equal(getattr(same, name), getattr(later[step], name))
        assert not torch.equal(same.noise, reseeded[step].noise)
    assert not torch.equal(later[0].noise, later[2].noise)


def test_times_are_stratified_and_cover_1_to_T():
    """One time from each B-th part of 1..T, every time equally often."""
    batches, counts = make_batches(24, batch=8, T=40), Counter()
    for step in range(500):
        t = batches[step].t
        assert t.dtype == torch.long and ((t - 1) // 5).tolist() == list(range(8))
        counts.update(t.tolist())
    assert set(counts) == set(range(1, 41))
    chi_square = sum((counts[t] - 100) ** 2 / 100 for t in counts)
    assert chi_square < 39 + 5 * math.sqrt(2 * 39)


@pytest.mark.parametrize(("T", "batch"), [(1, 8), (3, 8), (7, 5), (1000, 24)])
def test_times_stay_in_range_whatever_T_and_batch(T, batch):
    t = torch.cat([make_batches(24, T=T, batch=batch)[step].t for step in range(30)])
    assert t.min() >= 1 and t.max() <= T


def test_time_is_independent_of_the_image():
    """Times are sorted in a batch, so images must not be: each image meets early and late times."""
    batches, sums = make_batches(24), torch.zeros(24)
    for step in range(600):
        sums[batches.indices(step)] += batches[step].t / SETTINGS.T
    # 200 uniform draws for each image: a mean of 1/2 with a standard deviation of sqrt(1 / 12 / 200)
    assert (sums / 200 - 0.5).abs().max() < 5 * math.sqrt(1 / 12 / 200)


def drawn_captions(batches: Batches, steps: int) -> Counter:
    """How often each image got each caption; None stands for the null prompt."""
    tokenizer, seen = Tokenizer(), Counter()
    for step in range(steps):
        for image, sentence in zip(
            batches.indices(step).tolist(), tokenizer.decode(batches[step].tokens), strict=True
        ):
            seen[image, sentence or None] += 1
    return seen


def test_captions_are_dropped_and_drawn_evenly():
    steps, share = 3000, 0.2
    seen = drawn_captions(make_batches(24, caption_dropout=share), steps)
    shown, dropped = 8 * steps, sum(n for (_, sentence), n in seen.items() if sentence is None)
    assert abs(dropped - share * shown) < 5 * math.sqrt(share * (1 - share) * shown)
    for i, variants in enumerate(make_data(24).captions):
        told = {sentence: n for (image, sentence), n in seen.items() if image == i and sentence}
        assert set(told) == set(variants)
        expected = sum(told.values()) / len(variants)
        chi_square = sum((n - expected) ** 2 / expected for n in told.values())
        assert chi_square < len(variants) - 1 + 6 * math.sqrt(2 * len(variants))


def test_a_caption_that_stands_twice_is_drawn_twice_as_often():
    data = make_data(8)
    data = replace(data, captions=[("a red circle", "a red circle", "a blue square")] * 8)
    batches = Batches(data, Tokenizer(), CONFIG.words, replace(SETTINGS, caption_dropout=0.0), torch.device("cpu"))
    seen = drawn_captions(batches, 1000)
    red = sum(n for (_, sentence), n in seen.items() if sentence == "a red circle")
    assert abs(red - 8000 * 2 / 3) < 5 * math.sqrt(8000 * 2 / 9)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_captions_are_dropped_never_or_always(share):
    told = {sentence is not None for _, sentence in drawn_captions(make_batches(24, caption_dropout=share), 50)}
    assert told == {share == 0}


def test_half_of_the_images_are_mirrored():
    batches, images = make_batches(24), from_bytes(torch.from_numpy(make_data(24).images))
    mirrored = 0
    for step in range(500):
        chosen, x_0 = images[batches.indices(step)], batches[step].x_0
        straight, flipped = ((x_0 == x).flatten(1).all(1) for x in (chosen, chosen.flip(3)))
        assert (straight ^ flipped).all()
        mirrored += flipped.sum().item()
    assert abs(mirrored - 2000) < 5 * math.sqrt(1000)


def test_without_flip_no_image_is_mirrored():
    batches, images = make_batches(24, flip=False), from_bytes(torch.from_numpy(make_data(24).images))
    assert all(torch.equal(batches[step].x_0, images[batches.indices(step)]) for step in range(20))


def test_noise_is_standard_normal():
    noise = torch.cat([make_batches(24)[step].noise for step in range(200)]).double()
    n = noise.numel()
    assert abs(noise.mean()) < 5 / math.sqrt(n) and abs(noise.var() - 1) < 5 * math.sqrt(2 / n)


def test_images_are_bytes_turned_into_minus_one_to_one():
    bytes_ = torch.arange(256, dtype=torch.uint8)
    values = from_bytes(bytes_)
    assert values.dtype == torch.float32 and values.min() == -1 and values.max() == 1
    torch.testing.assert_close(values.double(), torch.linspace(-1, 1, 256, dtype=torch.float64), rtol=0, atol=1e-6)
    with pytest.raises(AssertionError, match="scaled twice"):
        from_bytes(values)


def test_parts_of_a_batch_interleave_and_lose_no_row():
    batch = make_batches(24)[0]
    parts = [batch.part(i, 4) for i in range(4)]
    for name in ("x_0", "tokens", "t", "noise"):
        rows = torch.stack([getattr(part, name) for part in parts], dim=1).flatten(0, 1)
        assert torch.equal(rows, getattr(batch, name))


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(ValueError, match="7 images.* batch of 8"):
        make_batches(7)


def test_streams_of_randomness_differ():
    asked = [(seed, purpose, n) for seed in (0, 1) for purpose in ("order", "draws", "dropout") for n in (0, 1, 256)]
    assert len({generator(*key).initial_seed() for key in asked}) == len(asked)
    assert all(generator(*key).initial_seed() == generator(*key).initial_seed() for key in asked)


# ---- a step --------------------------------------------------------------------------------------------------------


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


def test_the_first_step_moves_every_weight_and_no_farther_than_the_rate():
    """Adam's first step is lr * g / (|g| + 1e-8), so at most lr in size."""
    training = make_training(SETTINGS)
    before = flat(training)
    training.one_step(1e-3)
    moved = (flat(training) - before).abs()
    assert 0 < moved.max() <= 1e-3 * (1 + 1e-3)
    assert training.step == 1 and training.images == 8


def test_records_have_the_state_of_the_run():
    records = list(make_training(replace(SETTINGS, images=8 * 25)).run())
    assert [r.step for r in records] == [10, 20, 25]
    assert [r.images for r in records] == [80, 160, 200]
    assert [r.progress for r in records] == pytest.approx([0.4, 0.8, 1.0])
    seconds = [r.seconds for r in records]
    assert seconds == sorted(seconds) and all(r.rate > 0 and r.gradient > 0 for r in records)
    for r, since, steps in zip(records, [0, *seconds], [10, 10, 5], strict=False):
        assert r.rate == pytest.approx(8 * steps / (r.seconds - since))


def test_the_record_has_the_mean_loss_since_the_last():
    training, losses = make_training(replace(SETTINGS, images=8 * 10)), []
    step = training.one_step
    training.one_step = lambda rate: losses.append(step(rate)) or losses[-1]
    (record,) = training.run()
    assert record.loss == pytest.approx(sum(loss.item() for loss, _ in losses) / 10)
    assert record.gradient == pytest.approx(sum(norm.item() for _, norm in losses) / 10)


def test_time_between_records_is_not_training(monkeypatch):
    """A clock that a step moves by one second and the watcher by a hundred: only steps count against the minutes."""
    clock = [0.0]
    monkeypatch.setattr(ddpm.training.time, "perf_counter", lambda: clock[0])
    training = make_training(replace(SETTINGS, images=0, minutes=0.5))
    step = training.one_step

    def second(rate):
        clock[0] += 1
        return step(rate)

    training.one_step = second
    for record in training.run():
        assert record.seconds == record.step
        clock[0] += 100
    assert record.step == 30 and record.progress == 1


def test_the_wait_for_a_gpu_is_training(monkeypatch):
    """A GPU is handed its steps at once and works on: the time it takes shows only when its losses are asked for."""
    clock = [0.0]
    monkeypatch.setattr(ddpm.training.time, "perf_counter", lambda: clock[0])
    training = make_training(replace(SETTINGS, images=0, minutes=0.5))
    means = training.means

    def wait(losses, gradients):
        clock[0] += 15
        return means(losses, gradients)

    training.means = wait
    records = list(training.run())
    assert [(r.step, r.seconds, r.progress) for r in records] == [(10, 15, 0.5), (20, 30, 1)]
    assert records[0].rate == pytest.approx(80 / 15)


def test_a_finished_run_has_nothing_more_to_do():
    training = finished(make_training(SETTINGS))
    assert list(training.run()) == []


@pytest.mark.slow
def test_one_image_is_memorised():
    """The loss of a constant dataset must fall to a small part: everything in the loop works together."""
    settings = replace(
        SETTINGS, images=8 * 150, learning_rate=5e-3, warmup=10, flip=False, caption_dropout=0.0, schedule="cosine"
    )
    training = make_training(settings, replace(CONFIG, predicts="v"), n=8)
    training.batches.images[:] = training.batches.images[0]
    losses = [record.loss for record in training.run()]
    assert losses[-1] < losses[0] / 4


# ---- resume, parts, processes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [CONFIG, DROPOUT], ids=["plain", "dropout"])
def test_four_steps_are_two_and_two(config):
    """Bit for bit: weights, every average, the optimizer's state, and the data that comes next."""
    whole = finished(make_training(SETTINGS, config))
    first = finished(make_training(replace(SETTINGS, images=16), config))
    torch.manual_seed(12345)  # a new process has random state of its own
    second = make_training(SETTINGS, replace(config))
    second.restore(first.state())
    assert second.step == 2 and second.images == 16
    finished(second)
    assert whole.step == second.step == 4
    assert torch.equal(flat(whole), flat(second))
    for share in SETTINGS.ema:
        for name, tensor in whole.averages.of[share].items():
            assert torch.equal(tensor, second.averages.of[share][name])
    one, two = whole.optimizer.state_dict()["state"], second.optimizer.state_dict()["state"]
    assert one.keys() == two.keys()
    assert all(torch.equal(one[i][key], two[i][key]) for i in one for key in one[i])


def test_a_restored_run_shares_no_memory_with_the_state():
    first = finished(make_training(replace(SETTINGS, images=16)))
    before, second = flat(first).clone(), make_training(SETTINGS)
    second.restore(first.state())
    finished(second)
    assert torch.equal(flat(first), before)


def test_dropout_is_on_in_training():
    training = make_training(SETTINGS, DROPOUT)
    batch = training.batches[0]
    with torch.no_grad():
        assert training.loss(batch) != training.loss(batch)


# the loss of eps has gradients of ordinary size, and clipping, which would hide a wrong scale, is out of reach
PLAIN = replace(SETTINGS, weighting="eps", grad_clip=1e9, learning_rate=1e-2)


def by_plain_descent(settings: Settings) -> Training:
    """The run with steps proportional to the gradient, so that rounding stays rounding: Adam divides by it."""
    training = make_training(settings)
    training.optimizer = torch.optim.SGD(training.unet.parameters())
    return training


def test_plain_descent_shows_the_scale_of_a_gradient():
    """The next test rests on it: half the gradient must lead elsewhere, far beyond the rounding they allow."""
    whole, half = (finished(by_plain_descent(replace(PLAIN, learning_rate=rate))) for rate in (1e-2, 5e-3))
    assert (flat(whole) - flat(half)).abs().max() > 1000 * 1e-6


WORKER = """
import sys

import torch
import torch.distributed as dist
from ddpm import distributed
from test_training import PLAIN, by_plain_descent, finished, flat

dist.init_process_group("gloo")
training, rows = by_plain_descent(PLAIN), []
loss = training.loss
training.loss = lambda batch: rows.append(len(batch.x_0)) or loss(batch)
finished(training)
assert training.world == 2 and training.images == PLAIN.images
assert sum(rows) == PLAIN.images // 2, "a process must see its own share only"
everyone = [torch.empty_like(flat(training)) for _ in range(2)]
dist.all_gather(everyone, flat(training))
assert torch.equal(*everyone), "the processes went apart"
if training.rank == 0:
    torch.save({"weights": flat(training), "ema": training.averages.of[0.5]}, sys.argv[1])
distributed.leave(training)
"""


@pytest.mark.slow
def test_two_processes_are_one_up_to_rounding(tmp_path):
    """The same global batch on one process, and shared between two that exchange gradients."""
    worker, result = tmp_path / "worker.py", tmp_path / "result.pt"
    worker.write_text(WORKER)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    done = subprocess.run(
        [*command, str(worker), str(result)], capture_output=True, text=True, timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    alone = finished(by_plain_descent(PLAIN))
    shared = torch.load(result, weights_only=True)
    torch.testing.assert_close(shared["weights"], flat(alone), rtol=0, atol=1e-6)
    for name, tensor in alone.averages.of[0.5].items():
        torch.testing.assert_close(shared["ema"][name], tensor, rtol=0, atol=1e-6)


def test_processes_do_not_drop_the_same_values():
    """Each process has random state of its own: the same mask for every share would be less dropout than asked for."""
    seeds = set()
    for rank in (0, 1):
        training = make_training(SETTINGS, DROPOUT)
        training.rank, training.world = rank, 2
        training.one_step(1e-3)
        seeds.add(torch.initial_seed())
    assert len(seeds) == 2


# ---- what stops a run ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [1, 7, 10, 14])
def test_a_loss_that_is_not_finite_stops_with_its_step(bad):
    training = make_training(replace(SETTINGS, images=8 * 20))
    loss = training.loss
    training.loss = lambda batch: loss(batch) * (float("nan") if training.step == bad - 1 else 1)
    with pytest.raises(FloatingPointError, match=rf"step {bad} is nan"):
        finished(training)


@pytest.mark.parametrize("bad", [3, 10])
def test_a_gradient_that_is_not_finite_stops_too(bad):
    """A finite loss may have an infinite gradient, which spoils the weights at once: no record may follow it, for a
    record is what a checkpoint follows."""
    training, records = make_training(replace(SETTINGS, images=8 * 20)), []
    loss = training.loss

    def spoiled(batch):
        value = loss(batch)
        if training.step == bad - 1:
            value.register_hook(lambda gradient: gradient * float("inf"))
        return value

    training.loss = spoiled
    with pytest.raises(FloatingPointError, match=f"gradient of step {bad} is"):
        records.extend(training.run())
    assert records == []


# ---- settings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("minutes", -1.0), ("minutes", math.nan), ("images", -5), ("batch", 0), ("T", 0), ("learning_rate", math.nan),
        ("grad_clip", -1.0), ("lr_decay", 1.5), ("caption_dropout", math.nan), ("ema", ()), ("ema", (0.05, 1.0)),
        ("save_every", 0.0), ("seed", 10**23), ("report", -1), ("schedule", "sigmoid"), ("weighting", "x0"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_named_with_its_value(name, value):
    with pytest.raises(ValueError) as caught:
        replace(SETTINGS, **{name: value})
    assert name in str(caught.value) and str(value) in str(caught.value) and "\n" not in str(caught.value)


def test_every_data_set_has_a_network_and_a_recipe_on_every_device():
    assert set(RECIPES) == set(PRESETS)
    for data in ("shapes", "cifar10", "celeba", "folder"):
        for device in ("cpu", "cuda"):
            assert default_preset(data, device) in PRESETS
    with pytest.raises(ValueError, match="'mnist'"):
        default_preset("mnist", "cpu")


def test_a_run_can_be_watched_step_by_step():
    """The loop is a generator: who stops asking stops the training."""
    training = make_training(replace(SETTINGS, images=8 * 100))
    assert [record.step for record in islice(training.run(), 2)] == [10, 20]
    assert training.step == 20


def test_making_a_run_changes_no_weight():
    """Making a run draws nothing and changes nothing."""
    unet = make_unet()
    before = torch.cat([p.detach().ravel().clone() for p in unet.parameters()])
    Training(SETTINGS, unet, Tokenizer(), Schedule(), make_data(24))
    assert torch.equal(torch.cat([p.detach().ravel() for p in unet.parameters()]), before)
