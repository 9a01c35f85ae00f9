import CSystem
import Glibc
import IOUring
import Primitives
import RESPFront
import Synchronization
import TieredStore

/// The process: settings, store, tier file, listeners and one event loop a core.
public final class Server: @unchecked Sendable {
    struct Listener {
        let descriptor: Int32
        let isUnix: Bool
    }

    /// Why the server does not start; one line for a person.
    public struct StartError: Error, CustomStringConvertible {
        public let description: String
    }

    public let configuration: Configuration
    public let state: ServerState
    let tierFile: TierFile
    let recovery: Recovery
    private let source: Recovery.Source
    let files: DataFiles
    let log: ServerLog
    let world: World
    let mailboxes: [Mailbox]
    let memory: MemoryBudget
    let reading = Reading()
    /// Why the server does not start, found while loops ran already.
    var startFailure: StartError?
    private(set) var listeners: [Listener] = []
    private let signals: Int32
    private let connected = Atomic<Int>(0)
    private let rejected = Atomic<Int>(0)
    private let received = Atomic<Int>(0)
    private var roundRobin = 0
    /// Listeners whose accepting ended with an error. Touched by the first loop only.
    private var endedListeners: [Int] = []
    private var acceptWarningAt: Int64?
    private var threads: [pthread_t] = []
    private var isShuttingDown = false
    /// What SHUTDOWN said of saving; nil: as the save points say.
    private var savesAtEnd: Bool?

    /// Opens everything the server needs; nothing is served before `run`.
    public init(_ configuration: Configuration) throws(StartError) {
        self.configuration = configuration
        log = ServerLog(path: configuration.logfile, level: configuration.loglevel)
        do throws(SystemError) {
            signals = try Descriptors.signals([SIGTERM, SIGINT])
        } catch { throw StartError(description: error.description) }
        signal(SIGPIPE, SIG_IGN)
        // A limit on the size of files is an error of a write (EFBIG).
        signal(SIGXFSZ, SIG_IGN)
        if chdir(configuration.dir) != 0 {
            throw StartError(
                description: "dir \(configuration.dir): \(SystemError.text(of: errno))")
        }
        Server.raiseDescriptorLimit(configuration.maxclients)
        let diskBytes: Int
        do throws(TierFile.Refusal) { diskBytes = try TierFile.room(path: configuration.tierPath) } catch {
            throw StartError(description: error.description)
        }
        do throws(TierFile.Refusal) { tierFile = try TierFile(path: configuration.tierPath) } catch {
            throw StartError(description: error.description)
        }
        recovery = Recovery(configuration: configuration, tier: tierFile, log: log)
        source = try recovery.source()
        let kept = source.keepsTierFile ? tierFile.previous : nil, segmentsKept = tierFile.segmentsKept
        var options = StoreOptions(
            configuration, cores: Int(csystem_available_cores()), machineBytes: MemoryBudget.machineBytes,
            diskBytes: diskBytes, tier: kept.map { ($0, segmentsKept) })
        options.tierGeneration = (tierFile.previous?.generation ?? 0) + 1
        guard let store = Store(options) else {
            throw StartError(description: """
                cannot reserve \(options.reservedAddresses >> 30) GiB of addresses: \
                check ulimit -v and vm.overcommit_memory
                """)
        }
        do throws(TierFile.Refusal) {
            try tierFile.begin(store.log, hashSeed: options.hashSeed)
            if kept == nil { try tierFile.writeHeader(of: store) }
        } catch { throw StartError(description: error.description) }
        files = DataFiles(tier: tierFile.descriptor)
        store.policy = configuration.maxmemoryPolicy
        store.encodingLimits = configuration.encodingLimits
        state = ServerState(
            store: store, configuration: configuration, now: Int64(csystem_realtime_us() / 1000),
            processID: getpid(), seed: options.hashSeed &+ 1, ticksPerMicrosecond: Server.tickRate())
        world = World(loops: options.workers)
        do throws(SystemError) {
            var boxes: [Mailbox] = []
            for _ in 0..<options.workers { boxes.append(try Mailbox()) }
            mailboxes = boxes
        } catch { throw StartError(description: error.description) }
        memory = MemoryBudget(configuration: configuration, store: store)
        do throws(SystemError) { try listen() } catch {
            throw StartError(description: error.description)
        }
        connectState()
    }

    private func connectState() {
        let gate = reading.gate
        state.runAlone = { body in gate.alone(body) }
        state.saver.directory = files
        state.readClock = { [unowned state] in EventLoop.setTime($0, state.replayClock) }
        state.fail = { [log] text in
            log.write(.warning, text)
            exit(1)
        }
        state.log = { [log] level, text in log.write(level, text) }
        state.logScript = { [log] level, text in
            let levels: [LogLevel] = [.debug, .verbose, .notice, .warning]
            log.write(levels[level], text.text)
        }
        state.residentSetSize = { [memory] in memory.residentSetSize() }
        state.wakeLoops = { [mailboxes] in for box in mailboxes { box.post(.lookAround) } }
        state.requestShutdown = { [unowned self] saves in
            savesAtEnd = saves
            stop()
        }
        state.connectedClients = { [unowned self] in connected.load(ordering: .relaxed) }
        state.receivedConnections = { [unowned self] in received.load(ordering: .relaxed) }
        state.rejectedConnections = { [unowned self] in rejected.load(ordering: .relaxed) }
        for (front, box) in zip(state.fronts, mailboxes) {
            front.wake = { Descriptors.raise(box.event) }
        }
        configuration.onChange = { [unowned self] name in settingChanged(name) }
        if state.fronts.count > 1 {
            state.runAlone = { [unowned self] body in
                world.runAlone(
                    wake: { for box in self.mailboxes { Descriptors.raise(box.event) } },
                    isBusy: { self.state.busyness.hasSlowScript }, { gate.alone(body) })
            }
        }
    }

    /// CONFIG SET changed a setting; the world stands still.
    private func settingChanged(_ name: String) {
        switch name {
        case "loglevel": log.level = configuration.loglevel
        case "maxclients": Server.raiseDescriptorLimit(configuration.maxclients)
        case "maxmemory": memory.adjust(clientBytes: clientBytes)
        default: break
        }
    }

    private var clientBytes: Int { state.fronts.reduce(0) { $0 + $1.clientBytes } }

    // MARK: Listening

    private func listen() throws(SystemError) {
        if configuration.port != 0 {
            for host in configuration.bind {
                let isOptional = host.hasPrefix("-")
                let name = isOptional ? String(host.dropFirst()) : host
                do throws(SystemError) {
                    let socket = try Descriptors.listen(
                        host: name, port: UInt16(configuration.port),
                        backlog: Int32(configuration.tcpBacklog))
                    listeners.append(Listener(descriptor: socket, isUnix: false))
                } catch {
                    if !isOptional || error.code == EADDRINUSE { throw error }
                }
            }
        }
        if !configuration.unixsocket.isEmpty {
            let permissions = configuration.unixsocketperm == 0 ? 0o755 : configuration.unixsocketperm
            let socket = try Descriptors.listen(path: configuration.unixsocket, permissions: permissions)
            listeners.append(Listener(descriptor: socket, isUnix: true))
        }
        if listeners.isEmpty { throw SystemError(EINVAL, "listen anywhere: port is 0, no unixsocket") }
    }

    func armListeners(_ loop: EventLoop) {
        for i in listeners.indices { armListener(loop, i) }
        loop.ring.pollRepeatedly(signals, EventLoop.token(.signal))
    }

    func armListener(_ loop: EventLoop, _ i: Int) {
        loop.ring.accept(listeners[i].descriptor, EventLoop.token(.accept, UInt32(i)))
    }

    /// A listener ended with an error: the first loop's cron arms it again. Said once a minute at most.
    func acceptFailed(_ loop: EventLoop, _ i: Int, _ failure: Int32) {
        endedListeners.append(i)
        if let last = acceptWarningAt, loop.worker.now - last < 60_000 { return }
        acceptWarningAt = loop.worker.now
        log.write(.warning, """
            accepting connections failed: \(SystemError.text(of: failure)); tried again \
            \(max(1, configuration.hz)) times a second. Too many open files: raise ulimit -n
            """)
    }

    /// Loop that adopts the next connection. Called by the first loop only.
    func nextLoop() -> Int {
        roundRobin = roundRobin + 1 == mailboxes.count ? 0 : roundRobin + 1
        return roundRobin
    }

    /// A line for a connection that may not be served, or nil.
    func refusal(of descriptor: Int32, isUnix: Bool) -> String? {
        received.add(1, ordering: .relaxed)
        if connected.add(1, ordering: .relaxed).newValue > configuration.maxclients {
            rejected.add(1, ordering: .relaxed)
            return "-ERR max number of clients reached\r\n"
        }
        if configuration.protectedMode, configuration.requirepass.isEmpty, !isUnix,
            !SocketName.isLoopback(descriptor) {
            rejected.add(1, ordering: .relaxed)
            return """
                -DENIED tierd is running in protected mode: protected-mode is on and no password is \
                set, so only clients on this machine are served. Set requirepass, or turn \
                protected-mode off if the network is trusted.\r\n
                """
        }
        return nil
    }

    func connectionEnded() { connected.subtract(1, ordering: .relaxed) }

    // MARK: Running

    /// Serves until SIGTERM, SIGINT or SHUTDOWN. The calling thread becomes the first loop.
    public func run() throws(StartError) {
        let first = try makeLoop(0)
        memory.baseline()
        first.setTime()
        try beginReading(source)
        for index in 1..<max(1, mailboxes.count) { startThread(index) }
        logStart()
        first.run()
        for thread in threads { pthread_join(thread, nil) }
        if let startFailure { throw startFailure }
        if isReading { leaveUnread() }
        let isSaved = saveAtEnd()
        tierFile.unlock()
        if !configuration.unixsocket.isEmpty { unlink(configuration.unixsocket) }
        log.write(.warning, "tierd is now ready to exit, bye bye...")
        if !isSaved { exit(1) }
    }

    /// Saves what is to be saved when all loops have ended; false if that failed.
    private func saveAtEnd() -> Bool {
        let isLoading = state.isReading, drops = isLoading || savesAtEnd == false
        let isFlushed = state.appendOnly.end()
        // One that runs is abandoned.
        _ = state.saver.end(saving: false)
        var isSaved = leaveTierFile(dropping: drops)
        // The checkpoint is its base, whatever became of the rest.
        let isKept = isFlushed || isSaved && !drops
        let saves = savesAtEnd ?? !configuration.savePoints.isEmpty
        if saves, !isLoading { isSaved = state.saver.end(saving: true) && isSaved }
        return isSaved && isKept
    }

    private func makeLoop(_ index: Int) throws(StartError) -> EventLoop {
        do throws(RingError) {
            return try EventLoop(index: index, server: self, mailbox: mailboxes[index])
        } catch { throw StartError(description: error.description) }
    }

    private func startThread(_ index: Int) {
        let start = Unmanaged.passRetained(ThreadStart(server: self, index: index))
        var thread = pthread_t()
        let status = pthread_create(&thread, nil, { pointer in
            let start = Unmanaged<ThreadStart>.fromOpaque(pointer!).takeRetainedValue()
            do throws(StartError) { try start.server.makeLoop(start.index).run() } catch {
                start.server.log.write(.warning, error.description)
                exit(1)
            }
            return nil
        }, start.toOpaque())
        precondition(status == 0, "cannot start a thread")
        threads.append(thread)
    }

    private final class ThreadStart {
        let server: Server
        let index: Int
        init(server: Server, index: Int) {
            self.server = server
            self.index = index
        }
    }

    /// Ends every loop after its turn.
    func stop() {
        state.busyness.end()
        for box in mailboxes { box.post(.stop) }
    }

    func takeSignals(_ loop: EventLoop, rearm: Bool) {
        while let number = try? Descriptors.nextSignal(signals) {
            let name = number == SIGINT ? "SIGINT" : "SIGTERM"
            if isShuttingDown { exit(1) }
            isShuttingDown = true
            log.write(.warning, "Received \(name) scheduling shutdown...")
            stop()
        }
        if rearm { loop.ring.pollRepeatedly(signals, EventLoop.token(.signal)) }
    }

    /// The first loop's periodic work for the whole process.
    func cron(_ loop: EventLoop) {
        for i in endedListeners { armListener(loop, i) }
        endedListeners.removeAll()
        if isReading { return }
        memory.adjust(clientBytes: clientBytes)
        state.saver.cron()
        state.appendOnly.cron()
        if loop.cronCount % (5 * max(1, configuration.hz)) == 0 { loop.writeTierHeader() }
        let error = loop.worker.lastWriteError
        if error != lastReportedError {
            lastReportedError = error
            if error != 0 {
                log.write(.warning, "tier file: a write failed: \(SystemError.text(of: Int32(error)))")
            }
        }
    }
    private var lastReportedError = 0

    // MARK: Start-up facts

    private func logStart() {
        let options = state.store.options
        log.write(.notice, """
            tierd started: \(options.workers) event loop\(options.workers == 1 ? "" : "s"), \
            RAM \(MemoryBudget.processLimit(configuration) >> 20) MiB, tier file \
            \(tierFile.path) of up to \(state.store.log.capacityBytes >> 20) MiB
            """)
        let segments = state.store.log.usableCount
        if source.keepsTierFile, configuration.tierSegmentBytes != 0,
            configuration.tierSegmentBytes != options.segmentSize {
            log.write(.warning, """
                tier-segment-bytes is not what the tier file has: its segments of \
                \(options.segmentSize >> 10) KiB stay
                """)
        }
        if configuration.tierMaxBytes / options.segmentSize > segments {
            log.write(.warning, """
                tier-max-bytes is more than a tier file can be: it grows to \(segments) segments of \
                \(options.segmentSize >> 10) KiB at most
                """)
        }
        log.write(.notice, "Ready to accept connections")
    }

    /// Ticks a microsecond of the cycle counter, measured over a millisecond.
    private static func tickRate() -> Double {
        let tick = csystem_ticks(), start = csystem_monotonic_ns()
        while csystem_monotonic_ns() - start < 1_000_000 {}
        return Double(csystem_ticks() - tick) * 1000 / Double(csystem_monotonic_ns() - start)
    }

    private static func raiseDescriptorLimit(_ clients: Int) {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
        let wanted = rlim_t(clients + 64)
        if limit.rlim_cur >= wanted { return }
        limit.rlim_cur = min(wanted, limit.rlim_max)
        _ = setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }
}
