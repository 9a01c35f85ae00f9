import Primitives
import RESPWire
import TieredStore

/// SAVE, BGSAVE, LASTSAVE, BGREWRITEAOF.
enum SavingCommands {
    static func rows() -> [Command] {
        let flags: CommandFlags = [.admin, .noScript, .noAsyncLoading]
        return [
            row("save", 1, flags.union([.noMulti, .stopsWorld]), "1.0.0",
                "Saves everything, and waits for it.", "", save),
            row("bgsave", -1, flags.union(.stopsWorld), "1.0.0", "Saves everything in the background.",
                "[SCHEDULE]", saveInBackground),
            row("bgrewriteaof", 1, flags.union(.stopsWorld), "1.0.0",
                "Rewrites the append-only file.", "", rewrite),
            row("lastsave", 1, [.loading, .stale, .fast], "1.0.0",
                "When the last save that succeeded was.", "", lastSave).tips("nondeterministic_output"),
        ]
    }

    private static func row(
        _ name: String, _ arity: Int, _ flags: CommandFlags, _ since: String, _ summary: String,
        _ syntax: String, _ handler: @escaping Command.Handler
    ) -> Command {
        Command(name, arity, flags, group: "server", since: since, summary, syntax: syntax, handler)
    }

    /// SAVE → OK when everything is on the disk. Only the client waits.
    static func save(_ call: Call) throws(CommandError) {
        let saver = call.server.saver!
        guard let number = call.session.saveNumber else {
            call.session.saveNumber = try saver.begin()
            throw .waitForSave
        }
        guard saver.facts.ended >= number else { throw .waitForSave }
        call.session.saveNumber = nil
        if !saver.facts.lastSucceeded { throw .message("ERR") }
        call.reply.ok()
    }

    /// BGSAVE [SCHEDULE] → that it has begun; in a transaction, that it will soon.
    static func saveInBackground(_ call: Call) throws(CommandError) {
        if call.wordCount > 2 || call.wordCount == 2 && !call.arguments[1].matches("schedule") {
            throw .syntax
        }
        let saver = call.server.saver!
        if call.isInside, !saver.isRunning {
            saver.schedule()
            return call.reply.simple("Background saving scheduled")
        }
        _ = try saver.begin()
        call.reply.simple("Background saving started")
    }

    /// BGREWRITEAOF → that it has begun, or will soon.
    static func rewrite(_ call: Call) throws(CommandError) {
        let file = call.server.appendOnly!
        try file.rewrite()
        call.simple("Background append only file rewriting \(file.isRewriting ? "started" : "scheduled")")
    }

    /// LASTSAVE → Unix seconds.
    static func lastSave(_ call: Call) throws(CommandError) {
        call.reply.integer(call.server.saver.facts.lastSaved)
    }
}
