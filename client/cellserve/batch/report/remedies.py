"""What to do about images that failed, in the words of the command line."""

from __future__ import annotations

from cellserve_contract.reasons import ErrorReason

# Where the remedy of the contract speaks to programs that call the server.
_OF_A_BATCH = {
    ErrorReason.IMAGE_EMPTY: "Leave these files out, or export them again: they have no pixels.",
    ErrorReason.IMAGE_UNDECODABLE: "Open these files in the program that wrote them, and save them as TIFF or PNG.",
    ErrorReason.IMAGE_UNKNOWN: "Segment an image of the file by its number, from 0: `cellserve segment --series`.",
    ErrorReason.AXES_UNKNOWN: "Name the axes, such as `--axes CYX`. For a z stack choose `--volume`, `--stitch` or "
    "`--planes`.",
    ErrorReason.STACK_MODE_MISSING: "Say what the planes make: `--volume`, `--stitch` or `--planes`.",
    ErrorReason.DATA_TYPE_UNSUPPORTED: "Convert the pixels to one of these types.",
    ErrorReason.PIXEL_SIZE_INVALID: "Correct the pixel size in these files, or save them without.",
    ErrorReason.IMAGE_TOO_LARGE: "Check the diameter: a small diameter enlarges the image. Or install what "
    "segments images of any size: `pip install 'cellserve[large]'`.",
    ErrorReason.PARAMETER_OUT_OF_RANGE: "Correct the parameter that the message names.",
    ErrorReason.ANSWER_TOO_LARGE: "Ask for fewer kinds of results, or cut these images.",
    ErrorReason.UPLOAD_TOO_SLOW: "Run the same command again when the server has less work.",
    ErrorReason.ANSWER_NOT_TAKEN: "Run the same command again, with a smaller `--concurrency` if that fails, too.",
    ErrorReason.TOKEN_MISSING: "Set `CELLSERVE_TOKEN`. The server's operator gives tokens.",
    ErrorReason.MODEL_UNKNOWN: "Choose one of the models that `cellserve models` lists.",
    ErrorReason.GATEWAY_FULL: "Run the same command again when the server has less work, or choose a smaller "
    "`--concurrency`.",
    ErrorReason.TRITON_QUEUE_FULL: "Run the same command again when the server has less work.",
    ErrorReason.DRAINING: "Run the same command again: the server shut down.",
    ErrorReason.TRITON_UNAVAILABLE: "Run the same command again when `cellserve health` says that the server is ready.",
    ErrorReason.DEADLINE_EXCEEDED: "Give more time (`--deadline-s`), or state the diameter (`--diameter`): an estimate "
    "costs time, and small objects enlarge the image.",
    ErrorReason.MESSAGE_TOO_LARGE: "Cut these images, or ask the server's operator for a larger limit.",
    ErrorReason.CANCELLED: "Run the same command again to segment these images.",
    ErrorReason.EXTRA_MISSING: "Install what is missing: `pip install 'cellserve[large]'`.",
    ErrorReason.RUN_STOPPED: "Do what the message says, then run the same command again.",
}
_UNKNOWN = "Read the message. If it does not help, report the failure to the operator of the server."


def remedy_of(reason: str) -> str:
    """Returns what to do about a failure: sentences in which backticks mark what is typed.

    Args:
        reason: Name of an `ErrorReason`. Other names, such as those of newer servers, get general advice.
    """
    known = ErrorReason.__members__.get(reason)
    return _UNKNOWN if known is None else _OF_A_BATCH.get(known, known.remedy)
