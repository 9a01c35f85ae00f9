import CSystem
import Glibc
import IOUring
import Primitives
import RESPFront
import Synchronization
import TieredStore

/// What the server begins with. The first that applies:
///
/// 1. the file `load` names
/// 2. the append-only file, unless a server went on without it; its base may be a checkpoint
/// 3. the checkpoint of the last server, if it belongs to what is in the tier file
/// 4. `dbfilename`, if it exists; when there is a checkpoint that cannot be used, only if it is not older
/// 5. what the log tells, if something is in the tier file
/// 6. nothing
///
/// With 1, 4, 6 and an append-only file without a checkpoint the tier file starts empty. Nothing in the tier
/// file is written before a checkpoint or the log has been read to the end.
struct Recovery {
    enum Source: Equatable {
        case rdb(String), appendOnly(base: String?), checkpoint, log, nothing

        /// What is in the tier file is wanted.
        var keepsTierFile: Bool {
            switch self {
            case .checkpoint, .log: true
            case .appendOnly(let base): base != nil
            case .rdb, .nothing: false
            }
        }
    }

    static let checkpointName = "tier.checkpoint"

    let configuration: Configuration
    let tier: TierFile
    let log: ServerLog

    // MARK: The decision

    /// Errors: the checkpoint is of a newer tierd, which alone can read it.
    func source() throws(Server.StartError) -> Source {
        if !configuration.load.isEmpty { return .rdb(configuration.load) }
        if let found = appendOnly() { return found }
        guard access(Recovery.checkpointName, F_OK) == 0, tier.previous?.ending != .dropped
        else { return sourceWithoutCheckpoint() }
        switch standing() {
        case .current: return .checkpoint
        case .past: return sourceWithoutCheckpoint()
        case .newer(let reason): throw Server.StartError(description: "\(Recovery.checkpointName): \(reason)")
        case .unusable(let reason):
            log.write(.warning, "\(Recovery.checkpointName) is not used: \(reason)")
            defer { setAside() }
            return sourceWithoutCheckpoint(unusable: true)
        }
    }

    /// The append-only file, if it is what everything is in. One of tierd's is loaded even if it is off by
    /// now: what is in it is nowhere else.
    private func appendOnly() -> Source? {
        guard let bytes = FileBytes.read(configuration.appendManifest) else {
            let isOld = access(configuration.appendFile, F_OK) == 0
            return configuration.appendOnly && isOld ? .appendOnly(base: nil) : nil
        }
        guard let manifest = try? AOFManifest(bytes) else {
            // Loading it will say what is wrong.
            return configuration.appendOnly ? .appendOnly(base: nil) : nil
        }
        if manifest.isLeft || !configuration.appendOnly && !manifest.isOwn { return nil }
        if !configuration.appendOnly {
            log.write(.warning, "appendonly is no: the append-only file is loaded once more, and left")
        }
        return .appendOnly(base: manifest.checkpoint.map { "\(configuration.appendDirectory)/\($0)" })
    }

    /// `unusable`: there is a checkpoint, which should have been used.
    func sourceWithoutCheckpoint(unusable: Bool = false) -> Source {
        let hasLog = tier.previous.map { $0.ending != .dropped && tier.segmentsKept > 0 } ?? false
        if access(configuration.dbfilename, F_OK) == 0 {
            if !unusable || !hasLog || isNewer(configuration.dbfilename, than: Recovery.checkpointName) {
                return .rdb(configuration.dbfilename)
            }
            log.write(.warning, """
                \(configuration.dbfilename) is older than \(Recovery.checkpointName) and not loaded; \
                to begin with it: --load \(configuration.dbfilename)
                """)
        }
        return hasLog ? .log : .nothing
    }

    private func isNewer(_ a: String, than b: String) -> Bool {
        var first = stat(), second = stat()
        guard stat(a, &first) == 0, stat(b, &second) == 0 else { return true }
        return (first.st_mtim.tv_sec, first.st_mtim.tv_nsec)
            >= (second.st_mtim.tv_sec, second.st_mtim.tv_nsec)
    }

    private enum Standing {
        /// Of the last server, of one before it, of a newer tierd, or for the reason of no use.
        case current, past, newer(String), unusable(String)
    }

    /// Whether the checkpoint belongs to what is in the tier file, as far as its head tells.
    private func standing() -> Standing {
        guard let file = CheckpointFile(Recovery.checkpointName)
        else { return .unusable(SystemError.text(of: errno)) }
        do throws(CheckpointError) {
            let head = try CheckpointLoad.head(byteCount: file.byteCount, read: file.read)
            guard let previous = tier.previous, head.identity == previous.identity
            else { throw CheckpointError(.otherTierFile) }
            return head.generation == previous.generation ? .current : .past
        } catch {
            if case .newerFormat = error.reason { return .newer(error.text) }
            return .unusable(error.text)
        }
    }

    /// Puts a checkpoint that cannot be used where nobody takes it for one.
    func setAside() { rename(Recovery.checkpointName, Recovery.checkpointName + ".unused") }
}

/// A checkpoint open for reading, past the page cache where the file system can: filling that takes as long
/// as the keys do.
final class CheckpointFile: Sendable {
    /// A read of more than this is of a block.
    static let headBytes = 64
    private let descriptor: Int32
    private let isDirect: Bool
    let byteCount: Int

    init?(_ path: String) {
        let direct = open(path, O_RDONLY | O_CLOEXEC | csystem_o_direct)
        isDirect = direct >= 0
        descriptor = isDirect ? direct : open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        var facts = stat()
        byteCount = fstat(descriptor, &facts) == 0 ? Int(facts.st_size) : 0
    }

    deinit { close(descriptor) }

    /// As `CheckpointLoad.Read` says.
    func read(_ target: UnsafeMutableRawPointer, _ count: Int, _ offset: Int) -> Bool {
        if !isDirect { return CheckpointFile.read(descriptor, target, count, offset) }
        if count >= 4096 { return readPages(target, count, offset) }
        let first = offset & ~4095
        return withUnsafeTemporaryAllocation(byteCount: 8192, alignment: 4096) { pages in
            let memory = pages.baseAddress!
            guard readPages(memory, offset - first + count, first) else { return false }
            target.copyMemory(from: memory + (offset - first), byteCount: count)
            return true
        }
    }

    /// Reads whole pages, at least `count` bytes.
    private func readPages(_ target: UnsafeMutableRawPointer, _ count: Int, _ offset: Int) -> Bool {
        var done = 0
        while done < count {
            let wanted = (count - done + 4095) & ~4095
            let n = pread(descriptor, target + done, wanted, off_t(offset + done))
            if n < 0, errno == EINTR { continue }
            // A file that does not end with a page.
            if n <= 0 || n & 4095 != 0, done + max(0, n) < count { return false }
            done += n
        }
        return true
    }

    static func read(
        _ descriptor: Int32, _ target: UnsafeMutableRawPointer, _ count: Int, _ offset: Int
    ) -> Bool {
        var done = 0
        while done < count {
            let n = pread(descriptor, target + done, count - done, off_t(offset + done))
            if n < 0, errno == EINTR { continue }
            if n <= 0 { return false }
            done += n
        }
        return true
    }
}

// MARK: - Carrying it out

extension Server {
    /// Reads the checkpoint, the base of the append-only file or the log, if that is what there is; returns
    /// what there is after all. See `Reading`.
    func read(_ source: Recovery.Source) throws(StartError) -> Recovery.Source {
        let start = csystem_monotonic_ns()
        for worker in state.store.workers {
            worker.setTime(milliseconds: Int64(csystem_realtime_us() / 1000), nanoseconds: start)
        }
        var source = source
        if source == .checkpoint, let reason = try load(Recovery.checkpointName, isBase: false) {
            log.write(.warning, "\(Recovery.checkpointName) is not used: \(reason)")
            source = recovery.sourceWithoutCheckpoint(unusable: true)
            recovery.setAside()
            if !source.keepsTierFile { startTierFileAnew() }
        }
        switch source {
        case .appendOnly(let base?): try load(base: base)
        case .log: try scanLog()
        case .rdb, .appendOnly, .checkpoint, .nothing: break
        }
        return source
    }

    /// Goes on when that is done, before loops run or while they stand still; an RDB file and increments are
    /// loaded by the first loop, beside clients.
    func begin(with source: Recovery.Source) throws(StartError) {
        restore(reading.libraries)
        if reading.wereResident > 0 { state.store.beginWarmUp() }
        switch source {
        case .rdb(let path):
            state.recovery.source = .rdb
            do throws(FileFailure) { try state.beginLoading(path) } catch {
                throw StartError(description: error.description)
            }
        case .appendOnly:
            state.recovery.source = .aof
            do throws(FileFailure) { try state.beginLoadingAppendOnly() } catch {
                throw StartError(description: error.description)
            }
        case .checkpoint: state.recovery.source = .checkpoint
        case .log: state.recovery.source = .log
        case .nothing: break
        }
        state.recovery.milliseconds = Int64((csystem_monotonic_ns() - reading.began) / 1_000_000)
        do throws(TierFile.Refusal) { try tierFile.writeHeader(of: state.store) } catch {
            throw StartError(description: error.description)
        }
        if !state.isReading, state.appendOnly.log == nil {
            do throws(FileFailure) { try state.beginAppending() } catch {
                throw StartError(description: error.description)
            }
        }
        removeUnfinishedFiles()
        state.endReading()
        // Of the past now, by its generation. Giving back its blocks takes a while.
        if access(Recovery.checkpointName, F_OK) == 0 { Parallel.detach { unlink(Recovery.checkpointName) } }
    }

    /// Files a server that was killed had not yet given their names.
    private func removeUnfinishedFiles() {
        let endings = [".rdb", ".aof", ".checkpoint"]
        for name in files.names(in: ".") where name.hasPrefix("temp-") {
            if endings.contains(where: { name.hasSuffix($0) }) { files.delete(name) }
        }
    }

    private func startTierFileAnew() {
        var random = SystemRandomNumberGenerator()
        state.store.log.startAnew(identity: random.next() | 1)
    }

    // MARK: Checkpoint

    /// Loads the base of the append-only file. Whoever reads on sees the time that was then: until it does,
    /// nothing is over.
    private func load(base path: String) throws(StartError) {
        state.replayClock = 1
        for worker in state.store.workers { state.readClock(worker) }
        if let reason = try load(path, isBase: true) {
            throw StartError(description: """
                the base of the append-only file, \(path), cannot be used: \(reason)
                """)
        }
        state.store.log.keepsRetired = true
    }

    /// Loads a checkpoint; nil, or why that cannot be done: the store is empty then. `isBase`: segments may
    /// have been written since.
    private func load(_ path: String, isBase: Bool) throws(StartError) -> String? {
        guard let file = CheckpointFile(path) else { return SystemError.text(of: errno) }
        let start = csystem_monotonic_ns(), store = state.store
        let reading = self.reading, configuration = self.configuration
        reading.total.store(file.byteCount, ordering: .relaxed)
        do throws(CheckpointError) {
            let load = try CheckpointLoad(store, byteCount: file.byteCount) { target, count, offset in
                // Heads are looked for while others wait.
                if count > CheckpointFile.headBytes { reading.gate.pass(delay: configuration.keyLoadDelay) }
                reading.done.add(count, ordering: .relaxed)
                return file.read(target, count, offset)
            }
            do throws(CheckpointError) {
                try load.begin(version: isBase ? tierFile.versions(of: store.log) : nil)
                forEachWorker { load.prepareIndex($0) }
                forEachWorker { _ = load.takeBlocks($0, isHurried: false) }
                try takeRest(of: load)
                try load.finish()
                reading.libraries = load.head.libraries
            } catch {
                load.undo()
                throw error
            }
            state.recovery.checkpointKeys = load.keysLoaded
            reading.wereResident = load.wereResident
            let milliseconds = Double(csystem_monotonic_ns() - start) / 1e6
            log.write(.notice, """
                Checkpoint loaded: \(load.keysLoaded) keys, \(load.addressCount) of them on the SSD, in \
                \(Int(milliseconds)) ms
                """)
        } catch {
            if case .moreDatabases = error.reason {
                throw StartError(description: "\(path): \(error.text)")
            }
            return error.text
        }
        return nil
    }

    /// Takes the blocks for which there was no RAM: values leave for the SSD as always.
    private func takeRest(of load: CheckpointLoad) throws(CheckpointError) {
        let worker = state.store.workers[0]
        while load.hasMore {
            reading.gate.pass()
            guard waitForRAM(worker) else { throw CheckpointError(.noRoom) }
            _ = load.takeBlocks(worker, isHurried: true)
        }
    }

    /// Has values leave RAM until a block has room; false if nothing can leave any more.
    private func waitForRAM(_ worker: StoreWorker) -> Bool {
        let bytes = min(CheckpointLoad.blockRAM, state.store.ledger.limit / 4)
        while true {
            // On behalf of no session.
            switch worker.admit(bytes, token: UInt32.max) {
            case .go: return true
            case .refused: return false
            case .wait: break
            }
            while worker.waitingWriters > 0 {
                reading.gate.pass()
                state.readClock(worker)
                _ = worker.background()
                files.carryOut(worker)
            }
        }
    }

    private func restore(_ libraries: [[UInt8]]) {
        for text in libraries {
            do throws(CommandError) { try state.restore(library: text) } catch {
                log.write(.warning, "\(Recovery.checkpointName): a library is left out: \(error)")
            }
        }
    }

    // MARK: Log

    private func scanLog() throws(StartError) {
        let store = state.store
        guard let previous = tierFile.previous else { return }
        let reporter = ScanReporter(log)
        let descriptor = tierFile.descriptor, reading = self.reading
        let scan = LogScan(store, previous, tierFile.previousRows) { [configuration] target, count, offset in
            reading.gate.pass(delay: count > SegmentHeader.size ? configuration.keyLoadDelay : 0)
            reporter.look()
            reading.done.add(count, ordering: .relaxed)
            return CheckpointFile.read(descriptor, target, count, offset)
        }
        reporter.scan = scan
        log.write(.notice, "No checkpoint of the last run: scanning tier file \(tierFile.path)")
        forEachWorker { scan.takeHeaders($0) }
        reading.total.store(scan.segments * store.log.segmentSize, ordering: .relaxed)
        reading.done.store(0, ordering: .relaxed)
        scan.begin(store.workers[0])
        forEachWorker { scan.takeSegments($0) }
        if scan.databases > store.options.databases {
            throw StartError(description: """
                tier file \(tierFile.path): it has keys in database \(scan.databases - 1), and there are \
                \(store.options.databases): raise `databases`
                """)
        }
        scan.finish()
        guard scan.segments > 0 else { return log.write(.notice, "Nothing was written to the tier file") }
        log.write(.notice, """
            Tier file scanned: \(scan.keys) keys found in \(scan.records) records of \(scan.segments) \
            segments, \(scan.damaged) records damaged, \(scan.unreadable) pieces unreadable
            """)
        log.write(.warning, """
            Recovered from the log alone: values are as of when they were last written to the SSD, keys that \
            were only in RAM are missing, and deleted ones may be back
            """)
    }

    // MARK: At the end

    /// Leaves the tier file so that the next server finds what it needs. After all loops have ended; false if
    /// that failed. `drops`: what is there is not wanted.
    func leaveTierFile(dropping drops: Bool) -> Bool {
        let isSaved = drops || writeCheckpoint()
        let ending: Superblock.Ending = drops ? .dropped : isSaved ? .saved : .none
        do throws(TierFile.Refusal) { try tierFile.writeHeader(of: state.store, ending: ending) } catch {
            log.write(.warning, error.description)
            return false
        }
        return isSaved
    }

    /// Threads that write the checkpoint.
    private static let writers = 3

    private func writeCheckpoint() -> Bool {
        // The tier file may be what cannot be written: then values stand in the checkpoint. There must be
        // room for both, since what the first try has written stays.
        if tierFile.hasRoom(2 * state.store.ledger.used), writeCheckpoint(isLast: true) { return true }
        return writeCheckpoint(isLast: false)
    }

    private func writeCheckpoint(isLast: Bool) -> Bool {
        let start = csystem_monotonic_ns(), store = state.store
        for worker in store.workers {
            worker.setTime(milliseconds: Int64(csystem_realtime_us() / 1000), nanoseconds: start)
        }
        do throws(FileFailure) {
            let file = try files.create("temp-\(getpid()).checkpoint", isDirect: true)
            var failure = 0
            let blockSize = store.options.memoryLimit < 256 << 20 ? 64 << 10 : 512 << 10
            let begun = store.beginCheckpoint(
                file, libraries: state.librarySources, blockSize: blockSize, isLast: isLast, wake: {},
                ended: { failure = $0 })
            guard let begun else {
                files.discard(file)
                throw FileFailure("no memory for it")
            }
            let walkers = store.workers.count, transfers = Transfers(workers: walkers)
            Parallel.run(walkers + Server.writers) { [files] index in
                if index < walkers {
                    let worker = store.workers[index]
                    begun.walk(worker) { transfers.complete(worker) } handOver: { transfers.handOver(worker) }
                } else {
                    begun.write { files.write(file, $0, $1, at: $2) } carryOut: {
                        transfers.carryOut(files.carryOut)
                    }
                }
            }
            if failure != 0 {
                files.discard(file)
                throw FileFailure(SystemError.text(of: Int32(failure)))
            }
            if state.appendOnly.isKept {
                try state.appendOnly.end(with: file, begun)
            } else {
                try files.close(file, as: Recovery.checkpointName)
                store.log.checkpointIsDurable(begun.number)
            }
            let milliseconds = Int64((csystem_monotonic_ns() - start) / 1_000_000)
            state.recovery.checkpointKeys = begun.keys
            state.recovery.checkpointMilliseconds = milliseconds
            log.write(.notice, "Checkpoint written: \(begun.keys) keys in \(milliseconds) ms")
            return true
        } catch {
            log.write(.warning, "Error writing the checkpoint: \(error)")
            if state.appendOnly.hasFailed {
                log.write(.warning, """
                    The append-only file has failed before: what was acknowledged since is lost
                    """)
            }
            return false
        }
    }
}

/// Says every second how far a scan is.
private final class ScanReporter: @unchecked Sendable {
    private let log: ServerLog
    private let lock = SpinLock()
    private var saidAt = csystem_monotonic_ns()
    /// Set before the first read.
    weak var scan: LogScan?

    init(_ log: ServerLog) { self.log = log }

    /// Called by any thread, now and then.
    func look() {
        guard lock.tryLock() else { return }
        defer { lock.unlock() }
        let now = csystem_monotonic_ns()
        guard now - saidAt >= 1_000_000_000, let scan else { return }
        saidAt = now
        log.write(.notice, "Scanning tier file: \(Int(scan.progress * 100)) %, \(scan.keys) keys")
    }
}
