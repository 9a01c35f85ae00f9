import CSystem
import Primitives

/// A large collection being read from a record that has arrived.
final class Restoration {
    let index: UInt32
    let memory: UnsafeMutableRawPointer
    let length: Int
    let record: Record
    /// Bytes of the record whose checksum has been taken.
    var checked = 4
    var checksum: UInt32 = 0
    var decoder: StructureDecoder?

    init(index: UInt32, memory: UnsafeMutableRawPointer, length: Int, record: Record) {
        self.index = index
        self.memory = memory
        self.length = length
        self.record = record
    }
}

/// Large collections that come from the SSD, read from their records a slice a turn.
extension StoreWorker {
    /// Bytes checked and members read in one turn.
    private static var checkedBytes: Int { 1 << 20 }
    private static var restoredMembers: Int { 500 }
    /// A record of up to this length is read at once.
    private static var atOnceBytes: Int { 32 << 10 }

    /// RDB type of a structured record's payload, by the record's type byte.
    private static func rdbType(of recordType: UInt8) -> UInt8 {
        switch ValueType(rawValue: recordType & 15) {
        case .list: RDBType.listQuicklist
        case .set: RDBType.set
        case .sortedSet: RDBType.sortedSet
        case .stream: RDBType.stream2
        default: recordType & UInt8(Entry.expiring) == 0 ? RDBType.hash : RDBType.hashMetadata
        }
    }

    /// Reads a small structured record at once; nil if it makes no sense.
    func restoreAtOnce(_ record: Record) -> Structure? {
        if record.flags & Record.compressed == 0 { return restore(record, record.payload) }
        return withUnsafeTemporaryAllocation(byteCount: max(1, record.valueCount), alignment: 8) { memory in
            guard record.decode(into: memory.baseAddress!) else { return nil }
            return restore(record, ByteView(UnsafeRawPointer(memory.baseAddress!), record.valueCount))
        }
    }

    private func restore(_ record: Record, _ bytes: ByteView) -> Structure? {
        guard let decoder = makeDecoder(record, bytes), case .done = decoder.step(budget: .max)
        else { return nil }
        return decoder.structure
    }

    private func makeDecoder(_ record: Record, _ bytes: ByteView) -> StructureDecoder? {
        StructureDecoder(
            rdbType: StoreWorker.rdbType(of: record.type), bytes, CellHeap(extents), hashing)
    }

    /// Whether a record is read slice by slice.
    func isRestoredInSlices(_ record: Record) -> Bool {
        UInt32(record.type) & Entry.structured != 0 && record.byteCount > StoreWorker.atOnceBytes
            && record.flags & Record.compressed == 0
    }

    /// Begins to read a large record; its memory stays in use until that has ended.
    func beginRestoration(
        _ index: UInt32, _ memory: UnsafeMutableRawPointer, _ length: Int, _ record: Record
    ) {
        restorations.append(Restoration(index: index, memory: memory, length: length, record: record))
    }

    /// Reads a slice more. Returns whether there was one to read.
    func restoreSlice() -> Bool {
        guard let job = restorations.first else { return false }
        let total = job.record.byteCount
        if job.checked < total {
            let n = min(StoreWorker.checkedBytes, total - job.checked)
            job.checksum = csystem_crc32c(job.checksum, job.record.at + job.checked, n)
            job.checked += n
            if job.checked == total, job.checksum != job.record.checksum { endRestoration(job, nil) }
            return true
        }
        if job.decoder == nil { job.decoder = makeDecoder(job.record, job.record.payload) }
        switch job.decoder?.step(budget: StoreWorker.restoredMembers) ?? .failed {
        case .more: return true
        case .done: endRestoration(job, job.decoder!.structure)
        case .failed: endRestoration(job, nil)
        }
        return true
    }

    /// Reads all that have arrived to the end: for a command that cannot wait for the loop's turns.
    public func restoreAll() { while restoreSlice() {} }

    private func endRestoration(_ job: Restoration, _ structure: Structure?) {
        restorations.removeFirst()
        job.decoder = nil
        if let structure {
            staging.fill(job.index, structure)
        } else {
            staging[job.index].pointee.state = .failed
        }
        arrive(job.index)
        returnReadMemory(job.memory, job.length)
    }
}
