import Primitives
import RESPWire
import TieredStore

/// Expiry of single fields of a hash. Source: Redis 7.4 (HEXPIRE and its relatives), Redis 8.0 (HGETEX,
/// HSETEX, HGETDEL).
enum HashExpiryCommands {
    static func rows() -> [Command] {
        let write: CommandFlags = [.write, .growsMemory, .fast], read: CommandFlags = [.readonly, .fast]
        let condition = " [NX | XX | GT | LT] FIELDS numfields field [field ...]"
        let fields = " FIELDS numfields field [field ...]"
        return [
            row("hexpire", -6, write, "7.4.0", "Lets fields expire after some seconds.",
                "key seconds" + condition, expire),
            row("hpexpire", -6, write, "7.4.0", "Lets fields expire after some milliseconds.",
                "key milliseconds" + condition, expire),
            row("hexpireat", -6, write, "7.4.0", "Lets fields expire at a Unix time.",
                "key unix-time-seconds" + condition, expire),
            row("hpexpireat", -6, write, "7.4.0", "Lets fields expire at a Unix time in milliseconds.",
                "key unix-time-milliseconds" + condition, expire),
            row("httl", -5, read, "7.4.0", "Returns the seconds fields have.", "key" + fields, time),
            row("hpttl", -5, read, "7.4.0", "Returns the milliseconds fields have.", "key" + fields, time),
            row("hexpiretime", -5, read, "7.4.0", "Returns the Unix times fields expire at.",
                "key" + fields, time),
            row("hpexpiretime", -5, read, "7.4.0",
                "Returns the Unix times in milliseconds fields expire at.", "key" + fields, time),
            row("hpersist", -5, [.write, .fast], "7.4.0", "Takes the expiry of fields away.",
                "key" + fields, persist),
            row("hgetdel", -5, [.write, .fast], "8.0.0", "Returns the values of fields and deletes them.",
                "key" + fields, getDelete),
            row("hgetex", -5, [.write, .fast], "8.0.0",
                "Returns the values of fields and sets or takes away their expiry.",
                "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds "
                    + "| PERSIST]" + fields, getExpiring),
            row("hsetex", -6, write, "8.0.0", "Sets fields with an expiry.",
                "key [FNX | FXX] [EX seconds | PX milliseconds | EXAT unix-time-seconds "
                    + "| PXAT unix-time-milliseconds | KEEPTTL] FIELDS numfields field value "
                    + "[field value ...]", setExpiring),
        ]
    }

    private static func row(
        _ name: String, _ arity: Int, _ flags: CommandFlags, _ since: String, _ summary: String,
        _ syntax: String, _ handler: @escaping Command.Handler
    ) -> Command {
        HashCommands.row(
            name, arity, flags, since, summary, syntax, complexity: "O(N) in the fields", handler)
    }

    /// The range of words behind FIELDS numfields, which must end the request. `width`: words a field.
    private static func fields(_ call: Call, at i: Int, width: Int = 1) throws(CommandError) -> Range<Int> {
        guard i < call.wordCount, call.arguments[i].matches("fields") else {
            throw .message("ERR Mandatory argument FIELDS is missing or not at the right position")
        }
        guard i + 1 < call.wordCount, let count = Decimal.int64(call.arguments[i + 1]), count > 0,
            count <= Int64(Int32.max)
        else { throw .message("ERR Parameter `numFields` should be greater than 0") }
        let first = i + 2
        guard call.wordCount - first == Int(count) * width else {
            throw .message("ERR The `numfields` parameter must match the number of arguments")
        }
        return first..<call.wordCount
    }

    // MARK: HEXPIRE

    private enum Condition { case none, absent, present, greater, less }

    private static func condition(_ word: ByteView) -> Condition? {
        word.matches("nx") ? .absent : word.matches("xx") ? .present
            : word.matches("gt") ? .greater : word.matches("lt") ? .less : nil
    }

    private static func isMet(_ condition: Condition, _ old: Int64?, _ time: Int64) -> Bool {
        switch condition {
        case .none: true
        case .absent: old == nil
        case .present: old != nil
        case .greater: old.map { time > $0 } ?? false
        case .less: old.map { time < $0 } ?? true
        }
    }

    /// Each field: -2 absent, 0 condition not met, 1 set, 2 deleted at once.
    static func expire(_ call: Call) throws(CommandError) {
        let name = call.command.name
        let given = try Options.integer(call.arguments[2])
        if given < 0 { throw .message("ERR invalid expire time, must be >= 0") }
        let time = try Options.expiry(
            given, name.hasPrefix("hp") ? .milliseconds : .seconds, isAbsolute: name.hasSuffix("at"),
            now: call.now)
        guard time < 1 << 46 else { throw .invalidExpiry }
        let condition = condition(call.arguments[3])
        let words = try fields(call, at: condition == nil ? 3 : 4)
        let hash = try call.keys.hash(0)
        call.reply.array(words.count)
        var isExpired = false, isSet = false
        for i in words {
            let field = call.arguments[i]
            if try hash.value(field) == nil {
                call.reply.integer(-2)
            } else if !isMet(condition ?? .none, try hash.expiry(field), time) {
                call.reply.integer(0)
            } else if time <= call.now {
                try hash.remove(field)
                isExpired = true
                call.reply.integer(2)
            } else {
                try hash.setExpiry(field, time)
                isSet = true
                call.reply.integer(1)
            }
        }
        if isExpired { call.notify(.hash, "hdel") }
        if isSet { call.notify(.hash, "hexpire") }
        if isExpired, !hash.exists { call.notify(.generic, "del") }
    }

    /// HTTL and its relatives: each field: -2 absent, -1 without expiry, or the time.
    static func time(_ call: Call) throws(CommandError) {
        let words = try fields(call, at: 2)
        let hash = try call.keys.hash(0), name = call.command.name
        call.reply.array(words.count)
        for i in words {
            guard try hash.value(call.arguments[i]) != nil else {
                call.reply.integer(-2)
                continue
            }
            guard let expiry = try hash.expiry(call.arguments[i]) else {
                call.reply.integer(-1)
                continue
            }
            let left = max(0, expiry - call.now)
            switch name {
            case "httl": call.reply.integer((left + 999) / 1000)
            case "hpttl": call.reply.integer(left)
            case "hexpiretime": call.reply.integer((expiry + 999) / 1000)
            default: call.reply.integer(expiry)
            }
        }
    }

    static func persist(_ call: Call) throws(CommandError) {
        let words = try fields(call, at: 2)
        let hash = try call.keys.hash(0)
        var isChanged = false
        call.reply.array(words.count)
        for i in words {
            if try hash.value(call.arguments[i]) == nil {
                call.reply.integer(-2)
            } else if try hash.expiry(call.arguments[i]) == nil {
                call.reply.integer(-1)
            } else {
                try hash.setExpiry(call.arguments[i], nil)
                isChanged = true
                call.reply.integer(1)
            }
        }
        if isChanged { call.notify(.hash, "hpersist") }
    }

    // MARK: Reading and setting with an expiry

    static func getDelete(_ call: Call) throws(CommandError) {
        let words = try fields(call, at: 2)
        let hash = try call.keys.hash(0)
        call.reply.array(words.count)
        var count = 0
        for i in words {
            call.reply.bulkOrNull(try hash.value(call.arguments[i]))
            if try hash.remove(call.arguments[i]) { count += 1 }
        }
        if count > 0 { call.notifyRemoval(.hash, "hdel") }
    }

    private enum Lifetime { case keep, never, until(Int64) }

    /// EX, PX, EXAT, PXAT, and the word that keeps or takes the expiry away, before FIELDS.
    private static func lifetime(
        _ call: Call, _ i: inout Int, _ unit: StaticString, _ other: Lifetime
    ) throws(CommandError) -> Lifetime? {
        if Options.isExpiryWord(call.arguments[i]) {
            guard let time = try Options.expiryOption(call, i) else { return nil }
            i += 2
            return .until(time)
        }
        guard call.arguments[i].matches(unit) else { return nil }
        i += 1
        return other
    }

    static func getExpiring(_ call: Call) throws(CommandError) {
        var i = 2
        let lifetime = try lifetime(call, &i, "persist", .never) ?? .keep
        let words = try fields(call, at: i)
        let hash = try call.keys.hash(0)
        call.reply.array(words.count)
        var event: StaticString?
        for i in words {
            let field = call.arguments[i]
            guard let value = try hash.value(field) else {
                call.reply.null()
                continue
            }
            call.reply.bulk(value)
            switch lifetime {
            case .keep: break
            case .never:
                if try hash.expiry(field) != nil {
                    try hash.setExpiry(field, nil)
                    event = "hpersist"
                }
            case .until(let time) where time <= call.now:
                try hash.remove(field)
                event = "hdel"
            case .until(let time):
                try hash.setExpiry(field, time)
                event = "hexpire"
            }
        }
        if let event { call.notify(.hash, event) }
        if event != nil, !hash.exists { call.notify(.generic, "del") }
    }

    /// HSETEX → 1 if the fields were set, 0 if FNX or FXX forbade it.
    static func setExpiring(_ call: Call) throws(CommandError) {
        var i = 2, wantsAbsent = false, wantsPresent = false
        var lifetime = Lifetime.never
        while i < call.wordCount, !call.arguments[i].matches("fields") {
            if call.arguments[i].matches("fnx"), !wantsPresent {
                wantsAbsent = true
                i += 1
            } else if call.arguments[i].matches("fxx"), !wantsAbsent {
                wantsPresent = true
                i += 1
            } else if let found = try self.lifetime(call, &i, "keepttl", .keep) {
                lifetime = found
            } else {
                throw .syntax
            }
        }
        let words = try fields(call, at: i, width: 2)
        let hash = try call.keys.hash(0)
        for i in stride(from: words.lowerBound, to: words.upperBound, by: 2) {
            let isThere = try hash.value(call.arguments[i]) != nil
            if isThere && wantsAbsent || !isThere && wantsPresent { return call.reply.integer(0) }
        }
        for i in stride(from: words.lowerBound, to: words.upperBound, by: 2) {
            let field = call.arguments[i]
            switch lifetime {
            case .keep: try hash.set(field, call.arguments[i + 1], keepsExpiry: true)
            case .never: try hash.set(field, call.arguments[i + 1])
            case .until(let time):
                try hash.set(field, call.arguments[i + 1])
                if time <= call.now { try hash.remove(field) } else { try hash.setExpiry(field, time) }
            }
        }
        call.notify(.hash, "hset")
        if case .until = lifetime { call.notify(.hash, "hexpire") }
        call.reply.integer(1)
    }
}
