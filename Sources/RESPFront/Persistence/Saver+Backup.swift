import Glibc
import Primitives
import Synchronization
import TieredStore

/// Backups: RDB files below `dir`/backups, of their own names, that are no saves: LASTSAVE and the changes
/// since do not see them. TIER BACKUP takes one; with `tier-backup-every` the server takes them by itself and
/// keeps the last `tier-backup-keep` of those.
///
/// Shape:  tierd-YYYYMMDD-HHMMSS.rdb for one that was asked for, automatic-YYYYMMDD-HHMMSS.rdb; UTC, of the
///         moment it has. The same second again: -2 behind it.
extension Saver {
    /// What is known of backups; times in Unix seconds.
    struct BackupFacts {
        /// The one that runs.
        var running: String?
        /// Path of the last one that ended, its number, when, and why it failed.
        var path = ""
        var number = 0
        var endedAt: Int64 = 0
        var failure: String?
        /// Keys the last one left out, since their values could not be read.
        var unreadable = 0
        var count = 0
        /// When the server tried last by itself, and the name of the last that was made so.
        var triedAt: Int64 = 0
        var newest: String?
    }

    /// What a file is for.
    enum Purpose: Equatable {
        case dump
        case backup(name: String)
    }

    private static let backups = "backups"
    private static let automatic = "automatic-"
    /// Of one at a time; what a killed server has left is overwritten.
    static let unfinishedBackup = "backups/unfinished.rdb"
    /// After one that failed the next is tried so many seconds later.
    private static let retrySeconds: Int64 = 60

    private var now: Int64 { server.fronts[0].worker.now / 1000 }

    /// Begins a backup of everything as it is now; its number. The world stands still. Errors: as `begin`.
    func beginBackup(byItself: Bool = false) throws(CommandError) -> Int {
        guard let directory else { throw .message("ERR there is no directory to save to") }
        do throws(FileFailure) { try directory.makeDirectory(Saver.backups) } catch {
            throw .message("ERR \(error)")
        }
        let stem = (byItself ? Saver.automatic : "tierd-") + Saver.stamp(now)
        var name = stem + ".rdb", copy = 1
        while directory.exists("\(Saver.backups)/\(name)") {
            copy += 1
            name = "\(stem)-\(copy).rdb"
        }
        let number = try begin(.backup(name: name))
        state.withLock { $0.backups.running = name }
        return number
    }

    /// The backup is there, or is not. On the first loop.
    func backupEnded(_ name: String, _ number: Int, _ failure: String?, unreadable: Int) {
        let path = "\(Configuration.absolute(server.configuration.dir))/\(Saver.backups)/\(name)"
        let now = self.now, isAutomatic = name.hasPrefix(Saver.automatic)
        if failure == nil, isAutomatic { deleteOld() }
        state.withLock {
            $0.startedAt = nil
            $0.ended = number
            $0.backups.running = nil
            $0.backups.path = path
            $0.backups.number = number
            $0.backups.endedAt = now
            $0.backups.failure = failure
            $0.backups.unreadable = unreadable
            if failure == nil {
                $0.backups.count += 1
                if isAutomatic { $0.backups.newest = name }
            }
        }
        if let failure {
            server.log(.warning, "Backup \(name) failed: \(failure)")
        } else {
            server.log(.notice, "Backup written: \(path)")
        }
    }

    private var automaticNames: [String] {
        let names = directory?.names(in: Saver.backups) ?? []
        return names.filter { $0.hasPrefix(Saver.automatic) && $0.hasSuffix(".rdb") }.sorted()
    }

    private func deleteOld() {
        for name in automaticNames.dropLast(server.configuration.backupsKept) {
            server.log(.notice, "Backup deleted: \(name)")
            directory?.delete("\(Saver.backups)/\(name)")
        }
    }

    /// Takes a backup if one is due. The first loop's; nothing else is being saved.
    func backUpIfDue() {
        let every = Int64(server.configuration.backupSeconds), now = self.now
        guard every > 0, server.load == nil else { return }
        var facts = self.facts.backups
        if facts.newest == nil {
            facts.newest = automaticNames.last ?? ""
            let newest = facts.newest
            state.withLock { $0.backups.newest = newest }
        }
        guard now - facts.triedAt >= (facts.failure == nil ? 1 : min(every, Saver.retrySeconds)),
            Saver.isDue(after: facts.newest ?? "", every, now)
        else { return }
        state.withLock { $0.backups.triedAt = now }
        server.standAlone {
            do throws(CommandError) { _ = try beginBackup(byItself: true) } catch {
                let text = "\(error)"
                state.withLock {
                    $0.backups.failure = text
                    $0.backups.endedAt = now
                }
                server.log(.warning, "Backup failed: \(text)")
            }
        }
    }

    /// Names sort by time: those of the last restart count too. One that is of the future was made before the
    /// clock was set back.
    static func isDue(after newest: String, _ every: Int64, _ now: Int64) -> Bool {
        newest <= automatic + stamp(now - every) + "~" || newest > automatic + stamp(now) + "~"
    }

    /// 20260102-030405, in UTC.
    static func stamp(_ seconds: Int64) -> String {
        var time = time_t(seconds), parts = tm()
        gmtime_r(&time, &parts)
        func two(_ number: Int32) -> String { number < 10 ? "0\(number)" : "\(number)" }
        return "\(parts.tm_year + 1900)\(two(parts.tm_mon + 1))\(two(parts.tm_mday))-"
            + two(parts.tm_hour) + two(parts.tm_min) + two(parts.tm_sec)
    }
}
