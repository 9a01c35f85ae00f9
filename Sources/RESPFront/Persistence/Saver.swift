import Glibc
import Primitives
import Synchronization
import TieredStore

/// RDB files: SAVE, BGSAVE and `save` points, one at a time.
///
/// Begun while the world stands still; ends on the first loop. What INFO and LASTSAVE tell is behind a lock.
public final class Saver: @unchecked Sendable {
    /// What is known of saves; times in Unix seconds.
    struct Facts {
        /// Of the last one that succeeded, or of the start.
        var lastSaved: Int64
        var lastSucceeded = true
        var lastSeconds: Int64 = -1
        /// Unix milliseconds; nil: none is running.
        var startedAt: Int64?
        var count = 0
        /// Number of the last one that ended, and whether it succeeded.
        var ended = 0
        var changesSaved: UInt64 = 0
        var lastTried: Int64 = 0
        var isScheduled = false
        /// Keys the last one left out, since their values could not be read.
        var unreadable = 0
        var backups = BackupFacts()
    }

    unowned let server: ServerState
    /// Set once, before loops run; nil where there is none (tests): nothing can be saved then.
    public var directory: (any DataDirectory)?
    let state: Mutex<Facts>
    /// The one being taken; changed while the world stands still, and by the first loop at its end.
    private var snapshot: Snapshot?
    private var number = 0
    private var changesAtStart: UInt64 = 0
    /// Keys it leaves out, since their values cannot be read. Counted on any thread.
    private let unreadable = Atomic<Int>(0)

    init(_ server: ServerState, now: Int64) {
        self.server = server
        state = Mutex(Facts(lastSaved: now / 1000))
    }

    var facts: Facts { state.withLock { $0 } }
    var isRunning: Bool { facts.startedAt != nil }

    /// Changes made to the keyspace since the last file; while other loops run, a little late.
    var changes: UInt64 {
        let all = server.fronts.reduce(0) { $0 &+ $1.keys.changes }
        return all &- facts.changesSaved
    }

    // MARK: Saving

    /// Begins a file of everything as it is now; its number. The world stands still.
    /// Errors: one is running; no directory; the file cannot be opened.
    func begin(_ purpose: Purpose = .dump) throws(CommandError) -> Int {
        if isRunning { throw .message("ERR Background save already in progress") }
        if server.appendOnly.isRewriting {
            throw .message("""
                ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE in \
                order to schedule a BGSAVE whenever possible.
                """)
        }
        guard let directory else { throw .message("ERR there is no directory to save to") }
        let now = server.fronts[0].worker.now
        if purpose == .dump {
            state.withLock {
                $0.lastTried = now / 1000
                $0.isScheduled = false
            }
        }
        let file: DiskFile
        let temporary = purpose == .dump ? "temp-\(server.processID).rdb" : Saver.unfinishedBackup
        do throws(FileFailure) { file = try directory.create(temporary, isDirect: false) } catch {
            if purpose == .dump { state.withLock { $0.lastSucceeded = false } }
            applyRefusal()
            server.log(.warning, "Failed opening the temp RDB file for saving: \(error)")
            throw .message("ERR \(error)")
        }
        changesAtStart = server.fronts.reduce(0) { $0 &+ $1.keys.changes }
        number += 1
        unreadable.store(0, ordering: .relaxed)
        state.withLock { $0.startedAt = now }
        snapshot = server.store.beginRDB(
            file, facts(now), wake: { [unowned server] in server.fronts[0].wake() },
            unreadable: { [unowned self] key in
                unreadable.add(1, ordering: .relaxed)
                let name = key.prefix(64).text
                server.log(.warning, "RDB: the value of key '\(name)' cannot be read: left out")
            },
            ended: { [unowned self] in ended(file, purpose, error: $0) })
        guard snapshot != nil else {
            directory.discard(file)
            state.withLock { $0.startedAt = nil }
            throw .outOfMemory
        }
        return number
    }

    private func facts(_ now: Int64) -> RDBFacts {
        RDBFacts(
            fields: [
                ("redis-ver", Info.redisVersion), ("redis-bits", "64"), ("ctime", "\(now / 1000)"),
                ("used-mem", "\(server.store.ledger.used)"), ("aof-base", "0"),
            ],
            functions: server.libraries.known.sorted.map(\.text),
            hasChecksum: server.configuration.rdbChecksum)
    }

    /// The file is written, or cannot be. On the first loop.
    private func ended(_ file: DiskFile, _ purpose: Purpose, error: Int) {
        var name = server.configuration.dbfilename
        if case .backup(let own) = purpose { name = "backups/\(own)" }
        var failure = error == 0 ? nil : String(cString: strerror(Int32(error)))
        if failure == nil {
            do throws(FileFailure) { try directory!.close(file, as: name) } catch {
                failure = error.description
            }
        } else {
            directory!.discard(file)
        }
        snapshot = nil
        let missing = unreadable.load(ordering: .relaxed)
        if failure == nil, missing > 0 {
            server.log(.warning, "\(name): \(missing) keys are not in it, since their values cannot be read")
        }
        if case .backup(let own) = purpose {
            backupEnded(own, number, failure, unreadable: missing)
        } else {
            dumpEnded(failure, unreadable: missing, wasAbandoned: error == Int(ECANCELED))
        }
        for front in server.fronts { front.post(.saveEnded) }
    }

    /// `wasAbandoned`: nobody wanted it any more, which is no failure to write.
    private func dumpEnded(_ failure: String?, unreadable: Int, wasAbandoned: Bool) {
        let now = server.fronts[0].worker.now
        state.withLock {
            $0.lastSeconds = (now - ($0.startedAt ?? now)) / 1000
            $0.startedAt = nil
            $0.ended = number
            if !wasAbandoned { $0.lastSucceeded = failure == nil }
            $0.unreadable = failure == nil ? unreadable : 0
            if failure == nil {
                $0.lastSaved = now / 1000
                $0.changesSaved = changesAtStart
                $0.count += 1
            }
        }
        applyRefusal()
        if let failure {
            server.log(.warning, "Background saving error: \(failure)")
        } else {
            server.log(.notice, "DB saved on disk")
        }
    }

    /// stop-writes-on-bgsave-error (Redis 7.0): the settings or the last save have changed.
    func applyRefusal() {
        let configuration = server.configuration
        let refuses = configuration.stopsWritesUnsaved && !configuration.savePoints.isEmpty
            && !facts.lastSucceeded
        server.busyness.setUnwritable(refuses ? Saver.refusal : nil, by: .snapshot)
    }

    private static let refusal = """
        MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. \
        Commands that may modify the data set are disabled, because this instance is configured to report \
        errors during writes if RDB snapshotting fails (stop-writes-on-bgsave-error option). Please check \
        the Redis logs for details about the RDB error.
        """

    /// Nothing of what is being saved will be there: FLUSHALL, FLUSHDB, SHUTDOWN NOSAVE. The world stands
    /// still.
    func abandon() { snapshot?.abandon() }

    /// What is there now is what a file has.
    func loaded() {
        let changes = server.fronts.reduce(0) { $0 &+ $1.keys.changes }
        state.withLock { $0.changesSaved = changes }
    }

    /// Saves soon: BGSAVE in a transaction, whose changes are one step.
    func schedule() { state.withLock { $0.isScheduled = true } }

    // MARK: By itself

    /// The first loop's periodic look at the `save` points.
    public func cron() {
        let facts = self.facts
        guard facts.startedAt == nil, directory != nil, !server.appendOnly.isRewriting
        else { return }
        let now = server.fronts[0].worker.now / 1000, changes = self.changes
        let isDue = facts.isScheduled || server.configuration.savePoints.contains {
            changes >= $0.changes && now - facts.lastSaved > $0.seconds
                && (facts.lastSucceeded || now - facts.lastTried > 5)
        }
        guard isDue else { return backUpIfDue() }
        server.log(.notice, "\(changes) changes. Saving...")
        server.standAlone { _ = try? begin() }
    }

    // MARK: At once

    /// After all loops have ended: what runs is abandoned, and everything is saved if it is to be; false
    /// if that failed.
    public func end(saving: Bool) -> Bool {
        abandon()
        finish()
        guard saving else { return true }
        server.log(.notice, "Saving the final RDB snapshot before exiting.")
        do throws(CommandError) { try saveNow() } catch {
            server.log(.warning, "Error trying to save the DB: \(error)")
            return false
        }
        return true
    }

    /// Carries the running save to its end.
    private func finish() {
        guard let taken = snapshot else { return }
        while !taken.isOver {
            for worker in server.store.workers {
                _ = worker.background()
                directory!.carryOut(worker)
            }
        }
    }

    /// Saves while nothing else runs: DEBUG RELOAD, and at the end. The world stands still.
    func saveNow() throws(CommandError) {
        _ = try begin()
        finish()
        if !facts.lastSucceeded { throw .message("ERR Error saving the DB") }
    }
}
