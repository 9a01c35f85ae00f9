import Glibc
import Primitives

/// What the doors to lists, hashes, sets and sorted sets are built on: small collections are flat bytes in
/// their entry, large ones a `Structure`.
extension StagedKeys {
    /// How a collection is kept.
    enum Stored {
        case absent
        /// Lent until the key is changed.
        case flat(ByteView)
        case structure(LentStructure)
    }

    /// A collection larger than this, or of more elements than its type allows, is a structure.
    static let flatBytesMax = Entry.externalThreshold - 64
    /// Members a flat set or sorted set has at most, and fields a flat hash: finding one looks at all.
    static let flatMembersMax = 128
    static let flatFieldsMax = 512

    /// A collection for reading. Counts as an access; one from the SSD is promoted when there is room.
    func stored(_ i: Int, _ type: ValueType) throws(CommandError) -> Stored {
        guard let slot = slot(i) else {
            worker.counters.keyspaceMisses += 1
            return .absent
        }
        let entry = worker.entry(slot)
        guard entry.type == type else { throw .wrongType }
        worker.counters.keyspaceHits += 1
        if entry.isResident {
            worker.counters.ramHits += 1
            if touches { worker.touch(entry) }
            return entry.isStructured
                ? .structure(entry.structure) : .flat(ByteView(entry.value, entry.valueCount))
        }
        if entry.isStructured { return .structure(try promoteStructure(i, slot)) }
        let value = try stagedValue(entry)
        if touches && promotes { worker.promote(slot, table(i), keys[i].stripe, value) }
        return .flat(value)
    }

    /// As `stored`, for a key whose type was checked: no access is counted.
    func current(_ i: Int) throws(CommandError) -> Stored {
        guard let slot = slot(i) else { return .absent }
        let entry = worker.entry(slot)
        if !entry.isResident {
            if entry.isStructured { return .structure(try promoteStructure(i, slot)) }
            return .flat(try stagedValue(entry))
        }
        return entry.isStructured
            ? .structure(entry.structure) : .flat(ByteView(entry.value, entry.valueCount))
    }

    /// Checks a key's type before it is changed; true if it exists.
    func requireType(_ i: Int, _ type: ValueType) throws(CommandError) -> Bool {
        guard let entry = entry(i) else { return false }
        guard entry.type == type else { throw .wrongType }
        return true
    }

    /// Moves a staged large collection into its entry.
    func promoteStructure(
        _ i: Int, _ slot: UnsafeMutablePointer<UInt64>
    ) throws(CommandError) -> LentStructure {
        let entry = worker.entry(slot), staging = worker.staging
        guard let index = staging.find(entry.address), staging.hasArrived(index)
        else { throw .notStaged }
        guard let structure = staging.takeStructure(index) else {
            worker.counters.checksumErrors += 1
            throw .unreadable
        }
        worker.promote(slot, table(i), keys[i].stripe, structure)
        return worker.entry(self.slot(i)!).structure
    }

    // MARK: Changing

    /// A key's value is about to be changed in place: brings it into RAM and forgets its record.
    func beginChange(_ i: Int) throws(CommandError) -> Entry {
        changed(i)
        let slot = slot(i)!
        let entry = worker.entry(slot)
        if !entry.isResident {
            if entry.isStructured {
                _ = try promoteStructure(i, slot)
            } else {
                let value = try stagedValue(entry)
                _ = worker.promote(slot, table(i), keys[i].stripe, value, reserve: StoreWorker.admitted)
            }
        }
        let resident = worker.entry(self.slot(i)!)
        worker.forgetRecord(resident)
        worker.touchWritten(resident)
        return resident
    }

    /// A structure for changing.
    func beginStructureChange(_ i: Int) throws(CommandError) -> LentStructure { try beginChange(i).structure }

    /// Takes a member out of a large hash or set; the key with the last one. False if it is not there.
    func remove(_ member: ByteView, from structure: LentStructure, _ i: Int) throws(CommandError) -> Bool {
        let isThere = structure.with(TableStructure.self) { $0.find(member) != nil }
        guard isThere else { return false }
        let left = try beginStructureChange(i).with(TableStructure.self) {
            _ = $0.remove(member)
            return $0.count
        }
        if left == 0 { delete(i) }
        return true
    }

    /// Opens or closes a gap in a flat value: `removing` bytes at `offset` make way for `inserting` bytes,
    /// which are the caller's to write. Returns where the value is now.
    func splice(
        _ i: Int, at offset: Int, removing: Int, inserting: Int
    ) throws(CommandError) -> UnsafeMutableRawPointer {
        let entry = try beginChange(i)
        let old = entry.valueCount, count = old - removing + inserting
        let tail = old - offset - removing
        guard !entry.isExternal, worker.arena.contains(entry.at) else {
            return respliced(i, entry, offset, removing, inserting)
        }
        let room = worker.capacity(entry) - entry.valueOffset
        guard count <= room, count <= Entry.externalThreshold,
            count + entry.valueOffset >= room / 2 - 16
        else {
            return respliced(i, entry, offset, removing, inserting)
        }
        let value = entry.value
        memmove(value + offset + inserting, value + offset + removing, tail)
        entry.valueCount = count
        return value
    }

    /// `splice` into another place, of the size that is needed.
    private func respliced(
        _ i: Int, _ old: Entry, _ offset: Int, _ removing: Int, _ inserting: Int
    ) -> UnsafeMutableRawPointer {
        let count = old.valueCount - removing + inserting
        let entry = worker.build(
            key: keys[i].view, stripe: keys[i].stripe, type: old.type, valueCount: count, capacity: count,
            expiry: old.expiry)
        entry.flags |= old.flags & Entry.recorded
        let value = entry.value
        value.copyMemory(from: old.value, byteCount: offset)
        (value + offset + inserting).copyMemory(
            from: old.value + offset + removing, byteCount: old.valueCount - offset - removing)
        succeed(i, slot(i)!, old, entry)
        return value
    }

    /// Sets a flat value of `count` bytes, which the caller fills, whatever the key held before. The expiry
    /// stays, or is `expiry`.
    func putFlat(
        _ i: Int, _ type: ValueType, count: Int, flags: UInt32 = 0, expiry: ExpiryChange = .keep
    ) -> UnsafeMutableRawPointer {
        let entry = makeEntry(i, type, expiry) { key, stripe, until in
            let entry = worker.build(
                key: key, stripe: stripe, type: type, valueCount: count, capacity: count, expiry: until)
            entry.flags |= flags
            return entry
        }
        return entry.value
    }

    /// Sets a large collection, whatever the key held before.
    func putStructure(
        _ i: Int, _ type: ValueType, _ structure: Structure, flags: UInt32 = 0, expiry: ExpiryChange = .keep
    ) {
        _ = makeEntry(i, type, expiry) { key, stripe, until in
            let prefix = Entry.prefix(keyCount: key.count, expires: until != nil)
            guard let cell = worker.allocate(prefix + 8, stripe: stripe) else {
                fatalError("tierd: out of reserved address space")
            }
            let entry = Entry(cell)
            entry.initialise(type: type, key: key, expiry: until)
            entry.flags |= Entry.resident | Entry.structured | flags
            entry.own(structure)
            worker.residentDelta += 1
            return entry
        }
    }

    private func makeEntry(
        _ i: Int, _ type: ValueType, _ expiry: ExpiryChange,
        _ build: (ByteView, Int, Int64?) -> Entry
    ) -> Entry {
        changed(i)
        let old = slot(i).map { worker.entry($0) }
        let until: Int64? =
            switch expiry {
            case .keep: old?.expiry
            case .none: nil
            case .at(let time): time
            }
        let entry = build(keys[i].view, keys[i].stripe, until)
        if let old {
            succeed(i, slot(i)!, old, entry)
        } else {
            worker.admit(entry, ghost: nil)
            keys[i].slot = worker.insert(entry, keys[i].hash, table(i))
            keys[i].seen = worker.structure
            keys[i].isLooked = true
        }
        return entry
    }

    func flag(_ i: Int, _ flag: UInt32) -> Bool { entry(i)?.has(flag) ?? false }
    func setFlag(_ i: Int, _ flag: UInt32, _ on: Bool) { entry(i)?.set(flag, on) }

    /// Whether a collection has what Redis calls its compact encoding: listpack, or a set intset.
    public func isCompact(_ i: Int) -> Bool {
        guard let entry = entry(i) else { return false }
        return entry.type == .set ? entry.has(Entry.intset) : !entry.has(Entry.wide)
    }

    /// Bytes of a key's value, resident or in its record; 0 if it is absent.
    public func valueBytes(_ i: Int) -> Int {
        entry(i).map { $0.isResident ? $0.heldCount : $0.valueCount } ?? 0
    }

    /// A large collection changes its key without being copied.
    public func movesWithoutCopy(_ i: Int) -> Bool { entry(i)?.isStructured ?? false }

    func makeHeap() -> CellHeap { CellHeap(worker.extents) }

    /// The thresholds of Redis's compact encodings, as CONFIG has them.
    var limits: EncodingLimits { worker.store.encodingLimits }

    // MARK: Whole values

    /// Gives the value and expiry of key `from` to key `to`, replacing what that held. The value
    /// of `from` must be usable.
    public func copy(_ from: Int, to: Int) throws(CommandError) {
        guard let source = entry(from) else { throw .noSuchKey }
        let expiry = source.expiry.map { ExpiryChange.at($0) } ?? .none
        let type = source.type, flags = source.flags & Entry.recorded
        switch try current(from) {
        case .absent: throw .noSuchKey
        case .flat(let value):
            // The source's entry stays where it is while the other is built.
            delete(to)
            let target = putFlat(to, type, count: value.count, flags: flags, expiry: expiry)
            target.copyMemory(from: value.base, byteCount: value.count)
        case .structure(let structure):
            delete(to)
            let twin = try duplicate(structure.held)
            putStructure(to, type, twin, flags: flags & Entry.encoding, expiry: expiry)
        }
    }

    private func duplicate(_ structure: Structure) throws(CommandError) -> Structure {
        let count = structure.encodedBytes
        let memory = UnsafeMutableRawPointer.allocate(byteCount: max(1, count), alignment: 16)
        defer { memory.deallocate() }
        StoreWorker.encode(structure, at: memory, count)
        guard let decoder = StructureDecoder(
            rdbType: structure.rdbType, ByteView(memory, count), makeHeap(), worker.hashing),
            case .done = decoder.step(budget: .max)
        else { preconditionFailure("a collection's encoding cannot be read") }
        return decoder.structure
    }

    /// Gives the value and expiry of key `from` to key `to`, which replaces what that held, and deletes
    /// `from`: a large collection is not copied. The value of `from` must be usable.
    public func move(_ from: Int, to: Int) throws(CommandError) {
        guard let source = entry(from), source.isStructured else {
            try copy(from, to: to)
            delete(from)
            return
        }
        guard case .structure(let structure) = try current(from), let entry = entry(from) else {
            throw .noSuchKey
        }
        let expiry = entry.expiry.map { ExpiryChange.at($0) } ?? .none
        changed(from)
        delete(to)
        putStructure(to, entry.type, structure.held, flags: entry.flags & Entry.encoding, expiry: expiry)
        // The other entry owns it now.
        let left = self.entry(from)!
        _ = left.disown()
        worker.forgetRecord(left)
        left.flags &= ~(Entry.resident | Entry.structured)
        worker.residentDelta -= 1
        worker.freeMoved(self.slot(from)!, table(from), left)
    }
}

/// Thresholds of Redis's compact encodings (CONFIG names: hash-max-listpack-entries, …). They decide what
/// OBJECT ENCODING answers.
public struct EncodingLimits: Sendable {
    public var hashEntries = 512
    public var hashValue = 64
    public var setIntsetEntries = 512
    public var sortedSetEntries = 128
    public var sortedSetValue = 64
    public init() {}
}
