"""`cellserve batch`: layout, reruns, failures, servers that refuse, other networks."""

from __future__ import annotations

import csv
import os

import grpc
import imagecodecs
import numpy as np
import pytest
import tifffile
from cellserve import SegmentParams
from cellserve.batch.journal import Journal
from cellserve.batch.request import Request
from cellserve.channel_names import ChannelNames
from cellserve.testing.service import Refusal

from tests.unit.client.scripted_server import VERSION, failure

from .conftest import counted, lines, names, square

SUMMARIES = {"images.csv", "report.html"}


def test_results_keep_the_folders_of_their_images(run, plate, out):
    result = run("batch", plate, "--out", out)
    assert result.exit_code == 0, result.stderr
    assert counted(result) == "3 segmented, 0 skipped, 0 failed"
    assert names(out) == SUMMARIES | {
        f"{stem}{ending}" for stem in ("a/1", "b/1", "b/2") for ending in ("_cp_masks.tif", "_objects.csv")
    }
    for number, stem in enumerate(("a/1", "b/1", "b/2")):
        expected = square(y=5 + 10 * number) > 100
        np.testing.assert_array_equal(tifffile.imread(out / f"{stem}_cp_masks.tif"), expected)


def test_the_table_of_images_has_a_row_for_each(run, plate, out):
    (plate / "b" / "broken.png").write_bytes(imagecodecs.png_encode(square())[:50])
    assert run("batch", plate, "--out", out).exit_code == 1
    with (out / "images.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == ["a/1.tif", "b/1.tif", "b/2.png", "b/broken.png"]
    assert [row["state"] for row in rows] == ["done"] * 3 + ["failed"]
    assert [row["objects"] for row in rows] == ["1", "1", "1", ""]
    assert rows[0]["sha256"] == VERSION.sha256
    assert rows[0]["files"] == "a/1_objects.csv; a/1_cp_masks.tif"
    assert rows[3]["reason"] == "IMAGE_UNDECODABLE"


def test_a_second_run_skips_what_is_done(run, service, plate, out):
    run("batch", plate, "--out", out)
    sent = len(service.requests)
    result = run("batch", plate, "--out", out)
    assert result.exit_code == 0
    assert counted(result) == "0 segmented, 3 skipped, 0 failed"
    assert len(service.requests) == sent


def test_what_changed_is_made_again(run, service, plate, out):
    run("batch", plate, "--out", out)
    tifffile.imwrite(plate / "a" / "1.tif", square(y=40))
    os.utime(plate / "a" / "1.tif", ns=(1, 1))
    (out / "b" / "2_objects.csv").unlink()
    result = run("batch", plate, "--out", out)
    assert counted(result) == "2 segmented, 1 skipped, 0 failed"
    np.testing.assert_array_equal(tifffile.imread(out / "a" / "1_cp_masks.tif"), square(y=40) > 100)
    assert (out / "b" / "2_objects.csv").exists()


def test_other_parameters_make_all_again_and_delete_files_that_are_no_longer_wanted(run, plate, out):
    run("batch", plate, "--out", out)
    result = run("batch", plate, "--out", out, "--diameter", 20, "--save", "masks")
    assert counted(result) == "3 segmented, 0 skipped, 0 failed"
    assert "3 of them had results" in result.stderr
    assert names(out) == SUMMARIES | {f"{stem}_cp_masks.tif" for stem in ("a/1", "b/1", "b/2")}


def test_a_failed_image_is_tried_again(run, plate, out):
    broken = plate / "b" / "0.png"
    broken.write_bytes(imagecodecs.png_encode(square())[:50])
    first = run("batch", plate, "--out", out)
    assert first.exit_code == 1
    assert counted(first) == "3 segmented, 0 skipped, 1 failed"
    assert f"error: {broken}" in first.stderr
    broken.write_bytes(imagecodecs.png_encode(square()))
    second = run("batch", plate, "--out", out)
    assert second.exit_code == 0
    assert counted(second) == "1 segmented, 3 skipped, 0 failed"


def test_time_points_and_positions_are_rows(run, tmp_path, out):
    images = tmp_path / "images"
    images.mkdir()
    series = np.stack([square(y=y) for y in (5, 15, 25)])
    tifffile.imwrite(images / "movie.tif", series, imagej=True, metadata={"axes": "TYX"})
    with tifffile.TiffWriter(images / "fields.ome.tif", ome=True) as file:
        for y in (5, 30):
            file.write(square(y=y), metadata={"axes": "YX"})
    result = run("batch", images, "--out", out, "--json")
    assert result.exit_code == 0, result.stderr
    assert {line["image"] for line in lines(result.stdout)} >= {"movie.tif[t0]", "movie.tif[t2]"}
    masks = {name for name in names(out) if name.endswith("_cp_masks.tif")}
    assert masks == {
        *(f"movie_t{number}_cp_masks.tif" for number in range(3)),
        *(f"fields.ome_s{number}_cp_masks.tif" for number in range(2)),
    }
    np.testing.assert_array_equal(tifffile.imread(out / "movie_t2_cp_masks.tif"), series[2] > 100)
    again = run("batch", images, "--out", out)
    assert counted(again) == "0 segmented, 5 skipped, 0 failed"


def test_include_exclude_lists_and_patterns(run, plate, tmp_path, out):
    run("batch", plate, "--out", out / "1", "--include", "*.tif", "--exclude", "a/*")
    assert names(out / "1") - SUMMARIES == {"b/1_cp_masks.tif", "b/1_objects.csv"}
    listed = tmp_path / "list.txt"
    listed.write_text("# two images\nplate/a/1.tif\n\nplate/b/2.png\n")
    run("batch", listed, "--out", out / "2", "--save", "masks")
    assert names(out / "2") - SUMMARIES == {"a/1_cp_masks.tif", "b/2_cp_masks.tif"}
    run("batch", plate / "*" / "1.tif", "--out", out / "3", "--save", "masks")
    assert names(out / "3") - SUMMARIES == {"a/1_cp_masks.tif", "b/1_cp_masks.tif"}
    run("batch", plate / "a", plate / "b", "--out", out / "4", "--save", "masks")
    assert names(out / "4") - SUMMARIES == {"a/1_cp_masks.tif", "b/1_cp_masks.tif", "b/2_cp_masks.tif"}


def test_results_in_the_folder_of_the_images_are_no_images(run, plate):
    run("batch", plate, "--out", plate / "results", "--save", "masks,overlay")
    assert counted(run("batch", plate, "--out", plate / "results", "--save", "masks,overlay")).startswith(
        "0 segmented, 3"
    )
    run("batch", plate, "--out", plate, "--save", "masks")
    assert counted(run("batch", plate, "--out", plate, "--save", "masks")) == "0 segmented, 3 skipped, 0 failed"


def test_images_with_the_same_result_files_are_refused_before_any_work(run, service, plate, out):
    (plate / "a" / "1.png").write_bytes(imagecodecs.png_encode(square()))
    result = run("batch", plate, "--out", out)
    assert result.exit_code == 1
    assert "1.tif" in result.stderr
    assert "1.png have the same result files" in result.stderr or "1.tif have the same result files" in result.stderr
    assert service.requests == []


def test_a_dry_run_sends_and_writes_nothing(run, service, plate, out):
    result = run("batch", plate, "--out", out, "--dry-run")
    assert result.exit_code == 0, result.stderr
    assert f"a/1.tif: YX 60 x 80, one plane; segment -> {out}/a/1" in result.stdout
    assert "3 to segment, 0 to segment again, 0 to skip" in result.stderr
    assert service.requests == []
    assert not out.exists()
    run("batch", plate, "--out", out)
    tifffile.imwrite(plate / "a" / "1.tif", square(y=40, shape=(61, 80)))
    told = {
        line["image"]: line["action"] for line in lines(run("batch", plate, "--out", out, "--dry-run", "--json").stdout)
    }
    assert told == {"a/1.tif": "again", "b/1.tif": "skip", "b/2.png": "skip"}


def test_the_status_counts_what_is_done_failed_and_left(run, plate, out):
    (plate / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    run("batch", plate, "--out", out)
    result = run("batch", "--status", out)
    assert result.exit_code == 0
    assert result.stdout == "3 done, 1 failed, 0 left; ended\n"
    assert lines(run("batch", "--status", out, "--json").stdout)[0]["failed"] == 1
    assert run("batch", "--status", plate).exit_code == 2


def test_refusals_delay_and_lose_nothing(run, service, plate, out):
    full = failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", "GATEWAY_FULL", retry_after_s=0.01)
    service.failures.extend([full] * 6)
    result = run("batch", plate, "--out", out)
    assert (result.exit_code, counted(result)) == (0, "3 segmented, 0 skipped, 0 failed")


def test_an_image_that_waited_too_long_is_tried_again(run, service, plate, out):
    late = failure(grpc.StatusCode.DEADLINE_EXCEEDED, "late", "DEADLINE_EXCEEDED", stage="inference")
    service.failures.extend([late] * 5)
    result = run("batch", plate, "--out", out)
    assert (result.exit_code, counted(result)) == (0, "3 segmented, 0 skipped, 0 failed")


def test_a_work_budget_that_is_spent_fails_the_image(run, service, plate, out):
    service.failures.append(failure(grpc.StatusCode.DEADLINE_EXCEEDED, "spent", "WORK_BUDGET_EXCEEDED"))
    result = run("batch", plate, "--out", out, "--work-budget-s", 5)
    assert (result.exit_code, counted(result)) == (1, "2 segmented, 0 skipped, 1 failed")
    assert {request.work_budget_s for request in service.requests} == {5.0}


def test_requests_are_of_the_priority_class_batch(run, service, plate, out):
    run("batch", plate, "--out", out)
    assert {request.priority for request in service.requests} == {service.requests[0].priority}
    assert "BATCH" in str(service.requests[0])


def test_another_network_stops_the_run_and_the_next_run_replaces_its_results(run, service, plate, out):
    answer = service.segmented

    def changed(request):
        result = answer(request)
        if len(service.requests) > 1:
            result.model.sha256 = "cd" * 32
        return result

    service.segmented = changed
    result = run("batch", plate, "--out", out, "--concurrency", 1)
    assert result.exit_code == 1
    assert "another network answered" in result.stderr
    assert "1 segmented, 0 skipped, 0 failed, 2 not done" in result.stderr
    service.model.versions[0].sha256 = "cd" * 32  # all servers have the new one
    try:
        result = run("batch", plate, "--out", out)
    finally:
        service.model.versions[0].sha256 = "ab" * 32
    assert (result.exit_code, counted(result)) == (0, "3 segmented, 0 skipped, 0 failed")


@pytest.mark.parametrize("count", [1, 3])
def test_shards_share_the_images(run, plate, out, count):
    for index in range(count):
        result = run("batch", plate, "--out", out, "--save", "masks", "--shard", f"{index}/{count}")
        assert result.exit_code == 0, result.stderr
    assert {name for name in names(out) if name.endswith(".tif")} == {
        f"{stem}_cp_masks.tif" for stem in ("a/1", "b/1", "b/2")
    }
    status = run("batch", "--status", out).stdout
    assert "3 done, 0 failed, 0 left" in status


def test_wrong_usage_is_told(run, plate, out):
    assert run("batch", plate).exit_code == 2
    assert run("batch", "--out", out).exit_code == 2
    assert run("batch", plate, "--out", out, "--shard", "4/4").exit_code == 2
    assert run("batch", plate, "--out", out, "--save", "mask").exit_code == 2
    assert not out.exists()


def test_a_full_disk_stops_the_run(run, plate, out, monkeypatch):
    import errno

    from cellserve_formats import files

    def full(path, data, parts=None):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr("cellserve.makers.write_bytes", full)
    result = run("batch", plate, "--out", out, "--concurrency", 1)
    monkeypatch.setattr("cellserve.makers.write_bytes", files.write_bytes)
    assert result.exit_code == 1
    assert "No space left" in result.stderr
    assert "0 segmented, 0 skipped, 0 failed, 3 not done" in result.stderr
    assert run("batch", plate, "--out", out).exit_code == 0


def test_a_full_disk_of_the_journal_stops_the_run(run, plate, out, monkeypatch):
    succeed = Journal.succeed

    def full(journal, row, request, sha256, record, paths):
        """No page of the journal is left for what comes of the image."""
        pages = journal._connection.execute("PRAGMA page_count").fetchone()[0]
        journal._connection.execute(f"PRAGMA max_page_count={pages}")
        succeed(journal, row, request, sha256, {**record, "long": "x" * 100_000}, paths)

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "succeed", full)
        result = run("batch", plate, "--out", out)
    assert result.exit_code == 1
    journal = out / ".cellserve" / "journal.sqlite"
    assert f"error: the journal {journal} cannot be written (database or disk is full)" in result.stderr
    again = run("batch", plate, "--out", out)
    assert (again.exit_code, counted(again)) == (0, "3 segmented, 0 skipped, 0 failed")


def test_a_wrong_parameter_loses_no_result(run, service, plate, out):
    run("batch", plate, "--out", out)
    before = {name: (out / name).read_bytes() for name in names(out) - SUMMARIES}
    wrong = run("batch", plate, "--out", out, "--nucleus-channel", "DAPPI")
    assert counted(wrong) == "0 segmented, 0 skipped, 3 failed"
    assert {name: (out / name).read_bytes() for name in names(out) - SUMMARIES} == before
    sent = len(service.requests)
    again = run("batch", plate, "--out", out)
    assert (again.exit_code, counted(again)) == (0, "0 segmented, 3 skipped, 0 failed")
    assert len(service.requests) == sent


def test_an_image_that_is_not_there_for_a_while_loses_no_result(run, plate, tmp_path, out):
    series = np.stack([square(y=y) for y in (5, 15)])
    tifffile.imwrite(plate / "movie.tif", series, imagej=True, metadata={"axes": "TYX"})
    listed = tmp_path / "list.txt"
    listed.write_text("plate/a/1.tif\nplate/movie.tif\n")
    run("batch", listed, "--out", out)
    (plate / "movie.tif").rename(tmp_path / "elsewhere")
    result = run("batch", listed, "--out", out)
    assert (result.exit_code, counted(result)) == (1, "0 segmented, 1 skipped, 1 failed")
    assert (out / "movie_t1_cp_masks.tif").exists()
    (tmp_path / "elsewhere").rename(plate / "movie.tif")
    again = run("batch", listed, "--out", out)
    assert (again.exit_code, counted(again)) == (0, "0 segmented, 3 skipped, 0 failed")


def test_a_file_of_the_user_is_not_replaced(run, plate, out):
    (out / "a").mkdir(parents=True)
    (out / "a" / "1_cp_masks.tif").write_text("by hand")
    result = run("batch", plate, "--out", out)
    assert (result.exit_code, counted(result)) == (1, "2 segmented, 0 skipped, 1 failed")
    assert "1_cp_masks.tif is there and is not of this batch" in result.stderr
    assert (out / "a" / "1_cp_masks.tif").read_text() == "by hand"


def test_paths_with_two_dots_stay_in_the_folder_of_the_results(run, plate, tmp_path, out, monkeypatch):
    monkeypatch.chdir(plate / "a")
    result = run("batch", "../a", "../b/../b", "--out", "../../results", "--save", "masks")
    assert result.exit_code == 0, result.stderr
    assert names(out) - SUMMARIES == {"a/1_cp_masks.tif", "b/1_cp_masks.tif", "b/2_cp_masks.tif"}
    assert not list(plate.rglob("*_cp_masks.tif"))


def test_the_folder_of_the_results_can_be_that_of_the_images(run, plate, monkeypatch):
    monkeypatch.chdir(plate)
    result = run("batch", ".", "--out", ".", "--save", "masks")
    assert (result.exit_code, counted(result)) == (0, "3 segmented, 0 skipped, 0 failed")
    again = run("batch", "a", "b", "--out", ".", "--save", "masks")
    assert (again.exit_code, counted(again)) == (0, "0 segmented, 3 skipped, 0 failed")


def test_a_refused_start_leaves_the_status_of_the_last_run(run, plate, out):
    run("batch", plate, "--out", out)
    (plate / "a" / "1.png").write_bytes(imagecodecs.png_encode(square()))
    assert run("batch", plate, "--out", out).exit_code == 1
    assert run("batch", "--status", out).stdout == "3 done, 0 failed, 0 left; ended\n"


def test_one_image_that_no_server_takes_does_not_end_the_run(run, service, plate, out):
    answer = service.receive

    def refuse(request, context):
        if request.image.raw.pixels.shape[0] == 61:
            raise Refusal(failure(grpc.StatusCode.UNAVAILABLE, "its backend is away", "TRITON_UNAVAILABLE"))
        answer(request, context)

    tifffile.imwrite(plate / "a" / "0.tif", square(shape=(61, 80)))
    service.receive = refuse
    result = run("batch", plate, "--out", out, "--deadline-s", 1)
    assert (result.exit_code, counted(result)) == (1, "3 segmented, 0 skipped, 1 failed")


def test_a_new_parameter_of_a_later_version_changes_no_fingerprint():
    request = Request(params=SegmentParams(diameter=20.0), channels=ChannelNames())
    assert request._changed() == {"diameter": 20.0}
    assert request.fingerprint != Request(params=SegmentParams(), channels=ChannelNames()).fingerprint


def test_result_files_that_stacks_do_not_have_are_refused_before_the_image_is_sent(run, service, tmp_path, out):
    stack = np.stack([square(), square()])
    tifffile.imwrite(tmp_path / "stack.tif", stack, imagej=True, metadata={"axes": "ZYX"})
    result = run("batch", tmp_path / "stack.tif", "--out", out, "--volume", "--save", "masks,geojson")
    assert (result.exit_code, service.requests) == (1, [])
    assert "--save geojson writes no files" in result.stderr
