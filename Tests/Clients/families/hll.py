"""HyperLogLogs: sound ones, dense and sparse, and strings that only look like one."""

SETTINGS = {"hll-sparse-max-bytes": "3000"}


def cut(runs):
    """Whether the last run lacks its second byte."""
    at = 0
    while at < len(runs):
        at += 2 if ord(runs[at]) >> 6 == 1 else 1
    return at > len(runs)


def commands(g):
    r, k = g.r, lambda: g.key("hll")
    element = lambda: r.choice([f"e{r.randrange(40)}", f"e{r.randrange(100000)}", "", "x" * r.randrange(40), g.value()])
    many = lambda: [f"m{r.randrange(1000000)}" for _ in range(r.choice([1, 20, 300, 1500]))]

    def damaged():
        """Header, and runs that may or may not cover the registers."""
        encoding = r.choice(["\x00", "\x01", "\x01", "\x01", "\x02"])
        head = r.choice(["HYLL", "HYLL", "HYLL", "HYLK"]) + encoding + "\x00" * 3 + "\x00" * 7 + r.choice(["\x00", "\x80"])
        runs = r.choice(["", "\x7f\xff", "\x7f\xfe\x00", "\x7f\xfd\x84", "\x7f\xff\x80", "\x40", "\x7f", "\x00" * 256,
            "\x7f\xfc\x8b", "\x7f\xfc\x80\x80\x80", "\xff" * 4096, "\x3f" * 256, "\x00" * 12288, "\xff" * 12288,
            "".join(chr(r.randrange(256)) for _ in range(r.randrange(30))), "".join(chr(r.randrange(256)) for _ in range(12288))])
        whole = head + runs
        if cut(runs):  # Redis reads what lies behind the string
            whole += "\x00"
        return whole if r.random() < 0.9 else whole[:r.randrange(17)]

    return [
        lambda: ["PFADD", k(), element()], lambda: ["PFADD", k(), element(), element(), element()], lambda: ["PFADD", k()],
        lambda: ["PFADD", k(), *many()], lambda: ["PFADD", k(), *many()], lambda: ["PFCOUNT", k()], lambda: ["PFCOUNT", k(), k(), k()],
        lambda: ["PFMERGE", k(), k()], lambda: ["PFMERGE", k(), *r.choice([[], [k(), k()]])], lambda: ["GET", k()], lambda: ["GET", k()],
        lambda: ["PFDEBUG", r.choice(["ENCODING", "DECODE", "encoding", "BAD"]), k()],
        lambda: ["PFDEBUG", r.choice(["TODENSE", "GETREG"]) if r.random() < 0.1 else "DECODE", k()],
        lambda: ["SET", k(), damaged()], lambda: ["DEL", k()], lambda: ["EXPIREAT", k(), g.far()],
        lambda: ["CONFIG", "SET", "hll-sparse-max-bytes", r.choice(["3000", "300", "16", "0", "16000"])], lambda: ["PFSELFTEST", "x"],
        lambda: ["OBJECT", "ENCODING", k()],
    ]
