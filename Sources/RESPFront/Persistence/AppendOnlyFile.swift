import Glibc
import Primitives
import Synchronization
import TieredStore

/// The append-only file: everything that is changed, so that a start after a crash brings it back.
///
/// It is a directory of files that a manifest names (Redis 7.0): a base, which is a snapshot, and
/// increments of what was changed since. Rewriting begins an increment and a new base at one moment, and
/// drops what is before them when the base is there. Turned on and off while the world stands still; the
/// first loop writes.
public final class AppendOnlyFile: @unchecked Sendable {
    /// `waiting`: changes are recorded, but until there is a base nothing could be made of them.
    enum State { case off, waiting, on }

    /// What INFO tells; times in Unix milliseconds.
    struct Facts {
        var rewriteStartedAt: Int64?
        var isScheduled = false
        var lastRewriteSeconds: Int64 = -1
        var lastRewriteSucceeded = true
        var rewrites = 0
        var failures = 0
        var baseBytes = 0
        /// Bytes of increments that are closed.
        var closedBytes = 0
        /// Of all files after the last rewrite, or at the start.
        var rewrittenBytes = 0
    }

    private unowned let server: ServerState
    public private(set) var log: CommitLog?
    private(set) var state = State.off
    private(set) var manifest = AOFManifest()
    private let facts_ = Mutex(Facts())
    /// The base that is being written.
    private var checkpoint: Checkpoint?
    /// Number of the base that is being written, and of the first increment that goes with it.
    private var coming: (base: Int, increment: Int)?
    /// Unix milliseconds before which rewriting is not tried again.
    private var retryAt: Int64 = 0
    /// Unix milliseconds at which a rewrite is tried that puts an end to a failure.
    private var healAt: Int64 = 0
    private static let healMilliseconds: Int64 = 10_000
    /// Writes are refused because it cannot be written.
    private var isRefusing = false
    /// Replies wait until what they tell of is durable.
    public private(set) var holdsReplies = false

    init(_ server: ServerState) { self.server = server }

    var facts: Facts { facts_.withLock { $0 } }
    var isRewriting: Bool { facts.rewriteStartedAt != nil }
    public var rewriteCount: Int { facts.rewrites }
    private var directory: any DataDirectory { server.saver.directory! }
    private var configuration: Configuration { server.configuration }
    private var first: StoreWorker { server.fronts[0].worker }

    // MARK: Names

    private func path(_ name: String) -> String { "\(configuration.appendDirectory)/\(name)" }
    private var manifestPath: String { configuration.appendManifest }
    private func baseName(_ number: Int) -> String {
        "\(configuration.appendFile).\(number).base\(AOFManifest.checkpointSuffix)"
    }
    private func incrementName(_ number: Int) -> String { "\(configuration.appendFile).\(number).incr.aof" }

    // MARK: Beginning and ending; the world stands still, or loops do not run yet

    /// Where recording goes on: behind what was loaded.
    struct Place {
        var manifest: AOFManifest
        /// Of the next commit.
        var sequence: UInt64
        var bytes = (base: 0, increments: 0)
    }

    /// What is to be loaded; the file of Redis before 7.0 is taken over. Errors: it cannot be read.
    func find() throws(FileFailure) -> AOFLoad? {
        if !directory.exists(manifestPath), directory.exists(configuration.appendFile) { try adoptOldFile() }
        return directory.exists(manifestPath) ? try open() : nil
    }

    /// What the manifest names. Errors: it cannot be read.
    func open() throws(FileFailure) -> AOFLoad {
        guard let bytes = directory.contents(manifestPath) else {
            throw FileFailure("\(manifestPath): \(String(cString: strerror(errno)))")
        }
        let found: AOFManifest
        do throws(AOFManifest.Failure) { found = try AOFManifest(bytes) } catch {
            throw FileFailure("\(manifestPath), line \(error.line): Invalid AOF manifest file format")
        }
        return try AOFLoad(server, found, in: configuration.appendDirectory)
    }

    /// The one file of Redis before 7.0 becomes the base.
    private func adoptOldFile() throws(FileFailure) {
        let name = configuration.appendFile
        server.log(.notice, "Migrating the append only file \(name) into \(configuration.appendDirectory)")
        try directory.makeDirectory(configuration.appendDirectory)
        try write(AOFManifest(parts: [AOFManifest.Part(name: name, number: 1, kind: .base)]))
        try directory.rename(name, to: path(name))
    }

    /// Begins to record into a new increment behind what was loaded; nil: that was not the append-only file:
    /// if there are keys, a base is written first.
    func begin(at place: Place?) throws(FileFailure) {
        manifest = place?.manifest ?? past
        makeLog(place?.sequence ?? 1)
        let isEmpty = (0..<server.store.options.databases).allSatisfy {
            server.store.keyCount(database: $0) == 0
        }
        let isComplete = place != nil || isEmpty && server.libraries.known.libraries.isEmpty
        try directory.makeDirectory(configuration.appendDirectory)
        if isComplete {
            try turn(isFirst: true)
            for part in manifest.parts where part.kind == .history { directory.delete(path(part.name)) }
            manifest.parts.removeAll { $0.kind == .history }
            let bytes = place?.bytes ?? (base: 0, increments: 0)
            facts_.withLock {
                $0.baseBytes = bytes.base
                $0.closedBytes = bytes.increments
                $0.rewrittenBytes = bytes.base + bytes.increments
            }
            enter(.on)
        } else {
            enter(.waiting)
            do throws(CommandError) { try rewrite() } catch { throw FileFailure("\(error)") }
        }
    }

    /// CONFIG SET appendonly yes. Errors: a file cannot be opened.
    func turnOn() throws(FileFailure) {
        guard state == .off else { return }
        guard server.saver.directory != nil else { throw FileFailure("there is no directory for it") }
        manifest = past
        try directory.makeDirectory(configuration.appendDirectory)
        makeLog((log?.mark ?? 0) + 1)
        enter(.waiting)
        do throws(FileFailure) { try beginWaiting() } catch {
            enter(.off)
            while let file = log!.close() { directory.discard(file.file) }
            throw error
        }
        mustLeave = false
    }

    /// Begins a base, or an increment that one will be written for.
    private func beginWaiting() throws(FileFailure) {
        // A rewrite that was given up a moment ago has not ended yet.
        if server.saver.isRunning || isRewriting {
            facts_.withLock { $0.isScheduled = true }
            return try turn()
        }
        do throws(CommandError) { try rewrite() } catch { throw FileFailure("\(error)") }
    }

    /// What is there of another time: only its numbers are used on, until it is deleted.
    private var past: AOFManifest {
        var found = manifest
        if found.parts.isEmpty, let bytes = directory.contents(manifestPath) {
            found = (try? AOFManifest(bytes)) ?? found
        }
        return AOFManifest(parts: found.parts.map {
            AOFManifest.Part(name: $0.name, number: $0.number, kind: .history)
        })
    }

    /// CONFIG SET appendonly no: what there is stays, and is made durable.
    func turnOff() {
        guard state != .off else { return }
        checkpoint?.snapshot.abandon()
        coming = nil
        facts_.withLock { $0.isScheduled = false }
        ending.append(log!)
        mustLeave = true
        enter(.off)
    }

    /// Nothing more comes: what was appended is being made durable, then their files are closed. More than
    /// one if it is turned on and off faster than the disk writes.
    private var ending: [CommitLog] = []
    /// The manifest does not say yet that the server went on without the files.
    private var mustLeave = false

    private func makeLog(_ sequence: UInt64) {
        let log = server.store.makeCommitLog(configuration.appendSync, sequence: sequence) {
            [unowned server] in server.fronts[0].wake()
        }
        log.onFailure = { [unowned self, unowned log] in failed($0, log) }
        log.onRecovery = { [unowned self, unowned log] in recovered(log) }
        log.onDurable = { [unowned server] in
            for front in server.fronts.dropFirst() where front.holdsReplies { front.wake() }
        }
        log.onFileEnd = { [unowned self] file in ended(file) }
        self.log = log
    }

    private func enter(_ state: State) {
        self.state = state
        // What a base refers to stays until the next.
        if state != .off { server.store.log.keepsRetired = true }
        for front in server.fronts {
            front.commitLog = state == .off ? nil : log
            front.recordedChanges = front.keys.changes
        }
        holdsReplies = state == .on && configuration.appendSync == .always
        guard state == .off else { return }
        isRefusing = false
        server.busyness.setUnwritable(nil, by: .appendOnly)
    }

    /// The server goes on without the file: what is in it is of the past from now on.
    func leave(_ manifest: AOFManifest) {
        self.manifest = manifest
        self.manifest.isLeft = true
        do throws(FileFailure) {
            try write(self.manifest)
            mustLeave = false
        } catch {
            server.log(.warning, "append-only file: \(error)")
        }
        server.store.log.keepsRetired = false
    }

    /// CONFIG SET appendfsync. Errors: the increment it needs cannot be created, or what there is cannot be
    /// written: nobody could be promised more. All is as it was then.
    func policyChanged() throws(FileFailure) {
        let policy = configuration.appendSync
        guard let log, state != .off, log.policy != policy else { return }
        if (log.policy == .always) != (policy == .always) {
            if log.failure != 0 { throw FileFailure(String(cString: strerror(Int32(log.failure)))) }
            try turn()
        }
        log.policy = policy
        holdsReplies = state == .on && policy == .always
    }

    // MARK: Files

    /// Appends to a new increment from now on. Once there is something it follows, or if it is the `first`,
    /// the manifest names it before anything is in it.
    private func turn(isFirst: Bool = false) throws(FileFailure) {
        let number = manifest.nextIncrement, log = self.log!
        let isDirect = configuration.appendSync == .always
        let file = try directory.create(path(incrementName(number)), isDirect: isDirect)
        let part = AOFManifest.Part(
            name: incrementName(number), number: number, kind: .increment, first: log.sequenceOfNextFile)
        manifest.parts.append(part)
        if isFirst || state == .on || manifest.base != nil {
            do throws(FileFailure) { try write(manifest) } catch {
                manifest.parts.removeLast()
                // Empty it does no harm, even if the manifest names it after all.
                directory.close(file, at: 0)
                throw error
            }
        }
        facts_.withLock { $0.closedBytes += log.fileBytes }
        log.turn(to: CommitFile(file, number: number, isDirect: isDirect))
    }

    private func write(_ manifest: AOFManifest) throws(FileFailure) {
        try directory.replace(manifestPath, with: manifest.bytes)
    }

    private func ended(_ file: CommitFile) { directory.close(file.file, at: file.end) }

    // MARK: Rewriting

    /// BGREWRITEAOF: begins a base of everything as it is now and an increment of what comes. The world
    /// stands still. Errors: one is running; a file cannot be opened.
    func rewrite() throws(CommandError) {
        if state == .off { throw .message("ERR the append-only file is off: CONFIG SET appendonly yes") }
        if isRewriting {
            throw .message("ERR Background append only file rewriting already in progress")
        }
        if server.saver.isRunning {
            return facts_.withLock { $0.isScheduled = true }
        }
        let now = first.now
        do throws(FileFailure) { try beginRewrite(now) } catch {
            facts_.withLock {
                $0.isScheduled = state == .waiting
                $0.lastRewriteSucceeded = false
                $0.failures += 1
            }
            retryAt = now + 1000
            server.log(.warning, "Can't rewrite append only file in background: \(error)")
            throw .message("""
                ERR Can't execute an AOF background rewriting. Please check the server logs for more \
                information.
                """)
        }
        server.log(.notice, "Background append only file rewriting started")
    }

    private func beginRewrite(_ now: Int64) throws(FileFailure) {
        guard server.saver.directory != nil else { throw FileFailure("there is no directory for it") }
        try directory.makeDirectory(configuration.appendDirectory)
        let base = manifest.nextBase
        try turn()
        let file = try directory.create("temp-rewriteaof-bg-\(server.processID).aof", isDirect: false)
        checkpoint = server.store.beginCheckpoint(
            file, libraries: server.librarySources, blockSize: 256 << 10,
            wake: { [unowned server] in server.fronts[0].wake() },
            ended: { [unowned self] in ended(file, error: $0) })
        guard checkpoint != nil else {
            directory.discard(file)
            throw FileFailure("out of memory")
        }
        coming = (base, manifest.increments.last!.number)
        facts_.withLock {
            $0.rewriteStartedAt = now
            $0.isScheduled = false
        }
        log?.isSyncSuspended = configuration.suspendsSync
    }

    /// The base is written, or cannot be. On the first loop.
    private func ended(_ file: DiskFile, error: Int) {
        var failure = error == 0 ? nil : String(cString: strerror(Int32(error)))
        if failure == nil, let coming {
            do throws(FileFailure) {
                try adopt(file, checkpoint!, number: coming.base, from: coming.increment)
            } catch { failure = error.description }
        } else {
            // It was turned off meanwhile, or something failed.
            failure = failure ?? String(cString: strerror(ECANCELED))
            directory.discard(file)
        }
        let now = first.now
        checkpoint = nil
        coming = nil
        log?.isSyncSuspended = false
        facts_.withLock {
            $0.lastRewriteSeconds = (now - ($0.rewriteStartedAt ?? now)) / 1000
            $0.rewriteStartedAt = nil
            $0.lastRewriteSucceeded = failure == nil
            if failure == nil {
                $0.rewrites += 1
                $0.failures = 0
                $0.closedBytes = 0
                $0.rewrittenBytes = $0.baseBytes
            } else {
                $0.failures += 1
                $0.isScheduled = state == .waiting
            }
        }
        if let failure {
            retryAt = now + 1000
            server.log(.warning, "Background AOF rewrite terminated: \(failure)")
            return
        }
        server.log(.notice, "Background AOF rewrite finished successfully")
    }

    /// There is a base: who is answered from now on is promised what the policy says.
    private func enterWithBase() {
        guard state == .waiting, manifest.base != nil, !isRewriting, log!.failure == 0 else { return }
        server.standAlone { enter(.on) }
        server.ready()
    }

    /// The new base takes the place of what was before the increment `from`.
    private func adopt(
        _ file: DiskFile, _ checkpoint: Checkpoint, number: Int, from increment: Int
    ) throws(FileFailure) {
        let bytes = directory.byteCount(file), name = baseName(number)
        try directory.close(file, as: path(name))
        var next = AOFManifest(parts: [AOFManifest.Part(name: name, number: number, kind: .base)])
        next.parts += manifest.increments.filter { $0.number >= increment }
        try write(next)
        server.store.log.checkpointIsDurable(checkpoint.number)
        for part in manifest.parts where !next.parts.contains(part) { directory.delete(path(part.name)) }
        manifest = next
        facts_.withLock { $0.baseBytes = bytes }
        log!.drop(before: increment, first)
    }

    /// Whether the checkpoint of the end is the base of the next start. It needs nothing of the files before,
    /// which may have failed, or never have had a base.
    public var isKept: Bool { state != .off }
    /// What was acknowledged since is in no file.
    public var hasFailed: Bool { state != .off && log!.failure != 0 }

    /// A checkpoint of everything, written when nothing changes any more, is the base; nothing follows it.
    public func end(with file: DiskFile, _ checkpoint: Checkpoint) throws(FileFailure) {
        try adopt(file, checkpoint, number: manifest.nextBase, from: .max)
    }

    /// What is being written is of a keyspace that is no more: FLUSHALL. It is begun again. The world stands
    /// still.
    func abandonRewrite() {
        guard let checkpoint else { return }
        checkpoint.snapshot.abandon()
        facts_.withLock { $0.isScheduled = true }
    }

    // MARK: Turns

    /// Writes what is due. The first loop's, once a turn.
    @inline(__always)
    public func pump() {
        guard let log else { return }
        if !ending.isEmpty { flushEnding() }
        if state != .off { log.pump(first) }
    }

    private func flushEnding() {
        ending.removeAll { log in
            // What has failed is not tried for ever.
            guard log.isIdle else {
                log.pump(first, .all)
                return false
            }
            while let file = log.close() { ended(file) }
            return true
        }
        if ending.isEmpty, mustLeave { leave(manifest) }
    }

    /// The first loop's periodic look: what waits is written, and rewriting begins when it is time.
    public func cron() {
        guard let log, state != .off else { return }
        log.pump(first, .waiting)
        enterWithBase()
        let facts = self.facts, now = first.now
        guard facts.rewriteStartedAt == nil, !server.saver.isRunning, now >= retryAt else { return }
        let heals = log.failure != 0 && now >= healAt
        guard facts.isScheduled || heals || isLarge(facts) || server.store.log.wantsCheckpoint
        else { return }
        retryAt = now + 1000
        if heals { healAt = now + AppendOnlyFile.healMilliseconds }
        server.standAlone { try? rewrite() }
    }

    /// auto-aof-rewrite-percentage and -min-size.
    private func isLarge(_ facts: Facts) -> Bool {
        let percentage = configuration.rewritePercentage, size = byteCount
        guard percentage > 0, state == .on, size > configuration.rewriteMinBytes else { return false }
        let growth = size * 100 / max(1, facts.rewrittenBytes) - 100
        return growth >= percentage
    }

    /// Bytes of all files.
    var byteCount: Int {
        let facts = self.facts
        return facts.baseBytes + facts.closedBytes + (log?.fileBytes ?? 0)
    }

    // MARK: Failures; on the first loop

    private func failed(_ code: Int, _ log: CommitLog) {
        guard log === self.log, state != .off else { return }
        let why = String(cString: strerror(Int32(code)))
        if log.policy == .always, state == .on {
            server.fail("""
                Can't recover from AOF write error when the AOF fsync policy is 'always': \(why). Exiting...
                """)
        }
        if !isRefusing {
            isRefusing = true
            server.log(.warning, "Error writing to the AOF file: \(why). Writes are refused until it is gone")
            healAt = first.now + AppendOnlyFile.healMilliseconds
        }
        // Writing it again proves nothing: a new base must take its place, at once.
        if log.needsBase { healAt = min(healAt, first.now) }
        server.busyness.setUnwritable("MISCONF Errors writing to the AOF file: \(why)", by: .appendOnly)
    }

    private func recovered(_ log: CommitLog) {
        guard log === self.log, state != .off else { return }
        isRefusing = false
        server.busyness.setUnwritable(nil, by: .appendOnly)
        server.log(.warning, "AOF write error looks solved. The server can write again.")
    }

    // MARK: The end

    /// After all loops have ended: makes everything appended durable; false if that failed.
    public func end() -> Bool {
        checkpoint?.snapshot.abandon()
        while let checkpoint, !checkpoint.snapshot.isOver {
            for worker in server.store.workers {
                _ = worker.background()
                directory.carryOut(worker)
            }
        }
        if state != .off {
            ending.append(log!)
            // Once more, even if it has failed.
            log!.pump(first, .all)
            directory.carryOut(first)
        }
        while !ending.isEmpty {
            flushEnding()
            directory.carryOut(first)
        }
        if mustLeave { leave(manifest) }
        return state == .off || log!.failure == 0
    }
}
