"""Functions: libraries that load and that do not, calls, payloads."""
BODIES = ["return 1", "return {keys,args}", "return redis.call('get',keys[1])", "return redis.call('set',keys[1],args[1])",
    "return redis.call('append',keys[1],args[1])", "return redis.pcall('incr',keys[1])", "return redis.call('incr',keys[1])",
    "return redis.call('get',args[1])", "return redis.call('nosuch')", "error('abc')", "return redis.error_reply('My e')", "x=1", "return KEYS",
    "return redis.register_function('a',1)", "return redis.setresp(3)", "redis.setresp(3) return redis.call('get',keys[1])", "return {double=1/3}",
    "return redis.status_reply('fine')", "return redis.call('del',keys[1])", "return redis.call('type',keys[1])", "return redis.nosuch",
    "local t={} for k in pairs(redis) do t[#t+1]=k end table.sort(t) return t", "return cjson.encode(args)", "return #keys", "return redis.breakpoint()"]
ODD = ["", "return 1", "#!lua", "#!lua name=a", "#!lua\nreturn 1", "#!lua name=l1\nreturn 1", "#!lua name=l1\nx=1", "#!lua name=l1\nlocal a=",
    "#!lua name=l1 name=b\n", "#!lua name=l1 c=d\n", "#!lua name='l1'\n", "#!lua name=\"l1\n", "#!lua name=l-1\n", "#!js name=l1\n", "#!LUA NAME=l9\nreturn",
    "#!lua name=l1\nredis.call('get','a')", "#!lua name=l1\nreturn redis.setresp(3)", "#!lua name=l1\nmath.abs(1)", "#!lua name=l1\nredis.x=1",
    "#!lua name=l1\nredis.register_function()", "#!lua name=l1\nredis.register_function('f1')", "#!lua name=l1\nredis.register_function('f 1',function() end)",
    "#!lua name=l1\nredis.register_function(1,2)", "#!lua name=l1\nredis.register_function('f1',1)", "#!lua name=l1\nredis.register_function{a=1}",
    "#!lua name=l1\nredis.register_function{function_name='f1',callback=1}", "#!lua name=l1\nredis.register_function{function_name='f1'}",
    "#!lua name=l1\nredis.register_function{function_name='f1',callback=function() end,flags={'x'}}", "#!lua name=l1\nredis.register_function{1}",
    "#!lua name=l1\nredis.register_function('f1',function() end) redis.register_function('f1',function() end)", "#!lua name=l1\nredis.log('x')",
    "#!lua name=l1\nredis.log(redis.LOG_DEBUG,'x') redis.register_function('f1',function() end)", "#!lua name=l1\nreturn redis.REPL_ALL"]
FLAGS = ["'no-writes'", "'allow-oom'", "'allow-stale'", "'no-cluster'", "'allow-cross-slot-keys'", "'NO-WRITES'"]
DUMPS = []


def commands(g):
    r, k, v = g.r, g.key, g.value
    name = lambda: r.choice(["f1", "f2", "F2", "f3"])

    def library():
        # One function a library: redis-server lists several in an order of its own.
        body = r.choice(BODIES)
        if r.random() < .5:
            code = f"redis.register_function('{name()}',function(keys,args) {body} end)"
        else:
            flags = ",".join(r.sample(FLAGS, r.randrange(3)))
            described = r.choice(["", ",description='what'"])
            code = f"redis.register_function{{function_name='{name()}'{described},flags={{{flags}}},callback=function(keys,args) {body} end}}"
        return f"#!lua name={r.choice(['l1', 'l2', 'x2'])}\n{code}"

    load = lambda: ["FUNCTION", "LOAD", *r.choice([[], ["REPLACE"], ["REPLACE"]]), library()]
    call = lambda: [r.choice(["FCALL", "FCALL", "FCALL_RO"]), name(), "1", k(), r.choice([v(), k()])]
    return [load, load, call, call, call,
        lambda: ["FUNCTION", "LOAD", *r.choice([[], ["REPLACE"], ["x"]]), r.choice(ODD)], lambda: ["FUNCTION", "DELETE", r.choice(["l1", "l2", "x2", "x"])],
        lambda: ["FUNCTION", "LIST", "LIBRARYNAME", r.choice(["l1", "L2", "x*", "x"]), *r.choice([[], ["WITHCODE"], ["x"]])],
        lambda: ["FUNCTION", *r.choice([["STATS"], ["KILL"], ["LIST", "x"], ["LIST", "LIBRARYNAME"], ["FLUSH", "x"], ["FLUSH", "SYNC", "x"], ["NOSUCH"], ["HELP"],
            ["RESTORE", "x"], ["RESTORE", "x", "y"], ["RESTORE", "x", "FLUSH", "y"], ["LOAD"], ["DUMP", "x"]])],
        lambda: ["FUNCTION", "FLUSH", *r.choice([[], ["SYNC"], ["async"]])], lambda: ["FCALL", name(), r.choice(["x", "-1", "9", "0"])],
        lambda: ["FCALL", "nosuch", "0"], lambda: ["EVAL", "return redis.call('fcall','f1',0)", "0"]]
