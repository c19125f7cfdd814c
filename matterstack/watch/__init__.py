"""Runs in a terminal: the same as the monitor's page, through the same documents and events.

What is known (`known`, `tasks`), what is looked at (`view`) and what is drawn of it (`drawing` and the
screens) is decided without a terminal and without a connection; `terminal`, `screen` and `lines` do the rest.
"""
