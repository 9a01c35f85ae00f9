import CSystem
import Glibc
import Primitives

/// A long value of a snapshot: copied or encoded into memory of its own a slice at a time, then handed to the
/// file a slice at a time.
///
/// Why: encoding a million members, or the checksum of 30 MB, would hold the loop up for tens of
/// milliseconds. Until it has been encoded its entry is marked `saving`; whoever must change it before has
/// it finished at once.
final class LongValue {
    /// Longer values than this are not saved in one go.
    static let threshold = 64 << 10
    private static let sliceMembers = 2000
    private static let sliceBytes = 512 << 10

    private enum Source {
        case structure(Structure, cursor: UInt64)
        /// The entry's bytes, so many of them done.
        case bytes(Int)
        case record(ColdKey, ByteView, Int)
        case done
    }

    let key: [UInt8]
    let hash: UInt64
    let tables: Int
    private var source: Source
    private let memory: SnapshotFile.Memory
    private let count: Int
    /// With what fills the last page up.
    private let whole: Int
    private let offset: Int
    private var writer: RDBWriter
    private var sent = 0
    /// Where the CRC32C of all behind it goes, if there is one; how far it has been taken, and its value.
    private let checksumAt: Int?
    private var checked = 0
    private var checksum: UInt32 = 0

    /// `head`: what stands before the value in the file; `count`: bytes of the encoding behind its type byte.
    private init?(
        _ source: Source, _ head: [UInt8], _ count: Int, key: [UInt8], hash: UInt64, tables: Int,
        checksumAt: Int? = nil, _ file: SnapshotFile, _ extents: Extents
    ) {
        // A file with such checksums is written in whole pages.
        let whole = checksumAt == nil ? head.count + count : CheckpointFormat.padded(head.count + count)
        guard let memory = SnapshotFile.Memory(whole, extents) else { return nil }
        self.source = source
        self.key = key
        self.hash = hash
        self.tables = tables
        if case .record = source { isResident = false } else { isResident = true }
        self.memory = memory
        self.count = head.count + count
        self.whole = whole
        offset = file.reserve(whole)
        self.checksumAt = checksumAt
        checked = (checksumAt ?? 0) + 4
        writer = RDBWriter(memory.at)
        head.withView { writer.raw($0) }
    }

    /// A resident value. Marks its entry. `checksumAt`: where in the head a CRC32C of what follows it stands.
    convenience init?(
        _ entry: Entry, _ head: [UInt8], hash: UInt64, tables: Int, checksumAt: Int? = nil,
        _ file: SnapshotFile, _ extents: Extents
    ) {
        let isStructured = entry.isStructured
        self.init(
            isStructured ? .structure(entry.structure.held, cursor: 0) : .bytes(0), head,
            isStructured ? entry.encodedCount : entry.valueCount, key: entry.key.array, hash: hash,
            tables: tables, checksumAt: checksumAt, file, extents)
        entry.set(Entry.saving, true)
    }

    /// A value that was read; `payload` lies in the key's memory.
    convenience init?(
        _ key: ColdKey, _ payload: ByteView, _ head: [UInt8], _ file: SnapshotFile, _ extents: Extents
    ) {
        self.init(
            .record(key, payload, 0), head, payload.count, key: [], hash: 0, tables: 0, file, extents)
    }

    /// All of it has been encoded.
    var isEncoded: Bool { if case .done = source { true } else { false } }
    /// It is a value in RAM, which only who holds its stripe encodes.
    let isResident: Bool

    /// Encodes a slice more; `entry` is the key's, whose stripe is held, if it is a resident value.
    func encodeSlice(_ entry: Entry?) {
        switch source {
        case .structure(let structure, var cursor):
            let hasMore = structure.encode(&writer, &cursor, budget: LongValue.sliceMembers)
            source = hasMore ? .structure(structure, cursor: cursor) : .done
        case .bytes(let done):
            guard let entry else { preconditionFailure("a resident value has an entry") }
            copy(ByteView(entry.value, entry.valueCount), done) { .bytes($0) }
        case .record(let key, let payload, let done): copy(payload, done) { .record(key, payload, $0) }
        case .done: return
        }
        if isEncoded {
            precondition(writer.at - memory.at == count, "a value's encoding is not as long as it said")
        }
    }

    private func copy(_ bytes: ByteView, _ done: Int, _ next: (Int) -> Source) {
        let n = min(LongValue.sliceBytes, bytes.count - done)
        writer.raw(bytes[done..<(done + n)])
        source = done + n == bytes.count ? .done : next(done + n)
    }

    /// Encodes the rest: the value is about to be changed.
    func encodeAll(_ entry: Entry) { while !isEncoded { encodeSlice(entry) } }

    /// Hands a slice of what was encoded to the file; true when that was the last.
    func sendSlice(_ file: SnapshotFile) -> Bool {
        if let checksumAt, !check(storingAt: checksumAt) { return false }
        let n = min(LongValue.sliceBytes, whole - sent)
        let block = SnapshotFile.Block(memory, at: memory.at + sent, capacity: n, isPooled: false)
        block.fill = n
        block.offset = offset + sent
        file.submit(block)
        sent += n
        return sent == whole
    }

    /// Takes the checksum of a slice more; true when there is no more.
    private func check(storingAt place: Int) -> Bool {
        if checked == count { return true }
        let n = min(LongValue.sliceBytes, count - checked)
        checksum = csystem_crc32c(checksum, memory.at + checked, n)
        checked += n
        guard checked == count else { return false }
        (memory.at + place).storeBytes(of: checksum, as: UInt32.self)
        memset(memory.at + count, 0, whole - count)
        return true
    }
}

/// The long value a worker has in hand.
extension StoreWorker {
    /// Encodes or hands over a slice more.
    func advanceJob(_ part: SnapshotPart, _ file: SnapshotFile) {
        guard let job = part.job else { return }
        part.budget -= LongValue.threshold
        if snapshot!.isAbandoned {
            snapshot!.setJob(nil, worker: part.worker)
            abandon(job)
            part.job = nil
            return
        }
        if job.isResident {
            if encodeSlice(job) { return }
        } else if !job.isEncoded {
            return job.encodeSlice(nil)
        }
        snapshot!.setJob(nil, worker: part.worker)
        if job.sendSlice(file) { part.job = nil }
    }

    /// The value is not saved after all.
    private func abandon(_ job: LongValue) {
        guard job.isResident else { return }
        let stripe = stripes.number(of: job.hash)
        stripes.lock(stripe)
        defer { stripes.unlock(stripe) }
        let table = stripes.tables(stripe) + job.tables
        if let slot = job.key.withView({ table.pointee.find(job.hash, $0, base: base) }) {
            entry(slot).set(Entry.saving, false)
        }
    }

    /// Encodes a slice more of a value in RAM; false when all of it is encoded.
    private func encodeSlice(_ job: LongValue) -> Bool {
        let stripe = stripes.number(of: job.hash)
        stripes.lock(stripe)
        defer { stripes.unlock(stripe) }
        if job.isEncoded { return false }
        let table = stripes.tables(stripe) + job.tables
        guard let slot = job.key.withView({ table.pointee.find(job.hash, $0, base: base) }) else {
            preconditionFailure("a value that is being saved was deleted before it had been")
        }
        job.encodeSlice(entry(slot))
        if job.isEncoded { entry(slot).set(Entry.saving, false) }
        return true
    }
}
