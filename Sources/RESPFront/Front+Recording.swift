import Primitives
import RESPWire
import TieredStore

/// The commands of one transaction or script, which the append-only file gets in one piece.
struct RecordGroup {
    /// Transactions and scripts begun in one another.
    var depth = 0
    var count = 0
    var firstDatabase = 0
    var lastDatabase = 0
    var bytes: [UInt8] = []
}

// What is appended to the append-only file, in the order in which it was done.
//
// Commands go there as they came, behind the time they saw: `#` and Unix milliseconds on a line, so that
// what depends on the clock does the same when it is read back. What depends on chance or on who waited is
// written as what became of it. Each record is appended while its keys' stripes are held.
extension Front {
    /// A command has run; the stripes of its keys are still held. `reply`: where its reply begins; `ready`:
    /// the only key it was run for, on behalf of a client that waited.
    @inline(never)
    func record(_ row: Command, _ arguments: Arguments, reply: ByteView, ready: ByteView? = nil) {
        let changes = keys.changes
        let isError = reply.count > 0 && reply[0] == UInt8(ascii: "-")
        guard row.flags.contains(.write), changes != recordedChanges || !row.hasKeys && !isError
        else { return }
        if isError, reply.prefix(6) == ByteView("-IOERR") {
            // A value could not be read, and nothing was changed: when this is run again it can be, perhaps.
            return recordedChanges = changes
        }
        recordedChanges = changes
        let database = call.database
        if row.name == "spop" {
            return append(words: [Array("SREM".utf8), arguments[1].array] + Front.bulks(reply), database)
        }
        if let ready, let words = Front.words(row, arguments, onlyFor: ready) {
            return append(words: words, database)
        }
        if recordGroup.depth > 0 {
            return gather(database) { RequestWriter.write(arguments, to: &$0) }
        }
        appendNow(RequestWriter.mostBytes(arguments), database) { Front.write(arguments, &$0) }
    }

    /// A key was deleted beside commands: its time was over, or it had to make room. Its stripe is held.
    func recordDeletion(_ key: ByteView, _ database: Int) {
        let bytes = RequestWriter.bytes([Array("DEL".utf8), key.array])
        appendNow(bytes.count, database) { writer in bytes.withView { writer.bytes($0) } }
    }

    // MARK: Groups

    /// What is recorded from now on is one step.
    func beginGroup() { if isRecording { recordGroup.depth += 1 } }

    /// The step is done; its stripes are still held.
    func endGroup() {
        guard recordGroup.depth > 0 else { return }
        recordGroup.depth -= 1
        guard recordGroup.depth == 0, recordGroup.count > 0 else { return }
        let group = recordGroup
        recordGroup = RecordGroup()
        let isOne = group.count == 1
        let head = isOne ? ByteView.empty : ByteView("*1\r\n$5\r\nMULTI\r\n")
        let foot = isOne ? ByteView.empty : ByteView("*1\r\n$4\r\nEXEC\r\n")
        commitLog!.append(group.bytes.count + 256, isFirst: index == 0) { writer, context in
            prefix(group.firstDatabase, &writer, &context)
            writer.bytes(head)
            group.bytes.withView { writer.bytes($0) }
            writer.bytes(foot)
            context.database = group.lastDatabase
        }
    }

    // MARK: Appending

    private func append(words: [[UInt8]], _ database: Int) {
        if recordGroup.depth > 0 { return gather(database) { RequestWriter.write(words, to: &$0) } }
        let bytes = RequestWriter.bytes(words)
        appendNow(bytes.count, database) { writer in bytes.withView { writer.bytes($0) } }
    }

    @inline(__always)
    private func appendNow(_ most: Int, _ database: Int, _ write: (inout RecordWriter) -> Void) {
        commitLog!.append(most + 96, isFirst: index == 0) { writer, context in
            prefix(database, &writer, &context)
            write(&writer)
        }
    }

    private static func write(_ request: Arguments, _ writer: inout RecordWriter) {
        writer.byte(UInt8(ascii: "*"))
        writer.line(Int64(request.count))
        for i in 0..<request.count {
            writer.byte(UInt8(ascii: "$"))
            writer.line(Int64(request[i].count))
            writer.bytes(request[i])
            writer.byte(13)
            writer.byte(10)
        }
    }

    private func gather(_ database: Int, _ write: (inout [UInt8]) -> Void) {
        if recordGroup.count == 0 {
            recordGroup.firstDatabase = database
        } else if recordGroup.lastDatabase != database {
            recordGroup.bytes += Front.selection(database)
        }
        recordGroup.lastDatabase = database
        recordGroup.count += 1
        write(&recordGroup.bytes)
    }

    private static func selection(_ database: Int) -> [UInt8] {
        RequestWriter.bytes(["SELECT", String(database)])
    }

    /// Writes the time and the database, where they are not those of the record before.
    private func prefix(_ database: Int, _ writer: inout RecordWriter, _ context: inout CommitLog.Context) {
        if context.clock != worker.now {
            context.clock = worker.now
            writer.byte(UInt8(ascii: "#"))
            writer.line(worker.now)
        }
        if context.database != database {
            context.database = database
            Front.selection(database).withView { writer.bytes($0) }
        }
    }

    // MARK: What became of it

    /// All bulk strings of a reply, in order.
    private static func bulks(_ reply: ByteView) -> [[UInt8]] {
        var found: [[UInt8]] = [], at = 0
        while at < reply.count {
            let isBulk = reply[at] == UInt8(ascii: "$")
            var end = at + 1, n = 0
            while reply[end] != 13 {
                n = n * 10 + Int(reply[end] &- 48)
                end += 1
            }
            at = end + 2
            guard isBulk else { continue }
            found.append(reply[at..<(at + n)].array)
            at += n + 2
        }
        return found
    }

    /// The words of a blocking command with one key of several: the one there was something in. Nil: it
    /// has but one, or works on all it names.
    private static func words(
        _ row: Command, _ arguments: Arguments, onlyFor key: ByteView
    ) -> [[UInt8]]? {
        if row.flags.contains(.answersNull) { return nil }
        var positions: [Command.KeyPosition] = []
        row.findKeys(arguments, into: &positions)
        guard positions.count > 1, let kept = positions.firstIndex(where: { arguments[$0.word] == key })
        else { return nil }
        var dropped = Set(positions.indices.filter { $0 != kept }.map { positions[$0].word })
        if row.name == "xreadgroup" {
            // Each key has an ID behind the keys.
            for i in positions.indices where i != kept { dropped.insert(positions[i].word + positions.count) }
        }
        var words: [[UInt8]] = []
        for i in 0..<arguments.count where !dropped.contains(i) {
            let isCount = if case .counted(let at) = row.keys { at == i } else { false }
            words.append(isCount ? Array("1".utf8) : arguments[i].array)
        }
        return words
    }
}
