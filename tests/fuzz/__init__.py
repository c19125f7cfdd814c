"""Damaged documents by the thousand: whatever is read that others wrote ends in one sentence."""
