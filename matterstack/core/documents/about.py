"""``about.toml``: what people say of a campaign, for those who find its evidence.

Whose work it is, under which terms it may be used, who paid for it, and how it is to be cited.  It is kept
with the run, and stands in its evidence as it was said.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from typing import Annotated, Any, Final

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
)

from matterstack.core.documents.model_problems import model_problems
from matterstack.core.errors import ConfigError
from matterstack.core.shown_text import brief

MOST_BYTES: Final = 256 << 10
ORCID: Final = "https://orcid.org/"
SPDX: Final = "https://spdx.org/licenses/"

_URL: Final = re.compile(r"https?://[^\s/<>\"{}|\\^`]+(/[^\s<>\"{}|\\^`]*)?")
_ORCID: Final = re.compile(r"(?:https?://orcid\.org/)?([0-9]{4}-[0-9]{4}-[0-9]{4}-[0-9]{3}[0-9X])")
_ROR: Final = re.compile(r"(?:https?://ror\.org/)?(0[0-9a-hj-km-np-tv-z]{6}[0-9]{2})")
_DOI: Final = re.compile(r"\b10\.\d{4,9}/[^\s\"<>]*[^\s\"<>.,;)\]]")
_OR_INSTANCE: Final = re.compile(r" or instance of \w+")
_STRICT: Final = ConfigDict(defer_build=True, extra="forbid", strict=True, frozen=True)


def _line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be one line of text that can be printed")
    return text.strip()


def _text(text: str) -> str:
    if not all(character.isprintable() or character in "\n\t" for character in text):
        raise ValueError("must be text that can be printed")
    return text.strip()


def _is_url(text: str) -> bool:
    return text.isprintable() and _URL.fullmatch(text) is not None


def _url(text: str) -> str:
    if not _is_url(text):
        raise ValueError(f"{text!r} is no address that begins with https:// or http://")
    return text


def _orcid(text: object) -> object:
    if not isinstance(text, str):
        return text
    match = _ORCID.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no ORCID iD (they look like 0000-0002-1825-0097)")
    if match[1][-1] != orcid_check_character(match[1][:-1]):
        raise ValueError(f"{match[1]} is no ORCID iD: its last character does not fit the others")
    return match[1]


def orcid_check_character(digits: str) -> str:
    """The last character of an ORCID iD, which the others give: ISO 7064, MOD 11-2.

    >>> orcid_check_character("0000-0002-1825-009"), orcid_check_character("0000-0002-1694-233")
    ('7', 'X')
    """
    total = 0
    for digit in digits.replace("-", ""):
        total = (total + int(digit)) * 2
    rest = (12 - total % 11) % 11
    return "X" if rest == 10 else str(rest)


def _ror(text: object) -> object:
    if not isinstance(text, str):
        return text
    match = _ROR.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no ROR id (they look like https://ror.org/05a28rw58)")
    return f"https://ror.org/{match[1]}"


def _license(text: object) -> object:
    if not isinstance(text, str) or _is_url(text):
        return text
    try:
        found = str(canonicalize_license_expression(text))
    except InvalidLicenseExpression:
        found = " "
    if " " in found or "LicenseRef" in found:
        raise ValueError(
            f"{text!r} is neither an id of the SPDX list (such as CC-BY-4.0 or MIT) nor an address (https://...)"
        )
    return found


Line = Annotated[str, Field(min_length=1, max_length=500, pattern=r"\S"), AfterValidator(_line)]
Text = Annotated[str, Field(min_length=1, max_length=20_000, pattern=r"\S"), AfterValidator(_text)]
Url = Annotated[str, Field(max_length=2000), AfterValidator(_url)]
Ror = Annotated[str, BeforeValidator(_ror)]


def _name(text: str) -> str:
    if not text.replace(",", "").strip():
        raise ValueError(f"{text!r} names nobody")
    return text


class Author(BaseModel):
    """Somebody whose work it is.

    Attributes:
        name: "Given Family" or "Family, Given"; of the first form, the last word is the family's, with words
            in small letters before it.
        orcid: their ORCID iD, as in 0000-0002-1825-0097.
        affiliation: where they work.
        ror: the ROR id of that place.
    """

    model_config = _STRICT
    name: Annotated[Line, AfterValidator(_name)]
    orcid: Annotated[str, BeforeValidator(_orcid)] | None = None
    affiliation: Line | None = None
    ror: Ror | None = None

    def given_and_family(self) -> tuple[str, str]:
        """The two parts of the name; the first is empty of somebody who has one name."""
        family, comma, given = self.name.partition(",")
        if not comma:
            words = self.name.split()
            small = (n for n, word in enumerate(words[:-1]) if n and word[0].islower())
            start = next(small, len(words) - 1)
            given, family = " ".join(words[:start]), " ".join(words[start:])
        return given.strip(), family.strip()

    def full_name(self) -> str:
        """The name as one says it."""
        return " ".join(filter(None, self.given_and_family()))


class Funding(BaseModel):
    """Somebody who paid for it, and by which grant.

    Attributes:
        funder: an organisation.
        ror: its ROR id.
        award: number of the grant.
        title: of what it was granted for.
        url: where more is said of the grant.
    """

    model_config = _STRICT
    funder: Line
    ror: Ror | None = None
    award: Line | None = None
    title: Line | None = None
    url: Url | None = None


class Link(BaseModel):
    """Something elsewhere that belongs to it; ``title`` says what it is."""

    model_config = _STRICT
    url: Url
    title: Line | None = None


class About(BaseModel):
    """What people say of a campaign; all of it may be left out.

    Attributes:
        title: in a line, of what it is.
        description: what it was done for, and what it shows.
        authors: whose work it is, in the order in which they are named.
        license: under which terms it may be used: an id of the SPDX list, or an address.
        keywords: words that it is to be found by.
        citation: what is to be cited with it: a reference as in a list of references, or a DOI.
        funding: who paid for it.
        links: what elsewhere belongs to it.
    """

    model_config = _STRICT
    title: Line | None = None
    description: Text | None = None
    authors: Annotated[list[Author], Field(max_length=500)] = []
    license: Annotated[str, Field(max_length=2000), BeforeValidator(_license)] | None = None
    keywords: Annotated[list[Line], Field(max_length=100)] = []
    citation: Text | None = None
    funding: Annotated[list[Funding], Field(max_length=100)] = []
    links: Annotated[list[Link], Field(max_length=100)] = []

    @field_validator("authors")
    @classmethod
    def _nobody_is_named_twice(cls, authors: list[Author]) -> list[Author]:
        known = [author.orcid for author in authors if author.orcid is not None]
        for orcid in known:
            if known.count(orcid) > 1:
                raise ValueError(f"two authors have the ORCID iD {orcid}")
        return authors

    def license_url(self) -> str | None:
        """Where the terms can be read."""
        if self.license is None or _URL.fullmatch(self.license):
            return self.license
        return f"{SPDX}{self.license}.html"

    def cited_doi(self) -> str | None:
        """The DOI in what is to be cited."""
        match = _DOI.search(self.citation or "")
        return match[0] if match is not None else None

    def as_kept(self) -> dict[str, Any]:
        """What was said, as JSON; nothing of what was not."""
        return self.model_dump(mode="json", exclude_defaults=True)


def parse_about(content: bytes, name: str = "about.toml") -> About:
    """Read the content of an ``about.toml``.

    Args:
        name: of the file, as people should see it.

    Raises:
        ConfigError: in one sentence, naming the file, the field and what is wrong with it.
    """
    if len(content) > MOST_BYTES:
        raise ConfigError(f"{name}: has more than {MOST_BYTES >> 10} KiB")
    try:
        # Editors may have put a mark in front.
        document = tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name}: is no UTF-8 text (byte {error.start})") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        hint = 'texts stand in double quotes: title = "..."'
        raise ConfigError(f"{name}: is no valid TOML: {brief(error)}", hint=hint) from None
    return _checked(document, name)


def kept_about(kept: object) -> About:
    """Read again what `About.as_kept` made.

    Raises:
        ConfigError: it is something else.
    """
    return _checked(kept, "about")


def _checked(document: object, name: str) -> About:
    try:
        return About.model_validate(document)
    except ValidationError as error:
        problems = [_OR_INSTANCE.sub("", str(problem)) for problem in model_problems(error)]
        raise ConfigError(f"{name}: {'; '.join(problems[:3])}", hint=_hint(error)) from None


def _hint(error: ValidationError) -> str:
    """What a name that is not known may have been meant to be."""
    for item in error.errors(include_url=False):
        if item["type"] == "extra_forbidden":
            wrong = str(item["loc"][-1])
            known = _names_at(item["loc"][:-1])
            near = difflib.get_close_matches(wrong, known, n=1, cutoff=0.5)
            return f"did you mean {near[0]!r}?" if near else f"known there: {', '.join(known)}"
    return ""


def _names_at(place: tuple[str | int, ...]) -> list[str]:
    models: dict[str, type[BaseModel]] = {"authors": Author, "funding": Funding, "links": Link}
    return list(models.get(str(place[0]) if place else "", About).model_fields)
