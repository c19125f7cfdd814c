"""Secrets and Slurm: which file lies where, whatever sbatch and squeue say."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from matterstack.backends.base import LiveJob, PreparedAttempt
from matterstack.backends.secrets_file import ASKED_FOR
from matterstack.backends.slurm.backend import SlurmBackend
from matterstack.backends.slurm.programs import Finished
from matterstack.core.ids import JobId
from matterstack.core.model.workflow_check import SECRETS_FILE
from matterstack.core.states import JobState
from matterstack.storage.child_environment import child_environment
from matterstack.storage.layout import Root
from matterstack.storage.secret_values import RunSecrets, SecretVault
from tests.backends.fake_slurm import FakeSlurm, queued, token


@attrs.frozen
class Place:
    """An attempt with a secret, and a backend that submits it."""

    slurm: FakeSlurm
    backend: SlurmBackend
    attempt: PreparedAttempt
    value: Path

    @property
    def file(self) -> Path:
        """What the job reads."""
        return self.attempt.folder / SECRETS_FILE

    async def poll(self, state: str) -> JobState:
        """Have the backend see the job in this state."""
        self.slurm.squeue = queued("7", state, self.attempt.token)
        job = LiveJob(
            token=self.attempt.token,
            job_id=JobId("7"),
            folder=self.attempt.folder,
            secrets=self.attempt.secrets,
        )
        (seen,) = await self.backend.poll([job])
        return seen.state


@pytest.fixture
def place(tmp_path: Path) -> Place:
    root = Root(tmp_path)
    root.secrets.mkdir(parents=True)
    value = root.secrets / "A_TOKEN"
    value.write_text("a value")
    value.chmod(0o600)
    slurm = FakeSlurm(tmp_path)
    attempt = attrs.evolve(slurm.attempt(), secrets=RunSecrets(("A_TOKEN",), SecretVault(root)))
    return Place(slurm, slurm.backend(), attempt, value)


async def test_a_job_that_is_accepted_has_a_file(place: Place) -> None:
    report = await place.backend.submit([place.attempt])

    assert report.accepted == {token("a"): "7"}
    assert place.file.read_text() == "export A_TOKEN='a value'\n"
    assert place.file.stat().st_mode & 0o777 == 0o600
    assert "A_TOKEN" not in child_environment()


@pytest.mark.parametrize(
    "complaint", ["sbatch: error: Invalid account", "sbatch: error: AssocMaxSubmitJobLimit"]
)
async def test_a_job_that_is_not_taken_has_none(place: Place, complaint: str) -> None:
    place.slurm.sbatch = Finished(1, "", complaint)

    report = await place.backend.submit([place.attempt])

    assert report.refused.keys() | report.deferred.keys() == {token("a")}
    assert list(place.attempt.folder.iterdir()) == []


async def test_a_submission_that_is_unclear_leaves_the_file_to_the_job_that_may_be_there(
    place: Place,
) -> None:
    place.slurm.sbatch = Finished(1, "", "sbatch: error: Unable to contact slurm controller")

    report = await place.backend.submit([place.attempt])

    assert report.unresolved.keys() == {token("a")}
    assert place.file.exists()


async def test_without_the_value_nothing_is_submitted_and_the_reason_says_so(place: Place) -> None:
    place.value.unlink()

    report = await place.backend.submit([place.attempt])

    assert "the secret A_TOKEN has no value" in report.deferred[token("a")]
    assert report.accepted == {}


async def test_a_link_in_the_place_of_the_file_is_not_written_through(place: Place, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("as it was")
    for name in (SECRETS_FILE, f"{SECRETS_FILE}.part"):
        (place.attempt.folder / name).symlink_to(outside)

    await place.backend.submit([place.attempt])

    assert outside.read_text() == "as it was"


async def test_a_job_that_asks_for_its_secrets_gets_them_again(place: Place) -> None:
    await place.backend.submit([place.attempt])
    place.file.unlink()  # its first start has read it
    assert await place.poll("PENDING") is JobState.QUEUED
    assert await place.poll("RUNNING") is JobState.RUNNING
    assert not place.file.exists(), "nobody has asked"
    (place.attempt.folder / "claim").mkdir()
    (place.attempt.folder / ASKED_FOR).touch()

    await place.poll("RUNNING")

    assert place.file.read_text() == "export A_TOKEN='a value'\n"
    assert not (place.attempt.folder / ASKED_FOR).exists()


async def test_a_job_that_has_ended_leaves_no_file(place: Place) -> None:
    await place.backend.submit([place.attempt])

    assert await place.poll("CANCELLED") is JobState.CANCELLED

    assert list(place.attempt.folder.glob(".*")) == []


async def test_a_file_that_cannot_be_removed_now_is_removed_later(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    await place.backend.submit([place.attempt])
    with monkeypatch.context() as patch:
        patch.setattr("matterstack.backends.slurm.site.take_secrets_away", _fail)
        assert await place.backend.find([place.attempt]) == {}
    assert place.file.exists()

    assert await place.backend.find([place.attempt]) == {}

    assert not place.file.exists()


def _fail(_folder: Path) -> None:
    raise OSError(5, "Input/output error")
