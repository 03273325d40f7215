"""Records of measured cells: long work that stops anywhere and goes on there.

A record is a JSON file {"settings": {...}, "cells": {row: {S: cell}}}, a cell {name: number}. It is rewritten whole
after each cell; the next call measures what is missing, and cells made with other settings are never mixed.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from ddpm.files import write_json

NUMBER = int | float
Cell = dict[str, NUMBER | None]
Kinds = dict[str, type]  # what a cell must have: name -> type


def resume(path: Path, settings: dict, kinds: Kinds) -> dict:
    """The record at `path`, or an empty one. ValueError when its cells were made with other settings, naming one."""
    if not path.exists():
        return {"settings": settings, "cells": {}}
    record = read(path)
    if not is_record(record, kinds):
        raise ValueError(f"{path} is no record of such cells: choose another --out")
    check_same(path, record["settings"], settings)
    return record


def read(path: Path) -> Any:
    """What a file of results holds. ValueError for a file that is no JSON."""
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is no record of results ({error}): choose another --out") from None


def check_same(path: Path, before: dict, settings: dict) -> None:
    """ValueError, naming a setting, unless what was measured before was measured in the same way."""
    for name in sorted(before.keys() | settings.keys()):
        old, new = before.get(name), settings.get(name)
        if old != new:
            raise ValueError(
                f"{path} was made with {name} {old!r}, not {new!r}: results are not mixed, choose another --out"
            )


def is_record(found: Any, kinds: Kinds) -> bool:
    """Is it {"settings": {...}, "cells": {row: {S: cell}}}?"""
    if not isinstance(found, dict) or not all(isinstance(found.get(name), dict) for name in ("settings", "cells")):
        return False
    rows = found["cells"].values()
    return all(isinstance(row, dict) and row and all(is_cell(*cell, kinds) for cell in row.items()) for row in rows)


def is_cell(S: str, found: Any, kinds: Kinds) -> bool:
    """Is it a number of steps and its cell?"""
    if not S.isdecimal() or not isinstance(found, dict):
        return False
    return all(isinstance(found.get(name, ""), kind) for name, kind in kinds.items())


def missing(record: dict, rows: list[str], columns: list[int]) -> list[tuple[str, int]]:
    """The cells (row, S) that are not in the record yet, column by column."""
    return [(row, S) for S in columns for row in rows if str(S) not in record["cells"].get(row, {})]


def fill(
    path: Path, record: dict, rows: list[str], columns: list[int], measure: Callable[[str, int], Cell]
) -> Iterator[tuple[str, int, Cell]]:
    """Measure the missing cells, writing the record after each; yields (row, S, cell).

    Cells that another process has written to the file meanwhile are kept: several may fill one table.
    """
    for row, S in missing(record, rows, columns):
        cell = measure(row, S)
        beside = read(path)["cells"] if path.exists() else {}
        for name, found in beside.items():
            record["cells"][name] = found | record["cells"].get(name, {})
        record["cells"].setdefault(row, {})[str(S)] = cell
        write_json(path, record)
        yield row, S, cell


def rows_of(record: dict, order: Iterable[str]) -> list[str]:
    """The rows that have cells: those of `order` in that order, then the others."""
    cells = record["cells"]
    return [row for row in (*order, *sorted(cells.keys() - set(order))) if row in cells]


def columns_of(record: dict) -> list[int]:
    """Every S that a row has, rising."""
    return sorted({int(S) for row in record["cells"].values() for S in row})
