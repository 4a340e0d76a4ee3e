"""The Grafana dashboard, as code: writes deploy/helm/cellserve/files/dashboard.json, or checks that it is fresh.

python deploy/grafana/dashboard.py [--check]

Every panel's queries are answered by a real Prometheus in `make cluster-demo`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

TARGET = Path(__file__).resolve().parents[1] / "helm" / "cellserve" / "files" / "dashboard.json"
S = 'namespace="$namespace",release="$release"'  # the series of the release chosen above the panels
WINDOW = "$__rate_interval"

Panel = dict[str, Any]


def panel(title: str, unit: str, *queries: tuple[str, str], kind: str = "timeseries", help: str = "") -> Panel:
    """A panel of (PromQL, legend) pairs; `unit` in Grafana's words."""
    return {
        "type": kind,
        "title": title,
        "description": help,
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + index), "expr": expression, "legendFormat": legend}
            for index, (expression, legend) in enumerate(queries)
        ],
    }


def rate(metric: str, by: str, more: str = "") -> str:
    """PromQL of a counter's rate, summed by labels."""
    return f"sum by ({by}) (rate({metric}{{{S}{more}}}[{WINDOW}]))"


def quantile(q: float, metric: str, by: str = "") -> str:
    """PromQL of a quantile of a histogram."""
    return f"histogram_quantile({q}, {rate(f'{metric}_bucket', ', '.join(filter(None, ['le', by])))})"


def per_second(numerator: str, denominator: str, by: str) -> str:
    """PromQL of the mean that two counters give."""
    return f"{rate(numerator, by)} / {rate(denominator, by)}"


def of_a_tile(duration: str) -> str:
    """PromQL of the mean that one of Triton's durations comes to, seconds."""
    return f"{per_second(duration, 'nv_inference_request_success', 'release')} / 1e6"


ROWS: dict[str, list[Panel]] = {
    "Service": [
        panel(
            "Images per second", "ops", (rate("cellserve_requests_total", "code"), "{{code}}"), help="By gRPC status."
        ),
        panel(
            "Calls per second, by method",
            "ops",
            (rate("cellserve_requests_total", "method"), "{{method}}"),
            help="Methods of gRPC, and routes of the REST interface.",
        ),
        panel("Megapixels per second", "none", (f"{rate('cellserve_pixels_total', 'release')} / 1e6", "Mpx/s")),
        panel(
            "Time per image",
            "s",
            *((quantile(q, "cellserve_request_seconds"), f"p{q * 100:.0f}") for q in (0.5, 0.95, 0.99)),
            help="From request to answer, waits included.",
        ),
        panel(
            "Errors per second",
            "ops",
            (rate("cellserve_errors_total", "reason"), "{{reason}}"),
            help="By reason; docs/reference/errors.md explains each.",
        ),
        panel("Gateways ready", "none", (f"sum(cellserve_ready{{{S}}})", "ready"), kind="stat"),
        panel("Tritons up", "none", (f'sum(up{{{S},job=~".+-triton"}})', "up"), kind="stat"),
        panel(
            "Alerts firing",
            "none",
            (f'count(ALERTS{{{S},alertstate="firing"}}) or vector(0)', "firing"),
            kind="stat",
        ),
        panel(
            "Models",
            "none",
            (f"count by (network, version, sha256) (cellserve_model_info{{{S}}})", "{{network}} {{sha256}}"),
            kind="stat",
            help="Gateways that answer with each file.",
        ),
    ],
    "Where the time goes": [
        panel(
            "Stages, mean",
            "s",
            (per_second("cellserve_stage_seconds_sum", "cellserve_stage_seconds_count", "stage"), "{{stage}}"),
        ),
        panel("Stages, p95", "s", (quantile(0.95, "cellserve_stage_seconds", "stage"), "{{stage}}")),
        panel(
            "Requests by gateway",
            "ops",
            (rate("cellserve_requests_total", "pod"), "{{pod}}"),
            help="Even, if callers balance; a stream stays where it began.",
        ),
        panel(
            "HTTP connections",
            "none",
            (f"sum by (port) (cellserve_http_connections{{{S}}})", "open, {{port}}"),
            (rate("cellserve_http_connections_ended_total", "port, why"), "ended per second, {{port}}: {{why}}"),
            help="Connections of the REST interface and of the monitoring port; ended: by the gateway.",
        ),
        panel("Size of images, median", "none", (quantile(0.5, "cellserve_image_pixels"), "pixels")),
    ],
    "Saturation": [
        panel(
            "Gateways, share of their limits",
            "percentunit",
            (f"cellserve:saturation:ratio{{{S}}}", "{{pod}}"),
            help="The highest of images, pixels and bytes in flight. Gateways are scaled on it and on processor time.",
        ),
        panel(
            "In flight",
            "none",
            (f'sum(cellserve_in_flight{{{S},resource="requests"}})', "images"),
            (f'sum(cellserve_in_flight{{{S},resource="pixels"}}) / 1e6', "megapixels of tiles"),
        ),
        panel("Gateway processors", "none", (rate("process_cpu_seconds_total", "pod"), "{{pod}}")),
        panel("Gateway memory", "bytes", (f"process_resident_memory_bytes{{{S}}}", "{{pod}}")),
        panel(
            "Lateness of the event loop, p90",
            "s",
            (quantile(0.9, "cellserve_event_loop_delay_seconds", "pod"), "{{pod}}"),
        ),
    ],
    "Triton": [
        panel("Tiles per second", "ops", (rate("nv_inference_request_success", "pod"), "{{pod}}")),
        panel(
            "Tiles in a batch",
            "none",
            (per_second("nv_inference_count", "nv_inference_exec_count", "model"), "{{model}}"),
            help="Small batches and a busy device: tiles of few callers. Full ones: it is used well.",
        ),
        panel(
            "Wait of a tile, in times of its computation",
            "none",
            (f"cellserve:triton_wait:ratio{{{S}}}", "wait / computation"),
            help="In the gateway and in Triton's queue. Tritons are scaled on it.",
        ),
        panel(
            "A tile's time",
            "s",
            (
                per_second("cellserve_triton_wait_seconds_sum", "cellserve_triton_wait_seconds_count", "release"),
                "in the gateway",
            ),
            (of_a_tile("nv_inference_queue_duration_us"), "queue"),
            (of_a_tile("nv_inference_compute_infer_duration_us"), "computation"),
        ),
        panel(
            "Tiles at Triton and waiting",
            "none",
            (f"sum(cellserve_triton_requests_in_flight{{{S}}})", "at Triton"),
            (f"sum(cellserve_triton_requests_waiting{{{S}}})", "waiting in gateways"),
            (f"sum(nv_inference_pending_request_count{{{S}}})", "in Triton's queues"),
            help="Triton's queues hold wakes, too.",
        ),
        panel(
            "Wakes per second",
            "ops",
            (rate("cellserve_triton_wakes_total", "network"), "{{network}}"),
            help="Requests that only make Triton look at its queue: one or two a batch at low load, none at full load.",
        ),
        panel(
            "Tritons that gateways use",
            "none",
            (f'min(cellserve_triton_servers{{{S},state="ready"}})', "ready, least"),
            (f'max(cellserve_triton_servers{{{S},state="known"}})', "known, most"),
        ),
        panel(
            "Failures per second",
            "ops",
            (rate("nv_inference_request_failure", "reason", ',reason!="REJECTED"'), "{{reason}}"),
            (rate("cellserve_triton_failovers_total", "release"), "sent to another Triton"),
            help="Without Triton's REJECTED: gateways wake it with requests that it rejects.",
        ),
        panel(
            "GPU utilisation",
            "percentunit",
            (f"nv_gpu_utilization{{{S}}}", "{{pod}} {{gpu_uuid}}"),
            help="Empty without GPUs.",
        ),
    ],
}


def variable(name: str, query: str) -> Panel:
    """A choice above the panels, filled by a query."""
    return {
        "name": name,
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
    }


def dashboard() -> dict[str, Any]:
    """The dashboard in Grafana's JSON model."""
    panels: list[Panel] = []
    y = 0
    for title, members in ROWS.items():
        panels.append({"type": "row", "title": title, "collapsed": False, "gridPos": {"h": 1, "w": 24, "x": 0, "y": y}})
        y += 1
        for index, member in enumerate(members):
            panels.append(member | {"gridPos": {"h": 8, "w": 6, "x": index % 4 * 6, "y": y + index // 4 * 8}})
        y += (len(members) + 3) // 4 * 8
    return {
        "uid": "cellserve",
        "title": "CellServe",
        "tags": ["cellserve"],
        "editable": False,
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "type": "datasource", "query": "prometheus"},
                variable("namespace", "label_values(cellserve_ready, namespace)"),
                variable("release", 'label_values(cellserve_ready{namespace="$namespace"}, release)'),
            ]
        },
        "panels": [member | {"id": number} for number, member in enumerate(panels, 1)],
    }


def main() -> int:
    """Writes the file, or says that it is not what this would write."""
    text = json.dumps(dashboard(), indent=1) + "\n"
    if "--check" in sys.argv[1:]:
        if TARGET.read_text() != text:
            print(f"{TARGET} is not fresh: run python {Path(__file__).name}", file=sys.stderr)
            return 1
        return 0
    TARGET.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
