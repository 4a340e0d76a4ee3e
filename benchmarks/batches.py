"""What `cellserve batch` promises: nothing lost, nothing twice, the same results whatever is killed; flat memory.

    python benchmarks/batches.py kills --data DIR/data --images 1000 --kills 10
    python benchmarks/batches.py memory --images 10000
    python benchmarks/batches.py slow --images 60

`kills` segments crops of real images through two gateways and two Tritons with tiny networks, which compute in float32.
It compares the results with those of single calls, then kills a gateway and a Triton at random moments, then the
command itself. `memory` samples the memory of the command beside a scripted server. `slow` runs beside a Triton whose
tiles take a stated time, ten times that of the other run.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import itertools
import json
import random
import re
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import imagecodecs  # noqa: E402
import numpy as np  # noqa: E402
import tifffile  # noqa: E402
from cellserve import Client  # noqa: E402

from devtools import stack  # noqa: E402
from tests.integration import tiny  # noqa: E402
from tests.integration.gateway.pods import Pod, send  # noqa: E402
from tests.processes import resident  # noqa: E402
from tests.unit.client.scripted_server import Service, start  # noqa: E402

DIAMETER = 30.0
"""Of the objects: the networks see the images in their own size."""
SIDES = (160, 192, 224, 256)
"""Of the crops, in pixels."""
GATEWAY, TRITON = "cellserve_gateway", "tritonserver/bin/tritonserver"
"""Parts of the command lines of the processes that are killed."""
POLL_S = 0.05
TILE_S, DEADLINE_S, FIXED = 0.05, 20.0, 64
"""Of `slow`: seconds of a tile; longest time of a request at the gateway; images in work of a caller without care."""
SAVED = "masks,csv,geojson"


def main() -> int:
    """Command line; the exit status tells whether the promise is kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("kills", "memory", "slow"))
    parser.add_argument("--data", type=Path, help="labelled data sets: <set>/{train,test}/<name>_img.png")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=10, help="of the command")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="for images and results")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cellserve-", dir=options.folder) as name:
        folder = Path(name)
        if options.what == "kills":
            return _kills(folder, options.data, options.images, options.kills, random.Random(options.seed))
        return _memory(folder, options.images) if options.what == "memory" else _slow(folder, options.images)


def _kills(folder: Path, data: Path, count: int, kills: int, moments: random.Random) -> int:
    images = folder / "images"
    write_crops(images, data, count)
    with two_of_each(folder) as pods:
        addresses = [pod.address for pod in pods["gateway"]]
        expected = single_calls(addresses, images)
        print(f"{count} images, {sum(int(labels.max()) for labels in expected.values()):,} objects by single calls")
        began = time.perf_counter()
        subprocess.run(command(addresses, images, folder / "undisturbed"), check=True)
        seconds = time.perf_counter() - began
        wrong = check("undisturbed", folder / "undisturbed", expected)

        starts = sum(pod.starts for group in pods.values() for pod in group)
        with subprocess.Popen(command(addresses, images, folder / "servers")) as process:
            for kind, part in (("gateway", GATEWAY), ("triton", TRITON)):
                time.sleep(moments.uniform(0.1, 0.4) * seconds)
                pod = moments.choice(pods[kind])
                for pid in pod.pids(part):
                    send(pid, signal.SIGKILL)
                print(f"SIGKILL of a {kind}, {_done(folder / 'servers')} images done", flush=True)
        wrong += process.returncode
        wrong += check("servers killed", folder / "servers", expected)
        again = sum(pod.starts for group in pods.values() for pod in group) - starts
        print(f"servers started again: {again}")
        wrong += again < 2
        for pod in pods["gateway"]:
            stack.wait_serving(pod.address)

        wrong += _command_killed(
            command(addresses, images, folder / "killed"), folder / "killed", count, kills, moments
        )
        wrong += check("command killed", folder / "killed", expected)
    different = compare(folder / "undisturbed", folder / "killed")
    print(
        f"command killed {kills} times: {len(different)} files or rows differ from the undisturbed run {different[:5]}"
    )
    return int(bool(wrong or different))


def _command_killed(run: Sequence[str], out: Path, count: int, kills: int, moments: random.Random) -> int:
    """Kills a command again and again, each time after some more images; then lets it end. Returns its status."""
    killed = 0
    for number in range(kills):
        wanted = _done(out) + round(moments.uniform(0.3, 1.2) * count / (kills + 1))
        with subprocess.Popen(run, stderr=subprocess.DEVNULL) as process:
            while process.poll() is None and _done(out) < wanted:
                time.sleep(POLL_S)
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                killed += 1
        print(f"kill {number + 1}: {_done(out)} images have masks, status {process.returncode}", flush=True)
    if killed < kills:
        print(f"only {killed} of {kills} kills hit the command")
        return 1
    return subprocess.run(run, check=False).returncode


@contextlib.contextmanager
def two_of_each(folder: Path) -> Iterator[dict[str, list[Pod]]]:
    """Runs two Tritons and two gateways, each started again when it ends."""
    repository = tiny.write_repository(folder / "models")
    numbers = itertools.count()

    def place() -> Path:
        path = folder / f"server-{next(numbers)}"
        path.mkdir()
        return path

    with contextlib.ExitStack() as cleanup, ThreadPoolExecutor() as threads:
        tritons = [
            Pod(lambda port: stack.start_triton(place(), "--grpc-port", str(port), repository=repository))
            for _ in range(2)
        ]
        for pod in tritons:
            cleanup.callback(pod.close)
        behind = ",".join(threads.map(Pod.wait_ready, tritons))
        gateways = [
            Pod(lambda port: stack.start_gateway(place(), behind, port=port, model_repository=repository))
            for _ in range(2)
        ]
        for pod in gateways:
            cleanup.callback(pod.close)
        for address in threads.map(Pod.wait_ready, gateways):
            stack.wait_serving(address)
        yield {"triton": tritons, "gateway": gateways}


def write_crops(folder: Path, data: Path, count: int) -> None:
    """Writes crops of real images, TIFF and PNG, in folders; names in different folders are equal."""
    numbers = np.random.default_rng(0)
    sources = sorted(data.glob("*/t*/*_img.png"))
    for number in range(count):
        image = imagecodecs.imread(sources[number % len(sources)])
        side = min(int(numbers.choice(SIDES)), *image.shape[:2])
        y, x = (int(numbers.integers(0, length - side + 1)) for length in image.shape[:2])
        crop = np.ascontiguousarray(image[y : y + side, x : x + side])
        place = folder / f"plate {number % 3}" / f"well {number % 50}"
        place.mkdir(parents=True, exist_ok=True)
        name = f"field {number // 150}-{number % 150 // 50}"
        if number % 2:
            (place / f"{name}.png").write_bytes(imagecodecs.png_encode(crop))
        else:
            tifffile.imwrite(place / f"{name}.tif", crop, photometric="rgb" if crop.ndim == 3 else "minisblack")


def single_calls(addresses: Sequence[str], images: Path) -> dict[str, np.ndarray]:
    """Segments each image in a call of its own; returns labels by relative path without the ending."""
    files = [path for path in sorted(images.rglob("*")) if path.is_file()]
    expected = {}
    with Client(addresses) as client:
        for path, result in client.segment_many(files, diameter=DIAMETER, concurrency=8):
            if isinstance(result, Exception):
                raise result
            expected[str(path.relative_to(images).with_suffix(""))] = result.labels
    return expected


def command(addresses: Sequence[str], images: Path, out: Path, *more: str) -> list[str]:
    """Returns the command that segments a folder, told the diameter of the objects."""
    servers = [word for address in addresses for word in ("--address", address)]
    program = str(Path(sys.executable).with_name("cellserve"))
    return [
        program,
        "batch",
        str(images),
        "--out",
        str(out),
        *servers,
        "--diameter",
        f"{DIAMETER:g}",
        "--save",
        SAVED,
        *more,
    ]


def check(title: str, out: Path, expected: dict[str, np.ndarray]) -> int:
    """Compares results with those of single calls; prints counts and returns the number of faults."""
    masks = {str(path.relative_to(out)).removesuffix("_cp_masks.tif"): path for path in out.rglob("*_cp_masks.tif")}
    lost, unexpected = set(expected) - set(masks), set(masks) - set(expected)
    wrong = [name for name, labels in expected.items() if name in masks and not _equal(masks[name], labels)]
    with contextlib.closing(sqlite3.connect(out / ".cellserve" / "journal.sqlite")) as journal:
        states = Counter(dict(journal.execute("SELECT state, count(*) FROM rows GROUP BY state")))
    parts = list(out.rglob("*.part"))
    print(
        f"{title}: {len(masks)} results, {len(lost)} lost, {len(unexpected)} too many, {len(wrong)} other than by a "
        f"single call, {len(parts)} half written; journal: {dict(states)}",
        flush=True,
    )
    return len(lost) + len(unexpected) + len(wrong) + abs(states["done"] - len(expected)) + states["failed"]


def _equal(path: Path, labels: np.ndarray) -> bool:
    found = tifffile.imread(path)
    return found.dtype == labels.dtype and np.array_equal(found, labels)


def compare(first: Path, second: Path) -> list[str]:
    """Returns the files that differ, times left out."""
    ours, theirs = _fingerprints(first), _fingerprints(second)
    return sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))


def _fingerprints(out: Path) -> dict[str, str]:
    found = {}
    for path in sorted(out.rglob("*")):
        if path.is_dir() or path.suffix == ".part":
            continue
        data = path.read_bytes()
        if path.name == "journal.sqlite":
            found |= {f"journal, {name}": fingerprint for name, fingerprint in _rows_without_times(path)}
            continue
        if path.name == "status.json":
            continue
        if path.name == "report.html":
            data = re.sub(rb'<span class="time">.*?</span>', b"", data)
        found[str(path.relative_to(out))] = hashlib.sha256(data).hexdigest()
    return found


def _rows_without_times(path: Path) -> Iterator[tuple[str, str]]:
    """Yields name and content of each row of a journal."""
    with contextlib.closing(sqlite3.connect(path)) as journal:
        rows = journal.execute("SELECT name, state, identity, request, sha256, record FROM rows").fetchall()
    for name, *rest, record in rows:
        facts = {key: value for key, value in json.loads(record).items() if key not in ("server_s", "request_id")}
        yield name.decode(), json.dumps([*rest, facts], sort_keys=True)


def _done(out: Path) -> int:
    return sum(1 for _ in out.rglob("*_cp_masks.tif"))


class _Forgetful(Service):
    """The scripted server, which keeps no request."""

    def __init__(self) -> None:
        super().__init__()
        self.receive = lambda request, context: None


def _write_squares(images: Path, count: int) -> None:
    """Writes images with a bright square, 500 in a folder."""
    numbers = np.random.default_rng(0)
    base = numbers.integers(0, 50, (128, 128), np.uint8)
    for number in range(count):
        place = images / f"{number // 500}"
        place.mkdir(parents=True, exist_ok=True)
        pixels = base.copy()
        y, x = numbers.integers(0, 100, 2)
        pixels[y : y + 20, x : x + 20] = 200
        (place / f"{number % 500}.png").write_bytes(imagecodecs.png_encode(pixels))


def _memory(folder: Path, count: int) -> int:
    """Samples the memory of the command over many images; returns 1 if the last third takes more than the second."""
    images = folder / "images"
    _write_squares(images, count)
    server, _, port = start(_Forgetful())
    samples: list[tuple[float, int]] = []
    out = folder / "out"
    try:
        began = time.perf_counter()
        with subprocess.Popen(command([f"127.0.0.1:{port}"], images, out)) as process:
            while process.poll() is None:
                with contextlib.suppress(OSError, KeyError, ValueError):
                    samples.append((time.perf_counter() - began, resident(process.pid)))
                time.sleep(0.2)
    finally:
        server.stop(None)
    seconds = time.perf_counter() - began
    thirds = [
        statistics.median(size for at, size in samples if low <= at / seconds < high) / 2**20
        for low, high in ((0.2, 0.4), (0.4, 0.7), (0.7, 0.98))
    ]
    print(
        json.dumps(
            {
                "images": count,
                "done": _done(out),
                "seconds": round(seconds, 1),
                "images_per_s": round(count / seconds, 1),
                "mib": [round(each, 1) for each in thirds],
                "peak_mib": round(max(size for _, size in samples) / 2**20, 1),
            }
        )
    )
    return int(process.returncode != 0 or _done(out) != count or thirds[2] > 1.05 * thirds[1])


def _slow(folder: Path, count: int) -> int:
    """Runs beside a Triton of a stated speed, and beside one ten times as slow; prints what failed."""
    images = folder / "images"
    _write_squares(images, count)
    repository = tiny.write_repository(folder / "models")
    backends = folder / "backends" / "onnxruntime"
    backends.mkdir(parents=True)
    own = ROOT / "deploy" / "triton" / "backends" / "onnxruntime" / "model.py"
    (backends / "openvino_backend.py").write_bytes(own.read_bytes())
    (backends / "model.py").write_bytes((ROOT / "tests" / "integration" / "slow" / "model.py").read_bytes())
    faults = 0
    for tile_s in (TILE_S, 10 * TILE_S):
        place = folder / f"{tile_s}"
        place.mkdir()
        speed = {"CELLSERVE_TEST_BATCH_S": "0", "CELLSERVE_TEST_TILE_S": str(tile_s)}
        triton = stack.start_triton(place, "--backends", str(backends.parent), repository=repository, environment=speed)
        try:
            gateway = stack.start_gateway(
                place, triton.wait_ready()["grpc"], model_repository=repository, max_deadline_s=DEADLINE_S
            )
            try:
                address = gateway.wait_ready()["grpc"]
                stack.wait_serving(address)
                began = time.perf_counter()
                run = subprocess.run(command([address], images, place / "out"), check=False)
                print(
                    f"{tile_s:g} s a tile: {_done(place / 'out')} of {count} done, status {run.returncode}, "
                    f"{time.perf_counter() - began:.0f} s",
                    flush=True,
                )
                faults += run.returncode != 0 or _done(place / "out") != count
                with Client(address) as client:
                    files = itertools.islice(sorted(images.rglob("*.png")), 2 * FIXED)
                    results = list(client.segment_many(files, diameter=DIAMETER, concurrency=FIXED))
                late = sum(isinstance(result, Exception) for _, result in results)
                print(f"{tile_s:g} s a tile, always {FIXED} images in work: {late} of {len(results)} fail", flush=True)
            finally:
                gateway.stop()
        finally:
            triton.stop()
    return faults


if __name__ == "__main__":
    sys.exit(main())
