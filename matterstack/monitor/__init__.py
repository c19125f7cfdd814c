"""The event stream and the page: one port, for people and programs that watch and steer runs.

It reads the store, so it works beside an engine in another process, and with none at all.
"""
