"""All SQL that reads for faces, engines and evidence; and the watcher that says when to read again."""
