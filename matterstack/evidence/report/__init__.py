"""``report.md`` and ``report.html``: a run for people, without anything from a network."""
