"""Kernels on the host side: virtualenvs, processes, sockets, executions."""
