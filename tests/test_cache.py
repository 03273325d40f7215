"""What is computed once and kept beside the data, and files as they should not be."""

import numpy as np
import pytest

from ddpm.data.base import cached


@pytest.fixture
def array():
    """Makes an array and counts how often."""

    def make(value: int) -> np.ndarray:
        make.computed.append(value)
        return np.full((2, 3), value, dtype=np.uint8)

    make.computed = []
    return make


def test_an_array_is_computed_once_for_each_source_and_an_old_ones_file_goes(tmp_path, array):
    for value in (1, 1, 2, 2):
        found = cached(tmp_path / "new", "images", ("source", value), ("base",), lambda value=value: array(value))
        assert found.dtype == np.uint8 and found.shape == (2, 3) and (found == value).all()
    cached(tmp_path / "new", "images-64", "source", (), lambda: array(3))
    assert array.computed == [1, 2, 3]
    assert len(list((tmp_path / "new" / ".cache").iterdir())) == 2  # of 2 and of 3


def test_a_damaged_file_is_made_again_wherever_the_damage_is(tmp_path, array):
    def run() -> np.ndarray:
        return cached(tmp_path, "images", 0, (), lambda: array(7))

    assert (run() == 7).all()
    (path,) = tmp_path.rglob("*.npz")
    whole = path.read_bytes()
    flipped = [whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :] for i in range(0, len(whole), 9)]
    for content in (b"", whole[:1], whole[:50], whole[:-1], b"\x93NUMPY", *flipped):
        path.write_bytes(content)
        assert (run() == 7).all() and (run() == 7).all()
    assert len(array.computed) < 2 + 5 + len(flipped)  # once for each damage, and not again
