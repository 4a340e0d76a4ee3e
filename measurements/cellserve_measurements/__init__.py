"""Measurements of segmented objects, with the definitions and names of scikit-image's `regionprops`."""

from .measurement import PixelSize, measure

__all__ = ["PixelSize", "measure"]
