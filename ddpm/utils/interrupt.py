"""Ctrl-C while PyTorch is imported, the first seconds of a command: one line, and exit code 130.

Imported before anything slow. A notebook or a script of one's own is left alone; `cli.exit_code` takes over.
"""

import os
import signal
import sys


def leave(*_: object) -> None:
    """Nothing has begun, and nothing is to be cleared away."""
    os.write(2, b"interrupted\n")
    os._exit(130)


first = sys.argv[0] == "-m" or os.path.basename(sys.argv[0]) == "train.py"  # "-m": a package is imported to be run
if first and signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a job in the background ignores it
    signal.signal(signal.SIGINT, leave)
