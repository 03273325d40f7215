"""What is typed wrong ends with code 2 and one line that names it, before the network is called or a file is made."""

import shlex
from importlib import import_module
from pathlib import Path

import pytest
from helpers import code_of
from tiny import save_model

import ddpm
import train
from ddpm.data import shapes
from ddpm.utils.cli import exit_code

# a command, and words that its line has; x.json, list.json, nan.json and notes.txt are somebody's files
ROWS = {
    "train {}": """
        --preset huge | unknown preset 'huge'
        --preset= | --preset is empty
        --minutes 0 | for ever
        --minutes nan | minutes is nan: expected 0 to
        --minutes inf | minutes is inf
        --learning-rate 0 | learning_rate is 0.0
        --ema 0 1 | ema is (0.0, 1.0)
        --ema | ema is (): expected one or more
        --seed -1 | seed is -1: expected 0 to
        --T 1000000000 | T is 1000000000: expected 1 to
        --channels 1000000 | channels is 1000000
        --channels 1024 --multipliers 16 16 16 --dry-run | GB of memory or more, there are
        --T 50 --schedule linear | T = 50 ends at alpha_bar = 0.6, so x_T still shows 78% of the image
        --preset ddpm --T 4000 | multiplies the errors of a network that predicts eps
        --preset ddpm --schedule cosine | multiplies the errors of a network that predicts eps
        --predicts eps --weighting v | weighting v divides by alpha_bar
        --data cifar10 --report 5 | --report has no effect, for only shapes are scored
        --cross-sizes --text-width 32 | --text-width has no effect, for
        --images 64 --batch 61 | 60 images
        --images 64 --data folder --data-dir nowhere | nowhere
        --images 64 --data cifar10 --data-dir notes.txt | is a file: expected the folder
        --images 64 --init nowhere | no model 'nowhere'
        --resume nowhere | no checkpoint at nowhere
        --resume notes.txt | no checkpoint at
        --resume nowhere --out runs | --out runs has no effect
        --images 64 --out notes.txt/new | cannot write there
        --out runs.png | expected a folder
        --flip --no-flip | typed twice
    """,
    "ddim {} --model tiny.pt --device cpu": """
        sample --prompts "a red circle" ... | --prompts is empty
        sample --seeds 1,2,1 | --seeds has '1' twice
        sample --seeds 3-1 | expected seeds such as
        sample --seeds 0-99999999 | at most 1,000,000 seeds
        sample --seeds 9223372036854775808 | below 2^63
        sample --steps 4 --steps 5 | --steps: typed twice
        sample --out new.json | sample --out
        sample --out photo.jpg | no command writes .jpg
        sample --out ~nobody-of-this-name/x | no such user
        sample --out notes.txt/new | cannot write there
        edit --image 1 --target , | --target is empty
        edit --image 1 --target TARGET --out new.npz | a name that ends in .png, .html
        edit --image 0 --target TARGET --steps 21 | S is 21 steps
        edit --image 0 --target TARGET --steps 4 --strength 0.1 | is no step: take 0.5 or more
        edit --image 0 --target TARGET --steps 4 --strength 0 | an edit is the image itself
        edit --image 0 --target TARGET --iterations -1 | '-1': expected a whole number, 0 or more
        edit --image 0 --target TARGET --methods ddim --eta 0 | --eta is for sdedit
        edit --image 0 --target TARGET --methods exact --iterations 2 | is for ddim
        edit --image 0 --target TARGET --scale 0 | 0 would leave the caption out
        edit --image no.png --source "a red circle" --target TARGET --steps 4 | no.png: no such file
        edit --image 0 --target "a photo of a zebra" --steps 4 | 'zebra'
        sweep --n 2 --steps 4 --strengths 0.5 0.6 | 0.5 and 0.6 are both 2 of 4 steps
        sweep --n 2 --steps 10 | strength 0.1 of 10 steps is one step, and exact inversion needs two
        sweep --n 1000000000000 --steps 4 --strengths 1 | --n 1000000000000 takes
        mistakes --n 4 --steps 11 | --steps is 11, expected 1 .. 10
        mistakes --n 1 | --n is 1, expected 2 .. 60
        mistakes --seed -1 | '-1': expected a whole number in 0 .. 2^62
        reconstruct --steps 2 1 --n 4 | --steps 1 is one step, and the variant 'exact' needs two
        reconstruct --steps 2 --n 61 | --n is 61, but the test split has 60 images
        table --columns 10 20 10 | --columns has '10' twice
        table --columns 21 | S is 21 steps, expected a whole number in 1..20
        table --columns 2 --features classifier --inception x.pt | x.pt has no effect
        table --rows 1.5 | '1.5': expected a number in [0, 1]
        table --rows half | expected a number, or one of hat, 2m, train, test
        table --columns 2 --reference elsewhere | 'elsewhere': expected train, test, half, or a folder
        table --spacing quadratic --columns 2 | t = 17, where alpha_bar of the cosine
        table --n 1 --columns 2 | --n is 1: a distance between sets needs 2 images
        table --scale 2 --columns 2 | --scale is guidance towards captions: give --captions
        table --captions --scale 1e30 | '1e30': expected a number in -100 .. 100
        table --rows blur --columns 2 --reference half | --columns is for samples
        table --rows 0 test --columns 2 --reference test | the reference set itself
        table --rows blur | --rows blur takes images of the reference set itself: give --reference half
        table --rows test --n 61 | --n is 61, but for --rows test there are 60 images
        table --rows jpeg --n 31 --reference half | for --rows jpeg there are 30 images
        table --seed 9223372036854775806 --n 4 | expected a whole number in 0 .. 2^62
        table --out notes.json | notes.txt is there and no result of table
    """,
    "ddpm {} --model tiny.pt --device cpu": """
        sample --prompts "a red circle" "A  red circle." | 'a red circle' twice
        sample --prompts "a red circle" --n 1025 | a sheet shows at most 1,024
        sample --prompts "a red circle" --n 1000000000 | at most 1,000,000 images
        sample --prompts "a red circle" --n 4 --separate --out x.png | give a folder
        bound --n 1 | n is 1: a standard error needs 2 images or more, and shapes has 60 here
        bound --n 3 --times 20 | --times is 20: expected 2 .. 19
        bound --n 3 --variance both | invalid choice: 'both'
        bound --n 3 --out x.json | x.json is not a record of ddpm bound
    """,
    "{}": """
        ddpm sample --model= | --model is empty
        ddpm sample --model x.json/checkpoint.pt | no model
        ddpm bound --n 3 --device tpu | 'tpu'
        ddpm reproduce --out new.html | expected a folder
        ddpm ship tiny.pt tiny --numbers nan.json | --numbers nan.json
        ddpm ship tiny.pt tiny --numbers list.json | expected names and numbers
        ddpm ship tiny.pt tiny --numbers notes.txt | Expecting value
        ddpm ship tiny.pt tiny --numbers none.json | none.json
        p2p score --model tiny.pt --out notes.json | notes.txt is there and no result of score
        unet --presets nosuch | invalid choice: 'nosuch'
        unet --presets shapes shapes | a name twice
    """,
}
FILES = {"x.json": '{"hello": 1}', "nan.json": '{"a": NaN}', "list.json": "[1]", "notes.txt": "mine"}
TARGET = "a photo of a small red square on a blue background"


def run_training(argv: list[str]) -> int:
    return exit_code("train.py", lambda: train.run(train.parser().parse_args(argv)))


@pytest.mark.parametrize("command", ROWS)
def test_what_is_typed_wrong_is_named(command, tmp_path, monkeypatch, capsys):
    """On sixty images of each split."""
    sixty = {split: shapes.shapes(split, 60) for split in ("train", "test")}
    monkeypatch.setattr(shapes, "shapes", lambda split="train", *_, **__: sixty[split])
    monkeypatch.setattr(ddpm.Trained, "eps", lambda *_, **__: pytest.fail("called the network"))
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        Path(name).write_text(text, encoding="utf-8")
    save_model(Path("tiny.pt"))
    before = sorted(tmp_path.rglob("*"))
    for row in ROWS[command].strip().splitlines():
        typed, _, named = row.strip().rpartition(" | ")
        program, *words = shlex.split(command.format(typed.replace("TARGET", f'"{TARGET}"')))
        main = run_training if program == "train" else import_module(f"{program}.__main__").main
        assert code_of(main, *words) == 2, row
        error = capsys.readouterr().err
        assert named in error and error.count("\n") == 1, (row, error)
    assert sorted(tmp_path.rglob("*")) == before
    assert {n: Path(n).read_text(encoding="utf-8") for n in FILES} == FILES
