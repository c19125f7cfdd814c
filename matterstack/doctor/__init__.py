"""The doctor: what works on this machine and its clusters, and what to do about what does not."""
