"""A small cluster on this machine: two gateways, two Tritons, Prometheus, callers; restarts and a failure under load.

python -m deploy.cluster [--out build/cluster-demo]

Each step states what it expects; the exit status is 1 if anything is otherwise. Results: a table, results.json, and
the dashboard's panels with the data of this run as dashboard.png.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from deploy.cluster import panels
from deploy.cluster.load import Callers
from deploy.cluster.pods import Cluster
from deploy.cluster.prometheus import Prometheus
from devtools.stack import ROOT

CONNECTION_AGE_S = 20.0
CALLERS = 3
TOLERANCE = 0.15  # of an even share
STEADY_S = 30.0
FIRES_WITHIN_S = 120.0  # the alert waits a minute by itself
EVEN_WITHIN_S = 1.1 * CONNECTION_AGE_S + 5  # gRPC spreads ages by a tenth, and looks names up every 5 s at most
WINDOW_S = 8.0  # over which shares are counted
# As the chart computes them: for a pod that leaves, names are forgotten and connections left before it gets SIGTERM.
PRE_STOP_S = {"gateway": 2.0, "triton": 5.0}
GATEWAY: dict[str, Any] = {
    "max_connection_age_s": CONNECTION_AGE_S,
    "drain_delay_s": 2.0,
    "drain_s": 30.0,
    "worker_threads": 1,
}


class Demo:
    """The steps, and what came out of them."""

    def __init__(self, cluster: Cluster, prometheus: Prometheus, callers: Callers, console: Console) -> None:
        self._cluster = cluster
        self._prometheus = prometheus
        self._callers = callers
        self._console = console
        self.rows: list[tuple[str, str, str, bool]] = []

    def expect(self, what: str, found: str, wanted: str, met: bool) -> None:
        """Notes one result."""
        self.rows.append((what, found, wanted, met))
        self._console.print(f"  {'[green]ok[/]' if met else '[red]no[/]'}  {what}: {found} [dim](wanted: {wanted})[/]")

    def step(self, title: str) -> float:
        """Begins a step; returns its time."""
        self._console.print(f"[bold]{title}[/]")
        return time.time()

    def shares(self, seconds: float) -> dict[str, float]:
        """Returns each gateway's share of the requests of the next seconds, 1.0 if even."""
        gateways = self._cluster.of("gateway")
        before = {pod.name: pod.counter("cellserve_requests_total") for pod in gateways}
        time.sleep(seconds)
        counts = {pod.name: pod.counter("cellserve_requests_total") - before[pod.name] for pod in gateways}
        return {name: count * len(gateways) / max(1.0, sum(counts.values())) for name, count in counts.items()}

    def steady(self) -> None:
        """Both gateways get the same, and so do both Tritons."""
        start = self.step("steady load")
        tritons = self._cluster.of("triton")
        before = [pod.counter("nv_inference_request_success") for pod in tritons]
        shares = self.shares(STEADY_S)
        tiles = [pod.counter("nv_inference_request_success") - was for pod, was in zip(tritons, before, strict=True)]
        self.answered(start, "steady load")
        worst = max(abs(share - 1) for share in shares.values())
        text = ", ".join(f"{name} {share:.3f}" for name, share in shares.items())
        self.expect("each gateway's requests, of an even share", text, f"within {TOLERANCE:.0%}", worst <= TOLERANCE)
        even = [count * len(tiles) / sum(tiles) for count in tiles]
        text = ", ".join(f"{pod.name} {share:.3f}" for pod, share in zip(tritons, even, strict=True))
        self.expect("each Triton's tiles, of an even share", text, "each has some", min(tiles) > 0)

    def restart(self, kind: str) -> None:
        """A rolling restart loses nothing."""
        start = self.step(f"rolling restart of both {kind}s")
        ends = self._cluster.replace(kind)
        self.answered(start, f"restart of the {kind}s")
        text = ", ".join(f"status {status} after {seconds:.1f} s" for status, seconds in ends)
        self.expect(f"{kind}s that got SIGTERM", text, "status 0", not any(status for status, _ in ends))

    def grow(self) -> None:
        """A new gateway gets its share once the connections have aged."""
        start = self.step("a third gateway")
        self._cluster.admit(self._cluster.start("gateway"))
        named = time.time()
        took = -1.0
        while took < 0 and time.time() < named + EVEN_WITHIN_S:
            began = time.time() - named
            if all(abs(share - 1) <= TOLERANCE for share in self.shares(WINDOW_S).values()):
                took = began
        self.expect(
            f"time until all three have their share, connections of {CONNECTION_AGE_S:g} s",
            f"{took:.0f} s" if took >= 0 else "not within the time",
            f"{EVEN_WITHIN_S:g} s",
            took >= 0,
        )
        self.answered(start, "a third gateway")

    def fail(self) -> None:
        """A Triton that dies is noticed by Prometheus, and by no caller."""
        start = self.step("a Triton is killed")
        victim = self._cluster.of("triton")[0]
        self._cluster.kill(victim)
        fired = self._wait_alert("CellServeTritonDown", "firing")
        self.answered(start, "after the kill")
        found = f"firing after {fired:.0f} s" if fired else "silent"
        self.expect("alert CellServeTritonDown", found, f"within {FIRES_WITHIN_S:g} s", bool(fired))
        self._cluster.restart(victim)
        resolved = self._wait_alert("CellServeTritonDown", "")
        found = f"resolved after {resolved:.0f} s" if resolved else "still active"
        self.expect("the alert, once the Triton is back", found, "resolved", bool(resolved))
        others = sorted(self._prometheus.alerts())
        self.expect("other alerts at the end", ", ".join(others) or "none", "none", not others)

    def answered(self, since: float, when: str) -> None:
        """Checks every call that ended since a time."""
        calls = self._callers.calls(since)
        failures = [call.reason for call in calls if call.reason]
        objects = {call.objects for call in calls if not call.reason}
        slowest = max((call.end - call.start for call in calls), default=0.0)
        text = f"{len(calls)} answered, {len(failures)} failed, slowest {slowest:.1f} s"
        self.expect(f"{when}: calls", text, "some, 0 failed", bool(calls) and not failures)
        self.expect(f"{when}: objects in the image", str(sorted(objects)), "one count", len(objects) == 1)
        for reason in sorted(set(failures))[:5]:
            self._console.print(f"      {reason}")

    def dashboard(self, start: float, picture: Path) -> None:
        """Every query of the dashboard is answered with data of this run."""
        self.step("the dashboard's queries")
        answers = panels.ask(self._prometheus, start, time.time())
        table = Table("panel", "query", "series", "now", box=None, pad_edge=False)
        for answer in answers:
            table.add_row(answer.panel, answer.legend, str(len(answer.series)), answer.last)
        self._console.print(table)
        empty = [f"{answer.panel} ({answer.legend})" for answer in answers if not answer.series]
        wanted = "none but the GPU's" if panels.NEEDS_GPU else "none"
        unexpected = [name for name in empty if not name.startswith(panels.NEEDS_GPU)]
        self.expect("queries without data", ", ".join(empty) or "none", wanted, not unexpected)
        panels.draw(answers, picture)
        self._console.print(f"  written {picture}")

    def _wait_alert(self, name: str, state: str) -> float:
        """Waits until an alert is in a state ("" for not active); returns the seconds that took, 0 if it did not."""
        start = time.monotonic()
        while time.monotonic() - start < FIRES_WITHIN_S:
            if self._prometheus.alerts().get(name, "") == state:
                return time.monotonic() - start
            time.sleep(1)
        return 0.0


def run(out: Path) -> int:
    """Runs all steps; returns the exit status."""
    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 160)
    out.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix="cellserve-cluster-"))
    start = time.time()
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(shutil.rmtree, directory, ignore_errors=True)
        console.print("[bold]starting[/] Prometheus, two Tritons, two gateways")
        prometheus = cleanup.enter_context(contextlib.closing(Prometheus(directory)))
        cluster = cleanup.enter_context(contextlib.closing(Cluster(directory, PRE_STOP_S, GATEWAY, prometheus.scrape)))
        for pod in [cluster.start(kind) for kind in ("triton", "triton", "gateway", "gateway")]:
            cluster.admit(pod)
        callers = Callers(cluster.target("gateway"), directory, CALLERS)
        cleanup.callback(callers.stop)
        time.sleep(5)  # connections are made
        demo = Demo(cluster, prometheus, callers, console)
        demo.steady()
        demo.restart("gateway")
        demo.restart("triton")
        demo.grow()
        demo.fail()
        demo.step("all calls of the run")
        statuses = callers.stop()
        demo.expect("exit statuses of the callers", str(statuses), "0", not any(statuses))
        demo.answered(0.0, "whole run")
        demo.dashboard(start, out / "dashboard.png")
    failed = [row for row in demo.rows if not row[3]]
    results: list[dict[str, Any]] = [
        {"what": what, "found": found, "wanted": wanted, "met": met} for what, found, wanted, met in demo.rows
    ]
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    console.print(f"{len(demo.rows) - len(failed)} of {len(demo.rows)} as wanted, {time.time() - start:.0f} s")
    return 1 if failed else 0


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "cluster-demo")
    arguments = parser.parse_args()
    # A signal must not leave servers behind: make it an exception that unwinds.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    return run(arguments.out)


if __name__ == "__main__":
    sys.exit(main())
