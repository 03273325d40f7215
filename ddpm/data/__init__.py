"""Data sets: pictures as bytes, and captions that are true of them."""

from .base import DataError, Dataset

__all__ = ["DataError", "Dataset", "load_data"]


def load_data(name: str, data_dir: str, split: str = "train", size: int = 32) -> Dataset:
    """A data set by name, with pictures of size x size. Raises DataError for an unknown name, and what its loader raises."""
    if name in ("shapes", "cifar10") and size != 32:
        raise DataError(f"{name} has pictures of 32 x 32, but the network is made for {size} x {size}: choose --size 32")
    if name == "shapes":
        from .shapes import shapes
        return shapes(split)
    if name == "cifar10":
        from .cifar10 import cifar10
        return cifar10(data_dir, split)
    if name == "celeba":
        from .celeba import celeba
        return celeba(data_dir, split, size)
    if name == "folder":
        from .folder import folder
        return folder(data_dir, size)
    raise DataError(f"unknown data set {name!r}: expected shapes, cifar10, celeba or folder")
