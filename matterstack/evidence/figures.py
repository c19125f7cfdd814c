"""Draw with matplotlib so that the same picture is the same file, on every machine.

Text is drawn as outlines of the one font that comes with matplotlib; nothing of a user's own settings, no
date and no random identifier gets into a file.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

WIDE_IN: Final = 9.0
NARROW_IN: Final = 4.4
"""For the screen of a phone."""
INK: Final = "#1f2933"
FAINT: Final = "#9aa5b1"
GRID: Final = "#e4e7eb"
WASH: Final = "#f5f7fa"
COLORS: Final = {
    "waiting": "#f0b429",
    "running": "#2680c2",
    "ended well": "#2f8132",
    "failed": "#c52707",
    "cancelled": "#829ab1",
    "not started": "#cbd2d9",
}

_SETTINGS: Final[dict[Any, Any]] = {
    "svg.fonttype": "path",
    "font.size": 9.0,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "legend.frameon": False,
}
_LOCK: Final = threading.Lock()
"""matplotlib's settings belong to the whole process."""


def svg(name: str, width_in: float, height_in: float, draw: Callable[[Figure], None]) -> bytes:
    """Draw a picture as SVG, the same bytes each time.

    Args:
        name: makes the identifiers inside of the file its own.
    """
    with _LOCK, mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_SETTINGS)
        mpl.rcParams["svg.hashsalt"] = f"matterstack-{name}"
        figure = Figure(figsize=(width_in, height_in))
        FigureCanvasSVG(figure)
        draw(figure)
        for text in figure.findobj(Text):
            _make_plain(text)
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": "MatterStack"})
    return file.getvalue()


def legend_points(width_in: float) -> float:
    """Size of a legend's text: all words of it stand side by side."""
    return 9.0 if width_in >= WIDE_IN else 7.0


def _make_plain(text: Any) -> None:  # noqa: ANN401  matplotlib's classes have no types
    text.set_parse_math(False)
    text.set_fontproperties(FontProperties(fname=str(_font_file()), size=text.get_fontsize()))
    text.set_text(drawable(text.get_text()))


@cache
def _font_file() -> Path:
    return Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"


@cache
def _characters() -> frozenset[int]:
    return frozenset(FT2Font(str(_font_file())).get_charmap())


def drawable(text: str) -> str:
    """The text with a box for each character that the font does not have."""
    return "".join(c if ord(c) in _characters() or c == "\n" else "\u25a1" for c in text)


def shortened(text: str, most: int) -> str:
    """Cut in the middle: both ends of a name tell it from others.

    >>> shortened("screen-gamma-Li3PO4", 12)
    'screen…Li3PO4'
    """
    if len(text) <= most + 1:
        return text
    return f"{text[: most // 2]}…{text[-(most - most // 2) :]}"
