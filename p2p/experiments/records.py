"""Records of the scores: {"settings": {kind: {...}}, "cells": {kind: {way: cell}}}, a file for a model.

In `ddpm.experiments.records` all cells of a file have the same settings; here each kind of edit has its own settings.
"""

from pathlib import Path

from ddpm.experiments import records
from ddpm.utils.files import write_json

Cell = dict[str, float | None]


def read_record(path: Path) -> dict[str, dict]:
    """The record at `path`, empty where there is none. ValueError, naming the file, for any other file."""
    record = records.read(path) if path.exists() else {"settings": {}, "cells": {}}
    parts = [record.get(name) for name in ("settings", "cells")] if isinstance(record, dict) else [None]
    rows = [row for part in parts if isinstance(part, dict) for row in part.values()]
    if not all(isinstance(part, dict) for part in (*parts, *rows)) or parts[0].keys() != parts[1].keys():
        raise ValueError(f"{path} is no record of scores: choose another --out")
    return record


def check_settings(path: Path, record: dict, kind: str, settings: dict) -> None:
    """ValueError where the record has this kind of edit with other settings."""
    if kind in record["settings"]:
        records.check_same(path, record["settings"][kind], settings)


def add(path: Path, kind: str, settings: dict, cells: dict[str, Cell]) -> dict:
    """Write new cells of a kind into the record at `path`, beside what other commands have written meanwhile.

    Returns the record. ValueError where another command has written this kind with other settings.
    """
    record = read_record(path)
    check_settings(path, record, kind, settings)
    record["settings"][kind] = settings
    record["cells"][kind] = record["cells"].get(kind, {}) | cells
    write_json(path, record)
    return record


def table(kind: str, record: dict, path: Path, new: dict[str, Cell]) -> str:
    """One kind of edit as text, its settings first; a cell that was not measured now is labelled."""
    settings, cells = record["settings"][kind], record["cells"][kind]
    lines = [f"{kind}: " + ", ".join(f"{k} {v}" for k, v in settings.items() if v is not None and k != "sha256")]
    for column, cell in cells.items():
        numbers = "  ".join(f"{k} {v:.4g}" for k, v in cell.items() if v is not None)
        lines.append(f"  {column:16s} {numbers}" + ("" if column in new else f"  (read from {path})"))
    return "\n".join(lines)
