"""Sample from trained models, measure them, and draw their networks."""

import sys
from functools import partial

from .experiments import caption_accuracy, classifier, diagram, likelihood, neighbours, reproduce, sample, ship, speed
from .utils import cli

COMMANDS = {
    "sample": sample, "score": caption_accuracy, "bound": likelihood, "neighbours": neighbours,
    "classifier": classifier, "speed": speed, "diagram": diagram, "reproduce": reproduce, "ship": ship,
}  # fmt: skip
main = partial(cli.main, "python -m ddpm", __doc__, COMMANDS)

if __name__ == "__main__":
    sys.exit(main())
