// Segments the active image with CellServe, in ImageJ 1.52 or later and in Fiji. Opens the label image, and puts the outline of
// each object into the ROI Manager under the number of the object. A selection limits the image to its bounding rectangle.
//
// Open an image and run this macro (Plugins > Macros > Run). Another macro can run it with parameters:
//
//     runMacro("/path/to/segment.ijm", "diameter=29&flow_threshold=0.3");
//
// Parameters are those of a URL: docs/reference/parameters.md lists them. A z stack needs one of them, stack_mode=volume.
// The macro sends the image with curl, which Windows 10, macOS and Linux have. The environment can name the service:
//
//     CELLSERVE_HTTP_URL   the service, "http://localhost:8080" unless set
//     CELLSERVE_TOKEN      token, if the service wants one
//     CELLSERVE_CA         file of certificates to trust (PEM), if those of this machine do not do

var parameters = getArgument();
var url = environment("CELLSERVE_HTTP_URL", "http://localhost:8080");
var token = environment("CELLSERVE_TOKEN", "");
var authority = environment("CELLSERVE_CA", "");
var left = 0;
var top = 0;
var largest = 0; // number of the last object
var work = replace(getDirectory("temp"), "\\", "/") + "cellserve-" + d2s(random * 1e9, 0) + "/";

if (nImages == 0)
    exit("CellServe: open an image first");
image = getImageID();
title = getTitle();
if (selectionType() >= 0)
    getSelectionBounds(left, top, width, height);

// Nobody else may read the folder: it holds the token for a moment.
File.makeDirectory(work);
if (!startsWith(getInfo("os.name"), "Windows"))
    exec("chmod", "700", work);

batch = is("Batch Mode");
if (!batch) {
    run("ROI Manager..."); // batch mode has one of its own
    setBatchMode(true);
}
run("Duplicate...", "title=cellserve duplicate");
if (bitDepth() == 8 && !is("Inverting LUT"))
    run("Grays"); // a file with a look-up table holds colours instead of intensities
saveAs("Tiff", work + "image.tif");
close();
selectImage(image);

status = send();
if (status != "200") {
    message = failure(status);
    clear();
    exit("CellServe: " + title + ": " + message);
}
open(work + "labels.tif");
clear();
rename(title + " labels");
objects = 0;
for (slice = 1; slice <= nSlices; slice++) {
    setSlice(slice);
    objects = objects + addOutlines();
}
setMinAndMax(0, maxOf(1, largest));
if (!batch)
    setBatchMode("exit and display");
selectImage(image);
if (roiManager("count") > 0)
    roiManager("Show All without labels");
print(title + ": " + largest + " objects, " + objects + " outlines");

// Sends the image. Returns the status of the answer, "000" if there is none. curl repeats the request when the service is
// full. The options are in a file: other users of the machine see a command line.
function send() {
    options = "url = \"" + url + "/v1/segment?" + parameters + "\"\n";
    options += "header = \"Accept: image/tiff\"\nheader = \"Content-Type: image/tiff\"\n";
    if (token != "")
        options += "header = \"Authorization: Bearer " + token + "\"\n";
    if (authority != "")
        options += "cacert = \"" + replace(authority, "\\", "/") + "\"\n";
    options += "data-binary = \"@" + work + "image.tif\"\noutput = \"" + work + "labels.tif\"\n";
    options += "stderr = \"" + work + "error.txt\"\nwrite-out = \"%{http_code}\"\n";
    options += "silent\nshow-error\nretry = 5\nretry-max-time = 120\n";
    File.saveString(options, work + "curl.txt");
    found = exec("curl", "--config", work + "curl.txt");
    return substring(found, 0, minOf(3, lengthOf(found)));
}

// Returns what the service says of a failure: the reason and the detail of its answer, which is JSON.
function failure(status) {
    if (!File.exists(work + "labels.tif"))
        return File.openAsString(work + "error.txt");
    answer = File.openAsString(work + "labels.tif");
    reason = member(answer, "reason");
    detail = member(answer, "detail");
    return reason + ": " + detail;
}

function member(json, name) {
    start = indexOf(json, "\"" + name + "\": \"");
    if (start < 0)
        return json;
    start += lengthOf(name) + 5;
    return substring(json, start, indexOf(json, "\", \"", start));
}

function clear() {
    names = newArray("image.tif", "labels.tif", "error.txt", "curl.txt");
    for (i = 0; i < names.length; i++)
        if (File.exists(work + names[i]))
            deleted = File.delete(work + names[i]);
    deleted = File.delete(work);
}

// Adds the outline of each object of the current slice to the ROI Manager, at its place in the image. Returns their number.
function addOutlines() {
    getRawStatistics(pixels, mean, min, max);
    largest = maxOf(largest, max);
    sizes = newArray(max + 1);
    firstX = newArray(max + 1);
    firstY = newArray(max + 1);
    getDimensions(width, height, channels, slices, frames);
    for (y = 0; y < height; y++) {
        for (x = 0; x < width; x++) {
            value = getPixel(x, y);
            if (value > 0) {
                if (sizes[value] == 0) {
                    firstX[value] = x;
                    firstY[value] = y;
                }
                sizes[value]++;
            }
        }
    }
    added = 0;
    for (value = 1; value <= max; value++) {
        if (sizes[value] > 0) {
            doWand(firstX[value], firstY[value], 0, "8-connected");
            getRawStatistics(pixels);
            if (pixels != sizes[value]) { // several pieces, or a hole: slower, since all pixels are compared
                setThreshold(value, value);
                run("Create Selection");
                resetThreshold();
            }
            getSelectionBounds(x, y, w, h);
            setSelectionLocation(x + left, y + top);
            Roi.setName(IJ.pad(value, 5));
            if (nSlices > 1)
                Roi.setPosition(0, getSliceNumber(), 0); // the plane, in all channels
            roiManager("add");
            added++;
        }
    }
    run("Select None");
    return added;
}

// Returns a variable of the environment, or a default.
function environment(name, otherwise) {
    value = call("java.lang.System.getenv", name);
    if (value == "" || value == "null")
        return otherwise;
    return value;
}
