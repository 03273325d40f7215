"""Prompt-to-Prompt in the browser: one HTML file with this repository's code as ONNX graphs, weights and a runtime."""

import argparse
import base64
import gzip
import html
import importlib.util
import json
import re
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

import ddim
import ddpm
from ddpm.data.scenes import ANIMALS, BUILDINGS, PLACES, draw
from ddpm.evaluation.edits import scene_edits
from ddpm.utils import cli
from ddpm.utils.export import convolved, exported, weights_of
from ddpm.utils.files import sha256, write_text
from ddpm.utils.images import from_bytes
from unet.vocabulary import COLOURS, GROUPS, PUNCTUATION

from .. import editing
from ..blend import LocalBlend, outside_from_source, region
from ..store import AttentionStore
from ..words import changed

EXAMPLE = "python -m p2p live --model scenes --out live.html"
ENDINGS = (".html",)
TEMPLATE = Path(__file__).with_name("live.html")
RUNTIME = {  # of onnxruntime-web: file -> sha256
    "ort.wasm.bundle.min.mjs": "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
INSTALL = "pip install onnx onnxscript; npm install onnxruntime-web@1.30.0"
ETAS = (0.0, 0.2, 0.5, 1.0)  # those of the lecture's table; each has a graph of its own
PLACE = "a photo of a {} on a mountain"
EDITS = [  # the lecture's: source, target, share of the steps that inject self-attention maps, seed
    *((PLACE.format("house"), PLACE.format(thing), 0.4, 0) for thing in ("tent", "hotel", "car", "tree")),
    ("a photo of a cat riding on a bicycle", "a photo of a dog riding on a bicycle", 0, 2),
    ("a photo of a gray cat on a red couch", "a photo of a tiger on a red couch", 0, 0),
    ("a photo of a butterfly on a flower", "a photo of a butterfly on a spikey flower", 0, 3),
]
DRAWN = ("thing", "colour", "setting", "setting_colour", "add flag", "add spikey")  # kinds of edit of drawn scenes
EDGES = "^[{0}]+|[{0}]+$".format(re.escape(PUNCTUATION))  # what is cut off a typed word, for JavaScript
MENUS = (COLOURS, BUILDINGS, ANIMALS, PLACES, ("couch", "bicycle"))  # words that can replace each other


def graphs_of(trained: ddpm.Trained) -> tuple[dict[str, tuple], dict[str, Tensor]]:
    """The page's functions, with the names of their arguments and of what they return; examples of the arguments.

    maps: the sums of source and image. own: the source's attention weights; kept: those of a source that is known.
    """
    unet, schedule, side = trained.unet.requires_grad_(False), trained.schedule, trained.image_shape[-1]
    L, sizes, sites = unet.config.words, sorted(unet.config.cross_sizes), {}  # sites: shapes of what may be injected
    for layer in nn.ModuleList([unet, trained.autoencoder]).modules():
        if isinstance(layer, nn.Conv2d) and (layer.padding, layer.stride) == ((1, 1), (1, 1)):
            layer.forward = partial(convolved, layer)

    def network(kept, x, t, tokens, scale, done, mapping, factors, cross, until):
        plan = editing.Plan(mapping.view(1, L, L), factors[None], cross[None], until, done.expand(schedule.T + 1))
        store, own = AttentionStore([""] * 2), []
        edited = editing.editing_hook(plan, store)

        def hook(weights, site, t):  # rows of the batch: with the captions, without
            captioned, plain = weights.chunk(2)
            if site.kind == "cross" or site.size <= editing.SELF_SIZE:
                sites[site] = captioned[:1].shape
                own.append(captioned[:1].flatten())
            both = torch.cat([kept.get(site, captioned), captioned]) if kept else captioned
            return torch.cat([edited(both, site, t)[-len(captioned) :], plain])

        eps = ddpm.guide(*unet(torch.cat([x, x]), t, tokens, hook).chunk(2), scale)
        return *eps.split(1), torch.cat([store.maps(size).flatten() for size in sizes]), torch.cat(own)

    def one(kept, *rest):
        parts = kept.split([*map(torch.Size.numel, sites.values())])
        return network({site: part.view(sites[site]) for site, part in zip(sites, parts, strict=True)}, *rest)[:2]

    def pair(x_of_source, x, t, tokens_of_source, tokens, *rest):
        x, tokens = (torch.stack(both, 1).flatten(0, 1) for both in ((x_of_source, x), (tokens_of_source, tokens)))
        return network({}, x, t, tokens, *rest)

    def step_of(eta):
        return lambda eps, x, t, s, noise: ddim.step(schedule, eps, x, t, s, eta, noise)

    def blend(after, after_0, before, before_0, maps, words):  # the largest maps are the last
        of_words = maps[-2 * sizes[-1] ** 2 * L :].view(2, sizes[-1], sizes[-1], L) * words.view(2, 1, 1, L)
        inside = region(of_words.sum(dim=-1), after.shape[-1], LocalBlend.threshold, LocalBlend.grow)
        return [outside_from_source(torch.cat(both), inside)[1:] for both in ((before, after), (before_0, after_0))]

    examples = {
        "x x_of_source eps noise after after_0 before before_0": torch.randn(1, *trained.shape),
        "t s": torch.tensor([schedule.T]), "tokens tokens_of_source": trained.tokens(["", ""]),
        "scale done cross until": torch.ones(1), "mapping": torch.ones(L * L), "factors": torch.ones(L),
        "words": torch.ones(2 * L), "rgba": torch.zeros(side, side, 4).byte(),
    }  # fmt: skip
    examples = {name: value for names, value in examples.items() for name in names.split()}
    plan = "scale done mapping factors cross until"
    graphs = {
        "pair": (pair, f"x_of_source x t tokens_of_source tokens {plan}", "eps_of_source eps maps own"),
        "one": (one, f"kept x t tokens {plan}", "eps maps"),
        "encode": (lambda rgba: trained.encode(from_bytes(rgba[..., :3].permute(2, 0, 1)[None])), "rgba", "x"),
        "decode": (lambda x: F.pad(trained.decode(x)[0].permute(1, 2, 0), (0, 1), value=1.0), "x", "rgba"),
        "blend": (blend, "after after_0 before before_0 maps words", "x_s x_0"),
        **{f"step{eta:g}": (step_of(eta), "eps x t s noise", "x_s x_0") for eta in ETAS},
    }
    examples["maps"], examples["kept"] = pair(*map(examples.get, graphs["pair"][1].split()))[2:]
    return graphs, examples


def facts_of(trained: ddpm.Trained) -> dict:
    """What the page knows of a model beside its graphs. Edits: name, values of fields, images (RGBA)."""
    config, side, known = trained.unet.config, trained.image_shape[-1], trained.tokenizer.known
    kinds, edits, menus = (DRAWN, EDITS, MENUS) if trained.info["data"] == "scenes" else ((), (), GROUPS)
    drawn = [edit for seed, kind in enumerate(kinds) for edit in scene_edits(kind, 2, seed)]

    def named(source, target, **values):
        old, new = map(" ".join, changed(source.split(), target.split()))
        return f"{old} → {new}" if old else f"+ {new}", {"source": source, "target": target, "weight": 1} | values

    def rgba(scene):
        return base64.b64encode(np.insert(draw(scene, side), 3, 255, axis=0).transpose(1, 2, 0).tobytes()).decode()

    return {
        "T": trained.schedule.T, "shape": (1, *trained.shape), "side": side, "length": config.words, "etas": ETAS,
        "size": min(config.cross_sizes), "blend": LocalBlend.start, "edges": EDGES,
        "tokens": {word: trained.tokenizer.words.index(word) + 2 for word in known},
        "menus": [[word for word in menu if word in known] for menu in menus],
        "edits": [named(*edit[:2], cross=0.4, self=edit[2], seed=edit[3]) for edit in edits],
        "drawn": [(*named(edit.source, edit.target), rgba(edit.before), rgba(edit.after)) for edit in drawn],
    }  # fmt: skip


def add_flags(parser: argparse.ArgumentParser) -> None:
    cli.add_flags(parser, out="live.html", model="scenes64")
    parser.add_argument("--runtime", default="node_modules/onnxruntime-web/dist", help="folder of onnxruntime-web")


def run(args: argparse.Namespace) -> None:
    """Export the graphs and write the page. ValueError, OSError: what is missing, or of another version."""
    files, trained = [Path(args.runtime, name) for name in RUNTIME], ddpm.load(args.model, device="cpu")
    missing = [package for package in ("onnx", "onnxscript") if importlib.util.find_spec(package) is None]
    missing += [file for file in files if not file.is_file() or sha256(file) != RUNTIME[file.name]]
    if missing:
        raise ValueError(f"{missing[0]} is not here, or not of the version expected: {INSTALL}")
    if not trained.unet.config.cross_sizes:
        raise ValueError(f"{args.model} has no cross-attention, whose maps an edit injects: choose another --model")
    path, weights = cli.output(args, "live", ".html"), weights_of(trained.unet, trained.autoencoder)
    graphs, examples = graphs_of(trained)
    contents = {file.name: file.read_bytes() for file in files} | {"weights": weights}
    contents |= {name: exported(*graph, examples, weights) for name, graph in tqdm(graphs.items(), "graphs")}
    packed = {name: base64.b64encode(gzip.compress(each, mtime=0)).decode() for name, each in contents.items()}
    tags = [f'<script type="application/gzip" id="{name}">{text}</script>' for name, text in packed.items()]
    text = TEMPLATE.read_text(encoding="utf-8").replace("<!--files-->", "\n".join(tags))
    text = text.replace("<!--title-->", html.escape(f"Prompt-to-Prompt, live: {cli.name_of(args.model)}"))
    write_text(path, text.replace("<!--data-->", json.dumps(facts_of(trained), separators=(",", ":"))))
    print(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")
