"""Records of cells: what is resumed, and what is refused."""

import json
from pathlib import Path

import pytest

import ddpm
from ddim.experiments import control, mistakes, reconstruct, strength_sweep, table
from ddpm.evaluation import classifier, features
from ddpm.experiments import records
from ddpm.utils.files import manifest

RESULTS = Path(__file__).parent.parent / "notebooks" / "results" / "ddim"
SHIPPED = sorted(RESULTS.rglob("*.json"))
SETTINGS = {"distance": "FID", "model": "m", "data": "cifar10", "n": 4, "spacing": "linear", "T": 1000, "seed": 0}
CELL = {"distance": 2.0, "error": 0.1, "kid": 0.003, "kid_error": 0.001}


def filled(path, rows, columns, measure, settings=SETTINGS):
    record = records.resume(path, settings)
    cells = [(row, S) for S in columns for row in rows]
    return record, list(records.fill(path, record, cells, measure))


def test_a_finished_cell_is_not_made_again_even_after_an_interruption(tmp_path):
    path, made = tmp_path / "table.json", []

    def measure(row, S):
        if (row, S) == ("0", 20) and len(made) < 3:
            raise KeyboardInterrupt
        made.append((row, S))
        return CELL | {"distance": 7.0}

    with pytest.raises(KeyboardInterrupt):
        filled(path, ["0", "1"], [10, 20], measure)
    cell = CELL | {"distance": 7.0}
    assert json.loads(path.read_text())["cells"] == {"0": {"10": cell}, "1": {"10": cell}}
    made.append("again")
    filled(path, ["1", "0", "hat"], [10, 20], measure)
    assert made == [("0", 10), ("1", 10), "again", ("hat", 10), ("1", 20), ("0", 20), ("hat", 20)]
    record = json.loads(path.read_text())
    assert records.rows_of(record, ["0", "0.5", "1"]) == ["0", "1", "hat"] and records.columns_of(record) == [10, 20]


def test_settings_that_an_older_record_lacks_have_the_value_they_had(tmp_path):
    path, new = tmp_path / "table.json", SETTINGS | {"precision": "float32", "device": "cpu"}
    filled(path, ["0"], [10], lambda row, S: CELL)
    assert records.resume(path, new) == {"settings": new, "cells": {"0": {"10": CELL}}}
    with pytest.raises(ValueError, match="'float32', not 'bfloat16'"):
        records.resume(path, new | {"precision": "bfloat16"})


@pytest.mark.parametrize(("name", "value"), [("n", 5), ("new", "setting")])
def test_cells_of_other_settings_are_refused(tmp_path, name, value):
    path = tmp_path / "table.json"
    filled(path, ["0"], [10], lambda row, S: CELL)
    before = path.read_text()
    with pytest.raises(ValueError, match=f"{name} .*not mixed"):
        records.resume(path, SETTINGS | {name: value})
    assert path.read_text() == before


@pytest.mark.parametrize("content", ["", "[1]", '{"hello": 1}', '{"settings": {}}'])
def test_a_file_that_is_no_record_is_refused(tmp_path, content):
    path = tmp_path / "table.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"table.json is not a record of results.*: move it away"):
        records.resume(path, SETTINGS)


def test_the_shipped_results_are_of_the_shipped_networks():
    """So that a command goes on with them."""
    assert SHIPPED
    for path in SHIPPED:
        settings = json.loads(path.read_text())["settings"]
        if model := settings.get("model"):
            assert settings["model_sha256"] == manifest(ddpm.model.SHIPPED)[model]["sha256"], path
        if network := settings.get("features"):
            own = manifest(classifier.SHIPPED)[network.split()[1]]["sha256"] if "classifier" in network else None
            assert settings["features_sha256"] == (own or features.LITE0_SHA256), path


def test_the_shipped_texts_are_those_of_the_shipped_records():
    writers = {"table": table, "reconstruct": reconstruct, "reference": table, "sweep": strength_sweep}
    writers |= {"mistakes": mistakes, "control": control}
    for path in SHIPPED:
        writer = writers[path.stem.split("-")[0]]
        assert path.with_suffix(".txt").read_text(encoding="utf-8") == writer.text(json.loads(path.read_text())), path
