"""What the sampler can do, measured and drawn.

    python -m ddim table --model shapes --n 500           Frechet distance over S and eta, beside the paper's
    python -m ddim ruler --data shapes                    what such distances mean
    python -m ddim reconstruct --model shapes             invert and sample again
    python -m ddim edit --image 0 --target "a photo of a small blue circle on a white background"
    python -m ddim sweep --model shapes                   too little noise, too much, and the ways out
    python -m ddim figures --model shapes                 samples, consistency, interpolation
    python -m ddim overhead --model shapes                what the sampler's loop costs beside the network
    python -m ddim classifier --data cifar10              train the feature network of a data set, and ship it
"""

import argparse
import hashlib
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

import ddpm
from ddpm.data import Dataset, edits, load_data, reading, shapes
from ddpm.data.base import DataError
from ddpm.data.labels import load_labelled
from ddpm.diffusion import EpsFn, to_pictures
from ddpm.door import exit_code, finite, positive
from ddpm.files import sha256, write_json
from ddpm.gaussian import gaussian_like
from ddpm.model import Trained

from . import classifier, features, figures, reconstruct, ruler, table, tradeoff
from .editing import edit_exact, edit_inverted, edit_naive, lower_part
from .family import HAT
from .grids import SPACINGS, timesteps
from .interpolation import slerp
from .sampling import last, sample, sample_2m

BATCH = 64
WAYS = ("noise", "invert", "exact")
FIGURE_3 = (10, 100)  # numbers of steps in the paper's figure


# ---- what the commands share -----------------------------------------------------------------------------------------


def of_split(trained: Trained, data_dir: str, split: str) -> Dataset:
    """The model's own data set."""
    return load_data(trained.info["data"], data_dir, split, trained.unet.config.size)


def name_of(model: str) -> str:
    """How result files call a model: a shipped name as it is, a run folder or file by its last part."""
    return Path(model).stem


def result(args: argparse.Namespace, ending: str) -> Path:
    """Where a command writes, in its folder: table-shapes.json, say."""
    folder = Path(args.out)
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{args.command}-{name_of(getattr(args, 'model', None) or args.data)}{ending}"


def tell(args: argparse.Namespace, record: dict, words: str, more: str = "") -> None:
    """Write a result as JSON and as text, print the text and where it went; more: an addition to the files' name."""
    path = result(args, f"{more}.txt")
    print(words)
    write_json(result(args, f"{more}.json"), record)
    path.write_text(words)
    print(path)


def at_least_two(n: int) -> None:
    """ValueError unless n pictures can have a mean and a spread."""
    if n < 2:
        raise ValueError(f"n is {n}, expected 2 or more pictures")


def in_batches(n: int) -> Iterator[slice]:
    """0..n-1 in portions of BATCH."""
    return (slice(first, min(first + BATCH, n)) for first in range(0, n, BATCH))


def drawn(trained: Trained, prompts: list[str], seeds: list[int], scale: float, sampler: Callable) -> np.ndarray:
    """One picture for each prompt and seed, (N, 3, H, W)."""
    return np.concatenate(list(ddpm.generate(trained, prompts, seeds, sampler, scale)))


def head(trained: Trained, args: argparse.Namespace, *more: str) -> list[str]:
    """The first lines of a text result: the model and how it was asked."""
    return [f"{args.command}: model {args.model}, data {trained.info['data']}", *more]


# ---- the table and its ruler -----------------------------------------------------------------------------------------


def pictures_in(folder: Path, size: int) -> np.ndarray:
    """All pictures of a folder, uint8 (N, 3, size, size), the square in the middle. DataError when there are none."""
    names = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp"))
    if not names:
        raise DataError(f"the reference folder {folder} has no pictures: expected .png, .jpg or .webp files in it")
    return np.stack([reading.to_array(reading.square(reading.open_picture(name)), size) for name in names])


def reference_set(trained: Trained, args: argparse.Namespace) -> np.ndarray:
    """The real pictures that samples are compared with: a split of the model's data set, or a folder."""
    if Path(args.reference).is_dir():
        return pictures_in(Path(args.reference), trained.unet.config.size)
    if args.reference not in ("train", "test"):
        raise DataError(f"no reference {args.reference!r}: expected train, test, or a folder of pictures")
    return of_split(trained, args.data_dir, args.reference).images


def prompts_for(trained: Trained, args: argparse.Namespace) -> list[str]:
    """n prompts: the null prompt, or captions drawn from the training set as training draws them."""
    if args.prompts == "null":
        return [""] * args.n
    captions, rng = of_split(trained, args.data_dir, "train").captions, np.random.default_rng(args.seed)
    chosen = [captions[i] for i in rng.integers(len(captions), size=args.n)]
    return [several[rng.integers(len(several))] for several in chosen]


def table_settings(trained: Trained, args: argparse.Namespace, network: features.Features, real: np.ndarray) -> dict:
    """All that a cell depends on; real: the reference pictures."""
    return {
        "distance": network.name, "model": name_of(args.model), "data": trained.info["data"],
        "model_sha256": sha256(Path(trained.info["path"])), "n": args.n,
        "spacing": args.spacing, "T": trained.schedule.T, "schedule": trained.schedule.kind, "clipping": "none",
        "prompts": args.prompts, "guidance": args.scale, "seed": args.seed,
        "features": network.network, "features_sha256": network.sha256,
        "reference": args.reference, "reference_n": len(real),
        "reference_sha256": hashlib.sha256(real.tobytes()).hexdigest(),
    }  # fmt: skip


def cell_measurer(trained: Trained, args: argparse.Namespace, network: features.Features, real: np.ndarray, bar: tqdm):
    """measure(row, S) -> cell: n samples with the same x_T and prompts in every cell, against the real pictures."""
    reference, prompts = ruler.Ruler(network(real)), prompts_for(trained, args)
    seeds = list(range(args.seed, args.seed + args.n))

    def measure(row: str, S: int) -> ruler.Measure:
        walk = table.cell_sampler(row, S, args.spacing)

        def counted(*arguments) -> Iterator:
            for state in walk(*arguments):
                yield state
                bar.update(len(state[1]))

        return reference.measure(network(drawn(trained, prompts, seeds, args.scale, counted)))

    return measure


def usual_spacing(trained: Trained) -> str:
    """The paper's grid. Its quadratic one, for CIFAR-10, starts at t = 801, where only the linear schedule is noise."""
    as_in_paper = trained.info["data"] == "cifar10" and trained.schedule.kind == "linear"
    return "quadratic" if as_in_paper else "linear"


def table_command(args: argparse.Namespace) -> None:
    """Fill the S x eta table."""
    trained = ddpm.load(args.model, device=args.device)
    rows, T = [table.row_name(row) for row in args.rows], trained.schedule.T
    args.spacing = args.spacing or usual_spacing(trained)
    table.calls(T, [("", S) for S in args.columns], args.spacing)  # a bad S is told before any work
    at_least_two(args.n)
    if args.prompts == "null" and args.scale != 1:
        raise ValueError(f"guidance {args.scale} needs --prompts captions: without a caption there is nothing to guide")
    network = features.load(args.features, trained.info["data"], args.inception, args.device)
    real = reference_set(trained, args)
    path = result(args, ".json")
    record = table.resume(path, table_settings(trained, args, network, real))
    if todo := table.missing(record, rows, args.columns):
        with tqdm(total=table.calls(T, todo, args.spacing) * args.n, unit=" calls", unit_scale=True) as bar:
            measure = cell_measurer(trained, args, network, real, bar)
            for row, S, cell in table.fill(path, record, rows, args.columns, measure):
                tqdm.write(f"{table.label(row)}, S = {S}: {ruler.plus_minus(cell['distance'], cell['error'])}")
    tell(args, record, table.text(record))
    print(table.plot(result(args, ".png"), record))


def ruler_command(args: argparse.Namespace) -> None:
    """Distances whose cause is known: halves of the training set, the test set, noise, JPEG and blur."""
    network = features.load(args.features, args.data, args.inception, args.device)
    size = args.size or {"shapes": shapes.SIZE}.get(args.data, 32)
    train, test = (load_data(args.data, args.data_dir, split, size).images for split in ("train", "test"))
    n = len(train) // 2 if args.n is None else args.n
    lines = tqdm(ruler.readings(network, train, test, n), "lines", 2 + len(ruler.DISTURBANCES))
    measures = dict(lines)
    settings = {"data": args.data, "n": n, "reference_n": len(train) - len(train) // 2, "size": size}
    settings |= {"distance": network.name, "features": network.network, "features_sha256": network.sha256}
    about = f"{network.name} of {n} pictures of {args.data} against {settings['reference_n']} of the training set"
    tell(args, {"settings": settings, "lines": measures}, ruler.text([about, f"features: {network.network}"], measures))


# ---- there and back --------------------------------------------------------------------------------------------------


def round_trips(
    trained: Trained, args: argparse.Namespace, x_0: torch.Tensor, captions: list[str]
) -> Iterator[tuple[str, int, int, torch.Tensor]]:
    """x_0 there and back in every variant, at last without a network: (variant, S, network calls, what came back)."""
    chosen = {name: reconstruct.VARIANTS[name] for name in args.variants}
    todo = [(name, variant, S) for name, variant in chosen.items() for S in args.steps]
    cost = {(name, S): reconstruct.calls(steps_of(trained, args, S), variant) for name, variant, S in todo}
    training = to_pictures(of_split(trained, args.data_dir, "train").images).to(x_0)
    like_training = gaussian_like(trained.schedule, training)

    def trip(eps: EpsFn, part: slice, S: int, way: int | str = 0) -> torch.Tensor:
        return reconstruct.round_trip(eps, trained.schedule, x_0[part], S, args.spacing, way)

    with tqdm(total=len(x_0) * sum(cost.values()), unit=" calls", unit_scale=True) as bar:
        for name, variant, S in todo:
            parts = []
            for part in in_batches(len(x_0)):
                eps = trained.eps(captions[part] if variant.captions else None, variant.scale)
                parts.append(trip(eps, part, S, variant.way))
                bar.update(len(parts[-1]) * cost[name, S])
            yield name, S, cost[name, S], torch.cat(parts)
    for S in args.steps:
        yield reconstruct.GAUSSIAN, S, 0, torch.cat([trip(like_training, part, S) for part in in_batches(len(x_0))])


def steps_of(trained: Trained, args: argparse.Namespace, S: int) -> int:
    """How many steps the grid of S steps really has. ValueError: an S outside 1..T."""
    return len(timesteps(trained.schedule.T, S, args.spacing)) - 1


def reconstruct_command(args: argparse.Namespace) -> None:
    """Invert test pictures and sample them again: DDIM's Table 2, and what guidance and exact inversion do to it."""
    trained = ddpm.load(args.model, device=args.device)
    exact = any(reconstruct.VARIANTS[name].way == reconstruct.EXACT for name in args.variants)
    for S in args.steps:  # a bad S is told before any work
        if steps_of(trained, args, S) < 2 and exact:
            raise ValueError(f"S = {S} is one step, and the exact way needs two: leave out S, or the exact variants")
    at_least_two(args.n)
    test = of_split(trained, args.data_dir, "test")
    if args.n > len(test):
        raise ValueError(f"n is {args.n}, but the test split has {len(test)} pictures")
    images, captions = test.images[: args.n], [several[0] for several in test.captions[: args.n]]
    x_0, rows, shown = to_pictures(images).to(trained.device), [], {}
    for name, S, calls, again in round_trips(trained, args, x_0, captions):
        shown[name, S] = ddpm.to_bytes(again[:6].nan_to_num())
        rows.append({"variant": name, "S": S, "calls": calls} | reconstruct.summary(x_0, again))
    more = (
        "mean squared error per dimension, pictures in [0, 1]; S steps each way, nothing clipped; network in float32",
        "paper: DDIM Table 2 (CIFAR-10, unconditional); largest: difference of a value in [-1, 1]; calls: network's",
        f"{reconstruct.GAUSSIAN}: no network, data of the training set's mean and covariance: what the steps lose",
        *(table.grid_line(trained.schedule.T, S, args.spacing) for S in args.steps),
    )
    record = {"model": args.model, "spacing": args.spacing, "rows": rows}
    ending = f"-{args.n}" if args.spacing == "linear" else f"-{args.n}-{args.spacing}"
    tell(args, record, reconstruct.text(head(trained, args, *more), rows), ending)
    base = args.variants[0]
    middle = max((S for S in args.steps if S <= 50), default=args.steps[0])
    cells = [(base, S) for S in args.steps] + [(name, middle) for name in args.variants[1:]]
    columns = ["original", *("\n".join([*name.split(maxsplit=1), f"S = {S}"]) for name, S in cells)]
    strip = np.stack([images[:6], *(shown[cell] for cell in cells)], axis=1)
    print(figures.sheet(result(args, f"{ending}.png"), strip, [""] * len(strip), columns))


# ---- editing ---------------------------------------------------------------------------------------------------------


def editor(trained: Trained, args: argparse.Namespace, sources: list[str], targets: list[str]) -> Callable:
    """edit(way, x_0, strength, seeds) -> trajectory; the source's caption unguided, the target's guided by --scale."""
    source, target, schedule = trained.eps(sources), trained.eps(targets, args.scale), trained.schedule

    def edit(way: str, x_0: torch.Tensor, strength: float, seeds: range) -> Iterator:
        if way == "noise":
            return edit_naive(target, schedule, x_0, strength, args.steps, args.eta, generator=ddpm.Noise(seeds))
        if way == "invert":
            return edit_inverted(source, target, schedule, x_0, strength, args.steps, args.iterations)
        return edit_exact(source, target, schedule, x_0, strength, args.steps)

    return edit


def check_strengths(trained: Trained, args: argparse.Namespace, strengths: list[float]) -> None:
    """ValueError, before any work, for strengths outside [0, 1] or that leave the exact way a single step."""
    for strength in strengths:
        if len(lower_part(trained.schedule.T, args.steps, strength)) == 2 and "exact" in args.ways:
            raise ValueError(
                f"strength {strength:g} of {args.steps} steps is one step, and the exact way needs two: take more "
                "--steps, another strength, or --ways without it"
            )


def picture(trained: Trained, args: argparse.Namespace) -> tuple[np.ndarray, str | None]:
    """The picture to edit, uint8 (3, H, W), and its caption if it has one: a file, or an index into the test split."""
    size = trained.unet.config.size
    if args.image.isdecimal():
        test = of_split(trained, args.data_dir, "test")
        if int(args.image) >= len(test):
            raise DataError(f"there is no picture {args.image}: the test split has {len(test)}, counted from 0")
        return test.images[int(args.image)], test.captions[int(args.image)][0]
    file = reading.open_picture(Path(args.image))
    if file.size != (size, size):
        raise DataError(f"{args.image} has {file.width} x {file.height} pixels, the model's pictures {size} x {size}")
    return reading.to_array(file, size), None


def edit_command(args: argparse.Namespace) -> None:
    """Edit one picture: encode, change the caption, decode."""
    trained = ddpm.load(args.model, device=args.device)
    image, caption = picture(trained, args)
    source = args.prompt if args.prompt is not None else caption
    if source is None:
        raise ValueError(f"say what {args.image} shows: --prompt")
    edit = editor(trained, args, [source], [args.target])
    check_strengths(trained, args, [args.strength])
    x_0 = to_pictures(image[None]).to(trained.device)
    results = [last(edit(way, x_0, args.strength, range(args.seed, args.seed + 1))) for way in args.ways]
    images = np.concatenate([image[None], *(ddpm.to_bytes(x) for x in results)])
    title = f"{source}\n-> {args.target}\nstrength {args.strength:g}, {args.steps} steps, guidance {args.scale:g}"
    for way, x in zip(args.ways, results, strict=True):
        distance = reconstruct.squared_errors(x_0, x).item()
        print(f"{tradeoff.NAMES[way]:20s} squared difference from the original {distance:.4f} ([0, 1] scale)")
    columns = ["original", *(tradeoff.NAMES[way].replace(" ", "\n") for way in args.ways)]
    print(figures.sheet(result(args, ".png"), images[None], [""], columns, title))


def met(data: str, todo: edits.Edits, images: np.ndarray) -> float:
    """Share of pictures that show their target: all exact checks of the shapes, elsewhere the classifier's head."""
    if data == "shapes":
        return shapes.score(images, todo.targets)["all"]
    judge = classifier.load(data)
    told = judge.probabilities(images)[todo.head].argmax(1).tolist()
    return float(np.mean([judge.heads[todo.head][k] == word for k, word in zip(told, todo.wanted, strict=True)]))


def sweep_command(args: argparse.Namespace) -> None:
    """Every way of editing over the strength: what is lost of the picture, and how often the new caption is met."""
    at_least_two(args.n)
    trained = ddpm.load(args.model, device=args.device)
    data, test = trained.info["data"], of_split(trained, args.data_dir, "test")
    kinds = args.edits or edits.KINDS.get(data, ())
    todo = {kind: edits.edits(test, kind, args.n) for kind in kinds}
    check_strengths(trained, args, args.strengths)
    strengths, curves, strips = sorted(args.strengths), {kind: {} for kind in todo}, []
    for kind, e in todo.items():
        for way in args.ways:
            edit, judge = partial(edited, trained, args, e, way), partial(met, data, e)
            walk = tradeoff.points(edit, strengths, e.images, e.keep, judge)
            points, images = zip(*tqdm(walk, f"{kind}, {way}", len(strengths)), strict=True)
            curves[kind][way] = list(points)
            strips.append(np.stack([e.images[0], *(after[0] for after in images)]))
    asked = f"n = {args.n} of each edit, {args.steps} steps, eta {args.eta} (noise), guidance {args.scale:g}"
    record = {"model": args.model, "asked": asked, "curves": curves}
    tell(args, record, tradeoff.text(head(trained, args, asked), curves))
    print(tradeoff.plot(result(args, ".png"), curves, f"{name_of(args.model)}: {asked}"))
    names = [f"{kind}: {tradeoff.NAMES[way]}" for kind in todo for way in args.ways]
    title = "\n".join(f"{e.sources[0]}  ->  {e.targets[0]}" for e in todo.values())
    columns = ["original", *(f"{strength:g}" for strength in strengths)]
    print(figures.sheet(result(args, "-strip.png"), np.stack(strips), names, columns, title))


def edited(trained: Trained, args: argparse.Namespace, e: edits.Edits, way: str, strength: float) -> np.ndarray:
    """All pictures edited one way; picture i has seed i."""
    parts = []
    for part in in_batches(len(e.images)):
        edit = editor(trained, args, e.sources[part], e.targets[part])
        x_0 = to_pictures(e.images[part]).to(trained.device)
        parts.append(ddpm.to_bytes(last(edit(way, x_0, strength, range(part.start, part.stop)))))
    return np.concatenate(parts)


# ---- figures ---------------------------------------------------------------------------------------------------------


def figures_command(args: argparse.Namespace) -> None:
    """Three figures: samples over eta and S (the paper's Figure 3), one x_T over S, and between two x_T."""
    trained = ddpm.load(args.model, device=args.device)
    captions = of_split(trained, args.data_dir, "test").captions
    prompts = args.prompts or [captions[i][0] for i in range(6)]
    seeds = list(range(args.seed, args.seed + len(prompts)))
    draw = partial(drawn, trained, prompts, seeds, args.scale)

    etas = [row for row in table.ROWS if row != table.SECOND_ORDER]
    blocks = [np.stack([draw(table.cell_sampler(row, S, "linear")) for row in etas]) for S in FIGURE_3]
    names = [f"S = {S}" if i == 0 else "" for S in FIGURE_3 for i in range(len(prompts))]
    path = result(args, "-samples.png")
    print(figures.sheet(path, np.concatenate(blocks, axis=1), [table.label(row) for row in etas], names))

    counts = [S for S in (5, *table.COLUMNS) if S <= trained.schedule.T]
    columns = [draw(table.cell_sampler("0", S, "linear")) for S in counts]
    path = result(args, "-consistency.png")
    names = [f"S = {S}" for S in counts]
    print(figures.sheet(path, np.stack(columns, axis=1), [f"x_T {i}" for i in seeds], names, "same x_T, eta 0"))

    print(figures.sheet(result(args, "-interpolation.png"), *interpolated(trained, prompts[:4], args)))


def interpolated(trained: Trained, prompts: list[str], args: argparse.Namespace) -> tuple:
    """A sheet of DDIM samples (S = 50) between two x_T, a row for each prompt."""
    weights = torch.linspace(0, 1, 11, device=trained.device)
    rows = []
    for i, prompt in enumerate(prompts):
        ends = ddpm.Noise([args.seed + 2 * i, args.seed + 2 * i + 1]).start(trained.shape, trained.device)
        x_T = slerp(ends[:1].expand(11, -1, -1, -1), ends[1:].expand(11, -1, -1, -1), weights)
        eps = trained.eps([prompt], args.scale)
        rows.append(ddpm.to_bytes(last(sample(eps, trained.schedule, x_T, min(50, trained.schedule.T)))))
    return np.stack(rows), [""] * len(rows), [f"{w:.1f}" for w in weights.tolist()], "slerp of x_T, S = 50"


# ---- what the loop costs ---------------------------------------------------------------------------------------------


def overhead_command(args: argparse.Namespace) -> None:
    """The share of the sampler's time that is not the network's."""
    trained = ddpm.load(args.model)
    network = trained.eps(None)
    x_T = ddpm.Noise(range(args.batch)).start(trained.shape)
    samplers = {
        "DDIM, eta 0": lambda eps: sample(eps, trained.schedule, x_T, args.steps),
        "DDIM, eta 1": lambda eps: sample(
            eps, trained.schedule, x_T, args.steps, 1.0, generator=ddpm.Noise(range(args.batch))
        ),
        "2M": lambda eps: sample_2m(eps, trained.schedule, x_T, args.steps),
    }
    print(f"{args.model}, batch {args.batch}, {args.steps} steps, {torch.get_num_threads()} threads")
    for name, sampler in samplers.items():
        inside = []

        def timed(x: torch.Tensor, t: torch.Tensor, inside: list[float] = inside) -> torch.Tensor:
            began = time.perf_counter()
            answer = network(x, t)
            inside.append(time.perf_counter() - began)
            return answer

        began = time.perf_counter()
        last(sampler(timed))
        spent = time.perf_counter() - began
        share = (spent - sum(inside)) / sum(inside)
        print(f"{name:12s} network {sum(inside):7.2f} s, loop {spent - sum(inside):7.3f} s: {100 * share:.2f} %")


# ---- the feature network ---------------------------------------------------------------------------------------------


def classifier_command(args: argparse.Namespace) -> None:
    """Train the classifier of a data set, and put it among the shipped ones."""
    recipe = classifier.RECIPES.get(args.data)
    if recipe is None:
        raise ValueError(f"no recipe for the data set {args.data!r}: expected {', '.join(classifier.RECIPES)}")
    training, test = (load_labelled(args.data, args.data_dir, split, recipe.size) for split in ("train", "test"))
    torch.manual_seed(args.seed)
    network, epochs = classifier.Classifier(recipe.size, recipe.widths, training.heads), args.epochs or recipe.epochs
    with tqdm(total=100, bar_format="{l_bar}{bar}| [{elapsed}<{remaining}]{postfix}") as bar:
        for done, loss in classifier.train(network, training.images, training.labels, epochs, seed=args.seed):
            bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)
            bar.update(100 * done - bar.n)
    accuracy = {name: round(share, 4) for name, share in network.scores(test.images, test.labels).items()}
    network.info.update(data=args.data, epochs=epochs, seed=args.seed, accuracy=accuracy)
    told = ", ".join(f"{head} {100 * share:.1f} %" for head, share in accuracy.items())
    print(f"told right in {len(test.images)} test pictures: {told}")
    print(classifier.ship(network, args.data))


# ---- flags -----------------------------------------------------------------------------------------------------------


FLAGS = {
    "model": dict(help="a shipped model's name, a run folder or a file"),
    "data": dict(help="shapes, cifar10 or celeba"),
    "data_dir": dict(help="where the data sets are"),
    "device": dict(help="cpu or cuda"),
    "out": dict(help="folder for the results"),
    "n": dict(type=int, help="pictures"),
    "seed": dict(type=int, help="of the first picture; the next ones count up"),
    "columns": dict(type=int, nargs="+", help="numbers of steps S"),
    "rows": dict(nargs="+", help=f"etas, {HAT}, {table.SECOND_ORDER}"),
    "spacing": dict(choices=SPACINGS, help="time grid; by default the paper's where it starts from noise"),
    "scale": dict(type=finite, help="guidance, 1 for none"),
    "features": dict(choices=features.KINDS, help="network that the distance is measured on"),
    "inception": dict(metavar="FILE", help="inception-2015-12-05.pt; fetched when left out"),
    "reference": dict(help="split of the data set, or a folder of pictures"),
    "size": dict(type=positive, help="of the pictures, for celeba"),
    "epochs": dict(type=positive, help="times through the training set; by default the recipe's"),
    "steps": dict(type=positive, help="DDIM steps"),
    "batch": dict(type=positive, help="pictures at once"),
    "variants": dict(nargs="+", choices=reconstruct.VARIANTS, help="ways there and back; the first is shown over S"),
    "image": dict(required=True, help="a file, or an index into the test split"),
    "prompt": dict(help="what the picture shows; its own caption when left out"),
    "target": dict(required=True, help="what it should show"),
    "strength": dict(type=finite, help="how far to go, in [0, 1]"),
    "strengths": dict(type=finite, nargs="+", help="how far to go, in [0, 1]"),
    "ways": dict(nargs="+", choices=WAYS, help="how to go"),
    "iterations": dict(type=int, help="fixed-point iterations of each inverted step"),
    "eta": dict(type=finite, help="noise of the naive way's steps"),
    "edits": dict(nargs="+", help="kinds of edit; by default all of the data set"),
    "prompts": dict(nargs="+", help="by default captions of the test split"),
}
MODEL = dict(model="shapes", data_dir="data", device="cpu", out="results", seed=0)
MEASURE = dict(features="classifier", inception=None)
EDIT = dict(ways=WAYS, steps=50, scale=1.0, eta=1.0, iterations=0)
STRENGTHS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
COMMANDS = {  # command -> its flags with their defaults
    table_command: MODEL | MEASURE | dict(
        n=500, columns=table.COLUMNS, rows=table.ROWS, spacing=None, prompts="null", scale=1.0, reference="train"
    ),
    ruler_command: MEASURE | dict(data="shapes", data_dir="data", device="cpu", n=None, size=None, out="results"),
    reconstruct_command: MODEL | dict(
        n=128, steps=(10, 20, 50, 100), variants=tuple(reconstruct.VARIANTS), spacing="linear"
    ),
    edit_command: MODEL | EDIT | dict(image=None, prompt=None, target=None, strength=0.6),
    sweep_command: MODEL | EDIT | dict(n=64, strengths=STRENGTHS, edits=None),
    figures_command: MODEL | dict(prompts=None, scale=1.0),
    overhead_command: dict(model="shapes", batch=64, steps=20),
    classifier_command: dict(data="cifar10", data_dir="data", epochs=None, seed=0),
}  # fmt: skip
OWN = {  # where a command means something else by a flag
    (table_command, "prompts"): dict(choices=("null", "captions"), help="the null prompt, or captions of the data"),
    (reconstruct_command, "spacing"): dict(choices=SPACINGS, help="time grid; the paper's for CIFAR-10 is quadratic"),
    (reconstruct_command, "steps"): dict(type=int, nargs="+", help="numbers of steps S, each way"),
}


def parser() -> argparse.ArgumentParser:
    """The flags of all commands."""
    as_written = argparse.RawDescriptionHelpFormatter
    flags = argparse.ArgumentParser(prog="python -m ddim", description=__doc__, formatter_class=as_written)
    commands = flags.add_subparsers(required=True, metavar="COMMAND", dest="command")
    for work, defaults in COMMANDS.items():
        name = work.__name__.removesuffix("_command")
        shown = dict(description=work.__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
        command = commands.add_parser(name, help=work.__doc__, **shown)
        command.set_defaults(work=work)
        for name, default in defaults.items():
            command.add_argument(f"--{name.replace('_', '-')}", default=default, **OWN.get((work, name), FLAGS[name]))
    return flags


def main(argv: list[str] | None = None) -> None:
    """Parse and call."""
    args = parser().parse_args(argv)
    args.work(args)


if __name__ == "__main__":
    sys.exit(exit_code("python -m ddim", main))
