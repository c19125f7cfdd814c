"""Whose work a crate is, under which terms, and who paid for it: what ``about.toml`` said, as entities."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from matterstack.core.documents.about import ORCID, About, Author, Funding
from matterstack.evidence.crate.graph import Graph, Ref, local, ref, refs

NO_LICENSE: Final = "The campaign states no licence; ask its authors before you use this further."


class Credits:
    """Describes people, organisations and works that a run is said to be about."""

    def __init__(self, graph: Graph, about: About) -> None:
        self._graph = graph
        self._about = about

    def authors(self) -> list[str]:
        """The people who are named as authors."""
        return [self._author(author) for author in self._about.authors]

    def of_root(self, maker: str) -> dict[str, Any]:
        """Properties of the crate itself.

        Args:
            maker: identifier of who made the run, who is its author where nobody is named; may be empty.
        """
        about = self._about
        authors = self.authors() or ([maker] if maker else [])
        return {
            "author": refs(authors),
            "license": ref(self.license()),
            "keywords": ", ".join(about.keywords),
            "funder": refs(self._funding()),
            "citation": self._citation(),
            "url": [link.url for link in about.links[:1]],
            "relatedLink": [link.url for link in about.links],
        }

    def license(self) -> str:
        """The terms, or that none are stated."""
        url = self._about.license_url()
        if url is None:
            return self._graph.add(
                "#no-license", "CreativeWork", name="no licence is stated", description=NO_LICENSE
            )
        return self._graph.add(
            url, "CreativeWork", name=self._about.license, identifier=self._about.license, url=url
        )

    def _author(self, author: Author) -> str:
        given, family = author.given_and_family()
        identifier = f"{ORCID}{author.orcid}" if author.orcid else local("author", author.name)
        return self._graph.add(
            identifier,
            "Person",
            name=author.full_name(),
            givenName=given,
            familyName=family,
            identifier=identifier if author.orcid else None,
            affiliation=self._organization(author.affiliation or author.ror, author.ror),
        )

    def _organization(self, name: str | None, ror: str | None) -> Ref | None:
        if name is None:
            return None
        identifier = ror or local("organization", name)
        return ref(self._graph.add(identifier, "Organization", name=name, url=ror))

    def _funding(self) -> Iterator[str]:
        """A project for each grant, as RO-Crate wants it, and who pays for that."""
        for number, funding in enumerate(self._about.funding, start=1):
            funder = self._organization(funding.funder, funding.ror)
            if funding.award is None and funding.title is None:
                if funder is not None:
                    yield funder["@id"]
                continue
            yield self._graph.add(
                funding.url or local("grant", number, funding.award or ""),
                "Organization",
                name=_grant_name(funding),
                identifier=funding.award,
                url=funding.url,
                funder=funder,
            )

    def _citation(self) -> Ref | None:
        text = self._about.citation
        if text is None:
            return None
        doi = self._about.cited_doi()
        identifier = f"https://doi.org/{doi}" if doi is not None else "#citation"
        return ref(self._graph.add(identifier, "ScholarlyArticle", name=text, identifier=doi and identifier))


def _grant_name(funding: Funding) -> str:
    return funding.title or f"{funding.funder}, {funding.award}"
