import Primitives
import RESPWire
import TieredStore

/// SLOWLOG: the slowest recent commands.
enum SlowlogCommands {
    static func rows() -> [Command] {
        let flags: CommandFlags = [.admin, .loading, .stale]
        return [Command.container(
            "slowlog", group: "server", since: "2.2.12", "Slow commands.",
            [
                Command(
                    "slowlog|get", -2, flags, group: "server", since: "2.2.12",
                    complexity: "O(N) where N is the number of entries returned",
                    "The slowest recent commands, newest first.", syntax: "[count]", get)
                    .tips("request_policy:all_nodes", "nondeterministic_output"),
                Command(
                    "slowlog|len", 2, flags, group: "server", since: "2.2.12",
                    "How many slow commands are kept.", length).tips(
                        "request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"),
                Command(
                    "slowlog|reset", 2, flags, group: "server", since: "2.2.12",
                    complexity: "O(N) where N is the number of entries in the slowlog",
                    "Forgets the slow commands.", reset)
                    .tips("request_policy:all_nodes", "response_policy:all_succeeded"),
                Command.help("slowlog", since: "6.2.0", [
                    "GET [<count>]", "    The newest <count> entries (default: 10, -1 means all):",
                    "    id, time, microseconds, words, client address, client name",
                    "LEN", "    How many entries there are.", "RESET", "    Forget all entries.",
                ]),
            ])]
    }

    /// SLOWLOG GET [count] → entries of six.
    static func get(_ call: Call) throws(CommandError) {
        var count: Int64 = 10
        if call.wordCount > 3 {
            throw .message("ERR wrong number of arguments for 'slowlog|get' command")
        }
        if call.wordCount == 3 {
            let message = "ERR count should be greater than or equal to -1"
            count = try call.integer(2, orFail: message)
            if count < -1 { throw .message(message) }
        }
        let entries = call.server.slowlog.entries
        let shown = entries.prefix(
            count < 0 ? entries.count : Int(min(count, Int64(entries.count))))
        call.reply.array(shown.count)
        for entry in shown {
            call.reply.array(6)
            call.reply.integer(entry.id)
            call.reply.integer(entry.at)
            call.reply.integer(entry.microseconds)
            call.reply.array(entry.words.count)
            for word in entry.words { word.withView { call.reply.bulk($0) } }
            call.bulk(entry.client)
            call.bulk(entry.name)
        }
    }

    static func length(_ call: Call) throws(CommandError) {
        call.reply.integer(call.server.slowlog.entries.count)
    }

    static func reset(_ call: Call) throws(CommandError) {
        call.server.slowlog.reset()
        call.reply.ok()
    }
}
