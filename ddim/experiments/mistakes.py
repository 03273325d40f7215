"""What the usual mistakes of an implementation cost: each is switched on alone, beside the right way.

A mistake in sampling costs Frechet distance to the test set, one in inversion squared error of the reconstruction.
"""

import argparse
import textwrap
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

import ddpm
from ddpm.diffusion import EpsFn, last, predict
from ddpm.evaluation import features
from ddpm.evaluation.frechet import Reference, plus_minus
from ddpm.experiments.common import calls_bar, check_settings, images_of, model_data, model_facts, of_test, write
from ddpm.model import find, read
from ddpm.noise import Draw, noise_like
from ddpm.schedule import Schedule
from ddpm.utils import cli
from ddpm.utils.images import from_bytes, sheet, squared_error

from ..sampler import Trajectory, sample, sigma, step, timesteps
from .reconstruct import round_trip

EXAMPLE = "python -m ddim mistakes --model shapes --n 50"
ENDINGS = (".json", ".txt", ".png")
IMAGES, SHOWN = 32, 2  # images that are inverted; rows of the sheet
RAW, GRID = "averaged weights off", "grid: quadratic"  # the second is a choice, not a mistake
EpsOf = Callable[[float], EpsFn]  # guidance -> the network

# ---- mistakes in sampling: (eps, schedule, x_T, noise, S) -> trajectory ----------------------------------------------


def right(eps: EpsFn, schedule: Schedule, x_T: Tensor, noise: Draw, S: int, **changed) -> Trajectory:
    """DDIM Eq. (12) with sigma of Eq. (16) at eta = 1, on the linear grid."""
    return sample(eps, schedule, x_T, S, **{"eta": 1.0, "generator": noise} | changed)


def network_next_t(eps: EpsFn, schedule: Schedule, x_T: Tensor, noise: Draw, S: int) -> Trajectory:
    """Right: eps(x_t, t), Ho Algorithm 2, line 4. Here the network gets the time s that the step goes to."""
    below = dict(pairwise(timesteps(schedule.T, S)))
    return right(lambda x, t: eps(x, torch.full_like(t, max(below[t[0].item()], 1))), schedule, x_T, noise, S)


def alpha_bar_t_minus_1(eps: EpsFn, schedule: Schedule, x_T: Tensor, noise: Draw, S: int) -> Trajectory:
    """Right: alpha_bar[t] in DDIM Eq. (12), alpha_bar[0] = 1. Here the table is read one entry too early."""
    early = torch.cat([schedule.alpha_bar[:1], schedule.alpha_bar[:-1]])
    return right(eps, with_alpha_bar(schedule, early), x_T, noise, S)


def noise_in_last_step(eps: EpsFn, schedule: Schedule, x_T: Tensor, noise: Draw, S: int) -> Trajectory:
    """Right: z = 0 in the step to t = 0, Ho Algorithm 2, line 3. Here it gets beta of that step, 1 - alpha_bar_t."""
    spread = (1 - schedule.alpha_bar[timesteps(schedule.T, S)[-2]]).sqrt().item()
    noisy = lambda s, x, x_0: (x + spread * noise_like(x, noise) if s == 0 else x, x_0)  # noqa: E731
    return right(eps, schedule, x_T, noise, S, on_step=noisy)


def variance_for_deviation(eps: EpsFn, schedule: Schedule, x_T: Tensor, noise: Draw, S: int) -> Trajectory:
    """Right: sigma times z in DDIM Eq. (12). Here it is sigma^2 times z."""
    sigmas = (sigma(schedule, t, s, 1.0) for t, s in pairwise(timesteps(schedule.T, S)))
    return right(eps, schedule, x_T, lambda x: next(sigmas) * noise_like(x, noise), S)


def with_alpha_bar(schedule: Schedule, alpha_bar: Tensor) -> Schedule:
    """The schedule with another table (T + 1,) for alpha_bar."""
    other = Schedule(schedule.T, schedule.kind)
    other.alpha_bar = alpha_bar
    return other


SAMPLING = {
    "right": right,
    # right: eps(x_t, t), Ho Algorithm 2, line 4; here the loop's times count from 0, the network's from 1
    "network gets t - 1": lambda eps, *given: right(lambda x, t: eps(x, (t - 1).clamp(min=1)), *given),
    "network gets the next t": network_next_t,
    "alpha_bar[t - 1]": alpha_bar_t_minus_1,
    # right: alpha_bar in DDIM Eq. (12), which that paper writes alpha; here it is DDPM's alpha, of a single step
    "alpha for alpha_bar": lambda eps, of, *given: right(eps, with_alpha_bar(of, of.alpha), *given),
    "noise in the last step": noise_in_last_step,
    "variance for deviation": variance_for_deviation,
    # a choice, no mistake: DDIM's appendix D.2 takes it for CIFAR-10; it starts at 0.8 T, with short last steps
    GRID: partial(right, spacing="quadratic"),
}

# ---- mistakes in inversion: (eps_of, schedule, x_0, S) -> reconstruction ---------------------------------------------


def clipped_inversion(eps_of: EpsOf, schedule: Schedule, x: Tensor, S: int) -> Tensor:
    """Right: nothing is clipped. Here the predicted x_0 is kept in [-1, 1] on the way up, and eps as it was."""
    for s, t in pairwise(reversed(timesteps(schedule.T, S))):
        x, x_0 = step(schedule, predict(eps_of(1.0), x, t), x, s, t)
        x = x + schedule.alpha_bar[t].sqrt().to(x.dtype) * (x_0.clamp(-1, 1) - x_0)
    return last(sample(eps_of(1.0), schedule, x, S))


INVERSION = {
    "right": lambda eps_of, *given: round_trip(eps_of(1.0), *given),  # DDIM Eq. (12) at sigma = 0, up and down
    "predicted x_0 clipped": clipped_inversion,
    # right: guidance 1 (Ho & Salimans, w = 0); here it is Stable Diffusion's usual 7.5, upwards and downwards
    "guidance 7.5": lambda eps_of, *given: round_trip(eps_of(7.5), *given),
    # right: images in [-1, 1], Ho section 3.3; here they come in as [0, 1] and are shown as if in [-1, 1]
    "images in [0, 1]": lambda eps_of, schedule, x_0, S: round_trip(eps_of(1.0), schedule, (x_0 + 1) / 2, S),
}


def text(record: dict) -> str:
    """The record as a table."""
    of, (sampling, inversion) = record["settings"], (record["sampling"], record["inversion"])
    lines = [f"mistakes: model {of['model']}, S = {of['steps']}, linear grid, eta 1 in sampling, no guidance"]
    lines += [] if RAW in sampling else [f"{RAW}: not measured, {of['model']} is the average alone, not a run's folder"]
    lines += ["", f"{of['distance']} of {of['n']} samples to {of['reference_n']} images of the test set"]
    lines += [f"{name:26s}{plus_minus(m['distance'], m['error']):>16s}" for name, m in sampling.items()]
    lines += [f"({GRID} is a choice, no mistake: it starts at 0.8 T, and its steps get shorter towards the image)"]
    lines += ["", f"squared error x 1000 of {of['inverted']} images of the test set, inverted and sampled again"]
    lines += [f"{name:26s}{plus_minus(m['mean'], m['error']):>16s}" for name, m in inversion.items()]
    return "\n".join(lines) + "\n"


def add_flags(parser: argparse.ArgumentParser) -> None:
    cli.add_flags(parser, "device", "data_dir", "out", model="scenes", n=200, seed=0, steps=10)


def prepare(args: argparse.Namespace) -> tuple:
    """The model, the model and sampler of each mistake, the test images and captions of n of them, the network of the
    distance, the record's settings and file. ValueError, OSError: a bad flag, or earlier results of another kind.
    """
    trained = ddpm.load(args.model, device=args.device)
    fast, data, most = trained.for_many_images(compiled=False), trained.info["data"], trained.schedule.T // 2
    if args.steps > most:
        raise ValueError(f"--steps is {args.steps}, expected 1 .. {most} with {args.model}")
    _, captions, there = of_test(fast, args, least=2)
    network = features.load("classifier", data)
    ways = {name: (fast, way) for name, way in SAMPLING.items()}
    if (last_weights := read(find(trained.info["path"])).get("unet")) is not None:  # of a run, not a shipped model
        unet = deepcopy(fast.unet)
        unet.load_state_dict({name: value.float() for name, value in last_weights.items()})
        ways[RAW] = (replace(fast, unet=unet.eval()), right)
    settings = model_facts(fast, args) | {"n": args.n, "inverted": min(args.n, IMAGES), "steps": args.steps}
    settings |= {"seed": args.seed, "reference_n": there, "distance": network.name}
    settings |= {"features_sha256": network.sha256, "features": network.network}
    settings |= {"precision of inversion": "float32"} if fast.precision != "float32" else {}
    check_settings(path := cli.output(args, f"mistakes-{cli.name_of(args.model)}", ".json"), settings)
    return trained, ways, model_data(fast, args.data_dir, "test").images, captions, network, settings, path


def run(args: argparse.Namespace) -> None:
    """Sample and invert with each mistake; write and print the table, and show some of the images."""
    trained, ways, test, captions, network, settings, path = prepare(args)
    samples, seeds = {}, range(args.seed, args.seed + args.n)
    with calls_bar(len(ways) * args.n * args.steps) as bar:
        for name, (model, way) in ways.items():
            sampler = lambda *given, way=way: way(*given, args.steps)  # noqa: E731
            samples[name] = images_of(model, captions, seeds, 1.0, sampler, bar)
    real = test[: settings["inverted"]]
    eps_of, x_0 = partial(trained.eps, captions[: len(real)]), trained.encode(from_bytes(real))
    again = {name: way(eps_of, trained.schedule, x_0, args.steps) for name, way in INVERSION.items()}
    again = {name: trained.images(x.nan_to_num()) for name, x in again.items()}
    reference = Reference(network(test))
    image = trained.images(x_0)  # of a model of latents what its autoencoder reconstructs: not DDIM's loss
    errors = {name: 1000 * squared_error(image, images) for name, images in again.items()}
    record = {
        "settings": settings,
        "sampling": {name: reference.measure(network(images)) for name, images in samples.items()},
        "inversion": {name: {"mean": e.mean(), "error": e.std(ddof=1) / len(e) ** 0.5} for name, e in errors.items()},
    }
    write(args, path, record, text)
    columns = [f"{textwrap.fill(key, 18)}\nFD {cell['distance']:.1f}" for key, cell in record["sampling"].items()]
    columns += ["image", *(f"{textwrap.fill(key, 18)}\nerror {e.mean():.1f}" for key, e in errors.items())]
    shown = np.stack([each[:SHOWN] for each in (*samples.values(), real, *again.values())], axis=1)
    title = f"{'; '.join(captions[:SHOWN])}. FD: Frechet distance; error: squared error x 1000"
    notes, fold = ["sampling", "", "the image, inverted and sampled again"], [(len(samples) + 1) // 2, len(samples)]
    print(sheet(cli.output(args, path.stem, ".png"), shown, [""] * SHOWN, columns, title, fold, notes))
