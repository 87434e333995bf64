"""Running code in this very process: the worker thread, its interrupts, and whose output is whose."""
