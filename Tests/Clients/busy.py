"""Scripts that do not end: others are told so, and can end them, whatever loops they are on."""
import redis

BUSY = "BUSY Redis is busy running a script. You can only call %s KILL or SHUTDOWN NOSAVE."
LIBRARY = """#!lua name=endless
redis.register_function{function_name='spin', callback=function() while true do end end, flags={'no-writes'}}
redis.register_function('put', function(keys) redis.call('set', keys[1], 'v') while true do end end)"""


def check(condition, what):
    if not condition:
        raise AssertionError(what)


class Client:
    """A connection of its own, whose requests and replies are not tied to each other."""

    def __init__(self, server):
        self.connection = server.client(protocol=2).connection_pool.get_connection("_")

    def send(self, *words):
        self.connection.send_command(*words)

    def reply(self):
        try:
            return self.connection.read_response()
        except redis.ResponseError as error:
            # redis-py takes the code of some errors away.
            return error

    def ask(self, *words):
        self.send(*words)
        return self.reply()


def until_busy(clients):
    """Asks on every connection until all of them say BUSY: a loop may still be in a request of its own."""
    for client in clients:
        while "busy running a script" not in str(client.ask("PING")):
            pass


def endless(server, loops):
    """Each way to run a script without end, each with each way to end it. Every loop has clients."""
    first = Client(server)
    first.ask("CONFIG", "SET", "busy-reply-threshold", "50")
    first.ask("FUNCTION", "LOAD", LIBRARY)
    first.ask("SET", "k", "v")
    others = [Client(server) for _ in range(2 * loops)]
    spin = "while true do end"
    runs = [
        ("SCRIPT", ["EVAL", spin, "0"]),
        # Its key's stripe is held.
        ("SCRIPT", ["EVAL", spin, "1", "k"]),
        # Errors cannot be caught for ever.
        ("SCRIPT", ["EVAL", "while true do pcall(function() while true do end end) end", "0"]),
        # The world is stopped.
        ("SCRIPT", ["EVAL", "redis.call('dbsize') " + spin, "0"]),
        ("FUNCTION", ["FCALL", "spin", "1", "k"]),
        ("FUNCTION", ["FCALL_RO", "spin", "0"]),
    ]
    for number, (kind, words) in enumerate(runs):
        runner, waiting = Client(server), [Client(server) for _ in range(loops)]
        runner.send(*words)
        # They want what the script may hold; some are stuck in the middle of their request.
        for client in waiting:
            client.send("GET", "k")
        until_busy(others)
        text = BUSY % kind
        check(str(others[0].ask("GET", "k")) in (text, text[5:]), "GET while busy")
        # Those that come later are served too, and so is an inline request.
        late = Client(server)
        until_busy([late])
        late.connection._sock.sendall(b"PING\r\n")
        check("busy running" in str(late.reply()), "inline")
        wrong = "FUNCTION" if kind == "SCRIPT" else "SCRIPT"
        check("busy running" in str(late.ask(wrong, "KILL")), "the other KILL")
        if kind == "FUNCTION":
            running = late.ask("FUNCTION", "STATS")[1]
            check(running[1] == b"spin" and running[3] == [w.encode() for w in words], running)
        check(late.ask("MULTI") == b"OK" and "busy running" in str(late.ask("GET", "k")), "in a transaction")
        killer = others[number % len(others)]
        check(killer.ask(kind, "KILL") == b"OK", "KILL")
        check("Script killed by user with SCRIPT KILL..." in str(runner.reply()), "killed")
        for client in waiting:
            got = client.reply()
            check(got == b"v" or "busy running" in str(got), f"who waited: {got}")
        check("discarded because of previous errors" in str(late.ask("EXEC")), "EXEC after BUSY")
        for client in [*others, *waiting, late, runner]:
            check(client.ask("GET", "k") == b"v", "served again")
    check("No scripts in execution right now." in str(first.ask("SCRIPT", "KILL")), "NOTBUSY")


def in_a_transaction(server):
    """A script without end in EXEC is ended as any other; EXEC goes on after it."""
    runner, other = Client(server), Client(server)
    for words in (["MULTI"], ["EVAL", "while true do end", "0"], ["SET", "after", "1"]):
        runner.ask(*words)
    runner.send("EXEC")
    until_busy([other])
    check(other.ask("SCRIPT", "KILL") == b"OK", "KILL")
    got = runner.reply()
    check("killed by user" in str(got[0]) and got[1] == b"OK", got)


def written(server):
    """A script that has written cannot be killed; SHUTDOWN NOSAVE ends the process, SHUTDOWN does not."""
    runner, other = Client(server), Client(server)
    runner.send("FCALL", "put", "1", "key")
    until_busy([other])
    check("wait the script termination" in str(other.ask("FUNCTION", "KILL")), "UNKILLABLE")
    check("busy running" in str(other.ask("SHUTDOWN")), "SHUTDOWN")
    other.send("SHUTDOWN", "NOSAVE")
    check(server.wait() == 0, "exit status")


def crossing(server, seed, rounds=60):
    """Scripts that write their key and then one they have not declared, which another has: one of them goes on
    at once, whatever the others do, and who goes on has done all of it.

    Method: each round has a text of its own, for a script that once met another begins alone the next time.
    """
    clients = [Client(server) for _ in range(4)]
    given_up = 0
    for number in range(rounds):
        keys = [f"{seed}:{number}:a", f"{seed}:{number}:b"]
        script = f"""-- {seed}:{number}
            redis.call('set', KEYS[1], ARGV[2])
            local n = 0 for i = 1, 300000 do n = n + i end
            redis.call('set', ARGV[1], ARGV[2])
            return 'done'"""
        for i, client in enumerate(clients):
            client.send("EVAL", script, "1", keys[i % 2], keys[1 - i % 2], str(i))
        replies = [client.reply() for client in clients]
        for reply in replies:
            check(reply == b"done" or "in use by another script" in str(reply), reply)
        done = [i for i, reply in enumerate(replies) if reply == b"done"]
        check(done, "nobody went on")
        given_up += len(replies) - len(done)
        a, b = clients[0].ask("MGET", *keys)
        check(len(done) < len(replies) or a == b, f"seed {seed} round {number}: {a} and {b}")
    return given_up


def signal_ends(start, loops):
    """SIGTERM ends a server that runs a script without end, before and after it has told others."""
    for threshold in (["50", "1000000000"] if loops > 1 else ["50"]):
        server = start(f"busy-signal-{loops}-{threshold}", loops, threshold)
        runner, other = Client(server), Client(server)
        runner.send("EVAL", "while true do end", "1", "k")
        if threshold == "50":
            until_busy([other])
        check(server.stop() == 0, "exit status")
