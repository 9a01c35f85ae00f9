import Primitives
import RESPWire
import TieredStore

/// Subcommands of DEBUG that clients' and servers' test suites use; SLEEP and OBJECT are with the row.
enum DebugCommands {
    /// True if there is such a subcommand with as many words; it has replied.
    static func run(_ call: Call) throws(CommandError) -> Bool {
        switch (call.option(1), call.wordCount) {
        case ("error", 3): call.reply.error(call.arguments[2])
        case ("protocol", 3): try reply(call)
        case ("log", 3), ("change-repl-id", 2), ("pause-cron", 3), ("set-disable-deny-scripts", 3),
            ("replicate", 3), ("dict-resizing", 3), ("replybuffer", 4):
            call.reply.ok()
        case ("quicklist-packed-threshold", 3): try packedThreshold(call)
        case ("htstats", _) where call.wordCount >= 3: try tables(call)
        case ("structsize", 2):
            call.simple("bits:64 robj:0 dictentry:0 sdshdr5:0 sdshdr8:0 sdshdr16:0 sdshdr32:0 sdshdr64:0")
        case ("stringmatch-len", 4):
            let count = try call.integer(2)
            guard count >= 0, count <= 1 << 20 else { throw .outOfRange }
            let text = [UInt8](repeating: UInt8(ascii: "a"), count: Int(count))
            let glob = Glob(call.arguments[3])
            call.reply.integer(text.withView { glob.matches($0) } ? 1 : 0)
        case ("reload", _): try reload(call)
        case ("loadaof", 2):
            throw .message("ERR the append-only file refers to the tier file: it is loaded at a start")
        case ("digest", 2):
            var text = ""
            try call.server.stopWorld { () throws(CommandError) in
                call.worker.runAlone { text = DatasetDigest.everything(call).text }
            }
            call.keys.forgetKeys()
            call.simple(text)
        case ("digest-value", _):
            let types = (0..<call.keys.count).map { call.keys.type($0) }
            call.reply.array(types.count)
            for (i, type) in types.enumerated() {
                call.simple(DatasetDigest.value(call, call.arguments[2 + i], type).text)
            }
        case ("listpack", 3): call.simple("Listpack structure printed on stdout")
        case ("populate", 3...5): try populate(call)
        case ("help", 2): help(call)
        default: return false
        }
        return true
    }

    /// DEBUG RELOAD [NOSAVE] [NOFLUSH] [MERGE] → OK once everything was saved, deleted and loaded again.
    private static func reload(_ call: Call) throws(CommandError) {
        var saves = true, flushes = true
        for i in 2..<max(2, call.wordCount) {
            switch call.option(i) {
            case "nosave": saves = false
            case "noflush": flushes = false
            case "merge": continue
            default: throw .message("ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.")
            }
        }
        try call.server.stopWorld { () throws(CommandError) in
            try runAlone(call) { () throws(CommandError) in
                if saves { try call.server.saver.saveNow() }
                call.server.appendOnly.abandonRewrite()
                if flushes {
                    for database in 0..<call.server.store.options.databases {
                        _ = call.worker.flush(database: database)
                    }
                    call.server.libraries.flush()
                }
                try call.server.reload(call.server.configuration.dbfilename)
            }
        }
        call.keys.forgetKeys()
        call.reply.ok()
    }

    /// DEBUG POPULATE count [prefix] [size] → OK once there are the keys `prefix:n`, strings `value:n` cut or
    /// filled with zeros to `size`. Those that are there already stay. As in Redis, the append-only file does
    /// not get them.
    private static func populate(_ call: Call) throws(CommandError) {
        let count = try call.integer(2), size = call.wordCount > 4 ? try call.integer(4) : 0
        guard count >= 0, size >= 0 else { throw .outOfRange }
        let prefix = call.wordCount > 3 ? call.arguments[3].array : Array("key".utf8)
        let each = Int64(prefix.count) + max(16, size) + 80
        let (bytes, isTooMuch) = each.multipliedReportingOverflow(by: count)
        if isTooMuch { throw .outOfMemory }
        try call.requireRoom(Int(bytes))
        try call.server.stopWorld { () throws(CommandError) in
            try runAlone(call) { () throws(CommandError) in
                for i in 0..<Int(count) { put(call, prefix + Array(":\(i)".utf8), "value:\(i)", Int(size)) }
            }
        }
        call.keys.forgetKeys()
        call.reply.ok()
    }

    private static func put(_ call: Call, _ key: [UInt8], _ text: String, _ size: Int) {
        var value = Array(text.utf8)
        if size > 0 {
            value = Array(value.prefix(size)) + Array(repeating: 0, count: max(0, size - value.count))
        }
        key.withView { key in
            call.keys.inWindow {
                call.keys.add(key, hash: call.worker.hash(key), database: call.database)
                if call.keys.exists(0) { return }
                value.withView { call.keys.setString(0, $0) }
                if call.front.audience.isListening { call.front.publishKeys(call.session, call.command) }
            }
        }
    }

    private static func runAlone(
        _ call: Call, _ body: () throws(CommandError) -> Void
    ) throws(CommandError) {
        var failure: CommandError?
        call.worker.runAlone {
            do throws(CommandError) { try body() } catch { failure = error }
        }
        if let failure { throw failure }
    }

    /// One of each kind of reply, for tests of clients' parsers.
    private static func reply(_ call: Call) throws(CommandError) {
        let reply = call.reply, isNew = reply.version == .resp3
        switch call.option(2) {
        case "string": reply.bulk("Hello World")
        case "integer": reply.integer(12345)
        case "double": reply.double(3.141)
        case "null": reply.null()
        case "array", "set":
            if call.option(2) == "set" { reply.set(3) } else { reply.array(3) }
            for i in 0..<3 { reply.integer(i) }
        case "map":
            reply.map(3)
            for i in 0..<3 {
                reply.integer(i)
                reply.boolean(i == 1)
            }
        case "attrib":
            if isNew {
                reply.attribute(1)
                reply.bulk("key-popularity")
                reply.array(2)
                reply.bulk("key:123")
                reply.integer(90)
            }
            reply.bulk("Some real reply following the attribute")
        case "push":
            if !isNew { throw .message("ERR RESP2 is not supported by this command") }
            reply.push(2)
            reply.bulk("server-cpu-usage")
            reply.integer(42)
            reply.bulk("Some real reply following the push reply")
        case "verbatim": reply.verbatim("txt", ByteView("This is a verbatim\nstring"))
        case "true": reply.boolean(true)
        case "false": reply.boolean(false)
        case "bignum": reply.bigNumber(ByteView("1234567999999999999999999999999999999"))
        default:
            throw .message("""
                ERR Wrong protocol type name. Please use one of the following: string|integer|double|\
                bignum|null|array|set|map|attrib|push|verbatim|true|false
                """)
        }
    }

    /// Taken, and of no effect: lists have no nodes of Redis's kind.
    private static func packedThreshold(_ call: Call) throws(CommandError) {
        guard let bytes = Setting.Kind.memory(call.word(2)), bytes >= 0, bytes < 4 << 30 else {
            throw .message("ERR argument must be a memory value bigger than 1 and smaller than 4gb")
        }
        call.reply.ok()
    }

    /// DEBUG HTSTATS database → how many keys the index holds.
    private static func tables(_ call: Call) throws(CommandError) {
        let database = try call.integer(2)
        guard database >= 0, database < Int64(call.server.store.options.databases) else {
            throw .message("ERR Out of range database")
        }
        var text = ""
        try call.server.stopWorld { () throws(CommandError) in
            let keys = call.server.store.keyCount(database: Int(database))
            let volatile = call.server.store.volatileCount(database: Int(database))
            text = "[Index]\nkeys: \(keys)\nwith expiry: \(volatile)\n"
        }
        call.verbatim(text)
    }

    private static func help(_ call: Call) {
        call.help([
            "CHANGE-REPL-ID", "    Taken, without effect.",
            "DIGEST", "    A hash of all keys and values, as Redis makes it.",
            "DIGEST-VALUE <key> [<key> ...]", "    Hashes of the values of keys.",
            "ERROR <string>", "    Answer an error of this text.",
            "HTSTATS <dbid>", "    How many keys a database's index holds.",
            "LOG <message>", "    Taken, without effect.",
            "OBJECT <key>", "    How a value is kept.",
            "POPULATE <count> [<prefix>] [<size>]", "    Set so many keys to strings.",
            "PROTOCOL <type>", "    Answer a value of this type.",
            "QUICKLIST-PACKED-THRESHOLD <size>", "    Taken, without effect.",
            "SET-ACTIVE-EXPIRE <0|1>", "    Whether keys are looked for whose time is over.",
            "SLEEP <seconds>", "    Let everybody wait.",
            "STRINGMATCH-LEN <length> <pattern>", "    Match a pattern against as many letters a.",
        ])
    }
}
