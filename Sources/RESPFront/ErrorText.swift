import Primitives
import RESPWire
import TieredStore

/// `CommandError` in Redis 7.0's words: the one place where a meaning becomes text.
enum ErrorText {
    static func write(_ error: CommandError, command: String, to reply: ReplyWriter) {
        switch error {
        case .wrongType:
            reply.error("WRONGTYPE Operation against a key holding the wrong kind of value")
        case .notAnInteger: reply.error("ERR value is not an integer or out of range")
        case .notAFloat: reply.error("ERR value is not a valid float")
        case .incrementOverflows: reply.error("ERR increment or decrement would overflow")
        case .notFinite: reply.error("ERR increment would produce NaN or Infinity")
        case .syntax: reply.error("ERR syntax error")
        case .noSuchKey: reply.error("ERR no such key")
        case .outOfRange: reply.error("ERR value is out of range")
        case .stringTooLong:
            reply.error("ERR string exceeds maximum allowed size (proto-max-bulk-len)")
        case .invalidExpiry: text("ERR invalid expire time in '\(command)' command", reply)
        case .outOfMemory: reply.error("OOM command not allowed when used memory > 'maxmemory'.")
        case .unreadable:
            reply.error("IOERR the value's record in the tier file is damaged or cannot be read")
        case .notStaged, .waitForWrites, .waitForSave, .waitForMemory, .block:
            preconditionFailure("\(command) asked for a value its row does not need")
        case .message(let message): text(message, reply)
        }
    }

    /// EXEC is refused (Redis 7.0: the reason without the general code).
    static func writeAbort(_ error: CommandError, to reply: ReplyWriter) {
        var reason = "OOM command not allowed when used memory > 'maxmemory'."
        if case .message(let message) = error {
            reason = message.hasPrefix("ERR ") ? String(message.dropFirst(4)) : message
        }
        text("EXECABORT Transaction discarded because of: \(reason)", reply)
    }

    static func text(_ message: String, _ reply: ReplyWriter) {
        Array(message.utf8).withView { reply.error($0) }
    }
}
