import Primitives
import RESPWire
import TieredStore

/// XINFO: what is known of a stream, its groups and their consumers.
enum StreamInfoCommands {
    static func row() -> Command {
        Command.container(
            "xinfo", group: "stream", since: "5.0.0", "Returns what is known of streams.", [
                sub("stream", -3, "Returns what is known of a stream.", "key [FULL [COUNT count]]", stream),
                sub("groups", 3, "Lists a stream's consumer groups.", "key", groups),
                sub("consumers", 4, "Lists a group's consumers.", "key group", consumers)
                    .tips("nondeterministic_output"),
                Command.help("xinfo", since: "5.0.0", group: "stream", helpLines),
            ])
    }

    private static func sub(
        _ name: String, _ arity: Int, _ summary: String, _ syntax: String,
        _ handler: @escaping Command.Handler
    ) -> Command {
        StreamCommands.row("xinfo|\(name)", arity, keys: .range(first: 2, last: 2, step: 1), [.readonly],
            "5.0.0", summary, syntax, handler)
    }

    private static let helpLines = [
        "CONSUMERS <key> <groupname>", "    Show consumers of <groupname>.", "GROUPS <key>",
        "    Show the stream consumer groups.", "STREAM <key> [FULL [COUNT <count>]",
        "    Show information about the stream.",
    ]

    private static func open(_ call: Call) throws(CommandError) -> Stream {
        guard let stream = try call.keys.stream(0) else { throw .noSuchKey }
        return stream
    }

    static func stream(_ call: Call) throws(CommandError) {
        let stream = try open(call), reply = call.reply
        var isFull = false, count: Int64 = 10
        if call.wordCount > 3 {
            guard call.arguments[3].matches("full"), call.wordCount == 4 || call.wordCount == 6 else {
                throw unknown(call)
            }
            isFull = true
            if call.wordCount == 6 {
                guard call.arguments[4].matches("count") else { throw unknown(call) }
                // Redis 7.0: a negative count is the default, 0 stands for all.
                let given = try Options.integer(call.arguments[5])
                if given >= 0 { count = given }
            }
        }
        reply.map(isFull ? 9 : 10)
        write(reply, "length", stream.length)
        write(reply, "radix-tree-keys", stream.blockCount)
        write(reply, "radix-tree-nodes", stream.blockCount + 1)
        write(reply, "last-generated-id", stream.lastID)
        write(reply, "max-deleted-entry-id", stream.maxDeletedID)
        write(reply, "entries-added", Int(stream.entriesAdded))
        write(reply, "recorded-first-entry-id", stream.firstID)
        guard isFull else {
            write(reply, "groups", stream.groups.count)
            write(reply, "first-entry", stream.firstEntry)
            return write(reply, "last-entry", stream.lastEntry)
        }
        reply.bulk("entries")
        StreamCommands.write(reply, stream, .zero, .max, count: count == 0 ? -1 : count)
        reply.bulk("groups")
        reply.array(stream.groups.count)
        for group in stream.groups { write(reply, group, stream, count) }
    }

    private static func unknown(_ call: Call) -> CommandError {
        .message("ERR unknown subcommand or wrong number of arguments for '\(call.word(1))'. "
            + "Try XINFO HELP.")
    }

    private static func write(_ reply: ReplyWriter, _ name: StaticString, _ value: Int) {
        reply.bulk(name)
        reply.integer(value)
    }

    private static func write(_ reply: ReplyWriter, _ name: StaticString, _ id: StreamID) {
        reply.bulk(name)
        StreamCommands.write(reply, id)
    }

    private static func write(_ reply: ReplyWriter, _ name: StaticString, _ entry: StreamEntry?) {
        reply.bulk(name)
        if let entry { StreamCommands.write(reply, entry) } else { reply.null() }
    }

    private static func write(_ reply: ReplyWriter, _ name: StaticString, _ value: Int64?) {
        reply.bulk(name)
        if let value { reply.integer(value) } else { reply.null() }
    }

    private static func write(_ reply: ReplyWriter, _ name: StaticString, _ text: [UInt8]) {
        reply.bulk(name)
        text.withView { reply.bulk($0) }
    }

    // MARK: FULL

    private static func write(
        _ reply: ReplyWriter, _ group: ConsumerGroup, _ stream: Stream, _ count: Int64
    ) {
        reply.map(7)
        write(reply, "name", group.name)
        write(reply, "last-delivered-id", group.lastID)
        write(reply, "entries-read", group.entriesRead)
        write(reply, "lag", group.lag(in: stream))
        write(reply, "pel-count", group.pendingCount)
        reply.bulk("pending")
        write(reply, group, nil, count)
        reply.bulk("consumers")
        reply.array(group.consumers.count)
        for consumer in group.consumers {
            reply.map(4)
            write(reply, "name", consumer.name)
            write(reply, "seen-time", Int(consumer.seenAt))
            write(reply, "pel-count", consumer.pendingCount)
            reply.bulk("pending")
            write(reply, group, consumer, count)
        }
    }

    /// Pending entries of a group with their consumers, or of one consumer.
    private static func write(
        _ reply: ReplyWriter, _ group: ConsumerGroup, _ consumer: ConsumerGroup.Consumer?, _ count: Int64
    ) {
        let mark = reply.mark
        var written = 0
        group.forEachPending(of: consumer, from: .zero) { pending in
            reply.array(consumer == nil ? 4 : 3)
            StreamCommands.write(reply, pending.id)
            if consumer == nil { pending.consumer.name.withView { reply.bulk($0) } }
            reply.integer(pending.deliveredAt)
            reply.integer(Int64(pending.deliveries))
            written += 1
            return Int64(written) != count
        }
        reply.array(written, at: mark)
    }

    // MARK: Groups and consumers

    static func groups(_ call: Call) throws(CommandError) {
        let stream = try open(call), reply = call.reply
        reply.array(stream.groups.count)
        for group in stream.groups {
            reply.map(6)
            write(reply, "name", group.name)
            write(reply, "consumers", group.consumers.count)
            write(reply, "pending", group.pendingCount)
            write(reply, "last-delivered-id", group.lastID)
            write(reply, "entries-read", group.entriesRead)
            write(reply, "lag", group.lag(in: stream))
        }
    }

    static func consumers(_ call: Call) throws(CommandError) {
        guard let group = try open(call).group(call.arguments[3]) else {
            throw .message("NOGROUP No such consumer group '\(call.word(3))' for key name '\(call.word(2))'")
        }
        let reply = call.reply
        reply.array(group.consumers.count)
        for consumer in group.consumers {
            reply.map(3)
            write(reply, "name", consumer.name)
            write(reply, "pending", consumer.pendingCount)
            write(reply, "idle", max(0, Int(call.now - consumer.seenAt)))
        }
    }
}
