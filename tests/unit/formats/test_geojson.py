"""Polygons of objects: exact, simple, closed."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from cellserve_formats.geojson import geojson_bytes, write_geojson
from cellserve_formats.polygons import ring_area, trace_polygons
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

LABELS = hnp.arrays(np.uint16, hnp.array_shapes(min_dims=2, max_dims=2, max_side=8), elements=st.integers(0, 3))


def filled(polygons: list, shape: tuple[int, int]) -> np.ndarray:
    """Pixels within polygons, by the parity of the vertical edges to the left of their centres."""
    crossings = np.zeros((shape[0], shape[1] + 1), int)
    for polygon in polygons:
        for ring in polygon:
            for (x1, y1), (x2, y2) in zip(ring, [*ring[1:], ring[0]], strict=True):
                if x1 == x2:
                    crossings[min(y1, y2) : max(y1, y2), x1] += 1
    return np.cumsum(crossings, axis=1)[:, :-1] % 2 == 1


@given(LABELS)
def test_polygons_are_the_pixels_of_their_objects(labels):
    traced = dict(trace_polygons(labels))
    assert list(traced) == [label for label in np.unique(labels).tolist() if label]
    for label, polygons in traced.items():
        np.testing.assert_array_equal(filled(polygons, labels.shape), labels == label)
        assert sum(ring_area(ring) for polygon in polygons for ring in polygon) == np.count_nonzero(labels == label)


@given(LABELS)
def test_rings_are_simple_and_holes_lie_in_their_polygon(labels):
    for label, polygons in trace_polygons(labels):
        for outer, *holes in polygons:
            assert ring_area(outer) > 0
            for ring in (outer, *holes):
                assert len(set(ring)) == len(ring), "no corner twice"
                for (x1, y1), (x2, y2) in zip(ring, [*ring[1:], ring[0]], strict=True):
                    assert (x1 == x2) != (y1 == y2)
            inside = filled([[outer]], labels.shape)
            for hole in holes:
                assert ring_area(hole) < 0
                assert inside[filled([[hole]], labels.shape)].all()
            part = filled([[outer, *holes]], labels.shape)
            assert (labels[part] == label).all()


@given(LABELS)
def test_polygons_are_the_pieces_of_an_object(labels):
    for label, polygons in trace_polygons(labels):
        pieces, _ = cv2.connectedComponents((labels == label).astype(np.uint8), connectivity=4)
        eight, _ = cv2.connectedComponents((labels == label).astype(np.uint8), connectivity=8)
        assert eight - 1 <= len(polygons) <= pieces - 1


def test_features():
    labels = np.zeros((5, 6), np.uint16)
    labels[1:3, 2:5] = 4
    document = json.loads(geojson_bytes(labels, [{"label": 4, "area": 6, "centroid-0": 1.5}]))
    assert document == {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature",
                "id": "4",
                "geometry": {"type": "Polygon", "coordinates": [[[2, 1], [5, 1], [5, 3], [2, 3], [2, 1]]]},
                "properties": {
                    "objectType": "detection",
                    "name": "4",
                    "measurements": {"area": 6, "centroid-0": 1.5},
                },
            }
        ],
    }


def test_holes_and_pieces(tmp_path):
    labels = np.ones((7, 12), np.uint16)
    labels[:, 5:8] = 0
    labels[2:4, 1:3] = 0
    write_geojson(tmp_path / "cells.geojson", labels)
    (feature,) = json.loads((tmp_path / "cells.geojson").read_text())["features"]
    assert feature["geometry"]["type"] == "MultiPolygon"
    rings = [len(polygon) for polygon in feature["geometry"]["coordinates"]]
    assert sorted(rings) == [1, 2]
    for polygon in feature["geometry"]["coordinates"]:
        for ring in polygon:
            assert ring[0] == ring[-1]


@pytest.mark.parametrize("shape", [(0, 0), (1, 1), (3, 4)])
def test_no_objects(shape):
    assert json.loads(geojson_bytes(np.zeros(shape, np.uint16))) == {"type": "FeatureCollection", "features": []}
