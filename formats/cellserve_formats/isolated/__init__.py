"""Reads image files of strangers: each in a process of its own, with bounded memory and processor time."""

from .memory_file import MemoryFile
from .reader import POLL_S, IsolatedReader

__all__ = ["POLL_S", "IsolatedReader", "MemoryFile"]
