"""Chat templates: rendered as transformers renders them, refused when they attack or run away."""

from __future__ import annotations

import time

import pytest

from upwell import prompts
from upwell.errors import UsageError

CHATML = """{%- for message in messages %}
    {%- if loop.first and message['role'] != 'system' %}
        {{- '<|im_start|>system\\nBe kind.<|im_end|>\\n' }}
    {%- endif %}
    {{- '<|im_start|>' + message['role'] + '\\n' + message['content'] | trim + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}"""

TEMPLATES = {
    "chatml": CHATML,
    "blocks": "{{ bos_token }}\n  {% for m in messages %}\n  {% if m.role == 'user' %}\n"
    "[INST] {{ m.content }} [/INST]\n  {% endif %}\n  {% endfor %}\n",
    "loop controls": "{% for m in messages %}{% if m.role == 'tool' %}{% continue %}{% endif %}"
    "{{ m.content }}{{ eos_token }}{% break %}{% endfor %}",
    "generation": "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}",
    "json": "{{ messages | tojson }}{{ messages[0] | tojson(indent=2) }}",
    "names": "{% set ns = namespace(n=0) %}{% macro say(x) %}<{{ x }}>{% endmacro %}"
    "{% for m in messages %}{% set ns.n = ns.n + m.content | length %}{{ say(m.content ~ ns.n ~ 1.5) }}"
    "{% endfor %}",
    "no tools": "{% if tools is not none and tools %}T{% endif %}{% if documents %}D{% endif %}"
    "{{ messages[-1]['content'].split('?')[0].strip() }}{{ 'a' * 3 }}{{ '%s-%d' % ('x', 3) }}",
}


def render(template: str, question: str = "What's <2 + 2> & é?", **tokens: str) -> str:
    chat = prompts.Chat(template=template, where="a stranger's model", **tokens)
    return prompts.get("chat-plain", chat=chat).render(question)


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.filterwarnings("default")
def test_same_text_as_transformers(name: str) -> None:
    reference = pytest.importorskip("transformers.utils.chat_template_utils")
    question = "What's <2 + 2> & é?"
    tokens = {"bos_token": "<s>", "eos_token": "</s>"}
    expected, _ = reference.render_jinja_template(
        conversations=[[{"role": "user", "content": question}]],
        chat_template=TEMPLATES[name],
        add_generation_prompt=True,
        **tokens,
    )
    assert render(TEMPLATES[name], question, **tokens) == expected[0]


def test_a_missing_token_is_empty_and_the_day_never_changes() -> None:
    assert render("{{ bos_token }}|{{ strftime_now('%d %b %Y') }}") == "|26 Jul 2024"


@pytest.mark.parametrize(
    "attack",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ cycler.__init__.__globals__.os.system('id') }}",
        "{{ self.__init__.__globals__ }}",
        "{{ messages.append({}) }}",
        "{{ messages[0].update(role='x') }}",
        "{{ raise_exception.__globals__ }}{{ raise_exception.__globals__.x }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}",
    ],
)
def test_attacks_are_refused(attack: str) -> None:
    with pytest.raises(UsageError, match="chat template of a stranger's model"):
        render(attack)


@pytest.mark.parametrize(
    "probe",
    ["{{ ''|attr('__class__') }}", "{{ '{0.__class__}'.format(1) }}", "{{ strftime_now.__self__ }}"],
)
def test_what_jinja_hides_stays_hidden(probe: str) -> None:
    assert "class" not in render(probe)


@pytest.mark.parametrize(
    "runaway",
    [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{% for c in 'a' * 99999 %}{% for d in 'a' * 99999 %}{% endfor %}{% endfor %}",
        "{% for i in range(10 ** 12) %}{% endfor %}",
        "{{ 'a' * 10 ** 10 }}",
        "{{ [0] * 10 ** 10 }}",
        "{{ 9 ** 9 ** 9 }}",
        "{{ '%99999999999d' % 3 }}",
        "{{ '%*d' % (99999, 3) }}",
        "{{ '%99999999999d' | format(3) }}",
        "{{ '{:99999999999}'.format(3) }}",
        "{{ 'a'.ljust(10 ** 10) }}",
        "{{ 'a' | center(10 ** 10) }}",
        "{% set n = namespace(x='aaaa') %}{% for i in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
        "{% set n = namespace(x='aaaa') %}{% for i in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}",
        "{% set n = namespace(x='a') %}{% for i in range(99) %}{% set n.x = n.x | replace('a', 'aaaa') %}"
        "{% endfor %}",
        "{% for i in range(9999) %}{{ 'a' * 9999 }}{% endfor %}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    ],
)
def test_runaways_are_stopped(runaway: str) -> None:
    begin = time.thread_time()
    with pytest.raises(UsageError, match="was refused"):
        render(runaway)
    assert time.thread_time() - begin < 5


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ("{% for %}", r"cannot be read \(line 1\)"),
        ("{{ raise_exception('Only user roles!') }}", "Only user roles!"),
        ("{{ messages[7].content }}", "no element 7"),
        ("{{ no_such_function() }}", "undefined"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ messages + 1 }}", "failed"),
    ],
)
def test_broken_templates_are_plain_errors(broken: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        render(broken)
    assert caught.value.hint == "--prompt plain"


def test_the_question_is_never_read_as_a_template() -> None:
    question = "{{ 7 * 7 }} {% for %} {# x #} <script>alert(1)</script>"
    assert render(CHATML, question).count(question) == 1


def test_a_tracer_that_was_there_is_there_again() -> None:
    import sys

    before = sys.gettrace()
    render(CHATML)
    with pytest.raises(UsageError):
        render("{{ 1 / 0 }}")
    assert sys.gettrace() is before
