"""Fixtures of the tests of evidence."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from matterstack.evidence import contents
from matterstack.evidence.presentation import View


@pytest.fixture(scope="module")
def drawn_once() -> Iterator[None]:
    """The same picture is drawn once in a module: most of what is exported again and again is drawings.

    Not for tests of drawings, or of whether what is made again is the same.
    """
    known: dict[str, bytes] = {}

    def once(draw: Callable[[View, float], bytes]) -> Callable[[View, float], bytes]:
        def drawn(view: View, width_in: float) -> bytes:
            key = f"{draw.__name__} {width_in} {view.history} {view.survey}"
            if key not in known:
                known[key] = draw(view, width_in)
            return known[key]

        return drawn

    with pytest.MonkeyPatch.context() as monkeypatch:
        for name in ("timeline_svg", "graph_svg"):
            monkeypatch.setattr(contents, name, once(getattr(contents, name)))
        yield
