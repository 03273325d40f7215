"""What the commands do with a model of one's own images: they work, or say in one line why not."""

import json
import re

import helpers
import pytest
import torch

from ddim.__main__ import main as ddim
from ddpm.__main__ import main as ddpm
from ddpm.evaluation import features
from p2p.__main__ import main as p2p

TEST = "a folder of images has no test split: all of its images were used for training"
EDIT = ("--source", "a red cat", "--target", "a red dog", "--steps", 5)


@pytest.mark.parametrize(
    ("main", "flags", "message"),
    [
        (ddpm, ("bound",), TEST),
        (ddpm, ("score", "--n", 2), "no classifier of 'folder', only of celeba, cifar10, scenes, "),
        (ddim, ("reconstruct", "--n", 2), TEST),
        (ddim, ("mistakes", "--n", 2), TEST),
        (ddim, ("sweep", "--n", 2), "no edits are known for the dataset 'folder'"),
        (ddim, ("edit", "--image", 0, *EDIT), TEST),
        (ddim, ("table", "--n", 2, "--columns", 2), "no classifier of 'folder'.*--features inception"),
        (p2p, ("edit", "--image", 0, *EDIT), TEST),
        (p2p, ("score", "--n", 2), "no kinds of edit of the dataset 'folder'"),
    ],
)
def test_why_not(main, flags, message, cats, tmp_path, capsys):
    folder, model = cats
    assert helpers.code_of(main, *flags, "--model", model, "--data-dir", folder, "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and re.search(message, error)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_its_distance_is_measured_on_a_network_that_needs_no_labels(cats, tmp_path, monkeypatch):
    """In place of the Inception network the mean of each channel."""
    folder, model = cats
    means = features.Features("FID", "means", "0" * 64, lambda images: torch.from_numpy(images).float().mean((2, 3)))
    monkeypatch.setattr(features, "inception", lambda *_: means)
    flags = ("--model", model, "--data-dir", folder, "--n", 4, "--columns", 2, "--rows", 0, "--captions")
    assert helpers.code_of(ddim, "table", *flags, "--inception", "here", "--out", tmp_path) == 0
    record = json.loads((tmp_path / "table-model.json").read_text())
    assert record["settings"]["reference_n"] == 4 and record["cells"]["0"]["2"]["distance"] > 0
