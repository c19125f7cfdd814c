"""The pure core: states, model, facts and decisions.  No trio, no I/O, no clock."""
