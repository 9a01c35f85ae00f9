import Glibc
import Primitives
import Synchronization

/// The file a snapshot is written to. Any worker reserves ranges of it and fills blocks; the first worker
/// writes them, in whatever order they are full.
///
/// Why ranges: workers save their stripes side by side, and a value stands in one piece wherever it ends up.
/// The checksum of the whole is combined from those of the pieces.
final class SnapshotFile: @unchecked Sendable {
    /// RAM that goes back to the store when no block refers to it any more.
    final class Memory {
        let at: UnsafeMutableRawPointer
        let count: Int
        private let extents: Extents

        init?(_ count: Int, _ extents: Extents) {
            guard let at = extents.allocate(count, charging: count, reserve: StoreWorker.admitted)
            else { return nil }
            self.at = at
            self.count = count
            self.extents = extents
        }

        deinit { extents.free(at, bytes: count, charged: count) }
    }

    /// Bytes that stand together in the file.
    final class Block {
        let memory: Memory
        let start: UnsafeMutableRawPointer
        let capacity: Int
        /// Goes back to the pool, empty.
        let isPooled: Bool
        var fill = 0
        /// Where it stands in the file; nil: where the file ends when it is full.
        var offset: Int?

        init(_ memory: Memory, at start: UnsafeMutableRawPointer, capacity: Int, isPooled: Bool) {
            self.memory = memory
            self.start = start
            self.capacity = capacity
            self.isPooled = isPooled
        }

        var end: UnsafeMutableRawPointer { start + fill }
        var room: Int { capacity - fill }
    }

    private struct Piece {
        var offset: Int
        var count: Int
        var checksum: UInt64
    }

    let file: DiskFile
    let blockSize: Int
    private let extents: Extents
    private let checks: Bool
    /// Has the first worker look at what is ready.
    private let wake: () -> Void
    private let lock = SpinLock()
    private var end = 0
    private var ready = RingQueue<Block>()
    private var free: [Block] = []
    private var made = 0
    private let most: Int
    private var pieces: [Piece] = []
    private var writing = 0
    private var written = 0
    private var isSyncing = false
    /// Threads beside the workers write (`writeOne`), the first worker does not.
    var isWrittenAside = false
    /// errno of the first write that failed, or 0.
    private let failure = Atomic<Int>(0)

    /// `checks`: the CRC64 of the whole is wanted. `workers`: how many fill blocks at a time.
    init(
        _ file: DiskFile, extents: Extents, blockSize: Int, workers: Int, checks: Bool,
        wake: @escaping () -> Void
    ) {
        self.file = file
        self.extents = extents
        self.blockSize = blockSize
        self.checks = checks
        self.wake = wake
        most = 4 * workers + 4
    }

    /// An empty block, or nil when so many are in use that the walk had better wait. `urgently`: never nil
    /// but for want of addresses.
    func lease(urgently: Bool) -> Block? {
        lock.lock()
        defer { lock.unlock() }
        if let block = free.popLast() { return block }
        guard made < most || urgently else { return nil }
        made += 1
        return makeBlock(blockSize, isPooled: true)
    }

    /// A block of `count` bytes of its own, for one value.
    func makeBlock(_ count: Int, isPooled: Bool = false) -> Block? {
        guard let memory = Memory(count, extents) else { return nil }
        return Block(memory, at: memory.at, capacity: count, isPooled: isPooled)
    }

    /// More is waiting to be written than the walk alone makes: who changes keys had better wait.
    var isCongested: Bool {
        lock.lock()
        defer { lock.unlock() }
        return made > most
    }

    /// A range at the end of the file.
    func reserve(_ count: Int) -> Int {
        lock.lock()
        defer { lock.unlock() }
        end += count
        return end - count
    }

    /// A block is full: it will be written.
    func submit(_ block: Block) {
        let checksum = checks ? CRC64.checksum(ByteView(block.start, block.fill)) : 0
        lock.lock()
        if block.offset == nil {
            block.offset = end
            end += block.fill
        }
        pieces.append(Piece(offset: block.offset!, count: block.fill, checksum: checksum))
        ready.append(block)
        lock.unlock()
        wake()
    }

    var byteCount: Int {
        lock.lock()
        defer { lock.unlock() }
        return end
    }

    /// errno of the first write that failed, or 0. Asked for each key.
    var error: Int { failure.load(ordering: .relaxed) }

    /// It is of no use any more: errno. Who is first is heard.
    func fail(_ code: Int) {
        _ = failure.compareExchange(expected: 0, desired: code, ordering: .relaxed)
    }

    /// Whether everything submitted has been written, or has failed.
    var isIdle: Bool {
        lock.lock()
        defer { lock.unlock() }
        return ready.isEmpty && writing == 0 && !isSyncing
    }

    /// CRC64 of the whole file as far as it was submitted; every reserved range must have been.
    var checksum: UInt64 {
        lock.lock()
        defer { lock.unlock() }
        pieces.sort { $0.offset < $1.offset }
        var sum: UInt64 = 0, shift = CRC64.Shift()
        for piece in pieces { sum = shift.combine(sum, piece.checksum, count: piece.count) }
        return sum
    }

    // MARK: The first worker's

    private static let writesAtATime = 8
    /// Written pages are sent to the disk in such portions, so that the last sync does not take long (Redis
    /// 7.0 rdb-save-incremental-fsync).
    private static let syncInterval = 32 << 20

    /// Asks the disk to write what is ready.
    func pump(_ worker: StoreWorker) {
        if isWrittenAside { return }
        while let block = next() {
            worker.request(
                .write, file, offset: block.offset!, length: block.fill, memory: block.start,
                .other { [unowned worker] result in self.wrote(block, result, worker) })
        }
    }

    private func next() -> Block? {
        lock.lock()
        defer { lock.unlock() }
        guard writing < SnapshotFile.writesAtATime, let block = ready.popFirst() else { return nil }
        writing += 1
        return block
    }

    private func wrote(_ block: Block, _ result: Int, _ worker: StoreWorker) {
        let wantsSync = end(block, result)
        if wantsSync { sync(worker) { _ in } }
        pump(worker)
    }

    /// A block has been written, or not; whether the written ones should be sent to the disk.
    private func end(_ block: Block, _ result: Int) -> Bool {
        lock.lock()
        defer { lock.unlock() }
        writing -= 1
        written += block.fill
        if result != block.fill { fail(result < 0 ? -result : Int(EIO)) }
        if block.isPooled {
            block.fill = 0
            block.offset = nil
            if made > most { made -= 1 } else { free.append(block) }
        }
        guard written >= SnapshotFile.syncInterval, !isSyncing, !isWrittenAside else { return false }
        written = 0
        isSyncing = true
        return true
    }

    /// Writes a block that is ready, on the calling thread; false if there is none. At the end of the
    /// process, when `isWrittenAside` was set before the first block. `write`: memory, count and offset;
    /// bytes written, or minus errno.
    func writeOne(_ write: (UnsafeMutableRawPointer, Int, Int) -> Int) -> Bool {
        guard let block = next() else { return false }
        _ = end(block, write(block.start, block.fill, block.offset!))
        return true
    }

    /// Makes what was written durable, and tells the result.
    func sync(_ worker: StoreWorker, then end: @escaping (Int) -> Void) {
        worker.request(.sync, file, offset: 0, length: 0, memory: nil, .other { result in
            self.lock.lock()
            self.isSyncing = false
            if result < 0 { self.fail(-result) }
            self.lock.unlock()
            end(result)
        })
    }
}
