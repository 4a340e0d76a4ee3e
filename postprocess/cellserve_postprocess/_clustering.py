"""Kernels that group pixels by where they end. Plain twins of the same names: `reference`.

An image is a volume of one plane: windows and neighbours are those of three axes.
"""

import numpy as np
from cellserve_preprocess.jit import kernel
from numpy.typing import NDArray

SEED_COUNT = 10
"""More pixels than these must end at a position for it to found an object; fewer do if smaller objects are wanted."""
SPREAD = 1
"""Pixels that end at most this far from a position may found an object with it: a window of 3 x 3 (x 3)."""
SEED_REACH = 2
"""A seed is a maximum among the positions at most this far away: a window of 5 x 5 (x 5)."""
REGION_COUNT = 2
"""More pixels than these must end at a position for it to join the region of a seed (paper: "at least three")."""


@kernel
def count_ends(ends: NDArray[np.int32], first: int, last: int, counts: NDArray[np.int32]) -> None:
    """Count the pixels of the rows `first` to `last` (exclusive) that end at each position.

    Args:
        ends: int32 [rows, X], flat indices; negative where no pixel was followed.
        first, last: rows.
        counts: int32 [rows, X]; added to.
    """
    flat = counts.ravel()
    for y in range(first, last):
        for x in range(ends.shape[1]):
            if ends[y, x] >= 0:
                flat[ends[y, x]] += 1


@kernel
def find_seeds(counts: NDArray[np.int32], reach: int, count: int, first: int, last: int) -> NDArray[np.int32]:
    """Flat indices of the seeds in the rows `first` to `last` (exclusive), in row-major order.

    Args:
        counts: int32 [Z, Y, X], of `count_ends`.
        reach: pixels that end at most this far from a position count for it; at most SEED_REACH.
        count: more pixels than these found an object, at least REGION_COUNT.
        first, last: rows; row r is row r % Y of plane r // Y.
    """
    depth, height, width = counts.shape
    seeds = np.empty((last - first) * width, np.int32)
    found = 0
    for row in range(first, last):
        z, y = divmod(row, height)
        for x in range(width):
            if counts[z, y, x] <= REGION_COUNT:
                continue
            highest = counts[z, y, x]
            total = 0
            for near_z in range(max(0, z - SEED_REACH), min(depth, z + SEED_REACH + 1)):
                for near_y in range(max(0, y - SEED_REACH), min(height, y + SEED_REACH + 1)):
                    for near_x in range(max(0, x - SEED_REACH), min(width, x + SEED_REACH + 1)):
                        near = counts[near_z, near_y, near_x]
                        highest = max(highest, near)
                        if abs(near_z - z) <= reach and abs(near_y - y) <= reach and abs(near_x - x) <= reach:
                            total += near
            if counts[z, y, x] == highest and total > count:
                seeds[found] = row * width + x
                found += 1
    return seeds[:found].copy()


@kernel
def grow_all(counts: NDArray[np.int32], seeds: NDArray[np.int32], reach: int, cancelled: NDArray[np.uint8]) -> int:
    """Let the region of each seed grow through all neighbouring positions that enough pixels end at (paper).

    Seeds whose regions touch would contest every position of them, so the largest takes all: they are one object.

    Args:
        counts: int32 [Z, Y, X], of `count_ends`; positions of object n become -n.
        seeds: of `find_seeds`; objects are numbered in their order.
        reach: what lies at most this far from a seed that founds an object joins it, however few pixels end there.
        cancelled: uint8 [1]; once not zero, the work ends early.

    Returns:
        The number of objects.
    """
    depth, height, width = counts.shape
    flat = counts.ravel()
    # Of all positions that can join, each is pushed once. What is not used of it takes no memory.
    stack = np.empty(flat.size // (REGION_COUNT + 1) + 1, np.int32)
    objects = 0
    for seed in seeds:
        if flat[seed] < 0:
            continue
        objects += 1
        flat[seed] = -objects
        stack[0] = seed
        top = 1
        while top > 0 and cancelled[0] == 0:
            top -= 1
            row, centre_x = divmod(stack[top], width)
            centre_z, centre_y = divmod(row, height)
            for z in range(max(0, centre_z - 1), min(depth, centre_z + 2)):
                for y in range(max(0, centre_y - 1), min(height, centre_y + 2)):
                    for x in range(max(0, centre_x - 1), min(width, centre_x + 2)):
                        if counts[z, y, x] > REGION_COUNT:
                            counts[z, y, x] = -objects
                            stack[top] = (z * height + y) * width + x
                            top += 1
        row, seed_x = divmod(seed, width)
        seed_z, seed_y = divmod(row, height)
        for z in range(max(0, seed_z - reach), min(depth, seed_z + reach + 1)):
            for y in range(max(0, seed_y - reach), min(height, seed_y + reach + 1)):
                for x in range(max(0, seed_x - reach), min(width, seed_x + reach + 1)):
                    if 0 < counts[z, y, x] <= REGION_COUNT:
                        counts[z, y, x] = -objects
    return objects


@kernel
def grow_rounds(counts: NDArray[np.int32], seeds: NDArray[np.int32], order: NDArray[np.int64], rounds: int) -> None:
    """Let the region of each seed grow a number of times by its neighbours that enough pixels end at (Cellpose).

    The first seed in the order takes what several would reach. Arguments otherwise as of `grow_all`; a seed may end
    up with nothing.
    """
    depth, height, width = counts.shape
    flat = counts.ravel()
    side = 2 * rounds + 1
    planes = min(depth, rounds + 1) - 1
    reached = np.empty((2 * planes + 1, side, side), np.bool_)
    stack = np.empty(reached.size, np.int32)
    for i in order:
        row, seed_x = divmod(seeds[i], width)
        seed_z, seed_y = divmod(row, height)
        reached[:] = False
        reached[planes, rounds, rounds] = True
        stack[0] = seeds[i]
        begin = 0
        end = 1
        for _ in range(rounds):
            so_far = end
            while begin < so_far:
                row, centre_x = divmod(stack[begin], width)
                centre_z, centre_y = divmod(row, height)
                begin += 1
                for z in range(max(0, centre_z - 1), min(depth, centre_z + 2)):
                    for y in range(max(0, centre_y - 1), min(height, centre_y + 2)):
                        for x in range(max(0, centre_x - 1), min(width, centre_x + 2)):
                            # What another seed has taken is dense, too: it can be crossed.
                            dense = counts[z, y, x] > REGION_COUNT or counts[z, y, x] < 0
                            place = (z - seed_z + planes, y - seed_y + rounds, x - seed_x + rounds)
                            if dense and not reached[place]:
                                reached[place] = True
                                stack[end] = (z * height + y) * width + x
                                end += 1
        for position in stack[:end]:
            if flat[position] > 0:
                flat[position] = -(i + 1)


@kernel
def assign(ends: NDArray[np.int32], counts: NDArray[np.int32], first: int, last: int) -> None:
    """Give the pixels of the rows `first` to `last` (exclusive) the number of the object they end in, in place.

    Args:
        ends: int32 [rows, X], flat indices, negative for none; becomes 0 or 1..N.
        counts: int32 [rows, X], negative numbers of objects where they are.
        first, last: rows.
    """
    flat = counts.ravel()
    for y in range(first, last):
        for x in range(ends.shape[1]):
            number = 0
            if ends[y, x] >= 0:
                number = max(0, -flat[ends[y, x]])
            ends[y, x] = number
