"""All settings of the gateway: one frozen object, read from the environment, passed in, never global."""

from __future__ import annotations

import difflib
import os
import re
import textwrap
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

MIB = 1 << 20
PREFIX = "CELLSERVE_"
TRITON_PYTHON = f"{PREFIX}TRITON_PYTHON"
"""Names the interpreter of Triton's environment, for `--local`."""
OTHERS = {"CELLSERVE_ADDRESS", "CELLSERVE_HTTP_URL", "CELLSERVE_TOKEN", TRITON_PYTHON}
"""Variables of the client and of `--local`."""

_SERVICE_LINK = re.compile(r"CELLSERVE_(\w+_)?(SERVICE_(HOST|PORT)\w*|PORT_\d+_\w+)=.*|\w+_PORT=(tcp|udp)://.*")
"""Variables that Kubernetes sets for a Service of our name (enableServiceLinks)."""


class Settings(BaseSettings):
    """Settings of one gateway process, units in the names; the environment variable is CELLSERVE_<NAME>."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description="Address to listen on; a container sets 0.0.0.0.")
    port: int = Field(50051, ge=0, le=65535, description="gRPC port; 0 takes a free one.")
    monitoring_port: int = Field(
        9464, ge=0, le=65535, description="HTTP port of /metrics, /livez and /readyz; 0 takes a free one."
    )
    http_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="HTTP port of the REST interface, usually 8080; 0 takes a free one. Unset: off.",
    )
    http_root_path: str = Field(
        "",
        pattern=r"^(/[\w.~-]+)*$",
        description="Path prefix of the REST interface behind a proxy, such as /cellserve, whether or not the proxy "
        "removes the prefix.",
    )
    http_allowed_origins: str = Field(
        "", description="Origins of web pages that may call the REST interface (CORS), separated by blanks; * for all."
    )
    http_max_connections: int = Field(
        256,
        gt=0,
        description="Most connections of the HTTP port. One more replaces the connection that has been idle longest.",
    )
    http_idle_s: float = Field(
        10.0, gt=0, description="Time for a TLS handshake, for the header of a request, and between requests."
    )
    http_stall_s: float = Field(
        30.0, gt=0, description="A request ends after this time without a byte of its body or progress of its answer."
    )
    health_port: int = Field(
        50052, ge=0, le=65535, description="gRPC port of health checks, without TLS or tokens; 0 takes a free one."
    )
    ready_file: Path | None = Field(
        None, description="JSON file of the addresses. Written once the gateway listens, removed at its end."
    )

    tls_certificate: Path | None = Field(
        None, description="PEM certificate chain of the gRPC and HTTP ports; read again when it changes."
    )
    tls_key: Path | None = Field(None, description="PEM private key of the certificate.")
    tls_client_ca: Path | None = Field(
        None, description="PEM certificates of authorities. Callers must show a certificate that one of them signed."
    )
    tokens_file: Path | None = Field(
        None,
        description="File of lines 'name token'. Callers must send a token of the file. Read again when it changes.",
    )
    otlp_endpoint: str | None = Field(
        None,
        pattern="^https?://",
        description="OpenTelemetry collector (OTLP/gRPC) that gets the traces. Unset: no traces.",
    )

    triton_address: str = Field(
        "127.0.0.1:8001",
        description="gRPC address of Triton, host:port or dns:///host:port; all addresses of the host, or several "
        "separated by commas, share the work.",
    )
    triton_probe_interval_s: float = Field(
        1.0, gt=0, description="Seconds between health probes of the Tritons and resolutions of their name."
    )
    model_repository: Path = Field(
        Path("model_repository"), description="Folder of the model families, each with its model.json."
    )
    default_model: str = Field("generalist", description="Model family of requests that name none.")

    max_message_bytes: int = Field(
        10 * MIB,
        gt=0,
        description="Largest gRPC message taken or sent. Python stops while gRPC copies a message. Clients send images "
        "above 9 MiB in chunks.",
    )
    max_transfer_bytes: int = Field(
        256 * MIB, gt=0, description="Largest image or answer that is sent in pieces: by HTTP, or by SegmentLarge."
    )
    max_image_bytes: int = Field(512 * MIB, gt=0, description="Largest image once decompressed.")
    max_image_pixels: int = Field(8192 * 8192, gt=0, description="Most pixels (rows x columns) of an image.")
    max_channels: int = Field(16, gt=0, description="Most channels of an image.")
    max_stack_planes: int = Field(1024, gt=0, description="Most planes of a stack.")
    max_stack_voxels: int = Field(
        32 * MIB,
        gt=0,
        description="Most voxels (planes x rows x columns) of a stack. A voxel takes up to 48 bytes of memory.",
    )
    max_stack_tiles: int = Field(20_000, gt=0, description="Most tiles of all sections of a stack.")
    max_tiles: int = Field(
        5000,
        gt=0,
        description="Most tiles of an image. Small diameters and flips need many. Lower if max_pixels_in_flight admits "
        "fewer tiles of 224 x 224 pixels.",
    )

    max_requests_in_flight: int = Field(
        256, gt=0, description="Most images in flight: worked on, or waiting. One more is refused."
    )
    max_pixels_in_flight: int = Field(
        4 * 8192 * 8192,
        gt=0,
        description="Most pixels that the networks run on, of all images in flight. An image beyond is refused.",
    )
    max_bytes_in_flight: int = Field(
        2048 * MIB, gt=0, description="Most bytes of all images in flight. An image beyond is refused."
    )
    max_bytes_uploading: int = Field(
        512 * MIB,
        gt=0,
        description="Most bytes of images being uploaded, at their declared or largest size. Further uploads wait.",
    )
    max_bytes_receiving: int = Field(
        64 * MIB,
        gt=0,
        description="Most bytes of gRPC messages being received. Further ones wait. Python stops while gRPC copies.",
    )
    stream_window: int = Field(
        8, gt=0, description="Most frames of one stream in work at a time. Further frames are not read."
    )

    max_calls: int = Field(1024, gt=0, description="Most open gRPC calls. One more is refused at once.")
    max_connections: int = Field(1000, gt=0, description="Most gRPC connections. One more is closed at once.")
    max_streams_per_connection: int = Field(
        128, gt=0, description="Most open calls of one gRPC connection. The client holds back further calls."
    )
    max_metadata_bytes: int = Field(16384, gt=0, description="Largest metadata (headers) of a call.")
    max_watchers: int = Field(64, gt=0, description="Most callers that follow the health (Watch). One more is refused.")
    handshake_timeout_s: float = Field(
        10.0, gt=0, description="Time for a new gRPC connection to speak TLS and HTTP/2."
    )
    max_connection_idle_s: float = Field(
        300.0, gt=0, description="A gRPC connection without a call is closed after this time."
    )
    upload_timeout_s: float = Field(120.0, gt=0, description="Time to receive one request. A slower upload is ended.")
    upload_resume_s: float = Field(
        60.0,
        ge=0,
        description="After a call of SegmentLarge broke, the gateway keeps the bytes of its image for this time, or "
        "until other work needs the memory. 0: not at all.",
    )
    write_timeout_s: float = Field(
        60.0, gt=0, description="Time for a caller to take an answer. After it, the call fails."
    )

    default_deadline_s: float = Field(300.0, gt=0, description="Time of a request without a deadline.")
    max_deadline_s: float = Field(
        600.0, gt=0, description="Longest time of a request. A longer deadline of a caller is cut to it."
    )
    tiles_in_flight_per_image: int = Field(
        32,
        gt=0,
        description="Most tiles of one image at Triton, or two of the model's batches per Triton if that is more. "
        "Bounds memory, and lets small images pass large ones.",
    )
    worker_threads: int = Field(
        default_factory=lambda: os.cpu_count() or 1,
        gt=0,
        description="Images of each priority class processed at the same time. Each image has its own thread. The same "
        "number of helper threads, less one, is shared among them.",
    )

    decode_s: int = Field(
        4, gt=0, description="Processor time to decode an image file, and one second more for each 16 MiB of the file."
    )
    max_decoding: int = Field(
        default_factory=lambda: max(8, 4 * (os.cpu_count() or 1)),
        gt=0,
        description="Images of each priority class decoded at the same time. Each image file has a process of its own.",
    )
    max_bytes_decoding: int = Field(
        512 * MIB,
        gt=0,
        description="Most bytes of the pixels of image files being decoded. Further files wait. Decoders take at most "
        "twice as much memory beside.",
    )

    drain_delay_s: float = Field(
        0.0, ge=0, description="After SIGTERM, the gateway says NOT_SERVING for this time, and still takes work."
    )
    drain_s: float = Field(60.0, ge=0, description="After drain_delay_s, running requests have this time to finish.")
    max_connection_age_s: float = Field(
        300.0,
        gt=0,
        description="A gRPC connection is closed after this time. Its client connects again, and finds new pods.",
    )

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe level that is logged."
    )
    log_format: Literal["json", "console"] = Field("json", description="json: a JSON object per line. console: text.")

    def address(self, port: int) -> str:
        """Returns "host:port", the host of IPv6 in brackets."""
        return f"[{self.host}]:{port}" if ":" in self.host else f"{self.host}:{port}"


def describe_settings() -> str:
    """Returns a text of all settings: variable, default, meaning."""
    entries = []
    for name, field in Settings.model_fields.items():
        default = field.get_default(call_default_factory=True, validated_data={})
        meaning = textwrap.fill(field.description or "", 96, initial_indent="      ", subsequent_indent="      ")
        entries.append(f"  {PREFIX}{name.upper()}={'' if default is None else default}\n{meaning}")
    return "\n".join(entries)


def refuse_unknown_settings() -> None:
    """Refuses environment variables that look like settings and are none.

    Raises:
        ValueError: Names each unknown variable, and the nearest known name.
    """
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    messages = []
    for name in sorted(name for name in os.environ if name.startswith(PREFIX)):
        if name not in known | OTHERS and not _SERVICE_LINK.fullmatch(f"{name}={os.environ[name]}"):
            nearest = difflib.get_close_matches(name, known, 1, 0)[0]
            messages.append(f"{name} is not a setting; the nearest is {nearest}")
    if messages:
        raise ValueError("; ".join(messages))
