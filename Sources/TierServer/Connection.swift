import IOUring
import Primitives
import RESPFront
import RESPWire

/// One client's socket on one loop: what the kernel is doing for it, and its session.
final class Connection {
    let descriptor: Int32
    let session: Session
    let slot: UInt32
    /// Bytes the kernel is sending; the session fills its other buffer meanwhile.
    var sending = ReplyBuffer(capacity: 1024)
    var isReceiving = false
    /// A send whose end is announced by a completion is on its way.
    var isSending = false
    /// A silent send was prepared: how many bytes went out, all unless a completion says otherwise.
    /// Nil once that is settled.
    var silentResult: Int32?
    var isClosing = false
    /// Unix milliseconds since when more bytes wait than the soft limit allows.
    var overLimitSince: Int64?
    /// Commit that what is to be sent waits for.
    var heldMark: UInt64 = 0
    /// Receiving was stopped because the session could not take more.
    var isHeldBack = false

    init(descriptor: Int32, session: Session, slot: UInt32) {
        self.descriptor = descriptor
        self.session = session
        self.slot = slot
    }

    /// Bytes of replies the client has not taken.
    var waitingBytes: Int { sending.count + session.output.count }

    /// The kernel does nothing for it: its memory and its descriptor may go.
    var isIdle: Bool { !isReceiving && !isSending && silentResult == nil }
}
