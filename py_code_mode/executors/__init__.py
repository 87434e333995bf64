"""What runs the code of a session: a kernel of its own, or this very process."""
