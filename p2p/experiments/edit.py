"""Edit images through their caption, and draw them with the attention maps of the words.

The kind of edit follows from the prompts: with as many words, each takes the map of the word in its place (replace);
with more or fewer, the shared words take their maps (refine); --weight scales the map of a word (reweight). Each target
and each value of a weight is a column. A real image (--image) is inverted first: exactly without guidance, with
null-text optimisation under it. --out x.html writes a page for the lecture hall instead: every step of every edit.
"""

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

import ddim
import ddpm
from ddpm.data.base import open_image
from ddpm.evaluation.edits import kind_between, kind_of_word
from ddpm.experiments.common import image_and_source
from ddpm.experiments.page import is_page
from ddpm.model import Trained
from ddpm.utils import cli
from ddpm.utils.device import best_device
from ddpm.utils.images import from_bytes, overlay, sheet, squared_error, to_bytes
from unet.text import content_words
from unet.vocabulary import GRAMMAR

from .. import editing, real
from ..blend import LocalBlend
from ..store import AttentionStore
from ..words import as_words, changed, in_range, kind_of, split, word_positions
from . import page
from .baselines import SAMPLERS, SETTINGS, EditSettings, with_flags

EXAMPLE = (
    'python -m p2p edit --source "a photo of a gray cat on a red couch" '
    '--target "a photo of a gray dog on a red couch" "a photo of a tiger on a red couch"'
)
ENDINGS = (".png", ".html")
# of the maps that point best (`python -m p2p score --kinds maps`), by default the largest
MAP_SIZES = {"scenes": 8, "cifar10": 8, "celeba": 8}
GUIDANCE = 2.0  # of generated images, where no flag says another
WIDEST = 8  # columns of a sheet
MOST_MAPPED = 4  # images with maps: a sheet of more shows how often an edit succeeds
EDITS_NOTE = "before: the source; after: Prompt-to-Prompt; plain: the new caption alone, same noise"
MAPS_NOTE = "attention maps of the source: mean over steps and heads, each map normalised separately"
FILM_NOTE = "attention maps of one word in time: mean over heads, each map normalised separately"
Column = tuple[str, np.ndarray]  # its name, and an image uint8 (3, H, W) for each row

# ---- flags -----------------------------------------------------------------------------------------------------------


def word_values(text: str) -> tuple[str, list[float]]:
    """word=2 or word=-2,0,1 -> the word and its weights."""
    word, _, values = text.partition("=")
    try:
        (word,) = split(word)
        weights = [cli.finite(value) for value in values.split(",")]
        return word, [in_range("weight", x, editing.LEAST_WEIGHT, editing.MOST_WEIGHT) for x in weights]
    except (ValueError, argparse.ArgumentTypeError):
        expected = "expected a word and weights in -2 .. 5, as red=2 or red=0,2"
        raise argparse.ArgumentTypeError(f"{text!r}: {expected}") from None


def word_share(text: str) -> tuple[str, float]:
    """word=0.4 -> the word and its share of the steps."""
    word, _, value = text.partition("=")
    if len(split(word)) != 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a word and a share of the steps, as green=0.4")
    return split(word)[0], cli.share(value)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of `python -m p2p edit`."""
    cli.add_flags(parser, model="scenes", source=None, target=None, image=None, data_dir="data", seeds=[0, 1, 2, 3])
    cli.add_flags(parser, steps=50, scale=None, device=best_device(), out="results")
    word = dict(action="append", default=[])
    parser.add_argument("--weight", type=word_values, **word, metavar="WORD=X", help="factor of a word's map")
    parser.add_argument("--word-until", type=word_share, **word, metavar="WORD=X", help="a word's own --cross-until")
    for maps in ("cross", "self"):
        until = f"share of the steps that inject the source's {maps}-attention maps; by default that of the edit's kind"
        several = {"nargs": "+", "help": f"{until}; a page of one image takes several"} if maps == "cross" else {}
        parser.add_argument(f"--{maps}-until", **{"type": cli.share, "help": until} | several)
    parser.add_argument("--blend", nargs="*", metavar="WORD", help="change only where these words (or all new) look")
    parser.add_argument("--mask", help="an image file of the model's size: change only where it is light")
    parser.add_argument("--sampler", choices=list(SAMPLERS), help="of generated images, by default ddim; ddpm: eta = 1")
    parser.add_argument("--inversion", choices=("exact", "ddim", "null-text"), help="of a real image")
    film = "draw the source's way from noise in K images, and the map of the word that changes at their times"
    parser.add_argument("--film", type=cli.positive, metavar="K", help=film)


# ---- the edits -------------------------------------------------------------------------------------------------------


class Edit(NamedTuple):
    """One column of edits: what its name says beside "after", the target's prompt, and keywords of `p2p.edit`."""

    label: str
    target: str
    how: dict[str, Any]


def edits_of(trained: Trained, args: argparse.Namespace, n: int) -> list[Edit]:
    """An edit for each target, or for each value of a weight that has several.

    ValueError: nothing to edit, several words with several weights, and words that are not in their prompts.
    """
    if not args.target and not args.weight:
        raise ValueError("nothing to edit: give a --target, or a --weight for a word of the source")
    strips = [(word, values) for word, values in args.weight if len(values) > 1]
    if len(strips) > 1:
        raise ValueError(f"--weight has several values for {strips[0][0]} and for {strips[1][0]}: one strip at a time")
    weights = {word: values[0] for word, values in args.weight}
    edits = []
    for target in args.target or [args.source]:
        for value in strips[0][1] if strips else [None]:
            own = weights if value is None else weights | {strips[0][0]: value}
            label = "\n".join([change(args.source, target), *(f"{word} x {x:g}" for word, x in own.items())]).strip()
            edits.append(Edit(label, target, keywords(trained, args, target, own, n)))
    return edits


def keywords(trained: Trained, args: argparse.Namespace, target: str, weights: dict[str, float], n: int) -> dict:
    """Injection schedule, weights and blend of an edit: the flags, and else the settings of its kind."""
    word_until = dict(args.word_until)
    for word in (*weights, *word_until):
        word_positions(target, word)
    settings = with_flags(settings_of(trained.info["data"], args.source, target, weights), args)
    schedule = {"cross_until": settings.cross_until, "self_until": settings.self_until}
    blend = blend_of(args, settings, target, weights, n, trained.unet.config.size)
    return schedule | {"word_until": word_until, "weights": weights, "blend": blend}


def settings_of(data: str, source: str, target: str, weights: dict[str, float]) -> EditSettings:
    """The settings of the kind of edit: of the words that change, or else of the first weighted word."""
    if target == source:
        kinds = [f"reweight {kind_of_word(data, source, word)}" for word in weights]
    else:
        kinds = [kind_between(data, source, target)]
    other = EditSettings(cross_until=0.8, self_until=0.4)
    return next((SETTINGS[data, kind] for kind in kinds if (data, kind) in SETTINGS), other)


def blend_of(
    args: argparse.Namespace, settings: EditSettings, target: str, weights: dict[str, float], n: int, size: int
) -> LocalBlend | None:
    """The local blend of --mask or --blend; --blend without words takes those that differ or are weighted."""
    if args.mask is not None:
        return LocalBlend(mask=mask_in(Path(args.mask), size))
    if args.blend is None:
        return None
    removed, new = changed(split(args.source), split(target))
    words = split(" ".join(args.blend)) or [*removed, *new, *weights]
    before, after = ([word for word in words if word in split(prompt)] for prompt in (args.source, target))
    if unknown := [word for word in words if word not in before + after]:
        raise ValueError(f"--blend names {unknown[0]!r}, which is in neither prompt")
    return settings.blend([before] * n + [after] * n)


def mask_in(path: Path, size: int) -> Tensor:
    """The mask in an image file, bool (size, size): pixels lighter than middle grey may change."""
    image = open_image(path, ground="black")
    if image.size != (size, size):
        raise ValueError(f"the mask {path} has {image.width}x{image.height} pixels: expected {size}x{size}")
    return torch.from_numpy(np.asarray(image.convert("L")) > 127)


def change(source: str, target: str) -> str:
    """The words that change, "red -> green", "+ yellow", or "- red"; nothing where the prompts are the same."""
    pair = changed(split(source), split(target))
    removed, new = (" ".join([word for word in words if word not in GRAMMAR] or words) for words in pair)
    return f"{removed} -> {new}" if removed and new else f"+ {new}" if new else f"- {removed}" if removed else ""


def description(source: str, edit: Edit) -> str:
    """One line on an edit: its kind and its injection schedule."""
    kinds = [kind_of(source, edit.target)] * (source != edit.target) + ["reweight"] * bool(edit.how["weights"])
    injected = "cross-attention injected in {cross_until:.0%} of the steps, self-attention in {self_until:.0%}"
    return f"{', '.join(edit.label.splitlines())} ({' and '.join(kinds)}): {injected.format(**edit.how)}"


def levels_of(trained: Trained, args: argparse.Namespace) -> dict[str, list[Edit]]:
    """The edits at each value of --cross-until, by its name; one entry where it has no more than one.

    Self-attention maps are injected no longer than cross-attention maps, where no --self-until says how long.
    ValueError: several values for a sheet, or for several images; see `edits_of`.
    """
    shares, own = sorted(set(args.cross_until or [])), args.self_until
    if len(shares) > 1 and not is_page(args):
        raise ValueError(f"--cross-until has {len(shares)} values, and a sheet shows one: give one, or --out x.html")
    if len(shares) > 1 and row_count(args) > 1:
        raise ValueError(f"--cross-until has {len(shares)} values, which a page shows for one image: give one seed")
    levels = {}
    for share in shares or [None]:
        edits = edits_of(trained, argparse.Namespace(**vars(args) | {"cross_until": share}), row_count(args))
        if len(shares) > 1 and own is None:
            for edit in edits:
                edit.how["self_until"] = min(edit.how["self_until"], share)
        levels["" if share is None else f"{share:g}"] = edits
    return levels


# ---- where they start ------------------------------------------------------------------------------------------------


def check_start(args: argparse.Namespace) -> None:
    """ValueError: flags of a real image without one, or the other way round."""
    if args.inversion and not args.image:
        raise ValueError(f"--inversion {args.inversion} is of a real image: give one with --image")
    if args.sampler and args.image:
        raise ValueError(f"--sampler {args.sampler} is of generated images: with --image drop it, --inversion decides")
    if args.inversion == "null-text" and args.scale == 1:
        raise ValueError("--inversion null-text repairs guidance, and --scale 1 has none: take another of the two")


def start_of(trained: Trained, args: argparse.Namespace, image: np.ndarray | None) -> dict[str, Any]:
    """Where an edit starts, as keywords of `p2p.edit`: noise, or what an image uint8 (3, H, W) is inverted to."""
    if image is None:
        x_T = ddpm.Noise(args.seeds).start(trained.shape, trained.device)
        return {"x_T": x_T, "sampler": SAMPLERS[args.sampler or "ddim"](args.seeds)}
    x_0, source = from_bytes(image[None]).to(trained.device), [args.source]
    inversion = args.inversion or ("exact" if args.scale == 1 else "null-text")
    if inversion == "exact":
        return {"x_T": real.latent_pair(trained, source, x_0, args.steps, args.scale), "sampler": ddim.sample_exact}
    start: dict[str, Any] = {"x_T": real.latent(trained, source, x_0, args.steps)}
    if inversion == "null-text":
        steps = tqdm(real.null_text(trained, source, x_0, args.steps, args.scale), "null text", args.steps)
        start["null"] = real.null_of(trained, {t: states for t, _, states in steps})
    return start


def row_count(args: argparse.Namespace) -> int:
    """The number of images: one for each seed, or the real one."""
    return 1 if args.image else len(args.seeds)


# ---- the sheet -------------------------------------------------------------------------------------------------------


def draw(
    trained: Trained, args: argparse.Namespace, edits: list[Edit], start: dict[str, Any]
) -> tuple[list[Column], list[Column], list[Column]]:
    """The columns of a sheet: the film, the source, its edits and plain re-generations; the maps of the source's words,
    for up to MOST_MAPPED images; and those of the changed word at the times of the film.
    """
    n, source, targets = row_count(args), args.source, dict.fromkeys(edit.target for edit in edits)
    targets.pop(source, None)
    start = {"steps": args.steps, "scale": args.scale} | start
    store = AttentionStore([source] * n + [edits[0].target] * n, by_time=bool(args.film))
    with tqdm(total=(len(edits) + len(targets)) * args.steps, desc="edits", unit=" steps") as bar:
        states = partial(states_of, bar, trained, source, **start)
        edited = [states(edit.target, **edit.how, store=store if edit is edits[0] else None) for edit in edits]
        plain = [states(target, cross_until=0, self_until=0) for target in targets]
    names = [f"after\n{edit.label}" for edit in edits] + [f"plain\n{change(source, target)}" for target in targets]
    ends = [to_bytes(each[-1][1]) for each in edited + plain]  # uint8 (2n, 3, H, W) each
    before = ends[0][:n]  # the same for all
    size = MAP_SIZES.get(trained.info["data"], store.largest)
    columns = [("before", before), *((name, end[n:]) for name, end in zip(names, ends, strict=True))]
    words = content_words(source) if n <= MOST_MAPPED else []
    maps = [(word, word_map(before, store, word, size)) for word in words]
    if not args.film:
        return columns, maps, []
    film, word = film_of(trained.schedule.T, start["x_T"], edited[0], n, args.film), film_word(source, edits[0])
    first = max(store.by_time)  # of a latent pair the network sees only the second image
    film_maps = [(f"{word}\nt = {t}", word_map(before, store, word, size, min(t, first))) for t in film]
    return [*((f"t = {t}", images) for t, images in film.items()), *columns], maps, film_maps


def states_of(bar: tqdm, *args: Any, **how: Any) -> list[tuple[int, Tensor]]:
    """The states (t, x_t) of `p2p.edit`; the bar moves by one at each step."""
    states = []
    for t, x, _ in editing.edit(*args, **how):
        states.append((t, x))
        bar.update()
    return states


def film_of(
    T: int, x_T: Tensor | tuple[Tensor, Tensor], states: list[tuple[int, Tensor]], n: int, count: int
) -> dict[int, np.ndarray]:
    """Time -> the sources on their way from noise, at most `count` times, evenly spaced; the last state is left out."""
    way = [(T, x_T[0] if isinstance(x_T, tuple) else x_T), *states[:-1]]
    return {t: to_bytes(x[:n]) for t, x in way[:: -(-len(way) // count)]}


def film_word(source: str, edit: Edit) -> str:
    """The word of the source that an edit replaces or weights, else its first content word."""
    removed, _ = changed(split(source), split(edit.target))
    own = content_words(source)
    return next(word for word in (*removed, *edit.how["weights"], *own) if word in own)


def word_map(images: np.ndarray, store: AttentionStore, word: str, size: int, t: int | None = None) -> np.ndarray:
    """The averaged map of a word over the images of the store's first rows; of one time, where t is given."""
    n = len(images)
    return overlay(images, store.word([word] * n + [[]] * n, size, t=t)[:n])


def blocks(columns: list[Column], note: str) -> Iterator[tuple[list[Column], str]]:
    """Columns in blocks of at most WIDEST, plain re-generation apart if need be; the note is above the first."""
    plain = [column for column in columns if column[0].startswith("plain")] if len(columns) > WIDEST else []
    others = columns[: len(columns) - len(plain)]
    for group in (others, plain):
        for i in range(0, len(group), WIDEST):
            yield group[i : i + WIDEST], note if group is others and i == 0 else ""


def run(args: argparse.Namespace) -> None:
    """Edit, draw source, edits, plain re-generation and maps, and print where the sheet, or the page, is."""
    if args.film and is_page(args):
        raise ValueError(f"--film {args.film} is for a sheet, and {args.out} is a page, which has every step: drop one")
    check_start(args)
    trained = ddpm.load(args.model, device=args.device)
    if args.scale is None:  # the inversion of a real image is exact without guidance
        args.scale = GUIDANCE if not args.image or args.inversion == "null-text" else 1.0
    image, args.source = image_and_source(trained, args)
    words = as_words([args.source, *(args.target or [])], 1 + len(args.target or []))
    args.source, *args.target = (" ".join(each) for each in words)
    trained.tokens([args.source, *args.target])
    levels = levels_of(trained, args)
    edits = next(iter(levels.values()))
    rows = [Path(args.image).name] if args.image else [f"seed {seed}" for seed in args.seeds]
    lines = [description(args.source, edit) for each in levels.values() for edit in each]
    if is_page(args):
        page.check(trained, args.steps, len(rows) * len(levels), edits)
    start = start_of(trained, args, image)
    if is_page(args):
        size, path = MAP_SIZES.get(trained.info["data"]), cli.output(args, "", ".html")
        path = page.write(path, trained, args.source, levels, start, rows, args.steps, args.scale, size)
        print("\n".join([*lines, str(path)]))
        return
    columns, maps, film_maps = draw(trained, args, edits, start)
    path = cli.output(args, f"edit-{cli.name_of(args.model)}", ".png")
    if image is not None:
        error = squared_error(dict(columns)["before"], image[None]).item()
        lines.append(f"reconstruction of the image: mean squared error {error:.6f} on the [0, 1] scale")
        columns = [("image", image[None]), *columns]
    parts = [*blocks(columns, EDITS_NOTE), *blocks(maps, MAPS_NOTE), *blocks(film_maps, FILM_NOTE)]
    names, images = zip(*columns, *maps, *film_maps, strict=True)
    fold = np.cumsum([len(part) for part, _ in parts])[:-1].tolist()
    sheet(path, np.stack(images, axis=1), rows, list(names), args.source, fold, [note for _, note in parts])
    print("\n".join([*lines, str(path)]))
