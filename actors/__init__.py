"""Who does what, and when: mailboxes, supervision, scheduling, effects."""
