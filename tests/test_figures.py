"""Sheets of images: what stands where."""

import numpy as np

from ddim.experiments import sheets as figures


def test_a_sheet_has_its_rows_below_each_other_and_its_columns_side_by_side(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "save_figure", lambda figure, path: drawn.append(figure))
    images = np.arange(6, dtype=np.uint8).reshape(2, 3, 1, 1, 1) * np.ones((1, 1, 3, 4, 4), dtype=np.uint8)
    figures.sheet(tmp_path / "sheet.png", images, ["a", "b"], ["x", "y", "z"])
    (axis,) = drawn[0].axes
    shown = axis.images[0].get_array()
    places = ([(label.get_text(), at) for label, at in zip(names, ticks, strict=True)] for names, ticks in (
        (axis.get_yticklabels(), axis.get_yticks()), (axis.get_xticklabels(), axis.get_xticks())
    ))  # fmt: skip
    rows, columns = places
    assert [[int(shown[int(y), int(x), 0]) for _, x in columns] for _, y in rows] == [[0, 1, 2], [3, 4, 5]]
    assert [name for name, _ in rows] == ["a", "b"] and [name for name, _ in columns] == ["x", "y", "z"]


def test_a_folded_sheet_has_its_second_block_below(tmp_path, monkeypatch):
    """Three columns, of which two stand below: the first block has white where the second has its last column."""
    drawn = []
    monkeypatch.setattr(figures, "save_figure", lambda figure, path: drawn.append(figure))
    images = np.arange(6, dtype=np.uint8).reshape(2, 3, 1, 1, 1) * np.ones((1, 1, 3, 4, 4), dtype=np.uint8)
    figures.sheet(tmp_path / "sheet.png", images, ["a", "b"], ["x", "y", "z"], fold=1)
    above, below = drawn[0].axes
    shown = [axis.images[0].get_array()[..., 0] for axis in (above, below)]
    assert [label.get_text() for label in above.get_xticklabels()] == ["x"]
    assert [label.get_text() for label in below.get_xticklabels()] == ["y", "z"]
    assert shown[0].shape == shown[1].shape == (10, 10)
    assert [int(shown[0][y, x]) for y in (1, 6) for x in (1, 6)] == [0, 255, 3, 255]
    assert [int(shown[1][y, x]) for y in (1, 6) for x in (1, 6)] == [1, 2, 4, 5]
