"""The tiles that the networks run on: facts of the contract's TileGrid."""

from __future__ import annotations

TILE = 224
"""Side of a tile in pixels: the size of the crops the networks were trained on."""

MARGIN = 8
"""Zeros around an image, in pixels: the networks see that it ends there (docs/decisions/0004)."""
