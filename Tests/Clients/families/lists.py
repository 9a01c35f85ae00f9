"""Lists."""

ELEMENTS = ["a", "b", "1", "-7", "1000000", "", "x" * 70, "y" * 3000, "3.0", "hello", "9223372036854775807"]


def commands(g):
    r, n = g.r, g.number
    k = lambda: g.key("list")
    e = lambda: r.choice(ELEMENTS)
    i = lambda: r.choice(["0", "1", "-1", "2", "-2", "5", "-5", "30", "-30", "100", "abc"])
    side = lambda: r.choice(["LEFT", "RIGHT", "left", "middle"] if r.random() < 0.1 else ["LEFT", "RIGHT"])
    push = [lambda: [r.choice(["LPUSH", "RPUSH"]), k(), *g.some(e, 6)]] * 6
    return push + [
        lambda: [r.choice(["LPUSH", "RPUSH"]), k(), *g.some(lambda: r.choice("abcdef"), 60)],
        lambda: [r.choice(["LPUSHX", "RPUSHX"]), k(), *g.some(e)],
        lambda: [r.choice(["LPOP", "RPOP"]), k()],
        lambda: [r.choice(["LPOP", "RPOP"]), k(), r.choice(["0", "1", "2", "3", "-1", "x", "1000"])],
        lambda: ["LLEN", k()], lambda: ["LINDEX", k(), i()], lambda: ["LRANGE", k(), i(), i()],
        lambda: ["LRANGE", k(), "0", "-1"], lambda: ["LSET", k(), i(), e()], lambda: ["LSET", k(), n(), e()],
        lambda: ["LINSERT", k(), r.choice(["BEFORE", "AFTER", "after", "xx"]), e(), e()],
        lambda: ["LTRIM", k(), r.choice(["0", "1", "-20"]), r.choice(["-1", "-2", "20", "abc"])],
        lambda: ["LTRIM", k(), i(), i()] if r.random() < 0.2 else ["LLEN", k()],
        lambda: ["LREM", k(), r.choice(["0", "1", "-1", "2", "-2", "x"]), e()],
        lambda: ["LPOS", k(), e(), *r.choice([[], ["RANK", i()], ["COUNT", r.choice(["0", "1", "2", "-1"])],
            ["RANK", "-1", "COUNT", "0"], ["MAXLEN", r.choice(["0", "1", "3", "-1"])], ["RANK", "0"], ["RANK"],
            ["RANK", "2", "COUNT", "2", "MAXLEN", "10"], ["BAD", "1"], ["RANK", "-9223372036854775808"]])],
        lambda: ["LMOVE", k(), k(), side(), side()], lambda: ["RPOPLPUSH", k(), k()],
        lambda: ["LMPOP", r.choice(["2", "2", "1", "0", "-1", "x", "9"]), k(), k(), side(),
            *r.choice([[], ["COUNT", r.choice(["1", "3", "0", "-1", "x"])], ["BAD"], ["COUNT"]])],
        lambda: [r.choice(["BLPOP", "BRPOP"]), "list0", r.choice(["-1", "abc", "1e400", "inf"])],
        lambda: ["OBJECT", "ENCODING", k()],
    ]
