import Primitives
import RESPWire
import TieredStore

/// Commands on hashes.
enum HashCommands {
    static func rows() -> [Command] { writing() + reading() + HashExpiryCommands.rows() }

    static func row(
        _ name: String, _ arity: Int, _ flags: CommandFlags, _ since: String, _ summary: String,
        _ syntax: String, complexity: String = "O(1)", _ handler: @escaping Command.Handler
    ) -> Command {
        Command(name, arity, keys: .first, needs: .value, flags, group: "hash", since: since,
            complexity: complexity, summary, syntax: syntax, handler)
    }

    private static func writing() -> [Command] {
        let flags: CommandFlags = [.write, .growsMemory, .fast]
        return [
            row("hset", -4, flags, "2.0.0", "Sets fields of a hash.", "key field value [field value ...]",
                complexity: "O(N) in the fields", set)
                .access("RW update"),
            row("hmset", -4, flags, "2.0.0", "Sets fields of a hash.", "key field value [field value ...]",
                complexity: "O(N) in the fields", set)
                .access("RW update")
                .deprecated("4.0.0", by: "`HSET` with multiple field-value pairs"),
            row("hsetnx", 4, flags, "2.0.0", "Sets a field of a hash if it is absent.", "key field value",
                setIfAbsent)
                .access("RW insert"),
            row("hdel", -3, [.write, .fast], "2.0.0", "Deletes fields of a hash.", "key field [field ...]",
                complexity: "O(N) in the fields", delete)
                .access("RW delete"),
            row("hincrby", 4, flags, "2.0.0", "Adds to the number in a field.", "key field increment",
                increment),
            row("hincrbyfloat", 4, flags, "2.6.0", "Adds to the floating-point number in a field.",
                "key field increment", incrementByFloat),
        ]
    }

    private static func reading() -> [Command] {
        let all = "O(N) in the fields of the hash"
        return [
            row("hget", 3, [.readonly, .fast], "2.0.0", "Returns the value of a field.", "key field", get),
            row("hmget", -3, [.readonly, .fast], "2.0.0", "Returns the values of fields.",
                "key field [field ...]", complexity: "O(N) in the fields", getMany),
            row("hlen", 2, [.readonly, .fast], "2.0.0", "Counts the fields.", "key", length)
                .access("RO"),
            row("hstrlen", 3, [.readonly, .fast], "3.2.0", "Returns the length of a field's value.",
                "key field", valueLength)
                .access("RO"),
            row("hexists", 3, [.readonly, .fast], "2.0.0", "Tells whether a field exists.", "key field",
                exists)
                .access("RO"),
            row("hkeys", 2, [.readonly], "2.0.0", "Returns all fields.", "key", complexity: all, fields)
                .tips("nondeterministic_output_order"),
            row("hvals", 2, [.readonly], "2.0.0", "Returns all values.", "key", complexity: all, values)
                .tips("nondeterministic_output_order"),
            row("hgetall", 2, [.readonly], "2.0.0", "Returns all fields and values.", "key",
                complexity: all, getAll)
                .tips("nondeterministic_output_order"),
            row("hrandfield", -2, [.readonly], "6.2.0", "Returns fields at random.",
                "key [count [WITHVALUES]]", complexity: "O(N) in the count", random)
                .tips("nondeterministic_output"),
            row("hscan", -3, [.readonly], "2.8.0", "Walks over the fields in steps.",
                "key cursor [MATCH pattern] [COUNT count]",
                complexity: "O(1) a step, O(N) for the whole walk", scan)
                .tips("nondeterministic_output"),
        ]
    }

    // MARK: Writing

    /// HSET key field value … → the number of new fields; HMSET → OK.
    static func set(_ call: Call) throws(CommandError) {
        if call.wordCount % 2 == 1 {
            throw .message("ERR wrong number of arguments for '\(call.command.name)' command")
        }
        let hash = try call.keys.hash(0)
        var created = 0
        for i in stride(from: 2, to: call.wordCount, by: 2) {
            if try hash.set(call.arguments[i], call.arguments[i + 1]) { created += 1 }
        }
        call.notify(.hash, "hset")
        if call.command.name == "hset" { call.reply.integer(created) } else { call.reply.ok() }
    }

    static func setIfAbsent(_ call: Call) throws(CommandError) {
        let hash = try call.keys.hash(0)
        if try hash.value(call.arguments[2]) != nil { return call.reply.integer(0) }
        try hash.set(call.arguments[2], call.arguments[3])
        call.notify(.hash, "hset")
        call.reply.integer(1)
    }

    static func delete(_ call: Call) throws(CommandError) {
        let hash = try call.keys.hash(0)
        var count = 0
        for i in 2..<call.wordCount where try hash.remove(call.arguments[i]) {
            count += 1
            if !hash.exists { break }
        }
        if count > 0 { call.notifyRemoval(.hash, "hdel") }
        call.reply.integer(count)
    }

    static func increment(_ call: Call) throws(CommandError) {
        let amount = try Options.integer(call.arguments[3])
        let hash = try call.keys.hash(0)
        var old: Int64 = 0
        if let value = try hash.value(call.arguments[2]) {
            guard let number = value.integer else { throw .message("ERR hash value is not an integer") }
            old = number
        }
        let (sum, overflows) = old.addingReportingOverflow(amount)
        if overflows { throw .incrementOverflows }
        let text = Array(String(sum).utf8)
        try store(hash, call.arguments[2], text)
        call.notify(.hash, "hincrby")
        call.reply.integer(sum)
    }

    private static func store(
        _ hash: HashValue, _ field: ByteView, _ text: [UInt8]
    ) throws(CommandError) {
        let result = text.withView { view in
            Result { () throws(CommandError) in _ = try hash.set(field, view, keepsExpiry: true) }
        }
        try result.get()
    }

    static func incrementByFloat(_ call: Call) throws(CommandError) {
        guard let amount = Decimal.longDouble(call.arguments[3]) else { throw .notAFloat }
        if amount.isInfinite { throw .message("ERR value is NaN or Infinity") }
        let hash = try call.keys.hash(0)
        var old: LongDouble = 0
        if let value = try hash.value(call.arguments[2]) {
            guard let number = value.withBytes({ Decimal.longDouble($0) }) else {
                throw .message("ERR hash value is not a float")
            }
            old = number
        }
        let sum = old + amount
        if sum.isNaN || sum.isInfinite { throw .notFinite }
        let text = Decimal.fixedText(sum)
        try store(hash, call.arguments[2], text)
        call.notify(.hash, "hincrbyfloat")
        text.withView { call.reply.bulk($0) }
    }

    // MARK: Reading

    static func get(_ call: Call) throws(CommandError) {
        call.reply.bulkOrNull(try call.keys.hash(0).value(call.arguments[2]))
    }

    static func getMany(_ call: Call) throws(CommandError) {
        let hash = try call.keys.hash(0)
        call.reply.array(call.wordCount - 2)
        for i in 2..<call.wordCount { call.reply.bulkOrNull(try hash.value(call.arguments[i])) }
    }

    static func length(_ call: Call) throws(CommandError) {
        call.reply.integer(try call.keys.hash(0).count())
    }

    static func valueLength(_ call: Call) throws(CommandError) {
        call.reply.integer(try call.keys.hash(0).value(call.arguments[2])?.count ?? 0)
    }

    static func exists(_ call: Call) throws(CommandError) {
        call.reply.integer(try call.keys.hash(0).value(call.arguments[2]) == nil ? 0 : 1)
    }

    static func fields(_ call: Call) throws(CommandError) {
        let hash = try call.keys.hash(0), reply = call.reply
        reply.array(try hash.count())
        try hash.forEach { field, _ in
            reply.bulk(field)
            return true
        }
    }

    static func values(_ call: Call) throws(CommandError) {
        let hash = try call.keys.hash(0), reply = call.reply
        reply.array(try hash.count())
        try hash.forEach { _, value in
            reply.bulk(value)
            return true
        }
    }

    static func getAll(_ call: Call) throws(CommandError) {
        let hash = try call.keys.hash(0), reply = call.reply
        reply.map(try hash.count())
        try hash.forEach { field, value in
            reply.bulk(field)
            reply.bulk(value)
            return true
        }
    }

    static func scan(_ call: Call) throws(CommandError) {
        guard let options = try call.scanOptions(.hash) else { return }
        let reply = call.reply
        let hash = try call.keys.hash(0)
        var found: [([UInt8], [UInt8])] = []
        let next = try hash.scan(options.cursor, atLeast: options.count) { field, value in
            if options.matches(field) { found.append((field.array, value.array)) }
        }
        reply.array(2)
        call.bulk(String(next))
        reply.array(found.count * 2)
        for (field, value) in found {
            field.withView { reply.bulk($0) }
            value.withView { reply.bulk($0) }
        }
    }

    // MARK: Random

    /// HRANDFIELD key [count [WITHVALUES]]: a negative count allows repeats.
    static func random(_ call: Call) throws(CommandError) {
        guard call.wordCount > 2 else {
            let hash = try call.keys.hash(0)
            guard try hash.count() > 0 else { return call.reply.null() }
            return call.reply.bulk(try hash.random().field)
        }
        let request = try RandomRequest(call, option: "withvalues")
        let hash = try call.keys.hash(0), reply = call.reply
        let total = try hash.count()
        if total == 0 || request.count == 0 { return reply.array(0) }
        let isPaired = request.withSecond && call.isRESP3
        func write(_ field: Element, _ value: Element) {
            if isPaired { reply.array(2) }
            reply.bulk(field)
            if request.withSecond { reply.bulk(value) }
        }
        let length = request.isRepeating ? request.count : min(request.count, total)
        let mark = reply.mark
        reply.array(request.withSecond && !isPaired ? length * 2 : length)
        if request.isRepeating {
            for _ in 0..<length {
                try request.checkLength(call, since: mark)
                let (field, value) = try hash.random()
                write(field, value)
            }
            return
        }
        var chosen = RandomRequest.Choice(of: total, choosing: length, &call.worker.random)
        try hash.forEach { field, value in
            if chosen.takesNext() { write(field, value) }
            return true
        }
    }
}

/// The count of HRANDFIELD, SRANDMEMBER and ZRANDMEMBER.
struct RandomRequest {
    var count: Int
    var isRepeating: Bool
    var withSecond = false

    /// Word 2, and `option` at word 3. Errors as in Redis 7.0.
    init(_ call: Call, option: StaticString) throws(CommandError) {
        let given = try Options.integer(call.arguments[2])
        let halfway = Int64.max / 2
        if given == .min {
            throw .message("ERR value is out of range, value must between -9223372036854775807 and "
                + "9223372036854775807")
        }
        if call.wordCount > 4 || call.wordCount == 4 && !call.arguments[3].matches(option) { throw .syntax }
        withSecond = call.wordCount == 4
        if withSecond, given < -halfway || given > halfway { throw .outOfRange }
        isRepeating = given < 0
        count = Int(given.magnitude)
    }

    /// A negative count may ask for more than there is RAM for, of however small a collection: the reply to a
    /// repeating request may take an eighth of what the store may. Redis 7.0 has no bound.
    func checkLength(_ call: Call, since mark: Int) throws(CommandError) {
        let most = call.worker.ledgerLimit / 8
        if count > most / 5 || call.reply.mark - mark > most { throw .outOfMemory }
    }

    /// Chooses `left` of the next `total` elements one by one, each combination as likely as any other.
    /// Source: selection sampling (Knuth, TAOCP volume 2, algorithm S).
    struct Choice {
        private var total: Int
        private var left: Int
        private var random: Random

        init(of total: Int, choosing left: Int, _ source: inout Random) {
            self.total = total
            self.left = left
            random = Random(seed: source.next())
        }

        mutating func takesNext() -> Bool {
            defer { total -= 1 }
            guard left > 0, random.below(UInt64(total)) < UInt64(left) else { return false }
            left -= 1
            return true
        }
    }
}
