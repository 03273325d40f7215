"""The S x eta table: its rows, columns and paper, what stands in the text, and the order of exact data."""

import json

import numpy as np
import pytest
import torch
from helpers import Recorder, code_of
from test_records import CELL, SETTINGS

import ddim
from ddim.__main__ import main
from ddim.experiments import table
from ddpm import GaussianEps, MixtureEps, Noise, Schedule, last
from ddpm.data import shapes
from ddpm.evaluation import features
from ddpm.evaluation.frechet import Measure, Reference


@pytest.mark.parametrize("spacing", ["linear", "quadratic"])
def test_calls_counts_the_network_calls(spacing):
    schedule = Schedule(100, "cosine")
    eps, cells = Recorder(GaussianEps(schedule, 0.0, 1.0)), [("0", 10), ("hat", 30), ("2m", 7)]
    for row, S in cells:
        list(table.cell_sampler(row, S, spacing)(eps, schedule, torch.randn(1, 1, 2, 2), Noise([0])))
    assert len(eps.times) == table.calls(100, cells, spacing)


@pytest.mark.parametrize("row", ["0", "0.5", "1", "hat", "2m"])
def test_a_cells_sampler_is_the_family_member_of_its_row(row):
    schedule, x_T = Schedule(50, "cosine"), Noise([3]).start((1, 4, 4))
    eps = GaussianEps(schedule, 0.2, 0.3)
    here = last(table.cell_sampler(row, 5, "linear")(eps, schedule, x_T, Noise([4])))
    if row == "hat":
        there = ddim.sample_hat(eps, schedule, x_T, [50, 40, 30, 20, 10, 1, 0], generator=Noise([4]))
    elif row == "2m":
        there = ddim.sample_2m(eps, schedule, x_T, 5)
    else:
        there = ddim.sample(eps, schedule, x_T, 5, float(row), generator=Noise([4]))
    assert torch.equal(here, last(there))


def test_sigma_hat_is_noisy_down_to_t_1_like_the_published_code():
    assert table.grid_of("hat", 1000, 4, "linear") == [1000, 750, 500, 250, 1, 0]
    assert table.grid_of("1", 1000, 4, "linear") == [1000, 750, 500, 250, 0]
    assert table.grid_of("hat", 6, 6, "linear") == [6, 5, 4, 3, 2, 1, 0]
    quadratic = ddim.timesteps(1000, 10, "quadratic")
    assert quadratic[-2] == 1 and table.grid_of("hat", 1000, 10, "quadratic") == quadratic


def test_with_the_exact_eps_more_steps_are_better_and_eta_0_is_better_than_eta_1():
    """No network errs here, so the distance is that of taking few steps; other S and eta are not looked at."""
    images = torch.nn.functional.avg_pool2d(torch.from_numpy(shapes.shapes("train", 200).images) / 127.5 - 1, 4)
    schedule, reference = Schedule(1000, "linear"), Reference(images.flatten(1))
    eps = MixtureEps(schedule, torch.full((200,), 1 / 200), images, torch.full((200,), 1e-3))

    def cell(row: str, S: int) -> Measure:
        noise = Noise(range(256))
        x = last(table.cell_sampler(row, S, "linear")(eps, schedule, noise.start((3, 4, 4)), noise))
        return reference.measure(x.flatten(1))

    ddim_, ddpm_ = ([cell(row, S) for S in (2, 3, 5)] for row in ("0", "1"))
    for few, more in (*zip(ddim_, ddim_[1:], strict=False), *zip(ddpm_, ddpm_[1:], strict=False)):
        assert more["distance"] + 3 * more["error"] < few["distance"] - 3 * few["error"]
    assert ddim_[1]["distance"] + 2 * ddim_[1]["error"] < ddpm_[1]["distance"] - 2 * ddpm_[1]["error"]
    assert ddim_[2]["distance"] < ddpm_[2]["distance"]


def test_the_papers_cells_are_those_of_the_lecture():
    cells = {("cifar10", "0", 10): 13.36, ("cifar10", "1", 1000): 4.73, ("celeba", "0.5", 50): 11.01}
    cells |= {("cifar10", "hat", 10): 367.43, ("cifar10", "2m", 10): None, ("cifar10", "0", 30): None}
    assert {cell: table.paper_cell(*cell) for cell in cells} == cells and table.paper_cell("shapes", "0", 10) is None


@pytest.mark.parametrize(
    ("data", "distance", "axes"),
    [("cifar10", "FID", 1), ("cifar10", "FD-classifier", 2), ("shapes", "FD-classifier", 1)],
)
def test_the_papers_curves_share_our_axis_only_where_both_are_fid(data, distance, axes):
    """Drawn from any part of a table, here two cells."""
    record = {"settings": SETTINGS | {"data": data, "distance": distance}}
    figure = table.figure_of(record | {"cells": {"hat": {"10": CELL}, "0.7": {"10": CELL}}})
    assert len(figure.axes) == axes
    assert figure.axes[0].get_legend_handles_labels()[1] == ["hat", "eta 0.7"]
    dotted = [line.get_xydata().tolist() for line in figure.axes[-1].lines if line.get_linestyle() == ":"]
    paper = [[10, 367.43], [20, 133.37], [50, 32.72], [100, 9.99], [1000, 3.17]]
    assert dotted == ([paper] if data == "cifar10" else [])


def test_noise_has_its_standard_deviation():
    gray = np.full((20, 3, 16, 16), 128, dtype=np.uint8)
    assert (table.disturbed(gray, "noise").astype(float) - 128).std() == pytest.approx(15, rel=0.03)


def test_blur_spreads_an_edge_by_its_radius():
    """The differences along a blurred edge are the blur's own weights."""
    edge = np.zeros((1, 3, 16, 32), dtype=np.uint8)
    edge[..., 16:] = 255
    weights = np.diff(table.disturbed(edge, "blur")[0, 0, 8].astype(float)) / 255
    places = np.arange(31) - 15
    assert (weights * places**2).sum() ** 0.5 == pytest.approx(0.6, rel=0.05)


def test_halves_share_no_image():
    images = np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1).repeat(3, axis=1)
    for n in (4, 9):
        ours, others = table.halves(images, n, seed=0)
        assert (len(ours), len(others)) == (min(n, 5), 5)
        assert not set(ours[:, 0, 0, 0]) & set(others[:, 0, 0, 0])


def test_networks_that_order_the_cells_alike_have_rank_correlation_1():
    """Spearman: 1 for a rising function of the distances, 1 - 6 sum d^2 / (n (n^2 - 1)) = 0.8 where two of 4 swap."""

    def record(*distances: float) -> dict:
        return {"cells": {"0": {str(S): CELL | {"distance": d, "error": 0.0} for S, d in enumerate(distances)}}}

    assert table.agreement(record(1, 2, 3, 4), record(1, 4, 9, 16), ["0"]) == pytest.approx((4, 1.0, 0.0))
    assert table.agreement(record(1, 2, 3, 4), record(1, 2, 4, 3), ["0"]) == pytest.approx((4, 0.8, 0.0))


def test_the_distance_of_ones_own_images_is_measured_on_a_network_that_needs_no_labels(cats, tmp_path, monkeypatch):
    """In place of the Inception network the mean of each channel."""
    folder, model = cats
    means = features.Features("FID", "means", "0" * 64, lambda images: torch.from_numpy(images).float().mean((2, 3)))
    monkeypatch.setattr(features, "fetched", str)
    monkeypatch.setattr(features, "inception", lambda *_: means)
    flags = ("--model", model, "--data-dir", folder, "--n", 4, "--columns", 2, "--rows", 0, "--captions")
    assert code_of(main, "table", *flags, "--features", "inception", "--out", tmp_path) == 0
    record = json.loads((tmp_path / "table-model.json").read_text())
    assert record["settings"]["reference_n"] == 4 and record["cells"]["0"]["2"]["distance"] > 0
