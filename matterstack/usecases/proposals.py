"""Changes of a run as every face proposes them: shown first, done when somebody has agreed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

import attrs

from matterstack.actors.runtime import Runtime
from matterstack.core.errors import UsageError
from matterstack.core.ids import RunId
from matterstack.core.run.messages import CancelTasks, Command, ReplanChoices
from matterstack.core.run.selection import Selection
from matterstack.storage.layout import Root
from matterstack.storage.read.reader import Reader
from matterstack.usecases.amendments import preview_amendment, preview_retry, require_changes
from matterstack.usecases.commands import send_command
from matterstack.usecases.config_amendment import proposed_amendment
from matterstack.usecases.replanning import keep_replanned, preview_replan, require_replan
from matterstack.usecases.runs import user_name
from matterstack.usecases.task_cancellation import tasks_to_end


@attrs.frozen(kw_only=True)
class Proposal:
    """What a command would change of a run.

    Attributes:
        shown: as JSON, for people and programs.
        command: does it, whatever is changed before it is carried out.
        agreed: does it for somebody who was shown it; refused where it would not be what was shown.
        prepare: what has to be done before either is sent.
    """

    run_id: RunId
    shown: Mapping[str, Any]
    command: Command
    agreed: Command
    prepare: Callable[[], Awaitable[None]] | None = None


async def carry_out(
    root: Root, proposal: Proposal, runtime: Runtime | None = None, *, as_shown: bool
) -> None:
    """Have it done; ``as_shown``: if it would still do what somebody was shown.

    Raises:
        ChangedError: it would not.
        MatterStackError: as `send_command`.
    """
    if proposal.prepare is not None:
        await proposal.prepare()
    command = proposal.agreed if as_shown else proposal.command
    await send_command(root, proposal.run_id, command, runtime)


async def propose_amendment(
    reader: Reader,
    run_id: RunId,
    selection: Selection,
    changes: Mapping[str, Any],
    reason: str = "",
    *,
    resubmit: bool = False,
) -> Proposal:
    """Other definitions for tasks; see `preview_amendment` for what it raises.

    Raises:
        UsageError: there are no changes, and nothing is to be submitted anew.
        RefusedError: all these tasks have these values already.
    """
    if not changes and not resubmit:
        raise UsageError("nothing is set: say what is to change", hint="such as resources.walltime_s=7200")
    amendment = await preview_amendment(
        reader, run_id, selection, changes, user_name(), reason, resubmit=resubmit
    )
    require_changes(amendment)
    return Proposal(
        run_id=run_id, shown=amendment.as_json(), command=amendment.command, agreed=amendment.agreed
    )


async def propose_retry(
    reader: Reader, run_id: RunId, selection: Selection, changes: Mapping[str, Any], reason: str = ""
) -> Proposal:
    """New attempts for failed tasks, with other definitions where there are changes; see `preview_retry`.

    Raises:
        RefusedError: there are changes, and all these tasks have these values already.
    """
    retried = await preview_retry(reader, run_id, selection, changes, user_name(), reason)
    if changes:
        require_changes(retried)
    return Proposal(run_id=run_id, shown=retried.as_json(), command=retried.command, agreed=retried.agreed)


async def propose_config(
    reader: Reader,
    run_id: RunId,
    settings: Mapping[str, Any],
    *,
    from_workspace: bool = False,
    reason: str = "",
    resubmit: bool = False,
) -> Proposal:
    """Another config; see `proposed_amendment` for what it raises.

    Raises:
        UsageError: nothing was said.
    """
    if not settings and not from_workspace:
        raise UsageError("nothing is set: say what is to change", hint="such as priority=3")
    amendment = await proposed_amendment(
        reader.root, run_id, settings, from_workspace=from_workspace, reason=reason, resubmit=resubmit
    )
    command = amendment.command
    return Proposal(run_id=run_id, shown=amendment.as_json(), command=command, agreed=command)


async def propose_cancelling(
    reader: Reader, run_id: RunId, tasks: Sequence[str], reason: str = ""
) -> Proposal:
    """The end of tasks, named or by patterns, and of those that depend on them; see `tasks_to_end`.

    Agreed to are those that were shown, by name: a pattern may fit others too by then.
    """
    command = CancelTasks(by=user_name(), tasks=tuple(tasks), reason=reason)
    found = await reader.read(tasks_to_end, run_id, command)
    named = tuple(task.task_id for task in found if task.because is None)
    shown = {"tasks": [attrs.asdict(task) for task in found]}
    agreed = attrs.evolve(command, tasks=named or command.tasks)
    return Proposal(run_id=run_id, shown=shown, command=command, agreed=agreed)


async def propose_replan(
    root: Root, run_id: RunId, choices: ReplanChoices, reason: str = "", runtime: Runtime | None = None
) -> Proposal:
    """What the campaign plans now for the iteration in hand; see `preview_replan` for what it raises.

    Raises:
        RefusedError: nothing would change.
    """
    runtime = runtime or Runtime()
    found = await preview_replan(root, run_id, choices, user_name(), reason, runtime=runtime)
    require_replan(found)
    return Proposal(
        run_id=run_id,
        shown=found.as_json(),
        command=found.command,
        agreed=found.command,
        prepare=partial(keep_replanned, root, found, runtime),
    )
