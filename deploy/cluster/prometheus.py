"""A real Prometheus with the chart's rules: what the operator and the ServiceMonitors do in Kubernetes."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from deploy.cluster.pods import Pod, free_port
from devtools.stack import ROOT

BINARY = ROOT / "build" / "tools" / "prometheus"  # deploy/prometheus/get-prometheus.sh
RULES = ROOT / "deploy" / "helm" / "cellserve" / "files" / "rules.yaml"
INTERVAL_S = 2
START_TIMEOUT_S = 30.0


class Prometheus:
    """A running Prometheus.

    Args:
        directory: For its configuration, data and log.
    """

    def __init__(self, directory: Path) -> None:
        self._targets = directory / "targets.json"
        self._targets.write_text("[]")
        discovery = {"files": [str(self._targets)], "refresh_interval": "5s"}
        configuration = {
            "global": {"scrape_interval": f"{INTERVAL_S}s", "evaluation_interval": f"{INTERVAL_S}s"},
            "rule_files": [str(RULES)],
            # The targets bring the label `job`, as those of a ServiceMonitor do.
            "scrape_configs": [{"job_name": "cellserve", "file_sd_configs": [discovery]}],
        }
        (directory / "prometheus.yaml").write_text(yaml.safe_dump(configuration))
        self.address = f"127.0.0.1:{free_port()}"
        command = [
            str(BINARY),
            f"--config.file={directory / 'prometheus.yaml'}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address={self.address}",
        ]
        with (directory / "prometheus.log").open("wb") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end = time.monotonic() + START_TIMEOUT_S
        while not self._answers("/-/ready"):
            if self._process.poll() is not None or time.monotonic() > end:
                self.close()
                raise RuntimeError(f"Prometheus did not start; see {directory / 'prometheus.log'}")
            time.sleep(0.2)

    def scrape(self, pods: list[Pod]) -> None:
        """Scrapes these pods from now on, with the labels that Kubernetes gives them."""
        labels = {"namespace": "cellserve", "release": "cellserve"}
        content = [
            {
                "targets": [pod.scraped],
                "labels": {**labels, "pod": pod.name, "job": f"cellserve-{pod.kind}"},
            }
            for pod in pods
            if pod.at
        ]
        draft = self._targets.with_suffix(".draft")
        draft.write_text(json.dumps(content))
        draft.replace(self._targets)

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Evaluates PromQL now; returns the vector as {"metric": labels, "value": [time, text]}."""
        found: list[dict[str, Any]] = self._get("query", query=expression)["result"]
        return found

    def history(self, expression: str, start: float, end: float) -> list[dict[str, Any]]:
        """Evaluates PromQL over a range; returns series as {"metric": labels, "values": [[time, text], ...]}."""
        step = max(1, round((end - start) / 200))
        found: list[dict[str, Any]] = self._get("query_range", query=expression, start=start, end=end, step=step)[
            "result"
        ]
        return found

    def alerts(self) -> dict[str, str]:
        """Returns the state of each active alert: "pending" or "firing"."""
        return {alert["labels"]["alertname"]: alert["state"] for alert in self._get("alerts")["alerts"]}

    def close(self) -> None:
        """Stops it."""
        self._process.terminate()
        self._process.wait(30)

    def _get(self, call: str, **parameters: object) -> dict[str, Any]:
        url = f"http://{self.address}/api/v1/{call}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                content = json.load(answer)
        except urllib.error.HTTPError as error:  # its body says what is wrong with the query
            raise ValueError(f"{parameters.get('query')}: {error.read().decode()}") from error
        data: dict[str, Any] = content["data"]
        return data

    def _answers(self, path: str) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.address}{path}", timeout=2):
                return True
        except OSError:
            return False
