"""The service as Imaging Server Kit's clients call it: each model family is an algorithm.

The routes, layers and encodings are those of version 0.3.1 of the kit, https://pypi.org/project/imaging-server-kit/.
Nothing of the kit is imported.
"""

from .interface import INFO_PATH, PREFIX, KitInterface, info

__all__ = ["INFO_PATH", "PREFIX", "KitInterface", "info"]
