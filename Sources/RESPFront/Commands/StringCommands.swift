import Glibc
import Primitives
import RESPWire
import TieredStore

/// The string family: 22 commands as in Redis 7.0.
enum StringCommands {
    static func rows() -> [Command] { reading() + writing() + counting() }

    private static func reading() -> [Command] {
        [
            row("get", 2, needs: .value, [.readonly, .fast], "1.0.0", "Returns a key's string.", "key", get),
            row("getrange", 4, needs: .value, [.readonly], "2.4.0", "Returns a part of a string.",
                "key start end", complexity: "O(N) in the bytes returned", getRange),
            row("substr", 4, needs: .value, [.readonly], "1.0.0", "Returns a part of a string (old name).",
                "key start end", complexity: "O(N) in the bytes returned", getRange)
                .deprecated("2.0.0", by: "`GETRANGE`"),
            row("strlen", 2, needs: .metadata, [.readonly, .fast], "2.2.0", "Returns a string's length.",
                "key", length),
            row("mget", -2, keys: .range(first: 1, last: -1, step: 1), needs: .value, [.readonly, .fast],
                "1.0.0", "Returns the strings of several keys.", "key [key ...]",
                complexity: "O(N) in the keys", getMany)
                .tips("request_policy:multi_shard"),
            row("lcs", -3, keys: .range(first: 1, last: 2, step: 1), needs: .value, [.readonly], "7.0.0",
                "Finds the longest common subsequence of two strings.",
                "key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]",
                complexity: "O(N*M) in the two lengths", LongestCommonSubsequence.lcs),
        ]
    }

    private static func writing() -> [Command] {
        let grow: CommandFlags = [.write, .growsMemory]
        return [
            row("set", -3, needs: .varies(setNeed), grow, "1.0.0", "Sets a key to a string.",
                "key value [NX | XX | IFEQ comparison-value] [GET] "
                    + "[EX seconds | PX milliseconds | EXAT unix-time-seconds | "
                    + "PXAT unix-time-milliseconds | KEEPTTL]", set),
            row("setnx", 3, needs: .metadata, grow.union(.fast), "1.0.0",
                "Sets a key to a string if it is absent.", "key value", setIfAbsent),
            row("setex", 4, grow, "2.0.0", "Sets a string that expires, in seconds.",
                "key seconds value", setExpiring),
            row("psetex", 4, grow, "2.6.0", "Sets a string that expires, in milliseconds.",
                "key milliseconds value", setExpiring),
            row("getset", 3, needs: .value, grow.union(.fast), "1.0.0",
                "Sets a string and returns the one before.", "key value", getSet)
                .deprecated("6.2.0", by: "`SET` with the `!GET` argument"),
            row("getdel", 2, needs: .value, [.write, .fast], "6.2.0", "Returns a string and deletes its key.",
                "key", getDelete),
            row("getex", -2, needs: .value, [.write, .fast], "6.2.0",
                "Returns a string and changes when it expires.",
                "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | "
                    + "PXAT unix-time-milliseconds | PERSIST]", getExpiring),
            row("mset", -3, keys: .range(first: 1, last: -1, step: 2), grow, "1.0.1",
                "Sets several keys to strings, together.", "key value [key value ...]",
                complexity: "O(N) in the keys", setMany)
                .tips("request_policy:multi_shard", "response_policy:all_succeeded"),
            row("msetnx", -3, keys: .range(first: 1, last: -1, step: 2), needs: .metadata, grow, "1.0.1",
                "Sets several keys to strings if none of them is there.", "key value [key value ...]",
                complexity: "O(N) in the keys", setManyIfAbsent)
                .tips("request_policy:multi_shard", "response_policy:agg_min"),
            row("delifeq", 3, needs: .value, [.write, .fast], "9.0.0",
                "Deletes a key if it holds this string (Valkey 9.0).", "key value", deleteIfEqual),
            row("append", 3, needs: .value, grow.union(.fast), "2.0.0", "Appends bytes to a string.",
                "key value", append),
            row("setrange", 4, needs: .value, grow, "2.2.0", "Overwrites a part of a string.",
                "key offset value", setRange),
        ]
    }

    private static func counting() -> [Command] {
        let flags: CommandFlags = [.write, .growsMemory, .fast]
        return [
            row("incr", 2, needs: .value, flags, "1.0.0", "Adds one to a number.", "key", increment),
            row("decr", 2, needs: .value, flags, "1.0.0", "Takes one from a number.", "key", decrement),
            row(
                "incrby", 3, needs: .value, flags, "1.0.0", "Adds to a number.", "key increment",
                incrementBy),
            row("decrby", 3, needs: .value, flags, "1.0.0", "Takes from a number.", "key decrement",
                decrementBy),
            row("incrbyfloat", 3, needs: .value, flags, "2.6.0", "Adds to a floating-point number.",
                "key increment", incrementByFloat),
        ]
    }

    private static func row(
        _ name: String, _ arity: Int, keys: Command.Keys = .first, needs: Command.Need = .nothing,
        _ flags: CommandFlags, _ since: String, _ summary: String, _ syntax: String,
        complexity: String = "O(1)", _ handler: @escaping Command.Handler
    ) -> Command {
        Command(name, arity, keys: keys, needs: needs, flags, group: "string", since: since,
            complexity: complexity, summary, syntax: syntax, handler)
    }

    // MARK: Reading

    /// GET key → bulk, or null if absent. Errors: WRONGTYPE.
    static func get(_ call: Call) throws(CommandError) {
        guard let value = try call.keys.string(0) else { return call.reply.null() }
        call.reply.bulk(value)
    }

    /// GETRANGE key start end → bulk; negative positions count from the end, both included.
    static func getRange(_ call: Call) throws(CommandError) {
        var start = try Options.integer(call.arguments[2])
        var end = try Options.integer(call.arguments[3])
        guard let value = try call.keys.string(0) else { return call.reply.bulk("") }
        let count = Int64(value.count)
        if start < 0, end < 0, start > end { return call.reply.bulk("") }
        if start < 0 { start = max(0, start + count) }
        if end < 0 { end = max(0, end + count) }
        end = min(end, count - 1)
        if count == 0 || start > end { return call.reply.bulk("") }
        call.reply.bulk(value[Int(start)..<Int(end) + 1])
    }

    static func length(_ call: Call) throws(CommandError) {
        call.reply.integer(try call.keys.stringCount(0) ?? 0)
    }

    /// MGET key … → array; null for absent keys and other types.
    static func getMany(_ call: Call) throws(CommandError) {
        call.reply.array(call.keys.count)
        for i in 0..<call.keys.count {
            if let type = call.keys.type(i), type != .string {
                call.reply.null()
            } else if let value = try call.keys.string(i) {
                call.reply.bulk(value)
            } else {
                call.reply.null()
            }
        }
    }

    // MARK: SET

    private struct SetOptions {
        var ifAbsent = false
        var ifPresent = false
        /// The word the old value must be equal to.
        var ifEqual: Int?
        var getsOld = false
        var expiry = ExpiryChange.none
    }

    /// SET needs the old value only for GET and IFEQ, no more than the entry for NX, XX and KEEPTTL.
    static func setNeed(_ arguments: Arguments) -> Command.Need {
        for i in 3..<max(3, arguments.count)
        where arguments[i].matches("get") || arguments[i].matches("ifeq") { return .value }
        return .metadata
    }

    private static func setOptions(_ call: Call) throws(CommandError) -> SetOptions {
        var options = SetOptions()
        var keepsExpiry = false, time: Int?
        var i = 3
        while i < call.wordCount {
            let word = call.arguments[i]
            let isLast = i + 1 == call.wordCount
            if word.matches("nx"), !options.ifPresent, options.ifEqual == nil {
                options.ifAbsent = true
            } else if word.matches("xx"), !options.ifAbsent, options.ifEqual == nil {
                options.ifPresent = true
            } else if word.matches("ifeq"), !options.ifAbsent, !options.ifPresent, !isLast {
                // Valkey 8.1.
                options.ifEqual = i + 1
                i += 1
            } else if word.matches("get") {
                options.getsOld = true
            } else if word.matches("keepttl"), time == nil {
                keepsExpiry = true
                options.expiry = .keep
            } else if Options.isExpiryWord(word), !keepsExpiry, !isLast,
                time.map({ Options.isSameWord(call.arguments[$0], word) }) ?? true {
                // Redis 7.0 lets the same option be repeated; the last counts.
                time = i
                i += 1
            } else {
                throw .syntax
            }
            i += 1
        }
        if let time, let expiry = try Options.expiryOption(call, time) { options.expiry = .at(expiry) }
        return options
    }

    /// SET key value [options] → OK, null when NX or XX forbids it, or the old value with GET.
    static func set(_ call: Call) throws(CommandError) {
        if call.wordCount == 3 {
            call.keys.setString(0, call.arguments[2])
            call.notify(.string, "set")
            return call.reply.ok()
        }
        let options = try setOptions(call)
        let exists = call.keys.exists(0)
        var mayset = !(options.ifAbsent && exists) && !(options.ifPresent && !exists)
        if let word = options.ifEqual {
            mayset = try call.keys.string(0).map { $0 == call.arguments[word] } ?? false
        }
        if options.getsOld {
            if let old = try call.keys.string(0) { call.reply.bulk(old) } else { call.reply.null() }
        } else if !mayset {
            return call.reply.null()
        }
        guard mayset else { return }
        store(call, 0, call.arguments[2], options.expiry)
        if !options.getsOld { call.reply.ok() }
    }

    /// Sets a string; a time that is over deletes the key instead.
    private static func store(_ call: Call, _ key: Int, _ value: ByteView, _ expiry: ExpiryChange) {
        call.keys.setString(key, value, expiry: expiry)
        call.notify(.string, "set", key)
        guard case .at(let time) = expiry else { return }
        call.notify(.generic, "expire", key)
        if time <= call.now {
            call.keys.delete(key)
            call.notify(.expired, "expired", key)
        }
    }

    static func setIfAbsent(_ call: Call) throws(CommandError) {
        if call.keys.exists(0) { return call.reply.integer(0) }
        call.keys.setString(0, call.arguments[2])
        call.notify(.string, "set")
        call.reply.integer(1)
    }

    /// SETEX key seconds value, PSETEX key milliseconds value → OK.
    static func setExpiring(_ call: Call) throws(CommandError) {
        let unit: Options.TimeUnit = call.command.name == "setex" ? .seconds : .milliseconds
        let time = try Options.expiry(call.arguments[2], unit, isAbsolute: false, now: call.now)
        call.keys.setString(0, call.arguments[3], expiry: .at(time))
        call.notify(.string, "set")
        call.notify(.generic, "expire")
        call.reply.ok()
    }

    static func getSet(_ call: Call) throws(CommandError) {
        try get(call)
        call.keys.setString(0, call.arguments[2])
        call.notify(.string, "set")
    }

    static func getDelete(_ call: Call) throws(CommandError) {
        try get(call)
        if call.keys.delete(0) { call.notify(.generic, "del") }
    }

    /// DELIFEQ key value → 1 if the key held the value and is deleted. Errors: WRONGTYPE.
    static func deleteIfEqual(_ call: Call) throws(CommandError) {
        guard let value = try call.keys.string(0), value == call.arguments[2]
        else { return call.reply.integer(0) }
        call.keys.delete(0)
        call.notify(.generic, "del")
        call.reply.integer(1)
    }

    /// GETEX key [time | PERSIST] → bulk or null.
    static func getExpiring(_ call: Call) throws(CommandError) {
        var persists = false, time: Int?
        var i = 2
        while i < call.wordCount {
            let word = call.arguments[i]
            if word.matches("persist"), time == nil {
                persists = true
            } else if Options.isExpiryWord(word), !persists, i + 1 < call.wordCount,
                time.map({ Options.isSameWord(call.arguments[$0], word) }) ?? true {
                time = i
                i += 1
            } else {
                throw .syntax
            }
            i += 1
        }
        guard let value = try call.keys.string(0) else { return call.reply.null() }
        // Redis 7.0 looks at the number only when there is a key.
        let until: Int64? = if let time { try Options.expiryOption(call, time) } else { nil }
        call.reply.bulk(value)
        if let until, until <= call.now {
            call.keys.delete(0)
            call.notify(.generic, "del")
        } else if until != nil {
            call.keys.setExpiry(0, until)
            call.notify(.generic, "expire")
        } else if persists, call.keys.expiry(0) != nil {
            call.keys.setExpiry(0, nil)
            call.notify(.generic, "persist")
        }
    }

    static func setMany(_ call: Call) throws(CommandError) {
        try requirePairs(call)
        setAll(call)
        call.reply.ok()
    }

    private static func setAll(_ call: Call) {
        for i in 0..<call.keys.count {
            call.keys.setString(i, call.arguments[2 + 2 * i])
            call.notify(.string, "set", i)
        }
    }

    static func setManyIfAbsent(_ call: Call) throws(CommandError) {
        try requirePairs(call)
        for i in 0..<call.keys.count where call.keys.exists(i) { return call.reply.integer(0) }
        setAll(call)
        call.reply.integer(1)
    }

    private static func requirePairs(_ call: Call) throws(CommandError) {
        if call.wordCount % 2 == 0 {
            throw .message("ERR wrong number of arguments for '\(call.command.name)' command")
        }
    }

    // MARK: Editing

    private static func requireFits(_ call: Call, _ bytes: Int) throws(CommandError) {
        if bytes > call.configuration.requestLimits.bulkBytes { throw .stringTooLong }
    }

    /// APPEND key value → the new length.
    static func append(_ call: Call) throws(CommandError) {
        let tail = call.arguments[2]
        guard let old = try call.keys.stringCount(0) else {
            call.keys.setString(0, tail)
            call.notify(.string, "append")
            return call.reply.integer(tail.count)
        }
        try requireFits(call, old + tail.count)
        let bytes = try call.keys.editString(0, count: old + tail.count)
        bytes.copy(tail, at: old)
        call.notify(.string, "append")
        call.reply.integer(old + tail.count)
    }

    /// SETRANGE key offset value → the new length.
    static func setRange(_ call: Call) throws(CommandError) {
        let offset = try Options.integer(call.arguments[2])
        if offset < 0 { throw .message("ERR offset is out of range") }
        let part = call.arguments[3]
        let old = try call.keys.stringCount(0)
        if part.isEmpty { return call.reply.integer(old ?? 0) }
        guard offset <= Int64(call.configuration.requestLimits.bulkBytes) else { throw .stringTooLong }
        let count = Int(offset) + part.count
        try requireFits(call, count)
        if count > old ?? 0 { try call.requireRoom(count) }
        let bytes = try call.keys.editString(0, count: max(old ?? 0, count))
        bytes.copy(part, at: Int(offset))
        call.notify(.string, "setrange")
        call.reply.integer(bytes.count)
    }

    // MARK: Counting

    static func increment(_ call: Call) throws(CommandError) { try add(call, 1) }
    static func decrement(_ call: Call) throws(CommandError) { try add(call, -1) }

    static func incrementBy(_ call: Call) throws(CommandError) {
        try add(call, try Options.integer(call.arguments[2]))
    }

    static func decrementBy(_ call: Call) throws(CommandError) {
        let amount = try Options.integer(call.arguments[2])
        if amount == .min { throw .message("ERR decrement would overflow") }
        try add(call, -amount)
    }

    /// Adds to the integer at the key, 0 if absent; keeps the expiry.
    private static func add(_ call: Call, _ amount: Int64) throws(CommandError) {
        var old: Int64 = 0
        if let value = try call.keys.string(0) {
            guard let number = Decimal.int64(value) else { throw .notAnInteger }
            old = number
        }
        let (sum, overflows) = old.addingReportingOverflow(amount)
        if overflows { throw .incrementOverflows }
        withUnsafeTemporaryAllocation(byteCount: Decimal.integerBytesMax, alignment: 8) { buffer in
            let count = Decimal.write(sum, to: buffer.baseAddress!)
            call.keys.setString(0, ByteView(UnsafeRawPointer(buffer.baseAddress!), count), expiry: .keep)
        }
        call.notify(.string, "incrby")
        call.reply.integer(sum)
    }

    /// INCRBYFLOAT key increment → the new number as a bulk string.
    static func incrementByFloat(_ call: Call) throws(CommandError) {
        var old: LongDouble = 0
        if let value = try call.keys.string(0) {
            guard let number = Decimal.longDouble(value) else { throw .notAFloat }
            old = number
        }
        guard let amount = Decimal.longDouble(call.arguments[2]) else { throw .notAFloat }
        let sum = old + amount
        if sum.isNaN || sum.isInfinite { throw .notFinite }
        withUnsafeTemporaryAllocation(byteCount: Decimal.fixedBytesMax, alignment: 8) { buffer in
            let text = ByteView(
                UnsafeRawPointer(buffer.baseAddress!), Decimal.writeFixed(sum, to: buffer.baseAddress!))
            call.keys.setString(0, text, expiry: .keep)
            call.keys.keepAsText(0)
            call.notify(.string, "incrbyfloat")
            call.reply.bulk(text)
        }
    }
}
