import Glibc
import Primitives
import RESPWire
import Testing
import TieredStore

@testable import RESPFront

/// Proves how settings are read, refused, changed and written back. Method: files in a temporary
/// directory, command lines as arrays, and CONFIG through a session. Replies in quotes are
/// redis-server 7.0.15's.
struct ConfigurationTests {
    private func file(_ text: String) throws -> String {
        var name = Array("/tmp/tierd-configuration-XXXXXX".utf8CString)
        let descriptor = mkstemp(&name)
        try #require(descriptor >= 0)
        close(descriptor)
        let path = String(decoding: name.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        try #require(FileBytes.replace(path, with: Array(text.utf8)))
        return path
    }

    /// Without a directory to write to.
    @Test func anAppendOnlyFileThatCannotBeIsRefused() throws {
        let server = try AdminServer()
        let client = server.connect()
        let refused = "-ERR CONFIG SET failed (possibly related to argument 'appendonly') - Unable to "
            + "turn on AOF. Check server logs.\r\n"
        #expect(client.raw("CONFIG", "SET", "appendonly", "yes") == refused)
        #expect(!server.state.configuration.appendOnly)
        #expect(client.raw("CONFIG", "SET", "appendonly", "no") == "+OK\r\n")
        #expect(client.raw("BGREWRITEAOF").hasPrefix("-ERR"))
    }

    private func refusal(_ arguments: [String]) -> String {
        do {
            _ = try Configuration.load(arguments: arguments)
            return "accepted"
        } catch { return error.description }
    }

    @Test func readsAFile() throws {
        let path = try file("""
            # a comment
            \tPORT 7000
            bind 10.0.0.1 -::1

            maxmemory 2mb
            requirepass "a b\\x00\\n"
            tier-max-bytes 3g
            save 900 1
            save 300 10
            client-output-buffer-limit normal 1mb 2k 3
            client-output-buffer-limit pubsub 1 2 3
            unixsocketperm 770
            maxmemory-policy allkeys-LFU
            hash-max-ziplist-entries 7
            """)
        defer { unlink(path) }
        let configuration = try Configuration.load(arguments: [path])
        #expect(configuration.port == 7000)
        #expect(configuration.bind == ["10.0.0.1", "-::1"])
        #expect(configuration.maxmemory == 2 << 20)
        #expect(configuration.requirepass == Array("a b\0\n".utf8))
        #expect(configuration.tierMaxBytes == 3_000_000_000)
        #expect(
            configuration.outputLimits.normal
                == .init(hardBytes: 1 << 20, softBytes: 2000, softSeconds: 3))
        #expect(
            configuration.outputLimits.pubsub == .init(hardBytes: 1, softBytes: 2, softSeconds: 3))
        #expect(configuration.outputLimits.replica.softSeconds == 60)
        #expect(configuration.unixsocketperm == 0o770)
        #expect(configuration.maxmemoryPolicy == .allKeysLFU)
        #expect(value("save", configuration) == "900 1 300 10")
        #expect(value("hash-max-listpack-entries", configuration) == "7")
        #expect(configuration.path == path)
    }

    private func value(_ name: String, _ configuration: Configuration) -> String {
        String(decoding: SettingTable.find(name)!.value(configuration), as: UTF8.self)
    }

    @Test func takesTheCommandLineAsRedisDoes() throws {
        let path = try file("port 7000\nhz 20\n")
        defer { unlink(path) }
        let configuration = try Configuration.load(arguments: [
            path, "--port", "7001", "--bind", "1.1.1.1", "2.2.2.2", "--save", "--logfile", "--odd",
            "--timeout 5", "--requirepass", "a b", "--maxmemory", "1gb",
        ])
        #expect(configuration.port == 7001)
        #expect(configuration.hz == 20)
        #expect(configuration.bind == ["1.1.1.1", "2.2.2.2"])
        #expect(value("save", configuration) == "")
        #expect(configuration.logfile == "--odd")
        #expect(configuration.timeout == 5)
        #expect(configuration.requirepass == Array("a b".utf8))
        #expect(configuration.maxmemory == 1 << 30)
        #expect(try Configuration.load(arguments: []).port == 6379)
    }

    @Test func includesFiles() throws {
        let inner = try file("hz 33\nport 7002\n")
        let outer = try file("port 1\ninclude \(inner)\ntimeout 9\n")
        let circle = try file("")
        try #require(FileBytes.replace(circle, with: Array("include \(circle)\n".utf8)))
        defer { for path in [inner, outer, circle] { unlink(path) } }
        let configuration = try Configuration.load(arguments: [outer])
        #expect((configuration.hz, configuration.port, configuration.timeout) == (33, 7002, 9))
        #expect(refusal([circle]).contains("include each other"))
    }

    @Test func saysWhatIsWrongAndWhere() throws {
        let path = try file("port 1\n\nfoo bar\n")
        defer { unlink(path) }
        #expect(
            refusal([path]) == """
                bad configuration, \(path), line 3: 'foo bar': Bad directive or wrong number of arguments
                """)
        #expect(refusal(["/nonexistent"]).contains("No such file or directory"))
        let reasons = [
            ("hz 10 11", "wrong number of arguments"), ("hz", "wrong number of arguments"),
            ("hz abc", "argument couldn't be parsed into an integer"),
            ("port 65536", "argument must be between 0 and 65535 inclusive"),
            ("port \"1", "Unbalanced quotes in configuration line"),
            ("appendonly maybe", "argument must be 'yes' or 'no'"),
            ("maxmemory 1tb", "argument must be a memory value"),
            ("maxmemory 99999999999gb", "argument must be a memory value"),
            ("cluster-enabled yes", "cluster mode is not available"),
            ("replicaof 127.0.0.1 1", "replication is not available"),
            ("tier-segment-bytes 3mb", "argument must be 0 or a power of two between 64kb and 64mb"),
        ]
        for (line, reason) in reasons {
            let bad = try file("# x\n" + line + "\n")
            #expect(refusal([bad]) == "bad configuration, \(bad), line 2: '\(line)': \(reason)")
            unlink(bad)
        }
        #expect(refusal(["--hz", "x"]).contains("on the command line: 'hz x': argument couldn't"))
    }

    @Test func everyDefaultIsAValueOfItsSetting() throws {
        let defaults = Configuration()
        for setting in SettingTable.rows {
            let value = setting.value(defaults)
            let words = setting.kind.isList ? ConfigurationLine.split(value) : [value]
            if setting.name == "replicaof" || words.isEmpty { continue }
            #expect(try setting.canonical(words, defaults) == value, "\(setting.name)")
            setting.assign(value, in: defaults)
            #expect(setting.value(defaults) == value, "\(setting.name)")
        }
    }

    // MARK: CONFIG GET and SET

    @Test func getMatchesGlobsIgnoringCase() throws {
        let client = try AdminServer().connect()
        #expect(client.raw("CONFIG", "GET", "MAXMEMORY") == "*2\r\n$9\r\nMAXMEMORY\r\n$1\r\n0\r\n")
        #expect(client.raw("CONFIG", "GET", "nope") == "*0\r\n")
        let pairs = try #require(
            try client.reply("CONFIG", "GET", "*ZIPLIST*", "port", "p?rt").members)
        let names = stride(from: 0, to: pairs.count, by: 2).compactMap { pairs[$0].text }
        #expect(names.sorted() == [
            "hash-max-ziplist-entries", "hash-max-ziplist-value", "list-max-ziplist-size", "port",
            "zset-max-ziplist-entries", "zset-max-ziplist-value",
        ])
        _ = client.raw("HELLO", "3")
        #expect(
            client.raw("CONFIG", "GET", "tcp-backlog")
                == "%1\r\n$11\r\ntcp-backlog\r\n$3\r\n511\r\n")
        let all = try #require(try AdminServer().connect().reply("CONFIG", "GET", "*").members)
        #expect(all.count >= 2 * 194)
        #expect(!all.contains { $0.text == "tier-segment-bytes" })
    }

    @Test func setRefusesInRedissWords() throws {
        let client = try AdminServer().connect()
        let failed = "-ERR CONFIG SET failed (possibly related to argument "
        let cases: [([String], String)] = [
            (["foo", "1"], "-ERR Unknown option or number of arguments for CONFIG SET - 'foo'"),
            (["hz", "1", "foo"], "-ERR syntax error"),
            (["unixsocket", "x"], failed + "'unixsocket') - can't set immutable config"),
            (["dir", "/x"], failed + "'dir') - can't set protected config"),
            (["hz", "10", "hz", "11"], failed + "'hz') - duplicate parameter"),
            (["maxmemory", "-1"], failed + "'maxmemory') - argument must be a memory value"),
            (["hz", "abc"], failed + "'hz') - argument couldn't be parsed into an integer"),
            (["appendonly", "maybe"], failed + "'appendonly') - argument must be 'yes' or 'no'"),
            (["save", "1 2 3"], failed + "'save') - Invalid save parameters"),
            (
                ["loglevel", ""],
                failed
                    + "'loglevel') - argument(s) must be one of the following: "
                    + "debug, verbose, notice, warning"
            ),
            (
                ["maxmemory-clients", "x"],
                failed + "'maxmemory-clients') - argument must be a memory or percent value"
            ),
            (
                ["notify-keyspace-events", "KQ"],
                failed
                    + "'notify-keyspace-events') - Invalid event class character. Use 'Ag$lshzxeKEtmdn'."
            ),
            (
                ["client-output-buffer-limit", "normal 0 0"],
                failed
                    + "'client-output-buffer-limit') - "
                    + "Wrong number of arguments in buffer limit configuration."
            ),
            (
                ["slowlog-max-len", "-5"],
                failed
                    + "'slowlog-max-len') - argument must be between 0 and 9223372036854775807 inclusive"
            ),
        ]
        for (words, reply) in cases {
            #expect(client.raw(["CONFIG", "SET"] + words) == reply + "\r\n")
        }
        #expect(client.raw("CONFIG", "SET", "hz") ==
            "-ERR wrong number of arguments for 'config|set' command\r\n")
    }

    @Test func setIsAllOrNothingAndTellsAfterwards() throws {
        let server = try AdminServer()
        let client = server.connect(), configuration = server.state.configuration
        var told: [(String, Int)] = []
        configuration.onChange = { told.append(($0, configuration.timeout)) }
        #expect(client.raw("CONFIG", "SET", "timeout", "5", "maxclients", "0").hasPrefix("-ERR"))
        #expect(configuration.timeout == 0)
        #expect(told.isEmpty)
        #expect(
            client.raw("CONFIG", "SET", "maxclients", "7", "timeout", "5", "hz", "10") == "+OK\r\n")
        #expect(told.map(\.0) == ["maxclients", "timeout"])
        #expect(told.allSatisfy { $0.1 == 5 })
    }

    @Test func changesTakeEffect() throws {
        let server = try AdminServer()
        let client = server.connect()
        #expect(server.state.slowTicks == 10_000_000)
        _ = client.raw(
            "CONFIG", "SET", "latency-monitor-threshold", "2", "maxmemory-policy", "allkeys-lru")
        #expect(server.state.slowTicks == 2_000_000)
        #expect(server.state.store.policy == .allKeysLRU)
        _ = client.raw(
            "CONFIG", "SET", "slowlog-log-slower-than", "-1", "latency-monitor-threshold", "0")
        #expect(server.state.slowTicks == .max)
        _ = client.raw("CONFIG", "SET", "proto-max-bulk-len", "2mb")
        let limits = client.session.parser.limits
        #expect(limits.bulkBytes == 2 << 20)
        _ = client.raw("CONFIG", "SET", "notify-keyspace-events", "g$lshzxetdKE")
        #expect(client.raw("CONFIG", "GET", "notify-keyspace-events").hasSuffix("$3\r\nAKE\r\n"))
    }

    @Test func passwordsStayOutOfTheSlowLog() throws {
        let client = try AdminServer(["--slowlog-log-slower-than", "0"]).connect()
        _ = client.raw("CONFIG", "SET", "requirepass", "secret", "hz", "9")
        let log = client.raw("SLOWLOG", "GET")
        #expect(log.contains("(redacted)"))
        #expect(log.contains("requirepass"))
        #expect(!log.contains("secret"))
    }

    // MARK: CONFIG REWRITE

    @Test func rewriteKeepsCommentsAndOrder() throws {
        let path = try file("""
            # my server
            maxmemory 100mb

            hz 20 
            timeout 7
            # old
            timeout 8
            save 900 1
            save 300 10
            """)
        defer { unlink(path) }
        let server = try AdminServer([path, "--port", "7000"])
        let client = server.connect()
        _ = client.raw("CONFIG", "SET", "timeout", "9", "requirepass", "a \"b\"")
        #expect(client.raw("CONFIG", "REWRITE") == "+OK\r\n")
        let text = String(decoding: try #require(FileBytes.read(path)), as: UTF8.self)
        #expect(text == """
            # my server
            maxmemory 100mb

            hz 20 
            timeout 9
            # old
            save 900 1
            save 300 10
            # Generated by CONFIG REWRITE
            port 7000
            requirepass "a \\"b\\""

            """)
        let again = try Configuration.load(arguments: [path])
        #expect(again.requirepass == Array("a \"b\"".utf8))
        #expect((again.timeout, again.port, again.maxmemory) == (9, 7000, 100 << 20))
        #expect(again.rewritten(Array(text.utf8)) == Array(text.utf8))
    }

    @Test func rewriteNeedsAFile() throws {
        #expect(try AdminServer().connect().raw("CONFIG", "REWRITE")
            == "-ERR The server is running without a config file\r\n")
    }
}
