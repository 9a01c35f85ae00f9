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
    unowned(unsafe) let front: Front
    unowned(unsafe) var session: Session
    unowned(unsafe) var command: Command
    /// Unix milliseconds of this turn.
    public var now: Int64 { worker.now }

    init(front: Front, session: Session, command: Command, arguments: Arguments) {
        self.front = front
        self.session = session
        self.command = command
        self.arguments = arguments
        worker = front.worker
        keys = front.worker.keys
        reply = ReplyWriter(session.output)
    }

    /// Shared by all loops; change it only in a command that stops the world.
    public var server: ServerState { front.server }
    public var configuration: Configuration { front.server.configuration }
    public var database: Int { session.database }
    public var wordCount: Int { arguments.count }

    /// Text as a bulk string: for INFO and the like, not for values.
    public func bulk(_ text: String) { Array(text.utf8).withView { reply.bulk($0) } }
}
