import Primitives
import RESPWire
import TieredStore

/// Commands on keys of any type.
enum GenericCommands {
    static func rows() -> [Command] { existence() + naming() + expiry() + walking() + [object()] }

    static func row(
        _ name: String, _ arity: Int, keys: Command.Keys = .first, needs: Command.Need = .metadata,
        _ flags: CommandFlags, _ since: String, _ summary: String, _ syntax: String,
        complexity: String = "O(1)", _ handler: @escaping Command.Handler
    ) -> Command {
        Command(name, arity, keys: keys, needs: needs, flags, group: "generic", since: since,
            complexity: complexity, summary, syntax: syntax, handler)
    }

    private static let all = Command.Keys.range(first: 1, last: -1, step: 1)

    private static func existence() -> [Command] {
        [
            row("del", -2, keys: all, needs: .nothing, [.write], "1.0.0", "Deletes keys.",
                "key [key ...]", complexity: "O(N) in the keys", delete)
                .tips("request_policy:multi_shard", "response_policy:agg_sum"),
            row("unlink", -2, keys: all, needs: .nothing, [.write, .fast], "4.0.0", "Deletes keys.",
                "key [key ...]", complexity: "O(N) in the keys", delete)
                .tips("request_policy:multi_shard", "response_policy:agg_sum"),
            row("exists", -2, keys: all, [.readonly, .fast], "1.0.0", "Counts which of the keys exist.",
                "key [key ...]", complexity: "O(N) in the keys", exists)
                .tips("request_policy:multi_shard", "response_policy:agg_sum"),
            row("touch", -2, keys: all, [.readonly, .fast], "3.2.1", "Marks keys as used.",
                "key [key ...]", complexity: "O(N) in the keys", touch)
                .tips("request_policy:multi_shard", "response_policy:agg_sum"),
            row("type", 2, [.readonly, .fast], "1.0.0", "Returns the type of a key's value.", "key", type),
        ]
    }

    private static func naming() -> [Command] {
        let two = Command.Keys.range(first: 1, last: 2, step: 1)
        return [
            row("rename", 3, keys: two, needs: .value, [.write], "1.0.0", "Gives a key another name.",
                "key newkey", rename)
                .specs(.at(1, "RW access delete"), .at(2, "OW update")),
            row("renamenx", 3, keys: two, needs: .value, [.write, .fast], "1.0.0",
                "Gives a key another name if that is free.", "key newkey", renameIfFree)
                .specs(.at(1, "RW access delete"), .at(2, "OW insert")),
            row("copy", -3, keys: .custom(copyKeys), needs: .value, [.write, .growsMemory], "6.2.0",
                "Copies a key's value to another key.",
                "source destination [DB destination-db] [REPLACE]", complexity: "O(N) in the value", copy)
                .specs(.at(1, "RO access"), .at(2, "OW update")),
            row("move", 3, keys: .custom(moveKeys), needs: .value, [.write, .fast], "1.0.0",
                "Moves a key to another database.", "key db", move)
                .specs(.at(1, "RW access update")),
        ]
    }

    private static func expiry() -> [Command] {
        let condition = " [NX | XX | GT | LT]"
        return [
            row("expire", -3, [.write, .fast], "1.0.0", "Lets a key expire after some seconds.",
                "key seconds" + condition, expire),
            row("pexpire", -3, [.write, .fast], "2.6.0", "Lets a key expire after some milliseconds.",
                "key milliseconds" + condition, expire),
            row("expireat", -3, [.write, .fast], "1.2.0", "Lets a key expire at a Unix time.",
                "key unix-time-seconds" + condition, expire),
            row("pexpireat", -3, [.write, .fast], "2.6.0",
                "Lets a key expire at a Unix time in milliseconds.",
                "key unix-time-milliseconds" + condition, expire),
            row("persist", 2, [.write, .fast], "2.2.0", "Takes a key's expiry away.", "key", persist),
            row("ttl", 2, [.readonly, .fast], "1.0.0", "Returns the seconds a key has.", "key", timeLeft)
                .tips("nondeterministic_output"),
            row("pttl", 2, [.readonly, .fast], "2.6.0", "Returns the milliseconds a key has left.", "key",
                timeLeft)
                .tips("nondeterministic_output"),
            row("expiretime", 2, [.readonly, .fast], "7.0.0", "Returns the Unix time a key expires at.",
                "key", expiryTime),
            row("pexpiretime", 2, [.readonly, .fast], "7.0.0",
                "Returns the Unix time in milliseconds a key expires at.", "key", expiryTime),
        ]
    }

    private static func walking() -> [Command] {
        [
            row("keys", 2, keys: .none, [.readonly, .stopsWorld], "1.0.0", "Returns all keys that match.",
                "pattern", complexity: "O(N) in the keys of the database", keys)
                .tips("request_policy:all_shards", "nondeterministic_output_order"),
            row("randomkey", 1, keys: .none, [.readonly, .stopsWorld], "1.0.0", "Returns a key at random.",
                "", randomKey)
                .tips("request_policy:all_shards", "nondeterministic_output"),
            row("scan", -2, keys: .none, [.readonly], "2.8.0", "Walks over the keys in steps.",
                "cursor [MATCH pattern] [COUNT count] [TYPE type]",
                complexity: "O(1) a step, O(N) for the whole walk", scan)
                .tips("nondeterministic_output", "request_policy:special"),
            row("wait", 3, keys: .none, [.noScript], "3.0.0", "Waits for replicas to catch up.",
                "numreplicas timeout", wait)
                .tips("request_policy:all_shards", "response_policy:agg_min"),
        ]
    }

    // MARK: Existence

    static func delete(_ call: Call) throws(CommandError) {
        var count = 0
        for i in 0..<call.keys.count where call.keys.delete(i) {
            call.notify(.generic, "del", i)
            count += 1
        }
        call.reply.integer(count)
    }

    static func exists(_ call: Call) throws(CommandError) {
        var count = 0
        for i in 0..<call.keys.count {
            call.keys.countLookup(i)
            if call.keys.exists(i) { count += 1 }
        }
        call.reply.integer(count)
    }

    static func touch(_ call: Call) throws(CommandError) {
        var count = 0
        for i in 0..<call.keys.count where call.keys.exists(i) {
            call.keys.touch(i)
            count += 1
        }
        call.reply.integer(count)
    }

    static func name(_ type: ValueType?) -> StaticString {
        switch type {
        case nil: "none"
        case .string: "string"
        case .list: "list"
        case .hash: "hash"
        case .set: "set"
        case .sortedSet: "zset"
        case .stream: "stream"
        }
    }

    static func type(_ call: Call) throws(CommandError) { call.reply.simple(name(call.keys.type(0))) }

    // MARK: Names

    /// The value of the first key for the second too.
    private static func duplicate(_ call: Call) throws(CommandError) {
        try call.requireRoom(call.keys.valueBytes(0))
        try call.keys.copy(0, to: 1)
    }

    /// The value of the first key for the second alone.
    private static func relocate(_ call: Call) throws(CommandError) {
        if !call.keys.movesWithoutCopy(0) { try call.requireRoom(call.keys.valueBytes(0)) }
        try call.keys.move(0, to: 1)
    }

    static func rename(_ call: Call) throws(CommandError) {
        guard call.keys.exists(0) else { throw .noSuchKey }
        if !(call.keys.key(0) == call.keys.key(1)) {
            try relocate(call)
            notifyRenamed(call)
        }
        call.reply.ok()
    }

    static func renameIfFree(_ call: Call) throws(CommandError) {
        guard call.keys.exists(0) else { throw .noSuchKey }
        if call.keys.exists(1) { return call.reply.integer(0) }
        try relocate(call)
        notifyRenamed(call)
        call.reply.integer(1)
    }

    private static func notifyRenamed(_ call: Call) {
        call.notify(.generic, "rename_from", 0)
        call.notify(.generic, "rename_to", 1)
    }

    /// COPY's destination may be in another database; a wrong number is the handler's to refuse.
    private static func copyKeys(_ arguments: Arguments, _ positions: inout [Command.KeyPosition]) {
        guard arguments.count >= 3 else { return }
        var database: Int?
        var i = 3
        while i + 1 < arguments.count {
            if arguments[i].matches("db") {
                database = Decimal.int64(arguments[i + 1]).flatMap { $0 >= 0 && $0 < 16384 ? Int($0) : nil }
                i += 1
            }
            i += 1
        }
        positions.append(Command.KeyPosition(1))
        positions.append(Command.KeyPosition(2, database: database))
    }

    static func copy(_ call: Call) throws(CommandError) {
        var replaces = false, database = call.database
        var i = 3
        while i < call.wordCount {
            if call.arguments[i].matches("replace") {
                replaces = true
            } else if call.arguments[i].matches("db"), i + 1 < call.wordCount {
                database = try Options.database(call, call.arguments[i + 1])
                i += 1
            } else {
                throw .syntax
            }
            i += 1
        }
        if database == call.database, call.arguments[1] == call.arguments[2] {
            throw .message("ERR source and destination objects are the same")
        }
        guard call.keys.exists(0) else { return call.reply.integer(0) }
        if call.keys.exists(1), !replaces { return call.reply.integer(0) }
        try duplicate(call)
        call.notify(.generic, "copy_to", 1)
        call.reply.integer(1)
    }

    private static func moveKeys(_ arguments: Arguments, _ positions: inout [Command.KeyPosition]) {
        guard arguments.count == 3 else { return }
        positions.append(Command.KeyPosition(1))
        guard let index = Decimal.int64(arguments[2]), index >= 0, index < 16384 else { return }
        positions.append(Command.KeyPosition(1, database: Int(index)))
    }

    static func move(_ call: Call) throws(CommandError) {
        let database: Int
        do throws(CommandError) { database = try Options.database(call, call.arguments[2]) } catch {
            if error == .notAnInteger { throw error }
            throw .message("ERR DB index is out of range")
        }
        if database == call.database {
            throw .message("ERR source and destination objects are the same")
        }
        guard call.keys.exists(0), !call.keys.exists(1) else { return call.reply.integer(0) }
        try relocate(call)
        call.notify(.generic, "move_from", 0)
        call.notify(.generic, "move_to", 1)
        call.reply.integer(1)
    }

    // MARK: Expiry

    private enum Condition { case absent, present, greater, less }

    private static func conditions(_ call: Call) throws(CommandError) -> [Condition] {
        var found: [Condition] = []
        for i in 3..<max(3, call.wordCount) {
            let word = call.arguments[i]
            if word.matches("nx") {
                found.append(.absent)
            } else if word.matches("xx") {
                found.append(.present)
            } else if word.matches("gt") {
                found.append(.greater)
            } else if word.matches("lt") {
                found.append(.less)
            } else {
                throw .message("ERR Unsupported option \(word.text)")
            }
        }
        if found.contains(.absent), found.contains(where: { $0 != .absent }) {
            throw .message("ERR NX and XX, GT or LT options at the same time are not compatible")
        }
        if found.contains(.greater), found.contains(.less) {
            throw .message("ERR GT and LT options at the same time are not compatible")
        }
        return found
    }

    /// EXPIRE and its relatives → 1 if the expiry was set. A time in the past deletes the key.
    static func expire(_ call: Call) throws(CommandError) {
        let conditions = try conditions(call)
        let given = try Options.integer(call.arguments[2])
        let name = call.command.name
        let time = try Options.expiry(
            given, name.hasPrefix("p") ? .milliseconds : .seconds, isAbsolute: name.hasSuffix("at"),
            now: call.now)
        guard call.keys.exists(0) else { return call.reply.integer(0) }
        let old = call.keys.expiry(0)
        for condition in conditions {
            let isMet: Bool =
                switch condition {
                case .absent: old == nil
                case .present: old != nil
                case .greater: old.map { time > $0 } ?? false
                case .less: old.map { time < $0 } ?? true
                }
            if !isMet { return call.reply.integer(0) }
        }
        if time <= call.now {
            call.keys.delete(0)
            call.notify(.generic, "del")
        } else {
            call.keys.setExpiry(0, time)
            call.notify(.generic, "expire")
        }
        call.reply.integer(1)
    }

    static func persist(_ call: Call) throws(CommandError) {
        guard call.keys.expiry(0) != nil else { return call.reply.integer(0) }
        call.keys.setExpiry(0, nil)
        call.notify(.generic, "persist")
        call.reply.integer(1)
    }

    /// TTL, PTTL → time left, -1 without expiry, -2 without key.
    static func timeLeft(_ call: Call) throws(CommandError) {
        call.keys.countLookup(0)
        guard call.keys.exists(0) else { return call.reply.integer(-2) }
        guard let time = call.keys.expiry(0) else { return call.reply.integer(-1) }
        let left = max(0, time - call.now)
        call.reply.integer(call.command.name == "ttl" ? seconds(left) : left)
    }

    /// Rounded; without overflow up to the last millisecond there is.
    private static func seconds(_ milliseconds: Int64) -> Int64 {
        Int64((milliseconds.magnitude + 500) / 1000)
    }

    static func expiryTime(_ call: Call) throws(CommandError) {
        call.keys.countLookup(0)
        guard call.keys.exists(0) else { return call.reply.integer(-2) }
        guard let time = call.keys.expiry(0) else { return call.reply.integer(-1) }
        call.reply.integer(call.command.name == "expiretime" ? seconds(time) : time)
    }

    // MARK: Walking

    static func keys(_ call: Call) throws(CommandError) {
        let glob = Glob(call.arguments[1])
        let mark = call.reply.mark
        var count = 0
        call.worker.forEachKey(database: call.database) { key, _ in
            if glob.isStar || glob.matches(key) {
                call.reply.bulk(key)
                count += 1
            }
        }
        call.reply.array(count, at: mark)
    }

    static func randomKey(_ call: Call) throws(CommandError) {
        guard let key = call.worker.randomKey(database: call.database) else { return call.reply.null() }
        key.withView { call.reply.bulk($0) }
    }

    /// SCAN cursor [MATCH pattern] [COUNT count] [TYPE type] → next cursor, keys.
    static func scan(_ call: Call) throws(CommandError) {
        let cursor = try Options.cursor(call.arguments[1])
        var glob: Glob?, count: Int64 = 10, type: [UInt8]?
        var i = 2
        while i < call.wordCount {
            guard i + 1 < call.wordCount else { throw .syntax }
            if call.arguments[i].matches("count") {
                count = try Options.integer(call.arguments[i + 1])
                if count < 1 { throw .syntax }
            } else if call.arguments[i].matches("match") {
                glob = Glob(call.arguments[i + 1])
            } else if call.arguments[i].matches("type") {
                type = call.arguments[i + 1].array.map(ByteView.lowercased)
            } else {
                throw .syntax
            }
            i += 2
        }
        var found: [[UInt8]] = []
        let next = call.worker.scan(
            database: call.database, cursor: cursor, count: Int(min(count, 1 << 40))
        ) { key, valueType in
            if let glob, !glob.isStar, !glob.matches(key) { return }
            if let type, !type.withView({ $0 == ByteView(name(valueType)) }) { return }
            found.append(key.array)
        }
        call.reply.array(2)
        call.bulk(String(next))
        call.reply.array(found.count)
        for key in found { key.withView { call.reply.bulk($0) } }
    }

    /// WAIT numreplicas timeout → 0: there are no replicas.
    static func wait(_ call: Call) throws(CommandError) {
        _ = try Options.integer(call.arguments[1])
        guard let timeout = Decimal.int64(call.arguments[2]) else {
            throw .message("ERR timeout is not an integer or out of range")
        }
        if timeout < 0 { throw .message("ERR timeout is negative") }
        call.reply.integer(0)
    }

    // MARK: OBJECT

    private static func object() -> Command {
        let key = Command.Keys.range(first: 2, last: 2, step: 1)
        func sub(
            _ name: String, _ arity: Int, keys: Command.Keys, needs: Command.Need = .metadata,
            _ flags: CommandFlags, _ since: String, _ summary: String, _ syntax: String,
            _ handler: @escaping Command.Handler
        ) -> Command {
            row("object|" + name, arity, keys: keys, needs: needs, flags, since, summary, syntax, handler)
        }
        return .container("object", group: "generic", since: "2.2.3", "Shows how values are kept.", [
            sub("encoding", 3, keys: key, needs: .value, [.readonly], "2.2.3",
                "Returns how a value is encoded.", "key", encoding)
                .tips("nondeterministic_output"),
            sub("freq", 3, keys: key, [.readonly], "4.0.0", "Returns how often a key is used (LFU).", "key",
                frequency)
                .tips("nondeterministic_output"),
            sub("help", 2, keys: .none, [.loading, .stale], "6.2.0", "Lists the subcommands.", "", help),
            sub("idletime", 3, keys: key, [.readonly], "2.2.3", "Returns the seconds since the last use.",
                "key", idleTime)
                .tips("nondeterministic_output"),
            sub("refcount", 3, keys: key, [.readonly], "2.2.3", "Returns the references to a value.", "key",
                references)
                .tips("nondeterministic_output"),
        ])
    }

    static func encoding(_ call: Call) throws(CommandError) {
        guard let encoding = try encodingName(call.keys, 0) else { return call.reply.null() }
        call.reply.bulk(encoding)
    }

    /// What Redis 7.0 would call the encoding of a key's value.
    static func encodingName(_ keys: StagedKeys, _ i: Int) throws(CommandError) -> StaticString? {
        guard let type = keys.type(i) else { return nil }
        switch type {
        case .string: return try stringEncoding(keys, i)
        case .list: return "quicklist"
        case .hash: return keys.isCompact(i) ? "listpack" : "hashtable"
        case .set: return keys.isCompact(i) ? "intset" : "hashtable"
        case .sortedSet: return keys.isCompact(i) ? "listpack" : "skiplist"
        case .stream: return "stream"
        }
    }

    /// int, embstr or raw, as Redis 7.0 would keep the string.
    static func stringEncoding(_ keys: StagedKeys, _ i: Int) throws(CommandError) -> StaticString {
        if keys.isRaw(i) { return "raw" }
        guard let value = try keys.peekString(i) else { return "raw" }
        if value.count <= 20, !keys.isText(i), Decimal.int64(value) != nil { return "int" }
        return value.count <= 44 ? "embstr" : "raw"
    }

    static func frequency(_ call: Call) throws(CommandError) {
        guard let frequency = call.keys.accessFrequency(0) else { return call.reply.null() }
        guard call.server.store.policy.countsFrequency else {
            throw .message(
                "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note "
                    + "that when switching between policies at runtime LRU and LFU data will take some "
                    + "time to adjust.")
        }
        call.reply.integer(frequency)
    }

    static func idleTime(_ call: Call) throws(CommandError) {
        guard let seconds = call.keys.idleSeconds(0) else { return call.reply.null() }
        if call.server.store.policy.countsFrequency {
            throw .message(
                "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when "
                    + "switching between policies at runtime LRU and LFU data will take some time to "
                    + "adjust.")
        }
        call.reply.integer(seconds)
    }

    static func references(_ call: Call) throws(CommandError) {
        guard call.keys.exists(0) else { return call.reply.null() }
        call.reply.integer(1)
    }

    static func help(_ call: Call) throws(CommandError) {
        let lines: [StaticString] = [
            "OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
            "ENCODING <key>", "    How the value is encoded.", "FREQ <key>", "    How often it is used.",
            "IDLETIME <key>", "    Seconds since its last use.", "REFCOUNT <key>",
            "    References to the value.", "HELP", "    Print this help.",
        ]
        call.reply.array(lines.count)
        for line in lines { call.reply.simple(line) }
    }
}
