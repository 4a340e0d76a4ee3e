"""The chart's alerts: valid rules, each tested where it fires and where it does not, each in the runbook."""

from __future__ import annotations

import copy
import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy" / "helm" / "cellserve" / "files" / "rules.yaml"
TESTS = Path(__file__).with_name("alerts.yaml")
PROMTOOL = ROOT / "build" / "tools" / "promtool"  # deploy/prometheus/get-prometheus.sh
GROUPS = yaml.safe_load(RULES.read_text())["groups"]
ALERTS = {rule["alert"]: rule for group in GROUPS for rule in group["rules"] if "alert" in rule}

# In place of an alert's condition: true for all that its tests could expect, or for nothing.
ALWAYS, NEVER = 'group by (namespace, release, pod, job, model, network) ({__name__!=""})', "vector(1) == 0"


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, timeout=60, check=False)


def test_rules_are_valid():
    result = promtool("check", "rules", RULES)
    assert result.returncode == 0, result.stdout + result.stderr


def test_alerts_fire_and_do_not():
    result = promtool("test", "rules", TESTS)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("name", ALERTS)
@pytest.mark.parametrize("condition", [ALWAYS, NEVER], ids=["always", "never"])
def test_no_alert_is_left_out(tmp_path, name, condition):
    """Were its condition always or never true, its tests would fail: they say when it must fire and when not."""
    groups = copy.deepcopy(GROUPS)
    for group in groups:
        group["rules"] = [
            rule | {"expr": condition} if rule.get("alert") == name else rule
            for rule in group["rules"]
            if rule.get("alert", name) == name
        ]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": groups}))
    tests = yaml.safe_load(TESTS.read_text())
    tests["rule_files"] = ["rules.yaml"]
    for test in tests["tests"]:
        test["alert_rule_test"] = [case for case in test["alert_rule_test"] if case["alertname"] == name]
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(tests))
    result = promtool("test", "rules", tmp_path / "tests.yaml")
    assert result.returncode != 0
    assert f"alertname: {name}" in result.stdout + result.stderr


@pytest.mark.parametrize("name", ALERTS)
def test_each_alert_is_in_the_runbook(name):
    rule = ALERTS[name]
    assert rule["annotations"]["runbook_url"] == f"RUNBOOK_BASE#{name.lower()}"
    assert rule["labels"]["severity"] in ("critical", "warning")
    runbook = (ROOT / "docs" / "runbook.md").read_text()
    (section,) = re.findall(rf"^## {name}\n(.*?)(?=^## |\Z)", runbook, re.MULTILINE | re.DOTALL)
    assert "**Look:**" in section
    assert "**Do:**" in section


def test_the_runbook_has_no_other_alerts():
    named = re.findall(r"^## (CellServe\w+)$", (ROOT / "docs" / "runbook.md").read_text(), re.MULTILINE)
    assert named == list(ALERTS)
