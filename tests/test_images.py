"""Images: bytes and back, sheets of images (which image is where), and the squared error."""

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from ddpm.utils import images
from ddpm.utils.images import from_bytes, squared_error, to_bytes

SIX = np.arange(6, dtype=np.uint8).reshape(2, 3, 1, 1, 1) * np.ones((1, 1, 3, 4, 4), dtype=np.uint8)


def test_bytes_become_numbers_from_minus_one_to_one_and_back():
    every = torch.arange(256, dtype=torch.uint8)
    values = from_bytes(every)
    torch.testing.assert_close(values.double(), torch.linspace(-1, 1, 256, dtype=torch.float64), rtol=0, atol=1e-6)
    assert values.dtype == torch.float32 and values.min() == -1 and values.max() == 1
    assert (to_bytes(values) == every.numpy()).all()
    assert to_bytes(torch.tensor([-7.0, 7.0, 0.0])).tolist() == [0, 255, 128]  # outside is clipped
    with pytest.raises(ValueError, match="scaled twice"):
        from_bytes(values)


def test_a_sheet_has_rows_below_each_other_columns_side_by_side_and_folded_blocks_below(monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr(images, "save_figure", lambda figure, path: drawn.append(figure))
    images.sheet(tmp_path / "sheet.png", SIX, ["a", "b"], ["x", "y", "z"])
    (axis,) = drawn[0].axes
    pixels = axis.images[0].get_array()[..., 0]
    rows, columns = axis.get_yticks().astype(int), axis.get_xticks().astype(int)
    assert pixels[np.ix_(rows, columns)].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["a", "b"]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["x", "y", "z"]
    # three columns, of which two stand below: the first block has white where the second has its last column
    images.sheet(tmp_path / "sheet.png", SIX, ["a", "b"], ["x", "y", "z"], fold=[1])
    blocks = [axis.images[0].get_array()[..., 0] for axis in drawn[1].axes]
    above, below = ([int(block[y, x]) for y in (1, 6) for x in (1, 6)] for block in blocks)
    assert above == [0, 255, 3, 255] and below == [1, 2, 4, 5]


def test_the_squared_error_is_on_the_scale_of_0_to_1_and_of_the_pixels_to_compare():
    """Floats that differ by 0.2 in [-1, 1] differ by 0.1; bytes that differ by 51 of 255, by a fifth."""
    zero, black = torch.zeros(2, 3, 4, 4), np.zeros((2, 3, 4, 4), dtype=np.uint8)
    assert squared_error(zero, zero + 0.2).tolist() == pytest.approx([0.01] * 2)
    assert squared_error(black, black + np.uint8(51)).tolist() == pytest.approx([0.04] * 2)
    after, where = black.copy(), np.ones((2, 4, 4), dtype=bool)
    after[:, :, 0] = 255  # the first row changes
    where[0, 0] = False
    assert squared_error(black, after).tolist() == [0.25, 0.25]
    assert squared_error(black, after, where).tolist() == [0, 0.25]


def test_a_small_png_is_the_figure_in_fewer_bytes():
    ramp = np.linspace(0, 255, 3 * 16 * 16).astype(np.uint8).reshape(1, 3, 16, 16)
    figure = images.strip({"a": ramp, "b": ramp[:, ::-1]}, ["c"])
    whole = BytesIO()
    figure.savefig(whole, format="png", bbox_inches="tight")
    small = images.small_png(figure)
    assert len(small) < 0.8 * len(whole.getvalue())
    shown, truth = (np.asarray(Image.open(f).convert("RGB"), dtype=int) for f in (BytesIO(small), whole))
    assert shown.shape == truth.shape and abs(shown - truth).mean() < 4
