"""Time grids: which of the T times a sampler visits (DDIM section 4.2, Song, Meng & Ermon 2021).

A grid is a list of ints from its first time down to 0. Samplers walk it in pairs (t, s), so the next time always comes
from the list. Grids differ between published programs, and the numbers with them: print the grid beside each number.
"""

from itertools import pairwise
from numbers import Integral

import numpy as np

SPACINGS = ("linear", "quadratic")


def timesteps(T: int, S: int, spacing: str = "linear") -> list[int]:
    """The times of S steps, descending, distinct, ending at 0: S + 1 ints for S in 1..T.

    - "linear": t_i = floor(i T / S), i = S..0. Exactly S steps for every S, always starting at T, where x_T is noise.
      S = T is every time.
    - "quadratic": the published code's grid for CIFAR-10, (linspace(0, sqrt(0.8 T), S))^2 rounded down. That code
      counts from 0, so each of its times is one more here. It starts at 0.8 T + 1, and the smallest times, less than
      one apart, coincide: they are listed once, so the grid can have fewer than S steps (len(grid) - 1 says how many).
      For S = 1, where the published grid would be the single time 1, it starts at 0.8 T + 1 like all the others.

    ValueError: S outside 1..T, an unknown spacing.
    """
    if not isinstance(S, Integral) or not 1 <= S <= T:
        raise ValueError(f"S is {S!r} steps, expected a whole number in 1..{T} (T)")
    if spacing not in SPACINGS:
        raise ValueError(f"spacing is {spacing!r}, expected one of {', '.join(SPACINGS)}")
    if spacing == "linear":
        return [i * T // int(S) for i in range(int(S), -1, -1)]
    below = np.linspace(0, np.sqrt(0.8 * T), S)[:-1]
    start = 8 * T // 10 + 1  # in whole numbers: a root's square can come out just below
    return sorted({int(root**2) + 1 for root in below} | {start, 0}, reverse=True)


def as_grid(T: int, steps: int | list[int], spacing: str = "linear") -> list[int]:
    """A number of steps as a grid; an explicit list of times is checked and returned.

    ValueError: a list that is not strictly descending whole numbers, leaves 0..T or has fewer than two times.
    """
    if not isinstance(steps, list | tuple):
        return timesteps(T, steps, spacing)
    if fractions := [t for t in steps if int(t) != t]:
        raise ValueError(f"the time {fractions[0]} is no whole number: expected times in 0..{T} (T)")
    grid = [int(t) for t in steps]
    if len(grid) < 2 or any(t <= s for t, s in pairwise(grid)) or grid[0] > T or grid[-1] < 0:
        raise ValueError(f"the times {grid} must be two or more, strictly descending, in 0..{T} (T)")
    return grid
