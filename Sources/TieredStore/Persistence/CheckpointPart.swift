import Primitives

/// What one worker makes of a checkpoint's blocks: their bounds are checked and their keys put into the
/// store.
final class CheckpointPart {
    private let worker: StoreWorker
    /// Of each segment: how far it is used, -1 if it is not in use; its version.
    private let used: [Int32]
    private let versions: [UInt32]
    private let databases: Int
    private var live: [Int]
    private var memory: UnsafeMutableRawPointer
    private var capacity = 1 << 20
    private(set) var taken = 0
    private(set) var expired = 0
    private(set) var warm = 0

    init(_ worker: StoreWorker, used: [Int32], versions: [UInt32], _ databases: Int) {
        self.worker = worker
        self.used = used
        self.versions = versions
        self.databases = databases
        live = Array(repeating: 0, count: used.count)
        memory = .allocate(byteCount: capacity, alignment: 4096)
    }

    deinit { memory.deallocate() }

    /// Room for a block.
    func room(_ count: Int) -> UnsafeMutableRawPointer {
        if count > capacity {
            memory.deallocate()
            capacity = CheckpointFormat.padded(count)
            memory = .allocate(byteCount: capacity, alignment: 4096)
        }
        return memory
    }

    /// Tells the log what is alive.
    func settle(_ log: SegmentLog) {
        for segment in live.indices where live[segment] > 0 { log.addLive(segment, live[segment]) }
    }

    // MARK: Items

    /// Takes the items of a block; the offset of the first that makes no sense, nil if there is none.
    func take(items: Int, _ bytes: UnsafeMutableRawPointer, _ count: Int) -> Int? {
        var at = 0, tables = -1, found = 0
        while at < count {
            guard count - at >= CheckpointFormat.marker else { return at }
            let entry = Entry(bytes + at)
            if entry.flags == 0 {
                tables = Int((bytes + at).load(fromByteOffset: 4, as: UInt32.self))
                guard tables < databases else { return at }
                at += CheckpointFormat.marker
                continue
            }
            guard tables >= 0, let size = take(entry, available: count - at, tables) else { return at }
            found += 1
            at = (at + size + 3) & ~3
        }
        return found == items ? nil : 0
    }

    /// Takes one item; its length, nil if it makes no sense.
    private func take(_ item: Entry, available: Int, _ tables: Int) -> Int? {
        guard available >= Entry.headerSize, item.flags & ~CheckpointFormat.keptFlags == 0,
            let type = ValueType(rawValue: UInt8(item.flags & 15))
        else { return nil }
        let short = Int(item.flags >> Entry.keyShift), fixed = item.keyOffset
        guard available >= fixed else { return nil }
        let keyCount = item.keyCount
        guard short != 255 || keyCount >= 255, keyCount <= available - fixed else { return nil }
        let prefix = fixed + keyCount
        let isOver = item.expiry.map { $0 <= worker.now } ?? false
        if !item.isResident {
            guard let segment = segment(of: item.address), keyCount <= 1 << 30 else { return nil }
            if isOver {
                expired += 1
            } else {
                guard putAddress(item, prefix, tables) else { return nil }
                taken += 1
                if item.frequency > 0 { warm += 1 }
                live[segment] += item.address.footprint
            }
            return prefix
        }
        guard item.address.raw <= UInt64(available - prefix) else { return nil }
        let valueCount = Int(item.address.raw), value = ByteView(item.at + prefix, valueCount)
        if isOver {
            expired += 1
        } else {
            guard item.isStructured
                ? putStructure(item, type, value, tables) : putFlat(item, type, value, tables)
            else { return nil }
            taken += 1
        }
        return prefix + valueCount
    }

    /// The segment an address points into, if it can.
    @inline(__always)
    private func segment(of address: Address) -> Int? {
        let segment = address.segment
        guard segment < used.count, address.offset >= SegmentHeader.size,
            address.offset + Record.headerSize <= Int(used[segment]),
            versions[segment] & 0x3ff == address.version
        else { return nil }
        return segment
    }

    // MARK: Putting

    /// Runs `build` with the key's stripe held and puts what it gives into the index; false if the key is
    /// there already, or there is nothing to put.
    @inline(__always)
    private func put(_ item: Entry, _ tables: Int, _ build: (_ stripe: Int) -> Entry?) -> Bool {
        let key = item.key, hash = worker.hash(key)
        let stripe = worker.stripes.number(of: hash)
        worker.stripes.lock(stripe)
        defer { worker.stripes.unlock(stripe) }
        let table = worker.stripes.tables(stripe) + tables
        guard table.pointee.find(hash, key, base: worker.base) == nil, let entry = build(stripe)
        else { return false }
        _ = worker.insert(entry, hash, table)
        return true
    }

    private func putAddress(_ item: Entry, _ prefix: Int, _ tables: Int) -> Bool {
        put(item, tables) { stripe in
            guard let cell = worker.allocate(prefix, stripe: stripe) else {
                fatalError("tierd: out of reserved address space")
            }
            cell.copyMemory(from: item.at, byteCount: prefix)
            return Entry(cell)
        }
    }

    private func putFlat(_ item: Entry, _ type: ValueType, _ value: ByteView, _ tables: Int) -> Bool {
        guard value.count == item.valueCount, CheckpointPart.isSound(type, item.flags, value)
        else { return false }
        return put(item, tables) { stripe in
            let entry = worker.build(
                key: item.key, stripe: stripe, type: type, valueCount: value.count, capacity: value.count,
                expiry: item.expiry)
            entry.flags = item.flags | (entry.flags & Entry.external)
            entry.accessClock = item.accessClock
            entry.value.copyMemory(from: value.base, byteCount: value.count)
            return entry
        }
    }

    private static func isSound(_ type: ValueType, _ flags: UInt32, _ value: ByteView) -> Bool {
        switch type {
        case .string: true
        case .list: FlatList.check(value, step: 1)
        case .set: flags & Entry.intset != 0 ? Intset.check(value) : FlatList.check(value, step: 1)
        case .hash, .sortedSet: FlatList.check(value, step: 2)
        case .stream: false
        }
    }

    private func putStructure(_ item: Entry, _ type: ValueType, _ value: ByteView, _ tables: Int) -> Bool {
        guard type != .string else { return false }
        let rdbType = RDBValue.structureType(type, item.flags)
        guard let decoder = StructureDecoder(
            rdbType: rdbType, value, CellHeap(worker.extents), worker.hashing),
            case .done = decoder.step(budget: .max), decoder.remaining == 0
        else { return false }
        return put(item, tables) { stripe in
            let prefix = item.valueOffset
            guard let cell = worker.allocate(prefix + 8, stripe: stripe) else {
                fatalError("tierd: out of reserved address space")
            }
            cell.copyMemory(from: item.at, byteCount: prefix)
            let entry = Entry(cell)
            entry.address = .none
            entry.valueCount = 0
            entry.own(decoder.structure)
            worker.residentDelta += 1
            return entry
        }
    }
}
