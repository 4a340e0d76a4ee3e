"""The table of docs/decisions/0023: what each hostile file costs the processes that decode it.

    python -m tests.integration.gateway.hostile.decoding [--runs 3] [NAME ...]

Limits are the defaults of a gateway. Memory is sampled: private memory of the caller and of all processes below, and
the memory that passes the pixels. Memory beside is memory above the start, without the file and without the pixels of
the image in the type of the file. A file that is refused before its pixels are read has none. The largest memory and
the median time of the runs are printed.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import time
from collections.abc import Iterator

from cellserve_formats import ImageError
from cellserve_formats.isolated import IsolatedReader
from cellserve_formats.isolated.process import MORE_WORKING_BYTES
from cellserve_gateway.app.decode import limits_of
from cellserve_gateway.settings import Settings

from tests.processes import memory, peak_memory

from . import files

MIB = 1 << 20


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("names", nargs="*", help="files whose name contains one of these; default: all")
    options = parser.parse_args()
    settings = Settings()
    print("| file | bytes | pixels, MiB | memory beside, MiB | time, s | answer |\n|---|---|---|---|---|---|")
    with contextlib.closing(IsolatedReader()) as reader:
        reader.start()
        for name, make in files.FILES.items():
            if options.names and not any(part in name for part in options.names):
                continue
            data = make()
            beside, times = [], []
            for _ in range(options.runs):
                time.sleep(0.5)
                before, start = memory(), time.perf_counter()
                needs = [0]

                @contextlib.contextmanager
                def grant(size: int, needs: list[int] = needs) -> Iterator[None]:
                    needs.append(size)
                    yield

                with peak_memory() as largest:
                    try:
                        reader.read(data, limits=limits_of(settings), seconds=settings.decode_s, grant=grant)
                        answer = "read"
                    except ImageError as error:
                        answer = f"`{error.reason}`"
                    times.append(time.perf_counter() - start)
                size = needs[-1] - MORE_WORKING_BYTES * (MORE_WORKING_BYTES in needs)
                beside.append(largest() - before - len(data) - size)
            columns = (
                f"{len(data):,}",
                f"{size / MIB:.0f}",
                f"{max(0, *beside) / MIB:.0f}",
                f"{statistics.median(times):.1f}",
            )
            print(f"| {name} | {' | '.join(columns)} | {answer} |", flush=True)


if __name__ == "__main__":
    main()
