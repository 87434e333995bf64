"""JupyterLab as a person sees it: ``py-code-mode lab`` in headless Chromium. Screenshots are kept in test-artifacts/."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect, sync_playwright

from py_code_mode.jupyter.kernelspec import write
from py_code_mode.session import Session

from .labs import Lab, lab

ROOT = Path(__file__).parents[1]
CHROMIUM = shutil.which("chromium")
ARTIFACTS = Path(os.environ.get("TEST_ARTIFACTS", ROOT / "test-artifacts"))

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium: apt-get install chromium"),
]

TOOL = (
    "name: say\ntype: cli\ndescription: Say a word\ncommand: echo\nschema: {positional: [{name: word, type: string}]}\n"
)

LOOK = ["answer", "answer += 1\ntools.say(word='joined').strip()"]
LONG = ["import time\nprint('begun')\ntime.sleep(600)", "x = 'still here'", "'x' in globals()"]


def notebook(sources: list[str]) -> dict[str, object]:
    """A notebook of code cells for the workspace's kernel (nbformat would take two seconds to import)."""
    cells = [
        {
            "cell_type": "code",
            "id": f"c{number}",
            "metadata": {},
            "source": source,
            "execution_count": None,
            "outputs": [],
        }
        for number, source in enumerate(sources)
    ]
    kernelspec = {"name": "notebooks", "display_name": "notebooks (py-code-mode)"}
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernelspec}, "cells": cells}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """JupyterLab on a copy of the documentation's folder with two notebooks more, for a user with a kernelspec that
    cannot start."""
    base = tmp_path_factory.mktemp("browser") / "notebooks"
    shutil.copytree(ROOT / "notebooks", base)
    (base / "tools" / "say.yaml").write_text(TOOL)
    for name, cells in (("long", LONG), ("look", LOOK)):
        (base / f"{name}.ipynb").write_text(json.dumps(notebook(cells)))
    folder = tmp_path_factory.mktemp("user")
    write(folder / "data/kernels/gone", base.with_name("nowhere"), "Gone")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))  # where sessions are found
        with lab(base, folder) as server:
            yield server


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """A window of Chromium."""
    with sync_playwright() as playwright:
        # Without a sandbox of its own, which root and containers cannot have: it sees pages of ours only.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(15_000)
        expect.set_options(timeout=15_000)
        yield page
        browser.close()


def open_path(page: Page, server: Lab, path: str) -> None:
    """JupyterLab with ``path``, a notebook, as its only tab, its kernel ready."""
    page.goto(server.url(f"lab/tree/{path}") + "&reset")
    expect(status(page, "Idle")).to_be_visible()


def status(page: Page, state: str) -> Locator:
    """Where the status bar says that the kernel is in this state."""
    return page.get_by_role("button", name=f"notebooks (py-code-mode) | {state}")


def cells(page: Page) -> Locator:
    return page.locator(".jp-Notebook .jp-CodeCell")


def run_cell(page: Page, number: int) -> Locator:
    """Run one cell as people do; returns its output area."""
    cells(page).nth(number).locator(".cm-content").click()
    page.keyboard.press("Control+Enter")
    return cells(page).nth(number).locator(".jp-OutputArea-output")


def picture_of(page: Page, name: str) -> None:
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=ARTIFACTS / f"{name}.png")


def test_run_all_shows_what_a_tool_says_an_image_and_a_table(server, page):
    open_path(page, server, "quick-start.ipynb")
    expect(page.locator(".jp-Toolbar-kernelName")).to_have_text("notebooks (py-code-mode)")
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    outputs = page.locator(".jp-Notebook .jp-OutputArea-output")
    expect(cells(page).last.locator(".jp-InputPrompt")).not_to_have_text(re.compile(r"\[[* ]\]"))
    expect(outputs.filter(has_text="Traceback")).to_have_count(0)
    # What the tools `grep` and `sort` said of the weather in Seattle, the table of the tools, and the drawn stripes.
    expect(outputs.filter(has_text="2015-03-15,55.9").first).to_be_visible()
    expect(outputs.locator("table", has_text="tools.grep").first).to_be_visible()
    image = page.locator(".jp-RenderedSVG img").last
    expect(image).to_be_visible()
    assert image.evaluate("image => image.naturalWidth") > 100
    image.scroll_into_view_if_needed()
    picture_of(page, "quick-start-drawing")
    outputs.locator("table", has_text="tools.grep").first.scroll_into_view_if_needed()
    picture_of(page, "quick-start")


def test_a_long_cell_is_interrupted_and_a_restart_gives_a_fresh_kernel(server, page):
    open_path(page, server, "long.ipynb")
    run_cell(page, 1)
    expect(run_cell(page, 2)).to_have_text("True")
    output = run_cell(page, 0)
    expect(output.first).to_have_text("begun\n")
    expect(status(page, "Busy")).to_be_visible()
    page.get_by_role("button", name="Interrupt the kernel").click()
    expect(output.last).to_contain_text("KeyboardInterrupt")
    picture_of(page, "interrupted")
    expect(run_cell(page, 2)).to_have_text("True")
    page.get_by_role("button", name="Restart the kernel", exact=False).first.click()
    page.get_by_role("button", name="Confirm Kernel Restart").click()
    expect(status(page, "Idle")).to_be_visible()
    expect(run_cell(page, 2)).to_have_text("False")
    picture_of(page, "restarted")


def test_a_workspace_that_cannot_start_says_why_in_a_dialog(server, page):
    page.goto(server.url("lab") + "&reset")
    card = page.locator(".jp-LauncherCard", has_text="Gone").first
    expect(card).to_be_visible()
    picture_of(page, "launcher")
    card.click()
    dialog = page.locator(".jp-Dialog")
    expect(dialog).to_contain_text("Error Starting Kernel")
    expect(dialog).to_contain_text("nowhere is not there any more.")
    picture_of(page, "cannot-start")
    dialog.get_by_role("button", name="Ok").click()


def test_a_notebook_joins_the_kernel_of_a_live_agent_session_and_sees_its_variable(server, page):
    session = Session.from_base(server.base)
    # Playwright's loop occupies this thread.
    with ThreadPoolExecutor(1) as agent:

        def done(work: Coroutine[Any, Any, Any]) -> Any:
            return agent.submit(asyncio.run, work).result(40)

        done(session.start())
        try:
            assert done(session.run("answer = 6 * 7")).is_ok
            open_path(page, server, "look.ipynb")
            page.get_by_role("button", name="notebooks (py-code-mode)", exact=True).click()
            kernels = page.locator(".jp-Dialog select")
            live = kernels.locator("option", has_text="notebooks, live session")
            kernels.select_option(value=live.get_attribute("value"))
            picture_of(page, "select-session")
            page.get_by_role("button", name="Select Kernel").click()
            expect(page.locator(".jp-Toolbar-kernelName")).to_contain_text("notebooks, live session")
            expect(run_cell(page, 0)).to_have_text("42")
            expect(run_cell(page, 1)).to_have_text("'joined'")
            picture_of(page, "joined")
            result = done(session.run("answer"))
            assert (result.value, result.stdout) == (43, "")
        finally:
            done(session.close())
