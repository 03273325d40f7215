"""A function as an ONNX file: its weights in a file of their own; 3 x 3 convolutions that a browser computes fast."""

import importlib
import warnings
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


def half(values: np.ndarray) -> np.ndarray:
    """The values in float16 where that is exact, else as they are."""
    small = values.astype(np.float16) if values.dtype == np.float32 else values
    return small if (small == values).all() else values


def weights_of(*networks: nn.Module | None) -> bytes:
    """The weights of networks, those that are not None, in one file: in the order of their names."""
    return b"".join(half(x.numpy()).tobytes() for _, x in sorted(nn.ModuleList(networks).state_dict().items()))


def exported(function: Callable, names: str, outputs: str, examples: dict[str, Tensor], weights: bytes) -> bytes:
    """A function as an ONNX file without the exporter's notes. What `weights` has is read from a file of that name."""
    onnx, module = importlib.import_module("onnx"), nn.Module()
    module.forward, named = function, {"input_names": names.split(), "output_names": outputs.split()}
    example = tuple(examples[name].clone() for name in names.split())  # one tensor twice would be one input
    with warnings.catch_warnings(action="ignore"):  # of the exporter, about its own future
        model = torch.onnx.export(module, example, dynamo=True, verbose=False, **named).model_proto
    for part in (model.graph, *model.graph.node, *model.graph.input, *model.graph.output):
        part.ClearField("metadata_props")
    model.graph.ClearField("value_info")
    for tensor in model.graph.initializer:
        values, name = onnx.numpy_helper.to_array(tensor), tensor.name
        for op, stored in ("Identity", half(values)), ("Transpose", half(values).T):
            place = weights.find(stored.tobytes())
            if values.dtype == np.float32 and values.size > 50 and place >= 0:
                tensor.CopyFrom(onnx.numpy_helper.from_array(stored, f"{name}.stored"))
                onnx.external_data_helper.set_external_data(tensor, "weights", place, len(tensor.raw_data))
                tensor.ClearField("raw_data")
                model.graph.node.insert(0, onnx.helper.make_node(op, [f"{name}.float"], [name]))
                model.graph.node.insert(0, onnx.helper.make_node("Cast", [f"{name}.stored"], [f"{name}.float"], to=1))
                break
    return model.SerializeToString()


def winograd(side: int, m: int) -> tuple[Tensor, Tensor, Tensor]:
    """B^T of all tiles of a map; G and A^T of both axes: F(m x m, 3 x 3), polynomials at m + 1 points and infinity."""
    points = torch.tensor([0, 1, -1, 2, -2][: m + 1])[:, None].double()
    whole, G, A = (torch.cat([points ** torch.arange(k), torch.eye(k)[-1:]]) for k in (m + 2, 3, m))
    padded = F.pad(torch.eye(side), (0, 0, 1, 1)).double()
    into = torch.cat([whole.inverse().T @ padded[i : i + m + 2] for i in range(0, side, m)])
    return into.float(), torch.kron(G, G).float(), torch.kron(A.T, A.T).float()


WINOGRAD = {(side, m): winograd(side, m) for side in (4, 8, 16) for m in (2, 4)}  # of larger maps it gains no time


def convolved(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """A 3 x 3 convolution of maps (B, C, H, W) with 4 or 2.25 times fewer products: Lavin & Gray 2016, Eq. (8)."""
    side = x.shape[-1]
    # a product of matrices takes 16 columns at a time: with fewer tiles nothing is gained
    m = max((m for of, m in WINOGRAD if of == side and len(x) * (side // m) ** 2 >= 16), default=0)
    if m == 0:
        return F.conv2d(x, conv.weight, conv.bias, padding=1)
    into, G, out = WINOGRAD[side, m]
    weights = rearrange(conv.weight.flatten(2) @ G.T, "o c kl -> kl o c")
    tiles = rearrange(into @ x @ into.T, "b c (i k) (j l) -> (k l) c (b i j)", k=m + 2, l=m + 2)
    y = out @ (weights @ tiles).flatten(1)
    y = rearrange(y, "(p q) (o b i j) -> b o (i p) (j q)", p=m, b=len(x), i=side // m, j=side // m)
    return y + conv.bias[:, None, None]
