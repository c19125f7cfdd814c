"""From a run's state to what a backend needs to know of an attempt."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from functools import partial

import attrs

from matterstack.actors.disk_room import wait_for_room
from matterstack.actors.services import Services
from matterstack.backends.base import Backend, LiveJob, PreparedAttempt, Question
from matterstack.core.errors import InvariantError, StagingError, StoreError
from matterstack.core.ids import TaskId, Token
from matterstack.core.model.size_limits import most_output_gib
from matterstack.core.nonces import Nonces
from matterstack.core.operators import ASKED
from matterstack.core.run.asked_again import why_again
from matterstack.core.run.state import AttemptState, RunState
from matterstack.storage.codec import CONVERTER
from matterstack.storage.layout import AttemptFolder, RunFolder, Workspace
from matterstack.storage.secret_values import RunSecrets, SecretVault
from matterstack.storage.staging import Copy, StagedFolder, Staging, stage


@attrs.frozen
class Staged:
    """Attempts whose folders are ready, and those whose are not."""

    ready: dict[Token, StagedFolder]
    failures: dict[Token, str]


def prepared_attempt(
    state: RunState,
    folder: RunFolder,
    attempt: AttemptState,
    nonces: Nonces | None = None,
    vault: SecretVault | None = None,
) -> PreparedAttempt:
    """Make of an attempt what a backend submits.

    Args:
        nonces: None where nobody is to run its script.
        vault: who knows its secrets; of a question that is no job nobody need.
    """
    task = state.definition_of(attempt)
    return PreparedAttempt(
        run_id=state.run_id,
        task_id=attempt.task_id,
        n=attempt.n,
        token=attempt.token,
        folder=folder.attempt(attempt.task_id, attempt.n).path,
        command=task.command,
        env={
            "MATTERSTACK_RUN_ID": state.run_id,
            "MATTERSTACK_TASK_ID": attempt.task_id,
            "MATTERSTACK_ATTEMPT": str(attempt.n),
            **task.env,
        },
        resources=attempt.resources,
        batch=attempt.batch,
        index=attempt.index,
        question=_question(state, attempt),
        given=(*task.files, *task.inputs),
        nonce=nonces.of(attempt.token) if nonces and _has_nonce(attempt) else "",
        secrets=_secrets(state, attempt, vault),
    )


def _has_nonce(attempt: AttemptState) -> bool:
    """Whether its job must bear one; a job by hand is whatever a person has submitted, and its id decides."""
    return attempt.nonce_sha256 is not None and attempt.backend != ASKED


def _secrets(state: RunState, attempt: AttemptState, vault: SecretVault | None) -> RunSecrets | None:
    """Of a job that MatterStack submits: nobody knows when a person submits one, or where."""
    if vault is None or attempt.backend == ASKED or not state.secrets:
        return None
    return RunSecrets(state.secrets, vault)


def _question(state: RunState, attempt: AttemptState) -> Question | None:
    if attempt.backend != ASKED:
        return None
    task = state.definition_of(attempt)
    return Question(
        run_id=state.run_id,
        task_id=attempt.task_id,
        n=attempt.n,
        operator=task.operator,
        params=task.params,
        asked_at=attempt.prepared_at,
        backend=state.job_backend_of(task),
        given=(*task.files, *task.inputs),
        again=why_again(state, attempt),
        max_output_gib=most_output_gib(state.config),
    )


def live_job(state: RunState, folder: RunFolder, attempt: AttemptState, vault: SecretVault) -> LiveJob:
    """Make of an attempt what a backend follows."""
    if attempt.job_id is None:
        raise InvariantError(f"attempt {attempt.token} has no job")
    path = folder.attempt(attempt.task_id, attempt.n).path
    return LiveJob(
        token=attempt.token,
        job_id=attempt.job_id,
        folder=path,
        batch=attempt.batch,
        question=_question(state, attempt),
        nonce_sha256=attempt.nonce_sha256 if _has_nonce(attempt) else None,
        secrets=_secrets(state, attempt, vault),
    )


async def stage_all(
    services: Services, state: RunState, backend: Backend, attempts: Sequence[PreparedAttempt]
) -> Staged:
    """Write the folders of attempts, as soon as there is room.  Whoever is cancelled waits for one chunk.

    Raises:
        StoreError: the disk is broken.
    """
    stop = _Stop()
    stagings = {a.token: _staging(services, state, backend, a, stop) for a in attempts}
    write = partial(services.runtime.staging, _stage_each, stagings)
    try:
        return await wait_for_room(f"the submission of {len(attempts)} jobs", write)
    finally:
        stop.is_set = True


class _StoppedError(Exception):
    """Nobody wants these folders any more."""


@attrs.define
class _Stop:
    """Ends the copying in a thread that nobody waits for any more."""

    is_set: bool = False

    def between(self, _copied: int) -> None:
        if self.is_set:
            raise _StoppedError


def _stage_each(stagings: dict[Token, Staging]) -> Staged:
    staged = Staged({}, {})
    for token, staging in stagings.items():
        try:
            staged.ready[token] = stage(staging)
        except StagingError as error:
            staged.failures[token] = str(error)
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise
            raise StoreError(
                f"{staging.folder.path}: {error.strerror or error}",
                hint="nothing is lost; see to it, then start again",
            ) from error
    return staged


def _staging(
    services: Services, state: RunState, backend: Backend, attempt: PreparedAttempt, stop: _Stop
) -> Staging:
    task = state.definition_of(state.live[attempt.token])
    run_folder = services.root.run_folder(state.workspace, state.run_id)
    workspace = Workspace(services.root.workspaces / state.workspace)
    return Staging(
        folder=AttemptFolder(attempt.folder),
        manifest={
            "run_id": state.run_id,
            "task_id": attempt.task_id,
            "attempt": attempt.n,
            "token": attempt.token,
            "operator": task.operator,
            "backend": backend.name,
            "command": list(task.command),
            "env": dict(attempt.env),
            "params": task.params,
            "resources": CONVERTER.unstructure(attempt.resources),
            "outputs": list(task.outputs),
            "max_output_gib": most_output_gib(state.config),
        },
        files=[
            Copy(
                name=name,
                source=str(path),
                origin=str(path),
                within=workspace.path,
                may_link=True,
                between=stop.between,
            )
            for name, path in task.files.items()
        ],
        inputs=[
            Copy(
                name=name,
                source=_input_path(state, run_folder, source),
                origin=source,
                within=run_folder.path,
                between=stop.between,
            )
            for name, source in task.inputs.items()
        ],
        script=backend.script(attempt),
        nonce_sha256=state.live[attempt.token].nonce_sha256,
    )


def _input_path(state: RunState, folder: RunFolder, source: str) -> str:
    """Where in the run's folder the last attempt of the task that makes an input left it."""
    task_id, _, name = source.partition("/")
    maker = state.tasks[TaskId(task_id)]
    attempt = folder.attempt(maker.task.id, len(maker.attempts)).path
    return str(attempt.relative_to(folder.path) / name)
