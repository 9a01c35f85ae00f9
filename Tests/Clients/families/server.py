"""Commands about a server that stands alone: cluster, replication, users, modules, DEBUG PROTOCOL."""


def commands(g):
    r, n = g.r, g.number
    sub = ["INFO", "MYID", "NODES", "SLOTS", "SHARDS", "LINKS", "HELP", "SAVECONFIG", "BUMPEPOCH", "FLUSHSLOTS", "RESET"]
    kinds = ["string", "integer", "double", "null", "array", "set", "map", "attrib", "push", "verbatim", "true", "false",
        "bignum", "bad"]
    return [
        lambda: ["CLUSTER", r.choice(sub), *r.choice([[], [], ["x"]])], lambda: ["CLUSTER", r.choice(["KEYSLOT", "MEET", "BAD"]), g.key()],
        lambda: [r.choice(["ASKING", "READONLY", "READWRITE"])], lambda: ["ROLE"], lambda: ["WAIT", r.choice(["0", "x"]), r.choice(["0", "-1", "x"])],
        lambda: [r.choice(["REPLICAOF", "SLAVEOF"]), *r.choice([["NO", "ONE"], ["no", "one"], ["a", "b"], ["a", "-1"], ["a", "65536"]])],
        lambda: ["FAILOVER", *r.choice([[], ["ABORT"], ["TO", "a"], ["TIMEOUT", n()], ["TO", "a", n()], ["FORCE"], ["BAD"], ["FORCE", "FORCE"]])],
        lambda: ["REPLCONF", *r.choice([[], ["capa"], ["capa", "eof"], ["listening-port", n()], ["bad", "1"], ["ip-address", "a"]])],
        lambda: ["ACL", *r.choice([["WHOAMI"], ["LIST"], ["USERS"], ["CAT"], ["CAT", "bad"], ["GETUSER", "default"], ["GETUSER", "x"],
            ["GENPASS", "0"], ["GENPASS", "x"], ["GENPASS", "4097"], ["GENPASS", "1", "2"], ["LOG"], ["LOG", "RESET"], ["LOG", "x"],
            ["DRYRUN", "default", "get", "a"], ["DRYRUN", "default", "get"], ["DRYRUN", "default", "bad"], ["DRYRUN", "x", "get", "a"],
            ["DRYRUN", "default", "config", "get", "x"], ["DRYRUN", "default", "config", "bad"], ["DRYRUN", "default", "config|get", "x"],
            ["DELUSER", "x"], ["DELUSER", "x", "default"], ["LOAD"], ["SAVE"], ["BAD"], ["SETUSER", "default"], ["SETUSER", "default", "on"]])],
        lambda: ["MODULE", *r.choice([["LIST"], ["BAD"], ["LIST", "x"]])],
        lambda: ["MIGRATE", "h", "1", "nokey", n(), n()], lambda: ["BGSAVE", "x"], lambda: ["SAVE", "x"], lambda: ["PSYNC", "a", "x"],
        lambda: ["DEBUG", "PROTOCOL", r.choice(kinds)], lambda: ["DEBUG", "ERROR", r.choice(["XX y", "abc", "a\r\nb"])],
        lambda: ["DEBUG", *r.choice([["BAD"], ["LOG", "x"], ["CHANGE-REPL-ID"], ["QUICKLIST-PACKED-THRESHOLD", r.choice(["10b", "x"])],
            ["SET-ACTIVE-EXPIRE", "1"], ["SLEEP", "0"], ["ERROR"], ["HTSTATS", "x"], ["HTSTATS", "99"]])],
        lambda: ["LATENCY", "HISTOGRAM", "nosuch"], lambda: ["COMMAND", "GETKEYSANDFLAGS", *r.choice([["BITOP", "AND", "a", "b", "c"], ["RENAME", "a", "b"],
            ["PFMERGE", "a", "b", "c"], ["COPY", "a", "b"], ["SET", "a", "b"], ["SET", "a", "b", "GET"], ["BITFIELD", "a", "GET", "u8", "0"], ["BITFIELD", "a", "SET", "u8", "0", "1"], ["MSET", "a", "b", "c", "d"], ["PING", "a"]])],
    ]
