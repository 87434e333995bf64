"""Looking over the shoulder of a session: what it does, and what it has done."""
