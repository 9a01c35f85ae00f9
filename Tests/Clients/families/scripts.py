"""Scripts: conversions, errors, keys that are declared and keys that are not."""
import hashlib

PLAIN = ["return 1", "return 3.7", "return -3.7", "return 1e20", "return 0/0", "return true", "return false", "return nil", "return",
    "return 'x'", "return {1,2,nil,4}", "return {1,{2,{3,'a'}},false,true}", "return {1.5,'a',{ok='x'},{err='E y'}}", "return {ok='a\\r\\nb'}",
    "return {err='a\\r\\nb'}", "return {err=1}", "return {double=1/3}", "return {map={a=1}}", "return {set={a=true}}",
    "return {big_number='12\\r\\n3'}", "return {verbatim_string={format='txt',string='x'}}", "return function() end",
    "return redis.error_reply('My Err')", "return redis.error_reply('-x')", "return redis.error_reply('')", "return redis.error_reply(1)",
    "return redis.status_reply('x')", "return redis.status_reply({})", "x=1", "return x", "_G.x=1", "rawset(_G,'x',1)", "string.x=1",
    "redis.call=nil", "setmetatable(_G,{})", "getmetatable('').__index=nil", "error('abc')", "error({err='MY x'})", "error()", "error('abc',0)",
    "local a={} return a.b.c", "local function f() error('deep') end\nf()", "\n\nredis.call('nosuch')", "local function f() return 1+f() end return f()",
    "syntax error here", "local a = ", "return redis.sha1hex('')", "return redis.sha1hex()", "return redis.sha1hex(12)", "redis.log(9,'a')", "redis.log('x')",
    "redis.log('x','a')", "redis.log(redis.LOG_DEBUG,'a','b')", "return redis.setresp(4)", "return redis.setresp()", "redis.setresp(3) return {true,false}",
    "return redis.set_repl(9)", "redis.set_repl()", "redis.set_repl(redis.REPL_ALL)", "return redis.replicate_commands()", "return redis.breakpoint()",
    "return redis.debug('a')", "return redis.acl_check_cmd('get','a')", "return redis.acl_check_cmd('nosuch')", "return redis.acl_check_cmd()",
    "return redis.register_function", "return redis.REDIS_VERSION..redis.REDIS_VERSION_NUM", "return redis.call()", "return redis.call({})",
    "return redis.call('nosuch')", "return redis.call('get')", "return redis.call('config','bad')", "return redis.call('subscribe','x')",
    "return redis.call('multi')", "return redis.pcall('nosuch')", "return redis.call('ping')", "return redis.call('echo',1e19)", "return redis.call('echo',0.1)",
    "return redis.call('eval','return 1',0)", "return redis.call('select','x')", "return redis.call('select',1)", "return redis.call('type','nosuchkey')",
    "local ok,e=pcall(redis.call,'nosuch') return {ok,e}", "local ok,e=pcall(error,{err='A b'}) return {tostring(ok),e}", "return {xpcall(error,type)}",
    "return {xpcall(function() return 1,2 end,type)}", "return {coroutine.resume(coroutine.create(function() return 5 end))}",
    "math.randomseed(7) return {tostring(math.random()),math.random(10),math.random(5,7)}", "return math.random(0)", "return math.random(3,1)",
    "return tostring(1e15)..tostring(0.1)", "return string.format('%5.1f|%s',1.25,'x')", "return table.concat({1,2,'a'},',')", "return {unpack({1,2,3})}",
    "return loadstring('return 5')()", "return loadstring('x x')", "return loadstring(string.dump(function() end))", "return load(function() return nil end)",
    "local t={} for k in pairs(_G) do t[#t+1]=k end table.sort(t) return t", "local t={} for k in pairs(redis) do t[#t+1]=k end table.sort(t) return t",
    "local t={} for k in pairs(cjson) do t[#t+1]=k end table.sort(t) return t", "return os.time()", "return io", "print(1)",
    "return cjson.encode({1,2,3})", "return cjson.encode({})", "return cjson.encode({a={b={}}})", "return cjson.encode('a/\\n\\1é')", "return cjson.encode(1.5)",
    "return cjson.decode('[1')", "return cjson.decode('{\"a\":[1,2]}').a", "return cjson.decode('null')==cjson.null", "return cjson.encode({[1]=1,[3]=3})",
    "return cjson.encode({[1]=1,[30]=3})", "return cjson.encode(1e300*1e300)", "return cjson.encode({a=function() end})", "return cjson.decode(string.rep('[',1001))",
    "local t={} t[1]=t return cjson.encode(t)", "return cmsgpack.pack({1,2,{a='b'}},'x',1.5,-5,300,-300,70000,true)", "return cmsgpack.pack()",
    "return cmsgpack.unpack(cmsgpack.pack({1,2,{a='b'}}))", "return {cmsgpack.unpack(cmsgpack.pack(1,-1,128,-129,65536,-65537,2^33,-2^33,'a'))}",
    "return {cmsgpack.unpack_one(cmsgpack.pack(1,2))}", "return {cmsgpack.unpack_limit(cmsgpack.pack(1,2,3),2)}", "return cmsgpack.unpack('\\193')",
    "return cmsgpack.unpack('\\147')", "return cmsgpack.pack(string.rep('x',40),string.rep('x',300))", "return struct.pack('>I2hs','1',2,'abc')",
    "return {struct.unpack('>I2hs',struct.pack('>I2hs','1',2,'abc'))}", "return struct.size('!4bI8')", "return struct.pack('x!8d',1)", "return struct.pack('q',1)",
    "return {struct.unpack('>I4','abc')}", "return struct.pack('bBhHlLi3I3fdc3','1',2,3,4,5,6,7,8,9,10,'abc')", "return {bit.band(7,3),bit.tohex(255),bit.bswap(1)}",
    "KEYS={}", "KEYS[1]='b' return KEYS[1]", "return #KEYS..#ARGV", "#!lua\nreturn 1", "#!lua flags=no-writes\nreturn redis.call('set','a','b')",
    "#!lua flags=bad\nreturn 1", "#!lua name=x\nreturn 1", "#!luax\nreturn 1", "#!lua", "#!lua flags=no-writes,allow-oom\nreturn redis.call('get','a')"]
KEYED = ["return {KEYS,ARGV}", "return redis.call('get',KEYS[1])", "return redis.call('set',KEYS[1],ARGV[1])", "return redis.pcall('incr',KEYS[1])",
    "return redis.call('incr',KEYS[1])", "redis.call('set',KEYS[1],ARGV[1]) redis.call('append',KEYS[2],ARGV[2]) return redis.call('mget',KEYS[1],KEYS[2])",
    "return redis.call('del',ARGV[1])", "return redis.call('get',ARGV[1])", "redis.call('set',KEYS[1],'v') return redis.call('get',ARGV[2])",
    "redis.call('append',ARGV[1],'x') redis.call('append',ARGV[2],'y') return redis.call('strlen',ARGV[1])", "return redis.call('type',ARGV[1])",
    "redis.call('select',1) return redis.call('set',KEYS[1],ARGV[1])", "return #redis.call('keys','*')", "return redis.call('dbsize')",
    "local v=redis.call('get',KEYS[1]) if v then return {v,redis.call('getdel',KEYS[1])} end return v", "redis.setresp(3) return redis.call('get',KEYS[1])",
    "return redis.call('rename',KEYS[1],ARGV[1])", "return redis.call('expireat',KEYS[1],33000000000)", "return redis.call('bitcount',KEYS[1])",
    "for i=1,3 do redis.call('setbit',KEYS[1],i*7,1) end return redis.call('getrange',KEYS[1],0,-1)", "return redis.call('nosuch',KEYS[1])",
    "local e=redis.pcall('incr',KEYS[1]) if type(e)=='table' then return e.err end return e"]
SHAS = [hashlib.sha1(s.encode("latin-1")).hexdigest() for s in PLAIN[:6] + KEYED[:6]]


def commands(g):
    r, k, v = g.r, g.key, g.value
    words = lambda: ["2", k(), k(), r.choice([v(), k()]), k()]
    return [
        lambda: ["EVAL", r.choice(PLAIN), "0"], lambda: ["EVAL", r.choice(PLAIN), "0"], lambda: ["EVAL", r.choice(KEYED), *words()],
        lambda: ["EVAL", r.choice(KEYED), *words()], lambda: ["EVAL_RO", r.choice(PLAIN + KEYED), *words()],
        lambda: ["EVALSHA", r.choice(SHAS + ["x"]), *words()], lambda: ["EVALSHA_RO", r.choice(SHAS), *words()],
        lambda: ["EVAL", "return 1", r.choice(["x", "-1", "1", "9"])], lambda: ["SCRIPT", "LOAD", r.choice(PLAIN + KEYED)],
        lambda: ["SCRIPT", "EXISTS", r.choice(SHAS), r.choice(SHAS)], lambda: ["SCRIPT", "FLUSH", *r.choice([[], ["SYNC"], ["ASYNC"], ["x"]])],
        lambda: ["SCRIPT", *r.choice([["KILL"], ["DEBUG", "NO"], ["DEBUG", "x"], ["NOSUCH"], ["LOAD"]])],
    ]
