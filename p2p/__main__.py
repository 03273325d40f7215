"""Prompt-to-Prompt at the terminal: edit an image through its caption, and score many edits."""

import sys

from ddpm.utils import cli

from .experiments import edit, live, schedule, score, truth

COMMANDS = {"edit": edit, "live": live, "schedule": schedule, "score": score, "truth": truth}


def main(argv: list[str] | None = None) -> int:
    """Run a command; without one, list them. Returns the exit code."""
    return cli.main("python -m p2p", __doc__, COMMANDS, argv)


if __name__ == "__main__":
    sys.exit(main())
