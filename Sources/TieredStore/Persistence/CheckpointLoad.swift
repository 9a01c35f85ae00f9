import CSystem
import Glibc
import Primitives
import Synchronization

/// Why a checkpoint cannot be used.
public struct CheckpointError: Error, Equatable, Sendable {
    public enum Reason: Equatable, Sendable {
        case notACheckpoint, newerFormat(UInt32), damagedHead, cutOff, damagedFoot, damagedBlock, unreadable
        /// Written for another tier file, or for what was in this one before.
        case otherTierFile
        /// Its keys are in more databases than there are.
        case moreDatabases(Int)
        /// It has a segment the tier file has no room for.
        case otherSegment(Int)
        /// It has not as many keys as it says.
        case wrongCount
        case noRoom
    }

    public let reason: Reason
    /// Byte of the file.
    public let offset: Int

    public init(_ reason: Reason, at offset: Int = 0) {
        self.reason = reason
        self.offset = offset
    }

    public var text: String {
        switch reason {
        case .notACheckpoint: "not a checkpoint"
        case .newerFormat(let format): "it has format \(format), written by a newer tierd"
        case .damagedHead: "damaged: its head"
        case .cutOff: "damaged: it is cut off"
        case .damagedFoot: "damaged: its foot, at byte \(offset)"
        case .damagedBlock: "damaged at byte \(offset)"
        case .unreadable: "cannot be read at byte \(offset)"
        case .otherTierFile: "it belongs to another tier file, or to what this one had before"
        case .moreDatabases(let count): "it has keys in database \(count - 1): raise `databases`"
        case .otherSegment(let segment): "it refers to segment \(segment), which the tier file has not"
        case .wrongCount: "damaged: it has not as many keys as it says"
        case .noRoom: "RAM and SSD are full before all its keys are in"
        }
    }
}

/// A checkpoint on its way into an empty store, by any number of workers at a time.
///
/// Whoever runs it reads the file: `read` puts `count` bytes from `offset` to where it is told, on any
/// thread, and says whether it could. From 4096 bytes on offset and memory are multiples of that, and so is
/// the room. The world has not begun. Records are not looked at: each is checked
/// when its value is wanted.
public final class CheckpointLoad: @unchecked Sendable {
    public typealias Read = (_ target: UnsafeMutableRawPointer, _ count: Int, _ offset: Int) -> Bool
    /// How a worker's part has ended.
    public enum Outcome: Sendable { case done, needsRAM }

    public let head: CheckpointHead
    let foot: CheckpointFoot
    private unowned let store: Store
    private let read: Read
    private let footAt: Int
    private let cursor: Mutex<Int>
    private let failure = Mutex<CheckpointError?>(nil)
    private let hasFailed = Atomic<Bool>(false)
    private let taken = Atomic<Int>(0)
    private let expired = Atomic<Int>(0)
    private let warm = Atomic<Int>(0)
    /// For each segment the low bits of its version, how far it is used; -1: nothing refers to it.
    private var used: [Int32]
    private let versions: [UInt32]

    /// Reads head and foot of a checkpoint of `byteCount` bytes and compares them with the store's tier file.
    public init(_ store: Store, byteCount: Int, read: @escaping Read) throws(CheckpointError) {
        self.store = store
        self.read = read
        let headCount: Int
        (head, headCount) = try CheckpointLoad.readHead(byteCount, read)
        guard head.identity == store.log.identity, head.hashSeed == store.options.hashSeed
        else { throw CheckpointError(.otherTierFile) }
        (foot, footAt) = try CheckpointLoad.readFoot(byteCount, read, from: headCount)
        cursor = Mutex(headCount)
        var used = [Int32](repeating: -1, count: store.log.segmentCount)
        var versions = [UInt32](repeating: 0, count: store.log.segmentCount)
        for row in foot.rows where row.row.state != .free {
            guard row.segment < used.count, row.row.used <= store.log.segmentSize
            else { throw CheckpointError(.otherSegment(row.segment), at: footAt) }
            // One that was open says nothing yet of how far it is used.
            let isOpen = row.row.state == .open || row.row.used == 0
            used[row.segment] = Int32(isOpen ? store.log.segmentSize : row.row.used)
            versions[row.segment] = row.row.version
        }
        self.used = used
        self.versions = versions
        guard foot.keys <= footAt / Entry.headerSize else { throw CheckpointError(.damagedFoot, at: footAt) }
        if let last = foot.counts.map(\.tables).max(), last >= store.options.databases {
            throw CheckpointError(.moreDatabases(last + 1))
        }
    }

    /// Keys it has, and those that are in the store, or were left out since their time is over.
    public var keyCount: Int { foot.keys }
    public var addressCount: Int { foot.addresses }
    public var keysLoaded: Int { taken.load(ordering: .relaxed) }
    public var keysExpired: Int { expired.load(ordering: .relaxed) }
    /// Keys loaded whose value was in RAM, and is on the SSD.
    public var wereResident: Int { warm.load(ordering: .relaxed) }
    public var error: CheckpointError? { failure.withLock { $0 } }

    // MARK: Head and foot

    /// The head of a checkpoint of `byteCount` bytes.
    public static func head(byteCount: Int, read: Read) throws(CheckpointError) -> CheckpointHead {
        try readHead(byteCount, read).0
    }

    static func readHead(
        _ byteCount: Int, _ read: Read
    ) throws(CheckpointError) -> (CheckpointHead, Int) {
        guard byteCount >= 16 else { throw CheckpointError(.cutOff) }
        let first = try bytes(16, at: 0, read)
        defer { first.deallocate() }
        let count = try CheckpointHead.length(first)
        guard count <= byteCount else { throw CheckpointError(.cutOff, at: byteCount) }
        let whole = try bytes(count, at: 0, read)
        defer { whole.deallocate() }
        return (try CheckpointHead(decoding: whole, count), CheckpointFormat.padded(count))
    }

    static func readFoot(
        _ byteCount: Int, _ read: Read, from headCount: Int
    ) throws(CheckpointError) -> (CheckpointFoot, Int) {
        let least = CheckpointFormat.blockHead + CheckpointFormat.footFixed + CheckpointFormat.tail
        guard byteCount - headCount >= least else { throw CheckpointError(.cutOff, at: byteCount) }
        let tail = try bytes(CheckpointFormat.tail, at: byteCount - CheckpointFormat.tail, read)
        defer { tail.deallocate() }
        guard tail.load(fromByteOffset: 8, as: UInt64.self) == CheckpointFormat.endMagic,
            let at = Int(exactly: tail.load(as: UInt64.self)), at >= headCount, at <= byteCount - least
        else { throw CheckpointError(.cutOff, at: byteCount) }
        let room = byteCount - CheckpointFormat.tail - at
        let whole = try bytes(room, at: at, read)
        defer { whole.deallocate() }
        guard whole.load(as: UInt32.self) == CheckpointFormat.footMagic,
            let length = Int(exactly: whole.load(fromByteOffset: 8, as: UInt64.self)),
            length <= room - CheckpointFormat.blockHead
        else { throw CheckpointError(.damagedFoot, at: at) }
        let count = length + CheckpointFormat.blockHead
        guard csystem_crc32c(0, whole + 8, count - 8) == whole.load(fromByteOffset: 4, as: UInt32.self),
            let foot = CheckpointFoot(
                decoding: whole + CheckpointFormat.blockHead, count - CheckpointFormat.blockHead)
        else { throw CheckpointError(.damagedFoot, at: at) }
        return (foot, at)
    }

    static func bytes(
        _ count: Int, at offset: Int, _ read: Read
    ) throws(CheckpointError) -> UnsafeMutableRawPointer {
        let memory = UnsafeMutableRawPointer.allocate(
            byteCount: CheckpointFormat.padded(count), alignment: 4096)
        if read(memory, count, offset) { return memory }
        memory.deallocate()
        throw CheckpointError(.unreadable, at: offset)
    }

    // MARK: Taking over

    /// Takes over segments and databases, before the first block. `version`: of a segment, as its header in
    /// the tier file has it, if that is to be looked at: after a crash others may have been written.
    public func begin(version: ((Int) -> UInt32?)? = nil) throws(CheckpointError) {
        guard store.stripes.restore(head.swaps, databases: store.options.databases)
        else { throw CheckpointError(.moreDatabases(head.databases)) }
        let log = store.log
        for row in foot.rows where row.segment < log.segmentCount {
            if row.row.state == .free {
                log.recoverVersion(row.segment, row.row.version, isPrepared: row.row.isPrepared)
                continue
            }
            if let version, version(row.segment) != row.row.version {
                // It was open, and nothing had arrived in it yet: an address in it is refused.
                used[row.segment] = -1
                log.recoverVersion(row.segment, row.row.version, isPrepared: row.row.isPrepared)
                continue
            }
            var taken = row.row
            taken.used = Int(used[row.segment])
            log.recover(row.segment, taken)
        }
        if let version {
            // Numbers were given out after the checkpoint, too.
            log.raiseSequence(to: foot.sequence + LogScan.sequenceSlack)
            // One may have been opened whose header has not arrived.
            for segment in 0..<log.segmentCount where log.describe(segment).state == .free {
                log.recoverVersion(segment, (version(segment) ?? 0) + 1)
            }
        }
        for count in foot.counts {
            store.reserve(keys: count.keys, tables: count.tables)
        }
        log.listFree()
        log.raiseSequence(to: foot.sequence)
        store.epochCount = head.epoch
        for worker in store.workers { worker.keepTime() }
    }

    /// Has memory ready for this worker's share of the index. Before the first block, by all workers.
    public func prepareIndex(_ worker: StoreWorker) {
        for count in foot.counts {
            for stripe in stride(from: worker.index, to: store.options.stripes, by: store.workers.count) {
                (worker.stripes.tables(stripe) + count.tables).pointee.populate()
            }
        }
    }

    /// Takes blocks until there are none or RAM is short, any number of workers at a time. `isHurried`: one
    /// block, whatever RAM there is.
    public func takeBlocks(_ worker: StoreWorker, isHurried: Bool) -> Outcome {
        let part = CheckpointPart(worker, used: used, versions: versions, store.options.databases)
        defer {
            part.settle(store.log)
            taken.add(part.taken, ordering: .relaxed)
            expired.add(part.expired, ordering: .relaxed)
            warm.add(part.warm, ordering: .relaxed)
        }
        while !hasFailed.load(ordering: .relaxed) {
            if !isHurried, isShort { return .needsRAM }
            do throws(CheckpointError) {
                let blocks = try nextBlocks(isHurried ? 1 : CheckpointLoad.blocksAtATime)
                if blocks.isEmpty { return .done }
                for block in blocks { try take(block.at, block.count, part) }
            } catch {
                failure.withLock { if $0 == nil { $0 = error } }
                hasFailed.store(true, ordering: .relaxed)
            }
            if isHurried { return .done }
        }
        return .done
    }

    /// Whether blocks are left that nobody has taken.
    public var hasMore: Bool { !hasFailed.load(ordering: .relaxed) && cursor.withLock { $0 < footAt } }

    /// Bytes the next block may take in RAM.
    public static let blockRAM = 1 << 20
    /// A worker takes so many together: keys of a stripe stand together, and nobody else should want it.
    private static let blocksAtATime = 16

    /// RAM would not do for the blocks all workers take next.
    private var isShort: Bool {
        let wanted = CheckpointLoad.blockRAM * CheckpointLoad.blocksAtATime / 2 * store.workers.count
        return store.ledger.used + wanted > store.ledger.limit / 16 * 15
    }

    /// Places and lengths of the next blocks.
    private func nextBlocks(_ most: Int) throws(CheckpointError) -> [(at: Int, count: Int)] {
        let result = cursor.withLock { at -> Result<[(at: Int, count: Int)], CheckpointError> in
            var blocks: [(at: Int, count: Int)] = []
            while blocks.count < most, at < footAt {
                let count = blockLength(at)
                if count < 0 {
                    return .failure(CheckpointError(count == -1 ? .unreadable : .damagedBlock, at: at))
                }
                blocks.append((at, count))
                at += CheckpointFormat.padded(count)
                // A long one alone is enough.
                if count > CheckpointLoad.blockRAM { break }
            }
            return .success(blocks)
        }
        return try result.get()
    }

    /// Length of the block at `at`, head included; -1: it cannot be read, -2: it is none.
    private func blockLength(_ at: Int) -> Int {
        withUnsafeTemporaryAllocation(byteCount: CheckpointFormat.blockHead, alignment: 8) { head in
            guard read(head.baseAddress!, CheckpointFormat.blockHead, at) else { return -1 }
            guard head.load(as: UInt32.self) == CheckpointFormat.blockMagic,
                let count = Int(exactly: head.load(fromByteOffset: 8, as: UInt64.self)),
                count <= footAt - at - CheckpointFormat.blockHead
            else { return -2 }
            return count + CheckpointFormat.blockHead
        }
    }

    private func take(_ at: Int, _ count: Int, _ part: CheckpointPart) throws(CheckpointError) {
        let memory = part.room(count)
        guard read(memory, count, at) else { throw CheckpointError(.unreadable, at: at) }
        guard csystem_crc32c(0, memory + 8, count - 8) == memory.load(fromByteOffset: 4, as: UInt32.self)
        else { throw CheckpointError(.damagedBlock, at: at) }
        let items = Int(memory.load(fromByteOffset: 16, as: UInt32.self))
        let head = CheckpointFormat.blockHead
        let place = part.take(items: items, memory + head, count - head)
        if let place { throw CheckpointError(.damagedBlock, at: at + head + place) }
    }

    /// All blocks have been taken: the store is as it was. Errors: what went wrong; the store is empty then.
    public func finish() throws(CheckpointError) {
        var wrong = error
        if wrong == nil, keysLoaded + keysExpired != foot.keys { wrong = CheckpointError(.wrongCount) }
        if let wrong {
            undo()
            throw wrong
        }
        store.log.settleRecovered()
    }

    /// Empties the store again; nothing in the tier file is touched.
    public func undo() {
        for database in 0..<store.options.databases { _ = store.workers[0].flush(database: database) }
        _ = store.stripes.restore([], databases: store.options.databases)
        store.log.forgetRecovered()
    }
}
