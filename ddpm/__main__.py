"""Sample from trained models, measure them, and draw their networks."""

import sys

from .experiments import caption_accuracy, classifier, diagram, likelihood, neighbours, reproduce, sample, ship, speed
from .utils import cli

COMMANDS = {
    "sample": sample,
    "score": caption_accuracy,
    "bound": likelihood,
    "neighbours": neighbours,
    "classifier": classifier,
    "speed": speed,
    "diagram": diagram,
    "reproduce": reproduce,
    "ship": ship,
}


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    return cli.main("python -m ddpm", __doc__, COMMANDS, argv)


if __name__ == "__main__":
    sys.exit(main())
