import Primitives

/// A consumer group of a stream: how far it has read, and what was delivered and not acknowledged.
///
/// A pending entry is one cell, keyed by its ID, in two orders: the group's and its consumer's.
/// Payload: | consumer 4 | delivered, Unix milliseconds 8 | deliveries 8 |.
public final class ConsumerGroup {
    public let name: [UInt8]
    public var lastID: StreamID
    /// Entries read so far, or nil when it is not known.
    public var entriesRead: Int64?
    /// By name.
    public private(set) var consumers: [Consumer] = []
    private var byNumber: [UInt32: Consumer] = [:]
    private var nextNumber: UInt32 = 1
    private let heap: CellHeap
    private var pending: OrderTree
    private var pendingBytes = 0

    /// A member of a group.
    public final class Consumer {
        public let name: [UInt8]
        let number: UInt32
        /// Unix milliseconds of its last command, and of the last one that gave it entries.
        public var seenAt: Int64
        public var activeAt: Int64 = -1
        fileprivate var pending: OrderTree

        init(name: [UInt8], number: UInt32, seenAt: Int64, _ heap: CellHeap) {
            self.name = name
            self.number = number
            self.seenAt = seenAt
            pending = OrderTree(heap)
        }

        public var pendingCount: Int { pending.count }
    }

    /// An entry that was delivered and not acknowledged.
    public struct Pending {
        public let id: StreamID
        public let consumer: Consumer
        public var deliveredAt: Int64
        public var deliveries: UInt64
    }

    init(name: [UInt8], lastID: StreamID, entriesRead: Int64?, _ heap: CellHeap) {
        self.name = name
        self.lastID = lastID
        self.entriesRead = entriesRead
        self.heap = heap
        pending = OrderTree(heap)
    }

    public var pendingCount: Int { pending.count }

    // MARK: Consumers

    private func place(_ name: ByteView) -> (index: Int, found: Bool) {
        var low = 0, high = consumers.count
        while low < high {
            let middle = (low + high) >> 1
            if consumers[middle].name.withView({ $0 < name }) { low = middle + 1 } else { high = middle }
        }
        return (low, low < consumers.count && consumers[low].name.withView { $0 == name })
    }

    public func consumer(_ name: ByteView) -> Consumer? {
        let (index, found) = place(name)
        return found ? consumers[index] : nil
    }

    /// Adds a consumer that is not there.
    public func addConsumer(_ name: ByteView, seenAt: Int64) -> Consumer {
        let consumer = Consumer(name: name.array, number: nextNumber, seenAt: seenAt, heap)
        nextNumber += 1
        consumers.insert(consumer, at: place(name).index)
        byNumber[consumer.number] = consumer
        return consumer
    }

    /// Removes a consumer and what is pending for it; returns how many entries that was.
    public func removeConsumer(_ consumer: Consumer) -> Int {
        let count = consumer.pendingCount
        for pending in all(of: consumer) { _ = acknowledge(pending.id) }
        consumers.removeAll { $0 === consumer }
        byNumber[consumer.number] = nil
        return count
    }

    // MARK: Pending entries

    private func read(_ cell: CellHeap.Reference) -> Pending {
        let member = Member(heap.pointer(cell)), payload = member.payload.base
        return Pending(
            id: StreamID(key: member.key),
            consumer: byNumber[payload.loadUnaligned(as: UInt32.self)]!,
            deliveredAt: payload.loadUnaligned(fromByteOffset: 4, as: Int64.self),
            deliveries: payload.loadUnaligned(fromByteOffset: 12, as: UInt64.self))
    }

    private static func cost(_ deliveries: UInt64) -> Int { 24 + RDBWriter.lengthBytes(unsigned: deliveries) }

    public func pending(_ id: StreamID) -> Pending? {
        let cell = id.withKey { pending.find(0, $0) }
        return cell == 0 ? nil : read(cell)
    }

    /// Notes a delivery; an entry that was pending for somebody changes hands.
    public func deliver(_ id: StreamID, to consumer: Consumer, at time: Int64, deliveries: UInt64) {
        _ = acknowledge(id)
        let size = Member.size(key: 16, payload: 20, expires: false), cell = heap.allocate(size)
        withUnsafeTemporaryAllocation(byteCount: 20, alignment: 8) { payload in
            let p = payload.baseAddress!
            p.storeBytes(of: consumer.number, as: UInt32.self)
            p.storeBytes(of: time, toByteOffset: 4, as: Int64.self)
            p.storeBytes(of: deliveries, toByteOffset: 12, as: UInt64.self)
            id.withKey { Member.write($0, ByteView(p, 20), expiry: nil, at: heap.pointer(cell)) }
        }
        pending.insert(0, cell)
        consumer.pending.insert(0, cell)
        pendingBytes += ConsumerGroup.cost(deliveries) + 16
    }

    /// An entry is pending no more; false if it was not.
    public func acknowledge(_ id: StreamID) -> Bool {
        id.withKey { key in
            let cell = pending.find(0, key)
            if cell == 0 { return false }
            let old = read(cell)
            pendingBytes -= ConsumerGroup.cost(old.deliveries) + 16
            _ = pending.remove(0, key)
            _ = old.consumer.pending.remove(0, key)
            heap.free(cell, Member.size(key: 16, payload: 20, expires: false))
            return true
        }
    }

    /// Visits what is pending from `first` on, of one consumer or of all. Stops on false. Must not change
    /// the group.
    public func forEachPending(
        of consumer: Consumer? = nil, from first: StreamID, _ visit: (Pending) -> Bool
    ) {
        let tree = consumer?.pending ?? pending
        let rank = tree.rank { _, member in StreamID(key: member.key) < first }
        guard rank < tree.count else { return }
        var place = tree.place(rank: rank)
        repeat { if !visit(read(tree.cell(place))) { return } } while tree.advance(&place, backward: false)
    }

    func all(of consumer: Consumer) -> [Pending] {
        var found: [Pending] = []
        forEachPending(of: consumer, from: .zero) {
            found.append($0)
            return true
        }
        return found
    }

    /// Gives back what the group holds in the stream's memory.
    func clear() {
        for consumer in consumers { _ = removeConsumer(consumer) }
    }

    // MARK: Encoding

    private var readCount: UInt64 { UInt64(bitPattern: entriesRead ?? -1) }

    var encodedBytes: Int {
        RDBWriter.stringBytes(name.count) + RDBWriter.lengthBytes(unsigned: lastID.milliseconds)
            + RDBWriter.lengthBytes(unsigned: lastID.sequence) + RDBWriter.lengthBytes(unsigned: readCount)
            + RDBWriter.lengthBytes(pendingCount) + pendingBytes + RDBWriter.lengthBytes(consumers.count)
            + consumers.reduce(0) {
                $0 + RDBWriter.stringBytes($1.name.count) + 8 + RDBWriter.lengthBytes($1.pendingCount)
            }
    }

    /// Reads the pending entries and consumers.
    func decode(_ reader: inout RDBReader, hasActiveTimes: Bool) {
        var found: [StreamID: (Int64, UInt64)] = [:]
        for _ in 0..<reader.count(least: 25) {
            let id = reader.streamID()
            if found.updateValue((reader.int64(), reader.unsigned()), forKey: id) != nil { reader.fail() }
        }
        for _ in 0..<reader.count(least: 10) {
            let name = reader.string().array, seenAt = reader.int64()
            let activeAt = hasActiveTimes ? reader.int64() : -1
            if reader.failed || name.withView({ self.consumer($0) }) != nil { return reader.fail() }
            let consumer = name.withView { addConsumer($0, seenAt: seenAt) }
            consumer.activeAt = activeAt
            for _ in 0..<reader.count(least: 16) {
                let id = reader.streamID()
                guard !reader.failed, let (time, deliveries) = found.removeValue(forKey: id) else {
                    return reader.fail()
                }
                deliver(id, to: consumer, at: time, deliveries: deliveries)
            }
        }
        if !found.isEmpty { reader.fail() }
    }

    func encode(_ writer: inout RDBWriter) {
        name.withView { writer.string($0) }
        writer.length(unsigned: lastID.milliseconds)
        writer.length(unsigned: lastID.sequence)
        writer.length(unsigned: readCount)
        writer.length(pendingCount)
        var out = writer
        forEachPending(from: .zero) { pending in
            pending.id.withKey { out.raw($0) }
            out.int64(pending.deliveredAt)
            out.length(unsigned: pending.deliveries)
            return true
        }
        out.length(consumers.count)
        for consumer in consumers {
            consumer.name.withView { out.string($0) }
            out.int64(consumer.seenAt)
            out.length(consumer.pendingCount)
            forEachPending(of: consumer, from: .zero) { pending in
                pending.id.withKey { out.raw($0) }
                return true
            }
        }
        writer = out
    }
}

extension Stream {
    private func place(_ name: ByteView) -> (index: Int, found: Bool) {
        var low = 0, high = groups.count
        while low < high {
            let middle = (low + high) >> 1
            if groups[middle].name.withView({ $0 < name }) { low = middle + 1 } else { high = middle }
        }
        return (low, low < groups.count && groups[low].name.withView { $0 == name })
    }

    public func group(_ name: ByteView) -> ConsumerGroup? {
        let (index, found) = place(name)
        return found ? groups[index] : nil
    }

    /// Adds a group; nil if there is one of that name.
    @discardableResult
    public func addGroup(_ name: ByteView, lastID: StreamID, entriesRead: Int64?) -> ConsumerGroup? {
        let (index, found) = place(name)
        if found { return nil }
        let group = ConsumerGroup(name: name.array, lastID: lastID, entriesRead: entriesRead, heap)
        groups.insert(group, at: index)
        return group
    }

    public func removeGroup(_ group: ConsumerGroup) {
        group.clear()
        groups.removeAll { $0 === group }
    }

    /// XSETID, and the entries a group has been given from outside.
    public func setFacts(lastID: StreamID, entriesAdded: UInt64? = nil, maxDeletedID: StreamID? = nil) {
        self.lastID = lastID
        if let entriesAdded { self.entriesAdded = entriesAdded }
        if let maxDeletedID { self.maxDeletedID = maxDeletedID }
    }
}
