#!/usr/bin/env python3
"""Makes tests/data/template.json: what jinja2, set up as transformers does, makes of templates that use every construct once.

    pip install jinja2==3.1.6
    python3 tests/make_template_cases.py

Where jinja2 refuses, the case says so, and the engine must refuse, too. What the engine says besides (which bytes come from the
values, and its messages) is in tests/test_template.c.
"""
import importlib.machinery
import importlib.util
import json
import pathlib

HERE = pathlib.Path(__file__).resolve().parent

VALUES = {
    "messages": [{"role": "user", "content": " Hello <b>\"you\"</b> \n"}, {"role": "assistant", "content": "Grüße 😀"}, {"role": "user", "content": "a,b,,c"}],
    "tools": [{"name": "add", "args": {"x": 1, "y": [1.5, None, True, "ü\u2028\x01\x7f"]}, "on": True, "n": 3}, {"name": "Sub", "args": {}, "on": False, "n": 1}, {"name": "mul", "n": 2}],
    "d": {"b": 1, "A": 2, "items": "key", "get": "key", "c": {"x": {"y": [10, 20]}}},
    "s": "The quick  brown\tfox\njumps", "e": "", "u": "ÄÖß ǆabc İ ﬁ", "n": 7, "f": 2.5, "neg": -7, "yes": True, "no": False, "nil": None,
    "l": [3, 1, 2], "words": ["pear", "Apple", "fig", "apple"], "nested": [[1, 2], [3, [4]]], "big": 1e22, "small": 1e-7,
}

TEMPLATES = """
plain text, one newline less at the end

---
{{ n }}|{{ f }}|{{ s }}|{{ yes }}|{{ nil }}|{{ l }}|{{ d }}|{{ missing }}|{{ nested }}
---
{{ 1.0 }} {{ 1e16 }} {{ 1e15 }} {{ 0.1 }} {{ 1/3 }} {{ 100000.0 }} {{ 123456789.123 }} {{ big }} {{ small }} {{ 1e-5 }} {{ 0.0001 }} {{ -0.0 }} {{ 5e-324 }} {{ 1.7976931348623157e308 }}
---
{{ 1_000 }} {{ 0x1F }} {{ 0b11 }} {{ 0o17 }} {{ 1_0.5_0 }} {{ 2e3 }}
---
{{ 'a' 'b' "c" }} {{ 'it\\'s' }} {{ "tab\\there" }} {{ '\\u00e9\\x41\\101\\q' }} {{ 'line\\
goes on' }}
---
{{ ['it\\'s', "say \\"x\\"", 'both \\' and "', 'tab\\t', 'é\\u200b\\x01'] }} {{ (1,) }} {{ (1, 2) }} {{ () }} {{ {} }} {{ [] }}
---
{{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 7.5 // 2 }} {{ -7.5 % 2 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 2 ** 3 ** 2 }} {{ 7 / 2 }} {{ 6 / 2 }} {{ -2 ** 2 }} {{ +3 - -3 }} {{ True + True }}
---
{{ 1 / 0 }}
---
{{ 'a' + 'b' * 3 }} {{ [1] + [2] }} {{ [0] * 3 }} {{ (1,) + (2,) }} {{ 'x' ~ 1 ~ none ~ 2.5 ~ missing ~ [1] }} {{ 1 ~ 2 + '3' }}
---
{{ 'a' + 1 }}
---
{{ [1] + (2,) }}
---
{{ missing + 'a' }}
---
{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 1 == 1.0 }} {{ true == 1 }} {{ 'a' < 'b' }} {{ [1, 2] < [1, 3] }} {{ 1 != 2 }} {{ 'a' in 'cat' }} {{ 4 not in l }} {{ 'b' in d }} {{ 2 in l in [l] }} {{ (1, 2) == (1, 2) }} {{ [1] == (1,) }} {{ none == missing }} {{ missing == other }}
---
{{ 1 < 'a' }}
---
{{ 1 in 'abc' }}
---
{{ not yes }} {{ not not yes }} {{ yes and n }} {{ no or e or 'x' }} {{ e and missing.x }} {{ n and e }} {{ not 1 == 2 }}
---
{{ 'a' if yes else 'b' }} {{ 'a' if no }}| {{ 'a' if no else 'b' if no else 'c' }} {{ (1 if yes) + 1 }}
---
{{ d.b }} {{ d['b'] }} {{ d.items is callable }} {{ d['items'] }} {{ d.get('get') }} {{ d.c.x.y[1] }} {{ d.c['x'].y.0 }} {{ d.none_such }}| {{ d.c.x.y[-1] }} {{ l[7] }}| {{ 'abc'[1] }} {{ u[0] }}
---
{{ missing.x }}
---
{{ d.none_such.x }}
---
{{ nil.x }}|{{ nil['x'] }}|{{ n.x }}|{{ 5['x'] }}
---
{{ l[1:] }} {{ l[:-1] }} {{ l[::-1] }} {{ s[4:9] }} {{ s[::-1] }} {{ s[::4] }} {{ u[1:3] }} {{ l[5:] }} {{ l[-100:100:2] }} {{ l[2:0:-1] }} {{ (1, 2, 3)[1:] }} {{ range(10)[2:8:3] | list }} {{ s[9:4] }}|
---
{{ nil[1:] }}
---
{{ l[::0] }}
---
{% if n > 5 %}more{% elif n > 3 %}some{% else %}few{% endif %} {% if missing %}a{% elif e %}b{% elif nil %}c{% else %}d{% endif %}
---
{% for x in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.depth }}{{ loop.depth0 }}{{ loop.cycle('a', 'b') }};{% endfor %}
---
{% for x in [1, 1, 2, 2, 1] %}{% if loop.changed(x) %}{{ x }}{% endif %}{% endfor %}
---
{% for x in l if x > 1 %}{{ x }}/{{ loop.length }}/{{ loop.last }} {% else %}none{% endfor %}{% for x in l if x > 9 %}{{ x }}{% else %}none{% endfor %}
---
{% set ns = namespace(found=false) %}{% for x in l if not ns.found %}{{ x }}{% if x == 1 %}{% set ns.found = true %}{% endif %}{% endfor %}
---
{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}={{ v }},{% endfor %}{% for k in d %}{{ k }} {% endfor %}{% for c in 'héy' %}{{ c }}.{% endfor %}{% for a, (b, c) in [[1, [2, 3]]] %}{{ a + b + c }}{% endfor %}{% for x in missing %}x{% endfor %}
---
{% for a, b in [[1, 2, 3]] %}{% endfor %}
---
{% for x in 5 %}{% endfor %}
---
{% for x in range(10) %}{% if x == 2 %}{% continue %}{% endif %}{% if x == 5 %}{% break %}{% endif %}{{ x }}{% endfor %}
---
{% for x in [[1, [2, 3]], [4]] recursive %}{% if x is sequence %}<{{ loop.depth }}{{ loop(x) }}>{% else %}{{ x }}{% endif %}{% endfor %}
---
{% break %}
---
{% set x = 1 %}{% for i in l %}{{ x }}{% set x = x + 1 %}{{ x }} {% endfor %}{{ x }}{% if yes %}{% set x = 9 %}{% endif %}{{ x }}
---
{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set ns = namespace(a=1, b={'c': 2}) %}{% set ns.a = ns.a + 1 %}{{ ns.a }}{{ ns['b'].c }}{{ ns.none }}|{% set ns.x, y = 5, 6 %}{{ ns.x }}{{ y }}
---
{% set d.b = 2 %}
---
{% set x %}block {{ n }}{% set y = 5 %}{% endset %}{{ x }}{{ y }}|{% set z | upper | replace('K', 'k') %}block{% endset %}{{ z }}
---
{% macro m(a, b=2, c=a) %}[{{ a }}{{ b }}{{ c }}]{% endmacro %}{{ m(1) }}{{ m(1, c=3) }}{{ m(b=5, a=4) }}{{ m() }}
---
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}
---
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(b=2) }}
---
{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, x=3) }}{{ m(*l, **{'k': 4}) }}
---
{% macro box(t) %}<{{ t }}>{{ caller('in') }}</{{ t }}>{% endmacro %}{% call(x) box('b') %}{{ x }}{{ n }}{% endcall %}
---
{% macro m() %}x{% endmacro %}{% call m() %}y{% endcall %}
---
{% macro fact(n) %}{{ n if n < 2 else n * (fact(n - 1) | int) }}{% endmacro %}{{ fact(10) }}
---
{% macro outer() %}{% set v = 2 %}{{ v }}{{ later }}{% endmacro %}{% set v = 1 %}{% set later = 'L' %}{{ outer() }}{{ v }}
---
{% with a = 1, b = n %}{{ a }}{{ b }}{% endwith %}{{ a }}|{% filter upper | trim %} text {{ s }} {% endfilter %}|{% generation %}g{% set q = 1 %}{% endgeneration %}{{ q }}
---
{% raw %}{{ not }} {% this %} {# either #}{% endraw %}|{# a
comment #}|{#- trims -#} x {%- raw -%} y {%- endraw -%} z
---
  {% if yes %}
    indented
  {% endif %}
a {% if yes %} b {% endif %} c
   {%+ if yes %}kept{% endif +%}
x
	{%- if yes %}  t{% endif -%}   
  y
{{ n }}
 {# comment #}
  {{- n -}}  
end
---
{{ s | upper }}|{{ s | lower }}|{{ s | title }}|{{ s.title() }}|{{ s | capitalize }}|{{ u | upper }}|{{ u | lower }}|{{ u.title() }}|{{ "o'neil-smith (x)" | title }}|{{ "o'neil" .title() }}
---
{{ ' x ' | trim }}|{{ 'xxaxx' | trim('x') }}|{{ ' a '.strip() }}|{{ 'xya'.lstrip('yx') }}|{{ 'ayx\\n'.rstrip() }}|{{ '\\u00a0\\u3000b\\u2003'.strip() }}|{{ 'éaé'.strip('é') }}|{{ n | trim }}
---
{{ s.split() }} {{ s.split(' ') }} {{ 'a,b,,c'.split(',') }} {{ 'a,b,c'.split(',', 1) }} {{ 'a,b,c'.rsplit(',', 1) }} {{ ' a  b '.split(none, 1) }} {{ ' a  b c '.rsplit(none, 1) }} {{ ''.split() }} {{ ''.split(',') }} {{ 'a<>b<>c'.split('<>')[-1] }} {{ 'abc'.split('x') }} {{ 'a\\nb\\r\\nc\\n'.splitlines() }} {{ 'a.b.c'.partition('.') }} {{ 'a.b.c'.rpartition('.') }} {{ 'a'.partition('.') }} {{ 'a'.rpartition('.') }}
---
{{ 'a'.split('') }}
---
{{ s.startswith('The') }} {{ s.endswith(('x', 'jumps')) }} {{ s.find('quick') }} {{ s.find('zzz') }} {{ u.find('b') }} {{ s.rfind('o') }} {{ s.count('o') }} {{ s.replace('o', '0') }} {{ s.replace('o', '0', 1) }} {{ 'abc'.replace('', '-') }} {{ 'ab'.removeprefix('a') }} {{ 'ab'.removesuffix('b') }} {{ ', '.join(['a', 'b']) }} {{ 'aXb'.isupper() }} {{ 'ab1'.isalnum() }} {{ '12'.isdigit() }} {{ ' '.isspace() }} {{ 'é'.isalpha() }} {{ 'ab'.islower() }} {{ '5'.zfill(3) }} {{ '-5'.zfill(4) }} {{ 'a'.ljust(3) }}|{{ 'a'.rjust(3, '*') }}|{{ 'ab'.center(5, '*') }}|{{ 'abc'.center(6) }}|
---
{{ '{} {}'.format(1, 'x') }} {{ '{0}{1}{0}'.format('a', 'b') }} {{ '{x}-{y.b}-{z[1]}'.format(x=1, y=d, z=l) }} {{ '{:>5}|{:<5}|{:^5}|{:05d}|{:.2f}|{:x}|{:*^7}|{!r}'.format('a', 'b', 'c', 42, 3.14159, 255, 'm', 'q') }} {{ '{{}}'.format() }}
---
{{ '{}'.format() }}
---
{{ '%s is %d and %.2f, %5s|%-5s|%05d %% %r %x' % ('a', 3, 2.5, 'r', 'l', 42, 'q', 255) }} {{ '%s' % 'x' }} {{ '%(a)s' % {'a': 1} }} {{ '%s-%s' | format('a', 1) }}
---
{{ '%s %s' % 'x' }}
---
{{ tools | tojson }}
{{ tools[0].args | tojson(indent=2) }}
{{ tools[0] | tojson(indent=4, sort_keys=true) }}
{{ [1, {'a': {}, 'b': []}] | tojson(separators=(',', ':')) }} {{ u | tojson(ensure_ascii=true) }} {{ '😀\\x7f' | tojson(ensure_ascii=true) }} {{ 'é<>&\\'' | tojson }} {{ {1: 2, none: 3, true: 4, 1.5: 5} | tojson }} {{ 1e22 | tojson }} {{ (1, 2) | tojson }} {{ nil | tojson }} {{ [[], {}] | tojson(indent=1) }}
---
{{ missing | tojson }}
---
{{ [1, 'a', none] | join(', ') }} {{ [1, 2] | join }} {{ tools | join('/', attribute='name') }} {{ 'abc' | join('-') }} {{ missing | join }}|{{ d | join(',') }}
---
{{ s | length }} {{ u | length }} {{ l | count }} {{ d | length }} {{ missing | length }} {{ e | length }}
---
{{ n | length }}
---
{{ missing | default('x') }} {{ e | default('x') }}|{{ e | default('x', true) }} {{ nil | d('y', boolean=true) }} {{ missing | default }}| {{ nil | default('x') }}
---
{{ l | first }} {{ l | last }} {{ 'abc' | first }} {{ [] | first }}| {{ d | first }} {{ l | reverse | list }} {{ 'abc' | reverse }} {{ d | reverse | list }} {{ d | list }} {{ 'ab' | list }} {{ range(3) | list }} {{ range(5, 0, -2) | list }} {{ range(2, 4) | list }}
---
{{ l | sort }} {{ words | sort }} {{ words | sort(case_sensitive=true) }} {{ l | sort(reverse=true) }} {{ tools | sort(attribute='n') | map(attribute='name') | list }} {{ words | unique | list }} {{ words | unique(case_sensitive=true) | list }} {{ l | min }} {{ l | max }} {{ words | max }} {{ l | sum }} {{ tools | sum(attribute='n') }} {{ [0.5, 1] | sum }} {{ [] | max }}| {{ l | sum(start=10) }}
---
{{ [1, 'a'] | sort }}
---
{{ d | dictsort }} {{ {'b': 1, 'A': 3} | dictsort(by='value', reverse=true) }} {{ d | items | list }} {{ missing | items | list }} {% for k, v in {'z': 1, 'y': 2} | dictsort %}{{ k }}{{ v }}{% endfor %}
---
{{ n | items | list }}
---
{{ tools | map(attribute='name') | list }} {{ tools | map(attribute='args.x', default=0) | list }} {{ words | map('upper') | join(',') }} {{ words | map('replace', 'p', 'P') | list }} {{ nested | map('first') | list }}
---
{{ tools | selectattr('on') | map(attribute='name') | list }} {{ tools | rejectattr('on') | map(attribute='name') | list }} {{ tools | selectattr('n', 'gt', 1) | map(attribute='name') | list }} {{ tools | selectattr('name', 'equalto', 'add') | list | length }} {{ tools | selectattr('args', 'defined') | list | length }} {{ l | select('odd') | list }} {{ l | reject('==', 2) | list }} {{ [0, '', 'x', none] | select | list }} {{ l | select('in', [1, 2]) | list }}
---
{{ (l | select('odd')) | length }}
---
{{ l | select('no_such') | list }}
---
{{ '42' | int }} {{ ' 7 ' | int }} {{ '4.9' | int }} {{ 'x' | int }} {{ 'x' | int(5) }} {{ 'ff' | int(base=16) }} {{ '0x1f' | int(0, 16) }} {{ 2.9 | int }} {{ -2.9 | int }} {{ nil | int }} {{ true | int }} {{ '1_000' | int }} {{ '2.5' | float }} {{ 'x' | float }} {{ 3 | float }} {{ '1e3' | float }} {{ 'x' | float(1.5) }} {{ -3 | abs }} {{ -2.5 | abs }}
---
{{ 2.5 | round }} {{ 3.5 | round }} {{ 2.675 | round(2) }} {{ 1234.5678 | round(-2) }} {{ 5 | round }} {{ 2.1 | round(method='ceil') }} {{ 2.19 | round(1, 'floor') }} {{ 2.5 | round | int }} {{ 7 | string + 'x' }} {{ nil | string }}
---
{{ '<a href="x">\\'&' | e }} {{ ('<b>' | safe) + '<i>' }} {{ '<x>' | e | e }} {{ '<b>' | safe | forceescape }} {{ ('<' | e) ~ '<' }} {{ '<b>' | safe is escaped }}
---
{{ 'a\\nb\\n\\nc' | indent }}|{{ 'a\\nb' | indent(2, first=true) }}|{{ 'a\\n\\nb' | indent('> ', blank=true) }}|{{ 'a\\n' | indent(2) }}|
---
{{ l | batch(2) | list }} {{ l | batch(2, 'x') | list }} {{ range(7) | slice(3) | list }} {% for g, items in tools | groupby('on', default=false) %}{{ g }}{{ items | length }};{% endfor %}{% for g in words | groupby(0) %}{{ g.grouper }}:{{ g.list | join('+') }} {% endfor %}{{ 'a b c' | wordcount }} {{ 'hello world out there' | truncate(13) }} {{ 'hello world' | truncate(8, true) }} {{ 'abc' | center(7) }}|{{ d | attr('b') }}|
---
{% for x in [missing, nil, yes, no, 1, 1.5, 'a', 'A', [], (), {}, range(2), namespace(), e, d.items(), l | map('string')] %}{{ x is defined }}{{ x is undefined }}{{ x is none }}{{ x is boolean }}{{ x is true }}{{ x is false }}{{ x is integer }}{{ x is float }}{{ x is number }}{{ x is string }}{{ x is mapping }}{{ x is sequence }}{{ x is iterable }}{{ x is callable }}
{% endfor %}
---
{{ 3 is odd }} {{ 4 is even }} {{ 9 is divisibleby 3 }} {{ 9 is divisibleby(by) if by else 0 }} {{ 1 is eq 1 }} {{ 1 is equalto(2) }} {{ 1 is ne 2 }} {{ 1 is lt 2 }} {{ 2 is ge 2 }} {{ 3 is gt(2) }} {{ 1 is le 0 }} {{ 'a' is in 'abc' }} {{ 'a' is in ['b'] }} {{ 'abc' is lower }} {{ 'ABC' is upper }} {{ 1 is not none }} {{ 5 is sameas 5 }} {{ true is sameas true }} {{ 1 is sameas true }} {{ 'upper' is filter }} {{ 'nope' is filter }} {{ 'odd' is test }} {{ missing is not defined }} {{ d.b is defined and d.q is not defined }} {{ 1 is number and 'x' is string }}
---
{{ 'x' is no_such }}
---
{% for m in messages if m %}{{ 'x' | no_such }}{% endfor %}
---
{% if no %}{{ 'x' | no_such }}{% endif %}fine
---
{{ dict(a=1, b=2) }} {{ dict({'x': 1}, y=2) }} {{ dict([['k', 'v']]) }} {{ {'a': 1, 'a': 2} }} {{ {1: 'x', 'k': [none]} }} {{ {'a': 1}.get('b') }} {{ {'a': 1}.get('b', 2) }} {{ {'a': 1}.keys() | list }} {{ {'a': 1}.values() | list }} {{ [1, 2, 1].count(1) }} {{ ['a', 'b'].index('b') }}
---
{{ l.append(4) }}
---
{{ d.update({'x': 1}) }}
---
{{ l.append is defined }}|{{ l.append }}|
---
{{ raise_exception('no such role: ' ~ n) }}
---
{{ missing() }}
---
{{ n() }}
---
{{ strftime_now('%Y-%m-%d') }} {{ strftime_now('%d %b %Y') }}
---
{% if no %}{{ 1 / 0 }}{% endif %}{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('order') }}{% endif %}{{ '<|' + m.role + '|>' + m.content | trim + '\\n' }}{% endfor %}
---
{%- for message in messages %}
    {%- if message.role == "user" %}
        {{- "[INST] " ~ message["content"] ~ " [/INST]" }}
    {%- else %}
        {{- " " ~ (message.content if message.content is string else "") ~ "</s>" }}
    {%- endif %}
{%- endfor %}
---
{% if %}{% endif %}
---
{% if yes %}
---
{{ (1 }}
---
{{ 'open }}
---
{% unknown %}
---
{{ a b }}
---
{{ 1 +}}
---
{% for 1 in l %}{% endfor %}
---
{% set 1 = 2 %}
---
{{ x is defined is true }}
---
{# open
---
{% raw %} open
---
{{ {'a' 1} }}
---
{{ f(a=1, 2) }}
---
{% macro m(a=1, b) %}{% endmacro %}
---
{% endfor %}
"""


def main():
    loader = importlib.machinery.SourceFileLoader("templates", str(HERE / "templates"))
    spec = importlib.util.spec_from_loader("templates", loader)
    templates = importlib.util.module_from_spec(spec)
    loader.exec_module(templates)
    env = templates.environment()
    cases = []
    for text in TEMPLATES[1:-1].split("\n---\n"):
        for source in [text] if cases else [text, text.replace("\n", "\r\n") + "\n"]:
            result = templates.expected(env, source, [VALUES])[0]
            cases.append({"template": source} | ({"text": result["text"]} if "text" in result else {"refused": result["error"][:100]}))
    with open(HERE / "data" / "template.json", "w", encoding="utf-8") as f:
        json.dump({"now": templates.NOW, "values": VALUES, "cases": cases}, f, indent=1)
        f.write("\n")
    print(len(cases), "cases,", sum("refused" in c for c in cases), "refused")


main()
