"""The file of a journal: made, locked, opened.

One process opens the journal, and holds its lock until it ends. The lock is that of SQLite's rollback journal, which
works on network file systems that have locks. The write-ahead log, which needs shared memory, is not used. The system
releases the lock when the process ends, however it ends.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from cellserve.errors import CellServeError, refusal

from .journal import Journal

NAME = "journal.sqlite"
FORMAT = 1
_SCHEMA = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE images (
  image INTEGER PRIMARY KEY,
  name BLOB NOT NULL UNIQUE,
  path BLOB NOT NULL,
  stem BLOB NOT NULL,
  claim BLOB NOT NULL UNIQUE,
  run INTEGER NOT NULL,
  own INTEGER NOT NULL,
  identity TEXT,
  rows INTEGER
);
CREATE INDEX images_by_path ON images (path);
CREATE TABLE rows (
  image INTEGER NOT NULL,
  position INTEGER NOT NULL,
  time_point INTEGER NOT NULL,
  name BLOB NOT NULL,
  state TEXT NOT NULL,
  identity TEXT NOT NULL,
  request TEXT NOT NULL,
  sha256 TEXT NOT NULL,
  finished REAL NOT NULL,
  record TEXT NOT NULL,
  PRIMARY KEY (image, position, time_point)
) WITHOUT ROWID;
CREATE TABLE pictures (
  image INTEGER NOT NULL,
  position INTEGER NOT NULL,
  time_point INTEGER NOT NULL,
  flow_error REAL NOT NULL,
  picture BLOB NOT NULL,
  PRIMARY KEY (image, position, time_point)
) WITHOUT ROWID;
CREATE INDEX pictures_by_error ON pictures (flow_error);
"""


@contextmanager
def opened(folder: Path) -> Iterator[Journal]:
    """Opens the journal in a folder, or makes a new one. Nobody else has it open meanwhile.

    Raises:
        InvalidRequestError: RUN_STOPPED: another run has the journal open, or the file is no journal of this format.
            FILE_UNWRITABLE: the journal cannot be written, now or later, as on a full disk.
        OSError: The folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / NAME
    with closing(_connected(path)) as connection:
        try:
            connection.executescript("PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=DELETE; BEGIN EXCLUSIVE;")
            _prepare(connection, path)
        except sqlite3.OperationalError as error:
            raise _unusable(path, error) from error
        except sqlite3.DatabaseError as error:
            raise refusal(
                f"{path} is no journal of a batch ({error}); delete the file, or choose another folder with --out",
                "RUN_STOPPED",
            ) from error
        journal = Journal(connection)
        try:
            try:
                yield journal
            finally:
                journal.commit()
        except sqlite3.Error as error:
            message = f"the journal {path} cannot be written ({error}). Run the same command again when it can"
            raise refusal(message, "FILE_UNWRITABLE") from error


@contextmanager
def read(folder: Path) -> Iterator[Journal | None]:
    """Opens the journal of a folder to read it; None if there is none, or if a run has it open."""
    path = folder / NAME
    if not path.is_file():
        yield None
        return
    with closing(_connected(path)) as connection:
        try:
            journal = Journal(connection)
        except sqlite3.DatabaseError:
            yield None
            return
        yield journal


def _connected(path: Path) -> sqlite3.Connection:
    try:
        return sqlite3.connect(path, timeout=0, isolation_level="DEFERRED")
    except sqlite3.OperationalError as error:
        raise _unusable(path, error) from error


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version == 0 and not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        connection.commit()
        connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version={FORMAT}; COMMIT;")
    elif version != FORMAT:
        raise refusal(
            f"{path} has the format {version}; this version reads format {FORMAT}. Choose another folder with --out",
            "RUN_STOPPED",
        )


def _unusable(path: Path, error: sqlite3.OperationalError) -> CellServeError:
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith("SQLITE_BUSY"):
        return refusal(f"another batch runs in {path.parent}: wait for its end, or stop it", "RUN_STOPPED")
    return refusal(
        f"the journal {path} cannot be opened ({error}): the folder must be writable, on a file system with locks",
        "FILE_UNWRITABLE",
    )
