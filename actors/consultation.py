"""Ask the campaign of a run what comes next, one call at a time."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Final

import attrs
import trio

from matterstack.actors import protocol as p
from matterstack.actors.disk_room import wait_for_room
from matterstack.actors.mailbox import Mailbox
from matterstack.actors.plan_warnings import plan_warnings
from matterstack.actors.planner import CodeQuestion
from matterstack.actors.planning import PlanningAction, planning_request, structured_answer
from matterstack.actors.secret_warnings import refuse_secrets
from matterstack.actors.services import Services
from matterstack.campaign.versions import keep_versions
from matterstack.core.errors import CampaignError
from matterstack.core.model.workflow import Workflow
from matterstack.core.run.campaign_code import changes_in_words
from matterstack.core.run.decide_planning import wants_analysis, wants_plan
from matterstack.core.run.state import RunState

logger: Final = logging.getLogger(__name__)


@attrs.define
class Consultation:
    """At most one call is out; its answer comes as a `matterstack.actors.protocol.PlanAnswered`."""

    _services: Services
    _mailbox: Mailbox[p.RunMessage]
    _scope: trio.CancelScope | None = None
    _call: int = 0

    def begin(self, state: RunState, nursery: trio.Nursery) -> None:
        """Ask what is to be asked now, if anything is."""
        if self._scope is not None:
            return
        action: PlanningAction | None = None
        if wants_plan(state):
            action = "plan"
        elif wants_analysis(state):
            action = "analyze"
        if action is not None:
            self._scope = trio.CancelScope()
            self._call += 1
            nursery.start_soon(self._ask, state, action, self._call, self._scope)

    def stop(self) -> None:
        """What it thinks about is not so any more."""
        if self._scope is not None:
            self._scope.cancel()
            self._scope = None

    def answered(self, call: int) -> bool:
        """The next call may be made; False where this is the late answer of one that was stopped."""
        if self._scope is None or call != self._call:
            return False
        self._scope = None
        return True

    async def _ask(self, state: RunState, action: PlanningAction, call: int, scope: trio.CancelScope) -> None:
        iteration = state.iteration + (1 if action == "plan" else 0)
        with scope:
            request = planning_request(self._services.root, state, action)
            try:
                answer = structured_answer(action, await self._services.planner.ask(request))
                warnings = await self._checked(state, answer) if isinstance(answer, Workflow) else ()
            except CampaignError as error:
                reply = p.PlanAnswered(action, iteration, call, error=str(error))
            else:
                reply = p.PlanAnswered(action, iteration, call, answer, warnings=warnings)
            if request.code is not None:
                reply = await self._with_code(state, request.code, reply)
            await self._mailbox.put(reply)

    async def _with_code(self, state: RunState, code: CodeQuestion, reply: p.PlanAnswered) -> p.PlanAnswered:
        """The answer with the files that were used; those of them that are new are kept by then."""
        folder = self._services.root.run_folder(state.workspace, state.run_id)
        search = self._services.vault.search()
        keep = partial(self._services.runtime.files, keep_versions, folder, code.found, code.known, search)
        try:
            kept = await wait_for_room("planning", keep)
        except OSError as error:
            problem = f"{folder.versions}: what planned cannot be kept: {error.strerror or error}"
            return attrs.evolve(reply, answer=None, error=reply.error or problem)
        if changed := code.known.changed(kept.code):
            words = changes_in_words(changed, code.known.files)
            logger.warning("the campaign has changed: %s", words)
        why = reply.error or kept.problem
        return attrs.evolve(reply, answer=None if why else reply.answer, error=why, code=kept.code)

    async def _checked(self, state: RunState, workflow: Workflow) -> Sequence[str]:
        """Refuse a plan that can never run; returns what would end single tasks of it.

        Raises:
            CampaignError: naming the task, the field, the value and the limit.
        """
        refuse_secrets(workflow, state.secrets, self._services.vault.search())
        await self._services.check_resources(state, workflow)
        workspace = self._services.root.workspaces / state.workspace
        warnings = await self._services.runtime.files(plan_warnings, workflow.tasks, workspace)
        for warning in warnings:
            logger.warning("%s", warning)
        return warnings
