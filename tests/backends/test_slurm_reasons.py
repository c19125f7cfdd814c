"""Every reason of squeue(1) has words, and tells what has to happen."""

from __future__ import annotations

import re

import pytest

from matterstack.backends.slurm.reasons import REASONS, reason_in_words
from matterstack.core.scheduler_words import Outlook

# The section JOB REASON CODES of squeue(1), Slurm 22.05; * stands for resources.
MANUAL_PAGE = (
    "AssocGrp*Limit", "AssociationJobLimit", "AssocMax*Limit", "AssociationResourceLimit",
    "AssociationTimeLimit", "BadConstraints", "BeginTime", "Cleaning",
    "Dependency", "DependencyNeverSatisfied", "FrontEndDown", "InactiveLimit",
    "InvalidAccount", "InvalidQOS", "JobHeldAdmin", "JobHeldUser",
    "JobLaunchFailure", "Licenses", "NodeDown", "PartitionDown",
    "PartitionInactive", "PartitionNodeLimit", "PartitionTimeLimit", "Priority",
    "Prolog", "QOSGrp*Limit", "QOSJobLimit", "QOSMax*Limit",
    "QOSResourceLimit", "QOSTimeLimit", "QOSUsageThreshold", "ReqNodeNotAvail",
    "Reservation", "Resources", "SystemFailure", "WaitingForScheduling",
)  # fmt: skip
# Codes for limits that Slurm 22.05 can print, one of each form.
LIMITS = {
    "AssocGrpCpuLimit": Outlook.LIMIT,
    "AssocGrpCPUMinutesLimit": Outlook.LIMIT,
    "AssocGrpMemRunMinutes": Outlook.LIMIT,
    "AssocGrpGRES": Outlook.LIMIT,
    "AssocGrpSubmitJobsLimit": Outlook.LIMIT,
    "AssocMaxJobsLimit": Outlook.LIMIT,
    "AssocMaxSubmitJobLimit": Outlook.LIMIT,
    "AssocMaxCpuPerJobLimit": Outlook.NEVER,
    "AssocMaxCpuMinutesPerJobLimit": Outlook.NEVER,
    "AssocMaxMemPerNode": Outlook.NEVER,
    "AssocMaxWallDurationPerJobLimit": Outlook.NEVER,
    "QOSGrpNodeLimit": Outlook.LIMIT,
    "QOSGrpMemoryRunMinutes": Outlook.LIMIT,
    "QOSMaxJobsPerUserLimit": Outlook.LIMIT,
    "QOSMaxSubmitJobPerUserLimit": Outlook.LIMIT,
    "QOSMaxGRESPerUser": Outlook.LIMIT,
    "QOSMaxWallDurationPerJobLimit": Outlook.NEVER,
    "QOSMaxNodePerJobLimit": Outlook.NEVER,
    "QOSMinCpuNotSatisfied": Outlook.NEVER,
    "QOSMinGRES": Outlook.NEVER,
    "MaxCpuPerAccount": Outlook.LIMIT,
    "MaxSubmitJobsPerAccount": Outlook.LIMIT,
}


@pytest.mark.parametrize("code", MANUAL_PAGE)
def test_every_code_of_the_manual_page_has_words(code: str) -> None:
    assert "Slurm says" not in reason_in_words(code.replace("*", "Cpu")).words


@pytest.mark.parametrize("code", LIMITS)
def test_codes_for_limits_are_read_from_their_parts(code: str) -> None:
    reason = reason_in_words(code)

    assert reason.outlook is LIMITS[code]
    assert "Slurm says" not in reason.words
    assert not re.search("[a-z][A-Z]", reason.words), "no part of the code is left as it was"


def test_a_code_that_nobody_knows_is_shown_and_waited_for() -> None:
    reason = reason_in_words("FluxCapacitorDrained")

    assert (reason.words, reason.outlook) == ("Slurm says 'FluxCapacitorDrained'", Outlook.TIME)


@pytest.mark.parametrize("raw_state", ["SPECIAL_EXIT", "REQUEUE_HOLD", "RESV_DEL_HOLD"])
def test_a_state_that_holds_a_job_holds_it_whatever_the_reason(raw_state: str) -> None:
    assert reason_in_words("", raw_state).outlook is Outlook.HELD


@pytest.mark.parametrize("raw_state", ["SUSPENDED", "STOPPED"])
def test_a_suspended_job_needs_to_be_resumed(raw_state: str) -> None:
    assert reason_in_words("", raw_state).outlook is Outlook.SUSPENDED


def test_what_a_person_must_do_something_about_has_something_to_do() -> None:
    for code, reason in REASONS.items():
        if reason.outlook in {Outlook.HELD, Outlook.NEVER}:
            filled = reason.action.format(ids="17,18", id="17")
            assert filled, code
            assert "{" not in filled, code
