import Primitives
import RESPWire
import TieredStore

/// EVAL and its like, SCRIPT.
enum ScriptCommands {
    static func rows() -> [Command] {
        let flags: CommandFlags = [.noScript, .stale, .skipMonitor, .noMandatoryKeys, .mayReplicate]
        let sha = "sha1 numkeys [key [key ...]] [arg [arg ...]]"
        let text = "script numkeys [key [key ...]] [arg [arg ...]]"
        return [
            row("eval", flags, since: "2.6.0", "Runs a script.", text, eval).access("RW access update"),
            row("evalsha", flags, since: "2.6.0", "Runs a script known by its SHA-1.", sha, evalSHA)
                .access("RW access update"),
            row("eval_ro", flags.union(.readonly), since: "7.0.0", "Runs a script that writes nothing.", text,
                eval),
            row("evalsha_ro", flags.union(.readonly), since: "7.0.0",
                "Runs a script that writes nothing, known by its SHA-1.", sha, evalSHA),
            Command.container("script", group: "scripting", since: "2.6.0", "The scripts the server knows.", [
                sub("load", 3, [.noScript, .stale], since: "2.6.0", "Makes a script known.", "script", load)
                    .tips("request_policy:all_nodes", "response_policy:all_succeeded"),
                sub("exists", -3, [.noScript], since: "2.6.0", "Which scripts are known.", "sha1 [sha1 ...]",
                    exists)
                    .tips("request_policy:all_shards", "response_policy:agg_logical_and"),
                sub("flush", -2, [.noScript], since: "2.6.0", "Forgets all scripts.", "[ASYNC | SYNC]", flush)
                    .tips("request_policy:all_nodes", "response_policy:all_succeeded"),
                sub("kill", 2, [.noScript, .allowBusy], since: "2.6.0", "Ends the running script.", "", kill)
                    .tips("request_policy:all_shards", "response_policy:one_succeeded"),
                sub("debug", 3, [.noScript], since: "3.2.0", "Debugs scripts.", "<YES | SYNC | NO>", debug),
                Command.help("script", since: "5.0.0", group: "scripting", [
                    "DEBUG (YES|SYNC|NO)", "    Debug scripts: NO only.",
                    "EXISTS <sha1> [<sha1> ...]", "    Which scripts are known.",
                    "FLUSH [ASYNC|SYNC]", "    Forget all scripts.",
                    "KILL", "    End the script that runs.", "LOAD <script>", "    Make a script known.",
                ]),
            ]),
        ]
    }

    private static func row(
        _ name: String, _ flags: CommandFlags, since: String, _ summary: String, _ syntax: String,
        _ handler: @escaping Command.Handler
    ) -> Command {
        Command(name, -3, keys: .counted(at: 2), needs: .value, flags, group: "scripting", since: since,
            complexity: "Depends on the script.", summary, syntax: syntax, handler)
    }

    private static func sub(
        _ name: String, _ arity: Int, _ flags: CommandFlags, since: String, _ summary: String,
        _ syntax: String, _ handler: @escaping Command.Handler
    ) -> Command {
        Command(
            "script|" + name, arity, flags, group: "scripting", since: since, summary, syntax: syntax,
            handler)
    }

    /// EVAL script numkeys key … arg … → what the script returns.
    static func eval(_ call: Call) throws(CommandError) {
        let keys = try keyCount(call)
        try call.front.scripts.run(call.front.scripts.load(call.arguments[1]), call, keys: keys)
    }

    /// EVALSHA sha1 numkeys key … arg … → the same. Errors: NOSCRIPT.
    static func evalSHA(_ call: Call) throws(CommandError) {
        let keys = try keyCount(call)
        try call.front.scripts.run(call.front.scripts.find(call.arguments[1]), call, keys: keys)
    }

    /// How many of the words from the fourth on are keys. `unreadable`: what is said of no number.
    static func keyCount(_ call: Call, unreadable: CommandError = .notAnInteger) throws(CommandError) -> Int {
        guard let count = Decimal.int64(call.arguments[2]) else { throw unreadable }
        if count > Int64(call.wordCount - 3) {
            throw .message("ERR Number of keys can't be greater than number of args")
        }
        if count < 0 { throw .message("ERR Number of keys can't be negative") }
        return Int(count)
    }

    static func load(_ call: Call) throws(CommandError) {
        call.bulk(try call.front.scripts.load(call.arguments[2]).shownName)
    }

    static func exists(_ call: Call) throws(CommandError) {
        call.reply.array(call.wordCount - 2)
        for i in 2..<call.wordCount {
            call.reply.integer(call.server.scripts.find(call.option(i)) == nil ? 0 : 1)
        }
    }

    static func flush(_ call: Call) throws(CommandError) {
        if call.wordCount > 3 || call.wordCount == 3 && !["async", "sync"].contains(call.option(2)) {
            throw .message("ERR SCRIPT FLUSH only support SYNC|ASYNC option")
        }
        call.server.scripts.flush()
        call.reply.ok()
    }

    static func kill(_ call: Call) throws(CommandError) { try kill(call, functions: false) }

    /// SCRIPT KILL, FUNCTION KILL → OK when a script on whatever loop has written nothing.
    static func kill(_ call: Call, functions: Bool) throws(CommandError) {
        let phases = call.server.fronts.map(\.scriptPhase)
        let wanted = phases.filter { $0.isFunction == functions }
        if wanted.reduce(false, { $1.end() || $0 }) { return call.reply.ok() }
        let running = phases.filter { $0.phase != .idle }
        if running.isEmpty { throw .message("NOTBUSY No scripts in execution right now.") }
        guard running.contains(where: { $0.phase == .written }) else {
            if wanted.contains(where: { $0.phase == .toBeEnded }) { return call.reply.ok() }
            throw .message(Busyness.refusal(isFunction: !functions))
        }
        throw .message("""
            UNKILLABLE Sorry the script already executed write commands against the dataset. You can either \
            wait the script termination or kill the server in a hard way using the SHUTDOWN NOSAVE command.
            """)
    }

    static func debug(_ call: Call) throws(CommandError) {
        // Redis 7.0: in a transaction as in the middle of a pipeline.
        if call.isInside { throw .message("ERR SCRIPT DEBUG must be called outside a pipeline") }
        switch call.option(2) {
        case "no": call.reply.ok()
        case "yes", "sync": throw .message("ERR scripts cannot be debugged in this version of tierd")
        default: throw .message("ERR Use SCRIPT DEBUG YES/SYNC/NO")
        }
    }
}
