"""Programs of other people that use the service: Imaging Server Kit's client, and scripts for ImageJ and QuPath."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from cellserve_formats.labels_tiff import labels_tiff_bytes

from tests.kit.client import run_kit

from .programs import NUCLEI, ROOT, run

STAND_INS = Path(__file__).with_name("stand_ins")
SCRIPT = ROOT / "examples" / "qupath" / "segment.groovy"
GSON = Path("/usr/share/java/gson.jar")
IMAGEJ = Path("/usr/share/java/ij.jar")


def with_token(environment: dict[str, str], token: str | None = None) -> str:
    """Returns the address of the kit's routes with a token in it."""
    address = environment["CELLSERVE_HTTP_URL"].replace("127.0.0.1", "localhost") + "/imaging-server-kit"
    return address.replace("://", f"://anybody:{token or environment['CELLSERVE_TOKEN']}@")


def test_imaging_server_kit_segments(guarded, expected, tmp_path):
    """The kit's client gets the labels of the project's client, through TLS and with a token."""
    pixels, (_, environment) = imagecodecs.imread(NUCLEI), guarded
    url = with_token(environment)
    answers = run_kit(
        [
            {"url": url, "params": {"image": pixels}},
            {"url": url, "params": {"image": pixels.astype(float), "diameter": 25, "more": "ensemble=false"}},
            {"url": url, "params": {"image": pixels, "diameter": 0.5}},
            {"url": url, "params": {"image": pixels, "tiled": True}},
            {"url": with_token(environment, "a-token-of-nobody"), "params": {"image": pixels}},
        ],
        tmp_path,
        REQUESTS_CA_BUNDLE=environment["CELLSERVE_CA"],
    )
    plain, chosen, wrong, tiled, stranger = answers
    np.testing.assert_array_equal(plain["labels"], expected)
    assert plain["features"]["area"] == np.bincount(expected.ravel())[1:].tolist()
    assert plain["metadata"]["diameter_source"] == "size_model"
    made = chosen["metadata"]
    assert (made["params"]["diameter"], made["params"]["ensemble"]) == (25, False)
    assert made["model"]["name"] == "generalist_single"
    assert chosen["labels"].max() > 50
    assert wrong["error"] == "InvalidAlgorithmParametersError"
    assert "diameter is 0.5; allowed: 1 to 10000 pixels" in wrong["message"]
    assert tiled["error"] == "AlgorithmRuntimeError", "the client would cut images apart"
    assert stranger["error"] == "AlgorithmServerError"
    assert "401" in stranger["message"]
    assert "the token is not known to this server (TOKEN_UNKNOWN)" in stranger["message"]


@pytest.fixture(scope="module")
def imagej() -> Iterator[list[str]]:
    """The command that runs a macro in ImageJ, on a display that nobody sees: -macro or -batch and the path follow."""
    if not IMAGEJ.exists() or not all(map(shutil.which, ("java", "Xvfb", "curl"))):
        pytest.skip("no ImageJ, Xvfb or curl: apt install imagej xvfb curl")
    reading, writing = os.pipe()
    command = ["Xvfb", "-displayfd", str(writing), "-screen", "0", "1280x1024x24", "-nolisten", "tcp"]
    with subprocess.Popen(command, pass_fds=[writing], stderr=subprocess.DEVNULL) as display:
        os.close(writing)
        with os.fdopen(reading) as told:
            number = told.readline().strip()
        yield ["env", f"DISPLAY=:{number}", "java", "-cp", str(IMAGEJ), "ij.ImageJ"]
        display.terminate()


DRIVER = """
open("{image}");
{select}
runMacro("{macro}", "{parameters}");
if (!isOpen("{title} labels"))
    exit("no labels");
selectWindow("{title} labels");
saveAs("Tiff", "{folder}/shown.tif");
slices = nSlices;
newImage("drawn", "32-bit black", {width}, {height}, slices);
for (i = 0; i < roiManager("count"); i++) {{
    roiManager("select", i);
    setColor(parseInt(Roi.getName));
    fill();
}}
run("Select None");
saveAs("Tiff", "{folder}/drawn.tif");
run("Quit");
"""


def macro(folder: Path, shape: tuple[int, int], parameters: str = "", select: str = "", image: Path = NUCLEI) -> Path:
    """Writes a macro that segments an image by the example, saves the labels, and draws the outlines."""
    source = DRIVER.format(
        image=image,
        title=image.name,
        macro=ROOT / "examples" / "imagej" / "segment.ijm",
        folder=folder,
        width=shape[1],
        height=shape[0],
        parameters=parameters,
        select=select,
    )
    (folder / "driver.ijm").write_text(source)
    return folder / "driver.ijm"


def test_imagej_shows_labels_and_outlines(imagej, guarded, expected, tmp_path):
    done = run(imagej, "-macro", macro(tmp_path, expected.shape), **guarded[1])
    assert done.returncode == 0, done.stdout + done.stderr
    shown, drawn = (tifffile.imread(tmp_path / f"{name}.tif") for name in ("shown", "drawn"))
    np.testing.assert_array_equal(shown, expected)
    np.testing.assert_array_equal(drawn, expected)


def test_imagej_sends_the_selection(imagej, guarded, expected, tmp_path):
    select = "makeRectangle(200, 100, 300, 250);"
    done = run(imagej, "-macro", macro(tmp_path, expected.shape, "diameter=25", select), **guarded[1])
    assert done.returncode == 0, done.stdout + done.stderr
    shown, drawn = (tifffile.imread(tmp_path / f"{name}.tif") for name in ("shown", "drawn"))
    assert shown.shape == (250, 300)
    np.testing.assert_array_equal(drawn[100:350, 200:500], shown)
    assert drawn.sum() == shown.sum()
    inside = expected[110:340, 210:490] > 0
    assert ((shown[10:240, 10:290] > 0) == inside).mean() > 0.98, "the objects are at their place"


def test_imagej_outlines_any_object(imagej, tmp_path):
    """A stack, a number above 65,535, an object with a hole, one in two pieces, and one that touches another."""
    labels = np.zeros((2, 40, 60), np.uint32)
    labels[0, 5:20, 5:20], labels[0, 9:14, 9:14] = 70_001, 0
    labels[0, 5:20, 20:30] = 2
    labels[0, 30:34, 5:9] = labels[0, 34:38, 9:13] = labels[0, 30:35, 40:45] = 3
    labels[1, 10:30, 10:50], labels[1, 12, 12] = 2, 4
    answer = labels_tiff_bytes(labels, axes="ZYX")

    class Door(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

    with HTTPServer(("127.0.0.1", 0), Door) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        done = run(imagej, "-macro", macro(tmp_path, (40, 60)), CELLSERVE_HTTP_URL=url)
        server.shutdown()
    assert done.returncode == 0, done.stdout + done.stderr
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "drawn.tif"), labels)


def test_imagej_tells_what_failed(imagej, guarded, expected, tmp_path):
    for environment, parameters, said in (
        ({}, "diameter=0.5", "PARAMETER_OUT_OF_RANGE: diameter is 0.5; allowed: 1 to 10000 pixels"),
        ({"CELLSERVE_HTTP_URL": "http://127.0.0.1:1"}, "", "curl: (7)"),
    ):
        done = run(imagej, "-batch", macro(tmp_path, expected.shape, parameters), **guarded[1] | environment)
        assert f"CellServe: {NUCLEI.name}: {said}" in done.stdout
        assert "no labels" in done.stdout


@pytest.fixture(scope="module")
def qupath(tmp_path_factory) -> list[str]:
    """The command that runs a script for QuPath beside stand-ins for QuPath. The path of the script follows."""
    java = shutil.which("java")
    if not java or not GSON.exists() or not all(map(shutil.which, ("groovy", "groovyc"))):
        pytest.skip("no Java, Groovy or Gson: apt install default-jre-headless groovy libgoogle-gson-java")
    home = ["env", f"JAVA_HOME={Path(java).resolve().parents[1]}"]
    classes = tmp_path_factory.mktemp("classes")
    subprocess.run([*home, "groovyc", "-d", classes, *sorted(STAND_INS.glob("*.groovy"))], check=True)
    return [*home, "groovy", "-cp", f"{classes}:{GSON}"]


def drawn(features: list[dict], shape: tuple[int, int]) -> np.ndarray:
    """Returns the label image of features whose coordinates are corners of pixels."""
    labels = np.zeros(shape, np.uint16)
    for feature in features:
        polygons = feature["geometry"]["coordinates"]
        if feature["geometry"]["type"] == "Polygon":
            polygons = [polygons]
        crossings = np.zeros(np.add(shape, 1), int)
        for ring in (ring for polygon in polygons for ring in polygon):
            for (x0, y0), (x1, y1) in itertools.pairwise(ring):
                if x0 == x1:  # a vertical edge: all pixels on its right change sides
                    crossings[int(min(y0, y1)) : int(max(y0, y1)), int(x0)] += 1
        inside = (np.cumsum(crossings, 1) % 2 == 1)[:-1, :-1]
        labels[inside] = int(feature["properties"]["name"])
    return labels


def measured(features: list[dict], name: str) -> list[float]:
    return [feature["properties"]["measurements"][name] for feature in features]


def test_qupath_imports_the_objects(qupath, guarded, expected, tmp_path):
    environment = guarded[1] | {"IMAGE": str(NUCLEI), "OBJECTS": str(tmp_path / "objects.json")}
    done = run(qupath, SCRIPT, **environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"CellServe: {expected.max()} objects\n"
    features = json.loads((tmp_path / "objects.json").read_text())["added"]
    np.testing.assert_array_equal(drawn(features, expected.shape), expected)
    assert {feature["properties"]["objectType"] for feature in features} == {"detection"}
    assert features[0]["geometry"]["plane"] == {"c": -1, "z": 0, "t": 0}
    assert measured(features, "area") == np.bincount(expected.ravel())[1:].tolist()
    assert set(features[0]["properties"]["measurements"]) == {
        *("area", "equivalent_diameter_area", "mean_probability", "flow_error")
    }
    done = run(qupath, SCRIPT, **environment | {"CELLSERVE_TOKEN": ""})
    assert done.returncode == 1
    assert "CellServe: TOKEN_MISSING: " in done.stderr


def test_qupath_places_the_objects_of_an_annotation(qupath, guarded, expected, tmp_path):
    """A rectangle that reaches beyond the image, at half the resolution."""
    script = tmp_path / "segment.groovy"
    settings = {"double downsample = 1": "double downsample = 2", "parameters = [:]": "parameters = [diameter: 14.5]"}
    text = SCRIPT.read_text()
    for before, after in settings.items():
        assert text.count(before) == 1
        text = text.replace(before, after)
    script.write_text(text)
    environment = {"IMAGE": str(NUCLEI), "OBJECTS": str(tmp_path / "objects.json"), "SELECTED": "201,100,600,250"}
    done = run(qupath, script, **guarded[1] | environment)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "objects.json").read_text())
    assert found["added"] == []
    labels = drawn(found["children"], expected.shape)
    sizes = np.bincount(labels.ravel())
    numbers = [int(feature["properties"]["name"]) for feature in found["children"]]
    assert len(numbers) > 20
    assert measured(found["children"], "area") == sizes[numbers].tolist(), "areas are those of the whole image"
    inner = np.s_[120:330, 220:680]
    assert ((labels[inner] > 0) == (expected[inner] > 0)).mean() > 0.95
    outside = labels.copy()
    outside[90:360, 191:] = 0
    assert not outside.any()
