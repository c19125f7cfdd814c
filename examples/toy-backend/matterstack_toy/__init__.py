"""A backend for MatterStack whose scheduler is a folder: an example of how to write one."""
