"""What runs inside a py-code-mode kernel.

This package is copied into the virtualenv of every workspace. It imports only the standard library,
pyzmq, IPython and ipykernel, and never ``py_code_mode``; the modules that the host shares with the
kernel (``errors``, ``wire``, ``codec``, ``formats``, ``supervisor``) need nothing but the standard library.
"""
