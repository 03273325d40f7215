"""How every command of the project ends."""

import sys
from collections.abc import Callable


def exit_code(name: str, work: Callable[[], object]) -> int:
    """Run a command: 0 done; 2 bad input, told in one line; 1 the loss was not finite; 130 interrupted. Bugs keep their traceback."""
    try:
        work()
    except (ValueError, FloatingPointError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1 if isinstance(error, FloatingPointError) else 2
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return 130
    return 0
