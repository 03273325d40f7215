"""Records of cells: what is resumed, and what is refused."""

import json
from pathlib import Path

import pytest

import ddim
from ddpm.experiments import records, table
from ddpm import checkpoints
from ddpm.data import classifier
from ddpm.files import manifest

RESULTS = Path(ddim.__file__).parent / "results"
SHIPPED = sorted(RESULTS.rglob("*.json"))
SETTINGS = {"distance": "FID", "model": "m", "data": "cifar10", "n": 4, "spacing": "linear", "T": 1000, "seed": 0}
CELL = {"distance": 2.0, "error": 0.1, "kid": 0.003, "kid_error": 0.001}


def filled(path, rows, columns, measure, settings=SETTINGS):
    record = records.resume(path, settings, table.CELL)
    return record, list(records.fill(path, record, rows, columns, measure))


def test_a_finished_cell_is_not_made_again(tmp_path):
    path, made = tmp_path / "table.json", []

    def measure(row, S):
        made.append((row, S))
        return CELL

    filled(path, ["0", "1"], [10], measure)
    filled(path, ["0", "1", "hat"], [10, 20], measure)
    assert made == [("0", 10), ("1", 10), ("hat", 10), ("0", 20), ("1", 20), ("hat", 20)]


def test_what_is_done_survives_an_interruption(tmp_path):
    path = tmp_path / "table.json"

    def measure(row, S):
        if S == 20:
            raise KeyboardInterrupt
        return CELL | {"distance": 7.0}

    with pytest.raises(KeyboardInterrupt):
        filled(path, ["0"], [10, 20], measure)
    record = json.loads(path.read_text())
    assert record["cells"] == {"0": {"10": CELL | {"distance": 7.0}}}
    assert records.missing(record, ["0"], [10, 20]) == [("0", 20)]


def test_two_processes_fill_one_record(tmp_path):
    path = tmp_path / "table.json"

    def meanwhile(row, S):
        if S == 10:
            filled(path, ["0", "1"], [20], lambda row, S: CELL | {"distance": 5.0})
        return CELL

    record, made = filled(path, ["0"], [10, 50], meanwhile)
    assert [(row, S) for row, S, _ in made] == [("0", 10), ("0", 50)]
    later = CELL | {"distance": 5.0}
    expected = {"0": {"20": later, "10": CELL, "50": CELL}, "1": {"20": later}}
    assert record["cells"] == expected == json.loads(path.read_text())["cells"]


@pytest.mark.parametrize(("name", "value"), [("n", 5), ("spacing", "quadratic"), ("seed", 1), ("new", "setting")])
def test_cells_of_other_settings_are_refused(tmp_path, name, value):
    path = tmp_path / "table.json"
    filled(path, ["0"], [10], lambda row, S: CELL)
    before = path.read_text()
    with pytest.raises(ValueError, match=f"{name} .*not mixed"):
        records.resume(path, SETTINGS | {name: value}, table.CELL)
    assert path.read_text() == before


@pytest.mark.parametrize(
    "content",
    [
        "", "{}", "[1]", '{"settings": {', '{"settings": 3, "cells": {}}', '{"settings": {}}',
        '{"settings": {}, "cells": []}', '{"settings": {}, "cells": {"0": 3}}',
        '{"settings": {}, "cells": {"0": {"10": 3}}}', '{"settings": {}, "cells": {"0": {}}}',
        '{"settings": {}, "cells": {"0": {"10": {"distance": 1}}}}',
        '{"settings": {}, "cells": {"0": {"10": {"distance": "1", "error": 1, "kid": 1, "kid_error": 1}}}}',
        '{"settings": {}, "cells": {"0": {"10": {"distance": null, "error": null, "kid": 1, "kid_error": 1}}}}',
        '{"settings": {}, "cells": {"0": {"ten": {"distance": 1, "error": 1, "kid": 1, "kid_error": 1}}}}',
    ],
)  # fmt: skip
def test_a_file_that_is_no_table_is_refused(tmp_path, content):
    path = tmp_path / "table.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="no record"):
        records.resume(path, SETTINGS, table.CELL)


def test_rows_stand_in_their_order_and_columns_rise():
    record = {"settings": {}, "cells": {"zebra": {"100": CELL}, "1": {"20": CELL}, "0": {"5": CELL, "20": CELL}}}
    assert records.rows_of(record, ["0", "0.5", "1"]) == ["0", "1", "zebra"]
    assert records.columns_of(record) == [5, 20, 100]


# ---- what is shipped -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(RESULTS)))
def test_a_shipped_result_is_of_the_shipped_networks(path):
    """So that its command goes on with it, or says the same again, and does not refuse it."""
    settings = json.loads(path.read_text())["settings"]
    if model := settings.get("model"):
        assert settings["model_sha256"] == manifest(checkpoints.SHIPPED)[model]["sha256"]
    if features := settings.get("features"):
        _, name = features.split()
        assert settings["features_sha256"] == manifest(classifier.SHIPPED)[name]["sha256"]
    assert settings.get("model") or settings.get("features")
