"""The suite of the jupyter_kernel_test package, with everything that it leaves optional."""

from __future__ import annotations

import unittest
from collections.abc import Iterator
from typing import ClassVar

import jupyter_kernel_test
import pytest

from .frontends import add_kernelspec, jupyter_path


class Messages(jupyter_kernel_test.KernelTests):
    """What every kernel has to do with the messages of the protocol."""

    __test__ = False  # it runs below, and nothing of it may be skipped
    kernel_name = "workspace"
    language_name = "python"
    file_extension = ".py"
    code_hello_world = "print('hello, world')"
    code_stderr = "import sys; print('test', file=sys.stderr)"
    completion_samples: ClassVar = [
        {"text": "zi", "matches": {"zip"}},
        {"text": "tools.li", "matches": {"list"}},
    ]
    complete_code_samples: ClassVar = ["1", "print('hello, world')", "def f(x):\n  return x*2\n\n"]
    incomplete_code_samples: ClassVar = ["print('''hello", "def f(x):\n  x*2"]
    invalid_code_samples: ClassVar = ["import = 7q"]
    code_page_something = "zip?"
    code_generate_error = "raise ValueError('no')"
    code_execute_result: ClassVar = [
        {"code": "1+2+3", "result": "6"},
        {"code": "[n*n for n in range(1, 4)]", "result": "[1, 4, 9]"},
        {"code": "1+2+3", "result": "6"},
    ]
    code_display_data: ClassVar = [
        {"code": "from IPython.display import HTML, display; display(HTML('<b>test</b>'))", "mime": "text/html"},
        {"code": "from IPython.display import Math, display; display(Math('\\\\frac{1}{2}'))", "mime": "text/latex"},
    ]
    code_history_pattern = "1?2*"
    supported_history_operations = ("tail", "range", "search")
    code_inspect_sample = "zip"
    code_clear_output = "from IPython.display import clear_output; clear_output()"


class Welcome(jupyter_kernel_test.IopubWelcomeTests):
    """The message that tells a client that it misses nothing from now on."""

    __test__ = False
    kernel_name = "workspace"
    support_iopub_welcome = True


SUITE = [(suite, name) for suite in (Messages, Welcome) for name in unittest.defaultTestLoader.getTestCaseNames(suite)]


@pytest.fixture(scope="module", autouse=True)
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The kernels that the suites start for themselves, once for all their tests."""
    directory = tmp_path_factory.mktemp("jupyter")
    add_kernelspec(directory, "workspace", base=str(tmp_path_factory.mktemp("workspace")))
    with jupyter_path(directory):
        Messages.setUpClass()
        Welcome.setUpClass()
        yield
        Welcome.tearDownClass()
        Messages.tearDownClass()


@pytest.mark.parametrize(("suite", "name"), SUITE, ids=[name for _, name in SUITE])
def test_the_suite_of_jupyter_kernel_test_passes(suite, name):
    result = unittest.TestResult()
    suite(name).run(result)
    assert (result.failures, result.errors, result.skipped) == ([], [], [])
    assert result.testsRun == 1
