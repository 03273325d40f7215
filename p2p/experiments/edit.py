"""Edit images through their caption, and draw them with the attention maps of the words.

The kind of edit follows from the prompts: with as many words, each takes the map of the word in its place (replace);
with more or fewer, the shared words take their maps (refine); --weight scales the map of a word (reweight). Each target
and each value of a weight is a column. A real image (--image) is inverted first: exactly without guidance, with
null-text optimisation under it. --out x.html writes a page for the lecture hall instead: every step of every edit.
"""

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

import ddim
import ddpm
from ddim.sampler import as_grid
from ddpm.data.base import open_image
from ddpm.evaluation.edits import kind_between, kind_of_word
from ddpm.experiments.common import add_control_flags, finite, image_and_source, load_controlled
from ddpm.experiments.page import is_page
from ddpm.model import Trained
from ddpm.utils import cli
from ddpm.utils.images import from_bytes, overlay, sheet, squared_error, to_bytes
from unet.vocabulary import GRAMMAR

from .. import editing, real
from ..blend import LocalBlend
from ..store import AttentionStore
from ..words import Words, alignment, changed, in_range, kind_of, split, word_positions
from . import page
from .baselines import PAIR_SAMPLERS, SETTINGS, EditSettings, map_size, sampler_of, with_flags, words_of

EXAMPLE = (
    'python -m p2p edit --source "a photo of a gray cat on a red couch" '
    '--target "a photo of a gray dog on a red couch" "a photo of a tiger on a red couch"'
)
ENDINGS = (".png", ".html")
# of the maps that point best (`python -m p2p score --kinds maps`), by default the largest
MAP_SIZES = {"scenes": 8, "cifar10": 8, "celeba": 8}
GUIDANCE = 2.0  # of generated images, where no flag says another
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
    cli.add_flags(parser, "device", "out", model="scenes", source=None, target=None, image=None, data_dir=None)
    cli.add_flags(parser, seeds=None, steps=50, scale=None)
    add_control_flags(parser)
    word = dict(action="append", default=[])
    parser.add_argument("--weight", type=word_values, **word, metavar="WORD=X", help="factor of a word's map")
    parser.add_argument("--word-until", type=word_share, **word, metavar="WORD=X", help="a word's own --cross-until")
    for maps in ("cross", "self"):
        until = f"share of the steps that inject the source's {maps}-attention maps; by default that of the edit's kind"
        several = {"nargs": "+", "help": f"{until}; a page of one image takes several"} if maps == "cross" else {}
        parser.add_argument(f"--{maps}-until", **{"type": cli.share, "help": until} | several)
    parser.add_argument("--blend", nargs="*", metavar="WORD", help="change only where the maps of these words are high")
    parser.add_argument("--mask", help="an image file of the model's size: change only where it is light")
    parser.add_argument("--sampler", choices=PAIR_SAMPLERS, help="of generated images, by default ddim; ddpm: eta = 1")
    parser.add_argument("--inversion", choices=("exact", "ddim", "null-text"), help="of a real image")
    film = "draw the source at K times from noise on, and the map of the word that changes at these times"
    parser.add_argument("--film", type=cli.positive, metavar="K", help=film)


def check_flags(args: argparse.Namespace) -> None:
    """Set the flags whose default depends on others. ValueError: a flag that cannot act beside the others."""
    given, shares = args.image is not None, args.cross_until or []
    if given and args.inversion is None:  # the inversion of a real image is exact without guidance
        args.inversion = "exact" if args.scale in (None, 1) else "null-text"
    elif not given and args.inversion:
        raise ValueError(f"--inversion {args.inversion} is of a real image: give one with --image")
    for flag in ("seeds", "sampler"):
        if given and getattr(args, flag):
            raise ValueError(f"--{flag} is of generated images, and --image gives a real one: drop one of the two")
    if args.scale is None:
        args.scale = 1.0 if args.inversion in ("exact", "ddim") else GUIDANCE
    args.seeds = args.seeds or [0, 1, 2, 3]
    rows, page_wanted, film = (1 if given else len(args.seeds)), is_page(args), args.steps - (args.inversion == "exact")
    weights = {f"--weight {word}": values for word, values in args.weight}
    several = [flag for flag, values in weights.items() if len(values) > 1]
    columns = 1 + 2 * len(args.target or [1]) * max(map(len, weights.values()), default=1)
    for wrong, message in (
        (given and args.control, "--control is for generated images, and --image gives a real one: drop one"),
        (not args.target and not weights, "nothing to edit: give a --target, or a --weight for a word of the source"),
        (args.inversion == "null-text" and args.scale == 1,
         "--inversion null-text corrects guidance, and --scale 1 has none: take another of the two"),
        (args.inversion == "exact" and args.steps == 1, "--inversion exact needs two steps, --steps is 1: take more"),
        (args.mask is not None and args.blend is not None, "--mask and --blend both say where to change: give one"),
        (args.blend and not split(" ".join(args.blend)), f"--blend {args.blend} has no word: name one, or none at all"),
        (len(several) > 1, f"{' and '.join(several[:2])} have several values each: give one of them a single value"),
        (args.film and page_wanted, f"--film is for a sheet, and {args.out} is a page, which has every step: drop one"),
        (args.film and args.film > film, f"--film {args.film} has more images than steps: expected at most {film}"),
        (len(shares) > 1 and not page_wanted,
         f"--cross-until has {len(shares)} values, and a sheet shows one: give one, or --out x.html"),
        (len(shares) > 1 and rows > 1,
         f"--cross-until has {len(shares)} values, which a page shows for one image: give one seed"),
        (not page_wanted and max(rows, columns) > MOST,
         f"a sheet of {rows} images and {columns} columns: expected at most {MOST} of each"),
    ):  # fmt: skip
        if wrong:
            raise ValueError(message)
    said = {"--blend": split(" ".join(args.blend or [])), "--weight": [word for word, _ in args.weight]}
    said["--word-until"] = [word for word, _ in args.word_until]
    for flag, values in (said | weights).items():
        if repeated := [value for value in values if values.count(value) > 1]:
            raise ValueError(f"{flag} has {repeated[0]!r} twice: give it once")
    if unchanged := [flag for flag, values in weights.items() if values == [1]]:
        raise ValueError(f"{unchanged[0]}=1 has no effect, 1 leaves a word as it is: take another weight")


# ---- the edits -------------------------------------------------------------------------------------------------------


class Edit(NamedTuple):
    """An edit: its name, the target's prompt, and keywords of `p2p.edit`."""

    label: str
    target: str
    how: dict[str, Any]


def edits_of(
    trained: Trained, args: argparse.Namespace, source: Words, targets: list[Words], n: int, share: float | None
) -> list[Edit]:
    """The edits of n images: for each target, or for each value of a weight that has several.

    share: --cross-until. What no flag says are the settings of the kind of edit. ValueError: a word that is not in its
    prompts, a target that is the source.
    """
    weights = {word: values[0] for word, values in args.weight}
    strip = [weights | {word: x} for word, values in args.weight if len(values) > 1 for x in values] or [weights]
    mask = mask_in(Path(args.mask), trained.unet.config.size) if args.mask is not None else None
    until, edits, data = dict(args.word_until), [], trained.info["data"]
    for target in targets or [source]:
        for own in strip:
            if target == source and not own:
                raise ValueError(f"the target {' '.join(target)!r} is the source: change a word, or give a --weight")
            for word in (*own, *until):
                word_positions(target, word)
            prompts, (removed, new) = (" ".join(source), " ".join(target)), changed(source, target)
            kinds = [f"reweight {kind_of_word(data, prompts[0], word)}" for word in own]
            if target != source:
                kinds = [kind_between(data, *prompts)]
            other = EditSettings(cross_until=0.8, self_until=0.4)
            settings = next((SETTINGS[data, kind] for kind in kinds if (data, kind) in SETTINGS), other)
            settings = with_flags(settings, argparse.Namespace(**vars(args) | {"cross_until": share}))
            how = {"cross_until": settings.cross_until, "self_until": settings.self_until}
            how |= {"word_until": until, "weights": own, "blend": None}
            if mask is not None:
                how["blend"] = LocalBlend(mask=mask)
            elif args.blend is not None:
                words = split(" ".join(args.blend)) or [*removed, *new, *own]
                where = [[word for word in words if word in prompt] for prompt in (source, target)]
                if unknown := [word for word in words if word not in where[0] + where[1]]:
                    raise ValueError(f"--blend names {unknown[0]!r}, which is in neither prompt")
                how["blend"] = settings.blend(trained, [where[0]] * n + [where[1]] * n)
            label = "\n".join([change(source, target), *(f"{word} x {x:g}" for word, x in own.items())]).strip()
            edits.append(Edit(label, prompts[1], how))
    return edits


def mask_in(path: Path, size: int) -> Tensor:
    """The mask in an image file, bool (size, size): pixels lighter than middle grey may change."""
    image = open_image(path, ground="black")
    if image.size != (size, size):
        raise ValueError(f"the mask {path} has {image.width}x{image.height} pixels: expected {size}x{size}")
    mask = torch.from_numpy(np.asarray(image.convert("L")) > 127)
    if mask.all() or not mask.any():
        effect = "light everywhere, so it keeps nothing" if mask.all() else "dark everywhere, so nothing may change"
        raise ValueError(f"the mask {path} is {effect}: draw light where the edit may change the image")
    return mask


def check_word_shares(edits: list[Edit], source: Words, length: int) -> None:
    """ValueError for a --word-until that changes no edit."""
    for word, share in edits[0].how["word_until"].items():
        for edit in edits:
            target = split(edit.target)
            has_map = alignment(source, target, length)[:, word_positions(target, word)].any()
            if has_map and share != edit.how["cross_until"]:
                break
        else:
            cause = "that is --cross-until" if has_map else "a new word takes no map of the source"
            raise ValueError(f"--word-until {word}={share:g} has no effect: {cause}")


def change(source: Words, target: Words) -> str:
    """The words that change, "red -> green", "+ yellow", or "- red"; nothing where the prompts are the same."""
    pair = changed(source, target)
    removed, new = (" ".join([word for word in words if word not in GRAMMAR] or words) for words in pair)
    return f"{removed} -> {new}" if removed and new else f"+ {new}" if new else f"- {removed}" if removed else ""


def description(source: Words, edit: Edit) -> str:
    """One line on an edit: its kind and its injection schedule."""
    target = split(edit.target)
    kinds = [kind_of(source, target)] * (source != target) + ["reweight"] * bool(edit.how["weights"])
    injected = "cross-attention injected in {cross_until:.0%} of the steps, self-attention in {self_until:.0%}"
    return f"{', '.join(edit.label.splitlines())} ({' and '.join(kinds)}): {injected.format(**edit.how)}"


class Plan(NamedTuple):
    """What can be known before the first step."""

    trained: Trained
    source: Words
    image: np.ndarray | None  # uint8 (3, H, W)
    levels: dict[str, list[Edit]]  # the edits at each value of --cross-until, by its name
    rows: list[str]  # names of the images
    lines: list[str]  # what is said of the edits
    path: Path


def prepare(args: argparse.Namespace) -> Plan:
    """Load the model and the image, and look at every flag and prompt. ValueError, OSError: what cannot be edited."""
    check_flags(args)
    trained, page_wanted = load_controlled(args), is_page(args)
    grid, n = as_grid(trained.schedule.T, args.steps), 1 if args.image is not None else len(args.seeds)
    targets, image = words_of(trained, args.target or []), None
    if args.source is None:
        image, args.source = image_and_source(trained, args)
    (source,) = words_of(trained, [args.source])
    shares = sorted(args.cross_until or [])
    levels = {f"{share:g}": edits_of(trained, args, source, targets, n, share) for share in shares}
    levels = levels or {"": edits_of(trained, args, source, targets, n, None)}
    if len(shares) > 1 and args.self_until is None:  # self-attention maps are injected no longer than the others
        for share, edits in zip(shares, levels.values(), strict=True):
            for edit in edits:
                edit.how["self_until"] = min(edit.how["self_until"], share)
    edits = [edit for each in levels.values() for edit in each]
    check_word_shares(edits, source, trained.unet.config.words)
    if page_wanted:
        page.check(trained, len(grid) - 1, n * len(levels), len(edits) // len(levels))
    path = cli.output(args, f"edit-{cli.name_of(args.model)}", ".html" if page_wanted else ".png")
    if image is None:  # last, for a dataset may have to be drawn
        image, _ = image_and_source(trained, args)
    rows = [f"seed {seed}" for seed in args.seeds] if image is None else [Path(args.image).name]
    return Plan(trained, source, image, levels, rows, [description(source, edit) for edit in edits], path)


def start_of(plan: Plan, args: argparse.Namespace) -> dict[str, Any]:
    """Keywords of `p2p.edit` for all edits: x_T is noise, or what the image is inverted to."""
    trained, source, steps = plan.trained, [" ".join(plan.source)], args.steps
    start: dict[str, Any] = {"steps": steps, "scale": args.scale}
    x_0 = None if plan.image is None else from_bytes(plan.image[None]).to(trained.device)
    if x_0 is None:
        start["x_T"] = ddpm.Noise(args.seeds).start(trained.shape, trained.device)
        start["sampler"] = sampler_of(args.sampler or "ddim", args.seeds)
    elif args.inversion == "exact":
        start |= {"x_T": real.latent_pair(trained, source, x_0, steps, args.scale), "sampler": ddim.sample_exact}
    else:
        start["x_T"] = real.latent(trained, source, x_0, steps)
    if args.inversion == "null-text":
        found = tqdm(finite(real.null_text(trained, source, x_0, steps, args.scale), args.scale), "null text", steps)
        start["null"] = real.null_of(trained, {t: states for t, _, states in found})
    return start


def run(args: argparse.Namespace) -> None:
    """Edit, and draw the source, its edits, the new captions only, and the maps; or write a page of every step."""
    trained, source, image, levels, rows, lines, path = plan = prepare(args)
    start, (edits, *_), n = start_of(plan, args), levels.values(), len(rows)
    size, prompt = map_size(trained, MAP_SIZES.get(trained.info["data"])), " ".join(source)
    if is_page(args):
        path = page.write(path, trained, source, levels, start, rows, size)
        return print("\n".join([*lines, str(path)]))
    jobs = [(f"Prompt-to-Prompt\n{edit.label}", edit.target, edit.how) for edit in edits]
    for target in dict.fromkeys(edit.target for edit in edits if edit.target != prompt):
        jobs.append((f"new caption only\n{change(source, split(target))}", target, {"cross_until": 0, "self_until": 0}))
    store = AttentionStore([prompt] * n + [edits[0].target] * n, by_time=bool(args.film))
    x_T, first, columns = start["x_T"], jobs[0], []
    states = [(trained.schedule.T, to_bytes(x_T[0] if isinstance(x_T, tuple) else x_T))]  # of the sources
    with tqdm(total=len(jobs) * args.steps, desc="edits", unit=" steps") as bar:
        for job in jobs:
            name, target, how = job
            how = start | {"store": store if job is first else None} | how
            for t, x, _ in finite(editing.edit(trained, prompt, target, **how), args.scale):
                if job is first:
                    states.append((t, to_bytes(x[:n])))
                bar.update()
            columns.append((name, to_bytes(x[n:])))
    before = states[-1][1]  # the source's rows are the same in all edits

    def map_of(word: str, t: int | None = None) -> np.ndarray:
        maps = store.word([word] * n + [[]] * n, size or store.largest, t=t)
        return overlay(before, maps[:n])

    columns = [("source", before), *columns]
    words = [word for word in dict.fromkeys(source) if word not in GRAMMAR]
    maps = [(word, map_of(word)) for word in words if n <= MOST_MAPPED]
    film_maps = []
    removed, _ = changed(source, split(edits[0].target))
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
    edited = columns[: len(columns) - len(apart)]
    if apart and maps and not args.film and image is None:  # each new caption below its edit, the map below the source
        apart, maps = [(f"attention map\nof {word}", map_of(word)), *apart], []
    note = EDITS_NOTE if len(jobs) > len(edits) else ""  # a sheet of weights has no such column
    groups = [(note, edited), ("", apart), (MAPS_NOTE, maps), (FILM_NOTE, film_maps)]
    blocks = [(note if i == 0 else "", group[i : i + WIDEST])
              for note, group in groups for i in range(0, len(group), WIDEST)]  # fmt: skip
    names, images = zip(*(column for _, block in blocks for column in block), strict=True)
    fold = np.cumsum([len(block) for _, block in blocks])[:-1].tolist()
    sheet(path, np.stack(images, axis=1), rows, list(names), prompt, fold, [note for note, _ in blocks])
    print("\n".join([*lines, str(path)]))
