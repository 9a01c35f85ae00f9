import Primitives
import RESPWire
import TieredStore

// Requests of sessions that are in a transaction or have subscriptions.
extension Dispatcher {
    /// What the session's mode makes of a request; nil: it runs as always.
    mutating func runInMode(
        _ front: Front, _ session: Session, _ output: ReplyBuffer, _ command: Command,
        _ request: Request, _ arguments: Arguments
    ) -> Outcome? {
        if session.modes.contains(.subscribed), session.version == .resp2,
            !Dispatcher.allowedToSubscribers.contains(command.name) {
            command.rejected += 1
            reject(front, session, .message("""
                ERR Can't execute '\(command.name)': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / \
                QUIT / RESET are allowed in this context
                """))
            return .done
        }
        let reach: CommandFlags = [.write, .readonly, .mayReplicate]
        let isExec = command.traits.contains(.exec) && session.modes.contains(.inTransaction)
        if session.modes.contains(.monitors),
            !reach.isDisjoint(with: isExec ? session.transaction!.flags : command.flags) {
            command.rejected += 1
            reject(front, session, .message("ERR Replica can't interact with the keyspace"))
            return .done
        }
        guard session.modes.contains(.inTransaction) else { return nil }
        if isExec { return runTransaction(front, session, output, command, request, arguments) }
        if command.traits.contains(.isNotQueued) { return nil }
        queue(front, session, command, arguments)
        return .done
    }

    private static let allowedToSubscribers: Set<String> = [
        "ping", "subscribe", "ssubscribe", "sunsubscribe", "psubscribe", "unsubscribe", "punsubscribe",
        "quit", "reset",
    ]

    // MARK: Queueing

    private mutating func queue(
        _ front: Front, _ session: Session, _ command: Command, _ arguments: Arguments
    ) {
        let transaction = session.transaction!
        var refusal: CommandError?
        if command.flags.contains(.noMulti) {
            refusal = .message("ERR Command not allowed inside a transaction")
        } else if command.flags.contains(.growsMemory), front.worker.refuses(requestBytes(arguments)) {
            refusal = .outOfMemory
        }
        if command.traits.contains(.isProtected) {
            refusal = ServerCommands.protection(command.walks ? "debug" : "module", front.call)
        }
        if let refusal {
            command.rejected += 1
            return reject(front, session, refusal)
        }
        // What will not run need not be kept (Redis 7.0).
        if !transaction.isAborted, !(session.watch?.isDirty ?? false) {
            let limit = front.server.configuration.requestLimits.requestBytes
            guard transaction.memory + requestBytes(arguments) <= limit,
                transaction.requests.fits(arguments)
            else {
                reject(front, session, .message(
                    "ERR the transaction is larger than client-query-buffer-limit"))
                session.closesAfterReply = true
                return
            }
            transaction.append(command, arguments)
        }
        let mark = session.output.count
        front.call.reply.simple("QUEUED")
        if session.replyMode != .on { session.obeyReplyMode(mark) }
    }

    // MARK: EXEC

    /// Runs what was queued: all stripes of all keys are locked at once, so that it is one step for
    /// every other client, whatever loop it is on.
    private mutating func runTransaction(
        _ front: Front, _ session: Session, _ output: ReplyBuffer, _ command: Command,
        _ request: Request, _ arguments: Arguments
    ) -> Outcome {
        let transaction = session.transaction!, mark = output.count
        let mode = session.replyMode
        var outcome: Outcome?
        if transaction.isAborted {
            front.endTransaction(session)
            front.call.reply.error("EXECABORT Transaction discarded because of previous errors.")
        } else if session.watch?.isDirty ?? false {
            abandon(front, session)
        } else if transaction.runsAlone {
            let before = origin + UInt64(request.end)
            front.server.standAlone {
                front.worker.runAlone { outcome = attempt(front, session, command, before) }
            }
        } else {
            outcome = attempt(front, session, command, origin + UInt64(request.end))
        }
        if let outcome { return outcome }
        if front.audience.isListening { front.publish(session, command, arguments) }
        if mode == .on, session.replyMode != .on {
            // CLIENT REPLY among the commands: they have obeyed it themselves.
            account(front, session, output, command, arguments, output.count)
        } else {
            account(front, session, output, command, arguments, mark)
        }
        return .done
    }

    /// A watched key was changed: nothing runs.
    private func abandon(_ front: Front, _ session: Session, holding: Bool = false) {
        front.endTransaction(session, holding: holding)
        front.call.reply.nullArray()
    }

    /// Locks, looks whether every value is there, and runs. Returns why it has to wait, or nil when
    /// EXEC has been answered.
    private mutating func attempt(
        _ front: Front, _ session: Session, _ command: Command, _ before: UInt64
    ) -> Outcome? {
        let keys = front.keys, transaction = session.transaction!
        var granted = 0
        while true {
            let watched = collectTransaction(front, session, transaction)
            keys.lock()
            // A watched key whose time is over is deleted here, and marks the session.
            for i in watched..<keys.count { _ = keys.exists(i) }
            if session.watch?.isDirty ?? false {
                abandon(front, session, holding: true)
                keys.end()
                return nil
            }
            if !neededKeys.allSatisfy({ keys.isUsable($0) }) {
                keys.end()
                if stageTransaction(front, session, transaction, before) { return .wait(.reads) }
                continue
            }
            let room = transactionRoom(front, transaction)
            if room <= granted { break }
            // Asked without any stripe: the gate may evict, and takes stripes for it.
            keys.end()
            switch front.worker.admit(room, token: session.token) {
            case .go: granted = room
            case .wait: return .wait(.memory)
            case .refused:
                command.rejected += 1
                reject(front, session, .outOfMemory)
                return nil
            }
        }
        keys.forgetKeys()
        runQueued(front, session, transaction, room: granted)
        return nil
    }

    /// RAM the commands may take, from their words and from the values they may copy.
    private func transactionRoom(_ front: Front, _ transaction: Transaction) -> Int {
        guard transaction.flags.contains(.growsMemory) else { return 0 }
        var bytes = transaction.requests.byteCount + 128 * transaction.count
        for i in neededKeys { bytes += front.keys.valueBytes(i) }
        return bytes
    }

    private mutating func runQueued(
        _ front: Front, _ session: Session, _ transaction: Transaction, room: Int
    ) {
        let call = front.call, exec = call.command, arguments = call.arguments
        let startMode = session.replyMode
        front.unwatch(session, holding: true)
        session.modes.remove(.inTransaction)
        call.reply.array(transaction.count)
        call.isInside = true
        call.grantedRoom = room
        front.beginGroup()
        for i in 0..<transaction.count {
            let row = transaction.rows[i], mark = session.output.count
            let result = front.runInside(row, transaction.requests[i], for: session)
            precondition(result == .done, "\(row.name) met a key its transaction had not prepared")
            if startMode == .on, session.replyMode != .on { session.obeyReplyMode(mark) }
        }
        front.endGroup()
        call.isInside = false
        call.command = exec
        call.arguments = arguments
        front.serveWaiters(session)
        front.keys.end()
        transaction.removeAll()
    }

    // MARK: Keys

    /// Adds the keys of all queued commands and of WATCH, each in the database the command will meet;
    /// notes which of them are needed. Returns the index of the first watched one.
    private mutating func collectTransaction(
        _ front: Front, _ session: Session, _ transaction: Transaction
    ) -> Int {
        neededKeys.removeAll(keepingCapacity: true)
        var databases = DatabaseView(count: front.worker.store.options.databases, session.database)
        for i in 0..<transaction.count {
            collectQueued(front, transaction.rows[i], transaction.requests[i], &databases)
        }
        let watched = front.keys.count
        if let watch = session.watch {
            for i in 0..<watch.count {
                front.keys.add(watch.key(i), hash: watch.places[i].hash, database: watch.places[i].database)
            }
        }
        return watched
    }

    private mutating func collectQueued(
        _ front: Front, _ row: Command, _ arguments: Arguments, _ databases: inout DatabaseView
    ) {
        if row.traits.contains(.changesDatabase) { databases.follow(row, arguments) }
        guard row.hasKeys else { return }
        let first = front.keys.count, worker = front.worker
        if row.singleKey > 0, row.singleKey < arguments.count, let database = databases[nil] {
            let key = arguments[row.singleKey]
            front.keys.add(key, hash: worker.hash(key), database: database)
        } else {
            positions.removeAll(keepingCapacity: true)
            row.findKeys(arguments, into: &positions)
            for position in positions {
                guard let database = databases[position.database] else { continue }
                let key = arguments[position.word]
                front.keys.add(key, hash: worker.hash(key), database: database)
            }
        }
        if row.needsValue(arguments) { neededKeys += first..<front.keys.count }
    }

    /// Wants the cold values; returns whether any is on its way.
    private mutating func stageTransaction(
        _ front: Front, _ session: Session, _ transaction: Transaction, _ before: UInt64
    ) -> Bool {
        let old = session.staged.prefix { $0.before <= before }
        let keys = front.keys
        _ = collectTransaction(front, session, transaction)
        keys.lock()
        var isReading = false
        for i in neededKeys {
            switch keys.stage(i, token: session.token) {
            case .usable: continue
            case .staged(let record): session.staged.append((record, before))
            case .reading(let record):
                session.staged.append((record, before))
                isReading = true
            }
        }
        keys.end()
        for (record, _) in old { front.worker.unstage(record) }
        session.staged.removeFirst(old.count)
        session.staged.sort { $0.before < $1.before }
        return isReading
    }
}

/// Which tables a logical database's name will stand for at some place in a transaction, given as the
/// name it has now: SELECT and SWAPDB before that place count.
struct DatabaseView {
    private let count: Int
    private var current: Int
    /// Filled by the first SWAPDB.
    private var swapped: [Int] = []

    init(count: Int, _ current: Int) {
        self.count = count
        self.current = current
    }

    /// The database a command without or with a number of its own works on; nil: there is none.
    subscript(number: Int?) -> Int? {
        let wanted = number ?? current
        guard wanted < count else { return nil }
        return swapped.isEmpty ? wanted : swapped[wanted]
    }

    mutating func follow(_ row: Command, _ arguments: Arguments) {
        if row.name == "select", arguments.count == 2, let index = number(arguments[1]) {
            current = index
        } else if row.name == "swapdb", arguments.count == 3, let a = number(arguments[1]),
            let b = number(arguments[2]) {
            if swapped.isEmpty { swapped = Array(0..<count) }
            swapped.swapAt(a, b)
        }
    }

    private func number(_ word: ByteView) -> Int? {
        Decimal.int64(word).flatMap { $0 >= 0 && $0 < count ? Int($0) : nil }
    }
}
