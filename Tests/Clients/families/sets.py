"""Sets."""

MEMBERS = ["a", "b", "c", "1", "2", "3", "-1", "100000", "99999999999", "", "x" * 70, "01", "hello", "y" * 3000]

members = lambda reply, words: sorted(reply) if isinstance(reply, list) else reply
count = lambda reply, words: (len(reply) if isinstance(reply, list) else reply is None)
NORMAL = {
    "SMEMBERS": members, "SINTER": members, "SUNION": members, "SDIFF": members,
    "SSCAN": lambda reply, words: [reply[0], sorted(reply[1])] if reply[0] == b"0" else reply,
    "SRANDMEMBER": lambda reply, words: members(reply, words) if len(words) > 2 and words[2] == "100000" else count(reply, words),
    "SPOP": members,
}


def commands(g):
    r = g.r
    k = lambda: g.key("set")
    m = lambda: r.choice(MEMBERS) if r.random() < 0.6 else str(r.randrange(60))
    integer = lambda: str(r.choice([r.randrange(1000), r.randrange(-40000, 40000), r.randrange(1 << 40)]))
    adding = [lambda: ["SADD", k(), *g.some(m, 5)]] * 3 + [lambda: ["SADD", k(), *g.some(lambda: str(r.randrange(50)), 5)]] * 3
    return adding + [
        lambda: ["SADD", k(), *g.some(integer, 150)], lambda: ["SADD", k(), *g.some(lambda: f"m{r.randrange(500)}", 90)],
        lambda: ["SREM", k(), *g.some(m)], lambda: ["SREM", k(), *g.some(lambda: f"m{r.randrange(500)}", 90)],
        lambda: ["SREM", k(), *g.some(lambda: str(r.randrange(1000)), 90)],
        lambda: ["SMOVE", k(), k(), m()], lambda: ["SISMEMBER", k(), m()], lambda: ["SMISMEMBER", k(), *g.some(m)],
        lambda: ["SCARD", k()], lambda: ["SMEMBERS", k()],
        # Popping is by chance: only all of a set is the same on both sides.
        lambda: ["SPOP", k(), "100000"] if r.random() < 0.3 else ["SCARD", k()],
        lambda: ["SPOP", k(), r.choice(["0", "-1", "x"])], lambda: ["SPOP", k(), "1", "x"],
        lambda: ["SRANDMEMBER", k()], lambda: ["SRANDMEMBER", k(), "100000"],
        lambda: ["SRANDMEMBER", k(), r.choice(["0", "2", "-3", "x", "-9223372036854775808"])],
        lambda: ["SINTER", *g.some(k)], lambda: ["SUNION", *g.some(k)], lambda: ["SDIFF", *g.some(k)],
        lambda: ["SINTERSTORE", k(), *g.some(k)], lambda: ["SUNIONSTORE", k(), *g.some(k)],
        lambda: ["SDIFFSTORE", k(), *g.some(k)],
        lambda: ["SINTERCARD", r.choice(["2", "2", "1", "0", "x", "5"]), k(), k(),
            *r.choice([[], ["LIMIT", r.choice(["0", "1", "3", "-1", "x"])], ["BAD"], ["LIMIT"]])],
        lambda: ["SSCAN", k(), "0", "COUNT", "100000"],
        lambda: ["SSCAN", k(), "0", "MATCH", r.choice(["m*", "*1*"]), "COUNT", "100000"],
        lambda: ["OBJECT", "ENCODING", k()],
    ]
