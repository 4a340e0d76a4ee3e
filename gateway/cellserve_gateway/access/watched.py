"""Files that another program renews: Kubernetes, cert-manager, a person."""

from __future__ import annotations

from pathlib import Path


class WatchedFiles:
    """Tells when files have been renewed."""

    def __init__(self, *paths: Path) -> None:
        self._paths = paths
        self._seen: tuple[tuple[int, int, int], ...] = ()

    def changed(self) -> bool:
        """Returns whether a file has changed since the last call.

        Raises:
            OSError: A file cannot be read.
        """
        # The inode, too: Kubernetes swaps a link to a new folder, whose files can be as old as those before.
        now = tuple((status.st_mtime_ns, status.st_size, status.st_ino) for status in (p.stat() for p in self._paths))
        changed, self._seen = now != self._seen, now
        return changed
