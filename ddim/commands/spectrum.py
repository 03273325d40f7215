"""How much detail a few steps leave in samples, and how the distance takes it."""

import argparse

from tqdm import tqdm

import ddpm

from .. import features, ruler, spectrum, table
from .common import (
    at_least_two,
    check_free,
    check_same,
    check_seed,
    counted,
    drawn,
    head,
    model_facts,
    of_split,
    once,
    result,
    tell,
)


def spectrum_command(args: argparse.Namespace) -> None:
    """Detail of samples by its size beside real pictures', and their distance with noise added."""
    check_free(args, ".json", ".txt", ".png")
    check_seed(args.seed)
    trained = ddpm.load(args.model, device=args.device)
    rows = once(map(table.row_name, args.rows))
    at_least_two(args.n)
    calls = args.n * table.calls(trained.schedule.T, [(row, args.steps) for row in rows], "linear")
    network = features.load(args.features, trained.info["data"], args.inception, args.device)
    settings = model_facts(trained, args) | {"n": args.n, "steps": args.steps, "rows": rows, "seed": args.seed}
    settings |= {"distance": network.name, "features": network.network, "features_sha256": network.sha256}
    check_same(args, settings)
    real = of_split(trained, args.data_dir, "train").images
    reference, power, found = ruler.Ruler(network(real)), spectrum.power(real), {}
    prompts, seeds = [""] * args.n, list(range(args.seed, args.seed + args.n))
    with tqdm(total=calls, unit=" calls", unit_scale=True) as bar:
        for row in rows:
            walk = counted(table.cell_sampler(row, args.steps, "linear"), bar)
            images = drawn(trained, prompts, seeds, 1.0, walk)
            found[row] = {
                "power": (spectrum.power(images) / power).tolist(),
                "grain": spectrum.grained(reference, network, images),
            }
    asked = f"{args.n} samples, {args.steps} steps, linear grid, null prompt, seed {args.seed}"
    words = spectrum.text(head(trained, args, asked, f"distance: {network.name}, {network.network}"), found)
    tell(args, {"settings": settings, "grain": spectrum.GRAIN, "rows": found}, words)
    print(spectrum.plot(result(args, ".png"), f"{args.model}: {asked}", found))
