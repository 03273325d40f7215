"""The dilemma of partial noising: too little noise and the edit does not happen, too much and the image is lost.

A point is the result of editing n test images with one strength: "error", the mean squared error ([0, 1] scale) over
the pixels that the edit should leave alone, and "accuracy", the share of images that show the edit. Of faces, where its
packages are installed, a recogniser says which are still the same person: "same", and its "distance". Curves of other
--methods and --edits that are in the file already stay there.

--methods p2p and null-text, only where they are named: Prompt-to-Prompt, of which a strength is the share of the steps,
the last ones, that do not inject the source's maps. "p2p" edits images that it samples from the photographs' captions,
and a sampled source stands in the place of its photograph; "null-text" edits the photographs, inverted so.
"""

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

import ddpm
import p2p
from ddpm.diffusion import last
from ddpm.evaluation import edits, faces
from ddpm.evaluation.frechet import plus_minus
from ddpm.evaluation.judge import all_shown
from ddpm.experiments import records
from ddpm.experiments.common import check_n, check_settings, finite, model_data, model_facts, shown_words, write
from ddpm.model import Trained, in_batches
from ddpm.utils import cli
from ddpm.utils.images import from_bytes, save_figure, sheet, squared_error

from . import edit

EXAMPLE = "python -m ddim sweep --model shapes --n 16 --steps 20 --edits colour"
ENDINGS = (".json", ".txt", ".png")
WITH_MAPS = {"null-text": "null-text, P2P", "p2p": "P2P, sampled sources"}  # see the docstring
METHODS = edit.METHODS | WITH_MAPS
AGAIN = "encoded and decoded"
STRENGTHS = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
LEVELS = (0.5, 0.8, 0.9, 0.95)  # accuracies at which the methods are compared
MEASURES = {  # of a point: name -> as a table says it, times what, digits
    "error": ("error x 1000", 1000, 2), "accuracy": ("accuracy in %", 100, 1),
    "same": ("same person in %", 100, 1), "distance": ("distance of faces", 1, 2),
}  # fmt: skip
LINES = {"sdedit": "o-", "ddim": "s--", "exact": "^:", "null-text": "D-.", "p2p": "v-"}
Images = list[np.ndarray]  # uint8 (n, 3, H, W) each: often one for each strength
Points = list[dict[str, float]]  # {"strength", "error", "accuracy"}, in order of the strength


def edits_by(trained: Trained, args: argparse.Namespace, e: edits.Edits, method: str) -> tuple[edits.Edits, Images]:
    """What a method edits, e but for sampled sources, and the edits with each strength."""
    found = []
    for part in in_batches(len(e.images), trained.device):
        way = with_maps if method in WITH_MAPS else without_maps
        found.append(way(trained, args, edits.Edits(*(each[part] for each in e)), method, args.seed + part.start))
    before, *after = map(np.concatenate, zip(*found, strict=True))
    return e._replace(images=before), after


def without_maps(trained: Trained, args: argparse.Namespace, e: edits.Edits, method: str, seed: int) -> Images:
    """The images of a batch, and their edits with each strength. seed: of the first one."""
    x_0 = trained.encode(from_bytes(e.images))
    ways = (edit.edited(trained, args, method, x_0, e.sources, e.targets, s, seed) for s in bar(args, method))
    return [e.images, *(trained.images(last(states)) for states in ways)]


def with_maps(trained: Trained, args: argparse.Namespace, e: edits.Edits, method: str, seed: int) -> Images:
    """`without_maps`, by Prompt-to-Prompt from new noise or from that of null-text inversion."""
    x_T, null = ddpm.Noise(range(seed, seed + len(e.images))).start(trained.shape, trained.device), None
    if method == "null-text":
        given = trained, e.sources, trained.encode(from_bytes(e.images)), args.steps
        steps = tqdm(finite(p2p.real.null_text(*given, args.scale), args.scale), method, args.steps)
        x_T, null = p2p.real.latent(*given), p2p.real.null_of(trained, {t: states for t, _, states in steps})
    given = trained, e.sources, e.targets, x_T, args.steps, args.scale
    ways = (p2p.edit(*given, cross_until=1 - s, self_until=0.0, null=null) for s in bar(args, method))
    both = [trained.images(last(finite(states, args.scale))) for states in ways]  # sources first, the same in all
    before = both[0][: len(e.images)] if method == "p2p" else e.images
    return [before, *(images[len(e.images) :] for images in both)]


def bar(args: argparse.Namespace, method: str) -> tqdm:
    """The strengths, with their progress."""
    return tqdm(args.strengths, METHODS[method])


def reconstructed(trained: Trained, args: argparse.Namespace, e: edits.Edits) -> np.ndarray:
    """The images inverted with the largest strength and sampled again, with their own captions, without guidance."""
    unguided = argparse.Namespace(**vars(args) | {"scale": 1.0, "strengths": args.strengths[-1:]})
    return edits_by(trained, unguided, e._replace(targets=e.sources), "ddim")[1][0]


def shows_edit(data: str, kind: str, e: edits.Edits, images: np.ndarray) -> np.ndarray:
    """(N,) bool: of shapes, which images show every word of their target; else, which show the word that was edited."""
    words = shown_words(data, images, e.targets)
    return all_shown(words) if data == "shapes" else words[kind] == 1


def point(e: edits.Edits, after: np.ndarray, shown: np.ndarray, before: np.ndarray | None = None) -> dict[str, float]:
    """The error of images uint8 (n, 3, H, W) after their edit, and the share of those that show it, bool (n,).

    before: the descriptors of the faces before it; with them, `faces.person` of the edits, too.
    """
    found = {"error": float(np.mean(squared_error(e.images, after, e.keep))), "accuracy": float(np.mean(shown))}
    return found if before is None else found | faces.person(before, faces.descriptors(after))


def at_success(points: Points, level: float) -> float | None:
    """The error at the smallest strength whose accuracy is `level`, between two strengths by linear interpolation.

    None where no accuracy is as high.
    """
    if points[0]["accuracy"] >= level:
        return points[0]["error"]
    for low, high in pairwise(points):
        if high["accuracy"] >= level:
            share = (level - low["accuracy"]) / (high["accuracy"] - low["accuracy"])
            return low["error"] + share * (high["error"] - low["error"])
    return None


def together(path: Path, new: dict) -> dict:
    """The new record with the curves of its file from before, methods in the order of METHODS. ValueError: that is of
    other settings.
    """
    check_settings(path, new["settings"])
    before = records.read(path, "curves") if path.exists() else {"curves": {}}
    both = [before["curves"], new["curves"]]
    curves = {kind: both[0].get(kind, {}) | both[1].get(kind, {}) for kind in both[0] | both[1]}
    curves = {kind: {method: found[method] for method in METHODS if method in found} for kind, found in curves.items()}
    people = before.get("recogniser", {})
    people = people | {kind: people.get(kind, {}) | errors for kind, errors in new["recogniser"].items()}
    return new | {"curves": curves, "recogniser": people}


# ---- as text and as a plot -------------------------------------------------------------------------------------------


def summary(settings: dict) -> str:
    """The settings in one line."""
    form = "n = {n} of each edit, {steps} steps, eta {eta} (SDEdit), guidance {guidance:g}, seed {seed}"
    return form.format_map(settings)


def text(record: dict) -> str:
    """A table over strengths for each kind of edit, then the errors at equal accuracy."""
    settings = record["settings"]
    lines = [f"sweep: model {settings['model']}, data {settings['data']}", summary(settings)]

    def line(name: str, cells: list[str]) -> str:
        return f"{name:40s}" + "".join(f"{cell:>8s}" for cell in cells)

    for kind, curves in record["curves"].items():
        lines += ["", line(f"{kind}, strength", [f"{strength:g}" for strength in settings["strengths"]])]
        for method, points in curves.items():
            for name, (label, unit, digits) in MEASURES.items():
                if name in points[0]:
                    cells = [f"{unit * p[name]:.{digits}f}" for p in points]
                    lines += [line(f"{METHODS[method]}, {label}", cells)]
        lines += [line("error x 1000 at equal accuracy", [f"{100 * level:g} %" for level in LEVELS])]
        for method, points in curves.items():
            errors = [at_success(points, level) for level in LEVELS]
            cells = ["-" if error is None else plus_minus(1000 * error, None) for error in errors]
            lines += [line(METHODS[method], cells)]
        for name, error in record.get("recogniser", {}).get(kind, {}).items():
            lines += [line(f"{name}: same in %, distance", [f"{100 * error['same']:.1f}", f"{error['distance']:.2f}"])]
    return "\n".join(lines) + "\n"


def plot(path: Path, record: dict) -> Path:
    """A row for each kind of edit: accuracy and error of its first method over strength, and the trade-off of all."""
    curves, settings = record["curves"], record["settings"]
    figure = Figure(figsize=(7.5, 2.6 * len(curves) + 0.3), layout="constrained")
    figure.suptitle(f"{settings['model']}: {summary(settings)}", fontsize=9)
    axes = figure.subplots(len(curves), 2, squeeze=False)
    for (left, right), (kind, methods) in zip(axes, curves.items(), strict=True):
        first = next(iter(methods))
        left.set_title(f"{kind}: {METHODS[first]}", fontsize=9)
        left.set(xlabel="strength", ylim=(-0.03, 1.03))
        left.grid(alpha=0.3)
        for axis, name, style, colour in ((left, "accuracy", "o-", "C2"), (left.twinx(), "error", "s--", "C3")):
            axis.plot(settings["strengths"], [p[name] for p in methods[first]], style, ms=3, color=colour)
            axis.set_ylabel({"error": "mean squared error"}.get(name, name), color=colour)
        for method, points in methods.items():
            right.plot([p["error"] for p in points], [p["accuracy"] for p in points], "o-", ms=3, label=METHODS[method])
        right.set_xscale("symlog", linthresh=1e-4)
        right.set(xlabel="mean squared error", ylabel="accuracy")
        right.set_title(f"{kind}: trade-off", fontsize=9)
        right.grid(alpha=0.3)
        right.legend(fontsize=7)
    return save_figure(figure, path)


def plot_people(path: Path, record: dict) -> Path:
    """The dilemma: share of faces that show the edit against the share that are the same person, by strength."""
    kinds = record["recogniser"]
    figure = Figure(figsize=(4.4 * len(kinds), 5.2), layout="constrained")
    for axes, kind in zip(figure.subplots(1, len(kinds), squeeze=False, sharey=True)[0], kinds, strict=True):
        others = 100 * kinds[kind]["two other people"]["same"]
        axes.axhline(others, color="gray", ls=":", label="two other people")
        for i, (method, style) in enumerate(LINES.items()):
            points = record["curves"][kind].get(method, [{}])
            if "same" in points[0]:  # else not measured, or where there was no recogniser
                x, y = ([100 * p[name] for p in points] for name in ("accuracy", "same"))
                axes.plot(x, y, style, color=f"C{i}", lw=2, ms=8, label=METHODS[method])
        for p in record["curves"][kind].get("sdedit", []):
            at, label = (100 * p["accuracy"], 100 * p["same"]), f"{p['strength']:g}" * (p["strength"] > 0)
            axes.annotate(label, at, (7, 4), textcoords="offset points", fontsize=14)
        axes.set_title(kind, fontsize=18)
        axes.set_xlabel("shows the edit, %", fontsize=16)
        axes.set(xlim=(-4, 104), ylim=(-4, 106))
        axes.tick_params(labelsize=14)
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("still the same person, %", fontsize=16)
    named = {line.get_label(): line for axes in figure.axes for line in axes.get_lines()}
    how = {"title": "numbers: strength of SDEdit", "title_fontsize": 14, "fontsize": 15, "ncols": 4}
    figure.legend(named.values(), named, loc="outside lower center", **how)
    return save_figure(figure, path)


# ---- the command -----------------------------------------------------------------------------------------------------


def add_flags(parser: argparse.ArgumentParser) -> None:
    cli.add_flags(parser, "device", "data_dir", "out", model="shapes", n=64)
    parser.add_argument("--strengths", type=cli.share, nargs="+", default=STRENGTHS, help="shares of the steps")
    parser.add_argument("--edits", nargs="+", help="kinds of edit; by default all of the dataset")
    edit.add_method_flags(parser, METHODS)


def prepare(args: argparse.Namespace) -> tuple[Trained, dict[str, edits.Edits], dict, Path]:
    """The model, for each kind n edits of test images, the record's settings and file. ValueError, OSError."""
    trained = ddpm.load(args.model, device=args.device)
    args.strengths = edit.check_methods(trained, args, args.strengths)
    check_maps(trained, args)
    if args.methods == ["sdedit"]:  # the others invert, and methods are compared in one precision
        trained = trained.for_many_images(compiled=False)
    if (data := trained.info["data"]) not in edits.EDIT_KINDS:
        raise ValueError(f"no edits are known for the dataset {data!r}: expected one of {', '.join(edits.EDIT_KINDS)}")
    if data == "shapes":  # they are drawn; photographs are counted below
        check_n(args.n)
    test = model_data(trained, args.data_dir, "test")
    todo = {kind: edits.edits(test, kind, args.n) for kind in args.edits or edits.EDIT_KINDS[data]}
    for kind, e in todo.items():
        if len(e.images) < args.n:
            raise ValueError(f"--n is {args.n}, but the test split has {len(e.images)} images for the edit {kind!r}")
        trained.tokens([*e.sources, *e.targets])
    settings = model_facts(trained, args) | {"n": args.n, "steps": args.steps, "eta": args.eta, "guidance": args.scale}
    settings |= {"iterations": args.iterations, "seed": args.seed, "strengths": args.strengths}
    check_settings(path := cli.output(args, f"sweep-{cli.name_of(args.model)}", ".json"), settings)
    return trained, todo, settings, path


def check_maps(trained: Trained, args: argparse.Namespace) -> None:
    """ValueError where a method of WITH_MAPS cannot be measured."""
    named = [method for method in args.methods if method in WITH_MAPS]
    if named and not trained.unet.config.cross_sizes:
        raise ValueError(f"--methods {named[0]}: {args.model} has no cross-attention, so there are no maps to inject")
    if "p2p" in named and trained.info["data"] == "shapes":
        raise ValueError("--methods p2p samples its sources, whose shapes can be anywhere: take python -m p2p score")
    if "null-text" in named and args.scale <= 1:
        raise ValueError(f"--methods null-text mends guidance, and --scale is {args.scale:g}: give one above 1")


def run(args: argparse.Namespace) -> None:
    """Measure every kind of edit with every method; write and print the table, the plot and a strip of images."""
    trained, todo, settings, path = prepare(args)
    curves, rows, names, titles, drawn = {}, [], [], [], [s for s in args.strengths if s > 0]
    recogniser, people = {}, trained.info["data"] == "celeba" and faces.recognises()
    for kind, e in todo.items():
        curves[kind], images, successes = {}, {}, np.ones(args.n, dtype=bool)
        before = faces.descriptors(e.images) if people else None
        if people:
            again = faces.descriptors(reconstructed(trained, args, e))
            recogniser[kind] = faces.own_errors(e.images, before) | {AGAIN: faces.person(before, again)}
        for method in args.methods:
            own, after = edits_by(trained, args, e, method)
            shown = [shows_edit(trained.info["data"], kind, e, each) for each in after]
            source = before
            if people and method == "p2p":
                source = faces.descriptors(own.images)
                recogniser[kind]["two other people, sampled"] = faces.other_people(source)
            results = zip(args.strengths, after, shown, strict=True)
            curves[kind][method] = [{"strength": s} | point(own, x, ok, source) for s, x, ok in results]
            images[method] = [own.images, *after[-len(drawn) :]]
            successes &= shown[-1]
        i = successes.argmax()  # in the strip: the first image that shows its edit with every method at full strength
        for method in args.methods:
            rows.append([each[i] for each in images[method]])
            names.append(f"{kind}: {METHODS[method]}")
        titles.append(f"{e.sources[i]}  ->  {e.targets[i]}")
    record = {"settings": settings, "curves": curves, "recogniser": recogniser}
    record = write(args, path, record, text, together)
    if people:
        print(plot_people(cli.output(args, path.stem, ".png", "-people"), record))
    print(plot(cli.output(args, path.stem, ".png"), record))
    columns = ["original", *(f"{strength:g}" for strength in drawn)]
    print(sheet(cli.output(args, path.stem, ".png", "-strip"), np.array(rows), names, columns, "\n".join(titles)))
