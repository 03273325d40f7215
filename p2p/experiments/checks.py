"""What both commands refuse before any work."""

from pathlib import Path


def check_guidance(scale: float) -> None:
    """ValueError for guidance below 1: at 0 the network is not asked about the prompt, and below it walks away."""
    if scale < 1:
        raise ValueError(f"--scale is {scale:g}: expected 1 (no guidance) or more, for an edit follows its prompt")


def check_steps(steps: int, T: int) -> None:
    """ValueError for more steps than the model has times."""
    if steps > T:
        raise ValueError(f"{steps} steps are more than this model's {T} times: give fewer with --steps")


def check_file(path: Path) -> None:
    """ValueError for a folder where a file is to be written."""
    if path.is_dir():
        raise ValueError(f"--out: {path} is a folder: expected the name of a file")
