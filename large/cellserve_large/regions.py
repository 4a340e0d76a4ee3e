"""Stage two: the regions in which pixels end, block by block; and their union to the objects of the image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from cellserve_postprocess import stages
from cellserve_postprocess.stages import SeedRule
from numpy.typing import NDArray

from .geometry import Box
from .union import union


@dataclass(frozen=True, slots=True)
class Regions:
    """The positions of a block that belong to regions. A region of the block has a key, 0..K - 1.

    With regions that grow until they are complete, a key is a connected component of dense positions, as far as the
    block and the positions around it tell. More keys are for the seeds of the block: positions beside a seed join its
    object if the seed is the one that founds the object. With regions that grow a number of times, a key is a seed.

    Attributes:
        positions: int64 [n], flat indices in the image.
        keys: int32 [n], the key of each; a position may occur with several.
        seeds: int64 [s], flat indices in the image of the seeds in the block, ascending.
        seed_keys: int32 [s], the component of each seed, where keys are components.
        founders: int64 [K], for each key the seed that it stands for; -1 where it is a component.
        border: int64 [b], positions at the border of the block and just outside that belong to a component.
        border_keys: int32 [b], the component of each.
    """

    positions: NDArray[np.int64]
    keys: NDArray[np.int32]
    seeds: NDArray[np.int64]
    seed_keys: NDArray[np.int32]
    founders: NDArray[np.int64]
    border: NDArray[np.int64]
    border_keys: NDArray[np.int32]


def halo(rule: SeedRule) -> int:
    """Returns how many positions around a block decide on the regions in it. The reach of a rule is less."""
    return stages.SEED_REACH + (rule.rounds or 0)


def find_regions(counts: NDArray[np.int32], window: Box, box: Box, shape: tuple[int, ...], rule: SeedRule) -> Regions:
    """Find the regions in a block.

    Args:
        counts: int32, number of pixels that end at each position of the window; overwritten.
        window: the block, grown by `halo`.
        box: the block.
        shape: of the image.
        rule: where objects are founded, and how far they reach.
    """
    seeds = stages.find_seeds(counts, rule)
    coordinates = np.unravel_index(seeds, window.shape)
    if rule.rounds is None:
        seeds = seeds[box.contains(_moved(coordinates, window))]
        return _components(counts, seeds, window, box, shape, rule)
    # Seeds farther away do not reach the block, and their surroundings are not known.
    seeds = seeds[box.grown(rule.rounds, shape).contains(_moved(coordinates, window))]
    owners = stages.grow_rounds(counts, seeds, rule)[box.within(window)]
    places = np.flatnonzero(owners)
    positions = window.to_image(seeds, shape)
    keys = owners.ravel()[places].astype(np.int32) - 1
    inside = box.contains(np.unravel_index(positions, shape))
    return Regions(
        positions=box.to_image(places, shape),
        keys=keys,
        seeds=positions[inside],
        seed_keys=np.empty(0, np.int32),
        founders=positions,
        border=np.empty(0, np.int64),
        border_keys=np.empty(0, np.int32),
    )


def _components(
    counts: NDArray[np.int32],
    seeds: NDArray[np.int32],
    window: Box,
    box: Box,
    shape: tuple[int, ...],
    rule: SeedRule,
) -> Regions:
    near = box.grown(1, shape)
    labels = stages.components(np.ascontiguousarray(counts[near.within(window)]))
    dense = np.flatnonzero(labels)
    inside = box.contains(_moved(np.unravel_index(dense, near.shape), near))
    components = labels.ravel()[dense] - 1
    # Components that only touch the block are left to the blocks they lie in.
    own = np.zeros(components.max(initial=-1) + 1, np.bool_)
    own[components[inside]] = True
    numbers = (np.cumsum(own) - 1).astype(np.int32)
    inner = Box(tuple(first + 1 for first in box.start), tuple(last - 1 for last in box.stop))
    at_border = own[components] & ~inner.contains(_moved(np.unravel_index(dense, near.shape), near))
    count = int(own.sum())
    positions, keys = [near.to_image(dense[inside], shape)], [numbers[components[inside]]]
    founders = np.full(count, -1, np.int64)
    seed_positions = window.to_image(seeds, shape)
    if rule.reach:
        seed, place = stages.neighbours(counts, seeds, rule)
        positions.append(window.to_image(place, shape))
        keys.append((count + seed).astype(np.int32))
        founders = np.concatenate([founders, seed_positions])
    at_seeds = labels.ravel()[near.from_image(seed_positions, shape)] - 1
    return Regions(
        positions=np.concatenate(positions),
        keys=np.concatenate(keys),
        seeds=seed_positions,
        seed_keys=numbers[at_seeds] if seeds.size else np.empty(0, np.int32),
        founders=founders,
        border=near.to_image(dense[at_border], shape),
        border_keys=numbers[components[at_border]],
    )


def _moved(coordinates: tuple[NDArray[np.intp], ...], window: Box) -> tuple[NDArray[np.intp], ...]:
    return tuple(axis + first for axis, first in zip(coordinates, window.start, strict=True))


@dataclass(frozen=True, slots=True)
class Numbering:
    """The objects of an image before any is dropped: 1..N, by the position of the seed that founds each.

    Attributes:
        objects: N.
        numbers: int32, the object of every key of every block, one block after another; 0 for none.
        offsets: int64 [blocks + 1], where the keys of each block begin.
    """

    objects: int
    numbers: NDArray[np.int32]
    offsets: NDArray[np.int64]


def number_regions(blocks: list[Regions]) -> Numbering:
    """Join regions that blocks share, and number the objects. Memory grows with keys and borders, not with pixels."""
    offsets = np.cumsum([0, *(block.founders.size for block in blocks)], dtype=np.int64)
    founders = np.concatenate([np.empty(0, np.int64), *(block.founders for block in blocks)])
    seeds = np.concatenate([np.empty(0, np.int64), *(block.seeds for block in blocks)])
    if not any(block.seed_keys.size for block in blocks):
        objects = np.sort(seeds)
        return Numbering(objects.size, _numbered(founders, objects), offsets)
    borders = np.concatenate([np.empty(0, np.int64), *(block.border for block in blocks)])
    border_keys = np.concatenate([b.border_keys + first for b, first in zip(blocks, offsets, strict=False)])
    order = np.argsort(borders, kind="stable")
    same = np.flatnonzero(np.diff(borders[order]) == 0)
    roots = union(founders.size, border_keys[order[same]], border_keys[order[same + 1]])
    seed_keys = np.concatenate([b.seed_keys + first for b, first in zip(blocks, offsets, strict=False)])
    first_seeds = np.full(founders.size, np.iinfo(np.int64).max)
    np.minimum.at(first_seeds, roots[seed_keys], seeds)
    objects = np.unique(first_seeds[roots[seed_keys]])
    return Numbering(objects.size, _numbered(np.where(founders < 0, first_seeds[roots], founders), objects), offsets)


def _numbered(founders: NDArray[np.int64], objects: NDArray[np.int64]) -> NDArray[np.int32]:
    """Returns the number of the object that each seed founds, 0 where it founds none."""
    numbers = np.searchsorted(objects, founders)
    numbers[numbers == objects.size] = 0
    known = objects[numbers] == founders if objects.size else np.zeros(founders.size, np.bool_)
    return np.where(known, numbers + 1, 0).astype(np.int32)


def look_up(positions: NDArray[np.int64], known: NDArray[np.int64], numbers: NDArray[np.int32]) -> NDArray[np.int32]:
    """Returns the objects of positions, int32 [n], 0 for none; of several objects the first.

    Args:
        positions: int64 [n], flat indices in the image.
        known: int64 [k], positions in regions; a position may occur several times.
        numbers: int32 [k], the object of each, 0 for none.
    """
    known, numbers = known[numbers > 0], numbers[numbers > 0]
    order = np.lexsort((numbers, known))
    known, numbers = known[order], numbers[order]
    if not known.size:
        return np.zeros(positions.size, np.int32)
    # The leftmost of equal positions has the smallest number.
    places = np.minimum(np.searchsorted(known, positions), known.size - 1)
    return np.where(known[places] == positions, numbers[places], 0)
