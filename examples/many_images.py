"""Segments every image of a folder, several at a time, and goes on past those that fail. `make up` first.

python examples/many_images.py [FOLDER]
"""

import os
import sys
from pathlib import Path

from cellserve import CellServeError, Client

folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "images"
with Client(os.environ.get("CELLSERVE_ADDRESS", "localhost:50051")) as client:
    # Answers come as they finish; eight images in flight keep the server's batches full.
    for path, result in client.segment_many(sorted(folder.iterdir()), concurrency=8):
        if isinstance(result, CellServeError):
            print(f"{path.name}: {result.reason}: {result.message}")
        else:
            print(f"{path.name}: {len(result.objects)} objects")
