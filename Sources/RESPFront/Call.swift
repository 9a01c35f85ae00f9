import Primitives
import RESPWire
import TieredStore

/// What a handler is lent: the words, the keys, where to reply, and who asks.
///
/// A handler mentions no sockets, disk, residency, locks or counters, and reads no clock: `now`.
/// One object a loop, used again for every command.
public final class Call {
    public internal(set) var arguments: Arguments
    public internal(set) var reply: ReplyWriter
    public let keys: StagedKeys
    public let worker: StoreWorker
    /// Shared by all loops; change it only in a command that stops the world.
    public let server: ServerState
    private var sessionReference: Unmanaged<Session>?
    /// Who asks.
    var session: Session { sessionReference!.takeUnretainedValue() }
    /// The loop's front.
    public var front: Front { server.fronts[worker.index] }
    public internal(set) unowned(unsafe) var command: Command
    /// Classes of keyspace notifications somebody may want; none while they are turned off.
    var enabledEvents: KeyspaceEvent = []
    /// Whether a blocking command may wait: not in a transaction or a script. A handler need not ask,
    /// it throws `CommandError.block` all the same and the row's null reply is written.
    public var mayBlock: Bool { !isInside }
    /// Unix milliseconds of this turn.
    public var now: Int64 { worker.now }

    init(
        worker: StoreWorker, server: ServerState, keys: StagedKeys, command: Command, arguments: Arguments,
        replies: ReplyBuffer
    ) {
        self.worker = worker
        self.server = server
        self.keys = keys
        self.command = command
        self.arguments = arguments
        reply = ReplyWriter(replies)
    }

    /// The next commands are this session's.
    func serve(_ session: Session) {
        sessionReference = Unmanaged.passUnretained(session)
        isInside = false
        reply = ReplyWriter(session.output, version: session.version)
    }

    public var configuration: Configuration { server.configuration }
    /// The logical database the command works on.
    public var database: Int { givenDatabase ?? session.database }
    /// Set while a command runs on behalf of a client that waited.
    var givenDatabase: Int?
    /// Which of the command's keys `keys` begins with: not 0 when a client that waited is served from one
    /// key (XREAD's numbers belong to its keys by place).
    public internal(set) var firstKey = 0
    /// Runs inside a transaction, a script or for another client: its keys' stripes are held already.
    var isInside = false
    /// Where the running command's reply begins in its client's output.
    var replyStart = 0
    /// RAM a transaction was let in with and has not asked for yet.
    var grantedRoom = 0
    public var wordCount: Int { arguments.count }
    /// The wait this command ends or goes on with, if its client has waited before.
    var waiter: Waiter? { servedWaiter ?? (isInside ? nil : session.waiter) }
    /// Set while a command runs on behalf of a client that waits.
    var servedWaiter: Waiter?
    /// Where XREAD goes on once there is something, set when it throws `CommandError.block`.
    var starts: [StreamReadCommands.Start] = []

    /// Asks for RAM that the words of the request do not show: call it before anything is changed.
    /// Errors: waitForMemory, outOfMemory.
    func requireRoom(_ bytes: Int) throws(CommandError) {
        guard bytes > 0 else { return }
        if isInside {
            if bytes <= grantedRoom {
                grantedRoom -= bytes
                return
            }
            if worker.hasRoom(bytes) { return }
            throw .outOfMemory
        }
        switch worker.admit(bytes, token: session.token, holding: true) {
        case .go: return
        case .wait: throw .waitForMemory
        case .refused: throw .outOfMemory
        }
    }

    /// A blocking command's answer when there is nothing.
    func writeNothing(_ command: Command) {
        if command.flags.contains(.answersNull) { reply.null() } else { reply.nullArray() }
    }

    /// Text as a bulk string: for INFO and the like, not for values.
    public func bulk(_ text: String) { Array(text.utf8).withView { reply.bulk($0) } }
}
