import Primitives
import RESPWire
import TieredStore

/// What a loop answers while it is in the middle of a request it cannot end: a script that has run for
/// longer than busy-reply-threshold runs here, or holds what the loop waits for.
///
/// Only what touches neither the keyspace nor the request that is being run: everything else is answered
/// with BUSY. It has a call, a parser and words of its own; those of the front are in use.
final class BusyDesk {
    fileprivate let call: Call
    fileprivate var words = WordList(capacity: 64)
    fileprivate var parser: RequestParser

    fileprivate init(_ front: Front) {
        parser = RequestParser(limits: Dispatcher.unlimited)
        call = Call(
            worker: front.worker, server: front.server, keys: StagedKeys(front.worker),
            command: front.table.rows[0], arguments: front.call.arguments,
            replies: front.servingReply)
    }

    /// Commands that may run in the middle of another request. Others with the flag `allow_busy` (WATCH,
    /// RESET …) want stripes, or what the running request uses: they wait.
    fileprivate static let served: Set<String> = [
        "auth", "hello", "multi", "quit", "script|kill", "function|kill", "function|stats", "shutdown",
    ]
}

extension Front {
    /// Answers what a client has sent, as far as that can be done now; the rest stays and is run later.
    public func answerWhileBusy(_ session: Session) {
        guard session.token != runningToken, session.wait == .none else { return }
        let desk = busyDesk ?? BusyDesk(self)
        busyDesk = desk
        while !session.input.isEmpty, !session.closesAfterReply,
            session.output.count < Dispatcher.outputLimit, let length = answerFirst(session, desk) {
            session.input.consume(length)
            session.consumedBytes += UInt64(length)
            session.parsedBytes = 0
            session.stagedBytes = 0
            session.parser.reset()
        }
        if !session.input.isEmpty, !session.closesAfterReply { unfinished.append(session.token) }
    }

    /// Answers the first request of a session's input; returns its length, or nil if it has to wait.
    private func answerFirst(_ session: Session, _ desk: BusyDesk) -> Int? {
        desk.words.removeAll()
        desk.parser.reset()
        let input = session.input.bytes
        // An inline request is unescaped in place: it cannot be left for later then.
        guard ByteView(input, 1)[0] == UInt8(ascii: "*") || isPlainLine(session) else { return nil }
        guard case .request(let first, let count, let end) =
            desk.parser.parse(input, count: session.input.count, from: 0, into: &desk.words)
        else { return nil }
        if count == 0 { return end }
        let arguments = desk.words.arguments(input, first: first, count: count)
        guard answer(session, desk.call, arguments) else { return nil }
        return end
    }

    private func isPlainLine(_ session: Session) -> Bool {
        let view = ByteView(session.input.bytes, min(session.input.count, 64 << 10))
        return view.array.allSatisfy { $0 != UInt8(ascii: "\"") && $0 != UInt8(ascii: "'") }
    }

    /// False when the request has to wait.
    private func answer(_ session: Session, _ call: Call, _ arguments: Arguments) -> Bool {
        guard var row = table.find(arguments[0])?.takeUnretainedValue() else {
            return refuse(session, call, nil, String(decoding: Dispatcher.unknown(arguments), as: UTF8.self))
        }
        if row.hasSubcommands, arguments.count > 1, let sub = row.subcommand(arguments[1]) { row = sub }
        call.serve(session)
        call.command = row
        call.arguments = arguments
        if !session.isAuthenticated, !row.flags.contains(.noAuth) {
            return refuse(session, call, row, "NOAUTH Authentication required.")
        }
        guard row.accepts(wordCount: arguments.count) else {
            return refuse(session, call, row, "ERR wrong number of arguments for '\(row.name)' command")
        }
        guard row.flags.contains(.allowBusy) else {
            return refuse(session, call, row, server.busyness.refusal)
        }
        guard BusyDesk.served.contains(row.name), !session.modes.contains(.inTransaction) else {
            return false
        }
        let mark = session.output.count
        do throws(CommandError) { try row.handler(call) } catch {
            session.output.truncate(to: mark)
            row.failed += 1
            ErrorText.write(error, command: row.name, to: call.reply)
            countError(session.output.view(from: mark))
        }
        row.calls &+= 1
        commandsProcessed &+= 1
        if session.replyMode != .on { session.obeyReplyMode(mark) }
        return true
    }

    private func refuse(_ session: Session, _ call: Call, _ row: Command?, _ text: String) -> Bool {
        // Ending a transaction that watches keys takes stripes.
        let isExec = row?.name == "exec"
        if isExec, let watch = session.watch, watch.count > 0 { return false }
        call.serve(session)
        let mark = session.output.count
        row?.rejected += 1
        if isExec {
            endTransaction(session)
            ErrorText.writeAbort(.message(text), to: call.reply)
        } else {
            session.transaction?.isAborted = true
            ErrorText.text(text, call.reply)
        }
        countError(session.output.view(from: mark))
        if session.replyMode != .on { session.obeyReplyMode(mark) }
        return true
    }

    /// Runs what clients sent while the loop was busy and what was not answered then.
    func runUnfinished() {
        let waiting = unfinished
        unfinished.removeAll(keepingCapacity: true)
        for token in waiting {
            if let session = session(token), session.wait == .none { goOn(session) }
        }
    }
}
