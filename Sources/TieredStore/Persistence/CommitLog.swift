import Glibc
import Primitives
import Synchronization

/// When commits are made durable (Redis 7.0 `appendfsync`).
public enum CommitPolicy: String, Sendable, CaseIterable {
    /// Before anything that depends on them is answered.
    case always
    case everySecond = "everysec"
    /// When the kernel pleases.
    case no
}

/// A file commits are appended to.
public final class CommitFile {
    public let file: DiskFile
    /// What its commits' checksums begin with.
    public let number: Int
    /// Opened past the page cache: commits are whole blocks, and durable when they are written.
    public let isDirect: Bool
    /// Where the next commit will stand.
    public fileprivate(set) var end = 0
    /// Blocks before here have been written to once: writing to them again changes no metadata.
    fileprivate var preparedEnd = 0
    fileprivate var isPreparable = true
    /// Sequence of its last commit, once no more come.
    fileprivate var last: UInt64?
    /// A base has what is in it: nothing is written to it any more.
    fileprivate var isDropped = false

    public init(_ file: DiskFile, number: Int, isDirect: Bool) {
        self.file = file
        self.number = number
        self.isDirect = isDirect
    }
}

/// What was changed, in the order of the changes, on its way to the append-only file. Any worker appends;
/// the first one writes.
///
/// Group commit: what is appended while writes are under way leaves together in the next. With `always` a
/// few small commits are under way at once, each made durable by its own write (RWF_DSYNC): a block that
/// was acknowledged is never written again. Measured on the machine of the benchmarks: appending and
/// fdatasync 4.9 K a second, writing to blocks that have been written before 9.6 K, four at a time 16 K;
/// hence the blocks prepared ahead.
public final class CommitLog: @unchecked Sendable {
    /// What the records so far leave a reader with; a file begins without.
    public struct Context {
        public var database = -1
        /// Unix milliseconds.
        public var clock: Int64 = 0
    }

    private final class Chunk {
        let memory: SnapshotFile.Memory
        var fill = Commit.headerSize
        var file: CommitFile!
        var offset = 0
        var sequence: UInt64 = 0
        var isWritten = false

        init(_ memory: SnapshotFile.Memory) { self.memory = memory }

        var room: Int { memory.count - fill }
        var isEmpty: Bool { fill == Commit.headerSize }
    }

    private static let chunkBytes = 256 << 10
    /// Chunks kept for later.
    private static let spareMost = 8
    private static let directWrites = 2
    /// What waits is written when it is so much, or at the next look of the cron: a write costs more than
    /// its bytes.
    private static let dueBytes = 64 << 10
    /// Zeros are written in portions of so many bytes, the more the longer the file is: commits wait while
    /// the file system's journal takes note of each (3 to 4 ms).
    private static let prepareLeast = 512 << 10
    private static let prepareMost = 8 << 20
    private static let second: UInt64 = 1_000_000_000

    private let extents: Extents
    private let lock = SpinLock()
    // Guarded by the lock.
    private var current: Chunk?
    private var ready = RingQueue<Chunk>()
    private var spare: [Chunk] = []
    private var files: [CommitFile] = []
    private var context = Context()
    private var nextSequence: UInt64

    /// Has the first worker look at what waits.
    private let wake: () -> Void
    private let isAwake = Atomic<Bool>(false)
    private let durableWord: Atomic<UInt64>
    private let markWord: Atomic<UInt64>
    private let pendingWord = Atomic<Int>(0)
    private let failureWord = Atomic<Int>(0)
    /// Bytes that may wait before writers had better.
    private let pendingMost: Int

    public var policy: CommitPolicy
    /// A write or sync failed: errno, on the first worker. With `always` nothing can be answered any more.
    public var onFailure: (Int) -> Void = { _ in }
    /// Writing succeeds again.
    public var onRecovery: () -> Void = {}
    /// `durable` has grown.
    public var onDurable: () -> Void = {}
    /// All of a file's commits are durable, and no more come. It ends at its `end`.
    public var onFileEnd: (CommitFile) -> Void = { _ in }
    /// no-appendfsync-on-rewrite, while that is so.
    public var isSyncSuspended = false

    /// `sequence`: of the first commit.
    init(
        extents: Extents, memoryLimit: Int, policy: CommitPolicy, sequence: UInt64,
        wake: @escaping () -> Void
    ) {
        self.extents = extents
        self.policy = policy
        self.wake = wake
        nextSequence = sequence
        durableWord = Atomic(sequence - 1)
        markWord = Atomic(sequence - 1)
        written = sequence - 1
        pendingMost = min(32 << 20, max(1 << 20, memoryLimit / 16))
    }

    // MARK: Any worker

    /// Appends a record of at most `most` bytes. The caller holds what orders it among others: the stripes of
    /// its keys. `isFirst`: it is the first worker, which looks at what waits in this turn anyway.
    public func append(
        _ most: Int, isFirst: Bool, _ write: (inout RecordWriter, inout Context) -> Void
    ) {
        lock.lock()
        if let chunk = current, chunk.room < most { seal(chunk) }
        if current == nil { current = makeChunk(most) }
        let chunk = current!, before = chunk.fill
        var writer = RecordWriter(chunk.memory.at + chunk.fill)
        write(&writer, &context)
        chunk.fill += writer.count
        pendingWord.add(chunk.fill - before, ordering: .relaxed)
        markWord.store(nextSequence, ordering: .releasing)
        let isDue = policy == .always || chunk.fill >= CommitLog.dueBytes
        lock.unlock()
        if isFirst || !isDue || isAwake.load(ordering: .relaxed) { return }
        if !isAwake.exchange(true, ordering: .relaxed) { wake() }
    }

    /// Sequence of the commit that has, or will have, the last record appended.
    public var mark: UInt64 { markWord.load(ordering: .acquiring) }
    /// Commits up to this one survive a loss of power.
    public var durable: UInt64 { durableWord.load(ordering: .acquiring) }
    /// More waits to be written than should: writers wait.
    public var isCongested: Bool { pendingBytes > pendingMost }
    /// Bytes appended and not written yet.
    public var pendingBytes: Int { pendingWord.load(ordering: .relaxed) }
    /// errno of what failed last, 0 while all is well.
    public var failure: Int { failureWord.load(ordering: .relaxed) }

    private func makeChunk(_ most: Int) -> Chunk {
        let needed = most + Commit.headerSize
        if needed <= CommitLog.chunkBytes, let chunk = spare.popLast() { return chunk }
        let bytes = max(CommitLog.chunkBytes, (needed + 4095) & ~4095)
        guard let memory = SnapshotFile.Memory(bytes, extents) else {
            fatalError("tierd: out of reserved address space")
        }
        return Chunk(memory)
    }

    /// The chunk gets its place. The lock is held.
    private func seal(_ chunk: Chunk) {
        let file = files.last!
        chunk.file = file
        chunk.sequence = nextSequence
        chunk.offset = file.end
        nextSequence += 1
        file.end += CommitLog.extent(chunk.fill, file)
        ready.append(chunk)
        current = nil
    }

    private static func extent(_ bytes: Int, _ file: CommitFile) -> Int {
        file.isDirect ? (bytes + 4095) & ~4095 : bytes
    }

    // MARK: Files; the world stands still

    /// What is appended from now on goes to `file`.
    public func turn(to file: CommitFile) {
        lock.lock()
        if let chunk = current, !chunk.isEmpty { seal(chunk) }
        files.last?.last = nextSequence - 1
        files.append(file)
        context = Context()
        lock.unlock()
        if !isAwake.exchange(true, ordering: .relaxed) { wake() }
    }

    /// Sequence of the first commit of a file that is turned to now.
    public var sequenceOfNextFile: UInt64 {
        lock.lock()
        defer { lock.unlock() }
        return nextSequence + (current?.isEmpty ?? true ? 0 : 1)
    }

    /// The file that was appended to, which is the caller's to close now: everything is durable, and no
    /// more comes. Nil if it was closed before.
    public func close() -> CommitFile? {
        lock.lock()
        defer { lock.unlock() }
        return files.popLast()
    }

    /// Bytes of the file that is being appended to.
    public var fileBytes: Int {
        lock.lock()
        defer { lock.unlock() }
        return files.last?.end ?? 0
    }

    // MARK: The first worker's

    /// Commits on their way to the disk, oldest first; done ones wait for those before them.
    private var flights: [Chunk] = []
    private var failed: [Chunk] = []
    private var writing = 0
    /// Commits up to this one are in their files.
    public private(set) var written: UInt64
    private var isSyncing = false
    private var isPreparing = false
    private var syncFailed = false
    private var lastSyncAt: UInt64 = 0
    private var failedAt: UInt64 = 0
    /// Seconds in which a sync was due while the one before was still under way.
    public private(set) var delayedSyncs = 0

    /// How much of what waits is to be written: what is due, what there is, or all of it and made durable.
    public enum Extent { case due, waiting, all }

    /// Asks the disk for it.
    public func pump(_ worker: StoreWorker, _ extent: Extent = .due) {
        isAwake.store(false, ordering: .relaxed)
        if !failed.isEmpty {
            guard worker.instant - failedAt > CommitLog.second || extent == .all else { return }
            let again = failed
            failed = []
            for chunk in again { write(chunk, worker) }
        }
        while writing < writesMost, let chunk = next(extent) {
            flights.append(chunk)
            write(chunk, worker)
        }
        land()
        endFiles(worker)
        sync(worker, extent == .all)
        prepare(worker)
    }

    private var writesMost: Int { policy == .always ? CommitLog.directWrites : 1 }

    private func next(_ extent: Extent) -> Chunk? {
        lock.lock()
        defer { lock.unlock() }
        if ready.isEmpty, let chunk = current, !chunk.isEmpty {
            if policy == .always || extent != .due || chunk.fill >= CommitLog.dueBytes { seal(chunk) }
        }
        guard let chunk = ready.first else { return nil }
        // Zeros are on their way to where it stands.
        if isPreparing, chunk.file === files.last,
            chunk.offset + CommitLog.extent(chunk.fill, chunk.file) > chunk.file.preparedEnd { return nil }
        return ready.popFirst()
    }

    private func write(_ chunk: Chunk, _ worker: StoreWorker) {
        let file = chunk.file!, extent = CommitLog.extent(chunk.fill, file), at = chunk.memory.at
        if file.isDropped { return chunk.isWritten = true }
        memset(at + chunk.fill, 0, extent - chunk.fill)
        Commit(
            length: chunk.fill - Commit.headerSize, extent: extent, sequence: chunk.sequence, durable: durable
        ).seal(at, file: file.number)
        writing += 1
        worker.request(
            file.isDirect ? .durableWrite : .write, file.file, offset: chunk.offset, length: extent,
            memory: at, .other { [unowned worker] result in self.wrote(chunk, extent, result, worker) })
    }

    private func wrote(_ chunk: Chunk, _ extent: Int, _ result: Int, _ worker: StoreWorker) {
        writing -= 1
        guard result == extent || chunk.file.isDropped else {
            failed.append(chunk)
            failedAt = worker.instant
            return fail(result < 0 ? -result : Int(ENOSPC))
        }
        noteRecovery()
        chunk.isWritten = true
        land()
        pump(worker)
    }

    /// What is written counts when all before it is.
    private func land() {
        while let first = flights.first, first.isWritten {
            flights.removeFirst()
            written = first.sequence
            if first.file.isDirect { noteDurable(written) }
            recycle(first)
        }
    }

    private func fail(_ code: Int) {
        failureWord.store(code, ordering: .relaxed)
        onFailure(code)
    }

    private func noteRecovery() {
        guard failure != 0, failed.isEmpty, !syncFailed else { return }
        failureWord.store(0, ordering: .relaxed)
        onRecovery()
    }

    /// A durable base has what is in the files before that of this number: whatever has failed there is of
    /// the past.
    public func drop(before number: Int, _ worker: StoreWorker) {
        guard failure != 0, let oldest = files.first else { return }
        if oldest.number < number { syncFailed = false }
        for file in files where file.number < number { file.isDropped = true }
        for chunk in failed where chunk.file.isDropped { chunk.isWritten = true }
        failed.removeAll { $0.isWritten }
        noteRecovery()
        pump(worker)
    }

    /// Commits before a file's first are durable once the files before have ended.
    private func noteDurable(_ sequence: UInt64) {
        if files.count > 1, let last = files[0].last, sequence > last { return }
        guard sequence > durable else { return }
        durableWord.store(sequence, ordering: .releasing)
        onDurable()
    }

    private func recycle(_ chunk: Chunk) {
        pendingWord.subtract(chunk.fill - Commit.headerSize, ordering: .relaxed)
        lock.lock()
        defer { lock.unlock() }
        guard chunk.memory.count == CommitLog.chunkBytes, spare.count < CommitLog.spareMost else { return }
        chunk.fill = Commit.headerSize
        chunk.isWritten = false
        chunk.file = nil
        spare.append(chunk)
    }

    /// Files all of whose commits are durable are closed.
    private func endFiles(_ worker: StoreWorker) {
        while files.count > 1, let last = files[0].last, written >= last {
            let file = files[0]
            if file.isDropped {
                if isSyncing { return }
                noteDurable(last)
            } else if !file.isDirect, durable < last {
                // Made durable first.
                if !isSyncing, !syncFailed { sync(file, upTo: last, worker) }
                return
            }
            lock.lock()
            files.removeFirst()
            lock.unlock()
            if files[0].isDirect { noteDurable(written) }
            onFileEnd(file)
        }
    }

    private func sync(_ worker: StoreWorker, _ all: Bool) {
        guard policy == .everySecond || all, files.count == 1, !files[0].isDirect, written > durable,
            !syncFailed
        else { return }
        guard all || worker.instant - lastSyncAt >= CommitLog.second, !isSyncSuspended || all else { return }
        if isSyncing {
            if worker.instant - lastSyncAt >= 2 * CommitLog.second {
                delayedSyncs += 1
                lastSyncAt += CommitLog.second
            }
            return
        }
        sync(files[0], upTo: written, worker)
    }

    /// A sync has failed: nothing more of that file is durable, until a base has what is in it.
    public var needsBase: Bool { syncFailed }
    /// Whether a sync is under way.
    public var syncIsPending: Bool { isSyncing }

    private func sync(_ file: CommitFile, upTo sequence: UInt64, _ worker: StoreWorker) {
        isSyncing = true
        lastSyncAt = worker.instant
        let end = DiskOperation.other { [unowned worker] result in
            self.isSyncing = false
            guard result >= 0 || file.isDropped else {
                // What the kernel has not written it may have dropped: asking again proves nothing.
                self.syncFailed = true
                return self.fail(-result)
            }
            self.noteDurable(sequence)
            self.endFiles(worker)
        }
        worker.request(.sync, file.file, offset: 0, length: 0, memory: nil, end)
    }

    /// Writes zeros to blocks ahead, so that writing to them again changes no metadata. Commits wait that
    /// would stand there meanwhile.
    private func prepare(_ worker: StoreWorker) {
        guard let file = files.last, file.isDirect, file.isPreparable, !isPreparing else { return }
        lock.lock()
        let end = file.end
        lock.unlock()
        file.preparedEnd = max(file.preparedEnd, end)
        let portion = CommitLog.portion(end)
        guard file.preparedEnd - end < portion, let memory = SnapshotFile.Memory(portion, extents)
        else { return }
        isPreparing = true
        memset(memory.at, 0, memory.count)
        worker.request(
            .durableWrite, file.file, offset: file.preparedEnd, length: memory.count, memory: memory.at,
            .other { [unowned worker] result in
                self.isPreparing = false
                file.isPreparable = result == memory.count
                if file.isPreparable { file.preparedEnd += memory.count }
                // Of a full disk the commits themselves will tell. What else has failed may have failed for
                // them, too, without their being told.
                if result < 0, -result != Int(ENOSPC), -result != Int(EDQUOT) { self.fail(-result) }
                self.pump(worker)
            })
    }

    private static func portion(_ end: Int) -> Int {
        var bytes = prepareLeast
        while bytes < prepareMost, bytes < end / 4 { bytes *= 2 }
        return bytes
    }

    // MARK: Its end

    /// Everything appended is durable, or cannot be.
    public var isIdle: Bool {
        lock.lock()
        defer { lock.unlock() }
        if isSyncing || isPreparing || writing > 0 { return false }
        if failure != 0 { return true }
        let isEmpty = ready.isEmpty && (current?.isEmpty ?? true) && flights.isEmpty
        return isEmpty && files.count <= 1 && durable >= nextSequence - 1
    }
}
