"""Records of measured cells: long work that stops anywhere and resumes there.

A record is a JSON file {"settings": {...}, "cells": {row: {S: cell}}}, a cell {name: number}. It is rewritten whole
after each cell; the next call measures what is missing. Cells made with other settings are never mixed, and one command
writes a record at a time.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from ..model import Trained
from ..utils.files import read_json, write_json

NUMBER = int | float
Cell = dict[str, NUMBER | None]
UNSAID = {"precision": "float32", "device": "cpu"}  # of records that do not say how they were computed
WHAT = "a record of such cells"


def arithmetic(trained: Trained) -> dict:
    """How a result was computed: cells of another precision or device are not mixed with it."""
    return {"precision": trained.precision, "device": trained.device.type}


def resume(path: Path, settings: dict, kinds: dict[str, type]) -> dict:
    """The record at `path`, or an empty one.

    kinds: what a cell must have, name -> type. ValueError: no record of such cells, or cells made with other settings.
    """

    def fits(record: dict) -> bool:
        cells = [cell for row in record["cells"].values() for cell in row.values()]
        return all(isinstance(cell[name], kind) for cell in cells for name, kind in kinds.items())

    if not path.exists():
        return {"settings": settings, "cells": {}}
    record = read(path, fits)
    check_same(path, record["settings"], settings)
    return {"settings": settings, "cells": record["cells"]}


def read(path: Path, fits: Callable[[dict], bool] = lambda _: True) -> dict:
    """What a file of results holds, {"settings": {...}, ...}. ValueError for any other file."""
    record = read_json(path, WHAT, ("settings",))
    try:
        is_record = isinstance(record["settings"], dict) and fits(record)
    except (TypeError, KeyError, AttributeError):  # another structure
        is_record = False
    if not is_record:
        raise ValueError(f"{path} is not {WHAT}: move it away, or choose another --out")
    return record


def check_same(path: Path, before: dict, settings: dict) -> None:
    """ValueError, naming a setting, unless what was measured before was measured in the same way."""
    before = {name: value for name, value in UNSAID.items() if name in settings} | before
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
    """Measure the missing ones of these cells (row, S), writing the record after each; yields (row, S, cell).

    A file appears with its first cell. ValueError: another command has written to it meanwhile.
    """
    written = path.read_text(encoding="utf-8") if path.exists() else None
    for row, S in missing(record, cells):
        cell = measure(row, S)
        if path.exists() and path.read_text(encoding="utf-8") != written:
            raise ValueError(f"another command has changed {path} meanwhile: run one at a time, or take another --out")
        record["cells"].setdefault(row, {})[str(S)] = cell
        written = write_json(path, record).read_text(encoding="utf-8")
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
    """The record at `path`, or an empty one. ValueError: no such record, or a row made with other settings."""

    def fits(record: dict) -> bool:
        names = {name for each in settings.values() for name in each}
        rows = [record["settings"][row].keys() | UNSAID.keys() == names for row in record["cells"]]
        numbers = [n for row in record["cells"].values() for cell in row.values() for n in cell.values()]
        return all(rows) and all(isinstance(n, NUMBER | None) for n in numbers)

    if not path.exists():
        return {"settings": {}, "cells": {}}
    record = read(path, fits)
    for row in record["settings"].keys() & settings.keys():
        check_same(path, record["settings"][row], settings[row])
    return record


def add_cells(path: Path, row: str, settings: dict, cells: dict[str, Cell]) -> dict:
    """Write new cells of a row, if any, beside what other commands have written meanwhile; returns the record."""
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
