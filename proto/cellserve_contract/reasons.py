"""Why requests fail. docs/reference/errors.md is generated from the texts below."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal

DOMAIN = "cellserve"
"""Domain of google.rpc.ErrorInfo."""

Source = Literal["server", "client", "log"]


@dataclass(frozen=True)
class Reason:
    """What a reason of an error means.

    Attributes:
        status: Name of the gRPC status code.
        meaning: What happened, in one or two sentences.
        remedy: What the caller can do.
        source: Who gives this reason: the server, the client library alone, or only the server's log.
    """

    status: str
    meaning: str
    remedy: str
    source: Source = "server"


class ErrorReason(Reason, Enum):
    """Reasons of errors. The name of a member is the reason in google.rpc.ErrorInfo."""

    IMAGE_EMPTY = (
        "INVALID_ARGUMENT",
        "The request has no image, or an axis of the image has length zero.",
        "Send an image with pixels.",
    )
    IMAGE_SIZE_MISMATCH = (
        "INVALID_ARGUMENT",
        "Shape, axes and number of bytes do not fit each other, or a zlib stream unpacks to another size.",
        "Compare `expected_bytes` with the bytes sent.",
    )
    IMAGE_UNDECODABLE = (
        "INVALID_ARGUMENT",
        "The bytes are neither a PNG, TIFF or JPEG file nor a zlib stream, or they are damaged or cut off. TIFF files "
        "that are compressed with JPEG 2000 or another image codec, colours such as CMYK, and images with planes in "
        "other files (`missing` names them) have this reason, too.",
        "Send the pixels raw, or repair the file.",
    )
    IMAGE_UNKNOWN = (
        "INVALID_ARGUMENT",
        "The file holds several images and the request chooses none, or one that is not there. The message lists the "
        "images; `available` is their number.",
        "Choose one by its number, from 0: `series`.",
    )
    AXES_UNKNOWN = (
        "INVALID_ARGUMENT",
        "The axes are not distinct letters of TCZYX and S with Y and X, or the image is a time series.",
        "Name the axes, or make a request for each time point: `segment_series` and `cellserve segment` do.",
    )
    STACK_MODE_MISSING = (
        "INVALID_ARGUMENT",
        "The image is a stack, and the request does not say what its planes make; `planes` is their number.",
        "Choose `stack_mode`: volume, stitch or planes.",
    )
    DATA_TYPE_UNSUPPORTED = (
        "INVALID_ARGUMENT",
        "The server does not take pixels of this type; `allowed` lists the types it takes.",
        "Convert the pixels.",
    )
    PIXELS_NOT_FINITE = (
        "INVALID_ARGUMENT",
        "Some pixels are NaN, infinite or beyond 1e30; `pixels` is their number.",
        "Replace these pixels, for example by 0.",
    )
    PIXEL_SIZE_INVALID = (
        "INVALID_ARGUMENT",
        "A pixel size is not a finite number above 0.",
        "Correct the pixel size, or leave it out.",
    )
    IMAGE_TOO_LARGE = (
        "INVALID_ARGUMENT",
        "The image has more pixels, planes, bytes (as sent, or once unpacked) or tiles than the server takes; "
        "`resource`, `value` and `limit` say how many.",
        "Cut the image, or check the diameter: a small diameter enlarges the image. GetLimits tells the limits of a "
        "server; the documentation has a page on all limits.",
    )
    PARAMETER_OUT_OF_RANGE = (
        "INVALID_ARGUMENT",
        "A parameter is outside its range; `parameter` and `allowed` name both. Also a channel that does not exist or "
        "must be named.",
        "Correct the parameter.",
    )
    FIELD_INVALID = (
        "INVALID_ARGUMENT",
        "A field has an unknown value of an enumeration, an id is longer than 128 printable ASCII characters, a grid "
        "of tiles does not cover its plane, or two fields contradict each other; `field` names the field.",
        "Correct the field.",
    )
    MESSAGE_MALFORMED = (
        "INVALID_ARGUMENT",
        "The bytes are not a message of this call. A stream ends with this reason.",
        "Generate the client anew from the contract.",
    )
    MESSAGE_TOO_COMPLEX = (
        "INVALID_ARGUMENT",
        "The message has more than 64 KiB besides the pixels, or more than one large value.",
        "Send one image in a request, and no fields of your own.",
    )
    MESSAGE_SIZE_MISMATCH = (
        "INVALID_ARGUMENT",
        "The message is larger than its metadata entry `cellserve-message-bytes` declares.",
        "Declare the true size, or leave the entry out.",
    )
    ANSWER_TOO_LARGE = (
        "INVALID_ARGUMENT",
        "The answer has, or would have, more bytes than the server sends; `value` and `limit` name both numbers.",
        "Call SegmentLarge, ask for fewer outputs or for compression, or segment parts of the image.",
    )
    CHUNK_INVALID = (
        "INVALID_ARGUMENT",
        "A chunk of an upload does not start where the chunk before ended, is too large, exceeds the declared size of "
        "the image, or does not fit its checksum.",
        "Send the chunks in order, each with its CRC-32.",
    )
    UPLOAD_CONTINUED = (
        "INVALID_ARGUMENT",
        "A newer call with the same idempotency key and header continues the upload of this call.",
        "Give each image an idempotency key of its own.",
    )
    SERVICE_UNKNOWN = (
        "NOT_FOUND",
        "A health check names a service that does not exist.",
        'Ask for "", "liveness" or the name of the service.',
    )
    UPLOAD_TOO_SLOW = (
        "RESOURCE_EXHAUSTED",
        "The request did not arrive in time while other requests waited for memory.",
        "Repeat the call, declare its size (`cellserve-message-bytes`), or send smaller images.",
    )
    ANSWER_NOT_TAKEN = (
        "DEADLINE_EXCEEDED",
        "The caller did not read its answer in time.",
        "Read each answer as soon as it comes.",
    )
    FRAME_ID_IN_USE = (
        "INVALID_ARGUMENT",
        "A frame of the same id is not answered yet; `frame_number` of the answer tells the two frames apart.",
        "Use each id once.",
    )
    TOKEN_MISSING = (
        "UNAUTHENTICATED",
        "The server needs a token, and the call has none.",
        "Send `authorization: Bearer TOKEN` (command line: `CELLSERVE_TOKEN`). The server's operator gives tokens.",
    )
    TOKEN_UNKNOWN = (
        "UNAUTHENTICATED",
        "The server does not know the token of the call.",
        "Ask the operator of the server for a token.",
    )
    MODEL_UNKNOWN = (
        "NOT_FOUND",
        "The server has no model family of this name; `available` lists the families.",
        "Choose one of them.",
    )
    GATEWAY_FULL = (
        "RESOURCE_EXHAUSTED",
        "A limit on the work of the gateway is reached; `resource` and `limit` name the limit.",
        "Wait as RetryInfo says, or add gateways. An image whose diameter is estimated can meet this limit late, once "
        "its scale is known.",
    )
    TRITON_QUEUE_FULL = (
        "RESOURCE_EXHAUSTED",
        "The queue of the inference server is full.",
        "Wait as RetryInfo says, or add inference servers.",
    )
    DRAINING = (
        "UNAVAILABLE",
        "This gateway shuts down.",
        "Repeat the call: another gateway answers. Clients of this project repeat it themselves.",
    )
    TRITON_UNAVAILABLE = (
        "UNAVAILABLE",
        "No inference server is ready: none can be reached, all still load their models, or the model has failed.",
        "Repeat the call.",
    )
    DEADLINE_EXCEEDED = (
        "DEADLINE_EXCEEDED",
        "The caller's deadline or the server's limit passed; `stage` names the stage of the work. Stage `plan`: the "
        "work was not begun, because its tiles take at least `estimated_s`, by the best speed that the inference "
        "servers have shown; `left_s` was left.",
        "Give more time, or state the diameter: an estimate costs time, and small objects enlarge the image. Repeating "
        "the call unchanged only adds load.",
    )
    WORK_BUDGET_EXCEEDED = (
        "DEADLINE_EXCEEDED",
        "The work on the image took longer than the request's `work_budget_s`, or would have (stage `plan`); `stage` "
        "names the stage of the work.",
        "Give a larger work budget, or state the diameter.",
    )
    NOT_IMPLEMENTED = (
        "UNIMPLEMENTED",
        "This version of the server does not offer a call, a field or a kind of image of the contract; `feature` names "
        "it.",
        "See the changelog.",
    )
    TRITON_REFUSED = (
        "INTERNAL",
        "The inference server refused a request of the gateway; `status` names its status.",
        "Report the failure with its request id.",
    )
    TRITON_BAD_ANSWER = (
        "INTERNAL",
        "The answer of the inference server does not fit its request; `output`, `got` and `expected` name the shapes.",
        "Report the failure with its request id.",
    )
    INTERNAL = (
        "INTERNAL",
        "An unforeseen error happened.",
        "Report the failure with its request id; the server's log has the rest.",
    )
    MODEL_MISMATCH = (
        "INTERNAL",
        "The inference server serves another file than `model.json` describes. The gateway stays not ready.",
        "Deploy one model repository to both.",
        "log",
    )
    CANCELLED = ("CANCELLED", "The caller ended the call.", "Nothing has to be done.", "log")
    FILE_UNREADABLE = ("INVALID_ARGUMENT", "A file cannot be read.", "Check path and permissions.", "client")
    FILE_UNWRITABLE = (
        "UNKNOWN",
        "The command line cannot write a result.",
        "Check the folder, its permissions and the free space.",
        "client",
    )
    MESSAGE_TOO_LARGE = (
        "RESOURCE_EXHAUSTED",
        "A message is larger than the server takes. gRPC itself refuses the message, without details.",
        "Call SegmentLarge, as the clients of this project do, or cut the image. The documentation has a page on "
        "all limits.",
        "client",
    )
    FRAME_SKIPPED = (
        "CANCELLED",
        "A newer frame came before this frame was sent (`newest_only`).",
        "To have every frame segmented, leave `newest_only` out.",
        "client",
    )
    ANSWER_INVALID = (
        "INTERNAL",
        "The client cannot read the answer of the server.",
        "Report the failure with its request id.",
        "client",
    )
    RUN_STOPPED = (
        "FAILED_PRECONDITION",
        "The segmentation of a large image cannot go on: the run folder holds another run or is in use, or the servers "
        "changed their networks.",
        "Do what the message says. The same command then goes on where the run was.",
        "client",
    )
    EXTRA_MISSING = (
        "FAILED_PRECONDITION",
        "An image or a result file needs libraries that are not installed. Zarr stores, slides, and images that "
        "exceed the limits of the server need the extra large. Some result files need the extra formats. Files of "
        "microscopes, such as .czi, need bioio and a plug-in.",
        "pip install 'cellserve[large]' or 'cellserve[formats]'; for a file of a microscope the packages that the "
        "message names.",
        "client",
    )
    CLIENT_FAILED = (
        "INTERNAL",
        "An unforeseen error happened in the client while it worked on one image. The other images are not concerned.",
        "Report the error. `cellserve --traceback` prints where it happened; in Python, see `__cause__`.",
        "client",
    )


def server_reasons() -> list[ErrorReason]:
    """Returns the reasons that a server sends to callers, in the order of the contract."""
    return [reason for reason in ErrorReason if reason.source == "server"]
