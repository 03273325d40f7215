"""Detail by its size: power of waves that are known, and how much noise and blur change it."""

import numpy as np
import pytest

from ddim.experiments.fid import blurred, noisy
from ddim.spectrum import GRAIN, grained, plot, power, text

SIZE = 16
NOISE = np.random.default_rng(0).integers(100, 156, (40, 3, SIZE, SIZE), dtype=np.uint8)


def wave(k: int, amplitude: float = 51) -> np.ndarray:
    """Two images of k waves across, of this amplitude in 0..255."""
    x = 127.5 + amplitude * np.cos(2 * np.pi * k * np.arange(SIZE) / SIZE)
    return np.broadcast_to(np.rint(x), (2, 3, SIZE, SIZE)).astype(np.uint8)


@pytest.mark.parametrize("k", [1, 3, 7])
def test_a_cosine_has_all_its_power_at_its_own_number_of_cycles(k):
    found = power(wave(k))
    assert found[k - 1] == pytest.approx((51 / 127.5) ** 2 / 2, rel=0.02)  # amplitude^2 / 2, rounding apart
    assert np.delete(found, k - 1).max() < 0.01 * found[k - 1]


def test_power_adds_up_to_the_variance():
    """Parseval, for images with nothing in the corners of their spectrum."""
    images = np.concatenate([wave(1), wave(2), wave(5)])
    variance = ((images / 127.5 - 1) - (images / 127.5 - 1).mean(axis=(2, 3), keepdims=True)) ** 2
    assert power(images).sum() == pytest.approx(variance.mean(), rel=1e-3)


def test_many_images_have_the_mean_of_their_parts_power():
    """More than are worked on at once."""
    many = np.concatenate([np.repeat(wave(2), 400, axis=0), np.repeat(wave(5), 400, axis=0)])
    assert power(many) == pytest.approx((power(wave(2)) + power(wave(5))) / 2, rel=1e-9, abs=1e-12)


def test_white_noise_has_power_as_there_are_frequencies_and_blur_takes_the_fine_ones():
    cycles = np.fft.fftfreq(SIZE, 1 / SIZE)
    length = np.rint(np.hypot(cycles[:, None], cycles))
    there = np.array([(length == k).sum() for k in range(1, SIZE // 2 + 1)])
    each = power(NOISE) / there
    assert each == pytest.approx(np.full(len(each), each.mean()), rel=0.15)
    left = power(blurred(NOISE, 1.0)) / power(NOISE)
    assert (np.diff(left) < 0).all()


def test_grain_is_the_distance_of_the_noisy_images():
    class Means:
        def frechet(self, features):
            return float(features.mean())

    found = grained(Means(), lambda images: images / 255.0, NOISE)
    assert found[0] == pytest.approx(NOISE.mean() / 255)
    assert found[2] == pytest.approx(noisy(NOISE, GRAIN[2]).mean() / 255)


def test_text_and_plot_have_a_row_for_each_sampler(tmp_path):
    rows = {name: {"power": [0.5, 0.25], "grain": [1.0, 2, 3, 4, 5]} for name in ("0", "hat")}
    lines = text(["head"], rows).splitlines()
    assert sum(line.startswith("hat") for line in lines) == 2 and "0.25" in lines[4]
    assert plot(tmp_path / "plot.png", "title", rows).stat().st_size > 0
