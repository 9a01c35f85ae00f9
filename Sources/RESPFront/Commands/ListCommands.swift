import Primitives
import RESPWire
import TieredStore

/// Commands on lists.
enum ListCommands {
    static func rows() -> [Command] { pushing() + inside() + moving() + blocking() }

    private static let two = Command.Keys.range(first: 1, last: 2, step: 1)

    private static func row(
        _ name: String, _ arity: Int, keys: Command.Keys = .first, _ flags: CommandFlags, _ since: String,
        _ summary: String, _ syntax: String, complexity: String = "O(1)",
        _ handler: @escaping Command.Handler
    ) -> Command {
        Command(name, arity, keys: keys, needs: .value, flags, group: "list", since: since,
            complexity: complexity, summary, syntax: syntax, handler)
    }

    private static func pushing() -> [Command] {
        let flags: CommandFlags = [.write, .growsMemory, .fast]
        let elements = "key element [element ...]", each = "O(N) in the elements given"
        return [
            row("lpush", -3, flags, "1.0.0", "Adds elements at the head of a list.", elements,
                complexity: each) { call throws(CommandError) in try push(call, .head) }
                .access("RW insert"),
            row("rpush", -3, flags, "1.0.0", "Adds elements at the tail of a list.", elements,
                complexity: each) { call throws(CommandError) in try push(call, .tail) }
                .access("RW insert"),
            row("lpushx", -3, flags, "2.2.0", "Adds elements at the head of a list that exists.", elements,
                complexity: each) { call throws(CommandError) in try push(call, .head, ifThere: true) }
                .access("RW insert"),
            row("rpushx", -3, flags, "2.2.0", "Adds elements at the tail of a list that exists.", elements,
                complexity: each) { call throws(CommandError) in try push(call, .tail, ifThere: true) }
                .access("RW insert"),
            row("lpop", -2, [.write, .fast], "1.0.0", "Removes elements from the head and returns them.",
                "key [count]", complexity: "O(N) in the count") { call throws(CommandError) in
                    try pop(call, .head) }
                .access("RW access delete"),
            row("rpop", -2, [.write, .fast], "1.0.0", "Removes elements from the tail and returns them.",
                "key [count]", complexity: "O(N) in the count") { call throws(CommandError) in
                    try pop(call, .tail) }
                .access("RW access delete"),
            row("llen", 2, [.readonly, .fast], "1.0.0", "Counts the elements.", "key", length)
                .access("RO"),
        ]
    }

    private static func inside() -> [Command] {
        let far = "O(N) in the elements before it"
        return [
            row("lindex", 3, [.readonly], "1.0.0", "Returns an element by its index.", "key index",
                complexity: far, index),
            row("lrange", 4, [.readonly], "1.0.0", "Returns a range of elements.", "key start stop",
                complexity: "O(S+N): elements before, elements returned", range),
            row("lset", 4, [.write, .growsMemory], "1.0.0", "Sets an element by its index.",
                "key index element", complexity: far, set)
                .access("RW update"),
            row("linsert", 5, [.write, .growsMemory], "2.2.0", "Inserts an element beside another.",
                "key <BEFORE | AFTER> pivot element", complexity: far, insert)
                .access("RW insert"),
            row("ltrim", 4, [.write], "1.0.0", "Removes all elements outside a range.", "key start stop",
                complexity: "O(N) in the elements removed", trim)
                .access("RW delete"),
            row("lrem", 4, [.write], "1.0.0", "Removes elements by their value.", "key count element",
                complexity: "O(N) in the length of the list", remove)
                .access("RW delete"),
            row("lpos", -3, [.readonly], "6.0.6", "Returns the index of matching elements.",
                "key element [RANK rank] [COUNT num-matches] [MAXLEN len]",
                complexity: "O(N) in the length of the list", positions),
        ]
    }

    private static func moving() -> [Command] {
        let flags: CommandFlags = [.write, .growsMemory]
        return [
            row("lmove", 5, keys: two, flags, "6.2.0", "Moves an element to another list.",
                "source destination <LEFT | RIGHT> <LEFT | RIGHT>", move)
                .specs(.at(1, "RW access delete"), .at(2, "RW insert")),
            row("rpoplpush", 3, keys: two, flags, "1.2.0",
                "Moves the last element of a list to the head of another.", "source destination", move)
                .specs(.at(1, "RW access delete"), .at(2, "RW insert"))
                .deprecated("6.2.0", by: "`LMOVE` with the `RIGHT` and `LEFT` arguments"),
            row("lmpop", -4, keys: .counted(at: 1), [.write, .movableKeys], "7.0.0",
                "Removes elements from the first list that has some.",
                "numkeys key [key ...] <LEFT | RIGHT> [COUNT count]",
                complexity: "O(N+M): keys, elements returned", popMany)
                .access("RW access delete"),
        ]
    }

    private static func blocking() -> [Command] {
        let keys = Command.Keys.range(first: 1, last: -2, step: 1)
        let pops: CommandFlags = [.write, .noScript, .blocking]
        let moves: CommandFlags = [.write, .growsMemory, .noScript, .blocking, .answersNull]
        return [
            row("blpop", -3, keys: keys, pops, "2.0.0",
                "Removes the head of the first list that has one, or waits for it.",
                "key [key ...] timeout", complexity: "O(N) in the keys") { call throws(CommandError) in
                    try blockingPop(call, .head) }
                .access("RW access delete"),
            row("brpop", -3, keys: keys, pops, "2.0.0",
                "Removes the tail of the first list that has one, or waits for it.",
                "key [key ...] timeout", complexity: "O(N) in the keys") { call throws(CommandError) in
                    try blockingPop(call, .tail) }
                .access("RW access delete"),
            row("blmove", 6, keys: two, moves, "6.2.0", "Moves an element to another list, or waits for it.",
                "source destination <LEFT | RIGHT> <LEFT | RIGHT> timeout", blockingMove)
                .specs(.at(1, "RW access delete"), .at(2, "RW insert")),
            row("brpoplpush", 4, keys: two, moves, "2.2.0",
                "Moves the last element of a list to the head of another, or waits for it.",
                "source destination timeout", blockingMove)
                .specs(.at(1, "RW access delete"), .at(2, "RW insert"))
                .deprecated("6.2.0", by: "`BLMOVE` with the `RIGHT` and `LEFT` arguments"),
            row("blmpop", -5, keys: .counted(at: 2), [.write, .blocking, .movableKeys], "7.0.0",
                "Removes elements from the first list that has some, or waits for them.",
                "timeout numkeys key [key ...] <LEFT | RIGHT> [COUNT count]",
                complexity: "O(N+M): keys, elements returned", popMany)
                .access("RW access delete"),
        ]
    }

    // MARK: Ends

    /// LPUSH, RPUSH, and with X only if the list exists → its length.
    static func push(
        _ call: Call, _ end: ListValue.End, ifThere isNeeded: Bool = false
    ) throws(CommandError) {
        let list = try call.keys.list(0)
        if isNeeded, !list.exists { return call.reply.integer(0) }
        for i in 2..<call.wordCount { try list.push(call.arguments[i], end) }
        call.notify(.list, end == .head ? "lpush" : "rpush")
        call.reply.integer(try list.count())
    }

    private static func removed(_ call: Call, _ list: ListValue, _ end: ListValue.End, _ i: Int = 0) {
        call.notifyRemoval(.list, end == .head ? "lpop" : "rpop", i)
    }

    /// LPOP, RPOP key [count] → an element, or an array of them; null when there is no list.
    static func pop(_ call: Call, _ end: ListValue.End) throws(CommandError) {
        if call.wordCount > 3 {
            throw .message("ERR wrong number of arguments for '\(call.command.name)' command")
        }
        var wanted: Int64 = 1
        if call.wordCount == 3 {
            guard let given = Decimal.int64(call.arguments[2]), given >= 0 else {
                throw .message("ERR value is out of range, must be positive")
            }
            wanted = given
        }
        let list = try call.keys.list(0)
        guard list.exists else { return call.wordCount == 3 ? call.reply.nullArray() : call.reply.null() }
        guard call.wordCount == 3 else {
            call.reply.bulkOrNull(try list.element(end == .head ? 0 : -1))
            try list.removeRange(from: end == .head ? 0 : try list.count() - 1, count: 1)
            return removed(call, list, end)
        }
        if wanted == 0 { return call.reply.array(0) }
        try take(call, list, end, Int(min(wanted, Int64(try list.count()))))
        removed(call, list, end)
    }

    /// Replies with `n` elements from one end, and removes them.
    private static func take(
        _ call: Call, _ list: ListValue, _ end: ListValue.End, _ n: Int
    ) throws(CommandError) {
        let reply = call.reply, total = try list.count()
        reply.array(n)
        var left = n
        try list.search(from: end) { _, element in
            reply.bulk(element)
            left -= 1
            return left > 0
        }
        try list.removeRange(from: end == .head ? 0 : total - n, count: n)
    }

    static func length(_ call: Call) throws(CommandError) {
        call.reply.integer(try call.keys.list(0).count())
    }

    // MARK: Inside

    static func index(_ call: Call) throws(CommandError) {
        let list = try call.keys.list(0)
        guard list.exists else { return call.reply.null() }
        let index = try Options.integer(call.arguments[2])
        call.reply.bulkOrNull(try list.element(Int(index)))
    }

    /// Positions from the start, both included, from words 2 and 3 with negative ones from the end.
    private static func bounds(_ call: Call, _ count: Int) throws(CommandError) -> Range<Int> {
        var start = try Options.integer(call.arguments[2]), stop = try Options.integer(call.arguments[3])
        let count = Int64(count)
        if start < 0 { start = max(0, start + count) }
        if stop < 0 { stop += count }
        if start > stop || start >= count { return 0..<0 }
        return Int(start)..<Int(min(stop, count - 1)) + 1
    }

    static func range(_ call: Call) throws(CommandError) {
        _ = try Options.integer(call.arguments[2])
        _ = try Options.integer(call.arguments[3])
        let list = try call.keys.list(0), reply = call.reply
        let range = try bounds(call, try list.count())
        reply.array(range.count)
        try list.forEach(from: range.lowerBound, count: range.count) { reply.bulk($0) }
    }

    static func set(_ call: Call) throws(CommandError) {
        let list = try call.keys.list(0)
        guard list.exists else { throw .noSuchKey }
        let given = try Options.integer(call.arguments[2]), count = Int64(try list.count())
        let index = given < 0 ? given + count : given
        guard index >= 0, index < count else { throw .message("ERR index out of range") }
        try list.replace(Int(index), by: call.arguments[3])
        call.notify(.list, "lset")
        call.reply.ok()
    }

    /// LINSERT → the length; 0 without list, -1 without pivot.
    static func insert(_ call: Call) throws(CommandError) {
        let isAfter = call.arguments[2].matches("after")
        guard isAfter || call.arguments[2].matches("before") else { throw .syntax }
        let list = try call.keys.list(0), pivot = call.arguments[3]
        guard list.exists else { return call.reply.integer(0) }
        var place: Int?
        try list.search(from: .head) { index, element in
            if element.equals(pivot) { place = index }
            return place == nil
        }
        guard let place else { return call.reply.integer(-1) }
        try list.insert(call.arguments[4], at: place, after: isAfter)
        call.notify(.list, "linsert")
        call.reply.integer(try list.count())
    }

    static func trim(_ call: Call) throws(CommandError) {
        _ = try Options.integer(call.arguments[2])
        _ = try Options.integer(call.arguments[3])
        let list = try call.keys.list(0)
        guard list.exists else { return call.reply.ok() }
        let count = try list.count(), kept = try bounds(call, count)
        if kept.isEmpty {
            call.keys.delete(0)
        } else {
            try list.removeRange(from: kept.upperBound, count: count - kept.upperBound)
            try list.removeRange(from: 0, count: kept.lowerBound)
        }
        call.notifyRemoval(.list, "ltrim")
        call.reply.ok()
    }

    static func remove(_ call: Call) throws(CommandError) {
        let count = try Options.integer(call.arguments[2])
        let list = try call.keys.list(0)
        guard list.exists else { return call.reply.integer(0) }
        let limit = count == 0 || count == .min ? Int.max : Int(count.magnitude)
        let removed = try list.removeEqual(call.arguments[3], limit: limit, from: count < 0 ? .tail : .head)
        if removed > 0 { call.notifyRemoval(.list, "lrem") }
        call.reply.integer(removed)
    }

    /// LPOS key element [RANK rank] [COUNT n] [MAXLEN n] → an index or null; with COUNT an array.
    static func positions(_ call: Call) throws(CommandError) {
        var rank: Int64 = 1, count: Int64?, longest: Int64 = 0
        var i = 3
        while i < call.wordCount {
            guard i + 1 < call.wordCount else { throw .syntax }
            let word = call.arguments[i]
            if word.matches("rank") {
                rank = try Options.integer(call.arguments[i + 1])
                if rank == 0 {
                    throw .message("ERR RANK can't be zero: use 1 to start from the first match, 2 from the "
                        + "second ... or use negative to start from the end of the list")
                }
            } else if word.matches("count") {
                guard let given = Decimal.int64(call.arguments[i + 1]), given >= 0 else {
                    throw .message("ERR COUNT can't be negative")
                }
                count = given
            } else if word.matches("maxlen") {
                guard let given = Decimal.int64(call.arguments[i + 1]), given >= 0 else {
                    throw .message("ERR MAXLEN can't be negative")
                }
                longest = given
            } else {
                throw .syntax
            }
            i += 2
        }
        let list = try call.keys.list(0), wanted = call.arguments[2]
        var found: [Int] = [], passed = rank == .min ? 0 : rank.magnitude - 1, looked: Int64 = 0
        let limit = count.map { $0 == 0 ? Int.max : Int($0) } ?? 1
        try list.search(from: rank < 0 ? .tail : .head) { index, element in
            if element.equals(wanted) {
                if passed > 0 { passed -= 1 } else { found.append(index) }
            }
            looked += 1
            return found.count < limit && (longest == 0 || looked < longest)
        }
        guard count != nil else {
            if let first = found.first { return call.reply.integer(first) }
            return call.reply.null()
        }
        call.reply.array(found.count)
        for index in found { call.reply.integer(index) }
    }

    // MARK: From list to list

    private static func end(_ word: ByteView) throws(CommandError) -> ListValue.End {
        if word.matches("left") { return .head }
        if word.matches("right") { return .tail }
        throw .syntax
    }

    private static func ends(_ call: Call) throws(CommandError) -> (ListValue.End, ListValue.End) {
        let name = call.command.name
        if name == "rpoplpush" || name == "brpoplpush" { return (.tail, .head) }
        return (try end(call.arguments[3]), try end(call.arguments[4]))
    }

    static func move(_ call: Call) throws(CommandError) {
        let (from, to) = try ends(call)
        if try !moved(call, from, to) { call.reply.null() }
    }

    /// Moves an element and replies with it; false when the source has none.
    private static func moved(
        _ call: Call, _ from: ListValue.End, _ to: ListValue.End
    ) throws(CommandError) -> Bool {
        let source = try call.keys.list(0)
        guard let element = try source.element(from == .head ? 0 : -1)?.array else { return false }
        let target = try call.keys.list(1)
        try source.removeRange(from: from == .head ? 0 : try source.count() - 1, count: 1)
        try element.withBytes { view throws(CommandError) in try target.push(view, to) }
        call.notify(.list, to == .head ? "lpush" : "rpush", 1)
        removed(call, source, from, 0)
        element.withView { call.reply.bulk($0) }
        return true
    }

    static func blockingMove(_ call: Call) throws(CommandError) {
        let (from, to) = try ends(call)
        let deadline = try Options.deadline(call, call.arguments[call.wordCount - 1])
        if try !moved(call, from, to) { throw .block(until: deadline) }
    }

    // MARK: From one of many lists

    /// BLPOP, BRPOP → the key and the element.
    static func blockingPop(_ call: Call, _ end: ListValue.End) throws(CommandError) {
        let deadline = try Options.deadline(call, call.arguments[call.wordCount - 1])
        for i in 0..<call.keys.count {
            let list = try call.keys.list(i)
            guard let element = try list.element(end == .head ? 0 : -1) else { continue }
            call.reply.array(2)
            call.reply.bulk(call.keys.key(i))
            call.reply.bulk(element)
            try list.removeRange(from: end == .head ? 0 : try list.count() - 1, count: 1)
            return removed(call, list, end, i)
        }
        throw .block(until: deadline)
    }

    /// LMPOP numkeys key … LEFT|RIGHT [COUNT n]; BLMPOP timeout numkeys … → the key and the elements.
    static func popMany(_ call: Call) throws(CommandError) {
        let isBlocking = call.command.name == "blmpop", at = isBlocking ? 2 : 1
        let deadline = isBlocking ? try Options.deadline(call, call.arguments[1]) : 0
        let keys = try Options.keyCount(call, at)
        let after = at + 1 + keys
        guard after < call.wordCount else { throw .syntax }
        let end = try end(call.arguments[after])
        let count = try Options.popCount(call, after + 1)
        for i in 0..<call.keys.count {
            let list = try call.keys.list(i)
            guard list.exists else { continue }
            call.reply.array(2)
            call.reply.bulk(call.keys.key(i))
            try take(call, list, end, min(count, try list.count()))
            return removed(call, list, end, i)
        }
        if isBlocking { throw .block(until: deadline) }
        call.reply.nullArray()
    }
}

extension Options {
    /// The number of keys at word `at`, which must follow it. Errors as LMPOP and ZMPOP have them.
    static func keyCount(_ call: Call, _ at: Int) throws(CommandError) -> Int {
        guard let count = Decimal.int64(call.arguments[at]), count > 0 else {
            throw .message("ERR numkeys should be greater than 0")
        }
        guard count <= Int64(call.wordCount - at - 1) else { throw .syntax }
        return Int(count)
    }

    /// [COUNT n] of LMPOP and ZMPOP at word `at`, the last words.
    static func popCount(_ call: Call, _ at: Int) throws(CommandError) -> Int {
        var i = at, count: Int?
        while i < call.wordCount {
            guard count == nil, call.arguments[i].matches("count"), i + 1 < call.wordCount
            else { throw .syntax }
            guard let given = Decimal.int64(call.arguments[i + 1]), given > 0 else {
                throw .message("ERR count should be greater than 0")
            }
            count = Int(given)
            i += 2
        }
        return count ?? 1
    }
}
