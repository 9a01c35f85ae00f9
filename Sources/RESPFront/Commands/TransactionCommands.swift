import Primitives
import RESPWire
import TieredStore

/// MULTI, EXEC, DISCARD, WATCH, UNWATCH. Queueing and running what was queued is the dispatcher's.
enum TransactionCommands {
    static func rows() -> [Command] {
        let flags: CommandFlags = [.noScript, .loading, .stale, .fast, .allowBusy]
        func row(
            _ name: String, _ arity: Int, keys: Command.Keys = .none, _ flags: CommandFlags,
            since: String, complexity: String = "O(1)", _ summary: String, syntax: String = "",
            _ handler: @escaping Command.Handler
        ) -> Command {
            Command(
                name, arity, keys: keys, needs: .metadata, flags, group: "transactions", since: since,
                complexity: complexity, summary, syntax: syntax, handler)
        }
        return [
            row("multi", 1, flags, since: "1.2.0", "Mark the start of a transaction block", begin),
            row("exec", 1, [.noScript, .loading, .stale, .skipSlowlog], since: "1.2.0",
                complexity: "Depends on commands in the transaction",
                "Execute all commands issued after MULTI", run),
            row("discard", 1, flags, since: "2.0.0",
                complexity: "O(N), when N is the number of queued commands",
                "Discard all commands issued after MULTI", discard),
            row("watch", -2, keys: .range(first: 1, last: -1, step: 1), flags, since: "2.2.0",
                complexity: "O(1) for every key.",
                "Watch the given keys to determine execution of the MULTI/EXEC block",
                syntax: "key [key ...]", watch),
            row("unwatch", 1, flags, since: "2.2.0", "Forget about all watched keys", unwatch),
        ]
    }

    static func begin(_ call: Call) throws(CommandError) {
        let session = call.session
        if session.modes.contains(.inTransaction) { throw .message("ERR MULTI calls can not be nested") }
        session.modes.insert(.inTransaction)
        if session.transaction == nil { session.transaction = Transaction() }
        session.transaction!.removeAll()
        call.reply.ok()
    }

    /// Only without MULTI: a transaction's EXEC never gets here.
    static func run(_ call: Call) throws(CommandError) { throw .message("ERR EXEC without MULTI") }

    static func discard(_ call: Call) throws(CommandError) {
        guard call.session.modes.contains(.inTransaction) else {
            throw .message("ERR DISCARD without MULTI")
        }
        call.front.endTransaction(call.session)
        call.reply.ok()
    }

    static func watch(_ call: Call) throws(CommandError) {
        let session = call.session
        if session.modes.contains(.inTransaction) {
            throw .message("ERR WATCH inside MULTI is not allowed")
        }
        // A session that lost already need not watch more.
        if !(session.watch?.isDirty ?? false) {
            for i in 0..<call.keys.count {
                call.front.watch(session, i)
            }
        }
        call.reply.ok()
    }

    static func unwatch(_ call: Call) throws(CommandError) {
        call.front.unwatch(call.session, holding: call.isInside)
        call.reply.ok()
    }
}
