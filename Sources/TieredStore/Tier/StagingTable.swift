import Glibc
import Primitives

/// A record staged for a request, for as long as the request holds it. One worker's own.
public struct StagedRecord: Sendable {
    let index: UInt32
}

/// A worker's cold reads: records by the block they begin in, with those that wait for them.
///
/// Shape:  records in one pool, addressed by index. `heads` is a hash table of chains through
///         `next`, by block, so that one look finds the record itself as well as a read of its block
///         that is on its way. Free records are chained through `next` too.
/// Why:    a cold read allocates nothing but its value, and counts no references.
final class StagingTable {
    /// Taken: a large collection has moved into its entry. Should that leave RAM again while requests still
    /// hold the record, it has to be read once more.
    enum State: UInt8 { case free, reading, ready, failed, taken }

    struct Record {
        var address = Address.none
        var hash: UInt64 = 0
        var value: UnsafeMutableRawPointer?
        var valueCount = 0
        /// In place of `value` for a large collection.
        var structure: Unmanaged<Structure>?
        /// Where the read it leads puts its bytes; nil: no read, or one that another record leads.
        var memory: UnsafeMutableRawPointer?
        /// Bytes of that read which have arrived: a long one goes in pieces.
        var received = 0
        /// Monotonic nanoseconds at which that read was asked for.
        var readAt: UInt64 = 0
        /// Requests that will use it.
        var references: Int32 = 0
        /// Session to run again when it has arrived; more of them are in `moreWaiters`.
        var waiter = StagingTable.nobody
        var next = StagingTable.none
        /// The next record that comes with the same read.
        var rider = StagingTable.none
        var state = State.free
        var hasMoreWaiters = false
    }

    /// Token of no session.
    static let nobody = UInt32.max
    static let none = UInt32.max

    private var records: UnsafeMutablePointer<Record>
    private var capacity = 64
    private var heads: UnsafeMutablePointer<UInt32>
    private var shift: UInt64
    private var free = StagingTable.none
    private(set) var count = 0
    private var moreWaiters: [UInt32: [UInt32]] = [:]
    /// Records whose read waits for a buffer.
    var waiting = RingQueue<UInt32>()
    /// Bytes of values that have arrived.
    private(set) var bytes = 0
    var largeReads = 0

    init() {
        records = .allocate(capacity: capacity)
        heads = .allocate(capacity: 2 * capacity)
        shift = 0
        records.initialize(repeating: Record(), count: capacity)
        chainFree(from: 0)
        makeHeads()
    }

    deinit {
        for i in 0..<capacity {
            Glibc.free(records[i].value)
            records[i].structure?.release()
        }
        records.deallocate()
        heads.deallocate()
    }

    @inline(__always)
    subscript(_ index: UInt32) -> UnsafeMutablePointer<Record> { records + Int(index) }

    // MARK: Finding

    @inline(__always)
    private func head(_ address: Address) -> Int {
        // Version, segment and block: the bits above the offset in the block.
        Int(truncatingIfNeeded: ((address.raw >> 21) &* 0x9e37_79b9_7f4a_7c15) >> shift)
    }

    @inline(__always)
    func find(_ address: Address) -> UInt32? {
        var at = heads[head(address)]
        while at != StagingTable.none {
            if records[Int(at)].address == address { return at }
            at = records[Int(at)].next
        }
        return nil
    }

    /// The record that leads a read of the block `address` begins in, and of no more.
    func leader(of address: Address) -> UInt32? {
        var at = heads[head(address)]
        while at != StagingTable.none {
            let record = records + Int(at)
            if record.pointee.memory != nil, record.pointee.address.raw >> 21 == address.raw >> 21,
                record.pointee.address.readBytes == 4096 { return at }
            at = record.pointee.next
        }
        return nil
    }

    /// Its value is there, or is known not to be sound.
    @inline(__always)
    func hasArrived(_ index: UInt32) -> Bool {
        let state = records[Int(index)].state
        return state == .ready || state == .failed
    }

    // MARK: Coming and going

    /// A new record, being read, with one reference.
    func insert(_ address: Address, hash: UInt64) -> UInt32 {
        if free == StagingTable.none { grow() }
        let index = free, head = head(address)
        free = records[Int(index)].next
        var record = Record()
        record.address = address
        record.hash = hash
        record.state = .reading
        record.references = 1
        record.next = heads[head]
        records[Int(index)] = record
        heads[head] = index
        count += 1
        return index
    }

    func remove(_ index: UInt32) {
        let record = records[Int(index)], head = head(record.address)
        if heads[head] == index {
            heads[head] = record.next
        } else {
            var at = Int(heads[head])
            while records[at].next != index { at = Int(records[at].next) }
            records[at].next = record.next
        }
        if record.state == .ready { bytes -= record.valueCount }
        Glibc.free(record.value)
        record.structure?.release()
        if record.hasMoreWaiters { moreWaiters[index] = nil }
        records[Int(index)] = Record()
        records[Int(index)].next = free
        free = index
        count -= 1
    }

    /// The record's value has arrived. Takes the memory over.
    func fill(_ index: UInt32, _ value: UnsafeMutableRawPointer, _ count: Int) {
        records[Int(index)].value = value
        records[Int(index)].valueCount = count
        records[Int(index)].state = .ready
        bytes += count
    }

    /// The record's large collection has arrived and been read.
    func fill(_ index: UInt32, _ structure: Structure) {
        records[Int(index)].structure = Unmanaged.passRetained(structure)
        records[Int(index)].state = .ready
    }

    /// Takes the large collection out of a record that is ready; nil if it has none.
    func takeStructure(_ index: UInt32) -> Structure? {
        guard records[Int(index)].state == .ready, let held = records[Int(index)].structure
        else { return nil }
        records[Int(index)].structure = nil
        records[Int(index)].state = .taken
        return held.takeRetainedValue()
    }

    /// Lets all large collections go.
    func releaseStructures() {
        for i in 0..<capacity {
            records[i].structure?.release()
            records[i].structure = nil
        }
    }

    private func grow() {
        let old = capacity
        capacity *= 2
        let larger = UnsafeMutablePointer<Record>.allocate(capacity: capacity)
        larger.moveInitialize(from: records, count: old)
        (larger + old).initialize(repeating: Record(), count: capacity - old)
        records.deallocate()
        records = larger
        heads.deallocate()
        heads = .allocate(capacity: 2 * capacity)
        makeHeads()
        for index in 0..<old where records[index].state != .free {
            let head = head(records[index].address)
            records[index].next = heads[head]
            heads[head] = UInt32(index)
        }
        chainFree(from: old)
    }

    private func makeHeads() {
        heads.initialize(repeating: StagingTable.none, count: 2 * capacity)
        shift = UInt64(64 - (2 * capacity).trailingZeroBitCount)
    }

    private func chainFree(from first: Int) {
        for i in (first..<capacity).reversed() {
            records[i].next = free
            free = UInt32(i)
        }
    }

    // MARK: Waiters

    /// Session `token` runs again when the record has arrived.
    func wait(_ index: UInt32, token: UInt32) {
        let record = records + Int(index)
        if token == StagingTable.nobody || record.pointee.waiter == token { return }
        if record.pointee.waiter == StagingTable.nobody {
            record.pointee.waiter = token
            return
        }
        if record.pointee.hasMoreWaiters, moreWaiters[index]?.last == token { return }
        record.pointee.hasMoreWaiters = true
        moreWaiters[index, default: []].append(token)
    }

    /// Adds the sessions that waited for the record to `runnable`.
    func wake(_ index: UInt32, into runnable: inout [UInt32]) {
        let record = records + Int(index)
        guard record.pointee.waiter != StagingTable.nobody else { return }
        runnable.append(record.pointee.waiter)
        record.pointee.waiter = StagingTable.nobody
        guard record.pointee.hasMoreWaiters else { return }
        record.pointee.hasMoreWaiters = false
        runnable.append(contentsOf: moreWaiters.removeValue(forKey: index) ?? [])
    }
}
