"""The journal of a batch tells what is done, of which input, with which parameters and network.

Results are written before their rows. A run that is killed in between makes these results again.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cellserve.errors import CellServeError, refusal

from .rows import Key, Row

COMMIT_S = 1.0
"""Longest time between the end of an image and its commit. What a kill takes along is made again."""
State = Literal["done", "failed"]


@dataclass(frozen=True, slots=True)
class Listed:
    """An image file of the run.

    Attributes:
        image: Its number in the journal.
        name: Its name relative to the inputs, with slashes.
        path: Its path.
        stem: Path that the names of its results begin with.
        identity: Identity of the file when its rows were last listed; None: never.
        rows: Number of its rows then.
    """

    image: int
    name: str
    path: Path
    stem: str
    identity: str | None
    rows: int | None


@dataclass(frozen=True, slots=True)
class Entry:
    """What the journal knows of a row that has ended.

    Attributes:
        key: Identifies the row.
        name: Its name.
        state: "done" or "failed".
        identity: Identity of the input.
        request: Fingerprint of what was asked for.
        sha256: Checksum of the network that answered; "" for a failed row.
        finished: Seconds since 1970.
        record: What came of the image, as `outcome.Outcome.record` returns it.
    """

    key: Key
    name: str
    state: State
    identity: str
    request: str
    sha256: str
    finished: float
    record: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers of rows. A file whose rows were never listed counts as one that is left."""

    done: int
    failed: int
    left: int


class Journal:
    """An open journal; `journal_file.opened` opens one. Not thread-safe."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._committed = time.monotonic()
        self.run = int(self.fact("run") or 0)

    def fact(self, name: str) -> str | None:
        """Returns a fact about the batch, such as the model family; None if it is not known."""
        found = self._connection.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return None if found is None else str(found[0])

    def note(self, **facts: str) -> None:
        """Keeps facts about the batch."""
        self._connection.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", facts.items())

    def begin(self) -> None:
        """Begins a run: images that are not listed again do not belong to it."""
        self.run += 1
        self.note(run=str(self.run))

    def enlist(self, name: str, path: Path, stem: str, *, claim: str | None = None, own: bool = True) -> bool:
        """Lists an image of the run.

        Args:
            name: Its name relative to the inputs, with slashes.
            path: Its path.
            stem: Path that the names of its results begin with, relative to the folder of all results.
            claim: What no two images share, `saving.claim_of` the stem; None: the stem.
            own: Whether this run works on it; False: another shard does.

        Returns:
            False if the run has the image already.

        Raises:
            InvalidRequestError: RUN_STOPPED: another image that is still there has the name or the result files.
        """
        named = self._connection.execute("SELECT path, run FROM images WHERE name = ?", (os.fsencode(name),)).fetchone()
        if named is not None:
            other, run = _path(named[0]), named[1]
            if other == path and run == self.run:
                return False
            if other != path and (run == self.run or other.exists()):
                raise _clash(path, other, "have the same name")
        claim = stem if claim is None else claim
        owner = self._connection.execute(
            "SELECT image, path, run FROM images WHERE claim = ? AND name != ?", (os.fsencode(claim), os.fsencode(name))
        ).fetchone()
        if owner is not None:
            image, other, run = owner[0], _path(owner[1]), owner[2]
            if run == self.run or other.exists():
                raise _clash(path, other, "have the same result files")
            self._connection.execute("DELETE FROM rows WHERE image = ?", (image,))
            self._connection.execute("DELETE FROM images WHERE image = ?", (image,))
        self._connection.execute(
            "INSERT INTO images (name, path, stem, claim, run, own) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (name) "
            "DO UPDATE SET path = excluded.path, stem = excluded.stem, claim = excluded.claim, run = excluded.run, "
            "own = excluded.own",
            (os.fsencode(name), os.fsencode(path), os.fsencode(stem), os.fsencode(claim), self.run, own),
        )
        return True

    def has(self, path: Path) -> bool:
        """Tells whether an image of the run, or of another shard, has a path."""
        query = "SELECT 1 FROM images WHERE path = ? AND run = ?"
        return self._connection.execute(query, (os.fsencode(path), self.run)).fetchone() is not None

    def owner(self, claim: str) -> Path | None:
        """Returns the image of the run, or of another shard, that has a claim."""
        query = "SELECT path FROM images WHERE claim = ? AND run = ?"
        found = self._connection.execute(query, (os.fsencode(claim), self.run)).fetchone()
        return None if found is None else _path(found[0])

    def images(self) -> Iterator[Listed]:
        """Yields the images of the run by name."""
        last = b""
        while True:  # in parts: rows are written in between
            part = self._connection.execute(
                f"{_LISTED} WHERE run = ? AND own AND name > ? ORDER BY name LIMIT 1000", (self.run, last)
            ).fetchall()
            if not part:
                return
            last = part[-1][1]
            yield from map(_listed, part)

    def image_named(self, name: str) -> Listed | None:
        """Returns the image of a name, of whatever run; None if there is none."""
        found = self._connection.execute(f"{_LISTED} WHERE name = ?", (os.fsencode(name),)).fetchone()
        return None if found is None else _listed(found)

    def image_count(self) -> int:
        """Returns the number of images of the run."""
        query = "SELECT count(*) FROM images WHERE run = ? AND own"
        return int(self._connection.execute(query, (self.run,)).fetchone()[0])

    def list_rows(self, image: int, identity: str | None, keys: list[Key]) -> list[Entry]:
        """Notes which rows an image has. Returns what came of rows that the image no longer has, and forgets it."""
        self._connection.execute(
            "UPDATE images SET identity = ?, rows = ? WHERE image = ?", (identity, len(keys), image)
        )
        gone = [entry for entry in self.entries_of(image) if entry.key not in set(keys)]
        for entry in gone:
            self.drop(entry.key)
        return gone

    def entry(self, key: Key) -> Entry | None:
        """Returns what came of a row earlier."""
        found = self._connection.execute(
            f"SELECT {_COLUMNS} FROM rows WHERE image = ? AND position = ? AND time_point = ?", key
        ).fetchone()
        return None if found is None else _entry(found)

    def entries_of(self, image: int) -> list[Entry]:
        """Returns what came of the rows of an image earlier."""
        found = self._connection.execute(f"SELECT {_COLUMNS} FROM rows WHERE image = ?", (image,))
        return [_entry(each) for each in found]

    def entries(self, state: State | None = None) -> Iterator[Entry]:
        """Yields what came of the rows of the run's images, by name of the image."""
        chosen = "" if state is None else "AND state = ?"
        query = (
            f"SELECT {_COLUMNS_OF_ROWS} FROM rows JOIN images USING (image) "
            f"WHERE images.run = ? AND own {chosen} ORDER BY images.name, position, time_point"
        )
        with closing(self._connection.execute(query, (self.run, *([] if state is None else [state])))) as found:
            for each in found:
                yield _entry(each)

    def drop(self, key: Key) -> None:
        """Forgets what came of a row: the row is made again."""
        for table in ("rows", "pictures"):
            self._connection.execute(f"DELETE FROM {table} WHERE image = ? AND position = ? AND time_point = ?", key)

    def add(self, row: Row, state: State, request: str, sha256: str, record: Mapping[str, Any]) -> None:
        """Records what came of a row. The results of a row that is done are on disk already."""
        self._connection.execute(
            "INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*row.key, os.fsencode(row.name), state, row.identity, request, sha256, time.time(), json.dumps(record)),
        )
        self._connection.execute("DELETE FROM pictures WHERE image = ? AND position = ? AND time_point = ?", row.key)

    def keep_picture(self, key: Key, flow_error: float, picture: bytes, most: int) -> None:
        """Keeps the picture of a row while it is among the worst; drops the best of those that are too many."""
        self._connection.execute("INSERT OR REPLACE INTO pictures VALUES (?, ?, ?, ?, ?)", (*key, flow_error, picture))
        self._connection.execute(
            "DELETE FROM pictures WHERE (image, position, time_point) IN (SELECT image, position, time_point "
            "FROM pictures ORDER BY flow_error DESC, image, position, time_point LIMIT -1 OFFSET ?)",
            (most,),
        )

    def least_error_kept(self, most: int) -> float:
        """Returns the flow error that a picture must exceed to be kept; -1 while there is room."""
        found = self._connection.execute("SELECT count(*), min(flow_error) FROM pictures").fetchone()
        return float(found[1]) if found[0] >= most else -1.0

    def pictures(self) -> list[tuple[Entry, bytes]]:
        """Returns the kept pictures of the run's images, the worst flow error first."""
        found = self._connection.execute(
            f"SELECT {_COLUMNS_OF_ROWS}, picture FROM pictures JOIN rows USING (image, position, time_point) "
            "JOIN images USING (image) WHERE images.run = ? AND own "
            "ORDER BY flow_error DESC, images.name, position, time_point",
            (self.run,),
        )
        return [(_entry(each[:-1]), each[-1]) for each in found]

    def counts(self) -> Counts:
        """Returns how many rows of the run's images are done, have failed, and are left."""
        states = dict(
            self._connection.execute(
                "SELECT state, count(*) FROM rows JOIN images USING (image) "
                "WHERE images.run = ? AND own GROUP BY state",
                (self.run,),
            ).fetchall()
        )
        rows = self._connection.execute(
            "SELECT coalesce(sum(coalesce(rows, 1)), 0) FROM images WHERE run = ? AND own", (self.run,)
        ).fetchone()[0]
        done, failed = states.get("done", 0), states.get("failed", 0)
        return Counts(done, failed, max(0, rows - done - failed))

    def commit(self, *, now: bool = True) -> None:
        """Makes what was recorded durable: at once, or if the last time is long enough ago."""
        if now or time.monotonic() - self._committed >= COMMIT_S:
            self._connection.commit()
            self._committed = time.monotonic()


def _clash(path: Path, other: Path, why: str) -> CellServeError:
    return refusal(
        f"{path} and {other} {why}. Leave one out with --exclude, or choose different folders with --out", "RUN_STOPPED"
    )


_LISTED = "SELECT image, name, path, stem, identity, rows FROM images"
_NAMES = ("image", "position", "time_point", "name", "state", "identity", "request", "sha256", "finished", "record")
_COLUMNS = ", ".join(_NAMES)
_COLUMNS_OF_ROWS = ", ".join(f"rows.{name}" for name in _NAMES)


def _entry(found: tuple[Any, ...]) -> Entry:
    image, position, time_point, name, state, identity, request, sha256, finished, record = found
    key = image, position, time_point
    return Entry(key, os.fsdecode(name), state, identity, request, sha256, finished, json.loads(record))


def _path(stored: bytes) -> Path:
    """Returns a path. Names can have bytes that are no UTF-8, which a text of SQLite cannot hold."""
    return Path(os.fsdecode(stored))


def _listed(found: tuple[Any, ...]) -> Listed:
    image, name, path, stem, identity, rows = found
    return Listed(image, os.fsdecode(name), _path(path), os.fsdecode(stem), identity, rows)
