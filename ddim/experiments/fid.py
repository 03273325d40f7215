"""The ruler before the measurement: a reference set of images, distances to it with error bars, and what they mean.

A distance depends on the feature network, the reference set and the number of images n: with fewer it is larger
(the covariance of n images is a guess). So n stands beside every figure, and figures of different n are not compared.
"""

import io
from collections.abc import Callable, Iterator

import numpy as np
import torch
from PIL import Image, ImageFilter

from .distance import check_features, frechet_distance, kernel_distance, moments

PARTS = 10  # for the error bars
MOST_IN_KERNEL = 1000  # reference images that KID compares with: its matrix has a number for each pair
Measure = dict[str, float | None]


class Ruler:
    """Distances of sets of features (n, d) to a reference set (N, d), N and n at least 2."""

    def __init__(self, reference: torch.Tensor):
        self.moments = moments(reference)
        self.kernel_sample = reference[:: -(-len(reference) // MOST_IN_KERNEL)]

    def frechet(self, features: torch.Tensor) -> float:
        """Frechet distance to the reference."""
        return frechet_distance(*self.moments, *moments(features))

    def measure(self, features: torch.Tensor) -> Measure:
        """{"distance", "error", "kid", "kid_error"}: Frechet and kernel distance with their standard errors.

        The Frechet distance's error is the jackknife over PARTS parts of the features, each left out once; the kernel
        distance, which has no bias, is the mean over the parts. Fewer than 4 features have no error bar: None.
        ValueError: fewer than 2 features.
        """
        check_features(features)
        pieces = features.tensor_split(min(PARTS, len(features) // 2))
        kernel = np.array([kernel_distance(piece, self.kernel_sample) for piece in pieces])
        error = jackknife_error([self.frechet(rest) for rest in leave_one_out(pieces)]) if len(pieces) > 1 else None
        kernel_error = kernel.std(ddof=1) / len(kernel) ** 0.5 if len(pieces) > 1 else None
        return {
            "distance": self.frechet(features), "error": error, "kid": kernel.mean(), "kid_error": kernel_error
        }  # fmt: skip


def leave_one_out(pieces: tuple[torch.Tensor, ...]) -> Iterator[torch.Tensor]:
    """All pieces but one, as one tensor, for each piece."""
    for i in range(len(pieces)):
        yield torch.cat([*pieces[:i], *pieces[i + 1 :]])


def jackknife_error(values: list[float]) -> float:
    """Standard error of a statistic from its K values with one of K parts left out: sqrt((K-1)/K sum (v - mean)^2)."""
    return (np.var(values) * (len(values) - 1)) ** 0.5


# ---- how an image can be wrong --------------------------------------------------------------------------------------


def noisy(images: np.ndarray, strength: float, seed: int = 0) -> np.ndarray:
    """Gaussian noise of standard deviation `strength` (in 0..255) on images uint8 (N, 3, H, W)."""
    noise = np.random.default_rng(seed).normal(scale=strength, size=images.shape)
    return np.clip(np.round(images + noise), 0, 255).astype(np.uint8)


def compressed(images: np.ndarray, quality: int) -> np.ndarray:
    """Through a JPEG file of this quality and back, uint8 (N, 3, H, W)."""

    def through_jpeg(image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        return Image.open(file)

    return each_image(through_jpeg, images)


def blurred(images: np.ndarray, radius: float) -> np.ndarray:
    """Gaussian blur of this radius in pixels, uint8 (N, 3, H, W)."""
    return each_image(lambda image: image.filter(ImageFilter.GaussianBlur(radius)), images)


def each_image(change: Callable[[Image.Image], Image.Image], images: np.ndarray) -> np.ndarray:
    """A change of a Pillow image, made to each of uint8 (N, 3, H, W)."""
    changed = [np.asarray(change(Image.fromarray(image.transpose(1, 2, 0)))).transpose(2, 0, 1) for image in images]
    return np.stack(changed)


DISTURBANCES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "noise, sigma 5 of 255": lambda images: noisy(images, 5),
    "noise, sigma 15": lambda images: noisy(images, 15),
    "noise, sigma 45": lambda images: noisy(images, 45),
    "JPEG, quality 90": lambda images: compressed(images, 90),
    "JPEG, quality 50": lambda images: compressed(images, 50),
    "JPEG, quality 10": lambda images: compressed(images, 10),
    "blur, radius 0.3 pixels": lambda images: blurred(images, 0.3),
    "blur, radius 0.6": lambda images: blurred(images, 0.6),
    "blur, radius 1.2": lambda images: blurred(images, 1.2),
}


def halves(images: np.ndarray, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """n images of one random half, and all of the other half. ValueError: n below 2 or more than a half has."""
    order = np.random.default_rng(seed).permutation(len(images))
    half = len(images) // 2
    if not 2 <= n <= half:
        raise ValueError(f"n is {n}, expected 2 or more and at most {half}, half of the training set")
    return images[np.sort(order[:n])], images[np.sort(order[half:])]


def readings(
    features: Callable[[np.ndarray], torch.Tensor], train: np.ndarray, test: np.ndarray, n: int
) -> Iterator[tuple[str, Measure]]:
    """Name and measure of the ruler's lines, all against the same half of the training set.

    train, test: uint8 (N, 3, H, W). n images of the other half as they are, n of the test set, and the same n of the
    training set with each disturbance.
    """
    ours, others = halves(train, n)
    if len(test) < n:
        raise ValueError(f"n is {n}, but the test set has {len(test)} images")
    ruler = Ruler(features(others))
    yield "training, the other half", ruler.measure(features(ours))
    yield "test set", ruler.measure(features(test[:n]))
    for name, disturbed in DISTURBANCES.items():
        yield name, ruler.measure(features(disturbed(ours)))


def text(head: list[str], measures: dict[str, Measure]) -> str:
    """The ruler as a text table under its head."""
    lines = [*head, "", f"{'':28s}{'distance':>16s}{'KID x 1000':>20s}"]
    for name, m in measures.items():
        lines.append(f"{name:28s}{plus_minus(m['distance'], m['error']):>16s}{thousandfold(m):>20s}")
    return "\n".join(lines) + "\n"


def thousandfold(measure: Measure) -> str:
    """The kernel distance times 1000, as it is usually told."""
    return plus_minus(1000 * measure["kid"], measure["kid_error"] and 1000 * measure["kid_error"])


def plus_minus(value: float, error: float | None) -> str:
    """A number and its error bar, if it has one: three or four digits."""
    digits = 3 if abs(value) < 1 else 2 if abs(value) < 100 else 1
    return f"{value:.{digits}f}" + (f" ± {error:.{digits}f}" if error is not None else "")
