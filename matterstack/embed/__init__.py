"""Engines inside other programs."""
