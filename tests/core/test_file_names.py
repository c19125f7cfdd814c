"""Names that others give are used in one form only, and have an end."""

from __future__ import annotations

import pytest

from matterstack.core.file_names import (
    MOST_DEPTH,
    MOST_NAME_BYTES,
    UnusableNameError,
    name_problem,
    normal_name,
)


@pytest.mark.parametrize("name", ["./a/b", "a//b", "a/./b", "a/b/", "a/b/.", "././a/././b//"])
def test_a_name_that_is_not_in_its_normal_form_says_what_that_is(name: str) -> None:
    assert normal_name(name) == "a/b"
    assert name_problem(name) == "must be written as 'a/b'"


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "is no file name"),
        ("./.", "is no file name"),
        ("a\0b", "is no file name"),
        ("\ud800", "is no file name"),
        ("/a", "must not be absolute"),
        ("a/../b", "must not hold '..'"),
        ("/".join("a" * (MOST_DEPTH + 1)), f"lies deeper than {MOST_DEPTH} folders"),
        ("x" * 256, "is no file name"),
        ("\udcff" * 86, "is no file name"),
        ("/".join(["x" * 255] * 4) + "/y", f"has more than {MOST_NAME_BYTES} bytes"),
    ],
)
def test_a_name_that_leads_nowhere_or_too_far_has_no_form(name: str, problem: str) -> None:
    with pytest.raises(UnusableNameError) as caught:
        normal_name(name)
    assert str(caught.value) == name_problem(name) == problem


@pytest.mark.parametrize(
    "name", ["a", "..a/b..", "a\nb", "caf\udce9", "/".join("a" * MOST_DEPTH), "/".join(["x" * 255] * 4)]
)
def test_any_other_name_is_used_as_it_is(name: str) -> None:
    assert normal_name(name) == name
    assert name_problem(name) is None


def test_what_stands_before_a_name_does_not_count() -> None:
    name = "outputs/t.1/" + "/".join("a" * MOST_DEPTH)
    assert name_problem(name, above=2) is None
    assert name_problem(name, above=1) is not None
