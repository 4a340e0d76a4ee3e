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
from cellserve.batch.claims import Claims
from cellserve.batch.journal import Counts
from cellserve.batch.rows import Row

UNDECODABLE = os.fsdecode(b"caf\xe9.tif")


def row(image: int = 1, time_point: int = 0, name: str = "a.tif") -> Row:
    return Row(image, 0, time_point, name, Path("/images") / name, Path(name).stem, "10-20", 100, 200)


def enlist(journal, *names: str, folder: Path = Path("/images"), **options) -> list[bool]:
    return [journal.enlist(name, folder / name, name.rpartition(".")[0], **options) for name in names]


def finish(journal, row: Row, files: list[Path], request: str = "request", content: str = "of the batch") -> None:
    journal.claim(row, files)
    for file in files:
        file.write_text(content)
    journal.succeed(row, request, "ab", {"files": [str(file) for file in files]}, files)


def test_what_was_recorded_is_there_later(tmp_path):
    with journal_file.opened(tmp_path) as journal:
        journal.begin()
        assert enlist(journal, "b.tif", "a.tif", UNDECODABLE) == [True, True, True]
        assert [image.name for image in journal.images()] == ["a.tif", "b.tif", UNDECODABLE]
        a, _, c = journal.images()
        journal.list_rows(a.image, "identity", [row(a.image, 0).key, row(a.image, 1).key])
        journal.list_rows(c.image, None, [row(c.image).key])
        journal.succeed(row(a.image, 0), "request", "ab", {"objects": 3, "files": []}, [])
        journal.fail(row(c.image, 0, UNDECODABLE), "request", {"reason": "IMAGE_EMPTY"})
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
        files = [tmp_path / f"{number}.tif" for number in range(3)]
        for number, file in enumerate(files):
            finish(journal, row(1, number), [file])
        journal.list_rows(1, "after", keys[:1])
        assert [file.exists() for file in files] == [True, False, False]
        assert journal.counts() == Counts(1, 0, 0)


def test_the_worst_pictures_are_kept_whatever_the_order(tmp_path):
    errors = [0.3, 0.1, 0.9, 0.5, 0.2, 0.7]
    with journal_file.opened(tmp_path) as journal:
        journal.begin()
        for number, error in enumerate(errors):
            name = f"{number}.tif"
            enlist(journal, name)
            journal.list_rows(number + 1, None, [row(number + 1).key])
            journal.succeed(row(number + 1, name=name), "request", "ab", {}, [])
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


@pytest.fixture
def journal(tmp_path):
    """A journal that lists a.tif, b.tif and gone.tif, of which the last is not in the run."""
    with journal_file.opened(tmp_path / "journal") as journal:
        journal.begin()
        enlist(journal, "gone.tif")
        journal.begin()
        enlist(journal, "a.tif", "b.tif")
        yield journal


def test_a_file_that_is_not_of_the_batch_is_never_claimed(journal, tmp_path):
    file = tmp_path / "1_seg.npy"
    file.write_text("by hand")
    with pytest.raises(CellServeError, match="is there and is not of this batch"):
        journal.claim(row(2), [file])
    assert file.read_text() == "by hand"


def test_a_file_that_somebody_changed_is_neither_replaced_nor_deleted(journal, tmp_path):
    file = tmp_path / "1_seg.npy"
    finish(journal, row(2), [file])
    file.write_text("corrected by hand")
    with pytest.raises(CellServeError, match="was changed after the batch wrote it"):
        journal.claim(row(2), [file])
    journal.claims.release(row(2).key)
    assert file.read_text() == "corrected by hand"


def test_the_files_of_a_killed_run_are_known(journal, tmp_path):
    """Claims are there before the work: files without their row in the journal are of the batch."""
    masks, table = tmp_path / "1.tif", tmp_path / "1.csv"
    journal.claim(row(2), [masks, table])
    masks.write_text("written")
    table.write_text("written, and then the kill")
    finish(journal, row(2), [masks])  # another request
    assert masks.exists()
    assert not table.exists()


def test_two_images_never_share_a_file(journal, tmp_path):
    file = tmp_path / "1.tif"
    finish(journal, row(2), [file])
    with pytest.raises(CellServeError, match="is the result of another image of the batch"):
        journal.claim(row(3, name="b.tif"), [file])


def test_the_file_of_an_image_that_is_gone_is_taken_over(journal, tmp_path):
    file = tmp_path / "1.tif"
    finish(journal, row(1, name="gone.tif"), [file])
    finish(journal, row(2), [file], content="new")
    assert file.read_text() == "new"


def test_names_that_differ_in_case_alone_are_one_file_where_the_file_system_says_so(journal, tmp_path):
    lower, upper = tmp_path / "a.tif", tmp_path / "A.tif"
    finish(journal, row(2), [lower])
    journal.claim(row(3, name="b.tif"), [upper])
    folding = Claims(journal._connection, folds=True)
    folding.claim(row(2).key, [tmp_path / "c.tif"], journal.run)
    with pytest.raises(CellServeError, match="another image"):
        folding.claim(row(3).key, [tmp_path / "C.tif"], journal.run)


def test_a_result_survives_the_failure_of_a_later_request(journal, tmp_path):
    file = tmp_path / "1.tif"
    finish(journal, row(2), [file], request="first")
    journal.claim(row(2), [file])
    journal.fail(row(2), "second", {"reason": "PARAMETER_OUT_OF_RANGE"})
    assert file.exists()
    assert journal.entry(row(2).key).state == "failed"
    earlier = journal.earlier(row(2).key)
    assert (earlier.state, earlier.request) == ("done", "first")
    journal.restore(row(2).key)
    assert journal.entry(row(2).key).state == "done"


def test_a_result_of_which_a_file_was_replaced_does_not_come_back(journal, tmp_path):
    file = tmp_path / "1.tif"
    finish(journal, row(2), [file], request="first")
    journal.claim(row(2), [file])
    file.write_text("half of the second request, then the kill")
    assert journal.earlier(row(2).key) is None
