"""Engines inside other programs, on trio."""
