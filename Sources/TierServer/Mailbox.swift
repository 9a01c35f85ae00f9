import IOUring
import Primitives
import Synchronization

/// What one loop tells another. Any thread may post; only the loop takes.
final class Mailbox: Sendable {
    enum Message: Sendable {
        /// A connection accepted for this loop.
        case adopt(descriptor: Int32, isUnix: Bool)
        /// Look at all sessions: some were changed by another loop.
        case lookAround
        case stop
    }

    private let messages = Mutex([Message]())
    /// Raised after each post; the loop polls it.
    let event: Int32

    init() throws(SystemError) { event = try Descriptors.event() }

    func post(_ message: Message) {
        messages.withLock { $0.append(message) }
        Descriptors.raise(event)
    }

    func take() -> [Message] {
        Descriptors.clear(event)
        return messages.withLock { messages in
            defer { messages.removeAll() }
            return messages
        }
    }
}
