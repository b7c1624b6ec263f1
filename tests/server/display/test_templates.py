"""Templates escape what they are given, and say so where they are given too little."""

import pytest
from jinja2 import DictLoader, UndefinedError

from server.display.templates import environment, markdown_cell, markdown_code


def test_html_is_escaped_markdown_is_not_and_a_missing_name_is_an_error() -> None:
    templates = environment().overlay(loader=DictLoader({"a.html.j2": "<b>{{ x }}</b>", "a.md.j2": "{{ x|code }}"}))
    assert templates.get_template("a.html.j2").render(x='<script>"') == "<b>&lt;script&gt;&#34;</b>"
    assert templates.get_template("a.md.j2").render(x="<script>") == "`<script>`"
    with pytest.raises(UndefinedError):
        templates.get_template("a.html.j2").render()


def test_a_name_in_markdown_stays_a_name() -> None:
    assert markdown_code("a`b\n# c") == "`a'b # c`"
    assert markdown_cell("a|b\nc") == "a\\|b c"
