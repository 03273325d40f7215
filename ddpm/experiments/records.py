"""Records of measured cells: long work that stops anywhere and resumes there.

A record is a JSON file {"settings": {...}, "cells": {row: {S: cell}}}, a cell {name: number}. It is rewritten whole
after each cell, with those that another command has written meanwhile; the next call measures what is missing. Cells
made with other settings are never mixed.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from ..model import Trained
from ..utils.files import alone, read_json, write_json

NUMBER = int | float
LATER = {"precision", "device"}  # of `arithmetic`, which the first records lack
Cell = dict[str, NUMBER | None]


def arithmetic(trained: Trained) -> dict:
    """How a result was computed: cells of another precision or device are not mixed with it."""
    return {"precision": trained.precision, "device": trained.device.type}


def resume(path: Path, settings: dict) -> dict:
    """The record at `path`, or an empty one. ValueError: no such record, or cells made with other settings."""
    if not path.exists():
        return {"settings": settings, "cells": {}}
    record = read(path, "cells")
    check_same(path, record["settings"], settings)
    return {"settings": settings, "cells": record["cells"]}


def together(path: Path, record: dict) -> dict:
    """The record with the cells that other commands have written to its file meanwhile; call it `alone`."""
    for row, cells in resume(path, record["settings"])["cells"].items():
        record["cells"][row] = cells | record["cells"].get(row, {})
    return record


def read(path: Path, *keys: str) -> dict:
    """What a file of results holds, {"settings": {...}, ...}, with these keys too. ValueError for any other file."""
    return read_json(path, "a record of results", ("settings", *keys))


def check_same(path: Path, before: dict, settings: dict) -> None:
    """ValueError, naming a setting, unless what was measured before was measured in the same way."""
    for name in sorted(before.keys() | settings.keys()):
        old, new = before.get(name), settings.get(name)
        if old != new:
            made = f"{path} was made with {name} {old!r}, not {new!r}"
            raise ValueError(f"{made}: results are not mixed, choose another --out")


def missing(record: dict, cells: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    """The cells (row, S) that are not in the record yet."""
    return [(row, S) for row, S in cells if str(S) not in record["cells"].get(row, {})]


def fill(
    path: Path, record: dict, cells: Iterable[tuple[str, int]], measure: Callable[[str, int], Cell]
) -> Iterator[tuple[str, int, Cell]]:
    """Measure the missing ones of these cells (row, S), writing the record after each; yields (row, S, cell)."""
    for row, S in missing(record, cells):
        cell = measure(row, S)
        record["cells"].setdefault(row, {})[str(S)] = cell
        with alone(path):
            write_json(path, together(path, record))
        yield row, S, cell


def rows_of(record: dict, order: Iterable[str]) -> list[str]:
    """The rows that have cells: those of `order` in that order, then the others."""
    cells = record["cells"]
    return [row for row in (*order, *sorted(cells.keys() - set(order))) if row in cells]


def columns_of(record: dict) -> list[int]:
    """Every S that a row has, rising."""
    return sorted({int(S) for row in record["cells"].values() for S in row})


# ---- rows with settings of their own: {"settings": {row: {...}}, "cells": {row: {column: cell}}} ---------------------


def resume_rows(path: Path, settings: dict[str, dict]) -> dict:
    """The record at `path`, or an empty one. ValueError: another's record, or a row made with other settings."""
    record = read(path, "cells") if path.exists() else {"settings": {}, "cells": {}}
    ours = {name for each in settings.values() for name in each} - LATER
    if any(not isinstance(each, dict) or each.keys() - LATER != ours for each in record["settings"].values()):
        raise ValueError(f"{path} is a record of another command: choose another --out")
    for row in record["settings"].keys() & settings.keys():
        check_same(path, record["settings"][row], settings[row])
    return record


def add_cells(path: Path, row: str, settings: dict, cells: dict[str, Cell]) -> dict:
    """Write new cells of a row, if any, beside what other commands have written meanwhile; returns the record."""
    with alone(path):
        record = resume_rows(path, {row: settings})
        if cells:
            record["settings"][row] = settings
            record["cells"][row] = record["cells"].get(row, {}) | cells
            write_json(path, record)
    return record


def row_text(path: Path, record: dict, row: str, new: dict[str, Cell]) -> str:
    """A row as text, its settings first; a cell that was not measured now is labelled."""
    settings = {name: value for name, value in record["settings"][row].items() if value is not None}
    lines = [f"{row}: " + ", ".join(f"{name} {value}" for name, value in settings.items() if name != "model_sha256")]
    for column, cell in record["cells"][row].items():
        numbers = "  ".join(f"{name} {value:.4g}" for name, value in cell.items() if value is not None)
        lines.append(f"  {column:16s} {numbers}" + ("" if column in new else f"  (read from {path})"))
    return "\n".join(lines)
