"""Generators of commands with their arguments, one module a family.

A module has `commands(g)`, a list of functions that each return the words of one command, or a list of
commands, and may have `NORMAL`, from command name to a function that brings a parsed reply into an order of its own
(Redis returns the members of a set in the order of its hash table), and `SETTINGS`, what its
commands change with CONFIG SET, as it is before.
"""
import importlib
import pathlib

FAR = 33_000_000_000  # seconds: expiries that do not come
STRING_KEYS = ["a", "b", "c", "d", "{t}1", "", "k" * 300]
VALUES = ["", "0", "1", "-1", "10", "9223372036854775807", "-9223372036854775808", " 1", "01", "1.5",
    "-0", "3.0e3", "abc", "ABCDEF", "x" * 44, "x" * 45, "hello world" * 100, "\r\n", "\x00\xff", "nan",
    "inf", "1e400", "y" * 20000]
NUMBERS = ["0", "1", "-1", "2", "5", "100", "-100", "9223372036854775807", "-9223372036854775808",
    "abc", "", "1.5", " 1", "536870911", "536870912"]
KINDS = ["list", "hash", "set", "zset", "stream", "bits", "hll", "geo"]
SHARED_KEYS = STRING_KEYS + [f"{kind}{i}" for kind in KINDS for i in range(3)]
# Ranges by member mean something only while all scores are the same: nobody else touches these.
LEX_KEYS = ["lex0", "lex1"]
# What SORT's patterns make of its elements.
SORT_KEYS = ["sort-list", "sort-set", "sort-zset", "sort-target"] + [
    f"{kind}_{n}" for kind in "wh" for n in ("3", "1", "2", "10", "-5", "1.5", "0", "100", "7", "20")]
KEYS = SHARED_KEYS + LEX_KEYS + SORT_KEYS


class Arguments:
    """Random arguments; one seeded source for all."""

    def __init__(self, r):
        self.r = r

    def key(self, kind=None):
        """A key, mostly one that holds values of this kind."""
        if kind and self.r.random() < 0.93:
            return f"{kind}{self.r.randrange(3)}"
        return self.r.choice(STRING_KEYS if kind is None or self.r.random() < 0.7 else SHARED_KEYS)

    def value(self):
        return self.r.choice(VALUES)

    def number(self):
        return self.r.choice(NUMBERS)

    def far(self):
        return str(FAR + self.r.randrange(1000))

    def some(self, make, most=3):
        """One to `most` of what `make` makes."""
        return [make() for _ in range(self.r.randint(1, most))]


def modules():
    """All families by name."""
    here = pathlib.Path(__file__).parent
    names = sorted(p.stem for p in here.glob("*.py") if p.stem != "__init__")
    return {name: importlib.import_module(f"families.{name}") for name in names}
