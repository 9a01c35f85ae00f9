import Primitives
import RESPWire
import TieredStore

/// What was delivered and not acknowledged: XACK, XPENDING, XCLAIM, XAUTOCLAIM, XACKDEL.
enum StreamPendingCommands {
    static func rows() -> [Command] {
        let each = "O(1) for each ID"
        return [
            StreamCommands.row("xack", -4, [.write, .fast], "5.0.0", "Acknowledges entries.",
                "key group id [id ...]", complexity: each, acknowledge).access("RW update"),
            StreamCommands.row("xackdel", -6, [.write, .fast], "8.2.0",
                "Acknowledges entries and deletes them.",
                "key group [KEEPREF | DELREF | ACKED] IDS numids id [id ...]", complexity: each,
                acknowledgeAndDelete),
            StreamCommands.row("xpending", -3, [.readonly], "5.0.0", "Returns what is pending in a group.",
                "key group [[IDLE min-idle-time] start end count [consumer]]",
                complexity: "O(N) in the entries returned", pending).tips("nondeterministic_output"),
            StreamCommands.row("xclaim", -6, [.write, .fast], "5.0.0",
                "Gives pending entries to another consumer.",
                "key group consumer min-idle-time id [id ...] [IDLE ms] [TIME unix-time-milliseconds] "
                    + "[RETRYCOUNT count] [FORCE] [JUSTID] [LASTID lastid]",
                complexity: "O(log N) for each ID, N pending", claim)
                .access("RW update").tips("nondeterministic_output"),
            StreamCommands.row("xautoclaim", -6, [.write, .fast], "6.2.0",
                "Gives entries that have been pending for long to another consumer.",
                "key group consumer min-idle-time start [COUNT count] [JUSTID]",
                complexity: "O(1) if COUNT is small", claimOld)
                .access("RW delete").tips("nondeterministic_output"),
        ]
    }

    private static func group(_ call: Call) throws(CommandError) -> ConsumerGroup {
        guard let group = try call.keys.stream(0)?.group(call.arguments[2]) else {
            throw .message("NOGROUP No such key '\(call.word(1))' or consumer group '\(call.word(2))'")
        }
        return group
    }

    static func acknowledge(_ call: Call) throws(CommandError) {
        guard let group = try call.keys.stream(0)?.group(call.arguments[2]) else {
            return call.reply.integer(0)
        }
        let ids = try StreamIDText.list(call, from: 3)
        _ = try call.keys.editStream(0)
        var count = 0
        for id in ids where group.acknowledge(id) { count += 1 }
        call.reply.integer(count)
    }

    static func acknowledgeAndDelete(_ call: Call) throws(CommandError) {
        let (references, ids) = try StreamCommands.references(call, at: 3)
        call.reply.array(ids.count)
        guard let group = try call.keys.stream(0)?.group(call.arguments[2]) else {
            for _ in ids { call.reply.integer(-1) }
            return
        }
        let stream = try call.keys.editStream(0)
        var isDeleted = false
        for id in ids {
            guard group.acknowledge(id) else {
                call.reply.integer(-1)
                continue
            }
            let result = stream.entry(id) == nil ? 1 : StreamCommands.delete(id, stream, references)
            isDeleted = isDeleted || result == 1
            call.reply.integer(result)
        }
        if isDeleted { call.notify(.stream, "xdel") }
    }

    // MARK: XPENDING

    static func pending(_ call: Call) throws(CommandError) {
        if call.wordCount == 3 { return try summary(call) }
        guard call.wordCount >= 6, call.wordCount <= 9 else { throw .syntax }
        var at = 3, idle: Int64 = 0
        if call.arguments[3].matches("idle") {
            idle = try Options.integer(call.arguments[4])
            if call.wordCount < 8 { throw .syntax }
            at = 5
        }
        let count = max(0, try Options.integer(call.arguments[at + 2]))
        let first = try StreamIDText.start(call.arguments[at])
        let last = try StreamIDText.end(call.arguments[at + 1])
        let group = try group(call)
        var consumer: ConsumerGroup.Consumer?
        if at + 3 < call.wordCount {
            consumer = group.consumer(call.arguments[at + 3])
            if consumer == nil { return call.reply.array(0) }
        }
        let reply = call.reply, mark = reply.mark, now = call.now
        var written = 0
        group.forEachPending(of: consumer, from: first) { pending in
            guard Int64(written) < count, pending.id <= last else { return false }
            if idle > 0, now - pending.deliveredAt < idle { return true }
            reply.array(4)
            StreamCommands.write(reply, pending.id)
            pending.consumer.name.withView { reply.bulk($0) }
            reply.integer(max(0, now - pending.deliveredAt))
            reply.integer(Int64(pending.deliveries))
            written += 1
            return true
        }
        reply.array(written, at: mark)
    }

    private static func summary(_ call: Call) throws(CommandError) {
        let group = try group(call), reply = call.reply
        reply.array(4)
        reply.integer(group.pendingCount)
        guard group.pendingCount > 0 else {
            reply.null()
            reply.null()
            return reply.nullArray()
        }
        var first: StreamID?, last = StreamID.zero
        group.forEachPending(from: .zero) {
            if first == nil { first = $0.id }
            last = $0.id
            return true
        }
        StreamCommands.write(reply, first!)
        StreamCommands.write(reply, last)
        let busy = group.consumers.filter { $0.pendingCount > 0 }
        reply.array(busy.count)
        for consumer in busy {
            reply.array(2)
            consumer.name.withView { reply.bulk($0) }
            call.bulk(String(consumer.pendingCount))
        }
    }

    // MARK: XCLAIM

    private struct Claim {
        var deliveredAt: Int64
        var deliveries: UInt64?
        var isForced = false
        var onlyIDs = false
        var lastID: StreamID?

        /// Options from word `first` on.
        init(_ call: Call, from first: Int) throws(CommandError) {
            deliveredAt = call.now
            var i = first
            while i < call.wordCount {
                let word = call.arguments[i], hasMore = i + 1 < call.wordCount
                if word.matches("force") {
                    isForced = true
                } else if word.matches("justid") {
                    onlyIDs = true
                } else if word.matches("idle"), hasMore {
                    deliveredAt = call.now &- (try Claim.number(call, i + 1, "IDLE"))
                    i += 1
                } else if word.matches("time"), hasMore {
                    deliveredAt = try Claim.number(call, i + 1, "TIME")
                    i += 1
                } else if word.matches("retrycount"), hasMore {
                    let given = try Claim.number(call, i + 1, "RETRYCOUNT")
                    deliveries = given < 0 ? nil : UInt64(given)
                    i += 1
                } else if word.matches("lastid"), hasMore {
                    lastID = try StreamIDText.strict(call.arguments[i + 1])
                    i += 1
                } else {
                    throw .message("ERR Unrecognized XCLAIM option '\(word.text)'")
                }
                i += 1
            }
            if deliveredAt < 0 || deliveredAt > call.now { deliveredAt = call.now }
        }

        private static func number(_ call: Call, _ i: Int, _ option: String) throws(CommandError) -> Int64 {
            guard let value = Decimal.int64(call.arguments[i]) else {
                throw .message("ERR Invalid \(option) option argument for XCLAIM")
            }
            return value
        }
    }

    private static func idleTime(_ call: Call) throws(CommandError) -> Int64 {
        guard let idle = Decimal.int64(call.arguments[4]) else {
            throw .message("ERR Invalid min-idle-time argument for \(call.command.name.uppercased())")
        }
        return max(0, idle)
    }

    static func claim(_ call: Call) throws(CommandError) {
        let group = try group(call), idle = try idleTime(call)
        var ids: [StreamID] = [], i = 5
        while i < call.wordCount, let id = StreamIDText.parse(call.arguments[i]) {
            ids.append(id)
            i += 1
        }
        let claim = try Claim(call, from: i)
        let stream = try call.keys.editStream(0), reply = call.reply
        if let last = claim.lastID, last > group.lastID { group.lastID = last }
        let mark = reply.mark
        var written = 0
        for id in ids {
            let old = group.pending(id)
            guard let entry = stream.entry(id) else {
                _ = group.acknowledge(id)
                continue
            }
            if old == nil, !claim.isForced { continue }
            if let old, idle > 0, call.now - old.deliveredAt < idle { continue }
            let consumer = try StreamReadCommands.consumer(call, 0, group, call.arguments[3])
            let before = old?.deliveries ?? 1
            group.deliver(id, to: consumer, at: claim.deliveredAt,
                deliveries: claim.deliveries ?? (claim.onlyIDs ? before : before + 1))
            consumer.activeAt = call.now
            if claim.onlyIDs { StreamCommands.write(reply, id) } else { StreamCommands.write(reply, entry) }
            written += 1
        }
        reply.array(written, at: mark)
    }

    // MARK: XAUTOCLAIM

    /// → the ID to go on from, the entries claimed, the IDs of those that are gone.
    static func claimOld(_ call: Call) throws(CommandError) {
        let idle = try idleTime(call), first = try StreamIDText.start(call.arguments[5])
        var count = 100, onlyIDs = false, i = 6
        while i < call.wordCount {
            if call.arguments[i].matches("count"), i + 1 < call.wordCount {
                let most = Int64.max / 16
                guard let given = Decimal.int64(call.arguments[i + 1]), given > 0, given <= most else {
                    throw .message("ERR COUNT must be > 0")
                }
                count = Int(given)
                i += 1
            } else if call.arguments[i].matches("justid") {
                onlyIDs = true
            } else {
                throw .syntax
            }
            i += 1
        }
        let group = try group(call), stream = try call.keys.editStream(0)
        var looked: [ConsumerGroup.Pending] = [], next = StreamID.zero
        var attempts = count * 10, left = count
        group.forEachPending(from: first) { pending in
            if attempts == 0 || left == 0 {
                next = pending.id
                return false
            }
            attempts -= 1
            looked.append(pending)
            if stream.entry(pending.id) == nil || call.now - pending.deliveredAt >= idle { left -= 1 }
            return true
        }
        try writeClaimed(call, group, stream, looked, idle, onlyIDs, next)
    }

    private static func writeClaimed(
        _ call: Call, _ group: ConsumerGroup, _ stream: Stream, _ looked: [ConsumerGroup.Pending],
        _ idle: Int64, _ onlyIDs: Bool, _ next: StreamID
    ) throws(CommandError) {
        let reply = call.reply
        reply.array(3)
        StreamCommands.write(reply, next)
        let mark = reply.mark
        var written = 0, gone: [StreamID] = []
        for pending in looked {
            guard let entry = stream.entry(pending.id) else {
                _ = group.acknowledge(pending.id)
                gone.append(pending.id)
                continue
            }
            if idle > 0, call.now - pending.deliveredAt < idle { continue }
            let consumer = try StreamReadCommands.consumer(call, 0, group, call.arguments[3])
            group.deliver(pending.id, to: consumer, at: call.now,
                deliveries: onlyIDs ? pending.deliveries : pending.deliveries + 1)
            consumer.activeAt = call.now
            if onlyIDs { StreamCommands.write(reply, pending.id) } else { StreamCommands.write(reply, entry) }
            written += 1
        }
        reply.array(written, at: mark)
        reply.array(gone.count)
        for id in gone { StreamCommands.write(reply, id) }
    }
}
