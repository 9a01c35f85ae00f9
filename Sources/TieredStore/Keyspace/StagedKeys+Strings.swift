import Glibc
import Primitives

/// What a write does to a key's expiry.
public enum ExpiryChange: Sendable {
    case keep, none
    /// Unix milliseconds.
    case at(Int64)
}

/// A value's bytes, lent for changing in place until the command ends. Checked.
public struct MutableBytes {
    private let base: UnsafeMutableRawPointer
    public let count: Int

    init(_ base: UnsafeMutableRawPointer, _ count: Int) {
        self.base = base
        self.count = count
    }

    /// Overwrites bytes from `offset` on.
    public func copy(_ bytes: ByteView, at offset: Int) {
        precondition(offset >= 0 && offset + bytes.count <= count, "range out of bounds")
        (base + offset).copyMemory(from: bytes.base, byteCount: bytes.count)
    }

    public subscript(index: Int) -> UInt8 {
        get { view[index] }
        nonmutating set {
            precondition(UInt(bitPattern: index) < UInt(bitPattern: count), "byte index out of range")
            base.storeBytes(of: newValue, toByteOffset: index, as: UInt8.self)
        }
    }

    /// The same bytes for reading.
    public var view: ByteView { ByteView(base, count) }
}

// Strings behind the door.
extension StagedKeys {
    // MARK: Reading

    /// A value's bytes for reading, or nil if the key is absent. Counts as an access; a value
    /// that came from the SSD is promoted when there is room.
    @inline(__always)
    public func string(_ i: Int) throws(CommandError) -> ByteView? {
        guard let slot = slot(i) else {
            worker.counters.keyspaceMisses += 1
            return nil
        }
        let entry = worker.entry(slot)
        guard entry.flags & 15 == UInt32(ValueType.string.rawValue) else { throw .wrongType }
        worker.counters.keyspaceHits += 1
        if entry.isResident {
            worker.counters.ramHits += 1
            if touches { worker.touch(entry) }
            return ByteView(entry.value, entry.valueCount)
        }
        let value = try stagedValue(entry)
        if touches && promotes { worker.promote(slot, table(i), keys[i].stripe, value) }
        return value
    }

    /// A value's bytes without counting as an access (OBJECT ENCODING, DUMP).
    public func peekString(_ i: Int) throws(CommandError) -> ByteView? {
        guard let entry = entry(i) else { return nil }
        guard entry.type == .string else { throw .wrongType }
        return entry.isResident ? ByteView(entry.value, entry.valueCount) : try stagedValue(entry)
    }

    /// Length of a string value, without reading it; nil if the key is absent.
    public func stringCount(_ i: Int) throws(CommandError) -> Int? {
        guard let entry = entry(i) else {
            worker.counters.keyspaceMisses += 1
            return nil
        }
        guard entry.type == .string else { throw .wrongType }
        worker.counters.keyspaceHits += 1
        return entry.valueCount
    }

    // MARK: Writing

    /// Sets a string, whatever the key held before.
    public func setString(_ i: Int, _ value: ByteView, expiry: ExpiryChange = .none) {
        changed(i)
        guard let slot = slot(i) else {
            var until: Int64?
            if case .at(let time) = expiry { until = time }
            return create(i, value, expiry: until)
        }
        let old = worker.entry(slot)
        let until: Int64? =
            switch expiry {
            case .keep: old.expiry
            case .none: nil
            case .at(let time): time
            }
        if overwriteInPlace(old, value, expires: until != nil) {
            if let until { old.at.storeBytes(of: until, toByteOffset: 20, as: Int64.self) }
            worker.touchWritten(old)
            return
        }
        rebuild(i, slot, value, capacity: value.count, expiry: until)
    }

    /// Overwrites a resident flat string whose cell fits the new value as well as the old.
    @inline(__always)
    private func overwriteInPlace(_ old: Entry, _ value: ByteView, expires: Bool) -> Bool {
        let flags = old.flags
        guard flags & (Entry.resident | Entry.external) == Entry.resident,
            flags & 15 == UInt32(ValueType.string.rawValue), old.has(Entry.hasExpiry) == expires,
            value.count <= Entry.externalThreshold
        else { return false }
        let classes = worker.slabs.classes
        let start = old.valueOffset
        if value.count != old.valueCount {
            let size = start + value.count
            guard size <= classes.largest, worker.arena.contains(old.at),
                classes.sizes[classes.index(for: size)] == worker.capacity(old)
            else { return false }
            old.valueCount = value.count
        }
        worker.forgetRecord(old)
        old.set(Entry.encoding, false)
        (old.at + start).copyMemory(from: value.base, byteCount: value.count)
        return true
    }

    private func create(_ i: Int, _ value: ByteView, expiry: Int64?) {
        let key = keys[i]
        let entry = worker.build(
            key: key.view, stripe: key.stripe, type: .string, valueCount: value.count,
            capacity: value.count, expiry: expiry)
        entry.value.copyMemory(from: value.base, byteCount: value.count)
        worker.admit(entry, ghost: nil)
        let slot = worker.insert(entry, key.hash, table(i))
        keys[i].slot = slot
        keys[i].seen = worker.structure
        keys[i].isLooked = true
    }

    /// Replaces the entry by one with another value, room or expiry.
    private func rebuild(
        _ i: Int, _ slot: UnsafeMutablePointer<UInt64>, _ value: ByteView, capacity: Int, expiry: Int64?
    ) {
        let old = worker.entry(slot)
        let entry = worker.build(
            key: keys[i].view, stripe: keys[i].stripe, type: .string, valueCount: value.count,
            capacity: capacity, expiry: expiry)
        entry.value.copyMemory(from: value.base, byteCount: value.count)
        succeed(i, slot, old, entry)
    }

    /// A string's bytes for changing in place, `count` long or as long as they are if longer;
    /// new bytes are zero. Creates the key if absent. The expiry stays.
    public func editString(_ i: Int, count: Int) throws(CommandError) -> MutableBytes {
        changed(i)
        guard let slot = slot(i) else {
            createZeroed(i, count: count)
            let entry = worker.entry(self.slot(i)!)
            return MutableBytes(entry.value, count)
        }
        let entry = worker.entry(slot)
        guard entry.type == .string else { throw .wrongType }
        let old = entry.valueCount
        if !entry.isResident {
            grow(i, slot, try stagedValue(entry), to: max(count, old))
        } else if count > old, !extendInPlace(entry, to: count) {
            grow(i, slot, ByteView(entry.value, old), to: count)
        } else {
            worker.forgetRecord(entry)
        }
        let edited = worker.entry(self.slot(i)!)
        edited.set(Entry.raw, true)
        worker.touchWritten(edited)
        return MutableBytes(edited.value, edited.valueCount)
    }

    private func createZeroed(_ i: Int, count: Int) {
        let key = keys[i]
        let entry = worker.build(
            key: key.view, stripe: key.stripe, type: .string, valueCount: count, capacity: count, expiry: nil)
        memset(entry.value, 0, count)
        entry.set(Entry.raw, true)
        worker.admit(entry, ghost: nil)
        _ = worker.insert(entry, key.hash, table(i))
    }

    private func extendInPlace(_ entry: Entry, to count: Int) -> Bool {
        let old = entry.valueCount
        if entry.isExternal {
            guard count <= entry.externalCapacity, worker.extents.charge(from: old, to: count)
            else { return false }
        } else {
            guard count <= Entry.externalThreshold, worker.arena.contains(entry.at),
                entry.valueOffset + count <= worker.capacity(entry)
            else { return false }
        }
        memset(entry.value + old, 0, count - old)
        entry.valueCount = count
        worker.forgetRecord(entry)
        return true
    }

    /// Moves a string to a larger place, doubling the addresses of large ones (Redis does so up to
    /// 1 MiB); RAM is only used up to what is written.
    private func grow(_ i: Int, _ slot: UnsafeMutablePointer<UInt64>, _ value: ByteView, to count: Int) {
        let old = worker.entry(slot)
        let entry = worker.build(
            key: keys[i].view, stripe: keys[i].stripe, type: .string, valueCount: count,
            capacity: count < 1 << 20 ? count * 2 : count + (1 << 20), expiry: old.expiry)
        entry.value.copyMemory(from: value.base, byteCount: value.count)
        memset(entry.value + value.count, 0, count - value.count)
        succeed(i, slot, old, entry)
    }
}
