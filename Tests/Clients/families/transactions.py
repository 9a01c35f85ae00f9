"""Transactions. Whatever the other families make is queued, so that every command runs inside EXEC too."""


def commands(g):
    r, k = g.r, g.key
    return [
        lambda: ["MULTI"], lambda: ["MULTI"], lambda: ["EXEC"], lambda: ["EXEC"], lambda: ["EXEC"],
        lambda: ["DISCARD"] if r.random() < 0.3 else ["EXEC"],
        lambda: ["WATCH", *g.some(k)] if r.random() < 0.5 else ["UNWATCH"],
        lambda: r.choice([["EXEC", "x"], ["MULTI", "x"], ["WATCH"], ["UNWATCH", "x"], ["DISCARD", "x"]])
            if r.random() < 0.1 else ["MULTI"],
        lambda: ["SELECT", r.choice(["0", "1", "2"])], lambda: ["SET", k(), g.value()], lambda: ["GET", k()],
        lambda: ["COPY", k(), k(), "DB", r.choice(["0", "1"]), "REPLACE"], lambda: ["MOVE", k(), r.choice(["0", "1"])],
        lambda: ["SWAPDB", "0", "1"] if r.random() < 0.3 else ["DBSIZE"], lambda: ["RENAME", k(), k()],
    ]
