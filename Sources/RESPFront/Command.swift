import Primitives
import RESPWire
import TieredStore

/// What a command may do; names as in COMMAND INFO (Redis 7.0), and two of our own.
public struct CommandFlags: OptionSet, Sendable {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }
    public static let write = CommandFlags(rawValue: 1 << 0)
    public static let readonly = CommandFlags(rawValue: 1 << 1)
    /// Takes RAM: waits while there is none, refused when there never will be (`denyoom`).
    public static let growsMemory = CommandFlags(rawValue: 1 << 2)
    public static let admin = CommandFlags(rawValue: 1 << 3)
    public static let pubsub = CommandFlags(rawValue: 1 << 4)
    public static let noScript = CommandFlags(rawValue: 1 << 5)
    public static let blocking = CommandFlags(rawValue: 1 << 6)
    public static let loading = CommandFlags(rawValue: 1 << 7)
    public static let stale = CommandFlags(rawValue: 1 << 8)
    public static let skipMonitor = CommandFlags(rawValue: 1 << 9)
    public static let skipSlowlog = CommandFlags(rawValue: 1 << 10)
    public static let fast = CommandFlags(rawValue: 1 << 11)
    /// May be called before AUTH.
    public static let noAuth = CommandFlags(rawValue: 1 << 12)
    /// Counts as a write for CLIENT PAUSE WRITE and MONITOR clients; not shown by COMMAND.
    public static let mayReplicate = CommandFlags(rawValue: 1 << 13)
    public static let sentinel = CommandFlags(rawValue: 1 << 14)
    public static let noMulti = CommandFlags(rawValue: 1 << 15)
    public static let movableKeys = CommandFlags(rawValue: 1 << 16)
    public static let allowBusy = CommandFlags(rawValue: 1 << 17)
    public static let noAsyncLoading = CommandFlags(rawValue: 1 << 18)
    public static let asking = CommandFlags(rawValue: 1 << 20)
    /// Takes a number of keys that may be 0 (EVAL).
    public static let noMandatoryKeys = CommandFlags(rawValue: 1 << 19)
    /// Moves from its first key, for which it waits, to the second; in a transaction it answers null if
    /// there is nothing, not a null array (BLMOVE, BRPOPLPUSH).
    public static let answersNull = CommandFlags(rawValue: 1 << 29)
    /// Touches all keys or other loops' sessions: runs while every loop stands still.
    public static let stopsWorld = CommandFlags(rawValue: 1 << 30)
    /// Runs while clients are paused (CLIENT, and what cannot wait).
    public static let ignoresPause = CommandFlags(rawValue: 1 << 31)

    /// The flags COMMAND INFO shows, in Redis's order.
    public static let shown: [(CommandFlags, String)] = [
        (.write, "write"), (.readonly, "readonly"), (.growsMemory, "denyoom"), (.admin, "admin"),
        (.pubsub, "pubsub"), (.noScript, "noscript"), (.blocking, "blocking"), (.loading, "loading"),
        (.stale, "stale"), (.skipMonitor, "skip_monitor"), (.skipSlowlog, "skip_slowlog"),
        (.asking, "asking"), (.fast, "fast"), (.noAuth, "no_auth"), (.sentinel, "sentinel"),
        (.noMulti, "no_multi"), (.movableKeys, "movablekeys"),
        (.noMandatoryKeys, "no_mandatory_keys"),
        (.allowBusy, "allow_busy"), (.noAsyncLoading, "no_async_loading"),
    ]
}

/// One command: all the server knows about it, in one row. Lookup, arity errors, key extraction,
/// staging, locking, COMMAND, and command statistics derive from it.
///
/// Each event loop has rows of its own, so that counting a call touches no shared cache line.
public final class Command {
    /// Which words are keys, as in COMMAND INFO: first, last (negative: from the end), step.
    public enum Keys: Sendable {
        case none
        case range(first: Int, last: Int, step: Int)
        /// Word `at` says how many keys follow it.
        case counted(at: Int)
        /// Everything else: adds (word index, database or nil for the session's) to the list.
        case custom(@Sendable (Arguments, inout [KeyPosition]) -> Void)
        /// Words that COMMAND INFO shows like keys and that are none (SSUBSCRIBE).
        case channels(first: Int, last: Int, step: Int)
        public static let first = Keys.range(first: 1, last: 1, step: 1)
    }

    public struct KeyPosition: Sendable {
        public var word: Int
        /// A logical database other than the session's (COPY, MOVE).
        public var database: Int?
        public init(_ word: Int, database: Int? = nil) {
            self.word = word
            self.database = database
        }
    }

    /// What the handler needs of a key's old value. Decides whether a cold key costs a read.
    public enum Need: Sendable {
        /// SET, DEL: never reads.
        case nothing
        /// TTL, TYPE, EXISTS, EXPIRE: never reads.
        case metadata
        /// GET, APPEND, INCR: reads.
        case value
        /// Decided by the words: SET … GET.
        case varies(@Sendable (Arguments) -> Need)
    }

    public typealias Handler = @Sendable (Call) throws(CommandError) -> Void

    /// Lower case; a subcommand's full name is "container|name".
    public let name: String
    /// Words including the name; negative: at least that many.
    public let arity: Int
    public let flags: CommandFlags
    public let keys: Keys
    public let needs: Need
    public let since: String
    public let group: String
    public let complexity: String
    public let summary: String
    /// The words after the name, in the notation of the Redis documentation.
    public let syntax: String
    public let subcommands: [Command]
    // What few rows say, each with the method of the same meaning in KeySpec.swift.
    var ownSpecs: [KeySpec] = []
    var ownAccess: [String] = []
    var tips: [String] = []
    var deprecation: (since: String, replacement: String)?
    var isSystemCommand = false
    let handler: Handler
    let nameBytes: [UInt8]
    let traits: TransactionTraits
    /// The one word that is the only key, or 0: the way most commands take.
    let singleKey: Int
    let alwaysNeedsValue: Bool
    let hasKeys: Bool
    let hasSubcommands: Bool

    /// Calls, ticks spent, calls refused before running, calls that answered with an error.
    public var calls: UInt64 = 0
    public var ticks: UInt64 = 0
    public var rejected: UInt64 = 0
    public var failed: UInt64 = 0
    /// How long calls took, in nanoseconds; nil until one was measured.
    var latency: LatencyHistogram?

    public init(
        _ name: String, _ arity: Int, keys: Keys = .none, needs: Need = .nothing,
        _ flags: CommandFlags, group: String, since: String, complexity: String = "O(1)",
        _ summary: String, syntax: String = "", subcommands: [Command] = [],
        _ handler: @escaping Handler
    ) {
        self.name = name
        self.arity = arity
        self.flags = flags
        self.keys = keys
        self.needs = needs
        self.since = since
        self.group = group
        self.complexity = complexity
        self.summary = summary
        self.syntax = syntax
        self.subcommands = subcommands
        self.handler = handler
        nameBytes = Array(name.utf8)
        traits = TransactionTraits(of: name)
        singleKey = if case .range(let first, let last, _) = keys, first == last { first } else { 0 }
        if case .value = needs { alwaysNeedsValue = true } else { alwaysNeedsValue = false }
        switch keys {
        case .none, .channels: hasKeys = false
        default: hasKeys = true
        }
        hasSubcommands = !subcommands.isEmpty
    }

    /// A command that only has subcommands.
    public static func container(
        _ name: String, group: String, since: String, _ summary: String, _ subcommands: [Command]
    ) -> Command {
        Command(name, -2, [], group: group, since: since, complexity: "Depends on subcommand.", summary,
            subcommands: subcommands) { _ throws(CommandError) in }
    }

    /// Counts a call's duration.
    func measured(_ nanoseconds: UInt64) {
        if latency == nil { latency = LatencyHistogram() }
        latency?.record(nanoseconds)
    }

    func accepts(wordCount: Int) -> Bool { arity >= 0 ? wordCount == arity : wordCount >= -arity }

    func needsValue(_ arguments: Arguments) -> Bool {
        switch needs {
        case .nothing, .metadata: return false
        case .value: return true
        case .varies(let decide):
            if case .value = decide(arguments) { return true }
            return false
        }
    }

    /// Adds the positions of the keys to `positions`; nothing when the words make no sense.
    func findKeys(_ arguments: Arguments, into positions: inout [KeyPosition]) {
        switch keys {
        case .none, .channels: return
        case .range(let first, let last, let step):
            let end = last < 0 ? arguments.count + last : last
            guard first < arguments.count, end < arguments.count, end >= first else { return }
            for word in stride(from: first, through: end, by: step) { positions.append(KeyPosition(word)) }
        case .counted(let at):
            guard at < arguments.count, let count = Decimal.int64(arguments[at]), count > 0,
                count <= Int64(arguments.count - at - 1)
            else { return }
            for word in (at + 1)...(at + Int(count)) { positions.append(KeyPosition(word)) }
        case .custom(let find): find(arguments, &positions)
        }
    }
}
