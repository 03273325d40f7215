"""Prompt-to-Prompt at the terminal: edit an image through its caption, and score many edits."""

import sys
from functools import partial

from ddpm.utils import cli

from .experiments import edit, live, schedule, score, truth

COMMANDS = {"edit": edit, "live": live, "schedule": schedule, "score": score, "truth": truth}
main = partial(cli.main, "python -m p2p", __doc__, COMMANDS)

if __name__ == "__main__":
    sys.exit(main())
