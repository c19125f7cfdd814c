"""The model of a campaign: what a scientist writes, and how it is checked."""
