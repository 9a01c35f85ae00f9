import Primitives
import RESPWire
import TieredStore

/// XREAD and XREADGROUP.
enum StreamReadCommands {
    static func rows() -> [Command] {
        let keys = Command.Keys.custom(streamKeys)
        return [
            StreamCommands.row("xread", -4, keys: keys, [.readonly, .blocking, .movableKeys], "5.0.0",
                "Returns entries behind given IDs from streams, or waits for them.",
                "[COUNT count] [BLOCK milliseconds] STREAMS key [key ...] id [id ...]",
                complexity: "O(M) in the entries returned", read)
                .specs(.after("STREAMS", from: 1, through: -1, limit: 2, "RO access")),
            StreamCommands.row("xreadgroup", -7, keys: keys, [.write, .blocking, .movableKeys], "5.0.0",
                "Returns entries for a consumer of a group, new ones or those pending for it.",
                "GROUP group consumer [COUNT count] [BLOCK milliseconds] [NOACK] STREAMS key [key ...] "
                    + "id [id ...]", complexity: "O(M) in the entries returned", read)
                .specs(.after("STREAMS", from: 4, through: -1, limit: 2, "RO access")),
        ]
    }

    /// The first half of the words behind STREAMS.
    private static func streamKeys(_ arguments: Arguments, _ positions: inout [Command.KeyPosition]) {
        var i = 1
        while i < arguments.count, !arguments[i].matches("streams") {
            let word = arguments[i]
            i += word.matches("group") ? 3 : word.matches("noack") ? 1 : 2
        }
        let count = arguments.count - i - 1
        guard count > 0, count % 2 == 0 else { return }
        for word in i + 1..<i + 1 + count / 2 { positions.append(Command.KeyPosition(word)) }
    }

    /// From where a stream is read.
    enum Start: Sendable {
        case after(StreamID)
        /// What the group has not been given.
        case new
    }

    private struct Request {
        var count: Int64 = -1
        var deadline: Int64?
        var isAcknowledged = false
        /// Words of the group's and the consumer's name.
        var group: (name: Int, consumer: Int)?
        var firstID = 0

        init(_ call: Call) throws(CommandError) {
            let isGroup = call.command.name == "xreadgroup"
            var i = 1, streams: Int?
            while i < call.wordCount, streams == nil {
                let word = call.arguments[i], left = call.wordCount - i - 1
                if word.matches("block"), left > 0 {
                    deadline = try Request.deadline(call, call.arguments[i + 1])
                    i += 1
                } else if word.matches("count"), left > 0 {
                    let given = try Options.integer(call.arguments[i + 1])
                    count = given <= 0 ? -1 : given
                    i += 1
                } else if word.matches("streams"), left > 0 {
                    if left % 2 != 0 { throw Request.unbalanced }
                    streams = left / 2
                    firstID = i + 1 + left / 2
                } else if word.matches("group"), left >= 2 {
                    if !isGroup { throw Request.groupOnly("GROUP") }
                    group = (i + 1, i + 2)
                    i += 2
                } else if word.matches("noack") {
                    if !isGroup { throw Request.groupOnly("NOACK") }
                    isAcknowledged = true
                } else {
                    throw .syntax
                }
                i += 1
            }
            if streams == nil { throw .syntax }
            if isGroup, group == nil { throw .message("ERR Missing GROUP option for XREADGROUP") }
        }

        private static func groupOnly(_ option: String) -> CommandError {
            .message("ERR The \(option) option is only supported by XREADGROUP. You called XREAD instead.")
        }

        private static let unbalanced = CommandError.message(
            "ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified.")

        private static func deadline(_ call: Call, _ word: ByteView) throws(CommandError) -> Int64 {
            guard let given = Decimal.int64(word) else {
                throw .message("ERR timeout is not an integer or out of range")
            }
            if given < 0 { throw .message("ERR timeout is negative") }
            if given == 0 { return 0 }
            let (end, overflows) = call.now.addingReportingOverflow(given)
            if overflows { throw .message("ERR timeout is out of range") }
            return end
        }
    }

    static func read(_ call: Call) throws(CommandError) {
        let request = try Request(call)
        // A client that has waited goes on from the IDs it began with: "$" was the end at that time.
        let starts: [Start]
        if let known = call.waiter?.starts { starts = known } else { starts = try readStarts(call, request) }
        let mark = call.reply.mark
        var written = 0
        for i in 0..<call.keys.count {
            let mark = call.reply.mark
            if !call.isRESP3 { call.reply.array(2) }
            call.reply.bulk(call.keys.key(i))
            if try readOne(call, request, i, starts[call.firstKey + i]) {
                written += 1
            } else {
                call.reply.rollBack(to: mark)
            }
        }
        if written > 0 {
            return call.isRESP3 ? call.reply.map(written, at: mark) : call.reply.array(written, at: mark)
        }
        if let deadline = request.deadline {
            call.starts = starts
            throw .block(until: deadline)
        }
        call.reply.nullArray()
    }

    private static func readStarts(_ call: Call, _ request: Request) throws(CommandError) -> [Start] {
        var starts: [Start] = []
        for i in 0..<call.keys.count {
            let stream = try call.keys.stream(i), word = call.arguments[request.firstID + i]
            if let group = request.group, stream?.group(call.arguments[group.name]) == nil {
                throw .message("NOGROUP No such key '\(call.keys.key(i).text)' or consumer group "
                    + "'\(call.word(group.name))' in XREADGROUP with GROUP option")
            }
            if word == ByteView("$") {
                if request.group != nil {
                    throw .message("ERR The $ ID is meaningless in the context of XREADGROUP: you want to "
                        + "read the history of this consumer by specifying a proper ID, or use the > ID to "
                        + "get new messages. The $ ID would just return an empty result set.")
                }
                starts.append(.after(stream?.lastID ?? .zero))
            } else if word == ByteView(">") {
                if request.group == nil {
                    throw .message("ERR The > ID can be specified only when calling XREADGROUP using the "
                        + "GROUP <group> <consumer> option.")
                }
                starts.append(.new)
            } else {
                starts.append(.after(try StreamIDText.strict(word)))
            }
        }
        return starts
    }

    /// Replies with what stream `i` has; false if that is nothing.
    private static func readOne(
        _ call: Call, _ request: Request, _ i: Int, _ start: Start
    ) throws(CommandError) -> Bool {
        guard let stream = try call.keys.stream(i) else {
            if request.group != nil, call.waiter != nil {
                throw .message("UNBLOCKED the stream key no longer exists")
            }
            return false
        }
        guard let words = request.group else {
            guard case .after(let id) = start, let last = stream.lastEntry, last.id > id else { return false }
            StreamCommands.write(call.reply, stream, id.next!, .max, count: request.count)
            return true
        }
        guard let group = stream.group(call.arguments[words.name]) else {
            throw .message("NOGROUP the consumer group this client was blocked on no longer exists")
        }
        switch start {
        case .after(let id):
            let consumer = try consumer(call, i, group, call.arguments[words.consumer])
            try writeHistory(call, i, group, consumer, after: id, count: request.count)
        case .new:
            guard let last = stream.lastEntry, last.id > group.lastID else { return false }
            let consumer = try consumer(call, i, group, call.arguments[words.consumer])
            try deliver(call, i, group, consumer, request)
        }
        return true
    }

    /// The consumer, made if it is new, seen now.
    static func consumer(
        _ call: Call, _ i: Int, _ group: ConsumerGroup, _ name: ByteView
    ) throws(CommandError) -> ConsumerGroup.Consumer {
        _ = try call.keys.editStream(i)
        if let known = group.consumer(name) {
            known.seenAt = call.now
            return known
        }
        call.notify(.stream, "xgroup-createconsumer", i)
        return group.addConsumer(name, seenAt: call.now)
    }

    /// Replies with entries the group has not been given, and notes that they are pending.
    private static func deliver(
        _ call: Call, _ i: Int, _ group: ConsumerGroup, _ consumer: ConsumerGroup.Consumer,
        _ request: Request
    ) throws(CommandError) {
        let stream = try call.keys.editStream(i), reply = call.reply
        let mark = reply.mark
        var ids: [StreamID] = []
        if let first = group.lastID.next {
            stream.forEach(from: first, to: .max) { entry in
                StreamCommands.write(reply, entry)
                ids.append(entry.id)
                return Int64(ids.count) != request.count
            }
        }
        reply.array(ids.count, at: mark)
        for id in ids {
            group.advance(to: id, in: stream)
            if !request.isAcknowledged { group.deliver(id, to: consumer, at: call.now, deliveries: 1) }
        }
        consumer.activeAt = call.now
    }

    /// Replies with what is pending for the consumer, and counts it as delivered once more.
    private static func writeHistory(
        _ call: Call, _ i: Int, _ group: ConsumerGroup, _ consumer: ConsumerGroup.Consumer,
        after id: StreamID, count: Int64
    ) throws(CommandError) {
        let stream = try call.keys.editStream(i), reply = call.reply
        var found: [ConsumerGroup.Pending] = []
        if let first = id.next {
            group.forEachPending(of: consumer, from: first) {
                found.append($0)
                return Int64(found.count) != count
            }
        }
        reply.array(found.count)
        for pending in found {
            guard let entry = stream.entry(pending.id) else {
                reply.array(2)
                StreamCommands.write(reply, pending.id)
                reply.nullArray()
                continue
            }
            StreamCommands.write(reply, entry)
            group.deliver(pending.id, to: consumer, at: call.now, deliveries: pending.deliveries + 1)
        }
    }
}
