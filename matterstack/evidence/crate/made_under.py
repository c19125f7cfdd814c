"""What attempts were made under, as entities of a crate: versions of definitions, config and campaign."""

from __future__ import annotations

from collections.abc import Iterator

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
        """What an attempt was made under."""
        if self._view.survey.tells_versions:
            definition = self._lineage.definition_of(self._view.history.state, attempt)
            yield self._definition(attempt, definition)
            yield file_id(config_place(self._view, self._lineage.config_of(attempt)))
            yield campaign_id(definition.campaign)

    def _definition(self, attempt: AttemptState, definition: Definition) -> str:
        number = definition.number
        digest = self._view.definition_sha256(attempt.task_id, definition)
        is_only_one = attempt.task_id not in self._lineage.definitions
        return self._graph.add(
            local("definition", attempt.task_id, number),
            "PropertyValue",
            name=f"definition of {attempt.task_id}",
            propertyID=local("definition", attempt.task_id),
            version=str(number),
            value=f"sha256:{digest}",
            description=None if is_only_one else shown(operator_line(definition.task)),
            isBasedOn=None if is_only_one else ref(file_id(DEFINITIONS)),
        )


def campaign_id(number: int) -> str:
    """A version of the campaign."""
    return local("campaign", number)
