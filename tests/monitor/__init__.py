"""The event stream and what the page asks for."""
