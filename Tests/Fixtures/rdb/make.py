"""Writes redis-7.0.rdb and redis-7.0.dumps: each type and encoding of redis-server 7.0.

Method: the values are set, DUMP is asked for each, then SAVE; RDB file and DUMP encode values alike.
"""
import os, shutil, subprocess, tempfile
import redis

HERE = os.path.dirname(os.path.abspath(__file__))
EXPIRY = 4102444800123


def fill(client):
    text = "a text that repeats itself, a text that repeats itself, "
    client.set("string", "text")
    client.set("string:empty", "")
    client.set("string:lzf", text * 20)
    client.set("string:14", bytes(i * i * i % 241 for i in range(1000)))
    client.set("string:32", bytes(i * i % 251 for i in range(20000)))
    for n in (0, -1, 127, 128, -32768, 32768, 2147483647, -2147483648, 2147483648, 1 << 62):
        client.set(f"integer:{n}", n)
    client.set("expiring", "soon", pxat=EXPIRY)
    client.rpush("list:small", 1, "two", -300, 70000, 1 << 40, "x" * 70, "y" * 5000)
    client.rpush("list:large", *[f"element {i}" for i in range(1500)])
    client.rpush("list:plain", "p" * 20000, "q")
    client.sadd("set:intset16", 1, 2, -3)
    client.sadd("set:intset32", 1, 70000)
    client.sadd("set:intset64", 1, 1 << 40)
    client.sadd("set:hashtable", "a", 1, "b" * 100)
    client.sadd("set:large", *[f"member {i}" for i in range(700)])
    client.hset("hash:listpack", mapping={"a": 1, "b": "two", "c": -70000})
    client.hset("hash:lzf", mapping={f"field:{i:05}": text[:40] for i in range(20)})
    client.hset("hash:hashtable", mapping={f"f{i}": "v" * (i % 80) for i in range(600)})
    client.zadd("zset:listpack", {"a": 1, "b": 2.5, "c": "-inf", "d": "+inf"})
    client.zadd("zset:skiplist", {f"member {i}": i / 7 for i in range(300)})
    client.xadd("stream:small", {"a": 1, "b": "two"}, id="1-1")
    client.xadd("stream:small", {"a": 1, "b": "three"}, id="5-0")
    client.xdel("stream:small", "1-1")
    for i in range(250):
        client.xadd("stream:groups", {"field": i, f"other {i % 3}": "x" * (i % 40)}, id=f"{i + 1}-7")
    client.xgroup_create("stream:groups", "one", "0")
    client.xgroup_create("stream:groups", "two", "$")
    client.xreadgroup("one", "alice", {"stream:groups": ">"}, count=30)
    client.xreadgroup("one", "bob", {"stream:groups": ">"}, count=5)
    client.xack("stream:groups", "one", "3-7")
    client.xgroup_createconsumer("stream:groups", "two", "carol")
    client.xgroup_create("stream:none", "g", "$", mkstream=True)


def main():
    directory = tempfile.mkdtemp()
    path = os.path.join(directory, "s")
    server = subprocess.Popen(
        ["redis-server", "--port", "0", "--unixsocket", path, "--dir", directory, "--databases", "16",
            "--save", ""], stdout=subprocess.DEVNULL)
    clients = [redis.Redis(unix_socket_path=path, db=i) for i in (0, 9)]
    while True:
        try:
            clients[0].ping()
            break
        except redis.ConnectionError:
            os.sched_yield()
    clients[0].config_set("list-max-listpack-size", -2)
    fill(clients[0])
    clients[1].set("elsewhere", 9)
    clients[0].function_load("#!lua name=lib\nredis.register_function('f', function() return 1 end)\n")
    lines = []
    for client, number in zip(clients, (0, 9)):
        for key in sorted(client.keys()):
            lines.append(f"{number} {key.hex()} {client.pexpiretime(key)} {client.dump(key).hex()}\n")
    with open(os.path.join(HERE, "redis-7.0.dumps"), "w") as file:
        file.writelines(lines)
    clients[0].save()
    shutil.copy(os.path.join(directory, "dump.rdb"), os.path.join(HERE, "redis-7.0.rdb"))
    server.terminate()
    server.wait()
    shutil.rmtree(directory)


main()
