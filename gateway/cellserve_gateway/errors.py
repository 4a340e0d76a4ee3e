"""Everything that can go wrong, as one tree.

ServiceError                 code                 reason
├── InvalidImage             INVALID_ARGUMENT     IMAGE_EMPTY, IMAGE_SIZE_MISMATCH, IMAGE_UNDECODABLE, AXES_UNKNOWN,
│                                                 DATA_TYPE_UNSUPPORTED, PIXELS_NOT_FINITE
├── ImageTooLarge            INVALID_ARGUMENT     IMAGE_TOO_LARGE
├── InvalidRequest           INVALID_ARGUMENT     PARAMETER_OUT_OF_RANGE, FIELD_INVALID, FRAME_ID_IN_USE,
│                                                 MESSAGE_MALFORMED, MESSAGE_TOO_COMPLEX, MESSAGE_SIZE_MISMATCH,
│                                                 CHUNK_INVALID, UPLOAD_CONTINUED
├── AnswerTooLarge           INVALID_ARGUMENT     ANSWER_TOO_LARGE
├── Unauthenticated          UNAUTHENTICATED      TOKEN_MISSING, TOKEN_UNKNOWN
├── ModelUnknown             NOT_FOUND            MODEL_UNKNOWN
├── ServiceUnknown           NOT_FOUND            SERVICE_UNKNOWN
├── Overloaded               RESOURCE_EXHAUSTED   GATEWAY_FULL, TRITON_QUEUE_FULL           (retry_after_s)
├── UploadTooSlow            RESOURCE_EXHAUSTED   UPLOAD_TOO_SLOW                           (retry_after_s)
├── Draining                 UNAVAILABLE          DRAINING                                  (retry_after_s)
├── BackendUnavailable       UNAVAILABLE          TRITON_UNAVAILABLE                        (retry_after_s)
├── DeadlinePassed           DEADLINE_EXCEEDED    DEADLINE_EXCEEDED, WORK_BUDGET_EXCEEDED
│   └── DeadlineTooNear                           the same, before the work
├── AnswerNotTaken           DEADLINE_EXCEEDED    ANSWER_NOT_TAKEN
├── NotImplementedYet        UNIMPLEMENTED        NOT_IMPLEMENTED
└── InternalError            INTERNAL             INTERNAL, MODEL_MISMATCH, TRITON_REFUSED, TRITON_BAD_ANSWER

Each boundary translates foreign exceptions into this tree. A backend translates those of its servers, and a front's
codec bad input. `app.calls.translated` makes INTERNAL of all others, without internals. Each front translates this tree
into its protocol. docs/reference/errors.md explains each reason.
"""

from __future__ import annotations

from enum import IntEnum


class Code(IntEnum):
    """Canonical status codes (google.rpc.Code), by which every front answers."""

    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


class ServiceError(Exception):
    """A failure with a status code, a machine-readable reason and the facts behind it.

    Args:
        message: One sentence for a person: what is wrong, the limit, what to do.
        reason: UPPER_SNAKE_CASE word of the table above. Default: the reason of the class.
        retry_after_s: Seconds after which a retry makes sense. None: a retry makes no sense.
        **metadata: Facts for programs, sent as strings.
    """

    code: Code = Code.INTERNAL
    reason: str = "INTERNAL"
    retry_after_s: float | None = None

    def __init__(
        self, message: str, *, reason: str | None = None, retry_after_s: float | None = None, **metadata: object
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.reason
        self.retry_after_s = retry_after_s if retry_after_s is not None else self.retry_after_s
        self.recorded = False  # in the log and the metrics
        self.metadata = {key: str(value) for key, value in metadata.items()}


class InvalidImage(ServiceError):
    code = Code.INVALID_ARGUMENT


class ImageTooLarge(ServiceError):
    code = Code.INVALID_ARGUMENT
    reason = "IMAGE_TOO_LARGE"


class InvalidRequest(ServiceError):
    code = Code.INVALID_ARGUMENT
    reason = "FIELD_INVALID"


class AnswerTooLarge(ServiceError):
    code = Code.INVALID_ARGUMENT
    reason = "ANSWER_TOO_LARGE"


class Unauthenticated(ServiceError):
    code = Code.UNAUTHENTICATED


class ModelUnknown(ServiceError):
    code = Code.NOT_FOUND
    reason = "MODEL_UNKNOWN"


class ServiceUnknown(ServiceError):
    code = Code.NOT_FOUND
    reason = "SERVICE_UNKNOWN"


class Overloaded(ServiceError):
    code = Code.RESOURCE_EXHAUSTED
    reason = "GATEWAY_FULL"
    retry_after_s = 1.0


class UploadTooSlow(ServiceError):
    code = Code.RESOURCE_EXHAUSTED
    reason = "UPLOAD_TOO_SLOW"
    retry_after_s = 1.0


class Draining(ServiceError):
    code = Code.UNAVAILABLE
    reason = "DRAINING"
    retry_after_s = 0.5


class BackendUnavailable(ServiceError):
    code = Code.UNAVAILABLE
    reason = "TRITON_UNAVAILABLE"
    retry_after_s = 1.0


class DeadlinePassed(ServiceError):
    code = Code.DEADLINE_EXCEEDED
    reason = "DEADLINE_EXCEEDED"


class DeadlineTooNear(DeadlinePassed):
    """The work cannot end before the deadline, and was not begun."""


class AnswerNotTaken(ServiceError):
    code = Code.DEADLINE_EXCEEDED
    reason = "ANSWER_NOT_TAKEN"


class NotImplementedYet(ServiceError):
    code = Code.UNIMPLEMENTED
    reason = "NOT_IMPLEMENTED"


class InternalError(ServiceError):
    pass
