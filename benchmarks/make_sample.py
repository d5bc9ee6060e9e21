"""Write reasoning.jsonl, the data set the first run uses before anyone has data of their own.

The tool needs rows it may ship: small, free of licences, the same bytes on every machine, and
awkward where real data is awkward (LaTeX, code with tabs, quotes and backslashes, JSON inside
text, several scripts, emoji built of several code points). So the rows are made here. Every
answer is computed, and an assert in its generator checks it a second way.

    python benchmarks/make_sample.py            rewrite reasoning.jsonl
    python benchmarks/make_sample.py --check    exit 1 if the file differs

Needs only the standard library.
"""

import argparse
import ast
import contextlib
import datetime
import io
import itertools
import json
import math
import random
import sys
import unicodedata
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

OUTPUT = Path(__file__).parents[1] / "pipeline" / "sample" / "reasoning.jsonl"
SEED = 42
ROUNDS = 16  # every generator gives one row a round: 16 * 25 = 400 rows
NBSP = "\u00a0"  # French sets one before ? : and the euro sign

Row = tuple[str, str]
Generator = Callable[[random.Random], Row]

NAMES = ("Amara", "Björn", "Chloé", "Dmitri", "Eleni", "Farah", "Goran", "Hana", "Ines", "Jonas")
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)


# ---------------------------------------------------------------- writing numbers


def paragraphs(*parts: str) -> str:
    return "\n\n".join(parts)


def money(cents: int, point: str = ".") -> str:
    return f"{cents // 100}{point}{cents % 100:02d}"


def decimal(value: Fraction) -> str:
    """A fraction with a finite decimal form, without trailing zeros."""
    quotient = Decimal(value.numerator) / Decimal(value.denominator)
    assert Fraction(quotient) == value
    text = f"{quotient:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def latex(value: Fraction) -> str:
    if value.denominator == 1:
        return str(value.numerator)
    sign = "-" if value < 0 else ""
    return rf"{sign}\frac{{{abs(value.numerator)}}}{{{value.denominator}}}"


def polynomial(*terms: tuple[int, str]) -> str:
    """Coefficients and symbols as LaTeX: (2, "x"), (-1, "y") becomes 2x - y."""
    text = ""
    for coefficient, symbol in terms:
        if coefficient == 0:
            continue
        size = abs(coefficient)
        body = symbol if size == 1 and symbol else f"{size}{symbol}"
        if text:
            text += (" - " if coefficient < 0 else " + ") + body
        else:
            text = ("-" if coefficient < 0 else "") + body
    return text or "0"


def bracketed(value: int) -> str:
    return f"({value})" if value < 0 else str(value)


# ---------------------------------------------------------------- word problems


def boxes(rng: random.Random) -> Row:
    name = rng.choice(NAMES)
    item = rng.choice(("muffins", "candles", "postcards", "tomatoes", "marbles"))
    trays, each, size = rng.randint(4, 15), rng.randint(8, 36), rng.randint(5, 12)
    broken = rng.randint(3, 20)
    total = trays * each
    rest = total - broken
    full, over = divmod(rest, size)
    assert full * size + over + broken == sum([each] * trays) and 0 <= over < size
    question = (
        f"{name} has {trays} trays with {each} {item} on each. {broken} of the {item} are given "
        f"away and the rest are packed into boxes of {size}. How many full boxes are there, and "
        f"how many {item} are left over?"
    )
    reasoning = paragraphs(
        f"First count all the {item}: {trays} trays with {each} on each make "
        f"{trays} × {each} = {total}.",
        f"Then take away the {broken} that are given away: {total} - {broken} = {rest}.",
        f"Now divide by the size of a box. Full boxes: {full}. They hold "
        f"{full} × {size} = {full * size}, and {rest} - {full * size} = {over}. Since "
        f"{over} is less than {size}, no further box can be filled.",
        f"Answer: full boxes: {full}, {item} left over: {over}.",
    )
    return question, reasoning


def cyclists(rng: random.Random) -> Row:
    first, second = rng.sample(NAMES, 2)
    slow, fast = sorted(rng.sample(range(12, 31), 2))
    time = Fraction(rng.randint(4, 16), 4)
    distance = (slow + fast) * time
    hours, minutes = divmod(int(time * 60), 60)
    part_slow, part_fast = slow * time, fast * time
    assert part_slow + part_fast == distance and hours * 60 + minutes == time * 60
    question = (
        f"{first} and {second} live {decimal(distance)} km apart and set out towards each other "
        f"at the same moment. {first} rides at {slow} km/h and {second} at {fast} km/h. After "
        f"how long do they meet, and how far has {first} ridden by then?"
    )
    reasoning = paragraphs(
        "Because they ride towards each other, the gap closes at the sum of the two speeds: "
        f"{slow} + {fast} = {slow + fast} km/h.",
        f"The gap is {decimal(distance)} km, so the time until they meet is "
        f"{decimal(distance)} / {slow + fast} = {decimal(time)} hours, which is {hours} h "
        f"{minutes} min.",
        f"In that time {first} rides {slow} × {decimal(time)} = {decimal(part_slow)} km. As a "
        f"check, {second} rides {fast} × {decimal(time)} = {decimal(part_fast)} km, and "
        f"{decimal(part_slow)} + {decimal(part_fast)} = {decimal(distance)} km.",
        f"Answer: after {hours} h {minutes} min; {first} has ridden {decimal(part_slow)} km.",
    )
    return question, reasoning


def discount(rng: random.Random) -> Row:
    item = rng.choice(("bicycle", "desk lamp", "winter coat", "coffee machine", "guitar"))
    price, off, tax = 4 * rng.randint(10, 150), 5 * rng.randint(1, 10), rng.choice((5, 10, 20, 25))
    saved = price * off
    reduced = price * 100 - saved
    added = reduced * tax // 100
    final = reduced + added
    assert Fraction(final, 100) == price * (1 - Fraction(off, 100)) * (1 + Fraction(tax, 100))
    factor = Fraction((100 - off) * (100 + tax), 10000)
    question = (
        f"A {item} is listed at {price} € before tax. The shop takes {off}% off the list price "
        f"and then adds {tax}% tax to the reduced price. What does the customer pay?"
    )
    reasoning = paragraphs(
        f"The discount is {off}% of {price} €: {price} × {off} / 100 = {money(saved)} €. The "
        f"reduced price is {price} - {money(saved)} = {money(reduced)} €.",
        f"The tax is {tax}% of the reduced price, not of the list price: "
        f"{money(reduced)} × {tax} / 100 = {money(added)} €.",
        f"Together that makes {money(reduced)} + {money(added)} = {money(final)} €.",
        f"Check with one factor: {decimal(Fraction(100 - off, 100))} × "
        f"{decimal(Fraction(100 + tax, 100))} = {decimal(factor)}, and {price} × "
        f"{decimal(factor)} = {money(final)}.",
        f"Answer: {money(final)} €.",
    )
    return question, reasoning


# ---------------------------------------------------------------- algebra and number theory


def square_divisor(number: int) -> int:
    """The largest k whose square divides the number."""
    return max(k for k in range(1, math.isqrt(number) + 1) if number % (k * k) == 0)


def coefficients(rng: random.Random) -> tuple[int, int, int]:
    """a, b, c with two real roots; rational ones about half the time."""
    while True:
        if rng.random() < 0.5:
            p, r = rng.randint(1, 4), rng.randint(1, 3)
            q, s = rng.randint(-9, 9), rng.randint(-9, 9)
            a, b, c = p * r, p * s + q * r, q * s
        else:
            a, b, c = rng.randint(1, 6), rng.randint(-14, 14), rng.randint(-12, 12)
        if b and c and b * b > 4 * a * c and math.gcd(a, b, c) == 1:
            return a, b, c


def quadratic(rng: random.Random) -> Row:
    a, b, c = coefficients(rng)
    inside = b * b - 4 * a * c
    outer = square_divisor(inside)
    under = inside // outer**2
    assert outer**2 * under == inside
    raw = rf"x = \frac{{{-b} \pm \sqrt{{{inside}}}}}{{{2 * a}}}"
    if under == 1:
        low, high = Fraction(-b - outer, 2 * a), Fraction(-b + outer, 2 * a)
        assert all(a * x * x + b * x + c == 0 for x in (low, high))
        root = rf"Since $\sqrt{{{inside}}} = {outer}$, both solutions are rational."
        answer = f"$x_1 = {latex(low)}$ and $x_2 = {latex(high)}$"
    else:
        shrink = math.gcd(b, outer, 2 * a)
        u, v, w = -b // shrink, outer // shrink, 2 * a // shrink
        assert a * (u * u + v * v * under) + b * u * w + c * w * w == 0 and 2 * a * u + b * w == 0
        surd = polynomial((v, rf"\sqrt{{{under}}}"))
        taken = rf"$\sqrt{{{inside}}} = {outer}\sqrt{{{under}}}$"
        root = f"Here {taken}." if outer > 1 else f"No square divides {inside}, so the root stays."
        exact = rf"{u} \pm {surd}" if w == 1 else rf"\frac{{{u} \pm {surd}}}{{{w}}}"
        answer = f"$x = {exact}$"
    question = f"Solve ${polynomial((a, 'x^2'), (b, 'x'), (c, ''))} = 0$ over the real numbers."
    reasoning = paragraphs(
        f"Here $a = {a}$, $b = {b}$ and $c = {c}$, so the quadratic formula "
        r"$x = \frac{-b \pm \sqrt{b^2 - 4ac}}{2a}$ applies.",
        "The discriminant is\n"
        rf"$$b^2 - 4ac = {bracketed(b)}^2 - 4 \cdot {a} \cdot {bracketed(c)} = {inside} > 0,$$"
        "\nso there are two real solutions.",
        f"Inserting everything gives\n$${raw}.$$\n{root}",
        f"Check: the solutions must add up to $-b/a = {latex(Fraction(-b, a))}$ and multiply to "
        f"$c/a = {latex(Fraction(c, a))}$, and they do.",
        f"Answer: {answer}.",
    )
    return question, reasoning


def linear_system(rng: random.Random) -> Row:
    nonzero = [n for n in range(-7, 8) if n]
    x, y = rng.choice(nonzero), rng.choice(nonzero)
    while True:
        a, b, d, e = (rng.choice(nonzero) for _ in range(4))
        if a * e != b * d and min(abs(b), abs(e)) > 1:
            break
    right, lower = a * x + b * y, d * x + e * y
    det, top = a * e - d * b, right * e - lower * b
    assert Fraction(top, det) == x and Fraction(a * lower - d * right, det) == y
    one, two = polynomial((a, "x"), (b, "y")), polynomial((d, "x"), (e, "y"))
    system = rf"\begin{{cases}} {one} = {right} \\ {two} = {lower} \end{{cases}}"
    question = f"Solve the system of equations\n$${system}$$\nfor $x$ and $y$."
    first = polynomial((a * e, "x"), (b * e, "y"))
    second = polynomial((d * b, "x"), (e * b, "y"))
    reasoning = paragraphs(
        f"Eliminate $y$. Multiply the first equation by ${e}$ and the second by ${b}$, so that "
        "both have the same $y$ term:",
        rf"$$\begin{{aligned}} {first} &= {right * e} \\ {second} &= {lower * b} \end{{aligned}}$$",
        f"Subtracting the second line from the first leaves ${polynomial((det, 'x'))} = {top}$, "
        f"hence $x = {x}$.",
        f"Put $x = {x}$ into the first equation: ${polynomial((b, 'y'))} = {right} - "
        rf"{bracketed(a)} \cdot {bracketed(x)} = {right - a * x}$, hence $y = {y}$.",
        rf"Check in the second equation: ${d} \cdot {bracketed(x)} + {bracketed(e)} \cdot "
        f"{bracketed(y)} = {lower}$, as required.",
        f"Answer: $(x, y) = ({x}, {y})$.",
    )
    return question, reasoning


def euclid(rng: random.Random) -> Row:
    factor = rng.randint(2, 24)
    big, small = sorted((factor * rng.randint(12, 60), factor * rng.randint(7, 40)), reverse=True)
    while big % small == 0:
        big += factor
    lines, left, right = [], big, small
    while right:
        lines.append(rf"{left} = {left // right} \cdot {right} + {left % right}")
        left, right = right, left % right
    common, multiple = left, big * small // left
    assert common == math.gcd(big, small) and multiple == math.lcm(big, small)
    question = (
        f"Find the greatest common divisor and the least common multiple of {big} and {small} "
        "with the Euclidean algorithm."
    )
    reasoning = paragraphs(
        "Divide the larger number by the smaller one, then go on with the divisor and the "
        "remainder until the remainder is 0:",
        "\n".join(f"{number}. ${line}$" for number, line in enumerate(lines, 1)),
        rf"The last remainder that is not 0 decides, so $\gcd({big}, {small}) = {common}$. "
        rf"Indeed ${big} = {common} \cdot {big // common}$ and "
        rf"${small} = {common} \cdot {small // common}$, and the cofactors share no factor.",
        "The least common multiple follows from the product:\n"
        rf"$$\frac{{{big} \cdot {small}}}{{{common}}} = \frac{{{big * small}}}{{{common}}} "
        rf"= {multiple}.$$",
        f"Answer: gcd = {common}, lcm = {multiple}.",
    )
    return question, reasoning


def modular_power(rng: random.Random) -> Row:
    base, exponent, modulus = rng.randint(2, 19), rng.randint(20, 63), rng.randint(21, 97)
    squares, power, value = [], 1, base % modulus
    chosen: list[tuple[int, int]] = []
    while power <= exponent:
        squares.append(rf"${base}^{{{power}}} \equiv {value} \pmod{{{modulus}}}$")
        if exponent & power:
            chosen.append((power, value))
        power, value = 2 * power, value * value % modulus
    result, products = chosen[0][1], []
    for _, factor in chosen[1:]:
        product = result * factor
        products.append(rf"${result} \cdot {factor} = {product} \equiv {product % modulus}$")
        result = product % modulus
    assert result == base**exponent % modulus and sum(p for p, _ in chosen) == exponent
    question = f"What is the remainder when ${base}^{{{exponent}}}$ is divided by {modulus}?"
    steps = "\n".join(products) if products else "Only one power is needed; nothing to multiply."
    reasoning = paragraphs(
        f"Square repeatedly and reduce modulo {modulus} each time:",
        "\n".join(squares),
        f"In powers of two the exponent is {exponent} = "
        f"{' + '.join(str(p) for p, _ in chosen)}, so multiply the residues "
        f"{', '.join(str(v) for _, v in chosen)} one after the other:",
        steps,
        f"Answer: the remainder is {result}.",
    )
    return question, reasoning


# ---------------------------------------------------------------- units and dates


def micrometres(rng: random.Random) -> Row:
    thing, low, high = rng.choice(
        (
            ("sheets of paper", 70, 120),
            ("layers of gold leaf", 2, 9),
            ("strips of foil", 11, 40),
            ("glass slides", 900, 1200),
        )
    )
    thick, count = rng.randint(low, high), 5 * rng.randint(10, 120)
    micro = thick * count
    milli, centi = Fraction(micro, 1000), Fraction(micro, 10000)
    assert milli == Fraction(thick, 1000) * count and centi * 10 == milli
    question = (
        f"A stack consists of {count} {thing}, each {thick} µm thick. How high is the stack in "
        "millimetres and in centimetres?"
    )
    reasoning = paragraphs(
        f"The heights add up, so in micrometres the stack measures {count} × {thick} µm = "
        f"{micro} µm.",
        "The prefix µ means one millionth and the prefix m one thousandth. Therefore "
        f"1 mm = 1000 µm, and {micro} µm / 1000 = {decimal(milli)} mm.",
        f"One centimetre is 10 mm, so the same height is {decimal(milli)} / 10 = "
        f"{decimal(centi)} cm.",
        f"Answer: {decimal(milli)} mm, which is {decimal(centi)} cm.",
    )
    return question, reasoning


def temperature(rng: random.Random) -> Row:
    place = rng.choice(("a desert town", "a mountain village", "a test chamber", "a harbour"))
    start, change = Fraction(rng.randint(-40, 80), 2), Fraction(rng.randint(5, 30), 2)
    end = start - change
    before, after = (c * 9 / 5 + 32 for c in (start, end))
    kelvin = end + Fraction("273.15")
    assert (after - 32) * 5 / 9 == end and before - after == change * 9 / 5
    question = (
        f"The temperature in {place} falls by {decimal(change)} °C from {decimal(start)} °C. What "
        "is the new temperature in °C, in °F and in K?"
    )
    reasoning = paragraphs(
        f"In degrees Celsius: {decimal(start)} - {decimal(change)} = {decimal(end)} °C.",
        "To get degrees Fahrenheit, multiply by 9/5 and add 32: "
        f"{decimal(end)} × 9/5 = {decimal(end * 9 / 5)}, and {decimal(end * 9 / 5)} + 32 = "
        f"{decimal(after)} °F.",
        f"To get kelvin, add 273.15: {decimal(end)} + 273.15 = {decimal(kelvin)} K.",
        f"Check: the start was {decimal(before)} °F. A fall of {decimal(change)} °C is a fall of "
        f"{decimal(change)} × 9/5 = {decimal(change * 9 / 5)} °F, since the 32 does not count for "
        f"differences, and {decimal(before)} - {decimal(change * 9 / 5)} = {decimal(after)}.",
        f"Answer: {decimal(end)} °C = {decimal(after)} °F = {decimal(kelvin)} K.",
    )
    return question, reasoning


def fuel(rng: random.Random) -> Row:
    name = rng.choice(NAMES)
    tenths, hundreds = 2 * rng.randint(20, 45), rng.randint(2, 9)
    cents, people = 5 * rng.randint(28, 42), rng.choice((2, 4, 5))
    usage, litres = Fraction(tenths, 10), Fraction(tenths * hundreds, 10)
    cost = tenths * hundreds * cents // 10
    share = Fraction(cost, 100 * people)
    assert litres * Fraction(cents, 100) == Fraction(cost, 100) and share * people * 100 == cost
    question = (
        f"{name}'s car uses {decimal(usage)} L of petrol per 100 km, and a litre costs "
        f"{money(cents)} €. What does a trip of {hundreds * 100} km cost, and what is the exact "
        f"share of each person if {people} people split the cost equally?"
    )
    reasoning = paragraphs(
        f"The trip is {hundreds * 100} km / 100 km = {hundreds} times the reference distance, so "
        f"the car needs {hundreds} × {decimal(usage)} L = {decimal(litres)} L.",
        f"At {money(cents)} € per litre this costs {decimal(litres)} L × {money(cents)} €/L = "
        f"{money(cost)} €.",
        f"Split between {people} people, each pays {money(cost)} € / {people} = "
        f"{decimal(share)} €. Multiplying back gives {people} × {decimal(share)} = "
        f"{money(cost)}, so the shares cover the whole cost.",
        f"Answer: {money(cost)} € in total, {decimal(share)} € each.",
    )
    return question, reasoning


def days_in(year: int, month: int) -> int:
    following = datetime.date(year + month // 12, month % 12 + 1, 1)
    return (following - datetime.timedelta(days=1)).day


def spoken(day: datetime.date) -> str:
    return f"{day.day} {MONTHS[day.month - 1]} {day.year}"


def days_later(rng: random.Random) -> Row:
    start = datetime.date(rng.randint(1995, 2035), rng.randint(1, 12), rng.randint(1, 28))
    count = rng.randint(25, 130)
    year, month, day, left, lines = start.year, start.month, start.day, count, []
    while day + left > days_in(year, month):
        length = days_in(year, month)
        used = length - day + 1
        left -= used
        label = f"{MONTHS[month - 1]} {year}"
        year, month, day = year + month // 12, month % 12 + 1, 1
        lines.append(
            f"- {label} has {length} days. Going to 1 {MONTHS[month - 1]} uses {used}, {left} left."
        )
    end = datetime.date(year, month, day + left)
    assert end == start + datetime.timedelta(days=count)
    weekday, shift = WEEKDAYS[start.weekday()], count % 7
    final = WEEKDAYS[(start.weekday() + shift) % 7]
    assert final == WEEKDAYS[end.weekday()]
    question = (
        f"{spoken(start)} is a {weekday}. Which date is {count} days later, and which day of the "
        "week is it?"
    )
    reasoning = paragraphs(
        f"Walk forward from {spoken(start)} month by month, with {count} days to go.",
        "\n".join(lines) if lines else f"All {count} days fit into the same month.",
        f"Days still to go from {day} {MONTHS[month - 1]}: {left}. That leads to {spoken(end)}.",
        f"For the weekday only the remainder modulo 7 matters: {count} = {count // 7} × 7 + "
        f"{shift}. Moving on {shift} from {weekday} gives {final}.",
        f"Answer: {final}, {spoken(end)} ({end.isoformat()}).",
    )
    return question, reasoning


# ---------------------------------------------------------------- code


def printed(source: str) -> str:
    """What Python itself prints for one of the programs below."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(source, {})  # noqa: S102 - only ever a program written in this file
    return out.getvalue().strip()


def loop_trace(rng: random.Random) -> Row:
    start, step, divisor = rng.randint(1, 12), rng.randint(2, 5), rng.randint(2, 4)
    count, loss = rng.randint(5, 8), rng.randint(1, 9)
    values = range(start, start + step * count, step)
    source = (
        "total = 0\n"
        f"for i in range({start}, {values.stop}, {step}):\n"
        f"    if i % {divisor} == 0:\n"
        "        total += i\n"
        "    else:\n"
        f"        total -= {loss}\n"
        "print(total)\n"
    )
    total, table = 0, [f"i\ti % {divisor}\ttotal"]
    for i in values:
        total += i if i % divisor == 0 else -loss
        table.append(f"{i}\t{i % divisor}\t{total}")
    assert printed(source) == str(total)
    hits = [i for i in values if i % divisor == 0]
    question = f"What does this Python program print?\n\n```python\n{source}```"
    reasoning = paragraphs(
        f"`range({start}, {values.stop}, {step})` yields {', '.join(map(str, values))}; the end "
        f"value {values.stop} itself is not included.",
        f"A value divisible by {divisor} is added to `total`; for every other value {loss} is "
        "subtracted. After each pass the variables are:",
        "```\n" + "\n".join(table) + "\n```",
        f"Check: the values divisible by {divisor} add up to {sum(hits)}, the other "
        f"{count - len(hits)} cost {count - len(hits)} × {loss} = {(count - len(hits)) * loss}, "
        f"and {sum(hits)} - {(count - len(hits)) * loss} = {total}.",
        f"Answer: it prints `{total}`.",
    )
    return question, reasoning


def collatz(rng: random.Random) -> Row:
    chain: list[int] = []
    while not 6 <= len(chain) <= 18:
        chain = [rng.randint(5, 400)]
        while chain[-1] != 1:
            chain.append(chain[-1] // 2 if chain[-1] % 2 == 0 else 3 * chain[-1] + 1)
    source = (
        "def steps(n):\n\tcount = 0\n\twhile n != 1:\n\t\tif n % 2 == 0:\n\t\t\tn //= 2\n"
        "\t\telse:\n\t\t\tn = 3 * n + 1\n\t\tcount += 1\n\treturn count\n\n"
        f"print(steps({chain[0]}))\n"
    )
    odd = [n for n in chain[:-1] if n % 2]
    moves, halvings = len(chain) - 1, len(chain) - 1 - len(odd)
    assert printed(source) == str(moves)
    question = (
        "The program below is indented with tabs. Trace it and say what it prints.\n\n"
        f"```python\n{source}```"
    )
    tripled = f"at {', '.join(map(str, odd))}" if odd else "never"
    reasoning = paragraphs(
        "Each pass of the `while` loop changes `n` once and adds 1 to `count`: an even `n` is "
        "halved, an odd `n` becomes `3 * n + 1`. The loop ends when `n` is 1.",
        f"Starting with {chain[0]}, the values of `n` are:\n\n\t"
        + " -> ".join(str(n) for n in chain),
        f"The `else` branch is taken {tripled} (passes: {len(odd)}); the other {halvings} passes "
        f"halve. So `count` ends at {len(odd)} + {halvings} = {moves}.",
        f"Answer: it prints `{moves}`.",
    )
    return question, reasoning


PIECES = {
    "\\\\": "an escaped backslash, 1 character",
    '\\"': "an escaped double quote, 1 character",
    "\\n": "a line feed, 1 character",
    "\\t": "a tab, 1 character",
    "'": "a single quote, which needs no escape here, 1 character",
}


def escapes(rng: random.Random) -> Row:
    words = rng.sample(("C:", "temp", "say", "new", "table", "naïve", "10%", "x=1", "été"), 3)
    marks = ["\\\\", *rng.sample(sorted(PIECES), 3)]
    rng.shuffle(marks)
    parts = [marks[0], words[0], marks[1], words[1], marks[2], words[2], marks[3]]
    literal = '"' + "".join(parts) + '"'
    value = ast.literal_eval(literal)
    sizes = [1 if part in PIECES else len(part) for part in parts]
    backslashes = parts.count("\\\\")
    assert sum(sizes) == len(value) and backslashes == value.count("\\")
    lines = [
        f"- `{part}`: {PIECES.get(part, f'{size} plain characters')}"
        for part, size in zip(parts, sizes, strict=True)
    ]
    question = (
        f"How many characters has the string that the Python literal `{literal}` stands for, and "
        "how many of them are backslashes?"
    )
    reasoning = paragraphs(
        "The outer double quotes only mark where the literal starts and ends. Read what is "
        "between them from left to right:",
        "\n".join(lines),
        f"Adding up: {' + '.join(map(str, sizes))} = {len(value)}. Only `\\\\` leaves a backslash "
        "in the value; in the other escapes it is used up.",
        f'Written as a JSON object, the value is `{{"s": {json.dumps(value, ensure_ascii=False)}}}`'
        ".",
        f"Answer: characters: {len(value)}, backslashes: {backslashes}.",
    )
    return question, reasoning


def json_total(rng: random.Random) -> Row:
    goods = rng.sample(("crème brûlée", '12" pizza', "smørrebrød", "pierogi", "jalapeños"), 3)
    customer = rng.choice(("Zoë", "Łukasz", "José", "Søren", "Ngọc", 'Ann "Annie" Lee'))
    counts = [rng.randint(1, 6) for _ in goods]
    prices = [5 * rng.randint(30, 300) for _ in goods]
    items = [
        {"name": name, "qty": count, "cents": price}
        for name, count, price in zip(goods, counts, prices, strict=True)
    ]
    order = {"customer": customer, "paid": False, "items": items}
    document = json.dumps(order, ensure_ascii=False, indent=rng.choice((None, 2)))
    sums = [count * price for count, price in zip(counts, prices, strict=True)]
    total, units = sum(sums), sum(counts)
    reply = json.dumps(
        {"customer": customer, "units": units, "total_cents": total}, ensure_ascii=False
    )
    read_back = json.loads(document)["items"]
    assert json.loads(reply)["total_cents"] == sum(i["qty"] * i["cents"] for i in read_back)
    lines = [
        f"- {item['name']}: {item['qty']} × {item['cents']} = {amount}"
        for item, amount in zip(items, sums, strict=True)
    ]
    question = (
        "How many units does this order have and what is its total? Prices are in cents per "
        f"unit. Reply with a JSON object.\n\n{document}"
    )
    reasoning = paragraphs(
        'Every entry of `"items"` has a quantity `"qty"` and a price `"cents"`. Multiply the two '
        "for each entry:",
        "\n".join(lines),
        f"The total is {' + '.join(map(str, sums))} = {total} cents, that is {money(total)} €. "
        f"The units are {' + '.join(map(str, counts))} = {units}.",
        'Quotes inside a name have to be written as `\\"` in JSON; letters with accents may stay '
        "as they are.",
        f"Answer: {reply}",
    )
    return question, reasoning


# ---------------------------------------------------------------- sets, logic, sequences, chance


def listed(numbers: set[int]) -> str:
    return "{" + ", ".join(map(str, sorted(numbers))) + "}" if numbers else "∅"


def set_overlap(rng: random.Random) -> Row:
    limit = rng.randint(18, 32)
    p, q = sorted(rng.sample(range(2, 8), 2))
    left, right = set(range(p, limit + 1, p)), set(range(q, limit + 1, q))
    both, either = left & right, left | right
    outside = limit - (len(left) + len(right) - len(both))
    assert outside == sum(1 for n in range(1, limit + 1) if n % p and n % q)
    question = (
        f"Let A be the multiples of {p} and B the multiples of {q} among the whole numbers from 1 "
        f"to {limit}. Find A ∩ B and the size of A ∪ B. How many of the numbers are in neither "
        "set?"
    )
    reasoning = paragraphs(
        f"Write out both sets.\nA = {listed(left)}, so |A| = {len(left)}.\n"
        f"B = {listed(right)}, so |B| = {len(right)}.",
        f"A number is in both exactly if it is a multiple of lcm({p}, {q}) = {math.lcm(p, q)}: "
        f"A ∩ B = {listed(both)}, so |A ∩ B| = {len(both)}.",
        "Counting A and B together counts the overlap twice, so subtract it once: "
        f"|A ∪ B| = {len(left)} + {len(right)} - {len(both)} = {len(either)}.",
        f"The numbers in neither set are the rest: {limit} - {len(either)} = {outside}.",
        f"Answer: A ∩ B = {listed(both)}, |A ∪ B| = {len(either)}, in neither set: {outside}.",
    )
    return question, reasoning


CLAIMS: tuple[tuple[str, Callable[[bool, bool], bool]], ...] = (
    ("We are both knaves.", lambda me, other: not me and not other),
    ("The other one is a knave.", lambda me, other: not other),
    ("We are of the same kind.", lambda me, other: me == other),
    ("We are of different kinds.", lambda me, other: me != other),
    ("At least one of us is a knave.", lambda me, other: not (me and other)),
    ("I am a knave or the other one is a knight.", lambda me, other: not me or other),
)


def knights(rng: random.Random) -> Row:
    first, second = rng.sample(NAMES, 2)
    cases = list(itertools.product((True, False), repeat=2))
    while True:
        (says, claim), (replies, answer) = rng.sample(CLAIMS, 2)
        fitting = [(m, o) for m, o in cases if claim(m, o) == m and answer(o, m) == o]
        if len(fitting) == 1:
            break
    kind = {True: "knight", False: "knave"}
    lines = []
    for number, (m, o) in enumerate(cases, 1):
        head = f"{number}. {first} {kind[m]}, {second} {kind[o]}: "
        spoke = ((first, m, claim(m, o)), (second, o, answer(o, m)))
        wrong = [f"{who}, a {kind[k]}, would say something {t}" for who, k, t in spoke if k != t]
        verdict = wrong[0].replace("True", "true").replace("False", "false") if wrong else ""
        lines.append(head + (f"{verdict}, impossible." if wrong else "both sentences fit."))
    assert sum(line.endswith("fit.") for line in lines) == 1
    me, other = fitting[0]
    question = (
        "On an island knights always tell the truth and knaves always lie. "
        f'{first} says: "{says}" {second} says: "{replies}" What are the two?'
    )
    reasoning = paragraphs(
        "There are four possible cases. A case is possible only if every knight's sentence is "
        "true and every knave's sentence is false in it.",
        "\n".join(lines),
        "Exactly one case survives, so the puzzle has a single solution.",
        f"Answer: {first} is a {kind[me]} and {second} is a {kind[other]}.",
    )
    return question, reasoning


def race(rng: random.Random) -> Row:
    order = rng.sample(NAMES, 5)
    pairs = list(itertools.pairwise(order))
    mixed = rng.sample(pairs, len(pairs))
    clues = [
        f"{a} finished before {b}." if rng.random() < 0.5 else f"{b} finished after {a}."
        for a, b in mixed
    ]
    fitting = [
        p
        for p in itertools.permutations(sorted(order))
        if all(p.index(a) < p.index(b) for a, b in pairs)
    ]
    assert fitting == [tuple(order)]
    place = rng.choice(((1, "second"), (2, "third"), (3, "fourth")))
    question = (
        f"Five friends ran a race without ties. {' '.join(clues)} Give the whole order. Who came "
        f"{place[1]}?"
    )
    steps = [f"- Directly known to be behind {a}: {b}." for a, b in pairs]
    reasoning = paragraphs(
        "Write every clue in the same direction, the faster runner first: "
        + ", ".join(f"{a} < {b}" for a, b in mixed)
        + ".",
        f"Only {order[0]} never stands on the right-hand side, so nobody beat {order[0]}, who "
        "came first. From there follow the clues:",
        "\n".join(steps),
        f"This makes one chain through all five, {' < '.join(order)}, so no other order is "
        "possible.",
        f"Answer: {', '.join(order)}; {order[place[0]]} came {place[1]}.",
    )
    return question, reasoning


def sequence(rng: random.Random) -> Row:
    a, b, c = rng.randint(1, 5), rng.randint(-6, 9), rng.randint(-9, 12)
    n = rng.randint(12, 40)
    terms = [a * k * k + b * k + c for k in range(1, 7)]
    first = [y - x for x, y in itertools.pairwise(terms)]
    second = [y - x for x, y in itertools.pairwise(first)]
    wanted = a * n * n + b * n + c
    value, jump = terms[0], first[0]
    for _ in range(n - 1):
        value, jump = value + jump, jump + 2 * a
    assert value == wanted and set(second) == {2 * a}
    formula = polynomial((a, "n^2"), (b, "n"), (c, ""))
    question = (
        f"A sequence with constant second differences begins {', '.join(map(str, terms))}. Find a "
        f"formula for the $n$-th term and compute the term number {n}."
    )
    reasoning = paragraphs(
        f"First differences: {', '.join(map(str, first))}.\n"
        f"Second differences: {', '.join(map(str, second))}.",
        "Constant second differences mean a quadratic formula $a_n = pn^2 + qn + r$ with "
        f"$2p = {2 * a}$, so $p = {a}$.",
        f"The first difference between terms 1 and 2 is $3p + q = {first[0]}$, so "
        rf"$q = {first[0]} - 3 \cdot {a} = {b}$. The first term is $p + q + r = {terms[0]}$, so "
        f"$r = {terms[0]} - {a} - {bracketed(b)} = {c}$.",
        f"Therefore $a_n = {formula}$. For $n = {n}$ this is "
        rf"${a} \cdot {n * n} + {bracketed(b)} \cdot {n} + {bracketed(c)} = {wanted}$.",
        rf"Answer: $a_n = {formula}$ and $a_{{{n}}} = {wanted}$.",
    )
    return question, reasoning


def urn(rng: random.Random) -> Row:
    red, blue, green = rng.randint(3, 9), rng.randint(2, 8), rng.randint(2, 6)
    total = red + blue + green
    ways = [k * (k - 1) for k in (red, blue, green)]
    same = Fraction(sum(ways), total * (total - 1))
    balls = "r" * red + "b" * blue + "g" * green
    drawn = list(itertools.combinations(balls, 2))
    assert same == Fraction(sum(x == y for x, y in drawn), len(drawn))
    question = (
        f"An urn holds {red} red, {blue} blue and {green} green balls. Two balls are drawn "
        "without replacement. What is the probability that they have the same colour, and what "
        "that they differ?"
    )
    products = " + ".join(
        rf"\frac{{{k}}}{{{total}}} \cdot \frac{{{k - 1}}}{{{total - 1}}}"
        for k in (red, blue, green)
    )
    reasoning = paragraphs(
        f"There are {red} + {blue} + {green} = {total} balls. After the first draw {total - 1} "
        "remain, and one ball fewer of the colour drawn.",
        f"Add the probabilities of red-red, blue-blue and green-green:\n$${products}.$$",
        f"The common denominator is ${total} \\cdot {total - 1} = {total * (total - 1)}$ and the "
        f"numerators are ${' + '.join(map(str, ways))} = {sum(ways)}$, so\n"
        rf"$$P(\text{{same}}) = \frac{{{sum(ways)}}}{{{total * (total - 1)}}} = {latex(same)}.$$",
        rf"The opposite event has probability $1 - {latex(same)} = {latex(1 - same)}$.",
        f"Answer: same colour ${latex(same)}$, different colours ${latex(1 - same)}$.",
    )
    return question, reasoning


# The last two are one picture each, made of several code points.
EMOJI = ("🍎", "🍌", "🎈", "🐱", "🌟", "🧩", "\U0001f469\u200d\U0001f680", "\U0001f44d\U0001f3fd")


def emoji(rng: random.Random) -> Row:
    kinds = rng.sample(EMOJI, 3)
    rows = [[rng.choice(kinds) for _ in range(rng.randint(5, 9))] for _ in range(3)]
    per_row = [[row.count(kind) for kind in kinds] for row in rows]
    totals = [sum(row[k] for row in per_row) for k in range(3)]
    shown = "\n".join("".join(row) for row in rows)
    assert totals == [shown.count(kind) for kind in kinds]
    assert sum(totals) == sum(map(len, rows))
    question = f"How many {kinds[0]}, {kinds[1]} and {kinds[2]} are there in total?\n\n{shown}"
    lines = [
        f"Line {number} is {''.join(row)}. It has "
        + ", ".join(f"{kind} × {n}" for kind, n in zip(kinds, counts, strict=True))
        + f", {len(row)} pictures in all."
        for number, (row, counts) in enumerate(zip(rows, per_row, strict=True), 1)
    ]
    sums = "\n".join(
        f"- {kind}: {' + '.join(str(counts[k]) for counts in per_row)} = {totals[k]}"
        for k, kind in enumerate(kinds)
    )
    reasoning = paragraphs(
        "Count line by line, one picture at a time.",
        "\n".join(lines),
        f"Now add the lines:\n{sums}",
        f"Check: {' + '.join(map(str, totals))} = {sum(totals)}, and the lines have "
        f"{' + '.join(str(len(row)) for row in rows)} = {sum(map(len, rows))} pictures.",
        "Answer: " + ", ".join(f"{k} {n}" for k, n in zip(kinds, totals, strict=True)) + ".",
    )
    return question, reasoning


# ---------------------------------------------------------------- other languages


def german(rng: random.Random) -> Row:
    return rng.choice((german_bakery, german_train))(rng)


def german_bakery(rng: random.Random) -> Row:
    name = rng.choice(("Frau Müller", "Frau Weiß", "Frau Jäger", "Frau Schröder"))
    one, two = rng.sample(("Brötchen", "Nussschnecken", "Käsestangen", "Müslibrötchen"), 2)
    n, m = rng.randint(3, 9), rng.randint(2, 7)
    p, q = 5 * rng.randint(7, 24), 5 * rng.randint(15, 45)
    total = n * p + m * q
    note = min(value for value in (10, 20, 50) if value * 100 > total)
    change = note * 100 - total
    assert change + sum([p] * n + [q] * m) == note * 100 and change > 0
    question = (
        f"{name} kauft beim Bäcker {n} {one} zu je {money(p, ',')} € und {m} {two} zu je "
        f"{money(q, ',')} €. Sie bezahlt mit einem {note}-Euro-Schein. Wie viel Rückgeld erhält "
        "sie?"
    )
    reasoning = paragraphs(
        f"Zuerst der Preis für die {one}: {n} × {money(p, ',')} € = {money(n * p, ',')} €.",
        f"Dann der Preis für die {two}: {m} × {money(q, ',')} € = {money(m * q, ',')} €.",
        f"Zusammen kostet der Einkauf {money(n * p, ',')} € + {money(m * q, ',')} € = "
        f"{money(total, ',')} €.",
        f"Das Rückgeld ist die Differenz zum Geldschein: {note},00 € - {money(total, ',')} € = "
        f"{money(change, ',')} €.",
        f"Antwort: {name} erhält {money(change, ',')} € zurück.",
    )
    return question, reasoning


def german_train(rng: random.Random) -> Row:
    start, goal = rng.sample(("Köln", "München", "Nürnberg", "Würzburg", "Lübeck", "Göttingen"), 2)
    begin = datetime.datetime(2024, 5, 6, rng.randint(6, 15), rng.randint(1, 59))
    hours, minutes, late = rng.randint(2, 5), rng.randint(5, 55), rng.randint(6, 48)
    end = begin + datetime.timedelta(hours=hours, minutes=minutes + late)
    sum_minutes = begin.minute + minutes + late
    carry, rest = divmod(sum_minutes, 60)
    hour = begin.hour + hours + carry
    assert (hour, rest) == (end.hour, end.minute) and end.day == begin.day
    question = (
        f"Ein Zug fährt um {begin:%H:%M} Uhr in {start} ab. Die Fahrt nach {goal} dauert laut "
        f"Fahrplan {hours} Stunden und {minutes} Minuten, der Zug hat aber {late} Minuten "
        "Verspätung. Wann kommt er an?"
    )
    over = (
        f"Darin stecken volle Stunden: {sum_minutes} = {carry} × 60 + {rest}."
        if carry
        else "Das ist weniger als eine volle Stunde, es gibt also keinen Übertrag."
    )
    reasoning = paragraphs(
        "Stunden und Minuten werden getrennt addiert.",
        f"Minuten: {begin.minute} + {minutes} + {late} = {sum_minutes}. {over}",
        f"Stunden: {begin.hour} + {hours} + {carry} (Übertrag) = {hour}.",
        f"Der Zug kommt also um {end:%H:%M} Uhr an. Ohne die Verspätung wäre er schon um "
        f"{end - datetime.timedelta(minutes=late):%H:%M} Uhr in {goal} gewesen.",
        f"Antwort: Die Ankunft ist um {end:%H:%M} Uhr.",
    )
    return question, reasoning


def french(rng: random.Random) -> Row:
    return rng.choice((french_market, french_fence))(rng)


def euros(cents: int) -> str:
    return f"{money(cents, ',')}{NBSP}€"


def french_market(rng: random.Random) -> Row:
    name = rng.choice(("Zoé", "Éloïse", "Françoise", "Anaïs"))
    one, two = rng.sample(("pêches", "mûres", "cerises", "poires", "fèves"), 2)
    n, m = rng.randint(2, 5), rng.randint(2, 6)
    p, q = 10 * rng.randint(18, 48), 10 * rng.randint(22, 69)
    total = n * p + m * q
    budget = (total // 1000 + rng.randint(1, 2)) * 1000
    rest = budget - total
    assert rest > 0 and budget - sum([p] * n) - sum([q] * m) == rest
    question = (
        f"Au marché, {name} achète {n}{NBSP}kg de {one} à {euros(p)} le kilo et {m}{NBSP}kg de "
        f"{two} à {euros(q)} le kilo. Elle avait {euros(budget)} en arrivant. Combien lui "
        f"reste-t-il{NBSP}?"
    )
    reasoning = paragraphs(
        f"On calcule d’abord le prix des {one}{NBSP}: {n} × {euros(p)} = {euros(n * p)}.",
        f"On calcule ensuite le prix des {two}{NBSP}: {m} × {euros(q)} = {euros(m * q)}.",
        f"La dépense totale s’élève à {euros(n * p)} + {euros(m * q)} = {euros(total)}.",
        f"Il suffit de soustraire cette somme de l’argent de départ{NBSP}: {euros(budget)} - "
        f"{euros(total)} = {euros(rest)}.",
        f"Réponse{NBSP}: il lui reste {euros(rest)}.",
    )
    return question, reasoning


def french_fence(rng: random.Random) -> Row:
    long, wide = rng.randint(30, 75), rng.randint(12, 29)
    gate, price = rng.randint(2, 5), 50 * rng.randint(6, 25)
    around = 2 * (long + wide)
    fence = around - gate
    cost = fence * price
    assert cost == (long + wide + long + wide) * price - gate * price
    question = (
        f"Un pré rectangulaire mesure {long}{NBSP}m de long et {wide}{NBSP}m de large. On veut le "
        f"clôturer en laissant une entrée de {gate}{NBSP}m. Le grillage coûte {euros(price)} le "
        f"mètre. Quelle est l’aire du pré et combien coûtera la clôture{NBSP}?"
    )
    reasoning = paragraphs(
        f"L’aire est le produit des deux côtés{NBSP}: {long} × {wide} = {long * wide}{NBSP}m².",
        f"Le périmètre vaut 2 × ({long} + {wide}) = 2 × {long + wide} = {around}{NBSP}m.",
        f"On enlève l’entrée, qui n’est pas clôturée{NBSP}: {around} - {gate} = "
        f"{fence}{NBSP}m de grillage.",
        f"Le coût de la clôture est donc {fence} × {euros(price)} = {euros(cost)}.",
        f"Réponse{NBSP}: l’aire est de {long * wide}{NBSP}m² et la clôture coûtera {euros(cost)}.",
    )
    return question, reasoning


def japanese(rng: random.Random) -> Row:
    return rng.choice((japanese_shop, japanese_walk))(rng)


def japanese_shop(rng: random.Random) -> Row:
    name = rng.choice(("花子", "健太", "美咲", "大輔", "さくら"))
    goods = (("りんご", "個"), ("ノート", "冊"), ("鉛筆", "本"), ("絵はがき", "枚"), ("パン", "個"))
    (one, unit), (two, other) = rng.sample(goods, 2)
    n, m = rng.randint(3, 9), rng.randint(2, 8)
    p, q = 10 * rng.randint(6, 24), 10 * rng.randint(8, 30)
    total = n * p + m * q
    note = min(value for value in (1000, 5000, 10000) if value > total)
    change = note - total
    assert change > 0 and total == sum([p] * n + [q] * m)
    question = (
        f"{name}さんは、1{unit}{p}円の{one}を{n}{unit}と、1{other}{q}円の{two}を{m}{other}"
        f"買いました。レジで{note}円札を1枚出すと、おつりはいくらですか。"
    )
    reasoning = paragraphs(
        "おつりを求めるには、まず買い物の合計金額を計算し、それを出したお金から引きます。"
        "品物ごとに「値段 × 数」を求めて、順番に足していきましょう。",
        f"はじめに、{one}の代金を求めます。1{unit}{p}円のものを{n}{unit}買ったので、"
        f"{p} × {n} = {p * n}（円）です。",
        f"次に、{two}の代金を求めます。1{other}{q}円のものを{m}{other}買ったので、"
        f"{q} × {m} = {q * m}（円）です。",
        f"合計金額は、{p * n} + {q * m} = {total}（円）になります。",
        f"{note}円札を出したので、おつりは {note} - {total} = {change}（円）です。"
        f"たしかめ：{total} + {change} = {note}。",
        f"答え：{change}円",
    )
    return question, reasoning


def japanese_walk(rng: random.Random) -> Row:
    name = rng.choice(("花子", "健太", "美咲", "大輔", "さくら"))
    speed, time = 5 * rng.randint(12, 18), rng.randint(15, 42)
    hour, minute = rng.randint(7, 9), rng.randint(20, 58)
    distance = speed * time
    carry, rest = divmod(minute + time, 60)
    arrival = datetime.datetime(2024, 4, 1, hour, minute) + datetime.timedelta(minutes=time)
    assert (arrival.hour, arrival.minute) == (hour + carry, rest) and distance // speed == time
    question = (
        f"家から図書館までの道のりは{distance}mです。{name}さんは毎分{speed}mの速さで歩きます。"
        f"午前{hour}時{minute}分に家を出ると、図書館に着くのは午前何時何分ですか。"
    )
    over = (
        f"60分で1時間くり上がるので、{minute + time} - 60 = {rest}（分）となり、"
        f"時刻は{hour} + 1 = {hour + 1}時台になります。"
        if carry
        else f"60分より小さいので、くり上がりはなく、時刻は{hour}時台のままです。"
    )
    reasoning = paragraphs(
        "かかる時間は「道のり ÷ 速さ」で求められます。道のりの単位はm、速さの単位は毎分何mなので、"
        "答えの単位は分になります。単位がそろっているので、そのまま計算できます。",
        f"歩く時間は、{distance} ÷ {speed} = {time}（分）です。"
        f"たしかめると、{speed} × {time} = {distance}（m）となり、問題の道のりと同じです。",
        f"次に、家を出た時刻に{time}分を足します。分だけを見ると、{minute} + {time} = "
        f"{minute + time}（分）です。{over}",
        f"答え：午前{arrival.hour}時{arrival.minute}分",
    )
    return question, reasoning


def arabic(rng: random.Random) -> Row:
    return rng.choice((arabic_books, arabic_drive))(rng)


def eastern(text: str) -> str:
    """The same text with Arabic-Indic digits."""
    return text.translate(str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩"))


def arabic_books(rng: random.Random) -> Row:
    name = rng.choice(("أحمد", "يوسف", "سامي", "كريم"))
    crates, each, shelves = rng.randint(4, 12), rng.randint(10, 30), rng.randint(3, 9)
    total = crates * each
    given = total % shelves + shelves * rng.randint(1, 3)
    rest = total - given
    per_shelf = rest // shelves
    assert per_shelf * shelves + given == crates * each and per_shelf > 0
    question = (
        f"عند {name} صناديق عددها {crates}، وفي كل صندوق كتب عددها {each}. أهدى منها إلى المدرسة "
        f"كتبًا عددها {given}، ثم وزّع الباقي بالتساوي على رفوف عددها {shelves}. كم كتابًا وضع على "
        "كل رف؟"
    )
    reasoning = paragraphs(
        "نحسب أولًا عدد الكتب كلها بضرب عدد الصناديق في عدد الكتب في كل صندوق: "
        f"{crates} × {each} = {total}.",
        f"بعد ذلك نطرح عدد الكتب التي أهداها {name} إلى المدرسة: {total} - {given} = {rest}.",
        f"ثم نقسم الباقي على عدد الرفوف: {rest} ÷ {shelves} = {per_shelf}.",
        f"للتحقق نضرب الناتج في عدد الرفوف ونضيف الكتب المهداة: {per_shelf} × {shelves} + "
        f"{given} = {total}، وهو عدد الكتب الذي بدأنا به.",
        f"الجواب: عدد الكتب على كل رف هو {per_shelf}.",
    )
    return question, reasoning


def arabic_drive(rng: random.Random) -> Row:
    speed, hours = 2 * rng.randint(25, 55), rng.randint(3, 7)
    half = speed // 2
    driven = speed * hours + half
    left = 10 * rng.randint(3, 30)
    trip = driven + left
    assert driven == speed * Fraction(2 * hours + 1, 2) and trip - driven == left
    question = (
        f"طول الطريق بين مدينتين {trip} كم. تسير سيارة بسرعة ثابتة قدرها {speed} كم في الساعة. "
        f"ما المسافة التي تقطعها في {hours} ساعات ونصف الساعة، وما المسافة الباقية؟"
    )
    reasoning = paragraphs(
        "المسافة تساوي السرعة مضروبة في الزمن، ويمكن أن نحسب الساعات الكاملة أولًا ثم نصف الساعة.",
        f"في الساعات الكاملة تقطع السيارة {speed} × {hours} = {speed * hours} كم.",
        f"وفي نصف الساعة تقطع نصف ما تقطعه في ساعة كاملة: {speed} ÷ 2 = {half} كم.",
        f"فالمسافة المقطوعة هي {speed * hours} + {half} = {driven} كم.",
        f"والمسافة الباقية هي {trip} - {driven} = {left} كم.",
        f"الجواب: تقطع السيارة {driven} كم، ويبقى {left} كم.",
    )
    return eastern(question), eastern(reasoning)


# ---------------------------------------------------------------- the file

GENERATORS: tuple[Generator, ...] = (
    boxes,
    quadratic,
    loop_trace,
    german,
    euclid,
    micrometres,
    knights,
    japanese,
    discount,
    json_total,
    days_later,
    emoji,
    linear_system,
    french,
    urn,
    escapes,
    temperature,
    arabic,
    collatz,
    set_overlap,
    cyclists,
    modular_power,
    race,
    sequence,
    fuel,
)


def check_row(row: Row) -> None:
    question, reasoning = row
    for text in row:
        assert text.strip() == text != "", text
        assert unicodedata.is_normalized("NFC", text), text
        assert not any(mark in text for mark in ("<|", "|>", "\r", "\u2028", "\u2029")), text
    assert "\n\n" in reasoning and 180 <= len(reasoning) <= 1000, (len(reasoning), question)


def build_rows() -> list[Row]:
    rng = random.Random(SEED)
    rows: dict[str, Row] = {}
    for _ in range(ROUNDS):
        for generate in GENERATORS:
            row = generate(rng)
            while row[0] in rows:
                row = generate(rng)
            check_row(row)
            rows[row[0]] = row
    assert len({question for question, _ in rows.values()}) == ROUNDS * len(GENERATORS) == 400
    return list(rows.values())


def encode(rows: list[Row]) -> bytes:
    lines = (
        json.dumps({"question": question, "reasoning": reasoning}, ensure_ascii=False)
        for question, reasoning in rows
    )
    return "".join(line + "\n" for line in lines).encode("utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description="Write the sample data set reasoning.jsonl.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 on a change")
    wanted = encode(build_rows())
    if not parser.parse_args().check:
        OUTPUT.write_bytes(wanted)
        return 0
    if OUTPUT.is_file() and OUTPUT.read_bytes() == wanted:
        return 0
    print(f"{OUTPUT.name} differs from what make_sample.py writes; run it again", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
