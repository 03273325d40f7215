"""ControlNet: images that follow a drawing, shown and measured.

Three sheets: one sketch with five captions, one caption with five sketches, a sketch at rising strength. Measured on
scenes in combinations that training never shows: the overlap (intersection over union) of the thing in the image with
the thing in the drawing, and the words of the caption that the image shows, with and without control.
"""

import argparse
from pathlib import Path

import numpy as np
from tqdm import tqdm

import ddpm
from ddpm.data import scenes
from ddpm.data.lines import drawing, outlines
from ddpm.evaluation import classifier, judge
from ddpm.experiments.caption_accuracy import ETA, HELD_OUT_SEED, SCALE, STEPS, few_steps
from ddpm.experiments.common import check_n, model_facts, own_record, write
from ddpm.model import Trained, generate, in_batches
from ddpm.utils import cli
from ddpm.utils.images import sheet
from unet import ControlledUNet

EXAMPLE = "python -m ddim control --n 50"
ENDINGS = (".json", ".txt", ".png")
SKETCH, SKETCHES = "39", ("43", "52", "67", "82", "39")  # scenes of the test split: an animal on a couch
CAPTIONS = [
    "a photo of a gray cat on a red couch", "a photo of a white cat on a blue couch",
    "a photo of a brown dog on a green couch", "a photo of a tiger on a purple couch",
    "a photo of a black dog on a yellow couch",
]  # fmt: skip
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
SEEDS = [0, 1, 2]


def follow(
    trained: Trained, args: argparse.Namespace, prompts: list[str], seeds: list[int], drawings: np.ndarray | None,
    strength: float = 1.0,
) -> np.ndarray:  # fmt: skip
    """An image for each prompt, seed and drawing, uint8 (n, 3, H, W). drawings: uint8 (n, 1, H, W), None for none."""
    made, sampler = [], few_steps(trained.schedule.T, args.steps, args.eta)
    for part in tqdm(in_batches(len(prompts), trained.device), "samples", unit=" batches", leave=False):
        model = trained if drawings is None else trained.controlled(drawings[part], strength)
        made += generate(model, prompts[part], seeds[part], sampler, args.scale)
    return np.concatenate(made)


# ---- measured --------------------------------------------------------------------------------------------------------


def overlap(seen: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Intersection over union of masks, both bool (n, H, W) -> (n,); a scene always has pixels that are wanted."""
    return (seen & wanted).sum(axis=(1, 2)) / (seen | wanted).sum(axis=(1, 2))


def judged(images: np.ndarray, shown: list[scenes.Scene]) -> dict[str, float]:
    """What the judge sees in images of scenes: the mean overlap of the thing, and the shares of the words."""
    probabilities = classifier.load("scenes").probabilities(images)
    wanted = np.stack([scenes.parts(scene) == scenes.PARTS.index("thing") for scene in shown])
    words = judge.judged("scenes", images, [scenes.caption(scene) for scene in shown], probabilities)
    found = judge.places("scenes", images, probabilities)["thing"]
    shares = {word: part["share"] for word, part in judge.accuracy(words).items()}
    return {"overlap": float(overlap(found, wanted).mean()), "all words": shares.pop("all")} | shares


def measure(trained: Trained, args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Images -> overlap and shares of words, for n scenes that training never shows."""
    shown = scenes.scatter(args.n, "test", HELD_OUT_SEED)
    prompts, seeds = [scenes.caption(scene) for scene in shown], list(range(args.n))
    rows = {"real drawings": judged(np.stack([scenes.draw(scene) for scene in shown]), shown)}
    for name, drawings in (
        ("without control", None),
        ("control: outline of the thing", np.stack([outlines(scene, thing_only=True) for scene in shown])),
        ("control: all lines", np.stack([outlines(scene) for scene in shown])),
    ):
        rows[name] = judged(follow(trained, args, prompts, seeds, drawings), shown)
    return rows


def text(record: dict) -> str:
    """Overlap, and words in percent: a row for each set of images."""
    rows = record["rows"]
    names = list(next(iter(rows.values())))
    lines = [f"{'':29s}" + "".join(f"{name:>15s}" for name in names)]
    for row, values in rows.items():
        cells = [f"{values[name]:15.3f}" if name == "overlap" else f"{100 * values[name]:13.1f} %" for name in names]
        lines.append(f"{row:29s}" + "".join(cells))
    return "\n".join(lines) + "\n"


# ---- shown -----------------------------------------------------------------------------------------------------------


Column = tuple[str, str, np.ndarray, float]  # name, caption, sketch uint8 (1, H, W) with 255 on a line, strength


def columns_of(sketch: np.ndarray, sketches: list[np.ndarray]) -> dict[str, tuple[str, list[Column]]]:
    """Name of a sheet -> its title and columns."""
    several = [(f"scene {name}", CAPTIONS[0], each, 1.0) for name, each in zip(SKETCHES, sketches, strict=True)]
    strengths = [(f"{strength:g}", CAPTIONS[0], sketch, strength) for strength in STRENGTHS]
    return {
        "captions": ("one sketch, five captions", [(caption, caption, sketch, 1.0) for caption in CAPTIONS]),
        "sketches": (f"{CAPTIONS[0]}: one caption, five sketches", several),
        "strength": (f"{CAPTIONS[0]}: strength of control", strengths),
    }


def draw(trained: Trained, args: argparse.Namespace, columns: list[Column]) -> np.ndarray:
    """The images of a sheet, uint8 (1 + seeds, columns, 3, H, W): on top the sketch in black on white."""
    found, k = [], len(SEEDS)
    for _, prompt, sketch, strength in columns:
        images = follow(trained, args, [prompt] * k, SEEDS, np.stack([sketch] * k), strength)
        found.append(np.concatenate([np.repeat(255 - sketch[None], 3, axis=1), images]))
    return np.stack(found, axis=1)


def add_flags(parser: argparse.ArgumentParser) -> None:
    cli.add_flags(parser, "device", "out", model="scenes-control", n=500, steps=STEPS, eta=ETA, scale=SCALE)
    cli.add_flags(parser, control=SKETCH)


def prepare(args: argparse.Namespace) -> tuple[Trained, dict[str, tuple[str, list[Column]]], dict, Path]:
    """The model, its sheets, facts for the record, its file. ValueError: no ControlNet, a sketch of nothing."""
    trained = ddpm.load(args.model, device=args.device)
    if not isinstance(trained.unet, ControlledUNet):
        raise ValueError(f"{args.model} has no ControlNet: expected one as scenes-control")
    check_n(args.n)
    sketch, *sketches = (drawing(name, trained.unet.config.size) for name in (args.control, *SKETCHES))
    few_steps(trained.schedule.T, args.steps)  # refuses too many of them
    path = own_record(args, f"control-{cli.name_of(args.model)}", "a record of ddim control", "rows")
    facts = model_facts(trained, args) | {"classifier": classifier.load("scenes").sha256}
    facts |= {name: getattr(args, name) for name in ("n", "steps", "eta", "scale", "control")}
    return trained, columns_of(sketch, sketches), facts, path


def run(args: argparse.Namespace) -> None:
    """Draw the sheets, measure, and write the table."""
    trained, sheets, facts, path = prepare(args)
    paths = [cli.output(args, f"control-{cli.name_of(args.model)}", ".png", f"-{part}") for part in sheets]
    for picture, (title, columns) in zip(paths, sheets.values(), strict=True):
        rows, names = ["sketch", *(f"seed {seed}" for seed in SEEDS)], [name for name, *_ in columns]
        print(sheet(picture, draw(trained, args, columns), rows, names, title))
    record = {"settings": facts, "rows": measure(trained, args)}
    write(args, path, record, text)
