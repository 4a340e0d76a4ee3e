"""Smart microscopy: the stage goes where most cells are, by the service's answers to the frames. `make up` first.

    pip install "pymmcore-plus>=0.17.3"
    python examples/smart_microscopy.py

The stage scans a coarse grid. Each frame goes to the service as soon as it is snapped, while the scan goes on. Then the
stage takes a finer grid around the place with most cells, and ends at the best place of all.

The microscope is a demo in Python that needs no hardware. `microscope` says how to use a real one.
"""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import imagecodecs
import numpy as np
from cellserve import AsyncClient, CellServeError
from pymmcore_plus import CMMCorePlus, configure_logging
from pymmcore_plus.experimental.unicore import ShutterDevice, SimpleCameraDevice, UniMMCore, XYStageDevice
from useq import GridRowsColumns, MDAEvent, MDASequence

HERE = Path(__file__).resolve().parent
DIAMETER_UM = 9.4  # of the cells: stated, because an estimate for each frame takes time
INTENSITIES = "range:2,70"  # from dark ground to bright cells; percentiles would stretch the noise of empty frames
PIXEL_UM = 0.325  # of the demo: a camera with pixels of 6.5 µm behind an objective of 20x

Position = tuple[float, float]  # x and y of the stage, micrometres


async def main() -> None:
    """Scans, decides, looks closer, and ends where most cells are."""
    configure_logging(stderr_level="WARNING")  # pymmcore-plus names the frames that the camera did not take
    core = microscope()
    async with AsyncClient(os.environ.get("CELLSERVE_ADDRESS", "localhost:50051")) as client:
        cells = await count_cells(core, client, grid((0, 0), side=4, overlap=0))
        if not any(cells.values()):
            sys.exit("No cells were found in the scan, so there is no place to look closer. The stage stays.")
        best = max(cells, key=cells.__getitem__)
        print(f"Most cells of the scan: {cells[best]} at {place(best)}. A finer grid around this position follows.")
        cells |= await count_cells(core, client, grid(best, side=3, overlap=50))
    best = max(cells, key=cells.__getitem__)
    await asyncio.to_thread(core.setXYPosition, *best)
    await asyncio.to_thread(core.waitForDevice, core.getXYStageDevice())
    print(f"The stage is at {place(core.getXYPosition())}: {cells[best]} cells, the most of {len(cells)} positions.")


def grid(centre: Position, side: int, overlap: float) -> MDASequence:
    """Returns the plan for side x side frames around a position. A real one may need channels=["DAPI"], too."""
    plan = GridRowsColumns(rows=side, columns=side, overlap=overlap)  # percent of a frame; the core knows its size
    return MDASequence(stage_positions=[centre], grid_plan=plan)


async def count_cells(core: CMMCorePlus, client: AsyncClient, plan: MDASequence) -> dict[Position, int]:
    """Takes the frames of a plan. Returns the number of cells at each position that has an answer."""
    cells = {}
    results = client.segment_stream(
        frames(core, plan),
        priority="acquisition",  # before all images of batch jobs
        newest_only=False,  # every position counts; True is for a live view
        diameter=DIAMETER_UM / core.getPixelSizeUm(),
        normalization=INTENSITIES,
        ensemble=False,  # one network in place of four: faster, less accurate
        deadline_s=120,
    )
    async for (position, snapped_s), result in results:
        if isinstance(result, CellServeError):  # of this frame alone: the acquisition goes on
            print(f"{place(position):>22}  not counted: {result}", flush=True)
            continue
        cells[position] = len(result.objects)
        ms = 1000 * (time.perf_counter() - snapped_s)
        print(f"{place(position):>22}  {cells[position]:4d} cells  {ms:6.0f} ms from snap to answer", flush=True)
    return cells


async def frames(core: CMMCorePlus, plan: MDASequence) -> AsyncIterator[tuple[tuple[Position, float], np.ndarray]]:
    """Runs an acquisition in a thread. Yields each frame as soon as it is snapped, with its position and time."""
    loop = asyncio.get_running_loop()
    snapped: asyncio.Queue = asyncio.Queue()

    def frame_ready(image: np.ndarray, event: MDAEvent) -> None:  # called in the thread of the acquisition
        position = round(event.x_pos, 1), round(event.y_pos, 1)
        loop.call_soon_threadsafe(snapped.put_nowait, ((position, time.perf_counter()), image))

    core.mda.events.frameReady.connect(frame_ready)
    acquisition = asyncio.create_task(asyncio.to_thread(core.mda.run, plan))
    acquisition.add_done_callback(lambda _: snapped.put_nowait(None))
    try:
        while frame := await snapped.get():
            yield frame
        await acquisition  # raises what the microscope raised
    finally:
        core.mda.events.frameReady.disconnect(frame_ready)
        if not acquisition.done():
            core.mda.cancel()  # the program was interrupted: the microscope stops, too


def place(position: Position) -> str:
    """Returns a position as text."""
    return "x {:z.1f}, y {:z.1f} µm".format(*position)


def microscope() -> CMMCorePlus:
    """Returns the microscope, here a demo.

    For a real microscope, two lines are the whole function. Micro-Manager's Hardware Configuration Wizard writes the
    configuration file, which has to hold the pixel size. `mmcore install` gets Micro-Manager's drivers.

        core = CMMCorePlus()
        core.loadSystemConfiguration("my_microscope.cfg")
    """
    core = UniMMCore(mm_path=str(HERE))  # any folder: otherwise the core misses Micro-Manager's drivers
    core.loadPyDevice("Stage", stage := DemoStage())
    core.loadPyDevice("Camera", DemoCamera(specimen(), stage))
    core.loadPyDevice("Shutter", DemoShutter())
    core.initializeAllDevices()
    core.setXYStageDevice("Stage")
    core.setCameraDevice("Camera")
    core.setShutterDevice("Shutter")
    core.definePixelSizeConfig("20x")
    core.setPixelSizeUm("20x", PIXEL_UM)
    return core


class DemoStage(XYStageDevice):
    """A stage that arrives at once. The middle of the specimen is at 0, 0."""

    position: Position = (0.0, 0.0)

    def set_position_um(self, x: float, y: float) -> None:
        self.position = (x, y)

    def get_position_um(self) -> Position:
        return self.position

    def home(self) -> None: ...
    def stop(self) -> None: ...
    def set_origin_x(self) -> None: ...
    def set_origin_y(self) -> None: ...


class DemoShutter(ShutterDevice):
    """A shutter, which every acquisition closes."""

    is_open = False

    def get_open(self) -> bool:
        return self.is_open

    def set_open(self, open: bool) -> None:
        self.is_open = open


class DemoCamera(SimpleCameraDevice):
    """A camera that sees the part of the specimen around the position of the stage. Rows of a frame grow with y."""

    def __init__(self, specimen: np.ndarray, stage: DemoStage) -> None:
        super().__init__()
        self.specimen, self.stage, self.exposure_ms = specimen, stage, 50.0

    def get_exposure(self) -> float:
        return self.exposure_ms

    def set_exposure(self, exposure: float) -> None:
        self.exposure_ms = exposure

    def sensor_shape(self) -> tuple[int, int]:
        return 512, 512

    def dtype(self) -> np.dtype:
        return self.specimen.dtype

    def snap(self, buffer: np.ndarray) -> dict:
        time.sleep(self.exposure_ms / 1000)
        height, width = buffer.shape
        x, y = self.stage.position
        top = round((self.specimen.shape[0] - height) / 2 + y / PIXEL_UM)
        left = round((self.specimen.shape[1] - width) / 2 + x / PIXEL_UM)
        buffer[:] = self.specimen[top : top + height, left : left + width]
        return {}


def specimen() -> np.ndarray:
    """Returns an image of 2600 x 2784 px. Each part holds a share of the nuclei of one real image."""
    shares = [[0, 0, 0.1, 0], [0, 0.1, 0.2, 0.1], [0.1, 0.2, 0.5, 0.4], [0, 0.2, 1, 0.8], [0, 0.1, 0.3, 0.2]]
    image = imagecodecs.imread(HERE / "images" / "nuclei_fluorescence.png")
    labels = imagecodecs.imread(HERE.parent / "tests" / "data" / "nuclei_fluorescence_masks.png")
    random = np.random.default_rng(0)
    ground = random.poisson(np.median(image[labels == 0]), image.shape).astype(image.dtype)
    kept = [[(random.random(labels.max() + 1) < share)[labels] & (labels > 0) for share in row] for row in shares]
    return np.block([[np.where(nuclei, image, ground) for nuclei in row] for row in kept])


if __name__ == "__main__":
    asyncio.run(main())
