"""Segments one image and prints its objects. `make up` first."""

import os
from pathlib import Path

from cellserve import Client

image = Path(__file__).parent / "images" / "nuclei_fluorescence.png"
with Client(os.environ.get("CELLSERVE_ADDRESS", "localhost:50051")) as client:
    result = client.segment(image, diameter=29)
print(f"{result.labels.max()} objects with {result.model.name}, {result.timing.total_s:.2f} s on the server")
for cell in result.objects[:5]:
    print(f"{cell.label:4d}  at {cell.centroid[0]:.1f}, {cell.centroid[1]:.1f}  {cell.area} px")
