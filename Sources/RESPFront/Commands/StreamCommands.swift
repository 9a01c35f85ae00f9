import Primitives
import RESPWire
import TieredStore

/// Commands on streams: entries. Reading by clients and groups is in `StreamReadCommands`, groups in
/// `StreamGroupCommands`, what is pending in `StreamPendingCommands`, XINFO in `StreamInfoCommands`.
enum StreamCommands {
    static func rows() -> [Command] {
        entries() + StreamReadCommands.rows() + StreamGroupCommands.rows() + StreamPendingCommands.rows()
            + [StreamInfoCommands.row()]
    }

    static func row(
        _ name: String, _ arity: Int, keys: Command.Keys = .first, _ flags: CommandFlags, _ since: String,
        _ summary: String, _ syntax: String, complexity: String = "O(1)",
        _ handler: @escaping Command.Handler
    ) -> Command {
        Command(name, arity, keys: keys, needs: .value, flags, group: "stream", since: since,
            complexity: complexity, summary, syntax: syntax, handler)
    }

    private static func entries() -> [Command] {
        let trimming = "<MAXLEN | MINID> [= | ~] threshold [LIMIT count]"
        let cost = "O(log(N)+M): blocks, entries returned"
        return [
            row("xadd", -5, [.write, .growsMemory, .fast], "5.0.0", "Adds an entry to a stream.",
                "key [NOMKSTREAM] [" + trimming + "] <* | id> field value [field value ...]", add)
                .access("RW update").tips("nondeterministic_output"),
            row("xtrim", -4, [.write], "5.0.0", "Removes a stream's oldest entries.", "key " + trimming,
                complexity: "O(N) in the entries removed", trim)
                .access("RW delete").tips("nondeterministic_output"),
            row("xdel", -3, [.write, .fast], "5.0.0", "Deletes entries.", "key id [id ...]",
                complexity: "O(1) for each entry", delete).access("RW delete"),
            row("xdelex", -5, [.write, .fast], "8.2.0",
                "Deletes entries, and says what becomes of groups' references to them.",
                "key [KEEPREF | DELREF | ACKED] IDS numids id [id ...]",
                complexity: "O(1) for each entry", deleteExtended),
            row("xlen", 2, [.readonly, .fast], "5.0.0", "Counts the entries.", "key", length).access("RO"),
            row("xrange", -4, [.readonly], "5.0.0", "Returns entries with IDs in a range.",
                "key start end [COUNT count]", complexity: cost, range),
            row("xrevrange", -4, [.readonly], "5.0.0",
                "Returns entries with IDs in a range, the last first.", "key end start [COUNT count]",
                complexity: cost, range),
            row("xsetid", -3, [.write, .growsMemory, .fast], "5.0.0", "Sets a stream's last ID.",
                "key last-id [ENTRIESADDED entries-added] [MAXDELETEDID max-deleted-id]", setID)
                .access("RW update"),
        ]
    }

    static func limits(_ call: Call) -> Stream.Limits { call.configuration.streamLimits }

    // MARK: Adding and trimming

    private struct AddRequest {
        var rule: Stream.Trim?
        var isApproximate = false
        var limit = 0
        var makesStream = true
        var id: StreamID?
        var hasSequence = true
        /// Word of the first field.
        var fields = 0

        init(_ call: Call, isTrim: Bool) throws(CommandError) {
            var givenLimit: Int64?, i = 2, isDone = false
            while i < call.wordCount, !isDone {
                let word = call.arguments[i], left = call.wordCount - i - 1
                if !isTrim, word == ByteView("*") {
                    isDone = true
                } else if left > 0, word.matches("maxlen") || word.matches("minid") {
                    try readRule(call, &i)
                } else if left > 0, word.matches("limit") {
                    givenLimit = try Options.integer(call.arguments[i + 1])
                    if givenLimit! < 0 { throw .message("ERR The LIMIT argument must be >= 0.") }
                    i += 1
                } else if !isTrim, word.matches("nomkstream") {
                    makesStream = false
                } else if !isTrim {
                    (id, hasSequence) = try StreamIDText.forAdding(word)
                    isDone = true
                } else {
                    throw .syntax
                }
                i += 1
            }
            fields = i
            try check(call, givenLimit, isTrim)
        }

        private mutating func readRule(_ call: Call, _ i: inout Int) throws(CommandError) {
            if rule != nil {
                throw .message(
                    "ERR syntax error, MAXLEN and MINID options at the same time are not compatible")
            }
            let isLength = call.arguments[i].matches("maxlen"), next = call.arguments[i + 1]
            isApproximate = false
            if call.wordCount - i - 1 >= 2, next == ByteView("~") || next == ByteView("=") {
                isApproximate = next == ByteView("~")
                i += 1
            }
            guard isLength else {
                rule = .minID(try StreamIDText.strict(call.arguments[i + 1]))
                i += 1
                return
            }
            let most = try Options.integer(call.arguments[i + 1])
            if most < 0 { throw .message("ERR The MAXLEN argument must be >= 0.") }
            rule = .maxLength(Int(most))
            i += 1
        }

        private mutating func check(_ call: Call, _ given: Int64?, _ isTrim: Bool) throws(CommandError) {
            if given ?? 0 != 0, rule == nil {
                throw .message(
                    "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy")
            }
            if isTrim, rule == nil {
                throw .message("ERR syntax error, XTRIM must be called with a trimming strategy")
            }
            if let given {
                if !isApproximate {
                    throw .message("ERR syntax error, LIMIT cannot be used without the special ~ option")
                }
                limit = Int(given)
            } else if isApproximate {
                let entries = StreamCommands.limits(call).entries
                limit = entries == 0 ? 10000 : min(100 * entries, 1_000_000)
            }
        }
    }

    static func add(_ call: Call) throws(CommandError) {
        let request = try AddRequest(call, isTrim: false)
        let words = call.wordCount - request.fields
        if words < 2 || words % 2 == 1 {
            throw .message("ERR wrong number of arguments for 'xadd' command")
        }
        if request.id == .zero, request.hasSequence {
            throw .message("ERR The ID specified in XADD must be greater than 0-0")
        }
        let old = try call.keys.stream(0)
        if old == nil, !request.makesStream { return call.reply.null() }
        let last = old?.lastID ?? .zero
        if last == .max {
            throw .message("ERR The stream has exhausted the last possible ID, unable to add more items")
        }
        let id = try nextID(request, last, call.now)
        var pairs: [Element] = []
        pairs.reserveCapacity(words)
        for i in request.fields..<call.wordCount { pairs.append(.bytes(call.arguments[i])) }
        let stream = old == nil ? call.keys.makeStream(0) : try call.keys.editStream(0)
        stream.add(id, pairs, limits(call))
        call.bulk(id.text)
        call.notify(.stream, "xadd")
        if let rule = request.rule,
            stream.trim(rule, approximate: request.isApproximate, limit: request.limit) > 0 {
            call.notify(.stream, "xtrim")
        }
    }

    private static func nextID(
        _ request: AddRequest, _ last: StreamID, _ now: Int64
    ) throws(CommandError) -> StreamID {
        let tooSmall = CommandError.message(
            "ERR The ID specified in XADD is equal or smaller than the target stream top item")
        guard var id = request.id else {
            let time = UInt64(now)
            return time > last.milliseconds ? StreamID(time, 0) : last.next!
        }
        if !request.hasSequence {
            id.sequence = 0
            if id.milliseconds == last.milliseconds {
                if last.sequence == .max { throw tooSmall }
                id.sequence = last.sequence + 1
            }
        }
        if id <= last { throw tooSmall }
        return id
    }

    static func trim(_ call: Call) throws(CommandError) {
        let request = try AddRequest(call, isTrim: true)
        guard try call.keys.stream(0) != nil else { return call.reply.integer(0) }
        let stream = try call.keys.editStream(0)
        let removed = stream.trim(request.rule!, approximate: request.isApproximate, limit: request.limit)
        if removed > 0 { call.notify(.stream, "xtrim") }
        call.reply.integer(removed)
    }

    static func delete(_ call: Call) throws(CommandError) {
        guard try call.keys.stream(0) != nil else { return call.reply.integer(0) }
        let ids = try StreamIDText.list(call, from: 2)
        let stream = try call.keys.editStream(0)
        var count = 0
        for id in ids where stream.delete(id) { count += 1 }
        if count > 0 { call.notify(.stream, "xdel") }
        call.reply.integer(count)
    }

    static func setID(_ call: Call) throws(CommandError) {
        let id = try StreamIDText.strict(call.arguments[2])
        var added: Int64?, deleted: StreamID?
        var i = 3
        while i < call.wordCount {
            let word = call.arguments[i]
            guard i + 1 < call.wordCount else { throw .syntax }
            if word.matches("entriesadded") {
                added = try Options.integer(call.arguments[i + 1])
                if added! < 0 { throw .message("ERR entries_added must be positive") }
            } else if word.matches("maxdeletedid") {
                deleted = try StreamIDText.strict(call.arguments[i + 1])
                if id < deleted! {
                    throw .message(
                        "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id")
                }
            } else {
                throw .syntax
            }
            i += 2
        }
        guard let stream = try call.keys.stream(0) else { throw .noSuchKey }
        if id < stream.maxDeletedID {
            throw .message("ERR The ID specified in XSETID is smaller than current max_deleted_entry_id")
        }
        if let last = stream.lastEntry {
            if id < last.id {
                throw .message("ERR The ID specified in XSETID is smaller than the target stream top item")
            }
            if let added, Int64(stream.length) > added {
                throw .message(
                    "ERR The entries_added specified in XSETID is smaller than the target stream length")
            }
        }
        let isKept = deleted == nil || deleted == .zero
        try call.keys.editStream(0).setFacts(
            lastID: id, entriesAdded: added.map { UInt64($0) }, maxDeletedID: isKept ? nil : deleted)
        call.notify(.stream, "xsetid")
        call.reply.ok()
    }

    // MARK: Deleting with references

    enum References { case keep, delete, acknowledged }

    /// [KEEPREF | DELREF | ACKED] IDS numids id … from word `at` on.
    static func references(
        _ call: Call, at: Int
    ) throws(CommandError) -> (references: References, ids: [StreamID]) {
        var i = at, references = References.keep
        let word = call.arguments[i]
        if word.matches("keepref") || word.matches("delref") || word.matches("acked") {
            references = word.matches("delref") ? .delete : word.matches("acked") ? .acknowledged : .keep
            i += 1
        }
        guard i + 1 < call.wordCount, call.arguments[i].matches("ids") else { throw .syntax }
        guard let count = Decimal.int64(call.arguments[i + 1]), count > 0 else {
            throw .message("ERR Number of IDs must be a positive integer")
        }
        guard Int64(call.wordCount - i - 2) == count else {
            throw .message("ERR The `numids` parameter must match the number of arguments")
        }
        return (references, try StreamIDText.list(call, from: i + 2))
    }

    /// Deletes an entry as XDELEX and XACKDEL do: 1 deleted, 2 kept because somebody still needs it.
    static func delete(_ id: StreamID, _ stream: Stream, _ references: References) -> Int {
        switch references {
        case .keep: break
        case .delete: for group in stream.groups { _ = group.acknowledge(id) }
        case .acknowledged:
            for group in stream.groups where group.lastID < id || group.pending(id) != nil { return 2 }
        }
        return stream.delete(id) ? 1 : -1
    }

    static func deleteExtended(_ call: Call) throws(CommandError) {
        let (references, ids) = try references(call, at: 2)
        call.reply.array(ids.count)
        guard try call.keys.stream(0) != nil else {
            for _ in ids { call.reply.integer(-1) }
            return
        }
        let stream = try call.keys.editStream(0)
        var isDeleted = false
        for id in ids {
            let result = stream.entry(id) == nil ? -1 : delete(id, stream, references)
            if result == 1 { isDeleted = true }
            call.reply.integer(result)
        }
        if isDeleted { call.notify(.stream, "xdel") }
    }

    // MARK: Reading

    static func length(_ call: Call) throws(CommandError) {
        call.reply.integer(try call.keys.stream(0)?.length ?? 0)
    }

    static func range(_ call: Call) throws(CommandError) {
        let isBackward = call.command.name == "xrevrange"
        let first = try StreamIDText.start(call.arguments[isBackward ? 3 : 2])
        let last = try StreamIDText.end(call.arguments[isBackward ? 2 : 3])
        var count: Int64 = -1, i = 4
        while i < call.wordCount {
            guard call.arguments[i].matches("count"), i + 1 < call.wordCount else { throw .syntax }
            count = max(0, try Options.integer(call.arguments[i + 1]))
            i += 2
        }
        guard let stream = try call.keys.stream(0) else { return call.reply.array(0) }
        if count == 0 { return call.reply.nullArray() }
        write(call.reply, stream, first, last, count: count, backward: isBackward)
    }

    /// Replies with the entries of a range; `count` negative: all.
    static func write(
        _ reply: ReplyWriter, _ stream: Stream, _ first: StreamID, _ last: StreamID, count: Int64,
        backward: Bool = false
    ) {
        let mark = reply.mark
        var written = 0
        stream.forEach(from: first, to: last, backward: backward) { entry in
            write(reply, entry)
            written += 1
            return Int64(written) != count
        }
        reply.array(written, at: mark)
    }

    /// An entry: its ID, and its fields and values in turn.
    static func write(_ reply: ReplyWriter, _ entry: StreamEntry) {
        reply.array(2)
        write(reply, entry.id)
        reply.array(2 * entry.count)
        entry.forEach { field, value in
            reply.bulk(field)
            reply.bulk(value)
        }
    }

    static func write(_ reply: ReplyWriter, _ id: StreamID) {
        Array(id.text.utf8).withView { reply.bulk($0) }
    }
}

/// IDs as clients write them. Source: Redis 7.0 t_stream.c.
enum StreamIDText {
    private static let invalid = CommandError.message(
        "ERR Invalid stream ID specified as stream command argument")

    /// "ms-seq", or "ms" with `missing` as its sequence.
    static func strict(_ word: ByteView, missing: UInt64 = 0) throws(CommandError) -> StreamID {
        guard let id = parse(word, missing: missing) else { throw invalid }
        return id
    }

    static func parse(_ word: ByteView, missing: UInt64 = 0) -> StreamID? {
        guard word.count < 128 else { return nil }
        guard let dash = (0..<word.count).first(where: { word[$0] == UInt8(ascii: "-") }) else {
            return Decimal.uint64(word).map { StreamID($0, missing) }
        }
        guard let milliseconds = Decimal.uint64(word[0..<dash]),
            let sequence = Decimal.uint64(word[dash + 1..<word.count])
        else { return nil }
        return StreamID(milliseconds, sequence)
    }

    /// XADD's: "ms-*" leaves the sequence open.
    static func forAdding(_ word: ByteView) throws(CommandError) -> (StreamID, hasSequence: Bool) {
        let n = word.count
        if n > 2, word[n - 1] == UInt8(ascii: "*"), word[n - 2] == UInt8(ascii: "-"),
            let milliseconds = Decimal.uint64(word[0..<n - 2]) {
            return (StreamID(milliseconds, 0), false)
        }
        return (try strict(word), true)
    }

    static func list(_ call: Call, from first: Int) throws(CommandError) -> [StreamID] {
        var ids: [StreamID] = []
        for i in first..<call.wordCount { ids.append(try strict(call.arguments[i])) }
        return ids
    }

    private static func bound(
        _ word: ByteView, missing: UInt64
    ) throws(CommandError) -> (StreamID, isExclusive: Bool) {
        if word.count > 1, word[0] == UInt8(ascii: "(") {
            return (try strict(word[1..<word.count], missing: missing), true)
        }
        if word == ByteView("-") { return (.zero, false) }
        if word == ByteView("+") { return (.max, false) }
        return (try strict(word, missing: missing), false)
    }

    /// Where a range begins: "-", an ID, or "(" and an ID.
    static func start(_ word: ByteView) throws(CommandError) -> StreamID {
        let (id, isExclusive) = try bound(word, missing: 0)
        guard isExclusive else { return id }
        guard let next = id.next else { throw .message("ERR invalid start ID for the interval") }
        return next
    }

    static func end(_ word: ByteView) throws(CommandError) -> StreamID {
        let (id, isExclusive) = try bound(word, missing: .max)
        guard isExclusive else { return id }
        guard let previous = id.previous else { throw .message("ERR invalid end ID for the interval") }
        return previous
    }
}
