"""The journal: one owner, what it knows after a kill, images that change."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from cellserve import CellServeError
from cellserve.batch import journal_file
from cellserve.batch.journal import Counts
from cellserve.batch.rows import Row

UNDECODABLE = os.fsdecode(b"caf\xe9.tif")


def row(image: int = 1, time_point: int = 0, name: str = "a.tif") -> Row:
    return Row(image, 0, time_point, name, Path("/images") / name, Path(name).stem, "10-20", 100, 200)


def enlist(journal, *names: str, folder: Path = Path("/images"), **options) -> list[bool]:
    return [journal.enlist(name, folder / name, name.rpartition(".")[0], **options) for name in names]


def test_what_was_recorded_is_there_later(tmp_path):
    with journal_file.opened(tmp_path) as journal:
        journal.begin()
        assert enlist(journal, "b.tif", "a.tif", UNDECODABLE) == [True, True, True]
        assert [image.name for image in journal.images()] == ["a.tif", "b.tif", UNDECODABLE]
        a, _, c = journal.images()
        journal.list_rows(a.image, "identity", [row(a.image, 0).key, row(a.image, 1).key])
        journal.list_rows(c.image, None, [row(c.image).key])
        journal.add(row(a.image, 0), "done", "request", "ab", {"objects": 3, "files": []})
        journal.add(row(c.image, 0, UNDECODABLE), "failed", "request", "", {"reason": "IMAGE_EMPTY"})
        assert journal.counts() == Counts(done=1, failed=1, left=2)  # a second time point, and b
    with journal_file.read(tmp_path) as journal:
        assert journal.counts() == Counts(1, 1, 2)
        done, failed = journal.entries()
        assert (done.name, done.state, done.identity, done.request, done.sha256) == (
            "a.tif",
            "done",
            "10-20",
            "request",
            "ab",
        )
        assert done.record == {"objects": 3, "files": []}
        assert (failed.name, failed.state) == (UNDECODABLE, "failed")
        assert [entry.state for entry in journal.entries("failed")] == ["failed"]
        assert next(journal.images()).rows == 2


def test_a_run_that_lists_fewer_images_counts_fewer(tmp_path):
    with journal_file.opened(tmp_path) as journal:
        journal.begin()
        enlist(journal, "a.tif", "b.tif")
        journal.begin()
        enlist(journal, "b.tif")
        assert [image.name for image in journal.images()] == ["b.tif"]
        assert journal.counts() == Counts(0, 0, 1)


def test_images_of_other_shards_are_known_and_not_counted(tmp_path):
    with journal_file.opened(tmp_path) as journal:
        journal.begin()
        enlist(journal, "a.tif")
        enlist(journal, "b.tif", own=False)
        assert [image.name for image in journal.images()] == ["a.tif"]
        assert journal.counts() == Counts(0, 0, 1)
        assert journal.has(Path("/images/b.tif"))
        assert not journal.has(Path("/images/c.tif"))


def test_two_images_with_the_same_result_files_are_refused(tmp_path):
    with journal_file.opened(tmp_path) as journal:
        journal.begin()
        enlist(journal, "a.tif")
        assert enlist(journal, "a.tif") == [False]
        with pytest.raises(CellServeError, match=r"a\.png and /images/a\.tif have the same result files") as refused:
            enlist(journal, "a.png")
        assert refused.value.reason == "RUN_STOPPED"


def test_an_image_of_another_folder_with_the_same_name_is_refused_while_the_first_is_there(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        (folder / "a.tif").write_bytes(b"")
    with journal_file.opened(tmp_path / "out") as journal:
        journal.begin()
        enlist(journal, "a.tif", folder=first)
        journal.begin()
        with pytest.raises(CellServeError, match="have the same name"):
            enlist(journal, "a.tif", folder=second)
        (first / "a.tif").unlink()  # the images were moved
        assert enlist(journal, "a.tif", folder=second) == [True]


def test_an_image_with_fewer_rows_than_before_loses_the_others(tmp_path):
    with journal_file.opened(tmp_path) as journal:
        journal.begin()
        enlist(journal, "a.tif")
        keys = [row(1, number).key for number in range(3)]
        journal.list_rows(1, "before", keys)
        for number in range(3):
            journal.add(row(1, number), "done", "request", "ab", {"files": [f"{number}"]})
        gone = journal.list_rows(1, "after", keys[:1])
        assert [entry.record["files"] for entry in gone] == [["1"], ["2"]]
        assert journal.counts() == Counts(1, 0, 0)


def test_the_worst_pictures_are_kept_whatever_the_order(tmp_path):
    errors = [0.3, 0.1, 0.9, 0.5, 0.2, 0.7]
    with journal_file.opened(tmp_path) as journal:
        journal.begin()
        for number, error in enumerate(errors):
            name = f"{number}.tif"
            enlist(journal, name)
            journal.list_rows(number + 1, None, [row(number + 1).key])
            journal.add(row(number + 1, name=name), "done", "request", "ab", {})
            if error > journal.least_error_kept(3):
                journal.keep_picture(row(number + 1).key, error, name.encode(), 3)
        assert [picture for _, picture in journal.pictures()] == [b"2.tif", b"5.tif", b"3.tif"]
        assert journal.least_error_kept(3) == 0.5
        journal.drop(row(3).key)
        assert [picture for _, picture in journal.pictures()] == [b"5.tif", b"3.tif"]


def test_a_second_run_is_refused_while_the_first_lives_and_may_go_on_after_its_kill(tmp_path):
    program = (
        "import sys, time; from pathlib import Path; from cellserve.batch import journal_file\n"
        "with journal_file.opened(Path(sys.argv[1])) as journal:\n"
        "    journal.begin(); journal.enlist('a.tif', Path('/images/a.tif'), 'a'); journal.commit()\n"
        "    journal.enlist('b.tif', Path('/images/b.tif'), 'b')\n"
        "    print('open', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"open\n"
        with pytest.raises(CellServeError, match="another batch runs"), journal_file.opened(tmp_path):
            pass
        with journal_file.read(tmp_path) as journal:
            assert journal is None
        owner.send_signal(signal.SIGKILL)
        owner.wait()
    with journal_file.opened(tmp_path) as journal:
        assert [image.name for image in journal.images()] == ["a.tif"]  # what was committed


def test_a_file_that_is_no_journal_is_refused_and_kept(tmp_path):
    place = tmp_path / journal_file.NAME
    place.write_bytes(b"no database, but long enough to be looked at" * 30)
    with pytest.raises(CellServeError, match="is no journal of a batch"), journal_file.opened(tmp_path):
        pass
    assert place.read_bytes().startswith(b"no database")


def test_a_journal_of_a_later_format_is_refused(tmp_path):
    with journal_file.opened(tmp_path):
        pass
    with sqlite3.connect(tmp_path / journal_file.NAME) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(CellServeError, match="has the format 99"), journal_file.opened(tmp_path):
        pass
