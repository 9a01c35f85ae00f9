import Primitives
import RESPWire
import TieredStore

/// TIER: what the tiers hold, and hints for people who know their data.
enum TierCommands {
    static func rows() -> [Command] {
        let group = "server", since = "1.0.0"
        return [
            .container("tier", group: group, since: since, "Shows and steers what is in RAM and on SSD.", [
                Command(
                    "tier|stats", 2, [.stopsWorld, .loading, .stale], group: group, since: since,
                    "Returns the fields of INFO's Tier section as a map.", stats),
                Command(
                    "tier|residency", -3, keys: .range(first: 2, last: -1, step: 1), needs: .metadata,
                    [.readonly], group: group, since: since, complexity: "O(N) in the keys",
                    "Tells for each key whether its value is in RAM, on SSD, or both.",
                    syntax: "key [key ...]", residency),
                Command(
                    "tier|demote", -3, keys: .range(first: 2, last: -1, step: 1), needs: .metadata,
                    [.readonly, .noMulti], group: group, since: since, complexity: "O(N) in the keys",
                    "Writes the values of keys to SSD and frees their RAM; returns for how many.",
                    syntax: "key [key ...]", demote),
                Command(
                    "tier|promote", -3, keys: .range(first: 2, last: -1, step: 1), needs: .value,
                    [.readonly], group: group, since: since, complexity: "O(N) in the keys",
                    "Brings the values of keys into RAM; returns for how many.",
                    syntax: "key [key ...]", promote),
                Command(
                    "tier|compact", 2, [.stopsWorld], group: group, since: since,
                    "Compacts every segment with dead records in it, in the background.", compact),
                Command(
                    "tier|backup", 2, [.admin, .noScript, .noAsyncLoading, .noMulti, .stopsWorld],
                    group: group, since: since,
                    "Writes everything as it is now to a file below backups, and waits for it.", backup),
                Command(
                    "tier|help", 2, [.loading, .stale], group: group, since: since,
                    "Lists the subcommands.", help),
            ]),
        ]
    }

    /// TIER STATS → map of field to value, as in INFO's Tier section.
    static func stats(_ call: Call) throws(CommandError) {
        let rows = Info.tier(call.server)
        call.reply.map(rows.count)
        for (name, value) in rows {
            call.bulk(name)
            call.bulk(value)
        }
    }

    /// TIER RESIDENCY key … → array of resident-dirty, resident-clean, demoted, absent.
    static func residency(_ call: Call) throws(CommandError) {
        call.reply.array(call.keys.count)
        for i in 0..<call.keys.count { call.bulk(call.keys.residency(i).rawValue) }
    }

    /// TIER DEMOTE key … → how many of the keys are on SSD only now. A dirty value's write is
    /// waited for. Errors: OOM when the SSD is full, IOERR when it does not take writes.
    static func demote(_ call: Call) throws(CommandError) {
        var demoted = 0, isWaiting = false, isStarted = false
        for i in 0..<call.keys.count {
            switch call.keys.demote(i) {
            case .demoted: demoted += 1
            case .writing: isWaiting = true
            case .started: isStarted = true
            case .absent, .notTierable: break
            case .busy:
                guard call.worker.isWriting else { throw .outOfMemory }
                isWaiting = true
            }
        }
        // A write was started again although the last one failed: the disk does not take it. With many keys
        // some of them are always being written.
        if isStarted, call.worker.lastWriteError != 0 {
            throw .message("IOERR the value could not be written to the tier file")
        }
        if isWaiting || isStarted { throw .waitForWrites }
        call.reply.integer(demoted)
    }

    /// TIER PROMOTE key … → how many of the keys have their value in RAM now.
    static func promote(_ call: Call) throws(CommandError) {
        var promoted = 0
        for i in 0..<call.keys.count where try call.keys.promote(i) { promoted += 1 }
        call.reply.integer(promoted)
    }

    static func compact(_ call: Call) throws(CommandError) {
        for worker in call.server.store.workers { worker.compactEverything() }
        call.reply.ok()
    }

    /// TIER BACKUP → path of the file on the server, when it is complete. Only the client waits. The name is
    /// not the client's to choose, so that nobody can have files written elsewhere.
    /// Errors: something else is being saved; it cannot be written.
    static func backup(_ call: Call) throws(CommandError) {
        let saver = call.server.saver!
        guard let number = call.session.saveNumber else {
            call.session.saveNumber = try saver.beginBackup()
            throw .waitForSave
        }
        let facts = saver.facts
        guard facts.ended >= number else { throw .waitForSave }
        call.session.saveNumber = nil
        guard facts.backups.number == number else {
            throw .message("ERR another backup has ended since: see the log")
        }
        if let failure = facts.backups.failure { throw .message("ERR the backup failed: \(failure)") }
        call.bulk(facts.backups.path)
    }

    static func help(_ call: Call) throws(CommandError) {
        let lines: [StaticString] = [
            "TIER <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
            "BACKUP", "    Write everything to a file below backups, and wait for it.",
            "COMPACT", "    Compact every segment with dead records in it, in the background.",
            "DEMOTE <key> [<key> ...]", "    Write values to SSD and free their RAM.",
            "PROMOTE <key> [<key> ...]", "    Bring values into RAM.",
            "RESIDENCY <key> [<key> ...]", "    Tell where each value is.",
            "STATS", "    The fields of INFO's Tier section.", "HELP", "    Print this help.",
        ]
        call.reply.array(lines.count)
        for line in lines { call.reply.simple(line) }
    }
}
