"""Prompt-to-Prompt live in the browser: write one HTML file with the network, its weights and a runtime in it.

The page runs this repository's own code, exported as ONNX graphs; JavaScript aligns words and walks the time grid.
Building a page needs two packages (pip install onnx onnxscript) and a runtime (npm install onnxruntime-web).
"""

import argparse
import base64
import gzip
import importlib.util
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

import ddim
import ddpm
from ddpm.data.scenes import ANIMALS, BUILDINGS, PLACES
from ddpm.experiments import page
from ddpm.guidance import guide
from ddpm.model import Trained
from ddpm.utils import cli
from ddpm.utils.files import sha256
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
    *((f"house → {thing}", PLACE.format("house"), PLACE.format(thing), 0.4, 0.4, 5) for thing in BUILDINGS[1:]),
    ("cat → dog", "a photo of a cat riding on a bicycle", "a photo of a dog riding on a bicycle", 0.4, 0, 0),
    ("cat → tiger", SEAT.format("gray cat", "red couch"), SEAT.format("tiger", "red couch"), 0.4, 0, 0),
    ("+ spikey", SEAT.format("butterfly", "flower"), SEAT.format("butterfly", "spikey flower"), 0.4, 0, 3),
]
MENUS = (COLOURS, BUILDINGS, ANIMALS, PLACES, ("couch", "bicycle"))  # of scenes: words that can replace each other


class Graph(nn.Module):
    """A function of tensors, an example of its inputs by name, and the names of its outputs."""

    def __init__(self, function, inputs: dict[str, Tensor], outputs: list[str]):
        super().__init__()
        self.function, self.inputs, self.outputs = function, inputs, outputs

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return self.function(*inputs)

    def exported(self) -> bytes:
        """The graph as an ONNX file without the exporter's notes; weights are float16 where that is exact."""
        onnx = importlib.import_module("onnx")
        names = {"input_names": [*self.inputs], "output_names": self.outputs}
        inputs = tuple(value.clone() for value in self.inputs.values())  # one tensor twice would be one input
        with warnings.catch_warnings(action="ignore"):  # of the exporter, about its own future
            model = torch.onnx.export(self, inputs, dynamo=True, verbose=False, **names).model_proto
        for part in (model.graph, *model.graph.node, *model.graph.input, *model.graph.output):
            part.ClearField("metadata_props")
        model.graph.ClearField("value_info")
        for weight in model.graph.initializer:
            values, name = onnx.numpy_helper.to_array(weight), weight.name
            if values.dtype == np.float32 and values.ndim and (values == values.astype(np.float16)).all():
                weight.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
                model.graph.node.insert(0, onnx.helper.make_node("Cast", [weight.name], [name], to=1))  # float32
        return model.SerializeToString()


def graphs_of(trained: Trained) -> dict[str, Graph]:
    """All that the page computes of a pair, source and target. The maps are those of one step, at each size."""
    unet, T = trained.unet.requires_grad_(False), trained.schedule.T
    length, sizes = unet.config.words, unet.config.cross_sizes

    def network(x, t, states, mask, *plan):
        store = AttentionStore([""] * 2)
        eps = unet(x, t, Text(states, mask), editing.editing_hook(editing.Plan(*plan), store))
        return eps, *(store.maps(size) for size in sizes)

    def step(eta, eps, null, scale, x, t, s, noise=None):
        return ddim.step(trained.schedule, guide(eps, null, scale), x, t, s, eta, noise)

    def blend(x, x_0, maps, chosen):
        maps = (maps * chosen[:, None, None]).sum(dim=-1)
        inside = region(maps, x.shape[-1], LocalBlend.threshold, LocalBlend.grow)
        return outside_from_source(x, inside), outside_from_source(x_0, inside)

    x, t, tokens = torch.randn(2, *trained.shape), torch.tensor([T]), trained.tokens(["", ""])
    states, mask = unet.text(tokens)
    row, one, maps = torch.ones(1, length), torch.ones(1), torch.rand(2, max(sizes), max(sizes), length)
    plan = {"mapping": torch.eye(length)[None], "factors": row, "cross_until": row, "self_until": one}
    seen = {"x": x, "t": t.expand(2), "states": states, "mask": mask} | plan | {"progress": torch.zeros(T + 1)}
    at = {"eps": x, "null": x, "scale": one, "x": x, "t": t, "s": t - 1}
    graphs = {
        "text": Graph(unet.text, {"tokens": tokens}, ["states", "mask"]),
        "network": Graph(network, seen, ["eps", *(f"maps{size}" for size in sizes)]),
        "blend": Graph(blend, {"x": x, "x_0": x, "maps": maps, "chosen": maps[:, 0, 0]}, ["x_s", "x_0_s"]),
    }
    for eta in ETAS:
        graphs[f"step{eta:g}"] = Graph(partial(step, eta), at | ({"noise": x} if eta else {}), ["x_s", "x_0"])
    return graphs | ({"decode": Graph(trained.decode, {"x": x}, ["image"])} if trained.autoencoder else {})


def facts_of(trained: Trained) -> dict:
    """What the page knows of a model beside its graphs."""
    config, known = trained.unet.config, trained.tokenizer.known
    menus = MENUS if trained.info["data"] == "scenes" else GROUPS
    return {
        "T": trained.schedule.T, "shape": trained.shape, "side": trained.image_shape[-1], "length": config.words,
        "sizes": config.cross_sizes, "tokens": {word: trained.tokenizer.words.index(word) + 2 for word in known},
        "menus": [[word for word in menu if word in known] for menu in menus], "punctuation": PUNCTUATION,
        "edits": [edit for edit in EDITS if {*split_words(f"{edit[1]} {edit[2]}")} <= {*known}],
        "etas": ETAS, "blend": LocalBlend.start,
    }  # fmt: skip


def add_flags(parser: argparse.ArgumentParser) -> None:
    cli.add_flags(parser, out="live.html", model="scenes")
    parser.add_argument("--runtime", default="node_modules/onnxruntime-web/dist", help="folder of onnxruntime-web")


def prepare(args: argparse.Namespace) -> tuple[Trained, Path, dict[str, bytes]]:
    """The model, the page's file, the runtime's files. ValueError, OSError: what is missing, or of another version."""
    if missing := [package for package in ("onnx", "onnxscript") if importlib.util.find_spec(package) is None]:
        raise ValueError(f"exporting a network needs {missing[0]}, which is not here: {INSTALL}")
    files = {name: Path(args.runtime, name) for name in RUNTIME}
    for name, file in files.items():
        if not file.is_file() or sha256(file) != RUNTIME[name]:
            raise ValueError(f"{file} is {'another version' if file.is_file() else 'not there'}: {INSTALL}")
    trained = ddpm.load(args.model, device="cpu")
    if not trained.unet.config.cross_sizes:
        raise ValueError(f"{args.model} has no cross-attention, whose maps an edit injects: choose another --model")
    return trained, cli.output(args, "live", ".html"), {name: file.read_bytes() for name, file in files.items()}


def run(args: argparse.Namespace) -> None:
    """Export the graphs and write the page."""
    trained, path, files = prepare(args)
    files |= {name: graph.exported() for name, graph in tqdm(graphs_of(trained).items(), "graphs")}
    packed = {name: base64.b64encode(gzip.compress(file, mtime=0)).decode() for name, file in files.items()}
    tags = [f'<script type="application/gzip" id="{name}">{text}</script>' for name, text in packed.items()]
    title = f"Prompt-to-Prompt, live: {cli.name_of(args.model)}"
    path = page.fill(path, TEMPLATE, title, facts_of(trained), tags)
    print(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")
