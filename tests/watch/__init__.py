"""Tests of `matterstack watch`."""
