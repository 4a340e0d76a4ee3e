"""Runs of the simulation: its validation on this machine, and deployments of 1 to 1,000 Tritons."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from .callers import Failure, Load, simulate
from .deployment import Deployment, Image, Policy, Times, Work
from .measure import NETWORK, ROOT, Measured

IMAGE = Image(1.0, 36)
"""1000 x 1000 px, objects of the networks' working diameter."""
PODS = (1, 3, 10, 30, 100, 300, 1000)
SHARED = 64
"""Tritons of the runs with different numbers of gateways."""
ENOUGH = 0.9
"""Efficiency from which Tritons count as busy."""
BATCHES, WARM = 24, 8
"""Length of a simulation in batch times, and the first batch times, which are not counted: queues fill then."""
BUSY = 0.7
"""Rate of images as a share of the Tritons' rate, where latency is simulated."""
SEEDS = 8
"""Simulations of each measured run."""
POLICIES: tuple[Policy, ...] = get_args(Policy)
FAILURE_TRITONS, FAILURE_SHARE = 40, 0.05
"""Tritons of the runs with a failure, and the share of them that stop."""
AVOIDED_S = 3.0
"""Time until the health probe of a silent Triton has failed (triton_probe_interval_s and PROBE_TIMEOUT_S)."""
CANCELLED_S = 6.0
"""Time until the tiles at a silent Triton are cancelled (MAX_FAILED_PROBES)."""
CONNECTION_LOST_S = 25.0
"""Time until a silent connection is closed (keepalive)."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of Triton pod.

    Attributes:
        name: "CPU" or "GPU".
        pods: Settings of the pods. The numbers of pods are filled in later.
        times: Measured durations.
        per_gateway: Numbers of Tritons per gateway to try.
        in_flight: Images in flight per Triton if all Tritons should be busy.
    """

    name: str
    pods: Deployment
    times: Times
    per_gateway: tuple[float, ...]
    in_flight: int

    @property
    def batch_s(self) -> float:
        """Mean seconds of a full batch."""
        return statistics.fmean(self.times.batch_s[self.pods.max_batch])

    @property
    def rate(self) -> float:
        """Tiles per second of one Triton that is never idle."""
        return self.pods.max_batch / self.batch_s


def times_of(measured: Measured) -> Times:
    """Returns the measured times of a Triton on a processor."""
    return Times(
        measured.batch_s,
        measured.exchange_s,
        measured.loop,
        measured.threads,
        measured.scatter,
        measured.before,
    )


def kinds(measured: Measured, gpu: dict[str, Any]) -> list[Kind]:
    """Returns the kinds of Triton pods: on processors, and on a GPU as measured by benchmarks/gpu in one precision."""
    cpu = Deployment(1, 1, gateway_cores=measured.cores, **_configured("config.pbtxt"))
    configured = replace(cpu, **_configured("configs/gpu.pbtxt"))
    return [
        Kind("CPU", cpu, times_of(measured), (1, 2, 4, 8, 16, 32), in_flight=3),
        Kind("GPU", configured, _gpu_times(gpu, configured.max_batch), (0.125, 0.25, 0.5, 1, 2), in_flight=12),
    ]


def _gpu_times(gpu: dict[str, Any], most: int) -> Times:
    """Returns the times of a GPU. Batch sizes that were not measured are interpolated."""
    measured = {int(tiles): statistics.median(seconds) for tiles, seconds in gpu["batch_s"].items()}
    sizes = range(1, most + 1)
    batch_s = np.interp(sizes, sorted(measured), [measured[tiles] for tiles in sorted(measured)])
    return Times(
        {tiles: [float(seconds)] for tiles, seconds in zip(sizes, batch_s, strict=True)},
        gpu["exchange_s"],
        Work(**gpu["loop"]),
        Work(**gpu["threads"]),
        gpu["scatter"],
        gpu["before"],
    )


def _configured(file: str) -> dict[str, Any]:
    """Returns the settings of the network in Triton's configuration."""
    text = (ROOT / "model_repository" / NETWORK / file).read_text()
    config = text_format.Parse(text, model_config_pb2.ModelConfig())
    return {
        "max_batch": config.max_batch_size,
        "delay_s": config.dynamic_batching.max_queue_delay_microseconds / 1e6,
        "queue_limit": config.dynamic_batching.default_queue_policy.max_queue_size,
    }


def validate(measured: Measured) -> list[dict[str, float]]:
    """Predicts each measured run.

    Predictions are medians of SEEDS simulations. Errors are relative to the measured values.
    """
    alone = Deployment(1, 1, shared_cores=measured.cores)
    rows = []
    for run in measured.runs:
        image = Image(run.megapixels, run.tiles)
        load = Load(in_flight=run.in_flight, images=run.images)
        outcomes = [simulate(alone, times_of(measured), image, load, seed=seed) for seed in range(SEEDS)]
        row: dict[str, float] = {"in_flight": run.in_flight, "others": run.others}
        predicted = [_summary([latency for _, latency in o.finished], o.finished[-1][0]) for o in outcomes]
        for name, value in _summary(run.latency_s, run.seconds).items():
            row[f"{name} measured"] = value
            row[f"{name} predicted"] = statistics.median(one[name] for one in predicted)
            row[f"{name} error"] = row[f"{name} predicted"] / value - 1
        rows.append(row)
    return rows


def _summary(latency_s: Sequence[float], seconds: float) -> dict[str, float]:
    return {
        "images_per_s": len(latency_s) / seconds,
        "p50_s": float(np.percentile(latency_s, 50)),
        "p95_s": float(np.percentile(latency_s, 95)),
    }


def full(kind: Kind, tritons: int, gateways: int, policy: Policy) -> dict[str, Any]:
    """Simulates pods whose callers always have images waiting."""
    pods = replace(kind.pods, tritons=tritons, gateways=gateways, policy=policy)
    batches = BATCHES * max(1, 30 // tritons)  # few Tritons need longer for steady figures
    end = batches * kind.batch_s
    in_flight = max(kind.in_flight * tritons, 2 * gateways)
    outcome = simulate(pods, kind.times, IMAGE, Load(in_flight=in_flight), until_s=end)
    counted = [tiles for time, tiles, _ in outcome.batches if WARM * kind.batch_s < time <= end]
    tiles_per_s = sum(counted) / ((batches - WARM) * kind.batch_s)
    return {
        "policy": policy,
        "tritons": tritons,
        "gateways": gateways,
        "images_per_h": tiles_per_s / IMAGE.tiles * 3600,
        "efficiency": tiles_per_s / (kind.rate * tritons),
        "tiles_per_batch": statistics.fmean(counted),
        "refusals": outcome.refusals,
        "lost": outcome.lost,
    }


def waiting(kind: Kind, tritons: int, gateways: int, policy: Policy) -> dict[str, float]:
    """Simulates pods with images at random times, at BUSY of the Tritons' rate."""
    pods = replace(kind.pods, tritons=tritons, gateways=gateways, policy=policy)
    rate = BUSY * kind.rate * tritons / IMAGE.tiles
    seconds = max(BATCHES * kind.batch_s, 2000 / rate)
    outcome = simulate(pods, kind.times, IMAGE, Load(rate=rate), until_s=seconds)
    settled = [latency for time, latency in outcome.finished if time - latency > seconds / 4]
    p50, p95 = np.percentile(settled, (50, 95))
    return {"p50_s": float(p50), "p95_s": float(p95), "lost": outcome.lost}


def tritons_per_gateway(kind: Kind) -> tuple[list[dict[str, Any]], dict[Policy, float]]:
    """Simulates SHARED Tritons with different numbers of gateways.

    Returns all runs, and for each policy the largest number of Tritons that a gateway keeps busy. A policy is left out
    if no number of gateways keeps the Tritons busy.
    """
    rows = []
    most: dict[Policy, float] = {}
    for policy in POLICIES:
        enough = True
        for ratio in kind.per_gateway:
            row = full(kind, SHARED, math.ceil(SHARED / ratio), policy)
            rows.append(row | {"tritons_per_gateway": ratio})
            enough = enough and row["efficiency"] >= ENOUGH
            if enough:
                most[policy] = ratio
    return rows, most


def failure(kind: Kind, gateways: int, policy: Policy, silent: bool) -> dict[str, Any]:
    """Stops FAILURE_SHARE of FAILURE_TRITONS busy Tritons. Returns the dip of tiles per second, and counts of images.

    Args:
        kind: The kind of Triton pod.
        gateways: Number of gateways.
        policy: How a gateway distributes tiles among Tritons.
        silent: Whether connections stay open, as when a node loses power. Otherwise connections break at once.
    """
    pods = replace(kind.pods, tritons=FAILURE_TRITONS, gateways=gateways, policy=policy)
    cancelled_s = (CANCELLED_S if pods.per_triton else CONNECTION_LOST_S) if silent else 0.0
    avoided_s = min(cancelled_s, AVOIDED_S) if pods.per_triton else cancelled_s
    window = 2 * kind.batch_s
    at, end = 8 * window, 16 * window + cancelled_s
    load = Load(in_flight=kind.in_flight * FAILURE_TRITONS, seconds=end)
    outcome = simulate(pods, kind.times, IMAGE, load, failure=Failure(at, FAILURE_SHARE, avoided_s, cancelled_s))
    ends, tiles, _ = zip(*outcome.batches, strict=True)
    counts = np.histogram(ends, np.arange(0, end, window), weights=tiles)[0]
    before = counts[4:8].mean()
    return {"policy": policy, "silent": silent, "tritons": FAILURE_TRITONS, "gateways": gateways} | {
        "deepest": float(counts[8:].min() / before),
        "afterwards": float(counts[-4:].mean() / before),
        "computed_twice": sum(tiles) / (IMAGE.tiles * len(outcome.finished)) - 1,
        "longest_s": max(latency for _, latency in outcome.finished),
        "started": outcome.started,
        "answered": len(outcome.finished),
        "lost": outcome.lost,
        "repeats": outcome.repeats,
    }
