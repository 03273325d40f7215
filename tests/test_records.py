"""Records of cells: what is resumed, and what is refused."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

import ddpm
from ddim.experiments import control, mistakes, reconstruct, strength_sweep, table
from ddpm.evaluation import classifier, features
from ddpm.experiments import common, records
from ddpm.utils.files import alone, manifest

RESULTS = Path(__file__).parent.parent / "notebooks" / "results"
SHIPPED, P2P = sorted((RESULTS / "ddim").rglob("*.json")), sorted((RESULTS / "p2p").glob("*.json"))
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


def test_two_commands_on_one_record_lose_no_cell_and_mix_no_settings(tmp_path):
    """The second one measures a cell while the first one does, and ends before it."""
    path = tmp_path / "table.json"
    inner = ["1", "0"]
    record, _ = filled(path, ["0"], [10, 20], lambda *_: filled(path, [inner.pop()], [50], lambda *_: CELL) and CELL)
    filled(path, ["hat"], [10], lambda *_: CELL)
    written = common.write(SimpleNamespace(out=f"{tmp_path}/table.TXT"), path, record, str, records.together)
    assert json.loads(path.read_text()) == written and (tmp_path / "table.TXT").read_text() == str(written)
    assert {row: sorted(map(int, cells)) for row, cells in written["cells"].items()} == {
        "0": [10, 20, 50],
        "1": [50],
        "hat": [10],
    }
    other = {"settings": SETTINGS | {"n": 5}, "cells": {}}
    with pytest.raises(ValueError, match="was made with n 4, not 5"):
        list(records.fill(path, other, [("0", 5)], lambda *_: CELL))
    assert json.loads(path.read_text()) == written
    assert {file.name for file in tmp_path.iterdir()} == {"table.json", "table.TXT"}


def test_a_record_is_written_by_one_command_at_a_time(tmp_path, monkeypatch):
    path, waited = tmp_path / "table.json", []

    def other_ends(_):
        waited.append(lock.unlink())

    with alone(path):
        (lock,) = tmp_path.iterdir()
        monkeypatch.setattr("time.sleep", other_ends)
        records.add_cells(path, "colour", {}, {"p2p": {"success": 1.0}})
    assert waited == [None] and [file.name for file in tmp_path.iterdir()] == ["table.json"]
    lock.touch()  # left by a command that was killed
    monkeypatch.setattr("time.sleep", waited.append)
    records.add_cells(path, "colour", {}, {"sdedit": {"success": 0.5}})
    assert sum(waited[1:]) >= 9 and [file.name for file in tmp_path.iterdir()] == ["table.json"]
    assert records.read(path, "cells")["cells"]["colour"].keys() == {"p2p", "sdedit"}


def test_cells_of_other_settings_are_refused(tmp_path):
    path = tmp_path / "table.json"
    filled(path, ["0"], [10], lambda row, S: CELL)
    before = path.read_text()
    assert records.resume(path, SETTINGS) == {"settings": SETTINGS, "cells": {"0": {"10": CELL}}}
    for name, value in (("precision", "bfloat16"), ("n", 5), ("new", "setting")):
        with pytest.raises(ValueError, match=f"{name} .*, not {value!r}: results are not mixed, choose another --out"):
            records.resume(path, SETTINGS | {name: value})
    assert path.read_text() == before


def test_cells_that_another_command_has_written_meanwhile_are_kept(tmp_path):
    path, how = tmp_path / "score.json", {"n": 2, "precision": "float32", "device": "cpu"}
    records.add_cells(path, "colour", how, {"p2p": {"success": 1.0}})
    records.add_cells(path, "shape", how | {"n": 3}, {"p2p": {"success": 2.0}})
    record = records.add_cells(path, "colour", how, {"plain": {"success": None, "drift": 1.0}})
    assert record == json.loads(path.read_text())
    assert [record["settings"][kind]["n"] for kind in ("colour", "shape")] == [2, 3]
    assert list(record["cells"]["colour"]) == ["p2p", "plain"] and list(record["cells"]["shape"]) == ["p2p"]
    assert records.row_text(path, record, "colour", {"plain": {}}).splitlines()[1:] == [
        f"  p2p              success 1  (read from {path})",
        "  plain            drift 1",
    ]
    with pytest.raises(ValueError, match="was made with n 2, not 4"):
        records.resume_rows(path, {"colour": how | {"n": 4}})


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"hello": 1}', '{"settings": {}}'])
def test_a_file_that_is_no_record_is_refused(tmp_path, content):
    path = tmp_path / "table.json"
    path.write_text(content)
    for resume in (records.resume, records.resume_rows):
        with pytest.raises(ValueError, match=r"table.json is not a record of results.*: move it away"):
            resume(path, SETTINGS)


def test_the_shipped_results_are_of_the_shipped_networks():
    """So that a command goes on with them. Those of Prompt-to-Prompt have settings for each row."""
    found = [(path, json.loads(path.read_text())["settings"]) for path in (*SHIPPED, *P2P)]
    for path, settings in ((p, each) for p, s in found for each in (s.values() if p in P2P else [s])):
        if model := settings.get("model"):
            assert settings["model_sha256"] == manifest(ddpm.model.SHIPPED)[model]["sha256"], path
        if network := settings.get("features"):
            own = manifest(classifier.SHIPPED)[network.split()[1]]["sha256"] if "classifier" in network else None
            assert settings["features_sha256"] == (own or features.LITE0_SHA256), path
    assert SHIPPED and P2P


def test_the_shipped_texts_are_those_of_the_shipped_records():
    writers = {"table": table, "reconstruct": reconstruct, "reference": table, "sweep": strength_sweep}
    writers |= {"mistakes": mistakes, "control": control}
    for path in SHIPPED:
        writer = writers[path.stem.split("-")[0]]
        assert path.with_suffix(".txt").read_text(encoding="utf-8") == writer.text(json.loads(path.read_text())), path
