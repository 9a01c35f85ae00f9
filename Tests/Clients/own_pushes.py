"""What a RESP3 client gets of its own requests without asking - publications, keyspace notifications,
invalidations - and where among its replies: byte for byte as from redis-server 7.0.

Method: requests one at a time on one connection to each server, with what the server sends until the next
request's reply; the last line of a scene is a PING whose reply ends it.
"""
from differential import encode

EVENTS = ["CONFIG SET notify-keyspace-events KEA", "PSUBSCRIBE __key*"]
TRACKS = ["CLIENT TRACKING ON", "MSET k 1 l 2", "MGET k l"]
SCENES = [
    ["SUBSCRIBE c", "PSUBSCRIBE c*", "PUBLISH c m", "EVAL redis.call('publish','c','m')return(7) 0",
        "EVAL redis.call('publish','c','m')return(redis.error_reply('no')) 0"],
    ["SSUBSCRIBE c", "SPUBLISH c m"],
    ["SUBSCRIBE c", "MULTI;PING;PUBLISH c m;PING;EVAL redis.call('publish','c','n')return(7) 0;PUBLISH c o;EXEC"],
    ["SUBSCRIBE c", "CLIENT REPLY SKIP;PUBLISH c m", "CLIENT REPLY OFF;PUBLISH c m;CLIENT REPLY ON", "PUBLISH c m"],
    TRACKS + ["SET k 2", "GET k", "EVAL redis.call('set','k',2)return(7) 1 k", "DEL k l"],
    TRACKS + ["MULTI;PING;SET k 2;GET k;SET k 3;EXEC", "FLUSHALL"],
    TRACKS + ["SUBSCRIBE c", "MULTI;SET k 2;PUBLISH c m;EXEC"],
    ["CLIENT TRACKING ON NOLOOP", "SET k 1", "GET k", "SET k 2"],
    EVENTS + ["SET k v", "DEL k l", "RPUSH k", "MULTI;SET k 1;INCR k;DEL k;EXEC",
        "EVAL redis.call('set','k',1)redis.call('del','k')return(7) 1 k", "SADD s a b", "LPOP s", "SREM s a b"],
]


def tell(s, line):
    """What a server sends for a line of requests, and before the reply to the PING after it."""
    for request in line.split(";"):
        s.sendall(encode(request.split(" ")))
    s.sendall(encode(["PING", "end"]))
    got = b""
    while not got.endswith(b"$3\r\nend\r\n"):
        chunk = s.recv(1 << 20)
        if not chunk:
            raise AssertionError(f"{line}: closed")
        got += chunk
    return got[:-9]


def own_pushes(server, real):
    differences = []
    for scene in SCENES:
        talks = [server.raw(), real.raw()]
        for s in talks:
            tell(s, "FLUSHALL")
            tell(s, "HELLO 3")
        for line in scene:
            got, wanted = (tell(s, line) for s in talks)
            if got != wanted:
                differences.append(f"{line}: {got} in place of {wanted}")
        for s in talks:
            tell(s, "CONFIG SET notify-keyspace-events ")
            s.close()
    if differences:
        raise AssertionError("\n".join(differences))
