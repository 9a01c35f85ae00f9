"""Strings as arrays of bits."""


def commands(g):
    r, k, n = g.r, lambda: g.key("bits"), g.number
    offset = lambda: r.choice([str(r.randrange(200)), str(r.randrange(200)), str(r.randrange(100000)), "-1", "abc", "",
        "4294967296", "9223372036854775807", "0", "7", "8", "63", "64", "1.5"])
    place = lambda: r.choice([n(), str(r.randrange(-80, 80)), str(r.randrange(-80, 80)), str(r.randrange(-30000, 30000))])
    unit = lambda: r.choice([[], ["BYTE"], ["BIT"], ["bit"], ["BAD"], ["BIT", "x"]])
    kind = lambda: r.choice(["u", "i", "i", "u", "U", "", "x"]) + r.choice([str(r.randrange(1, 65)), str(r.randrange(1, 65)),
        "1", "8", "63", "64", "65", "0", "-1", "", "abc", "08"])
    where = lambda: r.choice([offset(), "#" + str(r.randrange(20)), "#" + offset(), "#", "##1"])
    amount = lambda: r.choice([n(), str(r.randrange(-300, 300)), str(r.getrandbits(63)), str(-r.getrandbits(63))])

    def operation():
        return r.choice([["GET", kind(), where()], ["SET", kind(), where(), amount()], ["INCRBY", kind(), where(), amount()],
            ["incrby", kind(), where(), amount()], ["OVERFLOW", r.choice(["WRAP", "SAT", "FAIL", "sat", "BAD"])]])

    def sound():
        """An operation without an error."""
        t = r.choice([f"i{r.randrange(1, 65)}", f"u{r.randrange(1, 64)}"])
        p = r.choice([str(r.randrange(300)), "#" + str(r.randrange(9))])
        a = r.choice(["1", "-1", "9223372036854775807", "-9223372036854775808", str(r.getrandbits(63)), str(r.randrange(-300, 300))])
        return r.choice([["GET", t, p], ["SET", t, p, a], ["INCRBY", t, p, a], ["OVERFLOW", r.choice(["WRAP", "SAT", "FAIL"])]])

    def field():
        words = []
        for _ in range(r.randrange(5)):
            words += sound() if r.random() < 0.9 else operation()
        return words if r.random() < 0.97 else words[:-1]

    return [
        lambda: ["SETBIT", k(), str(r.randrange(2000)), r.choice(["0", "1", "1"])], lambda: ["SETBIT", k(), str(r.randrange(2000)), "1"],
        lambda: ["SETBIT", k(), offset(), r.choice(["0", "1", "2", "-1", "x", ""])], lambda: ["GETBIT", k(), offset()],
        lambda: ["BITCOUNT", k()], lambda: ["BITCOUNT", k(), place(), place(), *unit()], lambda: ["BITCOUNT", k(), place()],
        lambda: ["BITPOS", k(), r.choice(["0", "1", "2", "x"])], lambda: ["BITPOS", k(), r.choice("01"), place()],
        lambda: ["BITPOS", k(), r.choice("01"), place(), place(), *unit()], lambda: ["BITPOS", k(), r.choice("01"), place(), place()],
        lambda: ["BITOP", r.choice(["AND", "OR", "XOR", "NOT", "and", "BAD"]), k(), k(), *r.choice([[], [k()], [k(), k()]])],
        lambda: ["BITOP", "NOT", k(), k()], lambda: ["BITFIELD", k(), *field()], lambda: ["BITFIELD", k(), *field()],
        lambda: ["BITFIELD_RO", k(), *field()], lambda: ["BITFIELD_RO", k(), "GET", f"u{r.randrange(1, 64)}", offset()],
        lambda: ["SET", k(), r.choice(["", "\xff" * 100, "\x00" * 100, "\x00" * 99 + "\x01", "12345", "foobar"])],
        lambda: ["OBJECT", "ENCODING", k()], lambda: ["GET", k()],
    ]
