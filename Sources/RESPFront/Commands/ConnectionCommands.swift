import Primitives
import RESPWire
import TieredStore

/// AUTH, HELLO, PING, SELECT and the rest of the connection family.
enum ConnectionCommands {
    static func rows() -> [Command] {
        [
            Command(
                "ping", -1, [.fast, .noAuth], group: "connection", since: "1.0.0",
                "Answers PONG or the given message.", syntax: "[message]", ping),
        ]
    }

    /// PING [message] → PONG or the message.
    static func ping(_ call: Call) throws(CommandError) {
        if call.wordCount > 2 {
            throw .message("ERR wrong number of arguments for 'ping' command")
        }
        if call.wordCount == 2 { call.reply.bulk(call.arguments[1]) } else { call.reply.simple("PONG") }
    }
}
