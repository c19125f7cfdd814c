"""What ``about.toml`` may say, and what is said of one that is wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matterstack.core.documents.about import About, Author, kept_about, orcid_check_character, parse_about
from matterstack.core.errors import ConfigError

WHOLE = b"""
title = "Salts"
description = '''
Two lines,
and more.
'''
license = "cc-by-4.0"
keywords = ["salt"]
citation = "A. Author, Salts 1 (2025), https://doi.org/10.1000/xyz.1."
[[authors]]
name = "Bea de Groot"
orcid = "https://orcid.org/0000-0002-1694-233X"
affiliation = "Salt Works"
ror = "05a28rw58"
[[authors]]
name = "van der Berg, Jan"
[[funding]]
funder = "Salt Fund"
award = "S-1"
[[links]]
url = "https://example.org/data"
"""


def test_all_of_it_is_kept_as_it_was_said() -> None:
    about = parse_about(WHOLE)
    assert kept_about(about.as_kept()) == about
    assert about.description == "Two lines,\nand more."
    assert about.license == "CC-BY-4.0"
    assert about.license_url() == "https://spdx.org/licenses/CC-BY-4.0.html"
    assert about.cited_doi() == "10.1000/xyz.1"
    bea, jan = about.authors
    assert (bea.orcid, bea.ror) == ("0000-0002-1694-233X", "https://ror.org/05a28rw58")
    assert bea.given_and_family() == ("Bea", "de Groot")
    assert Author(name="Ng").given_and_family() == ("", "Ng")
    assert Author(name="Ada King Lovelace").given_and_family() == ("Ada King", "Lovelace")
    assert jan.given_and_family() == ("Jan", "van der Berg")
    assert jan.full_name() == "Jan van der Berg"


def test_nothing_needs_to_be_said() -> None:
    assert parse_about(b"") == About()
    assert About().as_kept() == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title = 3", "title: must be a text in double quotes, not 3"),
        ('title = "  "', "title: "),
        ('title = "two\\nlines"', "title: must be one line"),
        ('title = "\\u0007"', "title: must be one line of text that can be printed"),
        ('license = "MITT"', "license: 'MITT' is neither an id of the SPDX list"),
        ('license = "MIT OR Apache-2.0"', "license: "),
        ('license = "ftp://x"', "license: "),
        (
            '[[authors]]\nname = "A"\norcid = "0000-0002-1694-2339"',
            "authors.0.orcid: 0000-0002-1694-2339 is no",
        ),
        ('[[authors]]\nname = "A"\norcid = "1"', "they look like 0000-0002-1825-0097"),
        ('[[authors]]\norcid = "0000-0002-1825-0097"', "authors.0.name: is missing"),
        ('authors = ["A"]', "authors.0: must be an object {...}, not 'A'"),
        ('[[authors]]\nname = "A"\nror = "x"', "authors.0.ror: "),
        ('[[links]]\nurl = "javascript:alert(1)"', "links.0.url: "),
        ('[[links]]\nurl = "https://a b"', "links.0.url: "),
        ('[[links]]\nurl = "https://a/\\u001b]52;c;x\\u0007"', "links.0.url: "),
        ('[[links]]\nurl = "https://a/\\u202egnp"', "links.0.url: "),
        ('[[funding]]\nfunder = "F"\nurl = "https://a/\\u009b2J"', "funding.0.url: "),
        ('license = "https://a/\\u007f"', "license: "),
        ('[[authors]]\nname = " , "', "authors.0.name: ',' names nobody"),
        ('[[funding]]\naward = "1"', "funding.0.funder: is missing"),
        ("title = ", "is no valid TOML: "),
        ("a = " + "[" * 5000, "is no valid TOML: "),
        ("\0", "is no valid TOML: "),
        ("#" * 300_000, "has more than 256 KiB"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence_that_names_file_and_field(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_about(text.encode(), "w/about.toml")
    assert str(caught.value).startswith(f"w/about.toml: {message}") or message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_of_a_name_that_is_not_known_the_next_one_is_told() -> None:
    with pytest.raises(ConfigError, match=r"about\.toml: licence: ") as caught:
        parse_about(b'licence = "MIT"')
    assert caught.value.hint == "did you mean 'license'?"
    with pytest.raises(ConfigError, match=r"authors\.0\.mail: ") as caught:
        parse_about(b'[[authors]]\nname = "A"\nmail = "x"')
    assert "affiliation" in caught.value.hint


def test_two_authors_are_not_one_person() -> None:
    block = '[[authors]]\nname = "A"\norcid = "0000-0002-1825-0097"\n'
    with pytest.raises(ConfigError, match="two authors have the ORCID iD"):
        parse_about((block * 2).encode())


@pytest.mark.parametrize("orcid", ["0000-0002-1825-0097", "0000-0001-5109-3700", "0000-0002-1694-233X"])
def test_the_last_character_of_an_orcid_follows_from_the_others(orcid: str) -> None:
    assert orcid_check_character(orcid[:-1]) == orcid[-1]


@given(st.binary(max_size=200))
def test_no_bytes_at_all_are_more_than_a_sentence(content: bytes) -> None:
    said = ""
    try:
        parse_about(content)
    except ConfigError as error:
        said = str(error)
    assert not said or said.startswith("about.toml: ")
