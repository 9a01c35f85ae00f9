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
    /// SHUTDOWN: ends the process; returns only if it cannot.
    public var requestShutdown: () -> Void = {}
    /// Resident set size in bytes, as the process is accounted by the kernel.
    public var residentSetSize: () -> Int = { 0 }
    /// Clients connected now, accepted since start, and turned away.
    public var connectedClients: () -> Int = { 0 }
    public var receivedConnections: () -> Int = { 0 }
    public var rejectedConnections: () -> Int = { 0 }
    private let clientIDs = Atomic<Int64>(0)
    /// Ticks a microsecond of `csystem_ticks`.
    public let ticksPerMicrosecond: Double
    /// Commands that took at least this many ticks go to the slow log.
    public var slowTicks: UInt64 = .max
    public let slowlog = Slowlog()
    public let latency = LatencyMonitor()
    /// Unix milliseconds until which CLIENT PAUSE holds clients up; 0 when it does not.
    public var pauseEnd: Int64 = 0
    /// Only writes wait (CLIENT PAUSE … WRITE).
    public var pausesOnlyWrites = false

    public init(store: Store, configuration: Configuration, now: Int64, processID: Int32, seed: UInt64,
        ticksPerMicrosecond: Double) {
        self.store = store
        self.configuration = configuration
        self.processID = processID
        self.ticksPerMicrosecond = ticksPerMicrosecond
        startedAt = now
        var random = Random(seed: seed)
        runID = String((0..<40).map { _ in "0123456789abcdef".randomElement(using: &random)! })
        fronts = store.workers.map { Front(server: self, worker: $0) }
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
        runAlone {
            do throws(CommandError) { try body() } catch { failure = error }
        }
        if let failure { throw failure }
    }

    // MARK: CLIENT PAUSE

    var isPaused: Bool { pauseEnd != 0 }

    /// Whether `command` has to wait for the pause to end.
    func pauses(_ command: Command, now: Int64) -> Bool {
        if now >= pauseEnd { return false }
        if command.flags.contains(.ignoresPause) { return false }
        return pausesOnlyWrites
            ? !command.flags.isDisjoint(with: [.write, .mayReplicate]) : true
    }

    // MARK: Slow commands

    func noteSlow(
        _ session: Session, _ command: Command, _ arguments: Arguments, _ ticks: UInt64, _ front: Front
    ) {
        if command.flags.contains(.skipSlowlog) { return }
        let microseconds = Int64(Double(ticks) / ticksPerMicrosecond)
        slowlog.note(
            microseconds: microseconds, at: front.worker.now / 1000, arguments: arguments,
            client: session.peerAddress, name: session.name,
            threshold: configuration.slowlogLogSlowerThan, limit: configuration.slowlogMaxLength)
        latency.note(
            command.flags.contains(.fast) ? "fast-command" : "command", milliseconds: microseconds / 1000,
            at: front.worker.now / 1000, threshold: configuration.latencyMonitorThreshold)
    }
}
