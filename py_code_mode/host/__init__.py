"""The host's answers to what code in a session asks for."""
