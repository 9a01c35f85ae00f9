import Synchronization
import TieredStore

/// Whether a loop runs a script, seen from the others: SCRIPT KILL, FUNCTION KILL, FUNCTION STATS.
final class ScriptPhase: Sendable {
    enum Phase: UInt8 {
        case idle, running
        /// It has written: it cannot be ended without leaving half of its work.
        case written
        case toBeEnded
    }

    /// A script that has run for a while.
    struct Running: Sendable {
        var name: String
        var command: [[UInt8]]
        /// Monotonic ticks.
        var since: UInt64
    }

    private let value = Atomic<UInt8>(0)
    private let functionWord = Atomic<Bool>(false)
    private let ticket = Atomic<UInt64>(0)
    private let long = Mutex<Running?>(nil)

    var phase: Phase { Phase(rawValue: value.load(ordering: .acquiring))! }
    /// The ticket of a script that has written and waits for a stripe another loop holds; 0: none does.
    var waitsSince: UInt64 {
        get { ticket.load(ordering: .acquiring) }
        set { ticket.store(newValue, ordering: .releasing) }
    }
    /// What runs is a function of a library.
    var isFunction: Bool { functionWord.load(ordering: .relaxed) }
    /// Nil until it has run for a while.
    var running: Running? {
        get { long.withLock { $0 } }
        set { long.withLock { $0 = newValue } }
    }

    func begin(isFunction: Bool) {
        functionWord.store(isFunction, ordering: .relaxed)
        value.store(Phase.running.rawValue, ordering: .releasing)
    }

    func finish() { value.store(Phase.idle.rawValue, ordering: .releasing) }

    /// The script writes; false when it is to end instead.
    func write() -> Bool {
        let before = value.compareExchange(
            expected: Phase.running.rawValue, desired: Phase.written.rawValue,
            ordering: .acquiringAndReleasing).original
        return before != Phase.toBeEnded.rawValue
    }

    /// Asks a script that has not written to end; whether there was one.
    func end() -> Bool {
        value.compareExchange(
            expected: Phase.running.rawValue, desired: Phase.toBeEnded.rawValue,
            ordering: .acquiringAndReleasing).exchanged
    }
}

/// What keeps most commands from running: scripts that have run for longer than busy-reply-threshold, on all
/// loops, and loading.
public final class Busyness: Sendable {
    /// Slow scripts and functions that run, and functions alone.
    private let scripts = Atomic<Int>(0)
    private let functions = Atomic<Int>(0)
    /// The scripts, and one more while everything is loaded: the one look that every request takes.
    private let running = Atomic<Int>(0)
    private let tickets = Atomic<UInt64>(0)
    private let loading = Atomic<Bool>(false)
    private let reading = Atomic<Bool>(false)
    /// What keeps writes from running; who is first is told.
    enum Obstacle: Int { case snapshot, appendOnly }
    /// Why nothing may be written, by obstacle; nil while it may.
    private let obstacles = Mutex<[String?]>([nil, nil])
    private let refusesWrites = Atomic<Bool>(false)
    /// The process is to end, whatever runs.
    private let ending = Atomic<Bool>(false)

    /// A slow script runs, or everything is being loaded.
    @inline(__always)
    public var isBusy: Bool { running.load(ordering: .relaxed) != 0 }
    public var hasSlowScript: Bool { scripts.load(ordering: .relaxed) != 0 }
    /// Everything is being loaded.
    public var isLoading: Bool { loading.load(ordering: .relaxed) }

    /// Other threads have the keyspace: no key may be looked at.
    var isReading: Bool { reading.load(ordering: .relaxed) }

    func setReading(_ isReading: Bool) { reading.store(isReading, ordering: .relaxed) }

    func setLoading(_ isLoading: Bool) {
        guard loading.exchange(isLoading, ordering: .relaxed) != isLoading else { return }
        running.add(isLoading ? 1 : -1, ordering: .acquiringAndReleasing)
    }

    /// Writes are refused: what they change could not be kept.
    public var isUnwritable: Bool { refusesWrites.load(ordering: .relaxed) }

    func setUnwritable(_ why: String?, by obstacle: Obstacle) {
        obstacles.withLock {
            $0[obstacle.rawValue] = why
            let refuses = $0 != [nil, nil]
            guard refusesWrites.exchange(refuses, ordering: .relaxed) != refuses else { return }
            running.add(refuses ? 1 : -1, ordering: .acquiringAndReleasing)
        }
    }

    var isEnding: Bool { ending.load(ordering: .relaxed) }
    func nextTicket() -> UInt64 { tickets.add(1, ordering: .relaxed).newValue }
    public func end() { ending.store(true, ordering: .relaxed) }

    func add(_ n: Int, isFunction: Bool) {
        if isFunction { functions.add(n, ordering: .acquiringAndReleasing) }
        scripts.add(n, ordering: .acquiringAndReleasing)
        running.add(n, ordering: .acquiringAndReleasing)
    }

    /// What a client is told that wants to run a command now; nil: it may.
    /// `writes`: of a transaction, that a command of it does.
    func refusal(of command: Command, writes: Bool = false) -> CommandError? {
        if isLoading {
            if command.flags.contains(.loading), !isReading || !command.hasKeys { return nil }
            return Busyness.loading
        }
        if isUnwritable, command.flags.contains(.write) || command.name == "ping" || writes,
            let why = obstacles.withLock({ $0.lazy.compactMap { $0 }.first }) { return .message(why) }
        if !hasSlowScript { return nil }
        return command.flags.contains(.allowBusy) ? nil : .message(refusal)
    }

    static let loading = CommandError.message("LOADING Redis is loading the dataset in memory")

    /// What clients are told meanwhile (Redis 7.0).
    var refusal: String { Busyness.refusal(isFunction: functions.load(ordering: .relaxed) != 0) }

    static func refusal(isFunction: Bool) -> String {
        """
        BUSY Redis is busy running a script. You can only call \(isFunction ? "FUNCTION" : "SCRIPT") KILL or \
        SHUTDOWN NOSAVE.
        """
    }
}
