"""Reasons and warnings: the same words in code and contract."""

from __future__ import annotations

import re
from pathlib import Path

import grpc
import pytest
from cellserve_contract.reasons import ErrorReason, server_reasons
from cellserve_contract.warnings import WarningKind
from cellserve_gateway import errors
from cellserve_proto import v1 as pb

ROOT = Path(__file__).parents[3]


def test_the_contract_has_the_reasons_of_the_server():
    names = [name.removeprefix("ERROR_REASON_") for name, number in pb.ErrorReason.items() if number]
    assert names == [reason.name for reason in server_reasons()]


def test_the_contract_has_the_kinds_of_warnings():
    names = [name.removeprefix("WARNING_KIND_") for name, number in pb.WarningKind.items() if number]
    assert names == [kind.name for kind in WarningKind]


def test_no_two_members_are_one():
    """Members of equal texts would be aliases."""
    assert len(ErrorReason) == len(ErrorReason.__members__)
    assert len(WarningKind) == len(WarningKind.__members__)


@pytest.mark.parametrize("reason", ErrorReason)
def test_statuses_exist(reason):
    assert reason.status in grpc.StatusCode.__members__


def test_code_uses_no_other_reasons():
    found = {
        (word, path.name)
        for folder in ("client", "gateway")
        for path in (ROOT / folder).rglob("*.py")
        for word in re.findall(
            r'(?:reason=|    reason = |refusal\([^()]*?(?:\([^()]*\)[^()]*?)*, )"([A-Z_]+)"',
            path.read_text(),
        )
    }
    assert len(found) > 20
    assert [entry for entry in sorted(found) if entry[0] not in ErrorReason.__members__] == []


def test_error_classes_have_the_status_of_their_reason():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.ServiceError)]
    assert len(kinds) > 10
    for kind in kinds:
        if kind.reason != "INTERNAL":
            assert ErrorReason[kind.reason].status == kind.code.name
