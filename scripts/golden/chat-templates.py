#!/usr/bin/env python3
"""Writes what transformers and its jinja2 make of expressions, snippets and whole chat templates.

Usage: chat-templates.py OUT    (needs the packages transformers and jinja2)

OUT is a folder for three files:
expressions.json.gz: the variables, and pairs of an expression and its text. The expressions are every operator with every
    pair of values, every filter, test, subscript and method with every value and some arguments.
snippets.json: pairs of a template and its text, for statements, scopes, white space and all that is not an expression.
chats.json: whole templates, chats, and for each pair the prompt and the spans (in characters) of {% generation %}.
case.json.gz: every character that upper, lower, title or capitalize changes, with its results, and some words.
A null stands for an error, and for a text that holds a memory address.
"""
import copy
import gzip
import json
import pathlib
import re
import sys
import warnings

from transformers.utils.chat_template_utils import _compile_jinja_template, render_jinja_template

warnings.simplefilter("ignore")

VARIABLES = {
    "n": None, "t": True, "f": False, "z": 0, "i": 7, "j": -3, "g": 1000000, "x": 2.5, "y": -0.5, "h": 1e16, "k": 1e-05,
    "s": "Hello wörld", "e": "", "p": "  pad\u3000 \n", "c": "a", "b": "12", "o": "it's \"q\"\\ \n\t\x07é漢😀\u200b", "v": "a,b,,c d",
    "d": {"a": 1, "b": [1, {"c": None}], "items": "own", "Z": True}, "D": {}, "l": [3, 1, 2], "L": [], "w": ["b", "A", "c", "B"],
    "m": [{"role": "user", "content": "hi <b>", "n": 2}, {"role": "assistant", "content": None}, {"role": "tool", "n": 1.5}],
    "N": [1, 1.0, True, 0, "1", None, 2],
}
VALUES = list(VARIABLES) + ["u", "(1, 'two')", "()", "(3, 1, 2)", "range(3)", "{'k': (1,), 2: 'x', none: 1.5, true: []}", "d.items()", "d.keys()", "d.values()", "l|map('string')", "namespace(a=1)", "'<&>'|safe", "l|reverse", "d.get", "s.upper", "range", "namespace", "dict", "raise_exception"]
OPERANDS = ["n", "t", "z", "i", "j", "x", "y", "h", "s", "e", "c", "d", "D", "l", "L", "m", "u", "(1, 'two')", "()", "range(3)", "d.items()", "l|map('string')", "namespace(a=1)", "'<&>'|safe"]
BINARY = "+ - * / // % ** ~ == != < <= > >= in and or".split() + ["not in"]
SUBSCRIPTS = ["[0]", "[1]", "[-1]", "[7]", "[-7]", "['a']", "['items']", "['zz']", "[none]", "[true]", "[1.5]", "[u]", "[:]", "[1:]", "[:-1]", "[::-1]", "[::2]", "[-2:]", "[5:1]", "[3:0:-1]", "[::0]", "[u:]", "['a':]", "[none:2]", "[0,1]", ".a", ".items", ".keys", ".0", ".upper", ".append", ".pop", ".copy", ".count", ".index", ".__class__", "._x", ".real", ".start", ".b[1].c", ".a.b"]
FILTERS = """abs|attr('a')|attr('upper')|attr('items')|capitalize|center|center(9)|count|d('x')|default|default('x')|default('x', true)|default(boolean=true)
dictsort|dictsort(true)|dictsort(false, 'value')|dictsort(reverse=true)|dictsort(by='x')|e|escape|first|float|float(1.5)|float('n')|format|format(1)|format('a', 2)
indent|indent(2)|indent('> ')|indent(2, true)|indent(width=1, blank=true)|int|int(5)|int(0, 16)|int(default=none)|items|items|items|join|join(', ')|join('-', 'role')|join(1)|join(attribute='n')|last|length|list|lower
map|map('upper')|map(attribute='role')|map(attribute='n', default=0)|map('int')|map('default', 'x')|map('nofilter')|map(attribute='a.b')|map(attribute=0)|max|max('n')|max(attribute='n')|min|min(case_sensitive=true)|reject|reject('odd')|reject('none')
rejectattr('n')|rejectattr('content', 'none')|replace('a', 'X')|replace('l', '')|replace('', '.')|replace('l', 'L', 1)|replace(1, 2)|replace('a')|reverse|round|round(1)|round(0, 'ceil')|round(1, 'floor')|round(method='x')|safe
select|select('string')|select('in', l)|select('notest')|select('divisibleby', 2)|selectattr('role')|selectattr('role', 'equalto', 'user')|selectattr('role', '==', 'tool')|selectattr('n', 'defined')|selectattr('content', 'string')|selectattr|sort|sort(true)|sort(attribute='n')|sort(attribute='role,n')|sort(case_sensitive=true)|sort(reverse=true)|string
sum|sum('n')|sum(attribute='n')|sum(start=1.5)|title|tojson|tojson(indent=2)|tojson(indent=0)|tojson(true)|tojson(ensure_ascii=true)|tojson(separators=(',', ':'))|tojson(sort_keys=true)|tojson(indent='--', separators=[' , ', ' : '])|tojson(false, 1)|tojson(nope=1)|trim|trim('H d')|trim(none)|trim(chars='a')|unique|unique(true)|unique(attribute='role')|upper|wordcount|batch(2)|slice(2)|groupby('role')|truncate(5)|urlencode|pprint|wordwrap(4)|xmlattr|striptags|forceescape|filesizeformat""".replace("\n", "|")
FILTERS = re.findall(r"\w+(?:\((?:[^()]|\([^()]*\))*\))?", FILTERS)
TESTS = """boolean|callable|defined|divisibleby(2)|divisibleby 0|eq 7|eq(none)|equalto 'a'|escaped|even|false|filter|float|ge 2|gt 2|greaterthan(2)|in l|in 'abc'|in d|integer|iterable|le 2|lessthan 2|lower|lt 'b'|mapping|ne 7|none|number|odd|sameas true|sameas(none)|sequence|string|test|true|undefined|upper""".split("|")
STRINGS = ["s", "e", "p", "c", "b", "o", "v", "'Aa bB'", "'x.y.z'", "'ǆ ß ŉ ΑΣ ΣΑ İ ﬁ'", "'{} {0}'", "'a\\r\\nb\\x0bc\\n'", "'-12'", "'\\t a\\tb'", "('a'|safe)"]
METHODS = """capitalize() casefold() center(7) center(7,'*') count('a') count('') count('a',1) count('a',0,1) encode() endswith('d') endswith(('b','c')) endswith('') expandtabs() expandtabs(2) find('b') find('z') find('b',2) find('l',-3,-1) format('p','q') format(1,2.5) index('b') index('z') isalnum() isalpha() isascii() isdecimal() isdigit() isidentifier() islower() isnumeric() isprintable() isspace() istitle() isupper() join(w) join(l) join('abc') join(d) ljust(7) ljust(7,'.') lower() lstrip() lstrip('aH') partition(',') partition('') partition('z') removeprefix('He') removesuffix('ld') replace('l','L') replace('l','L',1) replace('','-') replace('','-',2) replace('a') replace(1,2) rfind('b') rfind('') rindex('z') rjust(7) rpartition(',') rpartition('z') rsplit() rsplit(',') rsplit(',',1) rsplit(none,1) rsplit(maxsplit=1) rstrip() rstrip('d') split() split(',') split(',',1) split(none,1) split('') split(sep=',',maxsplit=1) split(1) splitlines() splitlines(true) splitlines(keepends=true) startswith('He') startswith(('a','1')) startswith('l',2) startswith(1) strip() strip('a') strip(none) strip('ad H') swapcase() title() translate(d) upper() zfill(6) zfill(0) nope() strip upper(1) format_map(d)""".split()
DICT_METHODS = """get('a') get('zz') get('zz','dflt') get('zz',default=1) get() get(l) items() keys() values() copy() pop('a') update(d) setdefault('q',1) clear() fromkeys('ab') items()|list keys()|list values()|list items()|length items()|first items()|tojson keys()|sort values()|string nope() items(1)""".split()
LIST_METHODS = """index(1) index(9) index(1,1) count(1) count() append(1) copy() pop() extend(l) insert(0,1) reverse() sort() remove(1) nope()""".split()
OTHER = r"""1 if t
1 if f
'%s' % (1 if f)
(1 if f) is defined
i if i > 3 else j
'a' if u else 'b' if t else 'c'
1 < 2 < 3
1 < 3 < 2
3 > 2 > 1 == 1
1 in l in [l]
not i in l
not u is defined
not not i
-i ** 2
2 ** 3 ** 2
2 ** -1
-i
abs
-(i)
+i
- 5 % 3
7 // -2
-7 // 2
-7 % 3
7.5 // 2
-7.5 % 2
1 / 3
10 / 2
1e3
1_000
0x1F
0b11
0o17
1.5e-3
1e22
1e23
123456789012345.6
0.1 + 0.2
100000000000000000.0
1e15
1 ~ 2.0 ~ none ~ true ~ u
'a' 'b' "c"
'a' ~ 'b' + 'c'
'a' + 'b' ~ 'c'
1 + 2 ~ 3
'x' * 3
3 * 'x'
[1] * 2
(1,) + (2,)
[1] + [2]
[] == ()
{'a': 1} == {'a': 1.0}
{'a': 1, 'b': 2} == {'b': 2, 'a': 1}
1 == 1.0 == true
'1' == 1
none == u
u == zz
[1, 2] < [1, 3]
(1, 'a') < (1, 'b')
'a' < 'B'
'é' > 'z'
l + [4] | join(',')
l | join(',') ~ 'x'
'a b'.split()[0]
'a b'.split() | last
m[0].role
m[0]['role'].upper()
m[0].content.replace('<', '[').strip()
m[-1].n + 1
m | selectattr('role', 'equalto', 'user') | map(attribute='content') | list
m | map(attribute='role') | join(', ')
(m | rejectattr('content', 'none') | list | length)
m[1:] | length
m[::-1][0].role
d.b[1].c is none
d['b'][0]
d.zz
d.zz is defined
d.zz.y
u.x
u['x']
u()
i()
s.nope
s.nope()
d.items
d.items()
d['items']
m[0].items() | list
m[0].get('name', 'no') ~ m[0].get('role')
m[0].keys() | list
{'a': 1}.items() | list
dict(a=1, b='x')
dict(d, c=3) | length
dict([('a', 1)])
dict([1])
dict(1)
namespace(a=1).a
namespace({'b': 2}).b
namespace(a=1).b
namespace(_a=1)
range(5) | list
range(1, 9, 3) | list
range(5, 0, -2) | list
range(0)
range(200000)
range(1, 2, 0)
range('a')
range(3)[1]
range(9)[2:5]
range(5) | sum
5 in range(9)
'%s and %d' % ('a', 3)
'%s' % 'a'
'%s' % l
'%s' % (l,)
'%d%%' % 5
'%s' % (1, 2)
'%x' % 255
'%5d' % 3
'%.2f' % 1.005
'%05.1f|%-5s|' % (2.25, 'a')
'%r' % 'a'
'%(a)s' % d
'%c' % 'a'
'%s %s' | format('a', 1)
'%(k)s' | format(k=1)
'{} {}'.format(1, 'a')
'{0}{1}{0}'.format('a', 'b')
'{a}'.format(a=1)
'{:>5}'.format(1)
'{:.2f}'.format(1.5)
'{{}}'.format()
'{}'.format()
'{} {0}'.format(1)
'{0[a]}'.format(d)
'{0.a}'.format(d)
'{!r}'.format('a')
'{'.format()
true and 'yes' or 'no'
u or 'dflt'
'' or u or 0
1 and 2
t is true
1 is true
t == 1
none is none
u is none
u is defined
'a' is string and 'b' is not number
1 is odd or u.x
2 is divisibleby 2
not 1 is even
l is iterable and l is not string
d is mapping
d.a is defined and d.a == 1
'a' is in 'abc'
'a' is eq 'a'
1 is eq 1 and 2 is eq 2
l is sequence
'tojson' is filter
'nofilter' is filter
'odd' is test
i | string + 'x'
-1 | abs
- 1 | abs
-(1 | abs)
1 - 1 | abs
x | int + 1
'a' | upper ~ 'b' | upper
s | length > 3
not s | length
s | nofilter
s is notest
(s | nofilter) if f else 'ok'
'ok' if t else s is notest
loop
loop.index
self
caller
varargs
true
True
TRUE
none
None
null
nil
[1, 2,]
(1,)
(1, 2,)
{'a': 1,}
{}
[]
()
(,)
[,]
{1: 2, 1: 3}
{l: 1}
{none: 1}[none]
{1: 'a'}[true]
{1.0: 'a'}[1]
'\n\t\x41\u00e9\101\q\\' | tojson
"it's"
'say "hi"'
'it\'s'
["it's", 'say "hi"', 'b\'"']
o
[o]
l.0
d.b.1.c
w.1.lower()
l[i - 7]
l[true]
l[-3]
s[0] ~ s[-1]
s[100]
s[1:4]
s[::-1]
s[7:2:-2]
o[::-1]
l[::-1] | first
l[-2:] | join
l[10:]
l[:100] | length
s[none:none:none]
f(a=1, a=2)
dict(**{'a': 1})
dict(*[[('a', 1)]])
range(*[2, 4]) | list
raise_exception('no')
strftime_now('%Y-%m-%d') | length
strftime_now('%d %b %Y') | length
lipsum() | length > 0
joiner() is defined
cycler(1, 2).next()
1if t else 2
1 if(t)else 2
[x for x in l]
lambda: 1
l == [3, 1, 2]
[3.0, 1, 2] == l
1.0 | string
1e16 | string
-0.0
1e100
5e-324
12345678901234567890
1.7976931348623157e308 * 10
(1e308 * 10) | tojson
0.1 | tojson
9223372036854775807
9223372036854775807 + 1
-9223372036854775808
2 ** 62
2 ** 64
10 ** 400
'a' in s
'' in s
1 in s
u in s
none in l
'role' in m[0]
'zz' not in m[0]
'a' in u
'a' in n
i in i
l | length - 1
(l | length) - 1
m | length == 3
loop is defined
messages
not
1 +
)
a b
1 2
l[
"unclosed
'a'.
d.
s
s
&1
a ? b : c
a && b
!a
a = 1
{'a' 1}
1 if
if
x is
x is not
x is odd is even
in l
*l
**d
~1
1 ~
@
$
\
`
a;b
3 .real
3.real
3.5.real
1..real
l.-1
x.1.2
''.join(['a', 'b'])
', '.join(w | map('upper'))
w | map('upper') | join
s.upper().lower().title()
' a '.strip() ~ '|'
w | sort | join
w | sort(case_sensitive=true) | join
w | unique | join
l | sort(reverse=true) | first
l | max - l | min
l | max ~ l | min
N | unique | list
N | select | list
N | select('number') | list
N | map('string') | join(',')
d | dictsort | first
d | items | list
d | length
d | list
d | first
d | last
d | join
d | tojson
m | tojson | length
m | tojson(indent=4)
o | tojson
o | tojson(ensure_ascii=true)
d.items() | list | tojson
[(1, 2)] | tojson
u | tojson
[u] | tojson
[u]
{'a': u}
(u,)
range(2) | tojson
{1: 1, none: 2, true: 3, 1.5: 4} | tojson
{(1,): 2} | tojson
'</script>' | tojson
'a' | tojson | safe
('a' | safe) + '<'
'<' + ('a' | safe)
('<' | e) ~ '<'
('<' | safe) | upper
('<' | safe) == '<'
('ab' | safe)[0]
[('<' | safe)]
'<' | escape | escape
x | round | int
2.5 | round
3.5 | round
2.675 | round(2)
1234.5 | round(-2)
15 | round(-1)
7 | round
x | round(0, 'floor') | string
'3' | int + 1
' 42 ' | int
'4_2' | int
'42.9' | int
'abc' | int(-1)
'ff' | int(0, 16)
'0x1f' | int(0, 16)
'1e3' | int
'inf' | int
'nan' | float
'1e400' | float
'٣' | int
none | int(3)
[] | int(3)
true | int
'1.5' | float
'x' | float
'  2.5e1_0 ' | float
1 | float
s | first
s | last
'' | first
'' | first is defined
[] | last
[] | max
[] | sum
['a'] | sum
[1.5, 2] | sum
d | default('x')
u | default
u | default(none)
e | default('x', true)
n | default('x')
u.x | default('x')
d.zz | default('x')
w | reverse | list
s | reverse
'a-b (c d) [e' | title
'o\'neil mc-donald' | title
"o'neil x1y".title()
'hELLO wORLD' | capitalize
'ab\ncd\n\nef' | indent
'ab\ncd' | indent(2, first=true)
'ab\n' | indent
'' | indent
'a\n\nb' | indent(blank=true)
'xaxbx' | replace('x', '')
'aaa' | replace('a', 'b', 2)
'xx--xx' | trim('x')
'xx' | trim | length
'a b  c'.split(' ')
' a  b '.split()
'a,b'.split(',') | map('trim') | list
'</think>' in 'a</think>b'
'a</think>b'.split('</think>')[-1].lstrip('\n')
'a</think>b'.split('</think>')[0].rstrip('\n').split('<think>')[-1]
s |
| s
s || s
a | | b
-i | abs
"unclosed
'unclosed
l + 1
g * 2
'ab' * -1
g ** 2
i is sameas i
'a' * 0
[0] * 0
{} | length
d.items() == d.items()
d.keys() | first
m | length
range(3) == range(3)
l is sameas l
none is sameas none
true is sameas true
1 is sameas true
x.is_integer()
i.bit_length()
(2.0).is_integer()
i.real
'a'.upper
d.get is callable
d.get is defined
'yes' if d.get else 'no'
'yes' if {}.items else 'no'
{}['items'] is mapping
m[0]['get'] is string
m[0].items is string
m[0].items is iterable
m[0].values is defined
m[0].pop is defined
m[0]['update'] is defined
d.items is string
d['items'] is string
m | join(', ', 'role')
m | map('attr', 'role') | list
m | map('list') | list
w | map('replace', 'A', 'x') | list
m | selectattr('content') | list | length
m | selectattr('content', 'defined') | list | length
m | rejectattr('role', 'in', ['user', 'tool']) | map(attribute='role') | first
m | groupby('role') | list
w | select('in', 'abc') | list
l | select('gt', 1) | list
l | reject('equalto', 2) | list
l | sort | list
l | map('float') | sum
'%s' | format
'%s: %s' % ('a', {'b': 1})
'%%' % ()
'%d' % 2.7
'%d' % 'a'
'%i' % true
'%s' % none
'%s' % u
'a' % 1
'a' % ()
'a' % {}
'%s'
5 % 0
5 / 0
5 // 0
5.0 % 0
0 ** -1
0.0 ** -1
(-8) ** 0.5
2 ** 0.5
i in range(10)
2.0 in range(3)
'a' in range(3)
(1, 2) in [(1, 2)]
[1] in [[1.0]]
{'a': 1} in [{'a': 1}]
'a' in {'a': 1}.keys()
('a', 1) in {'a': 1}.items()
1 in {'a': 1}.values()
[] in {}
1 in (1, 2)
1 in 1
true + true
true * 3
-true
true ~ 1
1 < true
'a' < 1
none < 1
[1] < (1,)
[1, 'a'] < [1, 2]
[1, [2]] < [1, [3]]
{} < {}
1 < 2.5
'a' < 'ab'
[] < [1]
u < 1
not none
not 0.0
not range(0)
not {}.items()
(1 if u else 2) + 3
[1, 2][u]
d[u]
d[none]
d[l]
d[1]
l['1']
s['1']
s[1.0]
l[1:2][0]
l[:i]
l['x':]
n[0]
n[0:1]
i[0]
i[1:]
u[0]
u[1:]
d[1:]
s[-3:-1]
s[-100:100]
s[::-2]
(1, 2, 3)[::-1]
range(10)[::3]
range(10)[-3:] | list
range(10)[::-1] | list
range(3)[5]
range(3) | reverse | list
range(3) | last
range(5, 0, -2) | first
range(0) | last
{1: 2} | last
l | map('string') | last
('<' | safe) ~ '<'
('<' | safe) * 2
[('<' | safe)] | join('&')
('<' | safe) | tojson
('<%s>' | safe) % '<'
'<' in ('<' | safe)
('<' | safe) | replace('<', '>')
('<' | safe) | length
('a' | safe) | trim ~ '<'
('a' | safe) | string + '<'
'' | safe or 'x'
('a b' | safe).split()
('a' | safe).upper() + '<'
('<' | safe) | indent""".split("\n")

SNIPPETS = [
    # white space
    "a\n{% if true %}\nb\n{% endif %}\nc\n", "  {% if true %}  x  {% endif %}  \n y", "{%- if true -%} x {%- endif -%} y", "a  {{- ' b ' -}}  c", "a {%+ if true +%}\n b {%+ endif %}",
    "a\n  {#- c -#}\n b", "a\n  {# c #}\n b", "a {# c #}\n b", "{# a\nb #}\nc", "{#+ a +#}\nc", "  {# a #}  b", "x  {#- a #}  b", "{# {{ x }} {% if %} #}y", "a\r\nb\rc\n\n", "a\n\n", "\n", "",
    "{% raw %}{{ x }}{% if %}{% endraw %}", "a\n  {% raw %}\n b {{ c }} \n  {% endraw %}\n d", "a {%- raw -%} b {%- endraw -%} c", "{% raw %}{# a #}{% endraw %}", "{%  raw  %} a {%  endraw  %}\nb",
    "{%  if  true  %}a{%   endif   %}", "{%-  if true %}a{%-  endif %}", "{%- \n if true \n -%} a {% endif %}", "{{1}}{{'a'}}", "{{ 'a' }}\n{{ 'b' }}\n", " {{ 1 }} \n {%- set a = 1 %}\n x", "\t{% set a = 1 %}\t\nx",
    "{% if true %}\n  {% if true %}\n    x\n  {% endif %}\n{% endif %}\ny", "a{% if true %} \n b{% endif %}", "{%if true%}a{%endif%}", "a {{ '}}' }} b", "a {% if '%}' %}x{% endif %}", "{{ {'a': {'b': 1}}['a']['b'] }}", "{{ {'a': 1}}}",
    "a\u00a0{%- if true %}b{% endif %}", "\u3000\n {{- 1 }}", "a\x0b{%- if true %}b{% endif %}", "a\n\x1c{% if true %}b{% endif %}", "# not a line comment\n## x", "{{ '\n' }}x", "{{ 'a\r\nb' }}", "a{% set x = 1 %}\n\nb", "{{ 1 }}\n\nb", "{{ 1 -}}\n\nb",
    "{{- 1 }}", "a -}} b", "a %} b", "}} {", "{ { x } }", "{ % x % }", "{{", "{%", "{#", "{{ x", "{% if x", "{# x", "{% raw %} x", "a {{ }} b", "{% %}", "{{ - 1 }}", "{{-1}}", "{{ -1 -}} x", "{{+1}}", "{% set x=1 -%}  y",
    "{{ 1 +}}", "{{ (1 }}", "{{ 1) }}", "{{ [1} }}", "\ufeffa", "{{ 'a' if true }}{{ 'b' if false }}", "{{ 1, 2 }}", "{{ 1, }}", "{{ (1, 2)[0] }}",
    # if
    "{% if u %}a{% elif n %}b{% elif i > 5 %}c{% else %}d{% endif %}", "{% if not u %}a{% endif %}", "{% if d %}1{% endif %}{% if D %}2{% endif %}{% if x %}3{% endif %}{% if z %}4{% endif %}{% if e %}5{% endif %}", "{% if true: %}a{% endif %}", "{% if 1, 2 %}a{% endif %}",
    "{% if %}a{% endif %}", "{% if true %}a", "{% if true %}a{% else %}b{% else %}c{% endif %}", "{% endif %}", "{% if true %}{% endfor %}", "{% else %}", "{% if true %}a{% elseif false %}b{% endif %}", "{% if 'a' in d and d.a == 1 and d.b is iterable and d.b is not string %}y{% endif %}",
    "{% if true %}{{ x|nofilter }}{% endif %}", "{% if false %}{{ x|nofilter }}{% endif %}ok", "{% if false %}{{ x is notest }}{% endif %}ok", "{% if false %}{% for a in l %}{{ a|nofilter }}{% endfor %}{% endif %}ok", "{% for a in L %}{{ a|nofilter }}{% endfor %}ok", "{% macro m() %}{{ 1|nofilter }}{% endmacro %}ok", "{% if false %}{% macro m() %}{{ 1|nofilter }}{% endmacro %}{% endif %}ok", "{% if false %}{% set a %}{{ 1|nofilter }}{% endset %}{% endif %}ok", "{{ 1|nofilter if false else 2 }}", "{% if 1 is notest %}{% endif %}", "{% if 1|nofilter %}{% endif %}", "{{ 'x' if 1|nofilter else 2 }}", "{% if false %}{% elif 1|nofilter %}{% endif %}ok", "{% if true %}a{% elif 1|nofilter %}{% endif %}ok",
    # for
    "{% for a in l %}{{ a }}{% if not loop.last %}, {% endif %}{% endfor %}", "{% for a in L %}x{% else %}none{% endfor %}", "{% for a in u %}x{% else %}none{% endfor %}", "{% for a in n %}x{% endfor %}", "{% for a in i %}x{% endfor %}", "{% for a in s %}{{ a }}.{% endfor %}", "{% for a in d %}{{ a }}{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "{% for k, v in d|items if k != 'b' %}{{ loop.index }}{{ k }}={{ v }};{% endfor %}", "{% for k in d.keys() %}{{ k }}{% endfor %}", "{% for (a, b), c in [((1, 2), 3)] %}{{ a }}{{ b }}{{ c }}{% endfor %}", "{% for a, b in [(1, 2, 3)] %}{% endfor %}", "{% for a, b in ['xy'] %}{{ a }}{{ b }}{% endfor %}", "{% for a, in [[1]] %}{{ a }}{% endfor %}", "{% for a, b in l %}{% endfor %}", "{% for a, b in [{'x': 1, 'y': 2}] %}{{ a ~ b }}{% endfor %}",
    "{% for a in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }}{{ loop.depth0 }}{{ loop.previtem }}{{ loop.nextitem }};{% endfor %}", "{% for a in l if a > 1 %}{{ loop.index }}/{{ loop.length }}{{ loop.last }}{{ loop.nextitem }};{% endfor %}", "{% for a in l|select('odd') %}{{ a }}{{ loop.last }}{{ loop.revindex }}{% endfor %}", "{% for a in l %}{{ loop.cycle('x', 'y') }}{% endfor %}", "{% for a in [1, 1, 2] %}{{ loop.changed(a) }}{% endfor %}", "{% for a in l %}{{ loop }}{% endfor %}", "{% for a in l %}{{ loop.nope }}{% endfor %}x", "{% for a in l %}{{ loop.previtem is defined }}{% endfor %}", "{% for a in l %}{{ loop|length }}{% endfor %}", "{% for a in l %}{{ loop.previtem.x }}{% endfor %}",
    "{% for a in l %}{% for b in w %}{{ loop.index }}{% endfor %}{{ loop.index }}{% endfor %}", "{% for a in l %}{% set o = loop %}{% for b in w %}{{ o.index }}{{ loop.index }} {% endfor %}{% endfor %}", "{% for loop in l %}{% endfor %}", "{% for a in l %}{% set loop = 5 %}{{ loop }}{% endfor %}", "{{ loop }}{% for a in l %}{% endfor %}{{ loop is defined }}", "{% for a in l if loop.index > 1 %}{{ a }}{% endfor %}", "{% for a in l %}{% for b in loop.previtem|default([]) %}{% endfor %}{% endfor %}",
    "{% for a in l %}{% if a == 1 %}{% break %}{% endif %}{{ a }}{% endfor %}", "{% for a in l %}{% if a == 1 %}{% continue %}{% endif %}{{ a }}{% endfor %}", "{% for a in l %}{% continue %}{% else %}E{% endfor %}", "{% for a in l %}{% break %}{% else %}E{% endfor %}", "{% for a in l %}{% if a == 1 %}{% break %}{% endif %}{% else %}E{% endfor %}", "{% for a in l %}{% if a == 3 %}{% continue %}{% endif %}{% else %}E{% endfor %}", "{% break %}", "{% if f %}{% continue %}{% endif %}", "{% for a in l %}{% macro m() %}{% break %}{% endmacro %}{% endfor %}", "{% for a in l %}{% for b in w %}{% break %}{% endfor %}{{ a }}{% endfor %}", "{% for a in l %}x{% set y %}{% break %}{% endset %}{% endfor %}z", "{% for a in l %}{% for b in L %}{% else %}{% break %}{% endfor %}x{% endfor %}", "{% for b in L %}{% else %}{% break %}{% endfor %}", "{% for a in l %}{% filter upper %}a{% continue %}{% endfilter %}{% endfor %}",
    "{% for a in [1, [2, [3]]] recursive %}{% if a is number %}{{ a }}{% else %}({{ loop(a) }}{{ loop.depth }}){% endif %}{% endfor %}", "{% for a in l %}{{ loop(l) }}{% endfor %}", "{% for a in l recursive %}{{ a }}{% endfor %}", "{% for a in [[1, [2]], 3] recursive %}{% set q = loop.index %}{% if a is sequence %}{{ loop(a) }}{% endif %}{{ q }}{% endfor %}", "{% for a in range(3) %}{{ a }}{% endfor %}", "{% for a in 1, 2 %}{{ a }}{% endfor %}", "{% for a in l if t else w %}{% endfor %}", "{% for a in (l if t else w) %}{{ a }}{% endfor %}", "{% for a.b in l %}{% endfor %}", "{% for 'a' in l %}{% endfor %}", "{% for a l %}{% endfor %}", "{% for a in l %}", "{% for none in l %}{% endfor %}", "{% for a in l %}{{ a }}{% endfor %}{{ a }}", "{% for i in l %}{{ i }}{% endfor %}{{ i }}",
    "{% for m in m %}{{ m.role }}{% endfor %}", "{% for a in m|selectattr('n') %}{{ a.role }}{% endfor %}", "{% set g = l|map('string') %}{{ g|join }}|{{ g|join }}", "{% set g = m|selectattr('n') %}{% if g %}yes{% endif %}{{ g|list|length }}{{ g|list|length }}", "{% set g = l|map('string') %}{{ g|first }}{{ g|list }}", "{% for a in [l, w] %}{{ a|join }}{% endfor %}",
    # set and scopes
    "{% set a = 1 %}{{ a }}", "{% set a, b = 1, 2 %}{{ a }}{{ b }}", "{% set a = 1, 2 %}{{ a }}", "{% set (a, b) = [1, 2] %}{{ a }}{{ b }}", "{% set a = 'x' if t else 'y' %}{{ a }}", "{% set a = d.zz if d.zz is defined else 'no' %}{{ a }}", "{% set a %}b{{ 1 }}{% endset %}{{ a }}", "{% set a | upper %}b{% endset %}{{ a }}", "{% set a | replace('b', 'c') | upper %}b{% endset %}{{ a }}", "{% set a %} x {% endset %}{{ a|tojson }}", "{% set true = 1 %}", "{% set a.b = 1 %}", "{% set d.b = 1 %}", "{% set a['b'] = 1 %}", "{% set 1 = 2 %}", "{% set a = %}", "{% set a %}", "{% set = 1 %}", "{% set a == 1 %}", "{% set a += 1 %}", "{% set i = i + 1 %}{{ i }}", "{% set a, b = 1 %}", "{% set a = 1 if f %}{{ a is defined }}", "{% set loop = 1 %}{{ loop }}",
    "{% set a = 1 %}{% for b in l %}{% set a = b %}{{ a }}{% endfor %}{{ a }}", "{% set a = 1 %}{% for b in l %}{{ a }}{% set a = 2 %}{% endfor %}", "{% if t %}{% set a = 1 %}{% endif %}{{ a }}", "{% if f %}{% set a = 1 %}{% endif %}{{ a }}{{ a is defined }}", "{% if f %}{% set i = 1 %}{% endif %}{{ i }}", "{% if t %}{% set i = 1 %}{% endif %}{{ i }}", "{% for b in l %}{{ i }}{% endfor %}{% set i = 1 %}{{ i }}", "{% for b in l %}{% for c in w %}{{ i }}{% endfor %}{% set i = 1 %}{% endfor %}", "{% for b in l %}{% if loop.first %}{% set i = 'x' %}{% endif %}{{ i }}{% endfor %}", "{% for b in l %}{% if loop.first %}{% set q = 'x' %}{% endif %}{{ q }}{% endfor %}", "{{ i }}{% for b in l %}{{ i }}{% endfor %}{% set i = 1 %}{% for b in l %}{{ i }}{% endfor %}", "{% if f %}{% set m = 1 %}{% else %}{% for q in m %}{{ q.role }}{% endfor %}{% endif %}", "{% if f %}{% set m = 1 %}{% endif %}{% for q in m %}{{ q.role }}{{ m|length }}{% endfor %}", "{% for q in l %}{{ m|length }}{% set m = [] %}{{ m|length }}{% endfor %}", "{% macro k() %}{{ i }}{% endmacro %}{{ k() }}{% set i = 1 %}{{ k() }}", "{% macro k() %}{% set i = i + 1 %}{{ i }}{% endmacro %}{{ k() }}{{ k() }}{{ i }}", "{% set i = 3 %}{% macro k(i=i) %}{{ i }}{% endmacro %}{{ k() }}{{ k(1) }}", "{% macro k() %}{{ q }}{% endmacro %}{% for q in l %}{{ k() }}{% endfor %}", "{% for q in l %}{% macro k() %}{{ q }}{% endmacro %}{{ k() }}{% endfor %}{{ k }}", "{% if f %}{% macro k() %}a{% endmacro %}{% endif %}{{ k is defined }}",
    "{% set b = 1 %}{% set a %}{% set b = 2 %}{{ b }}{% endset %}{{ a }}{{ b }}", "{% for q in l %}{% set i %}{{ i }}{% endset %}{{ i }}{% endfor %}", "{% filter upper %}{% set i = 'q' %}{{ i }}{% endfilter %}{{ i }}", "{% with a = 1, b = a %}{{ a }}{{ b }}{% set c = 2 %}{% endwith %}{{ a }}{{ c }}", "{% with %}{% set a = 1 %}{{ a }}{% endwith %}{{ a is defined }}", "{% with a = i, i = 2 %}{{ a }}{{ i }}{% endwith %}{{ i }}", "{% for q in [1] %}{% if t %}{% set a = 1 %}{% else %}{% set a = 2 %}{% endif %}{{ a }}{% endfor %}", "{% if a is not defined %}{% set a = 5 %}{% endif %}{{ a }}", "{% if not u is defined %}{% set u = 1 %}{% endif %}{{ u }}", "{% for r in l %}{% if r == 3 %}{% set u = r %}{% elif r == 1 %}{{ u }}{% else %}{% set u = 'z' %}{% endif %}[{{ u }}]{% endfor %}",
    "{% set ns = namespace(a=0) %}{% for b in l %}{% set ns.a = ns.a + b %}{% endfor %}{{ ns.a }}", "{% set ns = namespace() %}{% set ns.x = [1] %}{{ ns.x }}{{ ns.y is defined }}", "{% set ns = namespace(a=1) %}{{ ns }}{{ ns['a'] }}{{ ns.b }}", "{% set ns = namespace(a=1) %}{% set ns._a = 1 %}", "{% set ns = namespace(d, c=2) %}{{ ns.c }}{{ ns.a }}{{ ns.items }}", "{% set ns = namespace(a=1, a=2) %}", "{% set ns = namespace(x=false) %}{% macro f() %}{% set ns.x = true %}{% endmacro %}{{ f() }}{{ ns.x }}", "{% set ns = namespace(self=1) %}{{ ns.self }}", "{% set ns.a = 1 %}", "{% set ns = namespace(l=[]) %}{% for a in w %}{% set ns.l = ns.l + [a] %}{% endfor %}{{ ns.l }}", "{% set ns.a, b = 1, 2 %}", "{% set ns = namespace() %}{% set ns.a, b = 1, 2 %}{{ ns.a }}{{ b }}", "{% set ns = namespace() %}{% set ns.a %}x{% endset %}{{ ns.a }}",
    # macros
    "{% macro k(a, b=2, c='x') %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ k(1) }}{{ k(1, 3) }}{{ k(1, c=4) }}{{ k(a=5) }}{{ k() }}", "{% macro k(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ k(1) }}", "{% macro k(a) %}{% endmacro %}{{ k(1, 2) }}", "{% macro k(a) %}{% endmacro %}{{ k(b=2) }}", "{% macro k(a) %}{% endmacro %}{{ k(1, a=2) }}", "{% macro k(a, a) %}{% endmacro %}", "{% macro k(a=1, b) %}{% endmacro %}", "{% macro k() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ k(1, 'b', c=3) }}", "{% macro k(a) %}{{ a is defined }}{% endmacro %}{{ k() }}", "{% macro k(a) -%}\n  x\n{%- endmacro %}[{{ k() }}]", "{% macro k(n) %}{{ n }}{% if n > 0 %}{{ k(n - 1) }}{% endif %}{% endmacro %}{{ k(3) }}", "{{ k() }}{% macro k() %}{% endmacro %}", "{% macro k() %}a{% endmacro %}{{ k()|upper }}{{ k() ~ 'b' }}{{ k() + 'c' }}", "{% macro k() %}a{% endmacro %}{{ k }}{{ k.name }}{{ k.arguments }}", "{% macro k() %}{{ caller() }}{% endmacro %}{% call k() %}x{% endcall %}", "{% macro k() %}{{ caller('a', 2) }}{% endmacro %}{% call(p, q=1) k() %}{{ p }}{{ q }}{{ i }}{% endcall %}", "{% macro k() %}{{ caller() }}{% endmacro %}{{ k() }}", "{% macro k() %}{{ caller is defined }}{% endmacro %}{{ k() }}", "{% macro k() %}x{% endmacro %}{% call k() %}y{% endcall %}", "{% call i %}{% endcall %}", "{% macro k(caller=none) %}{{ caller }}{% endmacro %}{{ k() }}", "{% macro k(caller) %}{{ caller }}{% endmacro %}", "{% macro k(a) %}{% if a is string %}{{ a }}{% elif a is iterable %}{% for b in a %}{{ k(b) }}{% endfor %}{% endif %}{% endmacro %}{{ k(['x', ['y', 1]]) }}", "{% macro k(a) %}{{ a }}{% endmacro %}{% set f = k %}{{ f(1) }}", "{% macro k(x) %}{{ x }}{% endmacro %}{{ l|map('k')|list }}", "{% macro k() %}\n  {%- set a = 1 %}\n  {{- a }}\n{%- endmacro %}{{ k() }}{{ a }}", "{% macro none() %}{% endmacro %}", "{% macro k %}{% endmacro %}", "{% macro k() %}{% endmacro k %}", "{% macro k(a) %}{{ a }}{% endmacro %}{{ k(*[1]) }}{{ k(**{'a': 2}) }}", "{% macro k(a, b) %}{{ a }}-{{ b }}{% endmacro %}{{ k(b=1, a=2) }}", "{% macro k(a) %}{% set a = a or 'd' %}{{ a }}{% endmacro %}{{ k() }}{{ k('e') }}", "{% macro k() %}{% for a in l %}{{ loop.index }}{{ caller(a) }}{% endfor %}{% endmacro %}{% call(a) k() %}<{{ a }}>{% endcall %}",
    # other statements
    "{% filter upper %}a{{ 'b' }}{% endfilter %}", "{% filter replace('a', 'b') | upper %}a{% endfilter %}", "{% generation %}a{% endgeneration %}b", "{%- generation -%} a {%- endgeneration -%} b", "{% generation %}{% set q = 1 %}{{ q }}{% endgeneration %}{{ q is defined }}", "{% for a in l %}{% generation %}{{ a }}{{ loop.index }}{% endgeneration %}{% endfor %}", "{% for a in l %}{% generation %}{% break %}{% endgeneration %}{% endfor %}", "{% generation %}", "{% endgeneration %}", "{% do x %}", "{% print 1 %}", "{% print 1, 'a' %}", "{% include 'x' %}", "{% import 'x' as y %}", "{% from 'x' import y %}", "{% extends 'x' %}", "{% block a %}x{% endblock %}", "{% autoescape true %}{{ '<' }}{% endautoescape %}", "{% autoescape false %}{{ '<' }}{% endautoescape %}", "{% trans %}x{% endtrans %}", "{% debug %}", "{% nope %}", "{% 1 %}", "{% set a = 1; %}", "{% if true %}{% include 'x' %}{% endif %}", "{% if false %}{% include 'x' %}{% endif %}", "{% if false %}{% block a %}x{% endblock %}{% endif %}",
    "{{ self.a() }}", "{{ u.x if u is defined else 'none' }}", "{{ raise_exception('bad ' ~ i) }}", "{% if false %}{{ raise_exception('bad') }}{% endif %}ok", "{{ true|string|lower }}", "{{ none|string }}", "{{ 'None' if n is none }}", "{{ d|tojson(indent=2) }}\n{{ m|tojson }}", "{% set q = {'a': [1, 2], 'b': {'c': 'd'}} %}{{ q.b.c }}{{ q['a'][1] }}{{ q|tojson }}", "{% for k, v in {'z': 1, 'a': 2}.items() %}{{ k }}{{ v }}{% endfor %}", "{% for k, v in {'z': 1, 'a': 2}|dictsort %}{{ k }}{{ v }}{% endfor %}", "{{ l[::-1] }}{{ l|reverse|list }}", "{{ (l|list)[0] }}", "{{ ''.join([]) }}|{{ '-'.join(['a']) }}", "{{ [1, 2, 3][1:]|tojson }}", "{{ 'a\\nb' }}", "{{ \"a\\tb\" }}", "{{ '\\u00e9\\U0001F600\\N{BULLET}' }}", "{{ '\\d' }}", "{{ '\\x4' }}", "{{ 'é' }}", "{{ é }}", "{% set é = 1 %}{{ é }}", "{{ 'a' -}}\n {{- 'b' }}", "{%- for x in l %}\n  {{- x }}\n{%- endfor %}\n", "{% for x in l %}\n{{ x }}\n{% endfor %}\n", "{% for x in l -%}\n  {{ x }}\n{% endfor -%}\n end", "{{ i }} {{ x }} {{ t }} {{ n }} {{ l }} {{ d }} {{ u }}", "{{ m }}", "{{ [1.0, -2, 'a', none, true, (1,), {}, []] }}",
]

CHAT_TEMPLATES = {
    "chatml": "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}{{ '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "plain": "{{ bos_token }}{% for m in messages %}{{ '[' ~ m.role ~ '] ' ~ (m.content or '')|trim ~ '\n' }}{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}",
    "alternating": "{%- if messages[0].role == 'system' -%}\n  {%- set system = messages[0].content | trim ~ '\n\n' -%}\n  {%- set messages = messages[1:] -%}\n{%- else -%}\n  {%- set system = '' -%}\n{%- endif -%}\n{{ bos_token }}\n{%- for m in messages -%}\n  {%- if (m.role == 'user') != (loop.index0 % 2 == 0) -%}\n    {{ raise_exception('roles must alternate') }}\n  {%- endif -%}\n  {%- if m.role == 'user' -%}\n    [INST] {{ (system if loop.first else '') + m.content }} [/INST]\n  {%- else -%}\n    {{ ' ' + m.content | trim + eos_token }}\n  {%- endif -%}\n{%- endfor %}\n",
    "tools": "{% macro render(call) -%}\n<tool_call>\n{\"name\": \"{{ call.name }}\", \"arguments\": {{ call.arguments if call.arguments is string else call.arguments | tojson }}}\n</tool_call>\n{%- endmacro %}\n{%- set ns = namespace(last=-1) %}\n{%- for m in messages %}\n  {%- if m.role == 'user' %}\n    {%- set ns.last = loop.index0 %}\n  {%- endif %}\n{%- endfor %}\n{%- if tools %}\n  {{- '<|system|>\n' }}\n  {%- for tool in tools %}\n    {{- (tool.function if tool.function is defined else tool) | tojson(indent=2) ~ '\n' }}\n  {%- endfor %}\n{%- endif %}\n{%- for m in messages %}\n  {%- if m.role == 'tool' %}\n    {%- if loop.first or messages[loop.index0 - 1].role != 'tool' %}\n      {{- '<|tool|>' }}\n    {%- endif %}\n    {{- '\n' + m.content }}\n    {%- if loop.last or loop.nextitem.role != 'tool' %}\n      {{- '\n' }}\n    {%- endif %}\n  {%- else %}\n    {{- '<|' + m.role + '|>\n' }}\n    {%- if m.role == 'assistant' %}\n      {%- generation %}\n        {%- if m.reasoning_content and loop.index0 > ns.last %}\n          {{- '<think>\n' + m.reasoning_content.strip('\n') + '\n</think>\n\n' }}\n        {%- endif %}\n        {{- m.content or '' }}\n        {%- for call in m.tool_calls or [] %}\n          {{- render(call.function or call) }}\n        {%- endfor %}\n        {{- eos_token }}\n      {%- endgeneration %}\n    {%- else %}\n      {{- m.content if m.content is string else m.content | map(attribute='text') | join }}\n    {%- endif %}\n    {{- '\n' }}\n  {%- endif %}\n{%- endfor %}\n{%- if add_generation_prompt %}\n  {{- '<|assistant|>\n' }}\n  {%- if enable_thinking is defined and enable_thinking is false %}\n    {{- '<think>\n\n</think>\n\n' }}\n  {%- endif %}\n{%- endif %}\n",
    "documents": "{% for document in documents or [] %}{{ loop.index }}. {{ document.title }}: {{ document['text'] | truncate_none if false else document['text'] }}\n{% else %}no documents\n{% endfor %}{{ messages | map(attribute='content') | select | join(' / ') }}{{ date_string if date_string is defined else '' }}{{ documents is none }}{{ tools is none }}",
    "thinking": "{% for m in messages %}{% set content = m.content or '' %}{% if m.role == 'assistant' and not loop.last and '</think>' in content %}{% set content = content.split('</think>')[-1].lstrip('\n') %}{% endif %}<{{ m.role | capitalize }}>{{ content }}</>{% endfor %}{% if add_generation_prompt %}<Assistant>{% endif %}",
}
TOOL = {"type": "function", "function": {"name": "get_weather", "description": "Weather \"now\" <b>, für Städte", "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer", "enum": [1, 2.5, True, None]}}, "required": ["city"]}}}
CALL = {"type": "function", "function": {"name": "get_weather", "arguments": {"city": "Köln", "days": 1}}}
CHATS = [
    {"messages": [{"role": "user", "content": "  What is 1+1? <b>\"é\"</b>\n"}], "add_generation_prompt": True},
    {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "<think>a</think>\n\nHello 漢字 😀"}]},
    {"messages": [{"role": "system", "content": "Be\nbrief. "}, {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}, {"role": "user", "content": "Bye"}, {"role": "assistant", "content": " Bye. "}]},
    {"messages": [{"role": "user", "content": "Weather?"}, {"role": "assistant", "content": None, "reasoning": "\nhm\n", "tool_calls": [CALL]}, {"role": "tool", "name": "get_weather", "content": "sun"}, {"role": "tool", "content": "rain"}, {"role": "assistant", "content": "Sun, rain."}], "tools": [TOOL], "add_generation_prompt": True, "chat_template_kwargs": {"enable_thinking": False}},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}], "documents": [{"title": "T", "text": "one"}, {"title": "U", "text": "two\n"}], "chat_template_kwargs": {"date_string": "26 Jul 2024"}, "add_generation_prompt": True},
    {"messages": [{"role": "assistant", "content": "I begin."}, {"role": "user", "content": ""}]},
    {"messages": [{"role": "robot", "content": "x"}, {"role": "user", "content": "y", "extra": {"a": [1, 2.0]}}], "tools": []},
]
WORDS = ["", "ΑΣ", "ΣΑΣ ΟΔΟΣ. Σ", "ὈΔΥΣΣΕΎΣ", "ß straße", "ŉ ǰ ΐ", "ﬁ ﬂ ﬃ", "İstanbul ISTANBUL ı", "Ǆ ǅ ǆ", "it's o'neil", "a\u0301Bc", "1st 2ND x3y", "ᾳ ᾼ", "Σ\u0301 Α\u0301Σ", "hello-world foo_bar", "ⅷ Ⅷ ⓐ", "ꙁ ა Ა", "mcDONALD's"]


def render(template, variables):
    try:
        text = _compile_jinja_template(template).render(**copy.deepcopy(variables))
        text.encode()
    except Exception:
        return None
    return None if re.search(r" at 0x[0-9a-f]+", text) else text


def write(path, value):
    data = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    if path.suffix == ".gz":
        with gzip.GzipFile(path, "wb", mtime=0) as f:
            f.write(data)
    else:
        path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n")


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    expressions = [f"{a} {op} {b}" for op in BINARY for a in OPERANDS for b in OPERANDS]
    expressions += [f"{op}({a})" for op in ("not ", "-", "+") for a in VALUES] + VALUES
    expressions += [f"({a}){sub}" for sub in SUBSCRIPTS for a in VALUES]
    expressions += [f"({a})|{name}" for name in dict.fromkeys(FILTERS) for a in VALUES]
    expressions += [f"({a})|{name}|list" for name in dict.fromkeys(FILTERS) for a in VALUES if re.match("map|select|reject|unique|reverse|items|sort|d?e?f?a?ult", name)]
    expressions += [f"({a}) is {name}" for name in TESTS for a in VALUES]
    expressions += [f"{a}.{call}" for call in METHODS for a in STRINGS]
    expressions += [f"{a}.{call}" for call in DICT_METHODS for a in ("d", "D", "m[0]", "{2: 3}", "u", "s")]
    expressions += [f"{a}.{call}" for call in LIST_METHODS for a in ("l", "L", "(1, 2)", "w", "range(3)", "N")]
    expressions += OTHER
    write(out / "expressions.json.gz", {"variables": VARIABLES, "cases": [[e, render("{{ " + e + " }}", VARIABLES)] for e in dict.fromkeys(expressions)]})
    write(out / "snippets.json", [[s, render(s, VARIABLES)] for s in dict.fromkeys(SNIPPETS)])
    results = []
    for name, template in CHAT_TEMPLATES.items():
        for number, chat in enumerate(CHATS):
            result = {"template": name, "chat": number, "prompt": None, "spans": None}
            arguments = {k: v for k, v in chat.items() if k not in ("messages", "chat_template_kwargs")} | chat.get("chat_template_kwargs", {})
            messages = [{k: v for k, v in m.items() if v is not None} for m in chat["messages"]]
            try:
                [prompt], spans = render_jinja_template([messages], chat_template=template, return_assistant_tokens_mask=True, bos_token="<s>", eos_token="</s>", **arguments)
                result["prompt"], result["spans"] = prompt, spans[0]
            except Exception as e:
                result["error"] = type(e).__name__
            results.append(result)
    write(out / "chats.json", {"templates": CHAT_TEMPLATES, "chats": CHATS, "results": results})
    characters = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    rows = [[c, c.upper(), c.lower(), c.title()] for c in characters if (c.upper(), c.lower(), c.title()) != (c, c, c)]
    write(out / "case.json.gz", {"characters": rows, "words": [[w, w.upper(), w.lower(), w.title(), w.capitalize()] for w in WORDS]})


if __name__ == "__main__":
    main()
