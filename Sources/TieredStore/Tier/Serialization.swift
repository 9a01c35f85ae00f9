import CSystem
import Glibc
import Primitives

/// A large collection on its way into a record: its batch, and how far it is.
struct Serialization {
    let batch: WriteBatch
    let offset: Int
    let address: Address
    let hash: UInt64
    let key: [UInt8]
    let database: Int
    /// End of the record in the batch's memory.
    let end: UnsafeMutableRawPointer
    var writer: RDBWriter
    var cursor: UInt64 = 0
    var checksum: UInt32
    /// The collection was changed or deleted meanwhile: the rest of the record is zeros, nobody reads it.
    var isAbandoned = false
}

/// Demoting large collections, a slice a turn.
///
/// Why: a million members take some hundred milliseconds to encode; other clients wait for one slice at
/// most. While it lasts the value is resident, readable and marked as being written; a change makes it
/// dirty again, as with any value on its way.
extension StoreWorker {
    /// Members encoded, and bytes cleared, in one turn.
    private static var sliceMembers: Int { 2000 }
    private static var sliceBytes: Int { 1 << 20 }

    /// Writes a structured value's record. One that fits the buffer for records is written at once.
    func writeStructure(_ entry: Entry, _ database: Int) -> Bool {
        noteExpiring(entry)
        let count = entry.encodedCount
        let bound = Record.bound(keyCount: entry.keyCount, valueCount: count)
        if bound <= buffers.recordBufferSize {
            return withUnsafeTemporaryAllocation(byteCount: count, alignment: 8) { memory in
                let bytes = memory.baseAddress!
                StoreWorker.encode(entry.structure.held, at: bytes, count)
                let isWritten = write(entry, ByteView(UnsafeRawPointer(bytes), count), database)
                if isWritten { entry.valueCount = count }
                return isWritten
            }
        }
        guard serialization == nil else { return false }
        return beginSerialization(entry, database, count)
    }

    /// Says in the entry of a large hash whether some of its fields expire: its record needs to know.
    func noteExpiring(_ entry: Entry) {
        guard entry.type == .hash else { return }
        entry.set(Entry.expiring, entry.structure.held.rdbType == RDBType.hashMetadata)
    }

    /// Writes a structure's whole encoding, which must be `count` bytes.
    static func encode(_ structure: Structure, at memory: UnsafeMutableRawPointer, _ count: Int) {
        var writer = RDBWriter(memory), cursor: UInt64 = 0
        while structure.encode(&writer, &cursor, budget: .max / 2) {}
        precondition(writer.at - memory == count, "a collection's encoding is not as long as it said")
    }

    private func beginSerialization(_ entry: Entry, _ database: Int, _ count: Int) -> Bool {
        let key = entry.key
        let content = content(entry, database, .empty)
        let length = Record.bound(keyCount: key.count, valueCount: count)
        guard let (batch, offset) = place(length, in: demotionStream) else { return false }
        let record = batch.memory + offset
        Record.writeHeader(content, valueCount: count, length: length, flags: 0, at: record)
        record.storeBytes(of: batch.version, toByteOffset: 40, as: UInt32.self)
        let payload = record + Record.headerSize + key.count
        (record + Record.headerSize).copyMemory(from: key.base, byteCount: key.count)
        let address = noteRecord(batch, offset: offset, byteCount: length)
        log.add(address)
        entry.address = address
        entry.valueCount = count
        entry.set(Entry.writing, true)
        store.leaves(count)
        counters.recordBytesDemoted += UInt64(length)
        _ = detach(demotionStream)
        serialization = Serialization(
            batch: batch, offset: offset, address: address, hash: content.hash, key: key.array,
            database: database, end: record + length, writer: RDBWriter(payload),
            checksum: csystem_crc32c(0, record + 4, payload - record - 4))
        return true
    }

    /// Encodes a slice more. Returns whether there was one to encode.
    func serialize() -> Bool {
        guard var job = serialization else { return false }
        let before = job.writer.at
        let hasMore: Bool
        if let structure = lockSubject(&job) {
            hasMore = structure.encode(&job.writer, &job.cursor, budget: StoreWorker.sliceMembers)
            stripes.unlock(stripes.number(of: job.hash))
            precondition(job.writer.at <= job.end && (hasMore || job.writer.at == job.end),
                "a collection's encoding is not as long as it said")
        } else {
            let n = min(StoreWorker.sliceBytes, job.end - job.writer.at)
            memset(job.writer.at, 0, n)
            job.writer.at += n
            hasMore = job.writer.at < job.end
        }
        job.checksum = csystem_crc32c(job.checksum, before, job.writer.at - before)
        serialization = job
        if hasMore { return true }
        (job.batch.memory + job.offset).storeBytes(of: job.checksum, as: UInt32.self)
        serialization = nil
        send(job.batch, of: .demotion)
        return true
    }

    /// The collection being written, its stripe locked; nil once it was changed.
    private func lockSubject(_ job: inout Serialization) -> Structure? {
        if job.isAbandoned { return nil }
        let stripe = stripes.number(of: job.hash)
        stripes.lock(stripe)
        let table = stripes.tables(stripe) + job.database
        if let slot = job.key.withView({ table.pointee.find(job.hash, $0, base: base) }) {
            let entry = self.entry(slot)
            if entry.address == job.address, entry.has(Entry.writing) { return entry.structure.held }
        }
        stripes.unlock(stripe)
        job.isAbandoned = true
        return nil
    }

    // MARK: Giving back

    /// Lets a collection go that nobody refers to any more: a large one bit by bit.
    func bury(_ structure: Structure) {
        if structure.heldBytes > 256 << 10 { buried.append(structure) }
    }

    /// Gives back some memory of deleted collections. Returns whether there was any.
    func giveBack() -> Bool {
        guard let structure = buried.last else { return false }
        if !structure.heap.freeSome(chunks: 16) { buried.removeLast() }
        return true
    }
}
