import Primitives
import RESPWire
import TieredStore

/// One client's state: bytes in, replies out. Owned by one loop.
public final class Session {
    /// Why a session's next request does not run yet.
    public enum Wait: Sendable { case none, reads, memory, pause, output, keys }
    /// What makes requests go another way than straight to their handlers.
    struct Modes: OptionSet {
        let rawValue: UInt8
        static let inTransaction = Modes(rawValue: 1 << 0)
        /// Has subscriptions; in RESP2 little else is allowed then.
        static let subscribed = Modes(rawValue: 1 << 1)
        static let monitors = Modes(rawValue: 1 << 2)
        static let tracks = Modes(rawValue: 1 << 3)
    }
    /// CLIENT REPLY.
    enum ReplyMode { case on, off, skipNext, skipThis }

    public let id: Int64
    /// Number of the save that its SAVE waits for.
    var saveNumber: Int?
    /// Slot in the front's list; wakes carry it.
    public internal(set) var token: UInt32 = 0
    public let peerAddress: String
    public let localAddress: String
    public let descriptor: Int32
    public let createdAt: Int64
    public var database = 0
    public var name = ""
    public var libraryName = ""
    public var libraryVersion = ""
    public var isAuthenticated: Bool
    public var noEvict = false
    public var noTouch = false
    var replyMode = ReplyMode.on
    var modes: Modes = []
    var transaction: Transaction?
    var watch: Watch?
    var subscriptions: Subscriptions?
    var tracking: Tracking?
    /// The request that waits for keys.
    var waiter: Waiter?
    /// What came for the client while its own request ran.
    var deferredPushes: ReplyBuffer?

    func flushDeferredPushes() {
        guard let pushes = deferredPushes else { return }
        output.append(pushes.view)
        deferredPushes = nil
    }

    /// Says nothing for a long time by its nature: `timeout` is not for it.
    public var mayBeIdle: Bool { waiter != nil || !modes.isDisjoint(with: [.subscribed, .monitors]) }

    /// Which of client-output-buffer-limit's classes the client is of.
    public var isSubscriber: Bool { modes.contains(.subscribed) }
    public internal(set) var version = ReplyWriter.Version.resp2
    /// Replies not yet taken by the connection. The connection may exchange it for an empty one.
    public var output: ReplyBuffer
    public internal(set) var wait = Wait.none
    /// Everything in `output` is the last the client gets.
    public var closesAfterReply = false
    /// Killed by another client: close without waiting for replies to be read.
    public var isKilled = false
    public internal(set) var lastCommandAt: Int64
    var lastCommand: Unmanaged<Command>?
    /// Name of the last command run, as CLIENT LIST shows it.
    public var lastCommandName: String { lastCommand?.takeUnretainedValue().name ?? "NULL" }
    /// Bytes still missing of the word being received.
    var missingInput = 0
    /// A waiting inline request: its length in the input, and the same request as RESP.
    var pendingInline: (length: Int, request: [UInt8])?
    public internal(set) var inputBytes: UInt64 = 0
    public internal(set) var commandsRun: UInt64 = 0
    /// Bytes the connection has not sent beside `output`; kept by the connection.
    public var unsentBytes = 0

    var parser: RequestParser
    /// Bytes received and not yet run; `inputStart` is the next request.
    var input = InputBuffer()
    /// Bytes of input from its start that are whole requests.
    var parsedBytes = 0
    /// Staging has looked ahead to here.
    var stagedBytes = 0
    /// Records staged for requests still to run, with the bytes of input before that request.
    var staged: [(record: StagedRecord, before: UInt64)] = []
    /// Bytes of requests run since the session began: the place a staged record belongs to.
    var consumedBytes: UInt64 = 0

    init(
        id: Int64, descriptor: Int32, peerAddress: String, localAddress: String, now: Int64,
        isAuthenticated: Bool, limits: RequestLimits
    ) {
        self.id = id
        self.descriptor = descriptor
        self.peerAddress = peerAddress
        self.localAddress = localAddress
        self.isAuthenticated = isAuthenticated
        createdAt = now
        lastCommandAt = now
        output = ReplyBuffer(capacity: 1024)
        parser = RequestParser(limits: limits, isAuthenticated: isAuthenticated)
    }

    /// CLIENT REPLY OFF and SKIP: the reply that begins at `mark` is not sent.
    func obeyReplyMode(_ mark: Int) {
        switch replyMode {
        case .on: return
        case .off, .skipThis: output.truncate(to: mark)
        case .skipNext: break
        }
        if replyMode == .skipThis { replyMode = .on }
        if replyMode == .skipNext { replyMode = .skipThis }
    }

    /// Unix milliseconds of the last command, or of the connection.
    public var lastActivity: Int64 { lastCommandAt }

    /// Bytes of memory the session holds.
    public var memory: Int {
        input.capacity + output.capacity + parser.heldBytes + unsentBytes + 512
            + (transaction?.memory ?? 0)
    }
    public var queuedInput: Int { input.count }
    public var inputCapacity: Int { input.capacity }
}

/// Received bytes in one growing block of memory, consumed from the front.
struct InputBuffer: ~Copyable {
    private var memory: UnsafeMutableRawPointer?
    private(set) var capacity = 0
    private var start = 0
    private var end = 0

    deinit { memory?.deallocate() }

    var count: Int { end - start }
    var bytes: UnsafeMutableRawPointer { memory! + start }
    var isEmpty: Bool { start == end }

    mutating func append(_ bytes: UnsafeRawPointer, _ n: Int) {
        reserve(n)
        (memory! + end).copyMemory(from: bytes, byteCount: n)
        end += n
    }

    mutating func append(_ bytes: ByteView) {
        reserve(bytes.count)
        (memory! + end).copyMemory(from: bytes.base, byteCount: bytes.count)
        end += bytes.count
    }

    /// Makes room for `n` more bytes; a known length is reserved once.
    mutating func reserve(_ n: Int) {
        if end + n <= capacity { return }
        if start > 0, count + n <= capacity, start >= capacity / 2 {
            memory!.copyMemory(from: memory! + start, byteCount: count)
        } else {
            let size = max(count + n, capacity * 2, 4096)
            let larger = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 16)
            if let memory {
                larger.copyMemory(from: memory + start, byteCount: count)
                memory.deallocate()
            }
            memory = larger
            capacity = size
        }
        end -= start
        start = 0
    }

    mutating func consume(_ n: Int) {
        start += n
        if start == end {
            start = 0
            end = 0
            // A large value came in: give its room back.
            if capacity > 64 << 10 {
                memory?.deallocate()
                memory = nil
                capacity = 0
            }
        }
    }

    mutating func replaceFront(_ n: Int, with bytes: [UInt8]) {
        var fresh = InputBuffer()
        bytes.withUnsafeBytes { fresh.append($0.baseAddress!, $0.count) }
        if count > n { fresh.append(self.bytes + n, count - n) }
        self = fresh
    }

    init() {}
}
