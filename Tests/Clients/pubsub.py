"""Publishing and subscribing across event loops, and clients that do not read."""
import threading

import redis

from transactions import together


def publications(server, publishers=4, subscribers=6, each=300):
    """Every subscriber gets every message once, each publisher's in its order, and all subscribers see
    one order; whoever leaves in between has got a beginning of it.

    Method: publishers on several loops number their messages; some subscribers use a pattern.
    """
    channels = [server.client().pubsub() for _ in range(subscribers)]
    for i, channel in enumerate(channels):
        (channel.psubscribe if i % 2 else channel.subscribe)("ne?s" if i % 2 else "news")
        channel.get_message(timeout=60)

    def publish(number):
        client = server.client()
        for i in range(each):
            got = client.publish("news", f"{number}:{i}")
            if got != subscribers:
                raise AssertionError(f"{got} receivers of {subscribers}")

    together(publish, publishers)
    orders = []
    for channel in channels:
        order = []
        while len(order) < publishers * each:
            message = channel.get_message(timeout=60)
            if message is None:
                raise AssertionError(f"{len(order)} messages came of {publishers * each}")
            order.append(message["data"])
        orders.append(order)
    for number in range(publishers):
        mine = [m for m in orders[0] if m.startswith(b"%d:" % number)]
        if mine != [b"%d:%d" % (number, i) for i in range(each)]:
            raise AssertionError(f"publisher {number}: {mine[:5]}…")
    for i, order in enumerate(orders):
        if order != orders[0]:
            at = next(j for j, pair in enumerate(zip(order, orders[0])) if pair[0] != pair[1])
            raise AssertionError(f"subscriber {i} differs at {at}: {order[at]} {orders[0][at]}")
    for channel in channels:
        channel.close()


def published_once(server):
    """A script that has published is not run again to be alone with the keyspace: it fails, and begins alone the
    next time. Method: the command that needs that is named only at run time."""
    client, channel = server.client(), server.client().pubsub()
    channel.subscribe("once")
    channel.get_message(timeout=60)
    client.rpush("numbers", 2, 1)
    script = "redis.call('publish','once',ARGV[1]) return redis.call('so'..'rt','numbers','by','none_*','alpha')"
    try:
        client.eval(script, 1, "numbers", 1)
        raise AssertionError("ran twice")
    except redis.ResponseError as error:
        if "published already" not in str(error):
            raise
    if sorted(client.eval(script, 1, "numbers", 2)) != [b"1", b"2"]:
        raise AssertionError("not sorted")
    got = [channel.get_message(timeout=60)["data"] for _ in range(2)]
    client.publish("once", "3")
    got.append(channel.get_message(timeout=60)["data"])
    if got != [b"1", b"2", b"3"]:
        raise AssertionError(f"published: {got}")
    channel.close()


def invalidations(server, clients=4, rounds=200):
    """A cache that obeys invalidations is never stale for longer than it takes to hear of a change.

    Method: readers keep what they read until they are told; in the end each asks again for what it still has.
    """
    from conversations import Talker

    def work(number):
        if number == 0:
            client = server.client()
            for i in range(rounds):
                client.set(f"cached{i % 7}", f"{i}")
                if i % 5 == 0:
                    client.execute_command("TIER", "DEMOTE", f"cached{i % 7}")
            return
        talker = Talker(server.raw())
        talker.ask(["HELLO", "3"])
        talker.version = 3
        talker.ask(["CLIENT", "TRACKING", "ON"])
        cache = {}

        def obey():
            for _, (what, names) in talker.pushes:
                for name in names[1]:
                    cache.pop(name, None)
            talker.pushes.clear()

        for i in range(rounds):
            key = b"cached%d" % (i % 7)
            value = talker.ask(["GET", key.decode()])
            obey()
            cache[key] = value
        finished.wait(60)
        talker.ask(["PING"])
        deadline = 2000
        while deadline:
            obey()
            stale = [k for k, v in cache.items() if server_values.get(k) != v]
            if not stale:
                return
            talker.more(0.03)
            reply = talker.take()
            if reply is not None:
                raise AssertionError(reply)
            deadline -= 1
        raise AssertionError(f"client {number} still has old values of {stale}")

    finished = threading.Event()
    server_values = {}
    admin = server.client()

    def first(number):
        work(number)
        if number == 0:
            for i in range(7):
                server_values[b"cached%d" % i] = admin.get(f"cached{i}")
            finished.set()

    together(first, clients)


def subscriber_that_never_reads(server):
    """Over the hard limit of its class a subscriber is closed; publishers and others go on."""
    client = server.client()
    client.config_set("client-output-buffer-limit", "pubsub 1mb 0 0")
    with server.raw() as s:
        s.sendall(b"SUBSCRIBE flood\r\n")
        s.recv(100)
        if client.client_list(_type="pubsub")[0]["sub"] != "1":
            raise AssertionError("CLIENT LIST")
        while client.publish("flood", b"x" * 100_000):
            pass
        if client.client_list(_type="pubsub"):
            raise AssertionError("still there")
    client.config_set("client-output-buffer-limit", "pubsub 32mb 8mb 60")
