import CSystem
import Primitives
import RESPWire
import TieredStore

/// What became of a command run inside another.
public enum InsideResult: Sendable {
    /// Answered, be it with an error.
    case done
    /// Nothing was done: a key's stripe is not held and is not free, or a value is not in RAM.
    case notReady
    /// Nothing was done: a blocking command found nothing.
    case blocked
}

extension Front {
    /// Runs a command inside another one: EXEC's, a script's, or for a client that waited. The reply
    /// goes to `call.reply`.
    ///
    /// The stripes of its keys should be held already and the values it needs be staged; a stripe that
    /// is not held is taken if it is free, and then held to the end of the outer command. The keys are
    /// a window of their own (`StagedKeys.openWindow`). What it changes is published.
    /// `call.isInside` must be set; afterwards `call.command` and `call.arguments` are the inner one's.
    /// `ready`: the command is that of a client that waited, and this key was changed: it is the only key
    /// the handler sees (`call.firstKey` says which it is), but for rows that move from key to key. A
    /// command that finds nothing is `.blocked` then; else its null is written.
    func runInside(
        _ row: Command, _ arguments: Arguments, for session: Session, ready: ByteView? = nil
    ) -> InsideResult {
        let reportsBlock = ready != nil
        openWindow(row, arguments, row.flags.contains(.answersNull) ? nil : ready)
        defer { call.firstKey = 0 }
        guard keys.tryLockWindow() else { return .notReady }
        if row.needsValue(arguments) {
            for i in 0..<keys.count where !keys.isUsable(i) { return .notReady }
        }
        let start = csystem_ticks(), mark = call.reply.mark
        call.command = row
        call.arguments = arguments
        call.replyStart = session.output.count
        keys.touches = !session.noTouch
        var result = InsideResult.done
        do throws(CommandError) { try row.handler(call) } catch {
            call.reply.rollBack(to: mark)
            result = settle(row, error, reportsBlock)
        }
        guard result == .done else { return result }
        if isRecording { record(row, arguments, reply: call.reply.written(since: mark), ready: ready) }
        if audience.isListening { publish(session, row, arguments) }
        countInside(row, arguments, session, csystem_ticks() &- start, mark)
        return .done
    }

    /// Opens a window with the command's keys; with `only`, with that key alone.
    func openWindow(_ row: Command, _ arguments: Arguments, _ only: ByteView?) {
        keys.openWindow()
        guard row.hasKeys else { return }
        if only == nil, row.singleKey > 0, row.singleKey < arguments.count {
            let key = arguments[row.singleKey]
            return keys.add(key, hash: worker.hash(key), database: call.database)
        }
        positions.removeAll(keepingCapacity: true)
        row.findKeys(arguments, into: &positions)
        for (i, position) in positions.enumerated() {
            let database = position.database ?? call.database
            if database >= worker.store.options.databases { continue }
            let key = arguments[position.word]
            if let only {
                guard keys.count == 0, key == only else { continue }
                call.firstKey = i
            }
            keys.add(key, hash: worker.hash(key), database: database)
        }
    }

    private func settle(_ row: Command, _ error: CommandError, _ reportsBlock: Bool) -> InsideResult {
        switch error {
        case .block:
            if reportsBlock { return .blocked }
            call.writeNothing(row)
        default:
            row.failed += 1
            ErrorText.write(error, command: row.name, to: call.reply)
        }
        return .done
    }

    private func countInside(
        _ row: Command, _ arguments: Arguments, _ session: Session, _ ticks: UInt64, _ mark: Int
    ) {
        row.calls &+= 1
        row.ticks &+= ticks
        commandsProcessed &+= 1
        if ticks >= server.slowTicks { server.noteSlow(session, row, arguments, ticks, self) }
        let reply = call.reply.written(since: mark)
        if reply.count > 0, reply[0] == UInt8(ascii: "-") { countError(reply) }
    }
}
