"""Whole engines on a simulated cluster: one seed decides schedule, faults and time."""
