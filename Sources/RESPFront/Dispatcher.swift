import CSystem
import Primitives
import RESPWire
import TieredStore

/// From bytes to handlers: parse a batch, bring its keys into the cache, stage what is cold, run in
/// order, stop at the first request that has to wait.
///
/// Why a batch: looking up one key after another pays a cache miss each; sixteen together overlap
/// them (PROTOTYPE.md: 1.19 to 1.99 million GET a second).
struct Dispatcher: ~Copyable {
    static let batchSize = 16
    /// While records are staged, few requests run before one waits, and what was prepared behind it
    /// is prepared again.
    static let stagedBatchSize = 4
    /// Requests beyond a waiting one whose cold keys are read ahead.
    static let lookahead = 128
    /// A session that has this much to send produces no more until its client reads.
    static let outputLimit = 1 << 20

    struct Request {
        var first = 0
        var count = 0
        var end = 0
        var command: Unmanaged<Command>?
        var hash: UInt64 = 0
        /// Index of the only key, or 0.
        var key = 0
        /// Where its value seems to be.
        var entry: UnsafeRawPointer?
    }

    enum Outcome { case done, wait(Session.Wait) }

    private var words = WordList(capacity: 256)
    private let requests: UnsafeMutablePointer<Request>
    /// Parses requests known to be whole again, after a wait.
    private var rescanner = RequestParser(limits: Dispatcher.unlimited)
    var positions: [Command.KeyPosition] = []
    /// Keys of the transaction about to run whose values are needed.
    var neededKeys: [Int] = []
    let noWords: UnsafeMutablePointer<WordRange>
    private var lastTick: UInt64 = 0
    /// Where the input stands in all the session has sent: what staged records are released by.
    private(set) var origin: UInt64 = 0

    static var unlimited: RequestLimits {
        var limits = RequestLimits()
        limits.requestBytes = 3 << 30
        limits.bulkBytes = 2 << 30
        return limits
    }

    init() {
        requests = .allocate(capacity: Dispatcher.batchSize)
        requests.initialize(repeating: Request(), count: Dispatcher.batchSize)
        noWords = .allocate(capacity: 1)
        noWords.initialize(to: WordRange(offset: 0, count: 0))
    }

    deinit {
        requests.deallocate()
        noWords.deallocate()
    }

    // MARK: The run

    /// Runs the requests in `input`; returns how many bytes are done with. The session's `wait`
    /// says why it stopped before the end, if it did.
    mutating func run(
        _ front: Front, _ session: Session, _ input: UnsafeMutableRawPointer, _ count: Int
    ) -> Int {
        var done = 0
        lastTick = csystem_ticks()
        origin = session.consumedBytes
        session.missingInput = 0
        let output = session.output
        front.call.serve(session)
        front.runningToken = session.token
        defer { front.runningToken = UInt32.max }
        while done < count, !session.closesAfterReply {
            if output.count > Dispatcher.outputLimit {
                session.wait = .output
                break
            }
            let limit = session.staged.isEmpty ? Dispatcher.batchSize : Dispatcher.stagedBatchSize
            let parsed = parseBatch(session, input, count, from: done, limit: limit)
            if parsed == 0 { break }
            prepare(front, session, input, parsed)
            let start = done
            var waiting = false
            for i in 0..<parsed {
                let request = requests[i]
                if i + 2 < parsed, let entry = requests[i + 2].entry { front.worker.prefetchValue(entry) }
                let arguments = words.arguments(input, first: request.first, count: request.count)
                let outcome = dispatch(front, session, output, request, arguments)
                if case .wait(let why) = outcome {
                    session.wait = why
                    waiting = true
                    break
                }
                session.consumedBytes += UInt64(request.end - done)
                done = request.end
                if !session.staged.isEmpty { release(front, session) }
                if session.deferredPushes != nil { session.flushDeferredPushes() }
                if session.closesAfterReply { return count }
                if session.wait != .none { break }
            }
            session.parsedBytes = max(0, session.parsedBytes - (done - start))
            session.stagedBytes = max(0, session.stagedBytes - (done - start))
            if waiting { waitAt(front, session, input, count, done) }
            if session.wait != .none { break }
        }
        words.shrink(to: 4096)
        return done
    }

    /// Parses up to a batch of whole requests from `start`; zero when none is whole.
    private mutating func parseBatch(
        _ session: Session, _ input: UnsafeMutableRawPointer, _ count: Int, from start: Int, limit: Int
    ) -> Int {
        words.removeAll()
        var at = start, parsed = 0
        while parsed < limit, at < count {
            // An inline request is unescaped in place: it is a batch of its own.
            let isInline = input[at] != UInt8(ascii: "*")
            if isInline, parsed > 0 { return parsed }
            let isKnownWhole = at - start < session.parsedBytes
            let outcome = isKnownWhole
                ? rescanner.parse(input, count: start + session.parsedBytes, from: at, into: &words)
                : session.parser.parse(input, count: count, from: at, into: &words)
            switch outcome {
            case .request(let first, let wordCount, let end):
                requests[parsed] = Request(first: first, count: wordCount, end: end)
                parsed += 1
                at = end
                if isInline {
                    session.parsedBytes = max(session.parsedBytes, at - start)
                    return parsed
                }
            case .incomplete(_, let missing):
                session.missingInput = missing
                session.parsedBytes = max(session.parsedBytes, at - start)
                return parsed
            case .failure(let why):
                if parsed > 0 {
                    // Answer what came before first; the failure is found again.
                    session.parser.reset()
                    session.parsedBytes = max(session.parsedBytes, at - start)
                    return parsed
                }
                if why != .requestTooLarge { ReplyWriter(session.output).failure(why) }
                session.closesAfterReply = true
                return 0
            }
        }
        session.parsedBytes = max(session.parsedBytes, at - start)
        return parsed
    }

    /// Finds the rows, and brings the batch's index buckets and entries into the cache. Values that
    /// are on the SSD are asked for, all of the batch together.
    private mutating func prepare(
        _ front: Front, _ session: Session, _ input: UnsafeMutableRawPointer, _ parsed: Int
    ) {
        let worker = front.worker, mayLook = !front.busyness.isReading
        for i in 0..<parsed {
            let request = requests + i
            guard request.pointee.count > 0 else { continue }
            let arguments = words.arguments(
                input, first: request.pointee.first, count: request.pointee.count)
            guard let row = front.table.find(arguments[0]) else { continue }
            request.pointee.command = row
            let key = row._withUnsafeGuaranteedRef { $0.singleKey }
            guard key > 0, key < arguments.count, mayLook else { continue }
            request.pointee.key = key
            request.pointee.hash = worker.hash(arguments[key])
            if parsed > 1 { worker.prefetchStripe(request.pointee.hash) }
        }
        guard parsed > 1 else { return }
        for i in 0..<parsed where requests[i].key > 0 {
            worker.prefetchBucket(requests[i].hash, database: session.database)
        }
        for i in 0..<parsed where requests[i].key > 0 {
            switch worker.prefetchEntry(requests[i].hash, database: session.database) {
            case .unknown: break
            case .cold: stageAhead(front, session, input, i)
            case .resident(let entry): requests[i].entry = entry
            }
        }
    }

    /// A key of the batch seems cold: if its command needs the value, the read leaves now.
    private mutating func stageAhead(
        _ front: Front, _ session: Session, _ input: UnsafeMutableRawPointer, _ i: Int
    ) {
        let request = requests[i]
        guard let command = request.command?.takeUnretainedValue(), session.isAuthenticated else { return }
        let before = origin + UInt64(request.end)
        if let last = session.staged.last, last.before >= before { return }
        let arguments = words.arguments(input, first: request.first, count: request.count)
        guard command.accepts(wordCount: arguments.count), command.needsValue(arguments) else { return }
        stageKeys(front, session, command, arguments, before: before, waking: false)
    }

    /// Runs the request of a session that waits for keys again, on its own loop. The session's `wait`
    /// says whether it still waits.
    mutating func runAgain(_ front: Front, _ session: Session, _ waiter: Waiter) {
        lastTick = csystem_ticks()
        origin = session.consumedBytes
        front.call.serve(session)
        front.runningToken = session.token
        defer { front.runningToken = UInt32.max }
        let arguments = waiter.request[0]
        guard let row = front.table.find(arguments[0])?.takeUnretainedValue() else {
            preconditionFailure("a request that waits has a row")
        }
        front.call.command = row
        front.call.arguments = arguments
        let request = Request(first: 0, count: arguments.count, end: 0)
        if case .wait(let why) = runHandler(front, session, session.output, row, request, arguments) {
            session.wait = why
        }
        session.flushDeferredPushes()
    }

    // MARK: Waiting

    /// The request at `done` waits: keys of the requests behind it are staged too, a bounded way
    /// ahead, so that a pipeline of cold reads keeps the disk busy.
    private mutating func waitAt(
        _ front: Front, _ session: Session, _ input: UnsafeMutableRawPointer, _ count: Int, _ done: Int
    ) {
        if input[done] != UInt8(ascii: "*") { return keepInline(session, input, count, done) }
        guard session.wait == .reads else { return }
        var at = done + max(session.stagedBytes, 0)
        var budget = Dispatcher.lookahead - session.staged.count
        while budget > 0, at < count, input[at] == UInt8(ascii: "*") {
            words.removeAll()
            let isKnownWhole = at - done < session.parsedBytes
            let outcome = isKnownWhole
                ? rescanner.parse(input, count: done + session.parsedBytes, from: at, into: &words)
                : session.parser.parse(input, count: count, from: at, into: &words)
            guard case .request(let first, let wordCount, let end) = outcome else {
                if case .failure = outcome { session.parser.reset() }
                break
            }
            budget -= 1
            let arguments = words.arguments(input, first: first, count: wordCount)
            if at > done, let row = front.table.find(arguments[0])?.takeUnretainedValue(),
                row.accepts(wordCount: wordCount), row.needsValue(arguments) {
                let before = origin + UInt64(end)
                if session.staged.last.map({ $0.before < before }) ?? true {
                    stageKeys(front, session, row, arguments, before: before, waking: false)
                }
            }
            at = end
            session.stagedBytes = at - done
            session.parsedBytes = max(session.parsedBytes, at - done)
        }
    }

    /// An inline request was unescaped in place and cannot be parsed again: it is kept as RESP.
    private mutating func keepInline(
        _ session: Session, _ input: UnsafeMutableRawPointer, _ count: Int, _ done: Int
    ) {
        guard let request = (0..<Dispatcher.batchSize).map({ requests[$0] }).first(where: { $0.end > done })
        else { return }
        let arguments = words.arguments(input, first: request.first, count: request.count)
        let whole = RequestWriter.bytes((0..<arguments.count).map { arguments[$0].array })
        session.pendingInline = (request.end - done, whole)
        session.parsedBytes = 0
        session.stagedBytes = 0
    }

    /// Wants the cold values among a request's keys. Returns whether any is still on its way.
    @discardableResult
    private mutating func stageKeys(
        _ front: Front, _ session: Session, _ command: Command, _ arguments: Arguments, before: UInt64,
        waking: Bool
    ) -> Bool {
        let keys = front.keys
        collectKeys(front, session, command, arguments)
        keys.lock()
        defer { keys.end() }
        var isReading = false
        for i in 0..<keys.count {
            switch keys.stage(i, token: waking ? session.token : UInt32.max) {
            case .usable: continue
            case .staged(let record): session.staged.append((record, before))
            case .reading(let record):
                session.staged.append((record, before))
                isReading = true
            }
        }
        return isReading
    }

    /// Wants the cold values of the request that is to run now. What was wanted for it before is let
    /// go: compaction may have moved it since, or its read failed.
    private mutating func stageHead(
        _ front: Front, _ session: Session, _ command: Command, _ arguments: Arguments, before: UInt64
    ) -> Bool {
        let old = session.staged.prefix { $0.before <= before }
        let isReading = stageKeys(front, session, command, arguments, before: before, waking: true)
        for (record, _) in old { front.worker.unstage(record) }
        session.staged.removeFirst(old.count)
        session.staged.sort { $0.before < $1.before }
        return isReading
    }

    /// Lets go of records staged for requests that have run.
    private func release(_ front: Front, _ session: Session) {
        var n = 0
        while n < session.staged.count, session.staged[n].before <= session.consumedBytes {
            front.worker.unstage(session.staged[n].record)
            n += 1
        }
        if n > 0 { session.staged.removeFirst(n) }
    }

    // MARK: One request

    private mutating func collectKeys(
        _ front: Front, _ session: Session, _ command: Command, _ arguments: Arguments
    ) {
        positions.removeAll(keepingCapacity: true)
        command.findKeys(arguments, into: &positions)
        let worker = front.worker
        for position in positions {
            let key = arguments[position.word]
            if let other = position.database, other >= worker.store.options.databases { continue }
            front.keys.add(key, hash: worker.hash(key), database: position.database ?? session.database)
        }
    }

    @inline(__always)
    private mutating func dispatch(
        _ front: Front, _ session: Session, _ output: ReplyBuffer, _ request: Request,
        _ arguments: Arguments
    ) -> Outcome {
        guard let row = request.command else {
            if request.count > 0 { refuseUnknown(front, session, arguments) }
            return .done
        }
        return row._withUnsafeGuaranteedRef {
            execute(front, session, output, $0, request, arguments)
        }
    }

    /// The ordered list of checks, then the handler.
    private mutating func execute(
        _ front: Front, _ session: Session, _ output: ReplyBuffer, _ command: Command,
        _ request: Request, _ arguments: Arguments
    ) -> Outcome {
        if command.hasSubcommands, arguments.count > 1 {
            guard let sub = command.subcommand(arguments[1]) else {
                refuseSubcommand(front, session, command, arguments)
                return .done
            }
            return check(front, session, output, sub, request, arguments)
        }
        return check(front, session, output, command, request, arguments)
    }

    @inline(__always)
    private mutating func check(
        _ front: Front, _ session: Session, _ output: ReplyBuffer, _ command: Command,
        _ request: Request, _ arguments: Arguments
    ) -> Outcome {
        let call = front.call
        call.command = command
        call.arguments = arguments
        if !command.accepts(wordCount: arguments.count)
            || !session.isAuthenticated && !command.flags.contains(.noAuth) {
            command.rejected += 1
            reject(front, session, refusal(session, command, arguments))
            return .done
        }
        if front.busyness.isBusy, session !== front.replay,
            let refusal = front.busyness.refusal(
                of: command, writes: command.name == "exec" && (session.transaction?.writes ?? false)) {
            command.rejected += 1
            reject(front, session, refusal)
            return .done
        }
        if front.server.isPaused, let wait = pause(front, session, command) { return .wait(wait) }
        if !session.modes.isEmpty,
            let outcome = runInMode(front, session, output, command, request, arguments) { return outcome }
        if command.flags.contains(.growsMemory) {
            switch admit(front, session, arguments) {
            case .go: break
            case .wait: return .wait(.memory)
            case .refused:
                command.rejected += 1
                reject(front, session, .outOfMemory)
                return .done
            }
        }
        return runHandler(front, session, output, command, request, arguments)
    }

    mutating func runHandler(
        _ front: Front, _ session: Session, _ output: ReplyBuffer, _ command: Command,
        _ request: Request, _ arguments: Arguments
    ) -> Outcome {
        let call = front.call, keys = front.keys
        let mark = output.count
        call.replyStart = mark
        if request.key > 0, command.singleKey == request.key {
            keys.add(arguments[request.key], hash: request.hash, database: session.database)
        } else if command.hasKeys {
            collectKeys(front, session, command, arguments)
        }
        keys.lock()
        if command.alwaysNeedsValue || command.needsValue(arguments) {
            for i in 0..<keys.count where !keys.isUsable(i) {
                keys.end()
                if stageHead(front, session, command, arguments, before: origin + UInt64(request.end)) {
                    return .wait(.reads)
                }
                // Arrived between the two looks: run with it.
                collectKeys(front, session, command, arguments)
                keys.lock()
                break
            }
        }
        if command.flags.contains(.write) {
            if front.worker.isSnapshotting, front.waitsForSnapshot(session.token) { return .wait(.memory) }
            if front.isRecording, front.waitsForLog(session.token) { return .wait(.memory) }
        }
        if command.flags.contains(.growsMemory), command.alwaysNeedsValue {
            let bytes = keys.promotionBytes
            if bytes > 0, let outcome = admitMore(front, session, command, bytes) { return outcome }
        }
        keys.touches = !session.noTouch
        do throws(CommandError) {
            if command.flags.contains(.stopsWorld) {
                try front.server.stopWorld { () throws(CommandError) in
                    try command.handler(call)
                    if front.isRecording { front.record(command, arguments, reply: output.view(from: mark)) }
                    if !front.readyKeys.isEmpty {
                        front.worker.runAlone { front.serveWaiters(session) }
                    }
                }
            } else {
                try command.handler(call)
            }
        } catch {
            output.truncate(to: mark)
            if let outcome = wait(front, session, command, error) {
                if case .done = outcome { account(front, session, output, command, arguments, mark) }
                keys.end()
                return outcome
            }
            command.failed += 1
            ErrorText.write(error, command: command.name, to: call.reply)
        }
        if front.isRecording, !command.flags.contains(.stopsWorld) {
            front.record(command, arguments, reply: output.view(from: mark))
        }
        if front.audience.isListening {
            front.publish(session, command, arguments)
            if !front.readyKeys.isEmpty { front.serveWaiters(session) }
        }
        keys.end()
        account(front, session, output, command, arguments, mark)
        return .done
    }

    /// What a handler that could not go on waits for; nil: it failed.
    private mutating func wait(
        _ front: Front, _ session: Session, _ command: Command, _ error: CommandError
    ) -> Outcome? {
        switch error {
        case .waitForWrites:
            front.worker.waitForWrites(session.token)
            return .wait(.memory)
        case .waitForMemory, .waitForSave: return .wait(.memory)
        case .block(let deadline):
            let isFirst = session.waiter == nil
            front.beginWait(session, command, front.call.arguments, until: deadline)
            if isFirst { front.publish(session, command, front.call.arguments) }
            return .done
        case .wrongType where session.waiter != nil && !command.flags.contains(.answersNull):
            // Tried again: a key of another type is not what it waits for.
            front.beginWait(session, command, front.call.arguments, until: 0)
            return .done
        default: return nil
        }
    }

    /// A demoted value that is to be modified needs its RAM too.
    private mutating func admitMore(
        _ front: Front, _ session: Session, _ command: Command, _ bytes: Int
    ) -> Outcome? {
        let admission = front.worker.admit(bytes, token: session.token, holding: true)
        if case .go = admission { return nil }
        front.keys.end()
        if case .wait = admission { return .wait(.memory) }
        command.rejected += 1
        reject(front, session, .outOfMemory)
        return .done
    }

    /// Counts the call, notes it if it was slow, and obeys CLIENT REPLY.
    @inline(__always)
    mutating func account(
        _ front: Front, _ session: Session, _ output: ReplyBuffer, _ command: Command,
        _ arguments: Arguments, _ mark: Int
    ) {
        let tick = csystem_ticks()
        let spent = tick &- lastTick
        lastTick = tick
        command.calls &+= 1
        command.ticks &+= spent
        if front.server.tracksLatency {
            command.measured(UInt64(Double(spent) * front.server.nanosecondsPerTick))
        }
        front.commandsProcessed &+= 1
        session.commandsRun &+= 1
        session.lastCommandAt = front.worker.now
        session.lastCommand = Unmanaged.passUnretained(command)
        if spent >= front.server.slowTicks {
            front.server.noteSlow(session, command, arguments, spent, front)
        }
        if output.count > mark, output.bytes[mark] == UInt8(ascii: "-") {
            front.countError(output.view(from: mark))
        }
        if session.replyMode != .on { session.obeyReplyMode(mark) }
    }

    private func admit(_ front: Front, _ session: Session, _ arguments: Arguments) -> Admission {
        front.worker.admit(requestBytes(arguments), token: session.token)
    }

    /// RAM a request that grows memory may take, as far as its words tell.
    func requestBytes(_ arguments: Arguments) -> Int {
        var bytes = 64
        for i in 1..<max(1, arguments.count) { bytes += arguments[i].count + 8 }
        return bytes
    }

    private func pause(_ front: Front, _ session: Session, _ command: Command) -> Session.Wait? {
        let isQueued = command.traits.contains(.exec) && session.modes.contains(.inTransaction)
        let flags = isQueued ? session.transaction!.flags : command.flags
        guard front.server.pauses(flags, now: front.worker.now) else { return nil }
        front.pausedSessions.append(session.token)
        return .pause
    }
}

extension ByteView {
    /// At most the first `n` bytes.
    func prefix(_ n: Int) -> ByteView { self[0..<Swift.min(n, count)] }
}

extension UnsafeMutableRawPointer {
    fileprivate subscript(offset: Int) -> UInt8 { load(fromByteOffset: offset, as: UInt8.self) }
}
