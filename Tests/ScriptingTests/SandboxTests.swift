import Primitives
import Scripting
import Testing

/// A script's commands are answered from a table.
final class ScriptRun {
    let engine: ScriptEngine
    var replies: [String: String] = ["ping": "+PONG\r\n", "get": "$-1\r\n", "bad": "-WRONGTYPE Operation\r\n"]
    var asked: [[String]] = []
    var ends = false
    private var reply: [UInt8] = []

    init(limit: Int = 64 << 20) throws {
        engine = try #require(ScriptEngine(limit: limit))
        engine.host.call = { [unowned self] words, _ in
            asked.append((0..<words.count).map { words[$0].text })
            if ends { return nil }
            let known = replies[asked.last![0]]
            reply = Array((known ?? "-ERR Unknown Redis command called from script\r\n").utf8)
            return reply.withView { $0 }
        }
        engine.host.interrupt = { true }
    }

    /// The answer, or "!" and the error.
    func run(
        _ script: String, _ keys: [String] = [], _ arguments: [String] = [], version: Int = 2
    ) -> String {
        let handle: ScriptEngine.Handle
        switch Array(script.utf8).withView({ engine.compile($0) }) {
        case .failed(let message): return "?" + message
        case .done(let compiled): handle = compiled
        }
        defer { engine.forget(handle) }
        let words = (keys + arguments).map { Array($0.utf8) }
        // Kept alive by `words`.
        let views = words.map { word in word.withUnsafeBytes { ByteView($0) } }
        return withExtendedLifetime(words) {
            switch engine.run(
                handle, name: Array("x".utf8) + [0], keys: keys.count, arguments: arguments.count,
                version: version, word: { views[$0] }) {
            case .done(let bytes): bytes.text
            case .failed(let text): "!" + text.text
            case .ended: "ended"
            }
        }
    }
}

/// What scripts may reach, and that nothing they do outlives them or ends the process.
struct SandboxTests {
    /// Each ends in an error, and what it tried has had no effect on the next script.
    @Test(arguments: [
        "x = 1", "_G.x = 1", "rawset(_G, 'x', 1)", "string.rep = nil", "redis.call = nil",
        "table.insert(string, 1)", "table.insert(_G, 1)", "setmetatable(_G, {})",
        "setmetatable(string, {})", "getmetatable('').__index = {}", "getmetatable(_G).__index = {}",
        "_G._G = {}", "math.random = nil", "cjson.encode = nil", "return io", "return os",
        "return debug", "return require", "return package", "return dofile('/etc/passwd')",
        "return loadfile('/etc/passwd')", "return getfenv(0)", "setfenv(0, {})", "return newproxy()",
        "print(1)", "return module", "KEYS = {}", "return nosuch",
        "return coroutine.wrap(function() y = 1 end)()", "loadstring('z = 1')()",
        "load(function() return nil end)() a = 1", "table.sort(_G)", "table.remove(string)",
    ])
    func escapes(_ script: String) throws {
        let run = try ScriptRun()
        let answer = run.run(script)
        let isNothing = script == "getmetatable(_G).__index = {}" && answer == "$-1\r\n"
        #expect(answer.hasPrefix("!") || isNothing, "\(answer)")
        #expect(run.run("return {string.rep('a', 2), type(redis.call), #('x'):upper(), math.random() < 1}")
            == "*4\r\n$2\r\naa\r\n$8\r\nfunction\r\n:1\r\n:1\r\n")
        #expect(run.run("local n = 0 for k in pairs(_G) do n = n + 1 end return n") == ":35\r\n")
        let numbers = "for k in pairs(string) do if type(k) == 'number' then n = n + 1 end end return n"
        #expect(run.run("local n = 0 " + numbers) == ":0\r\n")
    }

    @Test func bytecodeIsRefused() throws {
        let run = try ScriptRun()
        let tries = [
            "return loadstring(string.dump(function() return 1 end))",
            "local s, n = string.dump(function() end), 0 "
                + "return (load(function() n = n + 1 return s:sub(n, n) end))",
            "return loadstring('\\27Lua')",
        ]
        for script in tries { #expect(run.run(script) == "$-1\r\n") }
        #expect(run.run("\u{1b}Lua").hasPrefix("?"))
    }

    @Test func endlessLoopsEnd() throws {
        let run = try ScriptRun()
        let scripts = [
            "while true do end", "while true do pcall(function() while true do end end) end",
            "local function f() return f() end f()",
            "local c = coroutine.wrap(function() while true do end end) while true do pcall(c) end",
            "while true do xpcall(function() while true do end end, function() while true do end end) end",
        ]
        for script in scripts {
            #expect(run.run(script).contains("Script killed by user with SCRIPT KILL..."), "\(script)")
        }
        #expect(run.run("return 1") == ":1\r\n")
    }

    @Test func endlessAllocationEnds() throws {
        let run = try ScriptRun(limit: 8 << 20)
        run.engine.host.interrupt = { false }
        let scripts = [
            "local t = {} while true do t[#t + 1] = {} end", "local s = 'x' while true do s = s .. s end",
            "return string.rep('x', 1e9)", "local t = {} for i = 1, 1e9 do t[i] = i end",
            "return cjson.encode(string.rep('x', 7e6))",
        ]
        for script in scripts {
            #expect(run.run(script).contains("not enough memory"), "\(script)")
            #expect(run.engine.memory < 24 << 20)
        }
        #expect(run.run("return 1") == ":1\r\n")
    }

    @Test func deepRecursionIsAnError() throws {
        let run = try ScriptRun()
        let scripts = [
            "local function f() return 1 + f() end return f()",
            "local t = {} for i = 1, 2000 do t = {t} end return cjson.encode(t)",
            "local t = {} t[1] = t return cjson.encode(t)",
            "return cjson.decode(string.rep('[', 5000) .. string.rep(']', 5000))",
            "return cmsgpack.unpack(string.rep('\\145', 100000))",
        ]
        for script in scripts { #expect(run.run(script).hasPrefix("!"), "\(script)") }
        #expect(run.run("local t = {} for i = 1, 10000 do t = {t} end return t").count > 1000)
        #expect(run.run("local t = {} t[1] = t return cmsgpack.pack(t)").hasPrefix("$"))
    }

    /// A call that ends the run ends it for good, whatever catches errors around it.
    @Test func endsWhenTheHostSaysSo() throws {
        let run = try ScriptRun()
        run.ends = true
        let once = "local ok = pcall(redis.call, 'get', 'a') redis.pcall('get', 'b') return 1"
        let forever = "while true do pcall(redis.call, 'get') xpcall(redis.call, type) redis.pcall('get') end"
        #expect(run.run(once) == "ended")
        #expect(run.run(forever) == "ended")
        run.ends = false
        #expect(run.run("return redis.call('ping')") == "+PONG\r\n")
    }

    @Test func damagedInputOfLibrariesIsAnError() throws {
        let run = try ScriptRun()
        run.engine.host.interrupt = { false }
        var random = Random(seed: 5)
        for _ in 0..<500 {
            let bytes = (0..<Int.random(in: 0..<40, using: &random)).map { _ in
                "\\" + String(UInt8.random(in: 0...255, using: &random))
            }.joined()
            let format = (0..<5).map { _ in "<>!bBhHlLiIfdxsc 0148T".randomElement(using: &random)! }
            _ = run.run("return pcall(cmsgpack.unpack, '\(bytes)')")
            _ = run.run("return pcall(cmsgpack.unpack_limit, '\(bytes)', 2, 1)")
            _ = run.run("return pcall(struct.unpack, '\(String(format))', '\(bytes)')")
            _ = run.run("return pcall(struct.pack, '\(String(format))', 1, 2, '\(bytes)', 4, 5)")
            _ = run.run("return pcall(cjson.decode, '\(bytes)')")
        }
        #expect(run.run("return 1") == ":1\r\n")
    }
}
