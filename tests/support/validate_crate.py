"""Validate RO-Crates with the published validator, each against the Provenance Run Crate profile.

Run by the Python of the validator's own environment, with a level (REQUIRED or RECOMMENDED) and the folders
of crates as arguments.  Prints a JSON object: the findings of each crate; an empty list is a valid crate.

The validator asks the network for JSON-LD contexts.  Where the environment variable ``RO_CRATE_CONTEXTS``
names a folder with the published ones, that folder answers instead, and nothing is asked of any network.
"""

import json
import os
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

CONTEXTS: Final = "RO_CRATE_CONTEXTS"
PROFILE: Final = "provenance-run-crate"
FILES: Final[Mapping[str, str]] = {
    "https://w3id.org/ro/crate/1.1/context": "ro-crate-1.1-context.jsonld",
    "https://w3id.org/ro/crate/1.2/context": "ro-crate-1.2-context.jsonld",
    "https://w3id.org/ro/crate/1.3/context": "ro-crate-1.3-context.jsonld",
    "https://w3id.org/ro/terms/workflow-run/context": "workflow-run-context.jsonld",
}


def answer_from(folder: Path) -> None:
    """Let a folder answer for the network, in both of the ways in which the validator asks it."""
    known = {url: (folder / name).read_bytes() for url, name in FILES.items() if (folder / name).is_file()}
    jsonld: Any = import_module("rdflib.plugins.shared.jsonld.context")
    ask_network = jsonld.source_to_json

    def source_to_json(source: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(source, str) and source in known:
            return json.loads(known[source]), None
        return ask_network(source, *args, **kwargs)

    jsonld.source_to_json = source_to_json
    requests: Any = import_module("requests")
    http: Any = import_module("rocrate_validator.utils.http")

    def get(_self: Any, url: str, *_args: Any, **_kwargs: Any) -> Any:
        response = requests.Response()
        response.url = url
        response.status_code = 200 if url in known else 404
        response.headers["Content-Type"] = "application/ld+json"
        response._content = known.get(url, b"")
        return response

    http.HttpRequester.get = get


def findings(crate: Path, level: str) -> list[str]:
    """What the validator finds, in its own words."""
    services: Any = import_module("rocrate_validator.services")
    models: Any = import_module("rocrate_validator.models")
    settings = services.ValidationSettings(
        rocrate_uri=str(crate),
        profile_identifier=PROFILE,
        requirement_severity=models.Severity[level],
    )
    result = services.validate(settings)
    return [f"{issue.check.identifier}: {issue.message}" for issue in result.get_issues()]


def main() -> None:
    """Validate all that the arguments name."""
    folder = os.environ.get(CONTEXTS)
    if folder:
        answer_from(Path(folder))
    else:
        sys.stderr.write(f"{CONTEXTS} is not set: the published contexts are asked of the network\n")
    level, *crates = sys.argv[1:]
    json.dump({crate: findings(Path(crate), level) for crate in crates}, sys.stdout)


if __name__ == "__main__":
    main()
