"""What is typed wrong ends with code 2 and one line that names it, before the network is called or a file is made."""

import os
import shlex
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import torch
from helpers import code_of
from PIL import Image
from tiny import CONFIG, make_unet, save_autoencoder, save_model

import ddim
import ddpm
import p2p
import train
from ddpm import Schedule, Trained
from ddpm.data import scenes, shapes
from ddpm.evaluation import classifier, edits, frechet, judge
from ddpm.utils import images
from ddpm.utils.cli import exit_code
from p2p import real
from p2p.experiments import truth
from unet import Site, Tokenizer

# a command, and words that its line has; x.json and notes.txt are somebody's files, ae.pt is an autoencoder
ROWS = {
    "train {}": """
        --preset huge | unknown preset 'huge'
        --minutes 0 | for ever
        --minutes nan | minutes is nan: expected 0 to
        --learning-rate 0 | learning_rate is 0.0
        --ema 0 1 | ema is (0.0, 1.0)
        --seed -1 | seed is -1: expected 0 to
        --channels 1000000 | channels is 1000000
        --T 50 --schedule linear | T = 50 ends at alpha_bar = 0.6, so x_T still shows 78% of the image
        --preset ddpm --T 4000 | multiplies the errors of a network that predicts eps
        --predicts eps --weighting v | weighting v divides by alpha_bar
        --data cifar10 --report 5 | --report has no effect, for only shapes are scored
        --cross-sizes --text-width 32 | --text-width has no effect, for
        --images 64 --batch 61 | 60 images
        --images 64 --data folder --data-dir nowhere | nowhere
        --images 64 --data cifar10 --data-dir notes.txt | is a file: expected the folder
        --images 64 --init nowhere | no model 'nowhere'
        --resume nowhere | no checkpoint at nowhere
        --resume nowhere --out runs | --out runs has no effect
        --images 64 --out notes.txt/new | cannot write there
        --images 1e3 | '1e3': expected a whole number
        --learning-rate fast | 'fast': expected a number
        --out runs.png | expected a folder
        --control | --control trains a ControlNet on a model that stays frozen: say which with --init
        --preset scenes-control --init shapes | --init shapes is of shapes, --data is scenes
        --preset scenes64 | takes latents: say of which autoencoder with --autoencoder
        --preset scenes64 --autoencoder nowhere | no model 'nowhere'
        --preset scenes64 --autoencoder shapes | has no autoencoder: train one with train.py --preset autoencoder64
        --autoencoder ae.pt | --autoencoder gives latents of 4 x 4 x 4, the network of shapes takes 3 x 16 x 16
        --preset autoencoder64 --cross-sizes 8 | the network of autoencoder64 has no cross_sizes
        --preset autoencoder64 --T 10 | --T has no effect, for an autoencoder has no times
        --init ae.pt | ae.pt is an autoencoder: train a model on its latents with train.py --autoencoder
        --preset scenes-control --T 10 | --control keeps the frozen model's T
    """,
    "ddim {} --model tiny.pt --device cpu": """
        sample --prompts "a red circle" ... | --prompts is empty ('...')
        sample --prompts a red circle | --prompts a red circle: put each caption in quotes
        sample --prompt "a red circle" | unrecognized arguments: --prompt a red circle: see --help, and put a caption in
        sample --seeds 3-1 | expected seeds such as
        sample --seeds 0-99999999 | at most 1,000,000 seeds
        sample --seeds 9223372036854775808 | below 2^63
        sample --steps 4 --steps=5 | --steps: typed twice
        sample --control-scale 2 | --control-scale 2 has no effect without --control
        sample --control 3 | has no ControlNet
        sample --control 3 --control-scale 1e30 | '1e30': expected a number in -100 .. 100
        control | tiny.pt has no ControlNet
        sample --out new.json | sample --out
        sample --out photo.jpg | no command writes .jpg
        sample --out LONG.png | File name too long
        edit --image 1 --target , | --target is empty (',')
        edit --image 1 --target TARGET --out new.npz | a name that ends in .png
        edit --image 0 --target TARGET --steps 4 --strength 0.1 | is no step: take 0.5 or more
        edit --image 0 --target TARGET --steps 4 --strength 0 | an edit is the image itself
        edit --image 0 --target TARGET --iterations 101 | '101': expected a whole number in 0 .. 100
        edit --image 0 --target TARGET --methods ddim --eta 0 | --eta is for sdedit
        edit --image 0 --target TARGET --scale 0 | 0 would leave the caption out
        edit --image no.png --source "a red circle" --target TARGET --steps 4 | no.png: no such file
        edit --image 0 --target "a photo of a zebra" --steps 4 | 'zebra'
        sweep --n 2 --steps 4 --strengths 0.5 0.6 | 0.5 and 0.6 are both 2 of 4 steps
        sweep --n 2 --steps 4 --strengths 1 --methods p2p | take python -m p2p score
        sweep --n 2 --steps 4 --strengths 1 --methods null-text | --scale is 1: give one above 1
        sweep --n 30001 --steps 4 --strengths 1 | --n is 30001, expected 1 .. 30000
        mistakes --n 4 --steps 11 | --steps is 11, expected 1 .. 10
        mistakes --n 1 | --n is 1, expected 2 .. 60
        reconstruct --steps 2 1 --n 4 | --steps 1 is one step, and the variant 'exact' needs two
        reconstruct --steps 2 --n 61 | --n is 61, expected 1 .. 60
        table --columns 10 20 10 | --columns has '10' twice
        table --out notes.json | notes.txt is there and no result of table
        sweep --n 2 --steps 4 --strengths 1 --out three.json | three.json is not a record of results (it has
        table --columns 21 | S is 21 steps, expected a whole number in 1..20
        table --rows 1.5 | '1.5': expected a number in [0, 1]
        table --rows half | expected a number in [0, 1], or one of hat, 2m, train, test
        table --spacing quadratic --columns 2 | t = 17, where alpha_bar of the cosine
        table --columns 2 --out x.json | x.json is not a record of results
        table --beside nowhere | nowhere is not a record of results ([Errno 2] No such file or directory
        table --reference-n 1 | --n and --reference-n: 1 is too few
        table --n 1 --columns 2 | a distance between sets needs 2 images
        table --scale 2 --columns 2 | --scale is guidance towards captions: give --captions
        table --rows 0 test --columns 2 --reference test | the reference set itself
        table --rows blur | --rows blur takes images of the reference set itself: give --reference half
        table --rows test --n 61 | --n is 61, but for --rows test there are 60 images
        table --seed 9223372036854775806 --n 4 | expected a whole number in 0 .. 2^62
    """,
    'p2p edit --model tiny.pt --device cpu --source "a photo of a small red circle" {}': """
        --steps 3 | nothing to edit: give a --target, or a --weight
        --target "A photo of a small red circle." --steps 3 | is the source: change a word, or give a --weight
        --target TARGET "a photo of a mauve circle" --steps 3 | unknown word 'mauve'
        --target TARGET --steps 21 | S is 21 steps, expected a whole number in 1..20
        --target TARGET --steps 3 --scale 0.5 | --scale is 0.5: expected 1 (no guidance) or more
        --target TARGET --scale 1e30 | argument --scale: '1e30'
        --target TARGET --steps 3 --weight green=2 | 'green' is not in the prompt
        --target TARGET --weight red=9 | expected a word and weights in -2 .. 5
        --target TARGET --weight red=2,2 | each once
        --weight red=1 | no effect
        --weight red=2 --weight Red=3 | has a word twice
        --target TARGET --steps 3 --blend green | --blend names 'green', which is in neither prompt
        --target TARGET --steps 3 --film 4 | --film 4 has more images than steps
        --target TARGET --steps 3 --seeds 0-99 | a sheet of 100 images
        --target TARGET --image real.png --sampler 2m | --sampler is of generated images
        --target TARGET --image real.png --seeds 4,5 | --seeds is of generated images
        --target TARGET --image real.png --steps 1 | the exact inversion of --image needs two steps
        --target TARGET --image real.png --steps 3 --out real.png | real.png is read by this command
    """,
    "p2p {} --model tiny.pt --device cpu": """
        edit --target TARGET --steps 3 | has no caption: say what it shows with --source
        schedule --source "a red circle" --target "a mauve circle" | unknown word 'mauve'
        schedule --source "a red circle" --target "A red circle" | is the source: change a word
        schedule --source "a red circle" --target "a circle" --steps 21 | S is 21 steps
        schedule --source "a red circle" --target "a circle" --seed -1 | argument --seed
        schedule --source "a red circle" --target "a circle" --scale=-3 | --scale is -3: expected 1
        score --kinds colour smiling | no kind of edit 'smiling' of shapes: expected one of colour
        score --scale 0.5 | --scale is 0.5: expected 1 (no guidance) or more
        score --steps 21 | S is 21 steps
        score --kinds maps --ways p2p | --ways has no effect on --kinds maps
        score --ways plain --cross-until 0.5 | --cross-until has no effect: none of --ways is p2p
        score --ways p2p-exact --steps 1 | p2p-exact needs two steps for its exact inversion, --steps is 1
        score --kinds colour --out table.json | table.json is a record of another command
        score --n 30001 | --n is 30001, expected 1 .. 30000
        score --kinds colour --out three.json | three.json is not a record of results (it has
        truth | is a model of shapes: the true edit is known of scenes alone
        truth --source "a red circle" | --source and --target belong together
        truth --source "a red circle" --target "a circle" --kinds thing | --kinds thing has no effect beside --source
        truth --source "a red circle" --target "a circle" --out new.json | expected a folder, or for a sheet of --source
        truth --out new.png | expected a folder, or for a record a name that ends in .json
    """,
    "p2p truth --device cpu {}": """
        --ways p2p-exact --steps 1 | p2p-exact needs two steps for its exact inversion, --steps is 1
        --kinds thing --out p2p.json | p2p.json is a record of another command
        --kinds drop | no kind of edit 'drop' of scenes: expected one of thing
        --steps 1001 | S is 1001 steps
        --n 30001 | --n is 30001, expected 1 .. 30000
        --source "a photo of a cat on a couch" --target "a photo of a zebra on a couch" | unknown word 'zebra'
        --source "a photo of a cat on a couch" --target "a photo of a cat on a couch" | expected captions of scenes
    """,
    "ddpm {} --model tiny.pt --device cpu": """
        sample --prompts "a red circle" "A  red circle." | --prompts has 'a red circle' twice
        sample --prompts "a red circle" --n 1025 | a sheet shows at most 1,024
        bound --n 1 | --n is 1, expected 2 .. 60
        bound --n 3 --out x.json | x.json is not a record of ddpm bound
        neighbours --n 3 --out score.json | score.json is not a record of ddpm neighbours (it has no test)
        score --steps 21 | --steps is 21: expected 1 .. 20
        score --n 1000000000 | 1 .. 1,000,000
        score --eta 1.5 | '1.5': expected a number in [0, 1]
        score --scale nan | 'nan': expected a number
        score --n 4 --out x.json | x.json is not a record of ddpm score
        score --n 30001 | --n is 30001, expected 1 .. 30000, as many as a test split has
    """,
    "{} --model OWN/model.pt --data-dir OWN --device cpu": """
        ddpm bound | a folder of images has no test split: all of its images were used for training
        ddpm score --n 2 | no classifier of 'folder', only of celeba, cifar10, scenes
        ddim reconstruct --n 2 | a folder of images has no test split
        ddim mistakes --n 2 | a folder of images has no test split
        ddim sweep --n 2 | no edits are known for the dataset 'folder'
        ddim edit --image 0 --source "a red cat" --target "a red dog" --steps 5 | a folder of images has no test split
        ddim table --n 2 --columns 2 | --features inception
        p2p edit --image 0 --source "a red cat" --target "a red dog" --steps 5 | a folder of images has no test split
        p2p score --n 2 | no kinds of edit of the dataset 'folder'
    """,
    "{}": """
        ddpm sample --model= | --model is empty ('')
        ddpm sample --model x.json/checkpoint.pt | no model
        ddpm bound --n 3 --device tpu | 'tpu'
        ddim control --steps 1001 | --steps is 1001: expected 1 .. 1000
        ddim control --n 30001 | --n is 30001, expected 1 .. 30000
        ddim mistakes --n 1 --data-dir no | --n is 1, expected 2 .. 30000
        ddim reconstruct --model scenes64 --n 30001 --data-dir no | --n is 30001, expected 1 .. 30000
        p2p edit --image 30000 --target "a photo of a cat" --data-dir no | --image is 30000, but the test split has
        ddpm reproduce --out new.html | expected a folder
        ddpm speed --batch 257 --device cpu | --batch is 257, expected 1 .. 256: a CPU takes no more at once
        ddpm speed --repeats 1.5 | '1.5': expected a whole number
    """,
}
FILES = {
    "x.json": '{"hello": 1}',
    "notes.txt": "mine",
    "score.json": '{"samples": {}}',
    "three.json": '{"settings": 3}',
}
FILES |= {"table.json": '{"settings": {"n": 1}, "cells": {}}', "p2p.json": '{"settings": {"thing": {}}, "cells": {}}'}
TARGET = "a photo of a small red square on a blue background"


def test_a_reader_that_ends_early_is_one_line_and_python_adds_none_at_its_end(monkeypatch, capsys):
    reading, writing = os.pipe()
    os.close(reading)
    with monkeypatch.context() as patched, open(writing, "w", encoding="utf-8") as pipe:
        patched.setattr("sys.stdout", pipe)
        assert exit_code("some command", lambda: print("a table")) == 2
    assert capsys.readouterr().err == "some command: [Errno 32] Broken pipe\n"  # and closing the pipe raised nothing


def run_training(argv: list[str]) -> int:
    return exit_code("train.py", lambda: train.run(train.parser().parse_args(argv)))


@pytest.mark.parametrize("command", ROWS)
def test_what_is_typed_wrong_is_named(command, cats, tmp_path, monkeypatch, capsys):
    """On sixty images of each split; OWN is a model of a folder's images, and the folder."""
    sixty = {split: shapes.shapes(split, 60) for split in ("train", "test")}
    monkeypatch.setattr(shapes, "shapes", lambda split="train", *_, **__: sixty[split])
    monkeypatch.setattr(ddpm.Trained, "eps", lambda *_, **__: pytest.fail("called the network"))
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        Path(name).write_text(text, encoding="utf-8")
    save_model(Path("tiny.pt"))
    save_autoencoder(Path("ae.pt"))
    Image.new("RGB", (8, 8), "red").save("real.png")
    before = sorted(tmp_path.rglob("*"))
    for row in ROWS[command].strip().splitlines():
        typed, _, named = row.strip().rpartition(" | ")
        program, *words = shlex.split(
            command.format(typed.replace("TARGET", f'"{TARGET}"'))
            .replace("OWN", str(cats[0]))
            .replace("LONG", "o" * 250)
        )
        main = run_training if program == "train" else import_module(f"{program}.__main__").main
        assert code_of(main, *words) == 2, row
        error = capsys.readouterr().err
        assert named in error and error.count("\n") == 1, (row, error)
    assert sorted(tmp_path.rglob("*")) == before
    assert {n: Path(n).read_text(encoding="utf-8") for n in FILES} == FILES


PYTHON = """
    Schedule(0) | T is 0
    schedule.at("beta", 5.5, x) | t is 5.5, expected a time in 0..10
    ddpm.Noise(8) | no seeds given, expected one for each image, such as range(8)
    ddpm.Noise([0.5]) | a seed is 0.5, expected a whole number
    ddpm.last(iter([])) | a generator runs once
    list(ddpm.generate(trained, ["a circle"], [0, 1], None)) | 2 seeds for 1 prompts: expected one for each image
    trained.for_many_images("double") | precision is 'double', expected one of float32, bfloat16, float16
    trained.encode(image.byte()) | torch.uint8: expected (B, 3, 8, 8), floats in [-1, 1]
    ddpm.bits_per_dim(eps, schedule, x * NAN) | values reach nan
    Schedule(10, "sigmoid") | 'sigmoid', expected one of linear, cosine
    schedule.at("beta", 11, x) | t is 11
    ddpm.diffusion.step(schedule, x, x, 5) | from t = 5 to 4 adds noise, but none was given
    next(ddpm.sample(eps, schedule, x, "tilde")) | variance is 'tilde'
    next(ddpm.sample(eps, schedule, x, generator=ddpm.Noise([1]))) | 2 images, but the noise has 1 seeds
    ddpm.MixtureEps(schedule, torch.tensor([0.5, 0.6]), x, torch.ones(2)) | positive numbers with sum 1
    ddpm.bits_per_dim(eps, schedule, x + 1.5) | values reach 1.5, expected them in [-1, 1]
    ddpm.bits_per_dim(eps, schedule, x, variance="both") | variance is 'both', expected one of posterior, beta
    ddpm.bits_per_dim(eps, Schedule(1), x) | T = 1, expected at least 2
    ddim.timesteps(10, 5, "cubic") | spacing is 'cubic', expected one of linear, quadratic
    next(ddim.sample(eps, schedule, x, [3, 3, 0])) | strictly descending
    next(ddim.sample(eps, schedule, x, 5, eta=NAN)) | eta is nan
    ddim.step(schedule, x, x, 5, -1) | t is -1, expected a time in 0..10
    ddim.step(schedule, x, x, 5, 4, eta=-1, noise=x) | eta is -1 from t = 5 to s = 4: expected 0 or more
    ddim.step(schedule, x, x, 4, 5, eta=0.5, noise=x) | eta is 0.5 from t = 4 to s = 5: expected 0 or more, and 0
    ddim.q_sigma(schedule, x, x, 4, 4, eta=0.5) | eta is 0.5 from t = 4 to s = 4
    next(ddpm.sample(eps, schedule, x, generator=0)) | generator is 0, expected such as ddpm.Noise(seeds)
    next(ddim.sample(eps, schedule, x, 5, eta=1, generator=0)) | generator is 0
    images.squared_error(image, image[[0, 0, 0]]) | with shape (2, 3, 8, 8) and arg 1 with shape (3, 3, 8, 8)
    images.grid("x.png", byte[:0], []) | images are uint8 (0, 3, 8, 8) in 8 columns, expected uint8 (N, 3, H, W)
    images.grid("x.png", byte / 255, ["a", "b"]) | images are float64
    images.grid("x.png", byte, ["a", "b"], columns=0) | in 0 columns
    ddim.step(schedule, x, x, 5, 4, eta=0.5) | eta is 0.5 and noise None
    next(ddim.invert(eps, schedule, x, 5, iterations=-1)) | iterations is -1, expected 0 or more
    next(ddim.sample_exact(eps, schedule, x, 1)) | the times [10, 0] make 1 step, expected at least 2
    next(ddim.invert_exact(eps, schedule, x, 5, gamma=0)) | gamma is 0, expected a number in (0, 1]
    next(ddim.edit_inverted(eps, eps, schedule, x, 1.1, 10)) | strength is 1.1
    list(ddim.edit_exact(eps, eps, schedule, x, 0.1, 10)) | at least 2
    next(ddim.edit_naive(eps, schedule, x, 0.5, [9, 5, 1])) | an edit must end at the image
    replace(CONFIG, predicts="x0") | predicts is 'x0'
    replace(CONFIG, size=9) | size 9
    replace(CONFIG, dropout=NAN) | dropout is nan
    replace(CONFIG, multipliers=(1, 0)) | multipliers is (1, 0)
    replace(CONFIG, cross_sizes=(8, 3)) | cross_sizes has [3]
    replace(CONFIG, channels=9, groups=3) | 9 channels: expected an even number
    replace(CONFIG, text_heads=3) | text_heads 3
    replace(CONFIG, channels=20, self_sizes=(8,), head_channels=6) | head_channels 6
    Tokenizer(("red", "blue", "red")) | a word twice
    Tokenizer(("red", "polar bear")) | name 'polar bear'
    Tokenizer(("red",), ("red", "blue")) | name 'blue'
    Tokenizer().encode(["a large red circle"], 4) | has 4 words
    trained.eps("a red circle") | a list of prompts
    trained.eps(["a", "a", "a"])(image, t) | 3 prompts for 2 images
    trained.eps([]) | no prompt given
    trained.eps(None)(image.byte(), t) | uint8, expected
    next(ddim.sample(trained.eps(None), Schedule(), image[0], 5)) | expected (B, 3, 8, 8)
    next(ddim.invert_exact(trained.eps(None), Schedule(), image[:, :, :4], 5)) | expected (B, 3, 8, 8)
    edit(x_T=torch.zeros(2, 3, 4, 4)) | x_T has the shape (2, 3, 4, 4): expected (n, 3, 8, 8)
    edit(x_T=(image, image)) | x_T is a latent pair: expected sampler=ddim.sample_exact
    edit(weights={"green": 2.0}) | 'green' is not in the prompt 'a blue circle'
    edit(weights={"blue": 6.0}) | weight of 'blue' is 6.0: expected -2 .. 5
    edit(cross_until=1.5) | cross_until is 1.5: expected 0 .. 1
    edit(scale=float("inf")) | scale is inf: expected a finite number
    edit(kind="swap") | kind is 'swap': expected one of replace, refine
    edit(source="...") | the prompt '...' has no word
    edit(source=["a red circle"] * 3) | 3 prompts for 2 images: expected one for each, or a single one
    edit(blend=p2p.LocalBlend(WORDS[:3])) | the blend has words for 3 prompts: expected 4, sources first
    edit(blend=p2p.LocalBlend(WORDS[::-1])) | 'blue' is not in the prompt 'a red circle'
    edit(blend=p2p.LocalBlend(WORDS, size=16)) | the blend reads maps of size 16: expected one of [4, 8]
    edit(blend=p2p.LocalBlend(WORDS), scale=0) | with guidance 0 the network does not read the prompt
    edit(store=p2p.AttentionStore(["a red circle"] * 3)) | the store has 3 prompts: expected 4, sources first
    edit(store=p2p.AttentionStore(["a red circle"] * 4)) | expected 'a blue circle'
    edit(store=used) | has maps of another trajectory
    p2p.LocalBlend(WORDS, threshold=NAN) | threshold is nan: expected 0 .. 1
    p2p.LocalBlend(WORDS, grow=0.5) | grow is 0.5: expected 0 or more whole pixels
    p2p.AttentionStore("a red circle") | prompts is the string 'a red circle'
    p2p.AttentionStore(["a red circle"], kinds=("words",)) | kinds is ('words',): expected
    edit(sampler=p2p.shared_noise([])) | no seeds given
    null_text(x_0=image[:, :, :4, :4]) | x_0 has the shape (2, 3, 4, 4): expected (2, 3, 8, 8)
    null_text(inner_steps=-1) | inner_steps is -1
    null_at(image, 10 * t) | no null prompts for t = 10: edit with the steps of null_text, [20]
    null_at(image[[0, 0, 0]], 20 * t[[0, 0, 0]]) | null prompts of 2 images for 3
    p2p.word_positions("a red circle", "dog") | 'dog' is not in the prompt 'a red circle'
    p2p.swap_map("a b c", "a b", 3) | 'a b c' has 3 words, but a row of 3 tokens takes 2
    p2p.swap_map("a b c", "a b c", 3) | has 3 words
    p2p.refine_map("a b", "a b c", 3) | has 3 words
    used.word(["red", "red"], 4) | words for 2 images, but the store has 1 prompts
    used.maps(8) | size 8: expected one of the sizes [4]
    used.maps(4, t=9) | size 4, t = 9: expected one of the sizes []
    truth.edits_of("a photo of a cat on a couch", "a photo of a tiger on a bicycle", 1) | scenes that differ in one
    truth.edits_of("a photo of a white cat on a red couch", "a photo of a white dog on a red couch", 9) | test split
    frechet.moments(torch.zeros(1, 4)) | shape (1, 4), expected (n, d) with n at least 2
    ddim.kernel_distance(torch.zeros(5, 4), torch.zeros(5, 3)) | 4 and 3 features, expected as many
    ddim.frechet_distance(x[0], torch.eye(3), x[0, :2], torch.eye(2)) | (2,), (2, 2)], expected
    ddim.frechet_distance(x[0], torch.eye(3), x[0], NAN * torch.eye(3)) | not finite
    judge.judged("folder", byte, ["a photo of a car"] * 2) | nothing judges images of 'folder'
    judge.judged("cifar10", byte, ["a photo of a cathedral"] * 2, {}) | no sentence of the CIFAR-10 grammar
    edits.pairs("moons", "smiling", 1) | no edits 'smiling' of moons
    edits.pairs("shapes", "smiling", 1) | no edits 'smiling' of shapes
    classifier.load("shapes").probabilities(byte[..., :4]) | expected uint8 (N, 3, H, H)
    classifier.load_labelled("folder", "") | no labels for the dataset 'folder'
    trained.encode(image[..., :4]) | the images have the shape (2, 3, 8, 4) torch.float32: expected (B, 3, 8, 8)
    trained.controlled(image[:, :1]) | has no ControlNet
    scenes.Scene("cat", "gray", "mountain") | thing is 'cat'
    scenes.parse("a photo of a cat on a mountain with a flag") | no sentence
    scenes.scatter(1, "validation", 0) | validation
"""


def test_from_python_it_is_a_value_error_in_one_line():
    """Before the first step: `edit` is not even asked for one."""
    trained = Trained(make_unet(), Tokenizer(), Schedule(1000), {})
    image, used = torch.zeros(2, 3, 8, 8), p2p.AttentionStore(["a red circle"])
    used(torch.ones(1, 1, 16, 8) / 8, Site("x", "cross", "up", 4), torch.tensor([1]))
    pair = {"trained": trained, "source": "a red circle", "target": "a blue circle", "x_T": image, "steps": 4}
    null = {"trained": trained, "prompts": ["a circle"] * 2, "x_0": image, "steps": 2, "scale": 2.0}
    names = dict(torch=torch, ddpm=ddpm, ddim=ddim, p2p=p2p, scenes=scenes, replace=replace, CONFIG=CONFIG)
    names |= dict(Schedule=Schedule, Tokenizer=Tokenizer, truth=truth, frechet=frechet, judge=judge)
    names |= dict(edits=edits, images=images, classifier=classifier, byte=image.byte().numpy()) | {
        "eps": lambda x, t: x, "schedule": Schedule(10), "x": torch.zeros(2, 3), "NAN": float("nan"), "image": image,
        "t": torch.ones(2, dtype=torch.long), "trained": trained, "WORDS": [["red"]] * 2 + [["blue"]] * 2, "used": used,
        "edit": lambda **how: p2p.edit(**pair | how), "null_text": lambda **how: next(real.null_text(**null | how)),
        "null_at": real.null_of(trained, {20: real.null_states(trained, 2, 4)}),
    }  # fmt: skip
    for row in PYTHON.strip().splitlines():
        call, _, named = row.strip().rpartition(" | ")
        with pytest.raises(ValueError) as caught:
            eval(call, names)
            pytest.fail(f"was let through: {call}")
        assert named in str(caught.value) and "\n" not in str(caught.value), (call, caught.value)
