"""Ask a campaign for its next plan, in a child process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import attrs
import trio

from matterstack.actors.disk_room import wait_for_room
from matterstack.actors.runtime import Runtime
from matterstack.campaign.process import ANSWER_VARIABLE
from matterstack.core.errors import CampaignError
from matterstack.core.run.campaign_code import KnownCode
from matterstack.storage.child_environment import child_environment
from matterstack.storage.codec import CONVERTER
from matterstack.storage.confine import ConfinementError, confined

READ_BYTES: Final = 1 << 16
LAST_WORDS_S: Final = 1.0


@attrs.define(kw_only=True)
class CodeQuestion:
    """Asks a campaign which files of its workspace it used.

    Attributes:
        known: their versions, as far as the run knows them.
        is_pinned: whether a campaign of other files is refused.
        found: the answer: by path, SHA-256, content where it is another one, and whether it is new code.
    """

    known: KnownCode
    is_pinned: bool = False
    found: Mapping[str, Any] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class PlanningRequest:
    """One call of a campaign.

    Attributes:
        campaign_file: ``campaign.py``, or what was kept of an object.
        object_sha256: of what was kept; None for a ``campaign.py``.
        folder: where it is called.
        results: by task id: status, reason, exit_code, outputs (paths), data.
        earlier: output patterns of the tasks of earlier iterations.
        backends: their types, by their names.
        code: is answered as well, also where the campaign failed; None asks nothing.
        log: where what the campaign prints is appended; None drops it.
    """

    action: Literal["load", "plan", "analyze"]
    campaign_file: Path
    object_sha256: str | None = None
    folder: Path
    params: Mapping[str, Any]
    state: Mapping[str, Any] = attrs.field(factory=dict)
    results: Mapping[str, Any] = attrs.field(factory=dict)
    earlier: Mapping[str, Any] = attrs.field(factory=dict)
    backends: Mapping[str, str] = attrs.field(factory=dict)
    default_backend: str = ""
    timeout_s: float
    code: CodeQuestion | None = None
    log: Path | None = None


class Planner(Protocol):
    """Calls campaigns: asks for a plan, or for an analysis."""

    async def ask(self, request: PlanningRequest) -> Any:  # noqa: ANN401  JSON
        """Return what the campaign returned, as JSON.

        Raises:
            CampaignError: it failed; says where and how.
        """


@attrs.frozen
class ProcessPlanner:
    """Runs each call in a fresh process of its own session, which ends with the engine."""

    runtime: Runtime

    async def ask(self, request: PlanningRequest) -> Any:  # noqa: ANN401  JSON
        """Ask the campaign in a child process of its own; see `Planner.ask`."""
        reading, writing = os.pipe2(os.O_CLOEXEC)
        try:
            log = await wait_for_room("planning", partial(self.runtime.files, _open_log, request.log))
            try:
                process = await self._start(request, writing, log)
            finally:
                os.close(log)
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        async with trio.lowlevel.FdStream(reading) as answer:
            text = await self._converse(process, request, answer)
        return _parse(text, request, process.returncode)

    async def _start(self, request: PlanningRequest, writing: int, log: int) -> trio.Process:
        return await trio.lowlevel.open_process(
            # -B: no __pycache__ in a user's folder, least of all by a preview.
            [sys.executable, "-B", "-m", "matterstack.campaign.process"],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            cwd=request.folder,
            env={**child_environment(), ANSWER_VARIABLE: str(writing)},
            pass_fds=(writing,),
            start_new_session=True,
        )

    async def _converse(
        self, process: trio.Process, request: PlanningRequest, answer: trio.lowlevel.FdStream
    ) -> bytes:
        assert process.stdin is not None  # noqa: S101  it was opened as a pipe
        text = b""
        try:
            with trio.fail_after(request.timeout_s):
                with contextlib.suppress(trio.BrokenResourceError):  # it died early: its exit code tells
                    await process.stdin.send_all(_line(request))
                async with trio.open_nursery() as nursery:
                    reading = trio.CancelScope()
                    nursery.start_soon(_end_session_with_its_leader, process.pid, reading)
                    with reading:
                        while chunk := await answer.receive_some(READ_BYTES):
                            text += chunk
                await process.wait()
        except trio.TooSlowError:
            raise CampaignError(
                f"{request.campaign_file}: {request.action} gave no answer within {request.timeout_s:g} s "
                "(planning_timeout_s in config.json)"
            ) from None
        finally:
            with trio.CancelScope(shield=True):
                _kill_session(process)
                await process.wait()
                await process.stdin.aclose()
        return text


async def _end_session_with_its_leader(pid: int, reading: trio.CancelScope) -> None:
    """What a campaign forked may live on, and hold the answer's pipe open: it ends with the campaign."""
    descriptor = os.pidfd_open(pid)
    try:
        await trio.lowlevel.wait_readable(descriptor)
    finally:
        os.close(descriptor)
    # Nobody has waited for the leader yet, so its number cannot mean another session by now.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    # Its last words are in the pipe; one that left the session does not end and must not be waited for.
    reading.deadline = trio.current_time() + LAST_WORDS_S


def _open_log(path: Path | None) -> int:
    if path is None:
        return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    try:
        with confined(path.parent, make=True) as folder:
            return folder.append_to(path.name)
    except ConfinementError as error:
        raise CampaignError(f"{path} cannot be written: {error.strerror}") from None


def _line(request: PlanningRequest) -> bytes:
    body = {
        "action": request.action,
        "file": str(request.campaign_file),
        "object_sha256": request.object_sha256,
        "params": request.params,
        "state": request.state,
        "results": request.results,
        "earlier": request.earlier,
        "backends": dict(request.backends),
        "default_backend": request.default_backend,
        "code": None
        if request.code is None
        else {"known": CONVERTER.unstructure(request.code.known), "is_pinned": request.code.is_pinned},
    }
    return json.dumps(body).encode() + b"\n"


def _kill_session(process: trio.Process) -> None:
    if process.returncode is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return


def _parse(text: bytes, request: PlanningRequest, returncode: int | None) -> Any:  # noqa: ANN401  JSON
    try:
        answer = json.loads(text)
    except ValueError:
        how = f"was killed by signal {-returncode}" if returncode and returncode < 0 else "ended"
        log = f"; see {request.log}" if request.log else ""
        raise CampaignError(
            f"{request.campaign_file}: {request.action} {how} without an answer{log}"
        ) from None
    if request.code is not None:
        request.code.found = answer.get("code", {})
    if "error" in answer:
        raise CampaignError(answer["error"], is_loaded=answer.get("is_loaded", True))
    return answer["ok"]
