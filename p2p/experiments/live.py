"""Prompt-to-Prompt live in the browser: write one HTML file with the network, its weights and a runtime in it.

The page runs this repository's own code, exported as ONNX graphs; JavaScript aligns words and walks the time grid.
"""

import argparse
import base64
import gzip
import html
import importlib.util
import json
import re
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

import ddim
import ddpm
from ddpm.data.scenes import ANIMALS, BUILDINGS, PLACES, draw
from ddpm.evaluation.edits import scene_edits
from ddpm.utils import cli
from ddpm.utils.files import sha256, write_text
from unet.attention import Text
from unet.vocabulary import COLOURS, GROUPS, PUNCTUATION, split_words

from .. import editing
from ..blend import LocalBlend, outside_from_source, region
from ..store import AttentionStore

EXAMPLE = "python -m p2p live --model scenes --out live.html"
ENDINGS = (".html",)
TEMPLATE = Path(__file__).with_name("live.html")
RUNTIME = {  # of onnxruntime-web: file -> sha256
    "ort.wasm.bundle.min.mjs": "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
INSTALL = "pip install onnx onnxscript; npm install onnxruntime-web@1.30.0"
ETAS = (0.0, 0.2, 0.5, 1.0)  # those of the lecture's table; each has a graph of its own
PLACE, SEAT = "a photo of a {} on a mountain", "a photo of a {} on a {}"
EDITS = [  # the lecture's: name, source, target, shares of the steps that inject cross- and self-attention maps, seed
    *(
        (f"house → {thing}", PLACE.format("house"), PLACE.format(thing), 0.4, 0.4, 0)
        for thing in ("tent", "hotel", "car", "tree")
    ),
    ("cat → dog", "a photo of a cat riding on a bicycle", "a photo of a dog riding on a bicycle", 0.4, 0, 2),
    ("cat → tiger", SEAT.format("gray cat", "red couch"), SEAT.format("tiger", "red couch"), 0.4, 0, 0),
    ("+ spikey", SEAT.format("butterfly", "flower"), SEAT.format("butterfly", "spikey flower"), 0.4, 0, 3),
]
DRAWN = ("thing", "colour", "setting", "setting_colour", "add flag", "add spikey")  # kinds of edit of drawn scenes
MENUS = (COLOURS, BUILDINGS, ANIMALS, PLACES, ("couch", "bicycle"))  # of scenes: words that can replace each other


def winograd(side: int, m: int) -> tuple[Tensor, Tensor, Tensor]:
    """B^T of all tiles of a map, G, and A^T of both axes: F(m x m, 3 x 3), polynomials at m + 1 points and infinity."""
    points = torch.tensor([0, 1, -1, 2, -2][: m + 1])[:, None].double()
    whole, G, A = (torch.cat([points ** torch.arange(k), torch.eye(k)[-1:]]) for k in (m + 2, 3, m))
    padded = F.pad(torch.eye(side), (0, 0, 1, 1)).double()
    into = torch.cat([whole.inverse().T @ padded[i : i + m + 2] for i in range(0, side, m)])
    return into.float(), G.float(), torch.kron(A.T, A.T).float()


WINOGRAD = {16: winograd(16, 4), 8: winograd(8, 2)}  # for maps of a size; of other sizes it gains no time


def convolved(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """A 3 x 3 convolution of a map (1, C, H, W) with 4 or 2.25 times fewer products: Lavin & Gray 2016, Eq. (8)."""
    if (side := x.shape[-1]) not in WINOGRAD:
        return F.conv2d(x, conv.weight, conv.bias, padding=1)
    into, G, out = WINOGRAD[side]
    tiles = rearrange(into @ x @ into.T, "1 c (i k) (j l) -> (k l) c (i j)", k=len(G), l=len(G))
    weights, m = rearrange(G @ conv.weight @ G.T, "o c k l -> (k l) o c"), len(G) - 2
    y = out @ (weights @ tiles).flatten(1)
    y = rearrange(y, "(p q) (o i j) -> 1 o (i p) (j q)", p=m, i=side // m, j=side // m)
    return y + conv.bias[:, None, None]


def exported(function: Callable[..., tuple[Tensor, ...]], inputs: dict[str, Tensor], outputs: list[str]) -> bytes:
    """A function as an ONNX file without the exporter's notes; weights are float16 where that is exact."""
    onnx, module = importlib.import_module("onnx"), nn.Module()
    module.forward, names = function, {"input_names": [*inputs], "output_names": outputs}
    example = tuple(value.clone() for value in inputs.values())  # one tensor twice would be one input
    with warnings.catch_warnings(action="ignore"):  # of the exporter, about its own future
        model = torch.onnx.export(module, example, dynamo=True, verbose=False, **names).model_proto
    for part in (model.graph, *model.graph.node, *model.graph.input, *model.graph.output):
        part.ClearField("metadata_props")
    model.graph.ClearField("value_info")
    for weight in model.graph.initializer:
        values, name = onnx.numpy_helper.to_array(weight), weight.name
        if values.dtype == np.float32 and values.ndim and (values == values.astype(np.float16)).all():
            weight.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
            model.graph.node.insert(0, onnx.helper.make_node("Cast", [weight.name], [name], to=1))  # float32
    return model.SerializeToString()


def graphs_of(trained: ddpm.Trained) -> dict[str, tuple]:
    """The page's functions of one image. kept: attention weights of the source, own: of the image; maps: of both."""
    unet, schedule, config = trained.unet.requires_grad_(False), trained.schedule, trained.unet.config
    for layer in [*unet.modules(), *(trained.autoencoder or nn.Module()).modules()]:
        if isinstance(layer, nn.Conv2d) and (layer.padding, layer.stride) == ((1, 1), (1, 1)):
            layer.forward = partial(convolved, layer)
    length, sizes, heads = config.words, config.cross_sizes, [*map(config.heads, config.widths)]
    injected = [site for site in unet.sites if site.kind == "cross" or site.size <= editing.SELF_SIZE]

    def network(x, t, states, mask, *rest):
        store, own, kept = AttentionStore([""] * 2), {}, dict(zip(injected, rest[5:], strict=True))
        edited = editing.editing_hook(editing.Plan(*rest[:5]), store)

        def hook(weights, site, t):
            own[site] = weights
            return edited(torch.cat([kept[site], weights]), site, t)[1:] if site in kept else weights

        eps = unet(x, t, Text(states, mask), hook)
        return eps, *(store.maps(size) for size in sizes), *(own[site] for site in injected)

    def step(eps, null, scale, x, t, s, noise=None, eta=0.0):
        return ddim.step(schedule, ddpm.guide(eps, null, scale), x, t, s, eta, noise)

    def blend(x, x_0, maps, chosen):
        summed = (maps * chosen[:, None, None]).sum(dim=-1)
        inside = region(summed, x.shape[-1], LocalBlend.threshold, LocalBlend.grow)
        return outside_from_source(x, inside)[1:], outside_from_source(x_0, inside)[1:]

    x, t, tokens = torch.randn(1, *trained.shape), torch.tensor([schedule.T]), trained.tokens([""])
    row, one, maps = torch.ones(1, length), torch.ones(1), torch.rand(2, max(sizes), max(sizes), length)
    seen = {"x": x, "t": t, **unet.text(tokens)._asdict(), "mapping": torch.eye(length)[None], "factors": row}
    seen |= {"cross_until": row, "self_until": one, "progress": torch.zeros(schedule.T + 1)}
    for i, site in enumerate(injected):
        shape = heads[config.map_sizes.index(site.size)], site.size**2, length if site.kind == "cross" else site.size**2
        seen[f"kept{i}"] = torch.zeros(1, *shape)
    at, pair = {"eps": x, "null": x, "scale": one, "x": x, "t": t, "s": t - 1}, torch.cat([x, x])
    outputs = ["eps", *(f"maps{size}" for size in sizes), *(f"own{i}" for i in range(len(injected)))]
    return {
        "text": (unet.text.forward, {"tokens": tokens}, ["states", "mask"]),
        "network": (network, seen, outputs),
        "encode": (trained.encode, {"image": torch.zeros(1, *trained.image_shape)}, ["x"]),
        "decode": (trained.decode, {"x": x}, ["image"]),
        "noised": (partial(ddpm.q_sample, schedule), {"x_0": x, "t": t, "noise": x}, ["x"]),
        "blend": (blend, {"x": pair, "x_0": pair, "maps": maps, "chosen": maps[:, 0, 0]}, ["x_s", "x_0_s"]),
        "step0": (step, at, ["x_s", "x_0"]),
    } | {f"step{eta:g}": (partial(step, eta=eta), at | {"noise": x}, ["x_s", "x_0"]) for eta in ETAS[1:]}


def facts_of(trained: ddpm.Trained) -> dict:
    """What the page knows of a model beside its graphs; drawn: scenes, their captions and true edits as RGBA bytes."""
    config, known, side = trained.unet.config, trained.tokenizer.known, trained.image_shape[-1]
    kinds = DRAWN if trained.info["data"] == "scenes" else ()
    drawn = [edit for seed, kind in enumerate(kinds) for edit in scene_edits(kind, 2, seed)]

    def rgba(s):
        return base64.b64encode(Image.fromarray(draw(s, side).transpose(1, 2, 0)).convert("RGBA").tobytes()).decode()

    return {
        "T": trained.schedule.T, "shape": trained.shape, "side": side, "length": config.words, "etas": ETAS,
        "punctuation": f"[{re.escape(PUNCTUATION)}]+", "blend": LocalBlend.start, "sizes": config.cross_sizes,
        "every": 4 if trained.autoencoder else 1,  # steps between images that are decoded and shown
        "tokens": {word: trained.tokenizer.words.index(word) + 2 for word in known},
        "menus": [[word for word in menu if word in known] for menu in (MENUS if drawn else GROUPS)],
        "edits": [edit for edit in EDITS if {*split_words(f"{edit[1]} {edit[2]}")} <= {*known}],
        "drawn": [[edit.source, edit.target, rgba(edit.before), rgba(edit.after)] for edit in drawn],
    }  # fmt: skip


def add_flags(parser: argparse.ArgumentParser) -> None:
    cli.add_flags(parser, out="live.html", model="scenes64")
    parser.add_argument("--runtime", default="node_modules/onnxruntime-web/dist", help="folder of onnxruntime-web")


def run(args: argparse.Namespace) -> None:
    """Export the graphs and write the page. ValueError, OSError: what is missing, or of another version."""
    if missing := [package for package in ("onnx", "onnxscript") if importlib.util.find_spec(package) is None]:
        raise ValueError(f"exporting a network needs {missing[0]}, which is not here: {INSTALL}")
    for file in (files := {name: Path(args.runtime, name) for name in RUNTIME}).values():
        if not file.is_file() or sha256(file) != RUNTIME[file.name]:
            raise ValueError(f"{file} is {'another version' if file.is_file() else 'not there'}: {INSTALL}")
    trained, path = ddpm.load(args.model, device="cpu"), cli.output(args, "live", ".html")
    if not trained.unet.config.cross_sizes:
        raise ValueError(f"{args.model} has no cross-attention, whose maps an edit injects: choose another --model")
    graphs = {name: exported(*graph) for name, graph in tqdm(graphs_of(trained).items(), "graphs")}
    contents = {name: file.read_bytes() for name, file in files.items()} | graphs
    packed = {name: base64.b64encode(gzip.compress(each, mtime=0)).decode() for name, each in contents.items()}
    tags = [f'<script type="application/gzip" id="{name}">{text}</script>' for name, text in packed.items()]
    text = TEMPLATE.read_text(encoding="utf-8")
    text = text.replace("<!--title-->", html.escape(f"Prompt-to-Prompt, live: {cli.name_of(args.model)}"))
    text = text.replace("<!--data-->", json.dumps(facts_of(trained), separators=(",", ":")))
    write_text(path, text.replace("<!--files-->", "\n".join(tags)))
    print(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")
