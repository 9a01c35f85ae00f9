import CSystem
import Primitives
import RESPWire
import Synchronization
import TieredStore

/// What all loops' fronts share. Read freely; changed only by commands that stop the world, but
/// for what says otherwise.
public final class ServerState: @unchecked Sendable {
    public let store: Store
    public let configuration: Configuration
    /// One a loop, in order.
    public private(set) var fronts: [Front] = []
    /// Unix milliseconds.
    public let startedAt: Int64
    /// 40 hexadecimal digits, new at each start.
    public let runID: String
    public let processID: Int32
    /// Runs `body` while every other loop stands still between two turns. Set by the server; with
    /// one loop, and in the simulator, there is nobody to stop.
    public var runAlone: (() -> Void) -> Void = { $0() }
    /// Called (world stopped) when CLIENT KILL, CLIENT PAUSE or CONFIG SET want loops to look around.
    public var wakeLoops: () -> Void = {}
    /// SHUTDOWN: ends the process. Whether everything is saved first; nil: if there are save points.
    public var requestShutdown: (Bool?) -> Void = { _ in }
    /// Resident set size in bytes, as the process is accounted by the kernel.
    public var residentSetSize: () -> Int = { 0 }
    /// A line for the log.
    public var log: (LogLevel, String) -> Void = { _, _ in }
    public private(set) var saver: Saver!
    /// The file everything is loaded from, while it is. The first loop's.
    public private(set) var load: (any DatasetLoad)?
    public private(set) var appendOnly: AppendOnlyFile!
    /// What everything began with. Set before loops run.
    public var recovery = RecoveryFacts()
    /// Ends the process: what was to be loaded cannot be.
    public var fail: (String) -> Void = { _ in }
    /// A script's log line and its level, 0 (debug) to 3 (warning).
    public var logScript: (Int, ByteView) -> Void = { _, _ in }
    let scripts = ScriptCache()
    let libraries = FunctionLibraries()
    public let busyness = Busyness()
    /// Clients connected now, accepted since start, and turned away.
    public var connectedClients: () -> Int = { 0 }
    public var receivedConnections: () -> Int = { 0 }
    public var rejectedConnections: () -> Int = { 0 }
    private let clientIDs = Atomic<Int64>(0)
    /// Ticks a microsecond of `csystem_ticks`.
    public let ticksPerMicrosecond: Double
    let nanosecondsPerTick: Double
    /// Commands that took at least this many ticks go to the slow log.
    public var slowTicks: UInt64 = .max
    /// Commands' durations are kept (latency-tracking).
    var tracksLatency = true
    public let slowlog = Slowlog()
    public let latency = LatencyMonitor()
    let audience = Audience()
    let interests: KeyInterests
    let pubsub: PubSub
    let broadcasts = BroadcastPrefixes()
    /// Keys in the tracking table, and clients beside them, each key's counted.
    let trackedKeys = SharedCount()
    let trackedItems = SharedCount()
    /// Unix milliseconds until which CLIENT PAUSE holds clients up; 0 when it does not.
    public var pauseEnd: Int64 = 0
    /// Only writes wait (CLIENT PAUSE … WRITE).
    public var pausesOnlyWrites = false

    public init(store: Store, configuration: Configuration, now: Int64, processID: Int32, seed: UInt64,
        ticksPerMicrosecond: Double, extraRows: () -> [Command] = { [] }) {
        self.store = store
        self.configuration = configuration
        self.processID = processID
        self.ticksPerMicrosecond = ticksPerMicrosecond
        interests = KeyInterests(stripes: store.options.stripes)
        pubsub = PubSub(loops: store.options.workers)
        nanosecondsPerTick = 1000 / ticksPerMicrosecond
        startedAt = now
        var random = Random(seed: seed)
        runID = String((0..<40).map { _ in "0123456789abcdef".randomElement(using: &random)! })
        saver = Saver(self, now: now)
        appendOnly = AppendOnlyFile(self)
        fronts = store.workers.map { Front(server: self, worker: $0, extraRows: extraRows()) }
        applySettings()
    }

    /// All sessions, oldest first. The caller has stopped the world.
    var sessions: [Session] {
        fronts.flatMap { $0.sessions.compactMap { $0 } }.sorted { $0.id < $1.id }
    }

    // MARK: Settings

    /// Puts live settings into force here; what the server has to do about them hangs on
    /// `configuration.onChange`. The world is stopped, or has not begun.
    func applySettings() {
        store.policy = configuration.maxmemoryPolicy
        store.encodingLimits = configuration.encodingLimits
        saver.applyRefusal()
        let slow = configuration.slowlogLogSlowerThan
        let spike = configuration.latencyMonitorThreshold
        let thresholds = [
            slow >= 0 ? Double(slow) : nil, spike > 0 ? Double(spike) * 1000 : nil,
        ].compactMap { $0 }
        slowTicks = thresholds.min().map {
            UInt64(exactly: ($0 * ticksPerMicrosecond).rounded(.up)) ?? .max
        } ?? .max
        tracksLatency = configuration.latencyTracking
        slowlog.trim(to: configuration.slowlogMaxLength)
        let events = configuration.notifications
        audience.add((events.isSent ? 1 : 0) - audience.count(.notifications), to: .notifications)
        for front in fronts {
            front.call.enabledEvents = events.isSent ? events : []
            front.worker.reportsNewKeys = events.isSent && events.contains(.new)
        }
        for session in sessions {
            session.parser.limits = configuration.requestLimits
            if configuration.requirepass.isEmpty { session.setAuthenticated(true) }
        }
    }

    // MARK: Loading

    /// Begins to load an RDB file, before loops run. Errors: it cannot be opened.
    public func beginLoading(_ path: String) throws(FileFailure) {
        load = try RDBLoad(self, path: path)
        busyness.setLoading(true)
    }

    /// Begins to load the append-only file, before loops run. Errors: it cannot be read.
    public func beginLoadingAppendOnly() throws(FileFailure) {
        guard let found = try appendOnly.find() else { return try beginAppending() }
        load = found
        busyness.setLoading(true)
    }

    /// Everything there is was loaded before loops run: from now on changes are recorded, if they are to be.
    /// Errors: a file cannot be opened.
    public func beginAppending() throws(FileFailure) {
        guard configuration.appendOnly else { return }
        try appendOnly.begin(at: nil)
        if appendOnly.state == .waiting { busyness.setLoading(true) }
    }

    /// Threads beside the loops read what there is. `progress`: bytes done with, and in all.
    public func beginReading(_ progress: @escaping () -> (done: Int, of: Int)) {
        readingProgress = progress
        busyness.setReading(true)
        busyness.setLoading(true)
    }
    private var readingProgress: (() -> (done: Int, of: Int))?

    /// They have ended, and files are loaded from now on, if there are. The world stands still.
    public func endReading() {
        guard readingProgress != nil else { return }
        readingProgress = nil
        busyness.setReading(false)
        if load == nil, appendOnly.state != .waiting { ready() }
    }

    /// What INFO tells of what is being loaded; `began` in Unix milliseconds.
    var loadFacts: (began: Int64, done: Int, of: Int)? {
        if let load { return (load.began, load.progress.done, load.progress.of) }
        guard let readingProgress else { return nil }
        let (done, all) = readingProgress()
        return (startedAt, min(done, all), all)
    }

    /// A file is being loaded: what there is is not yet in memory.
    public var isReading: Bool { load != nil }

    /// Loads a slice more, on the first loop. Returns whether there is more to do at once.
    public func loadSlice() -> Bool {
        guard let load else { return false }
        do throws(FileFailure) {
            guard try load.slice() else { return true }
            self.load = nil
            saver.loaded()
            lastLoad = load
            (load as? AOFLoad)?.end()
            try goOn(after: load)
        } catch {
            fail("Fatal error loading the DB: \(error). Exiting.")
        }
        return true
    }
    /// What was loaded at the start.
    private(set) var lastLoad: (any DatasetLoad)?

    /// Everything is loaded: from now on changes are recorded, if they are to be.
    private func goOn(after load: any DatasetLoad) throws(FileFailure) {
        var failure: FileFailure?
        standAlone {
            replayClock = 0
            for worker in store.workers { readClock(worker) }
            let found = load as? AOFLoad
            guard configuration.appendOnly else {
                if let found { appendOnly.leave(found.manifest) }
                return
            }
            do throws(FileFailure) { try appendOnly.begin(at: found?.place) } catch { failure = error }
        }
        if let failure { throw failure }
        // Without a base nothing may be acknowledged yet.
        if appendOnly.state != .waiting { ready() }
    }

    /// Everything is there, and can be served.
    func ready() {
        busyness.setLoading(false)
    }

    /// Unix milliseconds all loops take for the time while recorded commands are run again; 0: it is what
    /// it is. Set by the first loop.
    public var replayClock: Int64 {
        get { replayClockWord.load(ordering: .relaxed) }
        set { replayClockWord.store(newValue, ordering: .relaxed) }
    }
    private let replayClockWord = Atomic<Int64>(0)
    /// Sets a worker's time to what it is. Set by the server.
    public var readClock: (StoreWorker) -> Void = { _ in }

    /// Replaces everything by what a file has. The world stands still.
    func reload(_ path: String) throws(CommandError) {
        do throws(FileFailure) {
            let load = try RDBLoad(self, path: path)
            while try !load.slice() {
                for worker in store.workers {
                    _ = worker.background()
                    saver.directory!.carryOut(worker)
                }
            }
        } catch { throw .message("ERR Error trying to load the RDB dump: \(error)") }
        saver.loaded()
    }

    // MARK: Statistics

    /// What INFO's rates are measured from: the last time it was asked.
    struct RateMark {
        var at: Int64
        var commands: UInt64 = 0
        var inputBytes: UInt64 = 0
        var outputBytes: UInt64 = 0
    }
    var rateMark = RateMark(at: 0)
    /// Connections accepted and refused before CONFIG RESETSTAT.
    var receivedBefore = 0
    var rejectedBefore = 0
    var peakBytes = 0

    /// CONFIG RESETSTAT. The caller has stopped the world.
    func resetStatistics() {
        store.resetCounters()
        receivedBefore = receivedConnections()
        rejectedBefore = rejectedConnections()
        rateMark = RateMark(at: fronts[0].worker.now)
        for front in fronts { front.resetStatistics() }
    }

    /// Lets go of the fronts, which hold this: without it neither is ever freed.
    public func tearDown() {
        fronts = []
        store.tearDown()
    }

    func nextClientID() -> Int64 { clientIDs.add(1, ordering: .relaxed).newValue }

    /// Runs a handler while the world stands still.
    func stopWorld(_ body: () throws(CommandError) -> Void) throws(CommandError) {
        var failure: CommandError?
        standAlone {
            do throws(CommandError) { try body() } catch { failure = error }
        }
        if let failure { throw failure }
    }

    /// Runs `body` while the world stands still, as it may do already.
    public func standAlone(_ body: () -> Void) {
        if isAlone { return body() }
        runAlone {
            isAlone = true
            body()
            isAlone = false
        }
    }
    /// Written while all other loops stand still, so that none reads it meanwhile.
    public private(set) var isAlone = false

    // MARK: CLIENT PAUSE

    var isPaused: Bool { pauseEnd != 0 }

    /// Whether `command` has to wait for the pause to end.
    func pauses(_ flags: CommandFlags, now: Int64) -> Bool {
        if now >= pauseEnd { return false }
        if flags.contains(.ignoresPause) { return false }
        return pausesOnlyWrites ? !flags.isDisjoint(with: [.write, .mayReplicate]) : true
    }

    // MARK: Slow commands

    func noteSlow(
        _ session: Session, _ command: Command, _ arguments: Arguments, _ ticks: UInt64, _ front: Front
    ) {
        if command.flags.contains(.skipSlowlog) { return }
        let microseconds = Int64(Double(ticks) / ticksPerMicrosecond)
        slowlog.note(
            microseconds: microseconds, at: front.worker.now / 1000, arguments: arguments,
            secrets: secrets(command, arguments),
            client: session.peerAddress, name: session.name,
            threshold: configuration.slowlogLogSlowerThan, limit: configuration.slowlogMaxLength)
        latency.note(
            command.flags.contains(.fast) ? "fast-command" : "command", milliseconds: microseconds / 1000,
            at: front.worker.now / 1000, threshold: configuration.latencyMonitorThreshold)
    }

    /// Words that must not be kept or shown: passwords.
    func secrets(_ command: Command, _ arguments: Arguments) -> Set<Int> {
        if command.name == "auth" { return Set(1..<max(1, arguments.count)) }
        if command.name == "hello" {
            let words = (2..<max(2, arguments.count)).filter { arguments[$0].matches("auth") }
            return Set(words.flatMap { [$0 + 1, $0 + 2] })
        }
        guard command.name == "config|set" else { return [] }
        return Set(stride(from: 2, to: arguments.count - 1, by: 2).filter {
            SettingTable.find(arguments[$0].lowercasedText)?.isSensitive ?? false
        }.map { $0 + 1 })
    }
}

extension Front {
    /// Forgets what was counted, here and in the rows.
    fileprivate func resetStatistics() {
        commandsProcessed = 0
        inputBytes = 0
        outputBytes = 0
        errorCounts = [:]
        for row in table.rows {
            row.resetStatistics()
            for sub in row.subcommands { sub.resetStatistics() }
        }
    }
}

extension Command {
    fileprivate func resetStatistics() {
        calls = 0
        ticks = 0
        rejected = 0
        failed = 0
        latency = nil
    }
}
