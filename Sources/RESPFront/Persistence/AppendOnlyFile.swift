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

    /// CONFIG SET appendonly yes. Errors: a file cannot be opened; another save runs.
    func turnOn() throws(FileFailure) {
        guard state == .off else { return }
        guard server.saver.directory != nil else { throw FileFailure("there is no directory for it") }
        manifest = past
        try directory.makeDirectory(configuration.appendDirectory)
        makeLog((log?.mark ?? 0) + 1)
        enter(.waiting)
        if server.saver.isRunning {
            facts_.withLock { $0.isScheduled = true }
            try turn()
            return
        }
        do throws(CommandError) { try rewrite() } catch {
            enter(.off)
            throw FileFailure("\(error)")
        }
    }

    /// What is there of another time: only its numbers are used on, until it is deleted.
    private var past: AOFManifest {
        guard let bytes = directory.contents(manifestPath), let found = try? AOFManifest(bytes)
        else { return AOFManifest() }
        return AOFManifest(parts: found.parts.map {
            AOFManifest.Part(name: $0.name, number: $0.number, kind: .history)
        })
    }

    /// CONFIG SET appendonly no: what there is stays, and is made durable.
    func turnOff() {
        guard state != .off else { return }
        checkpoint?.snapshot.abandon()
        facts_.withLock { $0.isScheduled = false }
        isFlushing = true
        enter(.off)
    }

    /// Everything appended is being made durable, because no more comes.
    private var isFlushing = false

    private func makeLog(_ sequence: UInt64) {
        let log = server.store.makeCommitLog(configuration.appendSync, sequence: sequence) {
            [unowned server] in server.fronts[0].wake()
        }
        log.onFailure = { [unowned self] in failed($0) }
        log.onRecovery = { [unowned self] in recovered() }
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
        if state == .off { server.busyness.setUnwritable(nil) }
    }

    /// The server goes on without the file: what is in it is of the past from now on.
    func leave(_ manifest: AOFManifest) {
        self.manifest = manifest
        self.manifest.isLeft = true
        do throws(FileFailure) { try write(self.manifest) } catch {
            server.log(.warning, "append-only file: \(error)")
        }
        server.store.log.keepsRetired = false
    }

    /// CONFIG SET appendfsync.
    func policyChanged() {
        guard let log, state != .off, log.policy != configuration.appendSync else { return }
        let wasDirect = log.policy == .always
        log.policy = configuration.appendSync
        if wasDirect != (log.policy == .always) {
            do throws(FileFailure) { try turn() } catch {
                server.log(.warning, "append-only file: \(error)")
            }
        }
        holdsReplies = state == .on && log.policy == .always
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
        do throws(FileFailure) {
            if isFirst || state == .on || manifest.base != nil { try write(manifest) }
        } catch {
            // The file stays: the manifest may name it by now. The next try has the same name.
            manifest.parts.removeLast()
            directory.close(file, at: 0)
            throw error
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
        coming = (manifest.nextBase, manifest.nextIncrement)
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
        facts_.withLock {
            $0.rewriteStartedAt = now
            $0.isScheduled = false
        }
        log?.isSyncSuspended = configuration.suspendsSync
    }

    /// The base is written, or cannot be. On the first loop.
    private func ended(_ file: DiskFile, error: Int) {
        var failure = error == 0 ? nil : String(cString: strerror(Int32(error)))
        if failure == nil {
            do throws(FileFailure) {
                try adopt(file, checkpoint!, number: coming!.base, from: coming!.increment)
            } catch { failure = error.description }
        } else {
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
        guard state == .waiting, manifest.base != nil, !isRewriting else { return }
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
    }

    /// Whether the checkpoint of the end is the base of the next start. It has everything, what could not be
    /// written to the increments too.
    public var isKept: Bool { state == .on }

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
        if isFlushing { return flush(log) }
        if state != .off { log.pump(first) }
    }

    private func flush(_ log: CommitLog) {
        log.pump(first, .all)
        guard log.isIdle else { return }
        isFlushing = false
        guard state == .off else { return }
        if let file = log.close() { ended(file) }
        leave(manifest)
    }

    /// The first loop's periodic look: what waits is written, and rewriting begins when it is time.
    public func cron() {
        guard let log, state != .off else { return }
        log.pump(first, .waiting)
        enterWithBase()
        let facts = self.facts, now = first.now
        guard facts.rewriteStartedAt == nil, !server.saver.isRunning, now >= retryAt else { return }
        guard facts.isScheduled || isLarge(facts) || server.store.log.wantsCheckpoint else { return }
        retryAt = now + 1000
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

    private func failed(_ code: Int) {
        let why = String(cString: strerror(Int32(code)))
        if log!.policy == .always, state == .on {
            server.fail("""
                Can't recover from AOF write error when the AOF fsync policy is 'always': \(why). Exiting...
                """)
        }
        if !server.busyness.isUnwritable {
            server.log(.warning, "Error writing to the AOF file: \(why). Writes are refused until it is gone")
        }
        server.busyness.setUnwritable("MISCONF Errors writing to the AOF file: \(why)")
    }

    private func recovered() {
        server.busyness.setUnwritable(nil)
        server.log(.warning, "AOF write error looks solved. The server can write again.")
    }

    // MARK: The end

    /// Makes everything appended durable, while nothing else runs; false if that failed.
    @discardableResult
    func finish() -> Bool {
        guard let log, state != .off else { return true }
        while let checkpoint, !checkpoint.snapshot.isOver {
            for worker in server.store.workers {
                _ = worker.background()
                directory.carryOut(worker)
            }
        }
        repeat {
            log.pump(first, .all)
            directory.carryOut(first)
        } while !log.isIdle
        if let file = log.close() { ended(file) }
        return log.failure == 0
    }

    /// After all loops have ended.
    public func end() -> Bool {
        checkpoint?.snapshot.abandon()
        return finish()
    }
}
