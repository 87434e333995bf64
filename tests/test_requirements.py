"""requirements.txt, and the requirements that are accepted at run time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from py_code_mode.deps.requirements import Problem, RequirementsText, parse_runtime
from py_code_mode.errors import RequirementError

PEOPLE_WROTE = """\
# The data side
--index-url https://example.org/simple
-r other.txt

pandas>=2,<3   # keep below 3
Requests[socks] == 2.32.*
numpy \\
    >=1.26, \\
    <3
pywin32>=300; sys_platform == "win32"
-e .
tool @ https://example.org/tool-1.0.tar.gz
./wheels/local.whl
this is not one
hashed==1.0 --hash=sha256:abc
"""


def test_requirements_are_listed_as_they_were_written():
    assert RequirementsText(PEOPLE_WROTE).requirements() == [
        "pandas>=2,<3",
        "Requests[socks] == 2.32.*",
        "numpy     >=1.26,     <3",
        'pywin32>=300; sys_platform == "win32"',
        "tool @ https://example.org/tool-1.0.tar.gz",
    ]


def test_what_cannot_be_handled_is_reported_with_its_line():
    problems = RequirementsText(PEOPLE_WROTE).problems()
    assert [(problem.where, problem.text) for problem in problems] == [
        ("requirements.txt:2", "--index-url https://example.org/simple"),
        ("requirements.txt:3", "-r other.txt"),
        ("requirements.txt:11", "-e ."),
        ("requirements.txt:13", "./wheels/local.whl"),
        ("requirements.txt:14", "this is not one"),
        ("requirements.txt:15", "hashed==1.0 --hash=sha256:abc"),
    ]
    reasons = ["options of pip", "not followed", "options of pip", "path or URL", "PEP 508", "--hash"]
    assert all(reason in problem.reason for reason, problem in zip(reasons, problems, strict=True))
    assert isinstance(problems[0], Problem)


def test_a_requirement_takes_the_place_of_the_older_one_and_keeps_its_comment():
    changed = RequirementsText(PEOPLE_WROTE).with_requirement("Pandas==2.2")
    assert str(changed) == PEOPLE_WROTE.replace("pandas>=2,<3   #", "Pandas==2.2   #")


def test_a_requirement_over_several_lines_is_replaced_as_a_whole():
    changed = RequirementsText(PEOPLE_WROTE).with_requirement("numpy")
    assert str(changed) == PEOPLE_WROTE.replace("numpy \\\n    >=1.26, \\\n    <3\n", "numpy\n")


def test_further_lines_about_the_same_package_go():
    text = "a; python_version < '3.9'\nb\nA>=2; python_version >= '3.9'\n"
    assert str(RequirementsText(text).with_requirement("a>=3")) == "a>=3\nb\n"
    assert str(RequirementsText(text).without("a")) == "b\n"


def test_removing_goes_by_the_canonical_name_and_leaves_the_rest():
    text = "# head\nzope.interface>=5  # why\n\nother\n"
    assert str(RequirementsText(text).without("Zope_Interface")) == "# head\n\nother\n"
    assert str(RequirementsText(text).without("missing")) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "new\n"),
        ("a", "a\nnew\n"),
        ("a\r\nb", "a\r\nb\r\nnew\r\n"),
        ("\ufeffa\r\n", "\ufeffa\r\nnew\r\n"),
        ("a # b \\\n", "a # b \\\n\nnew\n"),
        ("a \\", "a \\\n\nnew\n"),
        ("# a \\\n", "# a \\\nnew\n"),
        ("a\n\n# end", "a\n\n# end\nnew\n"),
    ],
)
def test_a_new_requirement_is_a_line_of_its_own_at_the_end(text, expected):
    changed = RequirementsText(text).with_requirement("new")
    assert str(changed) == expected
    assert RequirementsText(expected).requirements()[-1] == "new"


def test_a_requirement_that_is_there_already_changes_nothing():
    text = "a>=1   # why\n"
    assert str(RequirementsText(text).with_requirement("a>=1")) == text


LINE = st.text(st.characters(exclude_characters="\r\n") | st.sampled_from('#\\ -=>;@"/.ab1'), max_size=20)
LINES = st.lists(
    LINE | st.sampled_from(["pandas>=2  # c", "numpy \\", "-r x", "", "# c", "  # c \\", "other==1 \\ ", "Pandas"])
)


@given(st.text() | LINES.flatmap(lambda lines: st.sampled_from(["\n", "\r\n", "\r"]).map(lambda end: end.join(lines))))
def test_whatever_people_wrote_is_kept_to_the_byte(text):
    content = RequirementsText(text)
    assert str(content) == text
    assert str(content.without("no-such-package")) == text
    added = content.with_requirement("no-such-package==1")
    assert str(added).startswith(text)
    assert added.requirements() == [*content.requirements(), "no-such-package==1"]
    assert added.problems() == content.problems()
    removed = added.without("No_Such.Package")
    assert removed.requirements() == content.requirements()
    assert str(removed).rstrip("\r\n") == text.rstrip("\r\n")


@given(LINES.map("\n".join))
def test_replacing_one_requirement_leaves_all_the_others(text):
    content = RequirementsText(text)
    changed = content.with_requirement("pandas==9")
    others = [line for line in content.requirements() if not line.lower().startswith("pandas")]
    assert [line for line in changed.requirements() if line != "pandas==9"] == others
    assert changed.requirements().count("pandas==9") == 1


@pytest.mark.parametrize(
    "text",
    [
        "pandas",
        "pandas>=2",
        " pandas [excel, html] >= 2, != 2.1 ",
        "zope.interface~=5.0",
        "a===1.0",
        "a==1.*",
    ],
)
def test_a_name_with_extras_and_versions_is_accepted_at_run_time(text):
    assert parse_runtime(text).name == text.split()[0].split(">")[0].split("=")[0].split("~")[0]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("-e .", "options"),
        ("--index-url=https://x", "options"),
        ("-r requirements.txt", "options"),
        ("https://example.org/a.whl", "direct URL"),
        ("a @ https://example.org/a.whl", "direct URL"),
        ("a @ file:///tmp/a.whl", "direct URL"),
        ("git+ssh:host/a", "direct URL"),
        (".", "path"),
        ("./a", "path"),
        ("~/a", "path"),
        ("/tmp/a", "path"),
        ("folder/a", "path"),
        ("a.whl", "path"),
        ("C:\\a", "path"),
        ("a; python_version > '3'", "marker"),
        ("a b", "several"),
        ("pandas, numpy", "several"),
        ("pandas>=2 numpy", "several"),
        ("pandas>=2, numpy", "several"),
        ("a\nb", "line breaks"),
        ("a\0", "control"),
        ("a # comment", "PEP 508"),
        ("a>=x.y", "PEP 508"),
        ("a==", "PEP 508"),
        ("ä", "PEP 508"),
        ("a===#x", "not a version"),
        ("a===1\\", "path"),
        ("a" * 501, "501 characters"),
        (None, "NoneType"),
    ],
)
def test_what_is_not_accepted_at_run_time_is_refused_with_the_reason(text, reason):
    with pytest.raises(RequirementError, match=reason):
        parse_runtime(text)


@given(st.text(st.characters() | st.sampled_from("ab1.-_[]=<>~!#\\;@ ,*"), max_size=20))
def test_what_is_accepted_at_run_time_is_one_line_that_reads_back_the_same(text):
    try:
        requirement = parse_runtime(text)
    except RequirementError:
        return
    written = str(RequirementsText("before # c\n").with_requirement(text.strip())) + "after\n"
    read = RequirementsText(written)
    assert read.requirements() == ["before", text.strip(), "after"]
    assert read.problems() == []
    assert requirement.url is None
