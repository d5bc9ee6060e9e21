"""Chat templates are foreign programs: they render, and can do nothing else nor go on for ever."""

from __future__ import annotations

import importlib.util
import os
import pickle
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import jinja2.runtime
import jinja2.utils
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2.sandbox import ImmutableSandboxedEnvironment
from means import REPOSITORY, absent

from transforms.chat import sandbox, sandbox_worker
from transforms.chat.sandbox import Refusal, Sandbox, TemplateSource
from transforms.errors import RunnerFailed, UsageError

MESSAGES = [
    {"role": "user", "content": "What is 2 + 2?"},
    {"role": "assistant", "content": "<think>\nTwo and two.\n</think>\n\nFour."},
]
ROW: dict[str, object] = {"messages": MESSAGES, "tools": None, "add_generation_prompt": False}

# What templates of reasoning models do: look back for the last question, cut the thoughts out of
# the text, call tools, leave a turn open.
REASONING_TEMPLATE = """\
{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].role == 'system' %}
        {{- messages[0].content + '\\n\\n' }}
    {%- endif %}
    {{- 'Tools:' }}
    {%- for tool in tools %}
        {{- '\\n' }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- '<|im_end|>\\n' }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- set state = namespace(searching=true, question=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set place = (messages|length - 1) - loop.index0 %}
    {%- if state.searching and message.role == 'user' and message.content is string
           and not (message.content.startswith('<result>')
                    and message.content.endswith('</result>')) %}
        {%- set state.searching = false %}
        {%- set state.question = place %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}
        {%- set content = message.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
    {%- if message.role == 'user' or (message.role == 'system' and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>\\n' }}
    {%- elif message.role == 'assistant' %}
        {%- set thoughts = '' %}
        {%- if message.reasoning_content is string %}
            {%- set thoughts = message.reasoning_content %}
        {%- elif '</think>' in content %}
            {%- set thoughts = content.split('</think>')[0].split('<think>')[-1].strip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > state.question and (loop.last or thoughts) %}
            {{- '<|im_start|>assistant\\n<think>\\n' + thoughts.strip('\\n') }}
            {{- '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- '<|im_start|>assistant\\n' + content }}
        {%- endif %}
        {%- for call in message.tool_calls or [] %}
            {{- '\\n<call>' + call.name + ' ' + (call.arguments | tojson) + '</call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""

SMALL: dict[str, Any] = {"seconds": 0.5, "memory_bytes": 100 * 2**20, "output_bytes": 2**20}


def of(text: str, **more: str) -> TemplateSource:
    return TemplateSource("my.jinja", text, **more)


def rendered(text: str, *rows: dict[str, object], **more: str) -> list[str | Refusal]:
    with Sandbox(of(text, **more), **SMALL) as box:
        return box.render(rows or [ROW])


def failure(text: str, kind: type[Exception] = UsageError) -> str:
    with pytest.raises(kind) as caught:
        rendered(text)
    return str(caught.value)


def reason(text: str, *rows: dict[str, object]) -> str:
    [refused] = rendered(text, *rows)
    assert isinstance(refused, Refusal), refused
    return refused.reason


@pytest.fixture
def linux() -> None:
    if not Path("/proc/self/statm").exists():
        absent("needs Linux: other systems show no /proc and do not limit a process' memory")


def children() -> set[int]:
    """The sandboxes' processes below this one."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue  # it has ended meanwhile
        if int(parent) == os.getpid() and b"sandbox_worker.py" in command:
            found.add(int(process.name))
    return found


@pytest.fixture
def nothing_left(linux: None) -> Iterator[None]:
    """No child is left behind, whatever a test did."""
    before = children()
    yield
    assert children() == before


def ends(pid: int, seconds: float = 20) -> bool:
    """Waits until a process that may be another's child has ended."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], seconds)[0])
    finally:
        os.close(handle)


class TestRendering:
    def test_a_template_of_a_reasoning_model(self) -> None:
        assert rendered(REASONING_TEMPLATE) == [
            "<|im_start|>user\nWhat is 2 + 2?<|im_end|>\n"
            "<|im_start|>assistant\n<think>\nTwo and two.\n</think>\n\nFour.<|im_end|>\n"
        ]

    @pytest.mark.parametrize("prompt", [True, False])
    def test_is_what_jinja_itself_renders(self, prompt: bool) -> None:
        tool = {"name": "add", "about": "a < b & 'é'"}
        call = {"role": "assistant", "tool_calls": [{"name": "add", "arguments": {"a": [2, 2]}}]}
        system = {"role": "system", "content": "Be brief."}
        rows: list[dict[str, object]] = [
            {"messages": messages, "tools": tools, "add_generation_prompt": prompt}
            for messages in (MESSAGES, [system, *MESSAGES, *MESSAGES], [system, MESSAGES[0], call])
            for tools in (None, [tool])
        ]
        plain = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        plain.policies["json.dumps_kwargs"] = {"ensure_ascii": False}
        plain.filters["tojson"] = sandbox_worker.environment("2025-01-01").filters["tojson"]
        template = plain.from_string(REASONING_TEMPLATE)
        assert rendered(REASONING_TEMPLATE, *rows) == [template.render(row) for row in rows]

    def test_many_rows_render_as_each_does(self, capsys: pytest.CaptureFixture[str]) -> None:
        rows = [
            {"messages": [{"role": r, "content": f"{r} {i}"} for r in ("user", "assistant")]}
            for i in range(1000)
        ]
        with Sandbox(of(REASONING_TEMPLATE)) as box:
            box.render(rows)
            start = time.perf_counter()
            texts = box.render(rows)
            took = time.perf_counter() - start
            assert texts == [box.render([row])[0] for row in rows]
        with capsys.disabled():
            print(f" [{len(rows) / took:,.0f} rows/s]", end="")

    def test_no_rows_are_no_texts(self) -> None:
        with Sandbox(of("{{ a }}")) as box:
            assert box.render([]) == []
            assert box.render([{"a": 1}]) == ["1"]

    @pytest.mark.parametrize(
        ("template", "text"),
        [
            ("  {% if 1 %}\n a\n  {% endif %}\nb\n", " a\nb"),  # trim_blocks, lstrip_blocks
            ("{% for m in messages %}{% continue %}{{ m }}{% endfor %}", ""),
            ("{% for m in messages %}{{ m.role }}{% break %}{% endfor %}", "user"),
            ("a{% generation %}{{ messages|length }}{% endgeneration %}b", "a2b"),
            ("{% set a = 1 %}{% generation %}{% set a = 2 %}{% endgeneration %}{{ a }}", "1"),
            ("{{ bos_token }}a{{ eos_token }}", "<s>a</s>"),
            ("{{ strftime_now('%d %b %Y') }}", "26 Jul 2024"),
            ("{{ strftime_now('%s') }}", "1721952000"),
            ("{{ {'b': '<é>&', 'a': 1}|tojson }}", '{"b": "<é>&", "a": 1}'),
            ("{{ {'b': 'é'}|tojson(ensure_ascii=true) }}", '{"b": "\\u00e9"}'),
            ("{{ {'b': 1, 'a': 2}|tojson(indent=1, sort_keys=true) }}", '{\n "a": 2,\n "b": 1\n}'),
            ("{{ {'b': [1, 2]}|tojson(separators=(',', ':')) }}", '{"b":[1,2]}'),
            ("{{ '<b>' }}{{ nothing }}{{ tools is none }}", "<b>True"),
            (
                "{{ 'a{}'.format(1) }}{{ messages.0.role }}{{ messages[0].items()|length }}",
                "a1user2",
            ),
        ],
    )
    def test_is_set_up_as_transformers_does(self, template: str, text: str) -> None:
        assert rendered(template, bos_token="<s>", eos_token="</s>", date="2024-07-26") == [text]

    @pytest.mark.parametrize(
        ("template", "text"),
        [
            ("{{ 'a\\N{BULLET}\\u00e9\\n' }}", "a•é\n"),
            ("{{ 'a b'|urlencode }}{{ 'a b c'|wordwrap(2) }}", "a%20ba\nb\nc"),
            ("{{ '<b>a &amp; b</b>'|striptags }}{{ [1]|pprint }}", "a & b[1]"),
            ("{{ '<a>'|e }}{{ {'a': 1}|xmlattr }}{{ 1234567|filesizeformat }}", None),
            ("{{ 'see http://a.bc'|urlize }}{{ 'a b'|title }}{{ [2, 1]|sort }}", None),
        ],
    )
    def test_filters_do_not_miss_what_may_no_longer_be_loaded(
        self, template: str, text: str | None
    ) -> None:
        expected = ImmutableSandboxedEnvironment().from_string(template).render()
        assert rendered(template) == [expected]
        assert text in (None, expected)

    @pytest.mark.parametrize(
        "content",
        ["{{ 7*7 }}", "{% raw %}a{% endraw %}", "{# no #}", "{% endfor %}", "# for x in y", "{{"],
    )
    def test_content_that_looks_like_jinja_stays_text(self, content: str) -> None:
        row: dict[str, object] = {"messages": [{"role": content, "content": content}]}
        assert rendered("{{ messages[0].content + messages[0].role }}", row) == [content * 2]

    def test_variables_may_have_any_name(self) -> None:
        row: dict[str, object] = {"self": 1, "context": 2, "environment": 3, "range": 4, "a b": 5}
        assert rendered("{{ context }}{{ environment }}{{ range }}", row) == ["234"]

    def test_all_planes_and_odd_characters_come_through(self) -> None:
        odd = '\0\x01\x1b\x7f\x85\r\n\t"\\\u2028\u2029\ufeff\ufffe\uffff é e\u0301 \u202e '
        planes = "".join(chr(plane * 0x10000 + 0x1234) for plane in range(17))
        row: dict[str, object] = {"messages": [{"role": "user", "content": odd + planes}]}
        assert rendered("{{ messages[0].content }}", row) == [odd + planes]

    def test_half_a_surrogate_pair_is_its_rows_alone(self) -> None:
        rows: list[dict[str, object]] = [{"a": "1"}, {"a": "\ud800"}, {"a": "2"}]
        [one, refused, two] = rendered("{{ a }}", *rows)
        assert (one, two) == ("1", "2")
        assert isinstance(refused, Refusal)
        assert "surrogate" in refused.reason
        assert "surrogate" in reason("{{ '\\udc00' }}")

    def test_a_batch_of_20_mb(self) -> None:
        rows = [{"messages": [{"content": f"{i}é" * 2500}]} for i in range(2000)]
        assert sum(len(row["messages"][0]["content"].encode()) for row in rows) > 20e6
        with Sandbox(of("{{ messages[0].content }}"), memory_bytes=50 * 2**20) as box:
            assert box.render(rows) == [row["messages"][0]["content"] for row in rows]

    def test_two_at_once_in_two_threads(self) -> None:
        texts: dict[str, list[list[str | Refusal]]] = {"a": [], "b": []}

        def work(name: str) -> None:
            with Sandbox(of(name + "{{ n }}")) as box:
                for _ in range(20):
                    texts[name].append(box.render([{"n": n} for n in range(100)]))

        threads = [threading.Thread(target=work, args=[name]) for name in texts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for name, found in texts.items():
            assert found == [[f"{name}{n}" for n in range(100)]] * 20


@pytest.fixture(scope="module")
def echo() -> Iterator[Sandbox]:
    with Sandbox(of("{{ a }}")) as box:
        yield box


@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=20))
def test_any_text_comes_through(echo: Sandbox, texts: list[str]) -> None:
    assert echo.render([{"a": text} for text in texts]) == texts


class TestRefusedRows:
    def test_the_others_render(self) -> None:
        template = "{{ raise_exception('only ' ~ n) if n % 2 else n }}"
        rows: list[dict[str, object]] = [{"n": n} for n in range(4)]
        assert rendered(template, *rows) == [
            "0", Refusal("only 1"), "2", Refusal("only 3")
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("template", "found"),
        [
            ("{{ a.b.c }}", "'a' is undefined"),
            ("{{ messages[0].no.b }}", "'dict object' has no attribute 'no'"),
            ("{{ 'a' + 1 }}", 'TypeError: can only concatenate str (not "int") to str'),
            ("{{ 1 // 0 }}", "ZeroDivisionError: integer division or modulo by zero"),
            ("{{ messages.append(1) }}", "unsafe: access to attribute 'append' of 'list' object"),
            ("{{ messages[0].update(a=1) }}", "unsafe: access to attribute 'update' of 'dict'"),
            ("{{ range(10**9) }}", "OverflowError: Range too big"),
            ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "RecursionError: "),
            ("{% block a %}{{ self.a() }}{% endblock %}", "RecursionError: "),
            ("{% for a in [1] recursive %}{{ loop([1]) }}{% endfor %}", "RecursionError: "),
            ("{{ lipsum(n=10**6) }}", "'lipsum' is undefined"),
            ("{% include '/etc/passwd' %}", "TypeError: no loader for this environment"),
            ("{% import '/etc/passwd' as a %}", "TypeError: no loader for this environment"),
            ("{% from 'os' import system %}", "TypeError: no loader for this environment"),
            ("{% extends '/etc/passwd' %}", "TypeError: no loader for this environment"),
        ],
    )
    def test_say_why(self, template: str, found: str) -> None:
        assert reason(template).startswith(found)

    def test_say_it_in_one_short_line_that_a_terminal_can_show(self) -> None:
        said = reason("{{ raise_exception(a) }}", {"a": " \x1b[31mno\r\n\u2028 \ud800way\0" * 99})
        assert said.startswith("?[31mno ?way? ?[31mno")
        assert len(said) == 200
        assert said.isprintable()
        assert reason("{{ raise_exception('') }}") == "no reason given"

    def test_a_template_that_refuses_all_is_no_error(self) -> None:
        texts = rendered("{{ raise_exception('no') }}", *[ROW] * 500)
        assert texts == [Refusal("no")] * 500


class TestUnsafe:
    @pytest.mark.parametrize(
        "template",
        [
            "{{ ''.__class__.__mro__ }}",
            "{{ (''|attr('__class__')).x }}",
            "{{ ''['__class__'].x }}",
            "{{ ([('')]|map(attribute='__class__')|first).x }}",
            "{{ cycler.__init__.__globals__ }}",
            "{{ joiner.mro() }}",
            "{{ namespace.__init__.__globals__ }}",
            "{{ dict.__base__.__subclasses__() }}",
            "{{ self.__init__.__globals__ }}",
            "{{ self._TemplateReference__context.environment }}",
            "{{ raise_exception.__globals__.os }}",
            "{{ strftime_now.__closure__[0] }}",
            "{{ [1].__setitem__(0, 2) }}",
            "{{ (messages|map('string')).gi_frame.f_back }}",
            "{% for m in messages %}{{ loop._iterator.x }}{% endfor %}",
            "{% macro m() %}{% endmacro %}{{ m._environment.x }}",
        ],
    )
    def test_a_way_to_pythons_insides_is_refused(self, template: str) -> None:
        assert reason(template).startswith("unsafe: access to attribute")

    # Jinja shows what is unsafe as nothing, as long as nothing is done with it.
    @pytest.mark.parametrize(
        "template",
        [
            "{{ ''.__class__ }}",
            "{{ ''|attr('__class__') }}",
            "{{ self.__init__ }}",
            "{{ '{0.__class__}'.format(1) }}",
            "{{ '{a.__class__}'.format_map({'a': 1}) }}",
            "{{ ('{0.__class__}'|attr('format'))(1) }}",
            "{{ '{0.__class__}'['format'](1) }}",
            "{% set n = namespace() %}{{ n.__class__ }}{{ n.__init__ }}{{ n._Namespace__attrs }}",
        ],
    )
    def test_or_shows_nothing(self, template: str) -> None:
        assert rendered(template) == [""]

    def test_the_short_ways_give_jinjas_answers(self) -> None:
        class Own(dict[str, object]):
            pass

        plain, ours = ImmutableSandboxedEnvironment(), sandbox_worker.environment("2025-01-01")
        things: list[Any] = [
            {"items": 1, "role": "a", "__class__": 2, "_a": 3}, Own(role="a", pop=1), [1], {1},
            (1,), "a", 1, None, str, dict, type, range(3), (i for i in "a"),
            test_any_text_comes_through, self.test_or_shows_nothing, ours,
            jinja2.utils.Cycler, jinja2.utils.Cycler("a"),
            jinja2.utils.Namespace(role="a"), jinja2.runtime.Undefined(name="a"), [].append,
        ]  # fmt: skip
        names = sorted(
            {"role", "no", "_a", "__globals__", "format", "append", "mro"}.union(*map(dir, things))
        )
        assert len(names) > 100

        def shown(environment: ImmutableSandboxedEnvironment, thing: Any, name: str) -> object:
            try:
                found = environment.getattr(thing, name)
            except jinja2.UndefinedError as error:
                return str(error)
            if isinstance(found, jinja2.runtime.Undefined):
                return (found._undefined_message, found._undefined_exception)
            return getattr(found, "__wrapped__", found)

        assert isinstance(ours, ImmutableSandboxedEnvironment)
        for thing in things:
            for name in names:
                expected = shown(plain, thing, name)
                for _ in range(2):  # the second time from memory
                    assert repr(shown(ours, thing, name)) == repr(expected), (thing, name)

    def test_invented_names_fill_no_memory(self) -> None:
        environment = sandbox_worker.environment("2025-01-01")
        assert isinstance(environment, sandbox_worker.Rules)
        for n in range(5000):
            environment.is_safe_attribute("", f"a{n}", None)
            assert not environment.is_safe_attribute("", f"_{n}", None)
        assert len(environment._safe) == 1000


class TestLimits:
    @pytest.mark.parametrize(
        "template",
        [
            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
            "{{ (n + 99999) ** (n + 9999999) }}",  # one call to C
            "{% set s = namespace(x='a') %}{% for i in range(99999) %}"
            "{% set s.x = s.x|replace('a', 'ab')|replace('b', 'a') %}"
            "{% set s.x = s.x[:99999] %}{% endfor %}",
        ],
    )
    def test_time(self, template: str) -> None:
        with Sandbox(of(template), **SMALL) as box, pytest.raises(UsageError) as caught:
            box.render([{"n": 0}])
        assert str(caught.value) == (
            "the template my.jinja took longer than 0.5 s for one row and was stopped; "
            "correct it, or use another --template"
        )

    def test_the_time_is_each_rows(self) -> None:
        template = "{% for a in range(n) %}{% for b in range(9999) %}{% endfor %}{% endfor %}ok"
        with Sandbox(of(template), seconds=60) as box:
            box.render([])
            start = time.perf_counter()
            box.render([{"n": 100}])
            took = time.perf_counter() - start
        with Sandbox(of(template), seconds=5 * took) as box:
            assert box.render([{"n": 100}] * 20) == ["ok"] * 20  # four times that together

    def test_a_signal_that_the_parent_holds_back_still_ends_the_child(self) -> None:
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGPROF])
        handler = signal.signal(signal.SIGPROF, signal.SIG_IGN)
        try:
            said = failure(
                "{% for a in range(9999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
            )
        finally:
            signal.signal(signal.SIGPROF, handler)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        assert "took longer than 0.5 s" in said

    @pytest.mark.parametrize(
        "template",
        [
            "{{ 'x' * 10**9 }}",
            "{{ messages[0].role * 10**9 }}",
            "{{ 'x'|center(10**9) }}",
            "{{ messages[0].role|center(10**9) }}",
            "{{ '%1000000000d' % 1 }}",
            "{{ '%1000000000d'|format(1) }}",
            "{{ '{:1000000000}'.format(1) }}",
            "{{ [1]|tojson(indent=' ' * 10**9) }}",
            "{% set s = namespace(x='ab') %}{% for i in range(60) %}"
            "{% set s.x = [s.x, s.x]|join %}{% endfor %}{{ s.x|length }}",
            "{% set s = namespace(x='ab') %}{% for i in range(60) %}"
            "{% set s.x = s.x|replace('ab', 'abab') %}{% endfor %}{{ s.x|length }}",
            "{% set s = namespace(x=[1]) %}{% for i in range(60) %}"
            "{% set s.x = s.x + s.x %}{% endfor %}",
        ],
    )
    @pytest.mark.usefixtures("linux")
    def test_memory(self, template: str) -> None:
        with (
            Sandbox(of(template), seconds=60, memory_bytes=100 * 2**20) as box,
            pytest.raises(UsageError) as caught,
        ):
            box.render([ROW])
        assert str(caught.value) == (
            "the template my.jinja needed more than 104,857,600 bytes of memory for one row and "
            "was stopped; correct it, or use another --template"
        )

    @pytest.mark.parametrize(
        "template",
        [
            "{{ 'x' * 2**20 }}x",
            "{{ 'é' * 2**19 }}x",
            "{{ 'x' * 5 * 10**6 }}",
            "{% for a in range(99) %}{% for b in range(9999) %}abc{% endfor %}{% endfor %}",
        ],
    )
    def test_text(self, template: str) -> None:
        assert failure(template) == (
            "the template my.jinja made more than 1,048,576 bytes of text for one row and was "
            "stopped; correct it, or use another --template"
        )

    def test_text_counts_as_it_is_and_not_as_it_travels(self) -> None:
        [text] = rendered("{{ '\\n' * 2**20 }}")
        assert text == "\n" * 2**20

    def test_text_of_a_batch(self) -> None:
        with Sandbox(of("{{ 'x' * 2**20 }}"), **SMALL) as box:
            assert box.render([{}] * 3) == ["x" * 2**20] * 3
            with pytest.raises(
                UsageError, match="more than 4,194,[0-9]+ bytes of text for a batch of"
            ):
                box.render([{}] * 5)

    def test_a_refusal_may_be_longer_than_a_text(self) -> None:
        with Sandbox(of("{{ raise_exception('no' * 50) }}"), output_bytes=10) as box:
            assert box.render([{}] * 2) == [Refusal("no" * 50)] * 2

    @pytest.mark.usefixtures("linux")
    def test_compiling_is_limited_too(self) -> None:
        deep = "{% for a in b %}" * 15 + "{{ a }}" * 50_000 + "{% endfor %}" * 15
        with Sandbox(of(deep), seconds=0.1) as box, pytest.raises(UsageError) as caught:
            box.render([])
        assert "took longer than 0.1 s to compile" in str(caught.value)
        large = "{{ 'x' * 10**7 }}" * 9
        with (
            Sandbox(of(large), memory_bytes=50 * 2**20) as box,
            pytest.raises(UsageError) as caught,
        ):
            box.render([])
        assert "needed more than 52,428,800 bytes of memory to compile" in str(caught.value)

    def test_the_next_batch_starts_anew(self) -> None:
        with Sandbox(of("{{ 'x' * n }}"), **SMALL) as box:
            for _ in range(2):
                with pytest.raises(UsageError):
                    box.render([{"n": 10**7}])
                assert box.render([{"n": 2}]) == ["xx"]


class TestTemplatesThatDoNotCompile:
    @pytest.mark.parametrize(
        ("template", "found"),
        [
            ("a\n{% if %}", "line 2: Expected an expression, got 'end of statement block'"),
            ("\n\n{{ 1|nothing }}", "line 3: No filter named 'nothing'."),
            ("{{ [1, 2]|random }}", "line 1: No filter named 'random'."),
            ("{% generation %}a", "line 1: Unexpected end of template."),
            ("{% break %}", "SyntaxError: 'break' outside loop;"),
            # No line: Python's would be one of the program that Jinja made.
            ("{{ " + "(" * 3000 + ")" * 3000 + " }}", "RecursionError: maximum recursion depth"),
        ],
    )
    def test_say_where(self, template: str, found: str) -> None:
        said = failure(template)
        assert said.startswith(f"the template my.jinja is not valid Jinja: {found}")
        assert said.endswith("; correct it, or use another --template")
        assert "\n" not in said

    def test_show_without_a_row(self) -> None:
        with Sandbox(of("{% if %}")) as box, pytest.raises(UsageError):
            box.render([])

    def test_a_date_is_a_date(self) -> None:
        with pytest.raises(UsageError, match="date of the template my.jinja must be YYYY-MM-DD"):
            of("", date="today")


@pytest.mark.usefixtures("nothing_left")
class TestTheChild:
    def test_starts_with_the_first_rows_and_serves_all(self) -> None:
        before = children()
        with Sandbox(of("{{ a }}")) as box:
            assert children() == before
            box.render([{"a": 1}])
            [pid] = children() - before
            box.render([{"a": 1}])
            assert children() - before == {pid}
        assert children() == before

    def test_is_gone_after_close(self) -> None:
        before = children()
        box = Sandbox(of("{{ a }}"))
        box.render([{"a": 1}])
        [pid] = children() - before
        kept = box._child  # it would end without a reference, too
        box.close()
        assert not Path(f"/proc/{pid}").exists()
        assert kept is not box._child
        box.close()
        assert box.render([{"a": 1}]) == ["1"]
        box.close()

    def test_ends_by_itself_when_its_input_does(self) -> None:
        before = children()
        box = Sandbox(of("{{ a }}"))
        box.render([{"a": 1}])
        [pid] = children() - before
        assert box._child is not None
        process = box._child._process
        assert process.stdin is not None
        process.stdin.close()
        assert ends(pid)
        assert process.wait() == 0
        box.close()

    def test_ends_with_a_sandbox_that_nobody_closed(self) -> None:
        before = children()
        box = Sandbox(of("{{ a }}"))
        box.render([{"a": 1}])
        assert children() != before
        del box
        assert children() == before

    def test_is_gone_after_a_limit(self) -> None:
        before = children()
        box = Sandbox(of("{{ 'x' * 10**8 }}"), **SMALL)
        with pytest.raises(UsageError):
            box.render([{}])
        assert children() == before

    def test_is_gone_after_an_interrupted_batch(self) -> None:
        class Interrupted(BaseException):
            pass

        def interrupt(number: int, frame: object) -> None:
            raise Interrupted

        before = children()
        loop = "{% for a in range(n) %}{% for b in range(n) %}{% endfor %}{% endfor %}"
        box = Sandbox(of(loop + "{{ n }}"), seconds=60)
        box.render([{"n": 1}])
        kept = box._child  # it would end without a reference, too
        handler = signal.signal(signal.SIGALRM, interrupt)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(Interrupted):
                box.render([{"n": 99_999}])
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, handler)
        assert children() == before
        assert kept is not box._child
        assert box.render([{"n": 2}]) == ["2"]  # and not the reply to the batch before
        box.close()

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
    def test_ended_from_outside_is_worth_another_run(self, number: signal.Signals) -> None:
        before = children()
        with Sandbox(of("{{ a }}")) as box:
            box.render([])
            [pid] = children() - before
            os.kill(pid, number)
            assert ends(pid)
            with pytest.raises(RunnerFailed) as caught:
                box.render([{"a": "x" * 10**6}])
            assert f"the template my.jinja was ended by {number.name}" in str(caught.value)
            assert "run again" in str(caught.value)
            assert box.render([{"a": 1}]) == ["1"]

    def test_broken_by_its_template_is_the_templates_fault(self) -> None:
        before = children()
        with Sandbox(of("{{ a }}")) as box:
            box.render([])
            [pid] = children() - before
            os.kill(pid, signal.SIGSEGV)
            assert ends(pid)
            with pytest.raises(UsageError, match=r"broke the process in which it ran \(SIGSEGV\)"):
                box.render([{"a": 1}])

    def test_leaves_ctrl_c_to_its_parent(self) -> None:
        before = children()
        with Sandbox(of("{{ a }}")) as box:
            box.render([])
            [pid] = children() - before
            os.kill(pid, signal.SIGINT)
            assert box.render([{"a": 1}]) == ["1"]

    def test_has_no_secrets(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalr-secret")
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/python/lib")
        monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
        before = children()
        with Sandbox(of("{{ a }}")) as box:
            box.render([])
            [pid] = children() - before
            kept = Path(f"/proc/{pid}/environ").read_bytes()
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        assert sorted(kept.split(b"\0")) == [b"", b"LD_LIBRARY_PATH=/opt/python/lib", b"TZ=UTC"]
        assert b"secret" not in command
        assert command.split(b"\0")[1:3] == [b"-I", b"-S"]  # nor a folder that could be written

    def test_can_open_and_start_nothing(self) -> None:
        before = children()
        with Sandbox(of("{{ a }}")) as box:
            box.render([])
            [pid] = children() - before
            limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
            handles = {p.name: str(p.readlink()) for p in Path(f"/proc/{pid}/fd").iterdir()}
            folder = str(Path(f"/proc/{pid}/cwd").readlink())
        hard = {line[:25].strip(): line[26:].split()[:2] for line in limits}
        assert hard["Max open files"] == ["0", "0"]
        assert hard["Max processes"] == ["0", "0"]
        assert hard["Max core file size"] == ["0", "0"]
        assert set(handles) == {"0", "1", "2"}
        assert handles["2"] == "/dev/null"
        assert folder == "/"

    def test_loads_nothing_but_python_and_jinja(self) -> None:
        look = "import runpy, sys; runpy.run_path(sys.argv[1]); print(*sys.modules)"
        folders = sandbox._folders("jinja2", "markupsafe")
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", f"import sys; sys.path += {folders}; {look}",
             sandbox_worker.__file__],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        loaded = {name.partition(".")[0] for name in done.stdout.split()}
        foreign = loaded - sys.stdlib_module_names - {"__main__"}
        assert foreign <= {"jinja2", "markupsafe"}
        assert not loaded & {"socket", "ssl", "asyncio", "subprocess"}

    def test_its_numbers_are_the_same_on_both_sides(self) -> None:
        for name in ("OUT_OF_MEMORY", "TOO_MUCH_OF_A_ROW", "TOO_MUCH_OF_A_BATCH", "BATCH_TIMES"):
            assert getattr(sandbox, f"_{name}") == getattr(sandbox_worker, name)

    def test_that_cannot_start(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "executable", "/no/python")
            failure("{{ a }}", RunnerFailed)
        with monkeypatch.context() as patch:
            patch.setattr(importlib.util, "find_spec", lambda name: None)
            assert "need the package jinja2" in failure("{{ a }}", RunnerFailed)

    def test_a_row_that_cannot_be_sent_is_the_callers_mistake(self) -> None:
        with Sandbox(of("{{ a }}")) as box:
            box.render([])
            with pytest.raises(TypeError):
                box.render([{"a": object()}])
            assert box.render([{"a": 1}]) == ["1"]

    def test_a_source_travels_to_workers(self) -> None:
        source = of("{{ a }}", bos_token="<s>")
        assert pickle.loads(pickle.dumps(source)) == source


PARENT = """
import os, sys
from transforms.chat.sandbox import Sandbox, TemplateSource
loop = "{% for a in range(n) %}{% for b in range(n) %}{% endfor %}{% endfor %}"
box = Sandbox(TemplateSource("my.jinja", loop), seconds=1)
box.render([])
print(box._child._process.pid, flush=True)
if sys.argv[1] == "rendering":
    box.render([{"n": 99_999}])
elif sys.argv[1] == "waiting":
    sys.stdin.read()
"""


@pytest.mark.usefixtures("linux")
@pytest.mark.parametrize("doing", ["waiting", "rendering"])
def test_the_child_ends_after_a_parent_that_was_killed(doing: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, doing],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
        parent.kill()
        parent.wait()
        assert ends(pid)


@pytest.mark.usefixtures("linux")
def test_the_child_ends_with_a_parent_that_forgot_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PARENT, "leaving"], cwd=REPOSITORY, capture_output=True, check=True
    )
    assert not Path(f"/proc/{int(done.stdout)}").exists()
