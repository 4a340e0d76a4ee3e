"""Image files read in processes of their own: the same images, bounds on memory and time, no process left behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from cellserve_formats import ImageError, Limits, read_image
from cellserve_formats.isolated import IsolatedReader
from cellserve_parallel import CancellationToken, WorkCancelledError

from tests.integration.gateway.hostile.files import jpeg_in_tiff, lzma_dictionary
from tests.processes import below

from .samples import COLOUR, GREY, png_chunk, png_header, tiff

LIMITS = Limits(pixels=5_000_000, bytes=20_000_000, planes=4, pages=50, metadata_bytes=100_000)
FILES = {
    "tiff": tiff(GREY, resolution=(20000, 20000), resolutionunit="CENTIMETER"),
    "ome": tiff(np.stack([GREY] * 3), ome=True, compression="zstd", metadata={"axes": "CYX", "PhysicalSizeX": 0.5}),
    "big-endian": tiff(GREY.astype(np.float32), byteorder=">", compression="lzw"),
    "large": tiff(np.random.default_rng(0).integers(0, 4096, (1500, 1500), np.uint16)),
    "png": imagecodecs.png_encode(np.dstack([COLOUR, COLOUR[:, :, 0]])),
    "jpeg": imagecodecs.jpeg8_encode(COLOUR),
}
SLOW = jpeg_in_tiff(2048, 10_000)
"""Takes a minute."""


@pytest.fixture(scope="module")
def reader() -> Iterator[IsolatedReader]:
    with contextlib.closing(IsolatedReader()) as reader:
        reader.read(FILES["png"], limits=LIMITS, seconds=4)
        yield reader


def cpu_s(process: int) -> float:
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def until(condition, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("kind", FILES)
def test_images_are_those_of_the_reader(reader, kind):
    here, there = read_image(FILES[kind]), reader.read(FILES[kind], limits=LIMITS, seconds=4)
    np.testing.assert_array_equal(there.pixels, here.pixels)
    assert there.pixels.dtype == here.pixels.dtype
    assert (there.axes, there.pixel_size, there.warnings) == (here.axes, here.pixel_size, here.warnings)
    assert not there.pixels.flags.writeable


def test_axes_are_passed_on(reader):
    data = tiff(np.stack([GREY] * 3), metadata=None, photometric="minisblack")
    assert reader.read(data, limits=LIMITS, seconds=4).axes == "ZYX"
    assert reader.read(data, limits=LIMITS, seconds=4, axes="CYX").axes == "CYX"


@pytest.mark.parametrize("data", [b"", b"nothing", FILES["large"][:5000], png_header(9000, 9000), png_header(0, 1)])
def test_errors_are_those_of_the_reader(reader, data):
    with pytest.raises(ImageError) as here:
        read_image(data, limits=LIMITS, stacks=False)
    with pytest.raises(ImageError) as there:
        reader.read(data, limits=LIMITS, seconds=4)
    assert (there.value.message, there.value.reason) == (here.value.message, here.value.reason)
    assert there.value.metadata == here.value.metadata


def test_the_memory_for_pixels_is_asked_for(reader):
    asked = []

    def grant(size: int) -> contextlib.AbstractContextManager[None]:
        asked.append(size)
        return contextlib.nullcontext()

    reader.read(FILES["large"], limits=LIMITS, seconds=4, grant=grant)
    assert asked == [1500 * 1500 * 2]


def test_more_working_memory_is_asked_for_and_then_all_of_it_at_once(reader):
    """A sound file of LZMA whose dictionary takes more memory than a file has at first."""
    held, asked = [], []

    @contextlib.contextmanager
    def grant(size: int) -> Iterator[None]:
        assert not held, "what was granted before is given back first"
        asked.append(size)
        held.append(size)
        yield
        held.clear()

    image = reader.read(lzma_dictionary(64 << 20), limits=Limits(), seconds=4, grant=grant)
    assert image.pixels.shape == (20, 30)
    assert asked == [1200, 192 << 20, (192 << 20) + 1200]
    asked.clear()
    with pytest.raises(ImageError) as caught:
        reader.read(lzma_dictionary(1536 << 20), limits=Limits(), seconds=4, grant=grant)
    assert (caught.value.reason, caught.value.metadata["resource"]) == ("IMAGE_TOO_LARGE", "memory")
    assert len(asked) == 3


def test_a_damaged_file_asks_for_no_more_memory(reader):
    asked = []

    def grant(size: int) -> contextlib.AbstractContextManager[None]:
        asked.append(size)
        return contextlib.nullcontext()

    damaged = bytearray(tiff(GREY, compression="zlib"))
    damaged[-20:] = bytes(20)
    with pytest.raises(ImageError) as caught:
        reader.read(bytes(damaged), limits=LIMITS, seconds=4, grant=grant)
    assert (caught.value.reason, asked) == ("IMAGE_UNDECODABLE", [GREY.nbytes])


def test_memory_is_bounded_before_the_size_is_known(reader):
    """A kilobyte that announces a list of 5 GB, where the limits of the reader would let the list pass."""
    sizes = 'SizeX="30" SizeY="20" SizeC="1" SizeZ="1" SizeT="700000000"'
    pixels = f'<Pixels DimensionOrder="XYCZT" {sizes} Type="uint16"><TiffData IFD="0" PlaneCount="1"/></Pixels>'
    text = f'<?xml version="1.0"?><OME><Image>{pixels}</Image></OME>'
    with pytest.raises(ImageError) as caught:
        reader.read(tiff(GREY, description=text, metadata=None), limits=Limits(pages=1 << 40), seconds=4)
    assert (caught.value.reason, caught.value.metadata["resource"]) == ("IMAGE_TOO_LARGE", "memory")


def test_pixels_are_there_once():
    command = [sys.executable, "-m", "tests.unit.formats.pixels_once"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=120)
    beside = json.loads(done.stdout)
    assert len(beside) == 4
    assert max(beside.values()) < 72 << 20, f"a copy of the pixels takes 96 to 122 MiB: {beside}"


def test_time_is_bounded(reader):
    with pytest.raises(ImageError, match="within 1 s of processor time") as caught:
        reader.read(SLOW, limits=LIMITS, seconds=1)
    assert caught.value.reason == "IMAGE_UNDECODABLE"
    assert caught.value.metadata == {"resource": "seconds", "limit": 1}


def test_a_cancelled_reading_ends_its_process(reader):
    cancelled, helper = CancellationToken(), reader._helper._process.pid
    threading.Timer(0.3, cancelled.cancel).start()
    with pytest.raises(WorkCancelledError):
        reader.read(SLOW, limits=LIMITS, seconds=4, wait=cancelled.raise_if_cancelled)
    until(lambda: len(below(helper)) == 1)  # the one that waits for the next file


def test_a_process_that_dies_costs_its_file_alone(reader):
    helper, failures = reader._helper._process.pid, []

    def read() -> None:
        try:
            reader.read(SLOW, limits=LIMITS, seconds=4)
        except ImageError as error:
            failures.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    until(lambda: any(cpu_s(process) > 0.1 for process in below(helper)))
    os.kill(max(below(helper), key=cpu_s), signal.SIGSEGV)
    thread.join(20)
    (failure,) = failures
    assert failure.reason == "IMAGE_UNDECODABLE"
    assert "made the decoder fail" in failure.message
    assert reader.read(FILES["png"], limits=LIMITS, seconds=4).axes == "YXS"


def test_a_helper_that_dies_is_replaced(reader):
    reader._helper._process.kill()
    reader._helper._process.wait()
    assert reader.read(FILES["png"], limits=LIMITS, seconds=4).axes == "YXS"


def test_nothing_is_logged_or_printed(reader, capfd, caplog):
    profile = png_chunk(b"iCCP", b"k\0\0" + zlib.compress(b"a" * 1000))
    pixels = png_chunk(b"IDAT", zlib.compress(bytes(620))) + png_chunk(b"IEND", b"")
    assert reader.read(png_header(30, 20) + profile + pixels, limits=LIMITS, seconds=4).axes == "YX"
    assert (*capfd.readouterr(), caplog.text) == ("", "", "")
    read_image(png_header(30, 20) + profile + pixels)
    assert "iCCP" in caplog.text, "the library does log"


def test_no_process_outlives_the_caller():
    """However the caller ends, even in the middle of a file."""
    code = """if True:
        from cellserve_formats import Limits
        from cellserve_formats.isolated import IsolatedReader
        from tests.unit.formats.test_isolated import SLOW
        IsolatedReader().read(SLOW, limits=Limits(), seconds=4)"""
    caller = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[3])
    until(lambda: any(cpu_s(process) > 0.1 for process in below(caller.pid)[1:]), 60)
    left = below(caller.pid)
    assert len(left) >= 2
    caller.kill()
    caller.wait()
    until(lambda: not any(Path(f"/proc/{process}").exists() for process in left))
