"""Run folders: numbered, never overwritten, complete in themselves."""

import json
import subprocess
from functools import cache
from pathlib import Path

from ..utils.files import write_text


def new_run(root: Path, name: str) -> Path:
    """Make and return root/00007-name, one above the highest number there is."""
    root.mkdir(parents=True, exist_ok=True)
    taken = [int(path.name[:5]) for path in root.iterdir() if path.name[:5].isdigit()]
    path = root / f"{max(taken, default=-1) + 1:05d}-{name}"
    path.mkdir()
    return path


@cache
def code_version() -> str:
    """The commit of this code at the first call, with "-dirty" after local changes; "unknown" outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def append(path: Path, record: dict) -> None:
    """Add one line to a .jsonl file. OSError, naming the file, where it cannot be written."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
    except OSError as error:
        raise OSError(f"cannot write {path}: {error.strerror}") from error


def drop_torn_line(path: Path) -> None:
    """Drop a last line without an end, which a full disk or a killed process leaves."""
    if path.exists() and (text := path.read_text(encoding="utf-8")) and not text.endswith("\n"):
        write_text(path, text[: text.rfind("\n") + 1])


def lines(path: Path) -> list[dict]:
    """The records of a metrics file by step; where a resumed run went over steps again, the later record counts."""
    records = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return [record for _, record in sorted({record["step"]: record for record in records}.items())]
