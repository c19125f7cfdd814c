"""What attempts were made under, as entities of a crate: versions of definitions, config and campaign."""

from __future__ import annotations

from collections.abc import Iterator

from matterstack.core.ids import TaskId
from matterstack.core.run.state import AttemptState
from matterstack.core.shown_text import shown
from matterstack.evidence.crate.file_entities import Files
from matterstack.evidence.crate.graph import Graph, file_id, local, ref, refs
from matterstack.evidence.lineage import Definition
from matterstack.evidence.presentation import View, operator_line
from matterstack.evidence.version_tables import DEFINITIONS, config_place


class MadeUnder:
    """Describes versions, each once; older bundles have none of them."""

    def __init__(self, graph: Graph, view: View, files: Files) -> None:
        self._graph = graph
        self._view = view
        self._files = files
        self._lineage = view.history.lineage

    def describe(self) -> None:
        """All versions of the campaign; of definitions those that an attempt was made with are described."""
        if not self._view.survey.tells_versions:
            return
        files = self._files.of_campaign()
        for number, digest in enumerate(self._view.campaign_sha256s, start=1):
            self._graph.add(
                campaign_id(number),
                "SoftwareSourceCode",
                name=f"the campaign, version {number}",
                version=str(number),
                description="its SHA-256 is that of the list of all its files, as sha256sum writes it",
                identifier=f"sha256:{digest}",
                hasPart=refs(files[number - 1]),
            )

    def of(self, attempt: AttemptState) -> Iterator[str]:
        """What an attempt was made under; a task that has had but one definition is described by its step."""
        if self._view.survey.tells_versions:
            definition = self._lineage.definition_of(self._view.history.state, attempt)
            if attempt.task_id in self._lineage.definitions:
                yield self._definition(attempt.task_id, definition)
            yield file_id(config_place(self._view, self._lineage.config_of(attempt)))
            yield campaign_id(definition.campaign)

    def name(self, attempt: AttemptState) -> list[str]:
        """Version and hash of the definition that an attempt was made with."""
        if not self._view.survey.tells_versions:
            return []
        definition = self._lineage.definition_of(self._view.history.state, attempt)
        digest = self._view.definition_sha256(attempt.task_id, definition)
        return [f"definition {definition.number}, sha256:{digest}"]

    def step(self, task_id: TaskId) -> dict[str, str]:
        """What a step says of the definition that it stands for: the newest one."""
        if not self._view.survey.tells_versions:
            return {}
        newest = self._lineage.newest_of(self._view.history.state, task_id)
        digest = self._view.definition_sha256(task_id, newest)
        return {"version": str(newest.number), "identifier": f"sha256:{digest}"}

    def _definition(self, task_id: TaskId, definition: Definition) -> str:
        digest = self._view.definition_sha256(task_id, definition)
        return self._graph.add(
            local("definition", task_id, definition.number),
            "PropertyValue",
            name=f"definition of {task_id}",
            propertyID=local("definition", task_id),
            version=str(definition.number),
            value=f"sha256:{digest}",
            description=shown(operator_line(definition.task)),
            isBasedOn=ref(file_id(DEFINITIONS)),
        )


def campaign_id(number: int) -> str:
    """A version of the campaign."""
    return local("campaign", number)
