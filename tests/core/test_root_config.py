"""``config.json`` of a root: what is its own, and each mistake in it."""

from __future__ import annotations

import pytest

from matterstack.core.documents.root_config import RootConfig, Share, parse_root_config
from matterstack.core.errors import ConfigError


def test_what_is_the_roots_own_is_told_from_what_is_for_runs() -> None:
    assert parse_root_config("config.json", b"{}") == RootConfig()
    both = parse_root_config("config.json", b'{"share": "group", "priority": 2}')
    assert both == RootConfig(Share.GROUP, {"priority": 2})
    assert parse_root_config("config.json", b'{"share": null}').share is None
    assert parse_root_config("config.json", b'\xef\xbb\xbf{"share": "nobody"}').share is Share.NOBODY


WRONG = {
    "another word": (b'{"share": "all"}', 'share: must be "group" or "nobody", not \'all\''),
    "no text": (b'{"share": true}', 'share: must be "group" or "nobody", not True'),
    "a list": (b'{"share": ["group"]}', 'share: must be "group" or "nobody"'),
    "twice": (b'{"share": "group", "share": "nobody"}', "'share' stands there twice; keep one of them"),
    "no JSON": (b"{share: 1}", "not valid JSON: line 1, column 2"),
    "no object": (b"[]", "must be a JSON object, not list"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_mistake_is_said_with_the_file_and_the_field(case: str) -> None:
    text, words = WRONG[case]
    with pytest.raises(ConfigError) as wrong:
        parse_root_config("/r/config.json", text)
    assert str(wrong.value).startswith(f"/r/config.json: {words}")
