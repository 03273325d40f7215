"""Edit images through their caption, and draw them with the attention maps of the words.

The kind of edit follows from the prompts: with as many words, each takes the map of the word in its place (replace);
with more or fewer, the shared words take their maps (refine); --weight scales the map of a word (reweight). Each target
and each value of a weight is a column. A real image (--image) is inverted first: exactly without guidance, with
null-text optimisation under it.
"""

import argparse
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

import ddim
import ddpm
from ddim.sampler import as_grid
from ddpm.evaluation.edits import kind_between, kind_of_word
from ddpm.experiments.common import finite, image_and_source
from ddpm.model import Trained
from ddpm.utils import cli
from ddpm.utils.images import from_bytes, overlay, sheet, squared_error
from unet.vocabulary import GRAMMAR

from .. import editing, real
from ..store import AttentionStore
from ..words import Words, changed, in_range, kind_of, split, word_positions
from .baselines import PAIR_SAMPLERS, SETTINGS, EditSettings, map_size, sampler_of, with_flags, words_of

EXAMPLE = (
    'python -m p2p edit --source "a photo of a gray cat on a red couch" '
    '--target "a photo of a gray dog on a red couch" "a photo of a tiger on a red couch"'
)
ENDINGS = (".png",)
# of the maps that point best (`python -m p2p score --kinds maps`), by default the largest
MAP_SIZES = {"scenes": 8, "cifar10": 8, "celeba": 8}
GUIDANCE = 2.0  # of generated images, where no flag says another
OTHER = EditSettings(cross_until=0.8, self_until=0.4)  # of kinds of edit that SETTINGS does not have
WIDEST = 8  # columns of a sheet
MOST = 64  # rows and columns of a sheet, in all
MOST_MAPPED = 4  # images with maps: a sheet of more shows how often an edit succeeds
EDITS_NOTE = "new caption only: from the same noise, without the source's attention maps"
MAPS_NOTE = "attention map of each word in the source: mean over steps and heads, each map normalised separately"
FILM_NOTE = "attention map of one word at each time: mean over heads, each map normalised separately"

# ---- flags -----------------------------------------------------------------------------------------------------------


def word_values(text: str) -> tuple[str, list[float]]:
    """word=2 or word=-2,0,1 -> the word and its weights."""
    word, _, values = text.partition("=")
    try:
        (word,) = split(word)
        weights = [in_range("weight", cli.finite(value), editing.LEAST_WEIGHT, editing.MOST_WEIGHT)
                   for value in values.split(",")]  # fmt: skip
    except (ValueError, argparse.ArgumentTypeError):
        weights = []
    if weights in ([], [1]) or len({*weights}) < len(weights):
        expected = "expected a word and weights in -2 .. 5, as red=2 or red=0,2, each once, and not 1 alone: no effect"
        raise argparse.ArgumentTypeError(f"{text!r}: {expected}")
    return word, weights


def add_flags(parser: argparse.ArgumentParser) -> None:
    cli.add_flags(parser, "device", "out", model="scenes", source=None, target=None, image=None, data_dir=None)
    cli.add_flags(parser, seeds=None, steps=50, scale=None)
    weight = dict(type=word_values, action="append", default=[], metavar="WORD=X")
    parser.add_argument("--weight", **weight, help="factor of a word's map, or several: word=0,1,2")
    until = "share of the steps that inject the source's {}-attention maps; by default that of the edit's kind"
    for kind in ("cross", "self"):
        parser.add_argument(f"--{kind}-until", type=cli.share, help=until.format(kind))
    parser.add_argument("--blend", nargs="*", metavar="WORD", help="change only where the maps of these words are high")
    parser.add_argument("--sampler", choices=PAIR_SAMPLERS, help="of generated images, by default ddim; ddpm: eta = 1")
    film = "draw the source at K times from noise on, and the map of the word that changes at these times"
    parser.add_argument("--film", type=cli.positive, metavar="K", help=film)


def check_flags(args: argparse.Namespace) -> None:
    """Set the flags whose default depends on others. ValueError: a flag that cannot act beside the others."""
    is_real = args.image is not None
    for flag in ("seeds", "sampler"):
        if is_real and getattr(args, flag):
            raise ValueError(f"--{flag} is of generated images, and --image gives a real one: drop one of the two")
    args.seeds = [0] if is_real else args.seeds or [0, 1, 2, 3]
    args.scale = args.scale or (1.0 if is_real else GUIDANCE)
    exact, weighted = is_real and args.scale == 1, [word for word, _ in args.weight]
    for wrong, message in (
        (not args.target and not weighted, "nothing to edit: give a --target, or a --weight for a word of the source"),
        (exact and args.steps == 1, "the exact inversion of --image needs two steps, --steps is 1: take more"),
        ((args.film or 0) > args.steps - exact, f"--film {args.film} has more images than steps: take fewer"),
        (len({*weighted}) < len(weighted), f"--weight {' '.join(weighted)} has a word twice: give it once"),
    ):  # fmt: skip
        if wrong:
            raise ValueError(message)


# ---- the edits -------------------------------------------------------------------------------------------------------


Column = tuple[str, np.ndarray]  # its name, and an image for each row: uint8 (n, 3, H, W)


class Edit(NamedTuple):
    """An edit: its name, the target's words, and keywords of `p2p.edit`."""

    label: str
    target: Words
    how: dict[str, Any]


def edits_of(trained: Trained, args: argparse.Namespace, source: Words, targets: list[Words]) -> list[Edit]:
    """An edit for each target and each value of a weight.

    ValueError: a word that is not in its prompts, a target that is the source.
    """
    words, data, n = [word for word, _ in args.weight], trained.info["data"], len(args.seeds)
    edits = []
    for target, values in product(targets or [source], product(*(values for _, values in args.weight))):
        (removed, new), weights = changed(source, target), dict(zip(words, values, strict=True))
        if target == source and not weights:
            raise ValueError(f"the target {' '.join(target)!r} is the source: change a word, or give a --weight")
        for word in weights:
            word_positions(target, word)
        kinds = [f"reweight {kind_of_word(data, ' '.join(source), word)}" for word in weights]
        if target != source:
            kinds = [kind_between(data, " ".join(source), " ".join(target))]
        settings = next((SETTINGS[data, kind] for kind in kinds if (data, kind) in SETTINGS), OTHER)
        settings = with_flags(settings, vars(args))
        how = {"cross_until": settings.cross_until, "self_until": settings.self_until, "weights": weights}
        if args.blend is not None:
            where = split(" ".join(args.blend)) or [*removed, *new, *weights]
            if unknown := [word for word in where if word not in source + target]:
                raise ValueError(f"--blend names {unknown[0]!r}, which is in neither prompt")
            own = [[word for word in where if word in prompt] for prompt in (source, target)]
            how["blend"] = settings.blend(trained, [own[0]] * n + [own[1]] * n)
        label = "\n".join([change(source, target), *(f"{word} x {x:g}" for word, x in weights.items())]).strip()
        edits.append(Edit(label, target, how))
    return edits


def change(source: Words, target: Words) -> str:
    """The words that change, "red -> green", "+ yellow", or "- red"; nothing where the prompts are the same."""
    pair = changed(source, target)
    removed, new = (" ".join([word for word in words if word not in GRAMMAR] or words) for words in pair)
    return f"{removed} -> {new}" if removed and new else f"+ {new}" if new else f"- {removed}" if removed else ""


def description(source: Words, edit: Edit) -> str:
    """One line on an edit: its kind and its injection schedule."""
    kinds = [kind_of(source, edit.target)] * (source != edit.target) + ["reweight"] * bool(edit.how["weights"])
    injected = "cross-attention injected in {cross_until:.0%} of the steps, self-attention in {self_until:.0%}"
    return f"{', '.join(edit.label.splitlines())} ({' and '.join(kinds)}): {injected.format(**edit.how)}"


def prepare(args: argparse.Namespace) -> tuple[Trained, Words, np.ndarray | None, list[Edit], Path]:
    """The model, the source's words, the image uint8 (3, H, W), the edits, the file of the sheet; checks every flag.

    ValueError, OSError: what cannot be edited.
    """
    check_flags(args)
    trained = ddpm.load(args.model, device=args.device)
    as_grid(trained.schedule.T, args.steps)
    targets, path = words_of(trained, args.target or []), cli.output(args, f"edit-{cli.name_of(args.model)}", ".png")
    image, args.source = image_and_source(trained, args)
    (source,) = words_of(trained, [args.source])
    edits = edits_of(trained, args, source, targets)
    if max(rows := len(args.seeds), columns := 1 + 2 * len(edits)) > MOST:
        raise ValueError(f"a sheet of {rows} images and {columns} columns: expected at most {MOST} of each")
    return trained, source, image, edits, path


def start_of(trained: Trained, args: argparse.Namespace, source: list[str], image: np.ndarray | None) -> dict[str, Any]:
    """Keywords of `p2p.edit` for all edits: x_T is noise, or what the image is inverted to."""
    steps, start = args.steps, {"steps": args.steps, "scale": args.scale}
    if image is None:
        x_T = ddpm.Noise(args.seeds).start(trained.shape, trained.device)
        return start | {"x_T": x_T, "sampler": sampler_of(args.sampler or "ddim", args.seeds)}
    x_0 = trained.encode(from_bytes(image[None]))
    if args.scale == 1:
        return start | {"x_T": real.latent_pair(trained, source, x_0, steps), "sampler": ddim.sample_exact}
    found = tqdm(finite(real.null_text(trained, source, x_0, steps, args.scale), args.scale), "null text", steps)
    null = real.null_of(trained, {t: states for t, _, states in found})
    return start | {"x_T": real.latent(trained, source, x_0, steps), "null": null}


def edited(
    trained: Trained, args: argparse.Namespace, source: Words, edits: list[Edit], image: np.ndarray | None
) -> tuple[list[tuple[int, np.ndarray]], list[Column], AttentionStore]:
    """The source's (t, images) from noise on, a column for each edit and each new caption only, the first's maps."""
    n, prompt, columns = len(args.seeds), " ".join(source), []
    jobs = [edit._replace(label=f"Prompt-to-Prompt\n{edit.label}") for edit in edits]
    for target in dict.fromkeys(tuple(edit.target) for edit in edits if edit.target != source):
        alone = {"cross_until": 0, "self_until": 0}
        jobs.append(Edit(f"new caption only\n{change(source, [*target])}", [*target], alone))
    start = start_of(trained, args, [prompt], image)
    store = AttentionStore([prompt] * n + [" ".join(edits[0].target)] * n, by_time=bool(args.film))
    x_T = start["x_T"]
    states = [(trained.schedule.T, trained.images(x_T[0] if isinstance(x_T, tuple) else x_T))]
    with tqdm(total=len(jobs) * args.steps, desc="edits", unit=" steps") as bar:
        for name, target, how in jobs:
            is_first = not columns
            how = start | {"store": store if is_first else None} | how
            for t, x, _ in finite(editing.edit(trained, prompt, " ".join(target), **how), args.scale):
                if is_first:  # the source's rows are the same in all edits
                    states.append((t, trained.images(x[:n])))
                bar.update()
            columns.append((name, trained.images(x[n:])))
    return states, columns, store


def run(args: argparse.Namespace) -> None:
    """Edit, and draw the source, its edits, the new captions only, and the maps."""
    trained, source, image, edits, path = prepare(args)
    states, columns, store = edited(trained, args, source, edits, image)
    n, before, lines = len(args.seeds), states[-1][1], [description(source, edit) for edit in edits]
    size = map_size(trained, MAP_SIZES.get(trained.info["data"]))

    def map_of(word: str, t: int | None = None) -> np.ndarray:
        return overlay(before, store.word([word] * n + [[]] * n, size or store.largest, t=t)[:n])

    note = EDITS_NOTE if len(columns) > len(edits) else ""  # a sheet of weights has no such column
    columns = [("source", before), *columns]
    words = [word for word in dict.fromkeys(source) if word not in GRAMMAR]
    maps = [(word, map_of(word)) for word in words if n <= MOST_MAPPED]
    film_maps = []
    removed, _ = changed(source, edits[0].target)
    word = next((w for w in (*removed, *edits[0].how["weights"]) if w in words), (words or source)[0])
    if args.film:
        film = [states[i * (len(states) - 1) // args.film] for i in range(args.film)]  # without the image itself
        latest = max(store.by_time)  # of a latent pair the network sees only the second image
        film_maps = [(f"{word}\nt = {t}", map_of(word, min(t, latest))) for t, _ in film]
        columns = [*((f"t = {t}", images) for t, images in film), *columns]
    if image is not None:
        error = squared_error(before, image[None]).item()
        lines.append(f"reconstruction of the image: mean squared error {error:.6f} on the [0, 1] scale")
        columns = [("image", image[None]), *columns]
    apart = [column for column in columns if column[0].startswith("new") and len(columns) > WIDEST]
    columns = columns[: len(columns) - len(apart)]
    if apart and maps and not args.film and image is None:  # each new caption below its edit, the map below the source
        apart, maps = [(f"attention map\nof {word}", map_of(word)), *apart], []
    draw(path, args, " ".join(source), [(note, columns), ("", apart), (MAPS_NOTE, maps), (FILM_NOTE, film_maps)])
    print("\n".join([*lines, str(path)]))


def draw(path: Path, args: argparse.Namespace, title: str, groups: list[tuple[str, list[Column]]]) -> None:
    """The sheet: groups of columns below each other, in blocks of at most WIDEST, each with its note."""
    blocks = [(note if i == 0 else "", group[i : i + WIDEST])
              for note, group in groups for i in range(0, len(group), WIDEST)]  # fmt: skip
    names, images = zip(*(column for _, block in blocks for column in block), strict=True)
    fold = np.cumsum([len(block) for _, block in blocks])[:-1].tolist()
    rows = [f"image {Path(args.image).name}"] if args.image is not None else [f"seed {seed}" for seed in args.seeds]
    sheet(path, np.stack(images, axis=1), rows, list(names), title, fold, [note for note, _ in blocks])
