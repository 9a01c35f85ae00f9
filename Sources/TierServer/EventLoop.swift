import CSystem
import Glibc
import IOUring
import Primitives
import RESPFront
import RESPWire
import TieredStore

/// One core's loop: its ring, its connections, its part of the front and of the store.
///
/// A turn: take completions → run sessions → background work of the store → hand disk requests and
/// replies to the ring → sleep until something happens. Everything a turn touches is its own but
/// for stripes (locked), the log's and the ledger's counters (atomic) and its mailbox.
final class EventLoop {
    /// What a completion is for; with the slot it finds its object.
    enum Kind: UInt8 {
        case accept = 1, receive, send, silentSend, disk, mail, cancel, signal, header
    }

    let index: Int
    let server: Server
    let front: Front
    let worker: StoreWorker
    let mailbox: Mailbox
    var ring: Ring
    var received: ProvidedBuffers
    var batch = CompletionBatch()
    var connections: [Connection?] = []
    var freeSlots: [UInt32] = []
    /// Connections with a silent send whose outcome this turn's completions tell.
    var silent: [Connection] = []
    /// Connections whose receive ended for lack of buffers.
    var starved: [Connection] = []
    /// What is gone through while `front.touched`, `silent` and `starved` take in new ones: exchanged
    /// with them, so that no turn allocates. Empty between turns.
    var touched: [UInt32] = []
    var settled: [Connection] = []
    var rearmed: [Connection] = []
    /// Connections whose replies wait until what they tell of is durable, oldest first.
    /// Commit that replies sent in this turn have to wait for; 0: none.
    var mark: UInt64 = 0
    var held = RingQueue<Connection>()
    var isStopping = false
    var nextCron: UInt64 = 0
    var cronCount = 0
    private var isWritingHeader = false
    /// Completions that came in the middle of a request, and that the next turn handles.
    var deferred = RingQueue<Completion>()
    /// The batch's completions from here on are not handled yet.
    var batchNext = 0
    var batchCount = 0
    // Of `serveWhileBusy`: it runs; connections with completions that are kept; those to answer.
    var isServing = false
    var blocked: Set<UInt32> = []
    var toAnswer: [UInt32] = []
    var looksAroundLater = false
    private var lastPass: UInt64 = 0
    /// Ticks between two passes of `serveWhileBusy` while the loop waits: half a millisecond.
    private let passInterval: UInt64

    static let tierFile = FileSlot(0)
    static let receiveGroup = BufferGroup(1)

    /// Must be called on the thread that runs the loop: the ring belongs to it.
    init(index: Int, server: Server, mailbox: Mailbox) throws(RingError) {
        self.index = index
        self.server = server
        self.mailbox = mailbox
        passInterval = UInt64(server.state.ticksPerMicrosecond * 500)
        front = server.state.fronts[index]
        worker = front.worker
        ring = try Ring(entries: 1024)
        received = try ProvidedBuffers(ring, group: EventLoop.receiveGroup, count: 128, size: 16 << 10)
        try ring.registerFiles(slots: UInt32(DataFiles.slots))
        try ring.setFile(EventLoop.tierFile, to: server.tierFile.descriptor)
        try ring.registerMemory(worker.bufferMemory)
        front.finishReads = { [unowned self] in finishReads() }
        front.serveWhileBusy = { [unowned self] in
            if self.server.state.isAlone {
                self.server.world.serveStanding()
            } else {
                serveWhileBusy()
            }
        }
        server.reading.gate.alone { worker.onLongWait = { [unowned self] in waitedLong() } }
        server.world.take(place: index) { [unowned self] in waitedLong() }
    }

    /// The loop waits for another one: its clients are looked after if that may take long.
    private func waitedLong() {
        guard server.state.busyness.hasSlowScript else { return }
        let now = csystem_ticks()
        guard now &- lastPass > passInterval else { return }
        serveWhileBusy()
        lastPass = csystem_ticks()
    }

    static func token(_ kind: Kind, _ slot: UInt32 = 0) -> CompletionToken {
        CompletionToken(kind: kind.rawValue, generation: 0, slot: slot)
    }

    // MARK: The loop

    /// Serves until it is told to stop. Its disk requests have ended when it returns; until then it
    /// stands still like any other when a loop wants to run alone.
    func run() {
        defer { server.world.leave() }
        ring.pollRepeatedly(mailbox.event, EventLoop.token(.mail))
        if index == 0 { server.armListeners(self) }
        while !isStopping {
            do throws(RingError) {
                try turn()
            } catch {
                server.log.write(.warning, "the ring failed: \(error)")
                server.stop()
                return
            }
        }
        if !server.isReading { drain() }
    }

    /// Waits, a few seconds at most, for the disk to finish what it was asked.
    private func drain() {
        setTime()
        worker.closeLog()
        let deadline = csystem_monotonic_ns() + 5_000_000_000
        while worker.requestsInFlight > 0 || isWritingHeader, csystem_monotonic_ns() < deadline {
            handOverDiskRequests()
            guard (try? ring.submitAndWait(minimum: 1, timeoutNanoseconds: 100_000_000)) != nil
            else { return }
            let count = ring.reap(into: &batch)
            for i in 0..<count {
                let kind = Kind(rawValue: batch[i].token.kind)
                if kind == .disk || kind == .header { handle(batch[i]) }
            }
            server.world.yield(index)
        }
    }

    private func turn() throws(RingError) {
        // Threads that read what there is have the worker to themselves: clients are told so.
        let isReading = server.isReading
        // What the kernel has not taken yet has not been sent. Asked before completions, since
        // handling them prepares more.
        let allWasTaken = ring.preparedEntries == 0
        setTime()
        takeCompletions()
        if allWasTaken { settleSilentSends() }
        if !isReading { front.resume() }
        if worker.instant >= nextCron { cron() }
        let hasMore = !isReading && workInBackground()
        front.endTurn()
        if !isReading { try carryOut() }
        sendReplies()
        rearm()
        if isReading, index == 0 { server.endReading() }
        server.world.yield(index)
        let isBusy = hasMore || !isReading && (worker.hasRunnable || front.hasWork) || !front.touched.isEmpty
        if isBusy || isStopping {
            try ring.flush()
        } else {
            try ring.submitAndWait(minimum: 1, timeoutNanoseconds: sleep)
        }
    }

    /// The store's slice of a turn; whether there is more to do.
    private func workInBackground() -> Bool {
        let isLoading = index == 0 && server.state.loadSlice()
        return worker.background() || isLoading
    }

    /// Has the disk begin what the store wants of it, and lets go of replies that waited for it.
    ///
    /// Submitted at once: within one submit the kernel holds reads back until it has sent all replies.
    private func carryOut() throws(RingError) {
        if index == 0 { server.state.appendOnly.pump() }
        if handOverDiskRequests() { try ring.submit() }
        releaseReplies()
    }

    /// Nanoseconds until the loop has something to do by itself: its cron, or a client's timeout.
    private var sleep: UInt64 {
        var wait = nextCron > worker.instant ? nextCron - worker.instant : 1
        if let deadline = front.nextDeadline {
            wait = min(wait, UInt64(max(1, (deadline - worker.now) * 1_000_000)))
        }
        return wait
    }

    func setTime() { EventLoop.setTime(worker, server.state.replayClock) }

    /// `replayed`: the time recorded commands saw, while they are run again; else 0.
    static func setTime(_ worker: StoreWorker, _ replayed: Int64) {
        worker.setTime(
            milliseconds: replayed == 0 ? Int64(csystem_realtime_us() / 1000) : replayed,
            nanoseconds: csystem_monotonic_ns())
    }

    /// Hands over what the store wants read and waits until a disk request has ended, while everything
    /// else on this loop waits: for a script that met a cold key it had not declared.
    private func finishReads() -> Bool {
        handOverDiskRequests()
        // Some have come with the request that is running, or while the loop looked after its sockets.
        deferRestOfBatch()
        var kept = RingQueue<Completion>(), hasEnded = false
        while let completion = deferred.popFirst() {
            if mayEnd(completion) {
                handle(completion)
                hasEnded = true
            } else {
                kept.append(completion)
            }
        }
        deferred = kept
        if hasEnded { return true }
        guard (try? ring.submitAndWait(minimum: 1, timeoutNanoseconds: 100_000_000)) != nil
        else { return false }
        var more = CompletionBatch()
        let count = ring.reap(into: &more)
        for i in 0..<count {
            if mayEnd(more[i]) { handle(more[i]) } else { deferred.append(more[i]) }
        }
        return true
    }

    /// A disk request that may end while stripes are held: records that arrive in the log lock those of
    /// their keys, and are kept for the next turn.
    private func mayEnd(_ completion: Completion) -> Bool {
        completion.token.kind == Kind.disk.rawValue && !worker.completionLocks(completion.token.slot)
    }

    private func takeCompletions() {
        takeDeferred()
        while true {
            let count = ring.reap(into: &batch)
            batchNext = 0
            batchCount = count
            while batchNext < batchCount {
                let completion = batch[batchNext]
                batchNext += 1
                handle(completion)
            }
            if count < CompletionBatch.capacity { return takeDeferred() }
            takeDeferred()
        }
    }

    /// Keeps the completions that came with the one being handled, in their order.
    func deferRestOfBatch() {
        while batchNext < batchCount {
            deferred.append(batch[batchNext])
            batchNext += 1
        }
    }

    private func takeDeferred() {
        while let completion = deferred.popFirst() { handle(completion) }
        if looksAroundLater {
            looksAroundLater = false
            lookAround()
        }
    }

    @inline(__always)
    func handle(_ completion: Completion) {
        let slot = completion.token.slot
        switch Kind(rawValue: completion.token.kind) {
        case .receive: received(slot, completion)
        case .disk: worker.complete(slot, result: Int(completion.result))
        case .send: sent(slot, completion)
        case .silentSend: connections[Int(slot)]?.silentResult = completion.result
        case .accept: accepted(slot, completion)
        case .mail: readMail(rearm: !completion.hasMore)
        case .signal: server.takeSignals(self, rearm: !completion.hasMore)
        case .header: isWritingHeader = false
        case .cancel, nil: break
        }
    }

    /// Whether there were any.
    @discardableResult
    private func handOverDiskRequests() -> Bool {
        var hasAny = false
        while let request = worker.takeRequest() {
            hasAny = true
            let token = EventLoop.token(.disk, request.token)
            let offset = UInt64(request.offset), length = UInt32(request.length)
            let file = FileSlot(UInt32(request.file.number))
            if request.file != .tier { server.files.register(request.file, &ring) }
            switch request.kind {
            case .read where request.isRegistered:
                ring.readFixed(
                    file, into: request.memory!, buffer: BufferIndex(0), length: length,
                    at: offset, token)
            case .read:
                ring.read(file, into: request.memory!, length: length, at: offset, token)
            case .write where request.isRegistered:
                ring.writeFixed(
                    file, from: request.memory!, buffer: BufferIndex(0), length: length,
                    at: offset, token)
            case .write:
                ring.write(file, from: request.memory!, length: length, at: offset, token)
            case .durableWrite:
                ring.write(
                    file, from: request.memory!, length: length, at: offset, durably: true, token)
            case .allocate:
                ring.allocate(file, at: offset, length: UInt64(length), token)
            case .sync: ring.dataSync(file, token)
            }
        }
        return hasAny
    }

    /// Brings the segment table in the file up to date, for tierctl beside a running server.
    func writeTierHeader() {
        if isWritingHeader { return }
        isWritingHeader = true
        ring.write(
            EventLoop.tierFile, from: server.tierFile.header(of: server.state.store),
            length: UInt32(server.tierFile.headerCount), at: 0, EventLoop.token(.header))
    }

    // MARK: Mail and time

    private func readMail(rearm: Bool) {
        for message in mailbox.take() {
            switch message {
            case .adopt(let descriptor, let isUnix): adopt(descriptor, isUnix: isUnix)
            case .lookAround: lookAround()
            case .stop: isStopping = true
            }
        }
        front.readMail()
        if rearm { ring.pollRepeatedly(mailbox.event, EventLoop.token(.mail)) }
    }

    /// Sessions were killed, or a pause began or ended, on another loop.
    func lookAround() {
        if !front.isPaused { front.unpause() }
        for case let connection? in connections where connection.session.isKilled {
            close(connection)
        }
    }

    /// `hz` times a second.
    private func cron() {
        let hz = max(1, server.configuration.hz)
        nextCron = worker.instant + UInt64(1_000_000_000 / hz)
        cronCount &+= 1
        if !server.isReading { worker.expire(buckets: 20000) }
        if front.pauseHasEnded { lookAround() }
        front.countClientBytes()
        if cronCount % hz == 0 {
            closeIdleConnections()
            closeSlowReaders()
        }
        if index == 0 {
            server.files.forgetClosed(&ring)
            server.cron(self)
        }
    }

    /// client-output-buffer-limit, soft part: over the limit for too long.
    private func closeSlowReaders() {
        for case let connection? in connections where !connection.isClosing {
            let limit = outputLimit(connection)
            if isWithinSoftLimit(connection) {
                connection.overLimitSince = nil
            } else if let since = connection.overLimitSince {
                if worker.now - since >= limit.softSeconds * 1000 { closeSlowReader(connection) }
            } else {
                connection.overLimitSince = worker.now
            }
        }
    }

    func outputLimit(_ connection: Connection) -> Configuration.OutputLimits.Limit {
        let limits = server.configuration.outputLimits
        return connection.session.isSubscriber ? limits.pubsub : limits.normal
    }

    func isWithinSoftLimit(_ connection: Connection) -> Bool {
        let bytes = outputLimit(connection).softBytes
        return bytes == 0 || connection.waitingBytes <= Int(bytes)
    }

    private func closeIdleConnections() {
        let limit = Int64(server.configuration.timeout) * 1000
        guard limit > 0 else { return }
        for case let connection? in connections where !connection.isClosing {
            if connection.session.mayBeIdle { continue }
            if worker.now - connection.session.lastActivity > limit { close(connection) }
        }
    }
}
