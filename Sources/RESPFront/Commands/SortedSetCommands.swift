import Primitives
import RESPWire
import TieredStore

/// Commands on sorted sets: members and their scores. Ranges are in `SortedSetRanges`, several sets in
/// `SortedSetAlgebra`.
enum SortedSetCommands {
    static func rows() -> [Command] {
        members() + popping() + SortedSetRanges.rows() + SortedSetAlgebra.rows()
    }

    static func row(
        _ name: String, _ arity: Int, keys: Command.Keys = .first, _ flags: CommandFlags, _ since: String,
        _ summary: String, _ syntax: String, complexity: String = "O(log(N))",
        _ handler: @escaping Command.Handler
    ) -> Command {
        Command(name, arity, keys: keys, needs: .value, flags, group: "sorted-set", since: since,
            complexity: complexity, summary, syntax: syntax, handler)
    }

    private static func members() -> [Command] {
        let grows: CommandFlags = [.write, .growsMemory, .fast], reads: CommandFlags = [.readonly, .fast]
        return [
            row("zadd", -4, grows, "1.2.0", "Adds members, or gives them other scores.",
                "key [NX | XX] [GT | LT] [CH] [INCR] score member [score member ...]",
                complexity: "O(log(N)) for each member") { call throws(CommandError) in
                    try add(call, AddOptions(call.arguments))
                }.access("RW update"),
            row("zincrby", 4, grows, "1.2.0", "Adds to a member's score.", "key increment member") {
                call throws(CommandError) in try add(call, .increment)
            },
            row("zrem", -3, [.write, .fast], "1.2.0", "Removes members.", "key member [member ...]",
                complexity: "O(M*log(N)): members removed, members", remove).access("RW delete"),
            row("zcard", 2, reads, "1.2.0", "Counts the members.", "key", complexity: "O(1)", count)
                .access("RO"),
            row("zscore", 3, reads, "1.2.0", "Returns a member's score.", "key member", complexity: "O(1)",
                score),
            row("zmscore", -3, reads, "6.2.0", "Returns the scores of members.",
                "key member [member ...]", complexity: "O(N) in the members", scores),
            row("zrank", 3, reads, "2.0.0", "Returns a member's rank.", "key member", rank),
            row("zrevrank", 3, reads, "2.0.0", "Returns a member's rank from the highest score on.",
                "key member", rank),
            row("zrandmember", -2, [.readonly], "6.2.0", "Returns members at random.",
                "key [count [WITHSCORES]]", complexity: "O(N) in the count", random)
                .tips("nondeterministic_output"),
            row("zscan", -3, [.readonly], "2.8.0", "Walks over the members in steps.",
                "key cursor [MATCH pattern] [COUNT count]",
                complexity: "O(1) a step, O(N) for the whole walk", scan).tips("nondeterministic_output"),
        ]
    }

    private static func popping() -> [Command] {
        let each = "O(log(N)*M): members, members popped"
        let all = Command.Keys.range(first: 1, last: -2, step: 1)
        let waits: CommandFlags = [.write, .noScript, .blocking, .fast]
        return [
            row("zpopmin", -2, [.write, .fast], "5.0.0", "Removes the members with the lowest scores.",
                "key [count]", complexity: each, pop).access("RW access delete"),
            row("zpopmax", -2, [.write, .fast], "5.0.0", "Removes the members with the highest scores.",
                "key [count]", complexity: each, pop).access("RW access delete"),
            row("bzpopmin", -3, keys: all, waits, "5.0.0",
                "Removes the lowest member of the first set that has one, or waits for it.",
                "key [key ...] timeout", blockingPop).access("RW access delete"),
            row("bzpopmax", -3, keys: all, waits, "5.0.0",
                "Removes the highest member of the first set that has one, or waits for it.",
                "key [key ...] timeout", blockingPop).access("RW access delete"),
            row("zmpop", -4, keys: .counted(at: 1), [.write, .movableKeys], "7.0.0",
                "Removes members from the first set that has some.",
                "numkeys key [key ...] <MIN | MAX> [COUNT count]", complexity: each, popMany)
                .access("RW access delete"),
            row("bzmpop", -5, keys: .counted(at: 2), [.write, .blocking, .movableKeys], "7.0.0",
                "Removes members from the first set that has some, or waits for them.",
                "timeout numkeys key [key ...] <MIN | MAX> [COUNT count]", complexity: each, popMany)
                .access("RW access delete"),
        ]
    }

    // MARK: Adding

    struct AddOptions {
        var ifAbsent = false, ifPresent = false, ifGreater = false, ifLess = false
        var countsChanges = false, increments = false
        var first = 2

        init() {}

        /// ZINCRBY's.
        static var increment: AddOptions {
            var options = AddOptions()
            options.increments = true
            return options
        }

        init(_ arguments: Arguments) throws(CommandError) {
            while first < arguments.count {
                let word = arguments[first]
                if word.matches("nx") { ifAbsent = true }
                else if word.matches("xx") { ifPresent = true }
                else if word.matches("ch") { countsChanges = true }
                else if word.matches("incr") { increments = true }
                else if word.matches("gt") { ifGreater = true }
                else if word.matches("lt") { ifLess = true }
                else { break }
                first += 1
            }
            let words = arguments.count - first
            if words == 0 || words % 2 == 1 { throw .syntax }
            if ifAbsent && ifPresent {
                throw .message("ERR XX and NX options at the same time are not compatible")
            }
            if ifGreater && ifAbsent || ifLess && ifAbsent || ifGreater && ifLess {
                throw .message("ERR GT, LT, and/or NX options at the same time are not compatible")
            }
            if increments, words > 2 {
                throw .message("ERR INCR option supports a single increment-element pair")
            }
        }
    }

    enum Added { case nothing, added(Double), updated(Double), same(Double) }

    /// ZADD, ZINCRBY → the number of new members (CH: of changed ones), or with INCR the score or null.
    static func add(_ call: Call, _ options: AddOptions) throws(CommandError) {
        let first = options.first, count = (call.wordCount - first) / 2
        // All scores are looked at before anything is changed, and before the key.
        if count == 1 {
            let score = try score(call.arguments[first])
            return try add(call, 1, options) { _ in (call.arguments[first + 1], score) }
        }
        for n in 0..<count { _ = try score(call.arguments[first + 2 * n]) }
        try add(call, count, options) { n throws(CommandError) in
            (call.arguments[first + 2 * n + 1], try score(call.arguments[first + 2 * n]))
        }
    }

    private static func score(_ word: ByteView) throws(CommandError) -> Double {
        guard let score = Decimal.double(word), !score.isNaN else { throw .notAFloat }
        return score
    }

    /// Adds `count` members with their scores to the first key; the reply.
    @inline(__always)
    static func add(
        _ call: Call, _ count: Int, _ options: AddOptions,
        _ pair: (Int) throws(CommandError) -> (ByteView, Double)
    ) throws(CommandError) {
        let set = try call.keys.sortedSet(0)
        if !set.exists, options.ifPresent {
            return options.increments ? call.reply.null() : call.reply.integer(0)
        }
        var added = 0, updated = 0, last = Added.nothing
        for n in 0..<count {
            let (member, score) = try pair(n)
            last = try add(set, member, score, options)
            if case .added = last { added += 1 }
            if case .updated = last { updated += 1 }
        }
        if added + updated > 0 { call.notify(.sortedSet, options.increments ? "zincr" : "zadd") }
        guard options.increments else {
            return call.reply.integer(options.countsChanges ? added + updated : added)
        }
        switch last {
        case .nothing: call.reply.null()
        case .added(let score), .updated(let score), .same(let score): call.reply.double(score)
        }
    }

    private static func add(
        _ set: SortedSetValue, _ member: ByteView, _ given: Double, _ options: AddOptions
    ) throws(CommandError) -> Added {
        guard let old = try set.score(member) else {
            if options.ifPresent { return .nothing }
            try set.set(member, given)
            return .added(given)
        }
        if options.ifAbsent { return .nothing }
        let score = options.increments ? old + given : given
        if score.isNaN { throw .message("ERR resulting score is not a number (NaN)") }
        if options.ifLess && score >= old || options.ifGreater && score <= old { return .nothing }
        if score == old { return .same(score) }
        try set.set(member, score)
        return .updated(score)
    }

    static func remove(_ call: Call) throws(CommandError) {
        let set = try call.keys.sortedSet(0)
        var removed = 0
        for i in 2..<call.wordCount where try set.remove(call.arguments[i]) {
            removed += 1
            if !set.exists { break }
        }
        if removed > 0 { call.notifyRemoval(.sortedSet, "zrem") }
        call.reply.integer(removed)
    }

    // MARK: Reading

    static func count(_ call: Call) throws(CommandError) {
        call.reply.integer(try call.keys.sortedSet(0).count())
    }

    static func score(_ call: Call) throws(CommandError) {
        guard let score = try call.keys.sortedSet(0).score(call.arguments[2])
        else { return call.reply.null() }
        call.reply.double(score)
    }

    static func scores(_ call: Call) throws(CommandError) {
        let set = try call.keys.sortedSet(0)
        call.reply.array(call.wordCount - 2)
        for i in 2..<call.wordCount {
            if let score = try set.score(call.arguments[i]) {
                call.reply.double(score)
            } else {
                call.reply.null()
            }
        }
    }

    static func rank(_ call: Call) throws(CommandError) {
        let set = try call.keys.sortedSet(0)
        guard let rank = try set.rank(call.arguments[2]) else { return call.reply.null() }
        call.reply.integer(call.command.name == "zrank" ? rank : try set.count() - 1 - rank)
    }

    static func scan(_ call: Call) throws(CommandError) {
        guard let options = try call.scanOptions(.sortedSet) else { return }
        let set = try call.keys.sortedSet(0), reply = call.reply
        var found: [([UInt8], Double)] = []
        let next = try set.scan(options.cursor, atLeast: options.count) { member, score in
            if options.matches(member) { found.append((member.array, score)) }
        }
        reply.array(2)
        call.bulk(String(next))
        reply.array(found.count * 2)
        for (member, score) in found {
            member.withView { reply.bulk($0) }
            writeScoreText(reply, score)
        }
    }

    /// A score as a bulk string in either protocol.
    private static func writeScoreText(_ reply: ReplyWriter, _ score: Double) {
        Decimal.text(score).withView { reply.bulk($0) }
    }

    /// ZRANDMEMBER key [count [WITHSCORES]]: a negative count allows repeats.
    static func random(_ call: Call) throws(CommandError) {
        let reply = call.reply
        guard call.wordCount > 2 else {
            let set = try call.keys.sortedSet(0)
            guard try set.count() > 0 else { return reply.null() }
            return try set.forEach(from: try set.randomRank(), count: 1) { member, _ in
                reply.bulk(member)
                return true
            }
        }
        let request = try RandomRequest(call, option: "withscores")
        let set = try call.keys.sortedSet(0), total = try set.count()
        if total == 0 || request.count == 0 { return reply.array(0) }
        let length = request.isRepeating ? request.count : min(request.count, total)
        let mark = reply.mark
        let pairs = PairWriter(call, count: length, withScores: request.withSecond)
        if request.isRepeating {
            for _ in 0..<length {
                try request.checkLength(call, since: mark)
                try set.forEach(from: try set.randomRank(), count: 1) { member, score in
                    pairs.write(member, score)
                    return true
                }
            }
            return
        }
        var chosen = RandomRequest.Choice(of: total, choosing: length, &call.worker.random)
        try set.forEach(from: 0, count: total) { member, score in
            if chosen.takesNext() { pairs.write(member, score) }
            return true
        }
    }

    // MARK: Popping

    /// Replies with `n` members from one end, and removes them.
    private static func take(
        _ call: Call, _ set: SortedSetValue, highest: Bool, _ n: Int, _ write: (Element, Double) -> Void
    ) throws(CommandError) {
        let total = try set.count()
        try set.forEach(from: highest ? total - 1 : 0, count: n, backward: highest) { member, score in
            write(member, score)
            return true
        }
        try set.removeRange(from: highest ? total - n : 0, count: n)
    }

    static func pop(_ call: Call) throws(CommandError) {
        if call.wordCount > 3 { throw .syntax }
        var wanted: Int64 = 1
        if call.wordCount == 3 {
            guard let given = Decimal.int64(call.arguments[2]), given >= 0 else {
                throw .message("ERR value is out of range, must be positive")
            }
            wanted = given
        }
        let isHighest = call.command.name == "zpopmax"
        let set = try call.keys.sortedSet(0)
        let n = Int(min(wanted, Int64(try set.count())))
        if n == 0 { return call.reply.array(0) }
        let pairs = PairWriter(call, count: n, withScores: true, nests: call.isRESP3 && call.wordCount == 3)
        try take(call, set, highest: isHighest, n) { pairs.write($0, $1) }
        call.notifyRemoval(.sortedSet, isHighest ? "zpopmax" : "zpopmin")
    }

    static func blockingPop(_ call: Call) throws(CommandError) {
        let deadline = try Options.deadline(call, call.arguments[call.wordCount - 1])
        let isHighest = call.command.name == "bzpopmax", reply = call.reply
        for i in 0..<call.keys.count {
            let set = try call.keys.sortedSet(i)
            guard set.exists else { continue }
            reply.array(3)
            reply.bulk(call.keys.key(i))
            try take(call, set, highest: isHighest, 1) { member, score in
                reply.bulk(member)
                reply.double(score)
            }
            return call.notifyRemoval(.sortedSet, isHighest ? "zpopmax" : "zpopmin", i)
        }
        throw .block(until: deadline)
    }

    /// ZMPOP numkeys key … MIN|MAX [COUNT n]; BZMPOP timeout numkeys … → the key and pairs.
    static func popMany(_ call: Call) throws(CommandError) {
        let isBlocking = call.command.name == "bzmpop", at = isBlocking ? 2 : 1
        let deadline = isBlocking ? try Options.deadline(call, call.arguments[1]) : 0
        let after = at + 1 + (try Options.keyCount(call, at))
        guard after < call.wordCount else { throw .syntax }
        let isHighest = call.arguments[after].matches("max")
        guard isHighest || call.arguments[after].matches("min") else { throw .syntax }
        let count = try Options.popCount(call, after + 1)
        for i in 0..<call.keys.count {
            let set = try call.keys.sortedSet(i)
            guard set.exists else { continue }
            let n = min(count, try set.count())
            call.reply.array(2)
            call.reply.bulk(call.keys.key(i))
            let pairs = PairWriter(call, count: n, withScores: true, nests: true)
            try take(call, set, highest: isHighest, n) { pairs.write($0, $1) }
            return call.notifyRemoval(.sortedSet, isHighest ? "zpopmax" : "zpopmin", i)
        }
        if isBlocking { throw .block(until: deadline) }
        call.reply.nullArray()
    }
}

/// Members with or without their scores: one after the other in RESP2, in pairs in RESP3.
struct PairWriter {
    private let reply: ReplyWriter
    private let withScores: Bool
    private let nests: Bool

    /// Writes the array's header. `nests`: pairs are arrays of their own.
    init(_ call: Call, count: Int, withScores: Bool, nests: Bool? = nil) {
        reply = call.reply
        self.withScores = withScores
        self.nests = nests ?? call.isRESP3
        reply.array(withScores && !self.nests ? 2 * count : count)
    }

    func write(_ member: Element, _ score: Double) {
        if withScores && nests { reply.array(2) }
        reply.bulk(member)
        if withScores { reply.double(score) }
    }
}
