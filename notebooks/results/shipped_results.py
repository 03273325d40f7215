# ruff: noqa: E501
"""All commands that made the shipped results, from the shipped weights.

    python notebooks/results/shipped_results.py --dry-run                          list them, with the time they would take
    python notebooks/results/shipped_results.py --models shapes --out results      run those of one model

Times are estimates for two CPU cores: network calls divided by the calls a second that such a machine makes. The tables
and edit scores of photographs take days there; they were measured on one H100 or H200, in minutes. Records
of tables, reconstructions and edit scores that are there already are continued; the rest is done again.
CIFAR-10 and CelebA must lie in --data-dir (see README.md).
"""

import argparse
import shlex
import subprocess
import sys

RATES = {"shapes": 430, "scenes": 260, "scenes64": 260, "cifar10": 80, "celeba64": 80}  # images through the network a second, float32
CIRCLE = '"a photo of a large red circle on a blue background"'
CAT, BUTTERFLY = '"a photo of a gray cat on a red couch"', "a photo of an orange butterfly on a"
COUCH = (  # the lecture's edits of a cat and of a house
    f"--source {CAT} --steps 20 --target "
    '"a photo of a gray dog on a red couch" "a photo of a tiger on a red couch" "a photo of a gray cat on a blue couch"'
)
HOUSE = (
    '--source "a photo of a house on a mountain" --steps 20 --target "a photo of a hotel on a mountain" '
    '"a photo of a tent on a mountain" "a photo of a car on a mountain" "a photo of a tree on a mountain"'
)
HORSE = (
    '--image 48 --source "a photo of a brown horse on a green background" --scale 3 --target '
    '"a photo of a white horse on a green background" "a photo of a brown horse on a white background"'
)
DEER = "a photo of a brown deer on a green background"
BLOND = "a photo of a smiling young woman with blond hair"
FACES = (
    f'--source "{BLOND} and eyeglasses" --scale 3 --steps 30 --seeds 0-1 --sampler ddpm '
    f'--target "{BLOND}" "a photo of a young woman with blond hair and eyeglasses"'
)
THINGS = (
    '"a photo of a brown horse on a green background" "a photo of a white ship on a blue background" '
    '"a photo of a red car on a white background" "a photo of a white airplane on a blue background" '
    '"a photo of a blue truck on a white background" "a photo of a brown deer on a green background"'
)
DRAWN = '--prompts "a photo of a red house on a mountain" "a photo of a yellow house on a beach" "a photo of a green tent on a mountain"'
FEW = (  # what two networks are compared with
    "--n 256 --columns 10 20 50 --rows 0 1 train test noise jpeg blur --reference half --reference-n 2000 --precision bfloat16"
)
COMMANDS = [  # model, network calls, command; {ddpm}, {ddim}, {p2p}: folders of the results
    ("shapes", 40_000, "ddpm score --model shapes --out {ddpm}"),
    ("shapes", 32_000, "ddpm bound --model shapes --n 32 --out {ddpm}"),
    ("shapes", 32_000, "ddpm bound --model shapes --n 32 --null --out {ddpm}/bound-shapes-null.json"),
    ("shapes", 32_000, "ddpm bound --model shapes --n 32 --variance beta --out {ddpm}/bound-shapes-beta.json"),
    ("cifar10", 128_000, "ddpm bound --model cifar10 --n 128 --out {ddpm}"),
    ("cifar10", 20_000, "ddpm score --model cifar10 --out {ddpm}"),
    ("cifar10", 20_000, "ddpm neighbours --model cifar10 --out {ddpm}"),
    ("celeba64", 32_000, "ddpm bound --model celeba64 --n 32 --out {ddpm}"),
    ("celeba64", 20_000, "ddpm score --model celeba64 --out {ddpm}"),
    ("celeba64", 20_000, "ddpm neighbours --model celeba64 --out {ddpm}"),
    ("scenes", 0, "p2p live --model scenes64 --out {p2p}/live.html"),
    ("scenes", 20_000, "ddpm score --model scenes --out {ddpm}"),
    *((model, 0, f"ddim table --model {model} --n {n} --rows train test noise jpeg blur --reference half --out {{ddim}}/reference-{data}.json")
        for model, data, n in (("shapes", "shapes", 500), ("cifar10", "cifar10", 2000), ("celeba64", "celeba", 2000))),
    ("shapes", 3_560_000, "ddim table --model shapes --n 500 --columns 3 5 10 20 50 100 1000 --out {ddim}"),
    ("shapes", 30_000, "ddim table --model shapes --n 500 --columns 10 20 --rows 0 1 --captions --out {ddim}/captions"),
    *((model, 7_080_000, f"ddim table --model {model} --n 1000 --precision bfloat16 --out {{ddim}}") for model in ("cifar10", "celeba64")),
    *((model, 2_400_000, f"ddim table --model {model} --n 5000 --columns 10 20 50 --precision bfloat16 --out {{ddim}}/n5000")
        for model in ("cifar10", "celeba64")),
    *((model, 41_000, f"ddim table --model {model} {FEW} --out {{ddim}}/n256") for model in ("cifar10", "celeba64")),
    *((model, 41_000, f"ddim table --model {model} {FEW} --features imagenet --beside {{ddim}}/n256/table-{model}.json --out {{ddim}}/imagenet")
        for model in ("cifar10", "celeba64")),
    ("cifar10", 160_000, "ddim table --model cifar10 --n 1000 --columns 10 20 50 --rows 0 1 train test noise jpeg blur --reference half "
        "--reference-n 5000 --precision float32 --features imagenet --out {ddim}/imagenet/n1000"),
    ("cifar10", 10_000, "ddim table --model cifar10 --n 500 --columns 20 --rows 0 --captions --precision bfloat16 --out {ddim}/captions"),
    ("shapes", 360_000, "ddim reconstruct --model shapes --n 1000 --variants caption 'Gaussian, exact eps' --out {ddim}"),
    ("shapes", 400_000, "ddim reconstruct --model shapes --n 1000 --steps 200 --variants caption --out {ddim}"),
    ("shapes", 188_000, "ddim reconstruct --model shapes --n 50 --steps 10 20 50 100 200 500 1000 --variants caption --out {ddim}"),
    ("shapes", 169_000, "ddim reconstruct --model shapes --n 64 --steps 10 20 50 --out {ddim}"),
    ("celeba64", 40_000, "ddim reconstruct --model celeba64 --n 32 --steps 10 50 "
        "--variants 'null prompt' 'guidance 4' 'guidance 7.5' '2 iterations' '5 iterations' --out {ddim}"),
    *((model, 360_000, f"ddim reconstruct --model {model} --n 1000 --variants 'null prompt' --out {{ddim}}") for model in ("cifar10", "celeba64")),
    *((model, 680_000, f"ddim reconstruct --model {model} --n 200 --steps 200 500 1000 --variants 'null prompt' --out {{ddim}}") for model in ("cifar10", "celeba64")),
    ("cifar10", 0, "ddim reconstruct --model cifar10 --n 100 --variants 'Gaussian, exact eps' --out {ddim}"),
    ("shapes", 79_000, "ddim sweep --model shapes --n 48 --steps 20 --out {ddim}"),
    ("shapes", 16_000, "ddim sweep --model shapes --n 48 --steps 20 --methods sdedit --eta 0 --out {ddim}/eta0"),
    ("celeba64", 84_000, "ddim sweep --model celeba64 --n 48 --steps 20 --scale 3 --edits smiling eyeglasses --out {ddim}"),
    *(("celeba64", calls, f"ddim sweep --model celeba64 --n 32 --steps 20 --scale 3 --strengths 0 0.4 0.6 0.8 --edits {edits} --out {{ddim}}/people")
      for calls, edits in ((20_500, "smiling eyeglasses"), (10_000, "hair"), (120_000, "smiling --methods null-text p2p"))),
    *(("celeba64", 156 * n, f"ddim sweep --model celeba64 --n {n} --steps 20 --scale 3 --strengths 0.6 0.8 --edits {edit} --out {{ddim}}/people/n{n}")
        for n, edit in ((500, "smiling --methods sdedit ddim"), (160, "eyeglasses"))),
    ("cifar10", 56_000, "ddim sweep --model cifar10 --n 48 --steps 20 --scale 3 --out {ddim}"),
    *((model, 12_700, f"ddim figures --model {model} --out {{ddim}}") for model in ("shapes", "celeba64")),
    ("cifar10", 25_400, f"ddim figures --model cifar10 --scale 4 --prompts {THINGS} --out {{ddim}}"),
    ("scenes", 2_500, 'ddim figures --model scenes --prompts "a photo of an orange butterfly on a pink flower" --scale 2 --seed 3 '
        "--out {ddim}"),
    *(("celeba64", 500, f'ddim edit --model celeba64 --image {image} --target "a photo of a {words}" --scale 3 --strength 0.8 '
        f"--out {{ddim}}/edit-{name}.png") for name, image, words in (
            ("face", 20, "smiling young woman with straight hair wearing lipstick"), ("eyeglasses", 2, "young man with eyeglasses"))),
    ("scenes", 20_000, "ddim mistakes --out {ddim}"),
    ("scenes", 120_000, "ddim control --model scenes-control --out {ddim}"),
    ("scenes", 1_000, f"ddim sample --model scenes-control --control notebooks/results/ddim/sketch.png --steps 20 --seeds 0-3 {DRAWN} "
        "--out {ddim}/control-sketch.png"),
    ("scenes64", 20_000, "ddpm score --model scenes64 --out {ddpm}"),
    ("scenes64", 10_000, "ddim reconstruct --model scenes64 --n 500 --steps 10 --variants caption 'autoencoder alone' --out {ddim}"),
    ("scenes64", 12_000, "ddim reconstruct --model scenes64 --n 100 --steps 10 50 --variants caption 'autoencoder alone' --out {ddim}"),
    ("scenes64", 2_000, f"p2p edit --model scenes64 {HOUSE} --cross-until 0.4 --self-until 0.4 --seeds 0 --out {{p2p}}/house64.png"),
    ("scenes64", 1_000, f"p2p edit --model scenes64 {COUCH} --seeds 0-2 --out {{p2p}}/couch64.png"),
    ("scenes64", 80_000, "p2p score --model scenes64 --n 500 --kinds thing --ways plain sdedit ddim p2p --out {p2p}"),
    ("scenes64", 600, 'p2p edit --model scenes64 --source "a photo of a cat riding on a bicycle" --target "a photo of a dog riding on a bicycle" '
        "--seeds 0-2 --steps 20 --sampler ddpm --film 3 --out {p2p}/bicycle.png"),
    ("scenes64", 600, 'p2p edit --model scenes64 --source "a photo of a butterfly on a flower" --target "a photo of a butterfly on a spikey flower" '
        "--steps 20 --seeds 0-4 --out {p2p}/spikey.png"),
    ("scenes64", 1_000, f'p2p edit --model scenes64 --source "{BUTTERFLY} spikey pink flower" --weight spikey=0,0.5,1,2,4 --seeds 0-2 --steps 20 '
        "--out {p2p}/spikey-weights.png"),
    ("scenes", 6_000, 'p2p schedule --source "a photo of a white house with a flag on a mountain" '
        '--target "a photo of a white hotel with a flag on a mountain" --seed 1 --out {p2p}/schedule.png'),
    ("scenes", 4_000, "p2p truth --n 5 --kinds colour --ways nothing plain sdedit ddim-iterations p2p --out {p2p}/colour"),
    ("scenes", 3_000, 'p2p truth --model scenes-control --source "a photo of a house on a mountain" --target "a photo of a hotel on a mountain" '
        "--n 5 --ways nothing p2p p2p-lines p2p-sketch --out {p2p}/truth-hotel.png"),

    ("scenes", 225_000, "p2p truth --model scenes-control --n 500 --kinds thing --ways nothing p2p p2p-sketch --out {p2p}/control"),
    ("scenes", 2_100_000, "p2p truth --n 500 --ways nothing plain sdedit ddim-iterations p2p p2p-exact --out {p2p}"),
    ("scenes", 60_000, "p2p truth --n 500 --kinds thing colour --ways ddim --out {p2p}"),
    ("scenes64", 80_000, "p2p truth --model scenes64 --n 100 --kinds thing colour --ways nothing plain sdedit ddim ddim-iterations p2p "
        "--out {p2p}/n100"),
    ("scenes64", 250_000, "p2p truth --model scenes64 --n 500 --kinds thing colour --ways nothing sdedit ddim p2p --out {p2p}"),
    ("scenes64", 40_000, "p2p truth --model scenes64 --n 500 --kinds colour --ways p2p-blend --out {p2p}"),
    ("scenes", 2_800_000, "p2p score --n 500 --kinds thing colour setting_colour setting 'add flag' 'add spikey' "
        "'drop flag' 'add colour' 'drop colour' --out {p2p}"),
    ("scenes", 40_000, "p2p score --n 500 --kinds maps --out {p2p}"),
    ("shapes", 2_000, f"p2p edit --model shapes --source {CIRCLE} --seeds 0-2 --steps 16 --sampler 2m --scale 2 --target "
        '"a photo of a large green circle on a blue background" "a photo of a large red circle on a white background" '
        '"a photo of a large red square on a blue background" "a photo of a large red cross on a blue background" --out {p2p}/four.png'),
    ("shapes", 2_000, 'p2p edit --model shapes --source "a photo of a large circle on a blue background" --seeds 0-4 --steps 30 --sampler ddpm '
        '--scale 4 --cross-until 1 --self-until 0 --target "a photo of a large green circle on a blue background" --out {p2p}/refine.png'),
    ("shapes", 2_000, f"p2p edit --model shapes --source {CIRCLE} --weight red=-2,0,1,2,5 --seeds 0-2 --steps 16 --sampler 2m --cross-until 0.8 "
        "--out {p2p}/weights.png"),
    ("cifar10", 1_000, 'p2p edit --model cifar10 --source "a photo of a cat on a white background" --target "a photo of a dog on a white background" '
        "--seeds 0-7 --scale 3 --steps 20 --cross-until 0.4 --out {p2p}/dog.png"),
    ("cifar10", 2_000, f'p2p edit --model cifar10 {HORSE} "{DEER}" --steps 30 --out {{p2p}}/horse.png'),
    ("celeba64", 2_000, 'p2p edit --model celeba64 --source "a photo of a smiling young woman with brown hair" '
        "--weight smiling=-2,-1,0,1,2,4 --seeds 0-1 --scale 2 --steps 30 --out {p2p}/celeba-smile.png"),
    ("celeba64", 1_500, f"p2p edit --model celeba64 {FACES} --out {{p2p}}/faces.png"),
    ("shapes", 1_800_000, "p2p score --model shapes --n 500 --out {p2p}"),
    ("cifar10", 630_000, "p2p score --model cifar10 --n 500 --out {p2p}"),
    ("celeba64", 880_000, "p2p score --model celeba64 --n 500 --out {p2p}"),
    ("celeba64", 4_700, "p2p score --model celeba64 --n 24 --kinds smiling --ways plain sdedit ddim p2p --out {p2p}/people"),
    *(("celeba64", 2_900, f"p2p score --model celeba64 --n 24 --kinds smiling --ways p2p --cross-until {until} --out {{p2p}}/people/cross-{until}.json")
      for until in ("0.4", "1")),
]  # fmt: skip

WITHOUT_DATA = (["p2p", "truth"], ["p2p", "schedule"], ["ddim", "control"], ["ddim", "sample"])  # they make their images


def words_of(command: str, args: argparse.Namespace) -> list[str]:
    """A command of the table as the words that run it."""
    folders = {name: f"{args.out}/{name}" for name in ("ddpm", "ddim", "p2p")}
    words = shlex.split(command.format(**folders))
    if args.device:
        words += ["--device", args.device]
    if words[:2] not in WITHOUT_DATA:
        words += ["--data-dir", args.data_dir]
    return [sys.executable, "-m", *words]


def main() -> int:
    """List the commands, or run them one after the other; returns the first exit code that is not 0."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--models", nargs="+", choices=RATES, default=list(RATES))
    flags.add_argument("--data-dir", default="data")
    flags.add_argument("--device", help="by default the best one here")
    flags.add_argument("--out", default="results", help="the folder of the results")
    flags.add_argument("--dry-run", action="store_true", help="list the commands and their minutes on two CPU cores")
    args = flags.parse_args()
    total = 0.0
    for model, calls, command in COMMANDS:
        if model not in args.models:
            continue
        words, minutes = words_of(command, args), calls / RATES[model] / 60
        total += minutes
        print(f"{minutes:7.1f} min  python {shlex.join(words[1:])}", flush=True)
        if not args.dry_run and (code := subprocess.run(words).returncode):
            return code
    print(f"{total:7.1f} min  in all, on two CPU cores")
    return 0


if __name__ == "__main__":
    sys.exit(main())
