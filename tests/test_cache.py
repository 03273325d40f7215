"""What is computed once and kept beside the data."""

import numpy as np

from ddpm.data.cache import FOLDER, cached


def test_an_array_is_computed_once_for_each_source_and_an_old_ones_file_goes(tmp_path):
    computed = []

    def array(value: int) -> np.ndarray:
        computed.append(value)
        return np.full((2, 3), value, dtype=np.uint8)

    for value in (1, 1, 2, 2):
        found = cached(tmp_path / "new", "images", ("source", value), lambda value=value: array(value))
        assert found.dtype == np.uint8 and found.shape == (2, 3) and (found == value).all()
    cached(tmp_path / "new", "images-64", "source", lambda: array(3))
    assert computed == [1, 2, 3]
    assert len(list((tmp_path / "new" / FOLDER).iterdir())) == 2  # of 2 and of 3


def test_an_interrupted_computation_keeps_nothing(tmp_path):
    def interrupted() -> np.ndarray:
        raise KeyboardInterrupt

    for compute in (interrupted, interrupted, lambda: np.ones(1)):
        try:
            cached(tmp_path, "images", 0, compute)
        except KeyboardInterrupt:
            assert not list(tmp_path.rglob("*.npy"))
    assert len(list(tmp_path.rglob("*.npy"))) == 1
