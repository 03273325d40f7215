"""What DDIM can do: sampling in few steps, inversion and editing, measured and drawn."""

import sys
from functools import partial

from ddpm.utils import cli

from .experiments import control, edit, figures, mistakes, reconstruct, sample, strength_sweep, table

COMMANDS = {
    "sample": sample, "edit": edit, "figures": figures, "table": table, "reconstruct": reconstruct,
    "sweep": strength_sweep, "mistakes": mistakes, "control": control,
}  # fmt: skip
main = partial(cli.main, "python -m ddim", __doc__, COMMANDS)

if __name__ == "__main__":
    sys.exit(main())
